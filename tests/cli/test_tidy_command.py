"""`quantlib tidy`: what is written, printed and left alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import quantlib as ql
from quantlib.cli import main
from tests.support.network import Network, gaussian


@pytest.fixture
def cluttered(tmp_path: Path) -> str:
    """Two equal weights, and an operator that nobody reads."""
    net = Network()
    x = net.input("x", (1, 16))
    net.op("RELU", [x], "dead", (1, 16))
    y = net.fully_connected("a", x, gaussian((16, 16)))
    y = net.fully_connected("b", y, gaussian((16, 16)), np.zeros(16, "f4"))
    path = tmp_path / "cluttered.tflite"
    net.done(y).write(path)
    return str(path)


def test_the_account_names_what_went(capsys: pytest.CaptureFixture[str], cluttered: str, tmp_path: Path) -> None:
    out = tmp_path / "tidy.tflite"
    assert main(["tidy", cluttered, "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "dead: nobody reads what RELU computes" in printed
    assert "b/kernel: constant equal to 'a/kernel'; 1,024 bytes saved" in printed
    assert len(ql.read(out).subgraphs[0].operators) == 2


@pytest.mark.parametrize(("flag", "left"), [("--keep-unreachable", 3), ("--keep-constants", 2), ("--keep-pairs", 2)])
def test_each_part_can_be_left_out(cluttered: str, tmp_path: Path, flag: str, left: int) -> None:
    out = tmp_path / "tidy.tflite"
    assert main(["tidy", cluttered, "-o", str(out), flag]) == 0
    model = ql.read(out)
    assert len(model.subgraphs[0].operators) == left
    buffers = {t.table.buffer for t in model.tensors() if t.name.endswith("kernel")}
    assert len(buffers) == (2 if flag == "--keep-constants" else 1)


def test_json_and_the_same_file(capsys: pytest.CaptureFixture[str], cluttered: str) -> None:
    assert main(["tidy", cluttered, "-o", cluttered, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["bytes_after"] < first["bytes_before"]
    assert first["totals"]["operators removed"] == 1
    content = Path(cluttered).read_bytes()
    assert main(["tidy", cluttered, "-o", cluttered]) == 0
    assert Path(cluttered).read_bytes() == content


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tidy none.tflite -o out.tflite", "no such file"),
        ("tidy {model}", "-o"),
        ("tidy {model} -o /nowhere/out.tflite", "/nowhere"),
    ],
)
def test_misuse_is_one_line(capsys: pytest.CaptureFixture[str], cluttered: str, words: str, message: str) -> None:
    assert main(words.format(model=cluttered).split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1

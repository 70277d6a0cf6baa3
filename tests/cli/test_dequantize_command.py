"""`quantlib dequantize`: what it writes and says, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import quantlib as ql
from quantlib.cli import main
from quantlib.tflite import read
from tests.support.models import custom_operator
from tests.support.networks_integer import VALID
from tests.support.networks_trained import COMPLETE

DEMO = str(ql.demo.MODEL)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.tflite"
    ql.quantize(ql.read(DEMO), "dynamic").write(path)
    return path


def test_it_writes_floats_and_says_what_changed(
    capsys: pytest.CaptureFixture[str], small: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.tflite"
    assert main(["dequantize", str(small), "-o", str(out)]) == 0
    made = read(out)
    assert made == ql.dequantize(read(small)).model
    assert {t.type for t in made.tensors()} == {"FLOAT32", "INT32"}
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == f"{out}: {small.stat().st_size:,} -> {out.stat().st_size:,} bytes (3.578)"
    assert second == (
        "dequantize: 7 changed, 0 left alone; constants 7, tensors 0, operators removed 0, activations given back 0"
    )


def test_the_output_may_be_the_input_and_twice_changes_nothing(small: Path) -> None:
    for _ in range(2):
        assert main(["dequantize", str(small), "-o", str(small), "--json"]) == 0
    once = small.read_bytes()
    assert main(["dequantize", str(small), "-o", str(small)]) == 0
    assert small.read_bytes() == once


def test_json(capsys: pytest.CaptureFixture[str], small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tflite"
    assert main(["dequantize", str(small), "-o", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verb"] == "dequantize"
    assert said["totals"]["constants"] == 7
    assert said["done"][0]["type"] == "INT8"


def test_a_float_model_is_said_to_be_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["dequantize", DEMO, "-o", str(tmp_path / "out.tflite")]) == 0
    assert "  model: nothing in it is quantized; it is given back as it is\n" in capsys.readouterr().out
    assert (tmp_path / "out.tflite").read_bytes() == Path(DEMO).read_bytes()


@pytest.mark.parametrize(
    ("option", "field"),
    [
        ("--no-activations", {"recover_activations": False}),
        ("--keep-ranges", {"keep_ranges": True}),
        ("--keep-weights", {"keep_weights": True}),
        ("--fold-fake-quant", {"fold_fake_quant": True}),
        ("--expand-sparse", {"expand_sparse": True}),
    ],
)
@pytest.mark.parametrize("model", ["legacy", "operators", "layers"])
def test_options_are_those_of_the_function(tmp_path: Path, model: str, option: str, field: dict[str, bool]) -> None:
    given = VALID[model]() if model in VALID else COMPLETE[model]()
    path, out = tmp_path / "in.tflite", tmp_path / "out.tflite"
    given.write(path)
    assert main(["dequantize", str(path), "-o", str(out), option]) == 0
    assert read(out) == ql.dequantize(given, **field).model  # type: ignore[arg-type]  # mypy knows no names in **


def test_misuse_is_one_line(capsys: pytest.CaptureFixture[str], small: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out.tflite")
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(small.read_bytes()[:3000])
    net = VALID["svdf"]()
    draft = ql.tflite.Draft(net)
    t = net.tensor("bias")
    draft.graphs[0].tensors[t.index] = t.table.replace(quantization=None)
    bias = tmp_path / "bias.tflite"
    draft.done().write(bias)
    for words, message in (
        ([str(small)], "-o"),
        ([str(small), "-o", str(tmp_path / "none" / "out.tflite")], "none"),
        (["none.tflite", "-o", out], "no such file"),
        ([str(broken), "-o", out], "broken.tflite"),
        ([str(bias), "-o", out], "a bias of INT32 without a scale"),
        ([str(small), "-o", out, "--skip", "x"], "--skip"),
    ):
        assert main(["dequantize", *words]) == 2, words
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not Path(out).exists()


def test_unknown_operators_are_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, out = tmp_path / "in.tflite", tmp_path / "out.tflite"
    custom_operator().write(path)
    assert main(["dequantize", str(path), "-o", str(out)]) == 0
    assert out.read_bytes() == path.read_bytes()

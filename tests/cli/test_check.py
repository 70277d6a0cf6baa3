"""`quantlib check`: lines, JSON and exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import quantlib as ql
from quantlib import targets
from quantlib.cli import main

DEMO = str(ql.demo.MODEL)


@pytest.fixture
def dynamic(tmp_path: Path) -> str:
    path = tmp_path / "dynamic.tflite"
    ql.quantize(ql.read(DEMO), "dynamic").write(path)
    return str(path)


def test_exit_status_says_whether_there_is_a_violation(capsys: pytest.CaptureFixture[str], dynamic: str) -> None:
    assert main(["check", DEMO, "--target", "tflite-micro"]) == 0
    assert capsys.readouterr().out.startswith("tflite-micro: no violations in 11 operators\n")
    assert main(["check", dynamic, "--target", "tflite-micro"]) == 1
    assert capsys.readouterr().out == f"{ql.check(ql.read(dynamic), 'tflite-micro')}\n"


def test_json(capsys: pytest.CaptureFixture[str], dynamic: str) -> None:
    assert main(["check", dynamic, "--target", "gpu", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == ql.check(ql.read(dynamic), "gpu").to_dict()


@pytest.mark.parametrize("name", targets.NAMES)
def test_every_target_is_in_the_help(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["check", "--help"]) == 0
    assert name in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (f"check {DEMO} --target tpu", "no target 'tpu'; known are litert"),
        (f"check {DEMO}", "--target"),
        ("check none.tflite --target litert", "no such file"),
    ],
)
def test_misuse_is_one_line(capsys: pytest.CaptureFixture[str], words: str, message: str) -> None:
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1

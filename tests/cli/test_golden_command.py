"""`quantlib golden` and what `quantlib inspect` exports: exit status, JSON, CSV, one line for each mistake."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import quantlib as ql
from quantlib.evaluation import arithmetics
from tests.support.command import run


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("golden") / "small.tflite"
    model = ql.read(ql.demo.MODEL)
    ql.quantize(model, "int8", ql.calibrate(model, ql.demo.CALIBRATION)).write(path)
    return str(path)


def test_it_writes_and_says_what(capsys: pytest.CaptureFixture[str], small: str, tmp_path: Path) -> None:
    folder = tmp_path / "v"
    words = ("golden", small, "--data", ql.demo.SAMPLES, "-o", folder, "--samples", "2", "--headers")
    status, text, error = run(capsys, *words)
    assert (status, error) == (0, "")
    assert text.startswith(f"{folder}: 13 operators, 2 samples, runtime reference, ")
    assert text.endswith("\nall with their arithmetic\n")
    assert {p.name for p in folder.iterdir()} == {"README.md", "index.json", "operators", "include"}


def test_json(capsys: pytest.CaptureFixture[str], small: str, tmp_path: Path) -> None:
    folder = tmp_path / "v"
    status, text, _ = run(capsys, "golden", small, "--data", ql.demo.SAMPLES, "-o", folder, "--json")
    shown = json.loads(text)
    assert status == 0
    assert shown | {"bytes": 0} == {
        "folder": str(folder),
        "runtime": "reference",
        "samples": 1,
        "operators": 13,
        "described": 13,
        "others": {},
        "bytes": 0,
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-o {full}", "full: a folder with something in it; choose another one, or empty it"),
        ("-o {new} --runtime fast", "NumPy has no runtime 'fast'"),
        ("-o {new} --samples 0", "0 samples; one or more are required"),
        ("-o {new} --samples 451", "450 samples, and 451 are asked for"),
    ],
)
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], small: str, tmp_path: Path, words: str, message: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    given = words.format(full=tmp_path / "full", new=tmp_path / "new").split()
    status, text, error = run(capsys, "golden", small, "--data", ql.demo.SAMPLES, *given)
    assert (status, text, error.count("\n")) == (2, "", 1)
    assert error.startswith("quantlib golden: ")
    assert message in error
    assert [p.name for p in tmp_path.iterdir()] == ["full"]


def test_inspect_exports_multipliers_as_json(capsys: pytest.CaptureFixture[str], small: str) -> None:
    status, text, _ = run(capsys, "inspect", small, "--tensors", "--operators", "--json")
    assert status == 0
    shown = json.loads(text)
    known = arithmetics(ql.read(small))
    by_output = {}
    for row in shown["operators"]:
        found = known[row["subgraph"], row["index"]].multipliers
        assert [m["role"] for m in row["multipliers"]] == [m.role for m in found]
        for shown_one, m in zip(row["multipliers"], found, strict=True):
            assert shown_one["rounding"] == m.rounding
            for part in ("real", "mantissa", "shift"):
                np.testing.assert_array_equal(shown_one[part], getattr(m, part))
        by_output[row["outputs"][0]] = row["multipliers"]
    assert {t["index"]: t["multipliers"] for t in shown["tensors"] if t["multipliers"]} == {
        index: rows for index, rows in by_output.items() if rows
    }
    assert len(by_output) == 13


def test_inspect_exports_parameters_as_csv(capsys: pytest.CaptureFixture[str], small: str) -> None:
    status, text, _ = run(capsys, "inspect", small, "--tensors", "--csv")
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(text)))
    model = ql.read(small)
    kernel = model.tensor("conv1/kernel")
    assert kernel.quantization is not None
    of_kernel = [r for r in rows if r["name"] == "conv1/kernel"]
    assert [r["role"] for r in of_kernel] == ["scale"] * 16
    assert {(r["type"], r["shape"], r["quantized_dimension"]) for r in of_kernel} == {("INT8", "16x3x3x1", "0")}
    np.testing.assert_array_equal(np.float32([r["scale"] for r in of_kernel]), kernel.quantization.scale)
    (found,) = arithmetics(model)[0, 1].multipliers
    of_output = [r for r in rows if r["name"] == "conv1" and r["role"] == "output"]
    assert {r["rounding"] for r in of_output} == {"double"}
    assert [int(r["channel"]) for r in of_output] == list(range(16))
    np.testing.assert_array_equal([int(r["mantissa"]) for r in of_output], found.mantissa)
    np.testing.assert_array_equal([int(r["shift"]) for r in of_output], found.shift)
    np.testing.assert_array_equal([float(r["real"]) for r in of_output], found.real)
    assert {int(r["index"]) for r in rows} == set(range(len(model.subgraphs[0].tensors or ())))


@pytest.mark.parametrize(
    "words", [["--csv"], ["--tensors", "--csv", "--json"], ["--tensors", "--operators", "--csv"]]
)
def test_csv_is_one_table(capsys: pytest.CaptureFixture[str], small: str, words: list[str]) -> None:
    status, text, error = run(capsys, "inspect", small, *words)
    assert (status, text) == (2, "")
    assert (
        error
        == "quantlib inspect: --csv prints the table of tensors alone; give it with --tensors and nothing else\n"
    )


def test_tables_on_a_screen_leave_multipliers_out(capsys: pytest.CaptureFixture[str], small: str) -> None:
    status, text, _ = run(capsys, "inspect", small, "--tensors", "--operators")
    assert status == 0
    assert "multipliers" not in text
    assert "--json" not in text

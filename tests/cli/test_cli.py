"""The command line: what it prints, its exit status, and one line for each mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import quantlib as ql
from tests.support.command import run
from tests.support.presets import WEIGHT_PRESETS

DEMO = str(ql.demo.MODEL)


@pytest.mark.parametrize("recipe", WEIGHT_PRESETS)
def test_quantize_writes_what_the_api_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: str) -> None:
    out = tmp_path / "small.tflite"
    status, text, error = run(capsys, "quantize", DEMO, "-o", out, "--recipe", recipe)
    assert (status, error) == (0, "")
    assert out.read_bytes() == ql.quantize(ql.read(DEMO), recipe).to_bytes()
    assert text.startswith(f"{out}: 196,416 -> {out.stat().st_size:,} bytes")


def test_output_may_be_the_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(ql.demo.MODEL.read_bytes())
    assert run(capsys, "quantize", model, "-o", model, "--recipe", "dynamic")[0] == 0
    assert model.read_bytes() == ql.quantize(ql.read(DEMO), "dynamic").to_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["m.tflite"]


def test_plan_prints_every_constant_and_totals(capsys: pytest.CaptureFixture[str]) -> None:
    status, text, _ = run(capsys, "plan", DEMO, "--recipe", "dynamic", "--skip", "^dense/kernel$")
    assert status == 0
    assert "dense/kernel: FLOAT32 kept: skipped by the recipe" in text
    assert text.rstrip().splitlines()[-1].startswith("6 to INT8")


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = json.loads(run(capsys, "plan", DEMO, "--recipe", "float16", "--json")[1])
    assert plan["totals"]["quantized"] == len(plan["constants"])
    done = json.loads(run(capsys, "quantize", DEMO, "-o", tmp_path / "o", "--recipe", "dynamic", "--json")[1])
    assert done["bytes_after"] == (tmp_path / "o").stat().st_size
    shown = json.loads(run(capsys, "inspect", tmp_path / "o", "--tensors", "--operators", "--json")[1])
    kernel = next(t for t in shown["tensors"] if t["name"] == "conv1/kernel")
    quantization = ql.read(tmp_path / "o").tensor("conv1/kernel").quantization
    assert quantization is not None
    np.testing.assert_array_equal(np.float32(kernel["scale"]), quantization.scale)
    assert {o["type"] for o in shown["operators"]} >= {"CONV_2D", "SOFTMAX"}


def test_inspect(capsys: pytest.CaptureFixture[str]) -> None:
    status, text, _ = run(capsys, "inspect", DEMO)
    assert status == 0
    assert "image FLOAT32 [1, 8, 8, 1]" in text
    assert "min_runtime_version: 1.6.0" in text


def test_recipe_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = ql.recipes.weight_only(skip=("logits",), min_elements=1000)
    recipe.save(tmp_path / "r.toml")
    run(capsys, "quantize", DEMO, "-o", tmp_path / "o", "--recipe", tmp_path / "r.toml")
    assert (tmp_path / "o").read_bytes() == ql.quantize(ql.read(DEMO), recipe).to_bytes()


def test_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--recipe", "dynamic", "--min-elements", "1000", "--strict")
    assert run(capsys, "plan", DEMO, *words)[0] == 1
    status, _, error = run(capsys, "quantize", DEMO, "-o", tmp_path / "o", *words)
    assert status == 1
    assert "4 constants would stay float: conv1/kernel" in error
    assert not (tmp_path / "o").exists()
    assert run(capsys, "plan", DEMO, "--recipe", "dynamic", "--strict")[0] == 0


def test_a_recipe_that_changes_nothing_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = tmp_path / "half.tflite"
    ql.quantize(ql.read(DEMO), "float16").write(half)
    status, _, error = run(capsys, "quantize", half, "-o", tmp_path / "o", "--recipe", "float16")
    assert status == 0
    assert "nothing was quantized: already FLOAT16" in error
    assert (tmp_path / "o").read_bytes() == half.read_bytes()


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A folder of things that are no models or recipes."""
    (tmp_path / "text.tflite").write_text("This is no model, but it is long enough to be one.")
    (tmp_path / "empty.tflite").touch()
    (tmp_path / "cut.tflite").write_bytes(ql.demo.MODEL.read_bytes()[:5000])
    (tmp_path / "key.toml").write_text('mode = "dynamic"\nfoo = 1\n')
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("quantize {bad}/text.tflite -o {bad}/o --recipe dynamic", "TFL3; a .tflite file is required"),
        ("quantize {bad}/empty.tflite -o {bad}/o --recipe dynamic", "the file is empty"),
        ("quantize {bad}/cut.tflite -o {bad}/o --recipe dynamic", "beyond the file's 5,000"),
        ("quantize {bad}/none.tflite -o {bad}/o --recipe dynamic", "no such file"),
        ("quantize {bad}/folder -o {bad}/o --recipe dynamic", "a readable .tflite file is required"),
        ("inspect {bad}/text.tflite", "TFL3"),
        ("quantize {demo} -o {bad}/o --recipe int3", "no recipe 'int3'; known are float16"),
        ("quantize {demo} -o {bad}/o --recipe {bad}/key.toml", "key.toml: unknown key 'foo'"),
        ("quantize {demo} -o {bad}/o --recipe {bad}/none.toml", "No such file"),
        ("quantize {demo} -o {bad}/o --recipe dynamic --only (", "no regular expression"),
        ("quantize {demo} -o {bad}/o --recipe dynamic --only nosuch", "matches no operator or constant"),
        ("plan {demo} --recipe dynamic --skip-type CONV_3D", "matches no operator type"),
        ("quantize {demo} -o {bad}/none/o --recipe dynamic", "none: no such folder"),
        ("quantize {demo} -o {bad}/folder --recipe dynamic", "not a regular file"),
        ("quantize {demo} -o {bad}/o --recipe float16 --range mse", "say nothing to mode 'float16'"),
        ("quantize {demo} -o {bad}/o --recipe dynamic --asymmetric", "require zero point 0"),
        ("quantize {demo} -o {bad}/o --recipe dynamic --granularity block", "has kernels with blocks"),
        ("quantize {demo} --recipe dynamic", "-o/--output"),
        ("quantise {demo}", "invalid choice: 'quantise'"),
        ("quantize {demo} -o {bad}/o --recipe dynamic --min-elements few", "invalid int value"),
        ("plan {demo}", "--recipe"),
    ],
)
def test_bad_requests_are_one_line_and_exit_2(
    bad: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    status, out, error = run(capsys, *(w.format(bad=bad, demo=DEMO) for w in words.split()))
    assert (status, out) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert not (bad / "o").exists()


def test_as_a_process(tmp_path: Path) -> None:
    """The installed module, a closed pipe and an unknown option."""
    done = subprocess.run(
        [sys.executable, "-m", "quantlib", "--version"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.split() == ["quantlib", ql.__version__]
    reader, writer = os.pipe()
    os.close(reader)
    closed = subprocess.run(
        [sys.executable, "-m", "quantlib", "inspect", DEMO, "--tensors"],
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (closed.returncode, closed.stderr) == (0, "")

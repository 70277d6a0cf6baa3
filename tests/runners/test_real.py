"""Real numbers in and out of a model whose inputs and outputs are integers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue
from quantlib.numerics import dequantize, quantize, round_half_away
from quantlib.runners import affine_of
from quantlib.tflite import Table
from tests.conformance.judge import End, int8, operator
from tests.support.command import run as command

IMAGES = np.load(ql.demo.SAMPLES)["image"][:3]


@pytest.fixture(scope="module")
def small() -> ql.Model:
    """Integers go in and come out; no scale is a power of two."""
    recipe = ql.recipes.int8(input_type="UINT8", output_type="INT8", default_ranges=(-0.7, 0.9))
    return ql.quantize(ql.read(ql.demo.MODEL), recipe)


def gather(**fields: object) -> ql.Model:
    """An INT8 input with a scale, and one of indices."""
    options = Table("GatherOptions", axis=1)
    return operator("GATHER", [int8((1, 4), 0.5, **fields), End("INT32", (2,))], int8((1, 2), 0.5), options)


@pytest.mark.parametrize("all_tensors", [False, True])
def test_it_is_quantizing_before_and_dequantizing_behind(small: ql.Model, all_tensors: bool) -> None:
    of_x = affine_of(small.tensor("image"))
    assert of_x is not None
    integers = ql.run(small, quantize(IMAGES, of_x, rounding=round_half_away), all_tensors=all_tensors)
    found = ql.run(small, IMAGES, real=True, all_tensors=all_tensors)
    assert list(found) == list(integers)
    assert (len(found) > 5) == all_tensors
    for name, values in found.items():
        affine = affine_of(small.tensor(name))
        assert affine is not None
        assert (values.dtype, integers[name].dtype) == (np.float32, affine.type.storage)
        np.testing.assert_array_equal(values, dequantize(integers[name], affine))


def test_what_has_no_scale_stays_what_it_is_and_ties_go_away_from_zero() -> None:
    data = [[np.float32([-0.75, -0.25, 0.25, 0.75]), np.array([0, 2], np.int32)]]
    found = ql.run(gather(), data, real=True, all_tensors=True)
    assert {name: values.dtype.name for name, values in found.items()} == {
        "y": "float32",
        "x0": "float32",
        "x1": "int32",
    }
    np.testing.assert_array_equal(found["x0"], [[-1, -0.5, 0.5, 1]])
    np.testing.assert_array_equal(found["y"], [[-1, 0.5]])
    np.testing.assert_array_equal(found["x1"], [[0, 2]])


def test_a_float_model_is_run_as_it_is() -> None:
    model = ql.read(ql.demo.MODEL)
    found, plain = (ql.run(model, IMAGES, real=real, all_tensors=True) for real in (True, False))
    for name, values in plain.items():
        np.testing.assert_array_equal(found[name], values)


def test_litert_is_given_the_same() -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra 'litert')")
    data = [[np.float32([-0.75, -0.25, 0.25, 0.75]), np.array([0, 2], np.int32)]]
    np.testing.assert_array_equal(ql.run(gather(), data, runner="litert", real=True)["y"], [[-1, 0.5]])


def test_failures_name_the_input_and_what_to_do() -> None:
    indices = np.zeros(2, np.int32)
    cases = (
        (np.zeros(4, np.float32), False, "float32 values where INT8 .*; `run` and `golden` do so by real=True"),
        (np.zeros(4, np.int8), True, "int8 values where FLOAT32 is required; give floats"),
        (np.full(4, np.nan, np.float32), True, "NaN at index .* can't be quantized; remove or replace it"),
    )
    for x, real, message in cases:
        with pytest.raises(InvalidValue, match=f"^sample 0: input 'x0': {message}"):
            ql.run(gather(), [[x, indices]], real=real)


def test_several_scales_are_none() -> None:
    model = gather()
    quantization = ql.Quantization(np.float32([1, 2, 3, 4]), np.zeros(4, np.int64), 1)
    model = model.replace("x0", quantization=quantization)
    with pytest.raises(InvalidValue, match=r"^sample 0: input 'x0': float32 values where INT8 is required"):
        ql.run(model, [[np.zeros(4, np.float32), np.zeros(2, np.int32)]], real=True)


def test_golden_takes_the_float_models_samples(small: ql.Model, tmp_path: Path) -> None:
    of_x = affine_of(small.tensor("image"))
    assert of_x is not None
    integers = quantize(IMAGES, of_x, rounding=round_half_away)
    ql.golden(small, IMAGES, tmp_path / "real", real=True, samples=3)
    ql.golden(small, integers, tmp_path / "integers", samples=3)
    for path in (p for p in (tmp_path / "integers").rglob("*") if p.is_file()):
        assert (tmp_path / "real" / path.relative_to(tmp_path / "integers")).read_bytes() == path.read_bytes()


def test_from_the_shell(small: ql.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.write(tmp_path / "m.tflite")
    words = (tmp_path / "m.tflite", "--data", ql.demo.SAMPLES)
    status, text, error = command(capsys, "run", *words, "-o", tmp_path / "o")
    assert (status, text, error.count("\n")) == (2, "", 1)
    assert error.startswith("quantlib run: sample 0: input 'image': float32 values where UINT8 is required; ")
    assert error.endswith("by real=True (--real), where it has them\n")
    status, text, error = command(capsys, "run", *words, "-o", tmp_path / "o", "--real")
    assert (status, text, error) == (0, "probabilities float32 [450, 10]\n", "")
    assert command(capsys, "golden", *words, "-o", tmp_path / "v")[0] == 2
    assert command(capsys, "golden", *words, "-o", tmp_path / "v", "--real")[0] == 0
    assert json.loads((tmp_path / "v" / "index.json").read_text())["samples"] == 1

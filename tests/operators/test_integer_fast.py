"""Requantization in float64: every integer equals that of 64-bit arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quantlib.numerics import Affine
from quantlib.operators.integer_fast import fits_float64
from quantlib.operators.integer_requantize import fixed_point
from tests.support.examples import examples

ROUNDINGS: tuple[Any, ...] = ("double", "upward")


def judge(real: Any, output: Affine, rounding: Any, sums: Any, bias: Any = None, activation: int = 0) -> None:
    fast = fixed_point(real, output, rounding=rounding, bias=bias, activation=activation)
    assert fast.fast is not None
    plain = replace(fast, fast=None, slow=None)
    np.testing.assert_array_equal(fast(sums), plain(sums))


def around(real: float) -> Any:
    """Accumulators around those whose product with a multiplier lies between two integers, and others."""
    halves = np.arange(-300, 300) + 0.5
    near = np.rint(halves[:, None] / real) + np.arange(-2, 3)
    far = np.random.default_rng(0).integers(-(1 << 23), 1 << 23, 2000)
    return np.concatenate([near[np.abs(near) < 1 << 24].ravel(), far, [0, -1, 1]])


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("right", range(13))
@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
def test_ties_and_their_neighbours(kind: str, right: int, rounding: str) -> None:
    for mantissa in (0.5, 0.625, 0.75, 1 - 2.0**-31, 0.7071067811865476):
        real = mantissa * 2.0**-right
        for point in (0, 100):
            for dtype in (np.float32, np.float64, np.int32):
                judge(real, Affine(kind, 0.1, point), rounding, around(real).astype(dtype))


@examples(40)
@given(st.integers(0, 2**32 - 1), st.sampled_from(ROUNDINGS), st.integers(0, 3))
def test_channels(seed: int, rounding: str, activation: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 40))
    real = np.exp2(rng.uniform(-16, -0.01, count))
    bias = rng.integers(-(1 << 20), 1 << 20, count).astype(np.int32)
    sums = np.rint(rng.uniform(-400, 400, (50, count)) / real)
    output = Affine("INT8", 0.05, int(rng.integers(-128, 128)))
    made = fixed_point(real, output, rounding=rounding, bias=bias, activation=activation)  # type: ignore[arg-type] # drawn
    assume(made.fast is not None)
    judge(real, output, rounding, sums, bias, activation)


def test_channels_of_tiny_multipliers_go_another_way() -> None:
    real = np.array([0.25, 2.0**-20, 0.125, 0.3])
    made = fixed_point(real, Affine("INT8", 0.1, 3))
    assert made.slow is not None
    assert made.slow[0].tolist() == [1]
    assert made(np.array([[2, 1 << 22, -2, 600]])).tolist() == [[4, 7, 3, 127]]
    assert fixed_point(np.array([0.25, 2.0**-20, 2.0**-21]), Affine("INT8", 0.1, 3)).fast is None


def test_sums_beyond_int32_lose_what_it_cannot_hold() -> None:
    made = fixed_point(2.0**-12, Affine("INT8", 0.1), bias=np.array([5], np.int32))
    assert made.fast is not None
    assert not made.fast.holds(np.array([float(1 << 31) - 3]))
    assert made(np.array([[float(1 << 31) - 3]])).tolist() == [[-128]]
    assert made(np.array([[float(1 << 31) - 7]])).tolist() == [[127]]


def test_16_bits() -> None:
    assert fits_float64(np.array([-3, -4, -5, -6]), 0, -32768, 32767).tolist() == [True, True, True, False]
    sums = np.arange(-(1 << 20), 1 << 20, 7)
    judge(0.3 / 8, Affine("INT16", 0.1), "double", sums)

"""Roundings against exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.numerics import ROUNDINGS, round_half_away, round_half_even


def half_away(x: float) -> float:
    return math.copysign(math.floor(abs(Fraction(x)) + Fraction(1, 2)), x)


def half_even(x: float) -> float:
    return math.copysign(round(abs(Fraction(x))), x)


def same(a, b) -> bool:
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a), np.signbit(b))


@pytest.mark.parametrize(("rounding", "exact"), [(round_half_away, half_away), (round_half_even, half_even)])
def test_all_of_float16(rounding, exact):
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    x = x[np.isfinite(x)]
    assert same(rounding(x), np.array([exact(float(v)) for v in x], np.float16))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(0.49999997)
@example(-0.49999997)
@example(8388609.0)
@example(8388607.5)
@example(4194304.5)
@example(16777215.0)
def test_half_away_float32(x):
    assert same(round_half_away(np.array([x], np.float32)), np.array([half_away(x)], np.float32))


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(0.49999999999999994)
@example(4503599627370497.5)
def test_half_away_float64(x):
    assert same(round_half_away(np.array([x])), np.array([half_away(x)]))


def test_half_away_at_every_half():
    n = np.arange(2**16, dtype=np.float32)
    half = n + np.float32(0.5)
    for sign in (1, -1):
        assert same(round_half_away(sign * half), sign * (n + 1))
        assert same(round_half_away(sign * np.nextafter(half, np.float32(0))), sign * n)


@pytest.mark.parametrize("rounding", ROUNDINGS.values(), ids=ROUNDINGS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_special_values_and_out(rounding, dtype):
    x = np.array([0.0, -0.0, -0.25, np.inf, -np.inf, np.nan, 2.75], dtype)
    expected = np.array([0.0, -0.0, -0.0, np.inf, -np.inf, np.nan, 3.0], dtype)
    assert same(rounding(x), expected)
    out = np.empty_like(x)
    assert rounding(x, out) is out
    assert same(out, expected)
    assert rounding(x, out=x) is x
    assert same(x, expected)


@pytest.mark.parametrize("rounding", ROUNDINGS.values(), ids=ROUNDINGS)
def test_shapes_and_dtypes(rounding):
    assert rounding(1.6).shape == ()
    assert rounding(np.zeros((0, 3), np.float32)).shape == (0, 3)
    assert same(rounding(np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2] + 0.75), [[1, 3], [5, 7], [9, 11]])
    for wrong in ([1, 2], [True], ["a"], [1j]):
        with pytest.raises(InvalidValue, match="not float"):
            rounding(wrong)


def test_names():
    assert dict(ROUNDINGS) == {"half_even": round_half_even, "half_away": round_half_away}

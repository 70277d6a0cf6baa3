"""The mean of squares that a histogram knows, within half a bin of each value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.calibration import HistogramState

from .strategies import arrays


def check(state, values):
    """Each value lies at most half a bin from the middle that it is taken for; zeros are exact."""
    finite = values[np.isfinite(values)].astype(np.longdouble)
    if not finite.size or state.exponent is None:
        assert state.mean_square == 0
        return
    half = np.ldexp(np.longdouble(0.5), state.exponent)
    rest = finite[finite != 0]
    true = np.square(rest).sum() / finite.size
    most = (half * (2 * np.abs(rest) + half)).sum() / finite.size
    smallest = np.finfo(np.float64).smallest_subnormal  # what a float64 can tell apart at all
    assert abs(np.longdouble(state.mean_square) - true) <= most * (1 + 1e-9) + smallest


@given(st.lists(arrays(dtypes=("float16", "float32")), max_size=4))
def test_it_is_that_of_the_values_within_half_a_bin(pieces):
    state = HistogramState()
    for piece in pieces:
        state = state.observe(piece)
    check(state, np.concatenate([np.zeros(0), *(p.astype(np.float64).reshape(-1) for p in pieces)]))


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 7.0, 1e30])
@pytest.mark.parametrize("mean", [0.0, 3.0, -100.0])
def test_the_variance_of_many_values_follows(mean, scale):
    """From 2,048 bins the variance is known to 0.1 %, unless the mean is many bins away."""
    x = ((np.random.default_rng(0).normal(size=50_000) + mean) * scale).astype(np.float32)
    state = HistogramState().observe(x)
    true = np.square(x.astype(np.float64)).mean()
    assert state.mean_square == pytest.approx(true, rel=2e-4)
    if not mean:
        assert state.mean_square - state.mean**2 == pytest.approx(np.var(x.astype(np.float64)), rel=1e-3)


def test_zeros_count_and_what_is_not_finite_does_not():
    state = HistogramState().observe(np.array([0.0, 0.0, 0.0, 4.0, np.nan, np.inf], np.float32))
    assert state.count == 4
    assert math.isclose(state.mean_square, 4.0, rel_tol=1e-2)


@pytest.mark.parametrize("x", [[], [0.0, -0.0], [np.nan, np.inf]])
def test_without_values_it_is_0(x):
    assert HistogramState().observe(np.array(x, np.float32)).mean_square == 0


@pytest.mark.parametrize(("value", "expected"), [(1e300, math.inf), (-1e160, math.inf), (1e-300, 0.0)])
def test_squares_beyond_float64_are_infinite_or_0(value, expected):
    assert HistogramState().observe(np.array([value, value])).mean_square == expected

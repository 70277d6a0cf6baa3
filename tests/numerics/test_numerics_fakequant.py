"""FAKE_QUANT against a transcription, one value at a time, of what the runtime computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidRange, InvalidValue
from quantlib.numerics import PerAxis, fake_quantize_nudged, nudged_range
from quantlib.numerics._blocks import BLOCK

F = np.float32


def half_away(x):
    return F(math.copysign(math.floor(abs(float(x)) + 0.5), x))


def nudge(lo, hi, bits, narrow):
    lo, hi, qmin, qmax = F(lo), F(hi), F(int(narrow)), F(2**bits - 1)
    scale = (hi - lo) / (qmax - qmin)
    position = qmin - lo / scale
    zero_point = qmin if position < qmin else qmax if position > qmax else half_away(position)
    return (qmin - zero_point) * scale, (qmax - zero_point) * scale, scale, int(zero_point)


def one(x, lo, hi, scale):
    clamped = lo if math.isnan(x) else min(hi, max(lo, F(x)))
    return half_away((clamped - lo) * (F(1) / scale)) * scale + lo


RANGES = st.tuples(st.floats(-1000, 0, width=32), st.floats(0, 1000, width=32)).filter(lambda r: r[1] - r[0] > 1e-3)


@given(RANGES, st.integers(2, 16), st.booleans(), st.lists(st.floats(width=32), min_size=1, max_size=9))
def test_one_value_at_a_time(ends, bits, narrow, values):
    lo, hi, scale, zero_point = nudge(*ends, bits, narrow)
    nudged = nudged_range(*ends, bits, narrow)
    assert [v[0] for v in nudged] == [lo, hi, scale, zero_point]
    expected = np.array([one(x, lo, hi, scale) for x in values], F)
    result = fake_quantize_nudged(np.array(values, F), *ends, bits, narrow)
    assert result.dtype == F
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("axis", [0, 1])
def test_per_channel_is_each_channel_alone(axis):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, BLOCK // 3)).astype(F)
    lo, hi = -rng.uniform(0.5, 2, x.shape[axis]), rng.uniform(0.5, 2, x.shape[axis])
    result = fake_quantize_nudged(x, lo, hi, 4, granularity=PerAxis(axis))
    for c in list(range(x.shape[axis]))[:50]:
        alone = fake_quantize_nudged(x.take(c, axis), lo[c], hi[c], 4)
        np.testing.assert_array_equal(result.take(c, axis), alone)


def test_nan_becomes_the_least_value_and_nothing_else_changes():
    x = np.linspace(-2, 2, BLOCK + 9, dtype=F)
    clean = fake_quantize_nudged(x, -1.0, 1.0)
    x[5] = np.nan
    result = fake_quantize_nudged(x, -1.0, 1.0)
    assert result[5] == nudged_range(-1.0, 1.0)[0][0]
    np.testing.assert_array_equal(np.delete(result, 5), np.delete(clean, 5))


@pytest.mark.parametrize(
    ("lo", "hi"),
    [
        (0.0, 0.0),
        (1.0, 2.0),
        (-2.0, -1.0),
        (1.0, -1.0),
        (np.nan, 1.0),
        (-1.0, np.inf),
        (-3e38, 3e38),
        (0.0, 1e-37),
    ],
)
def test_ranges_that_cannot_be_nudged(lo, hi):
    with pytest.raises(InvalidRange, match="of channel 0 can't be nudged"):
        nudged_range(lo, hi)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nudged_range(-1.0, 1.0, 1), "bits is 1"),
        (lambda: nudged_range(-1.0, 1.0, 17), "bits is 17"),
        (lambda: nudged_range([-1.0], [1.0, 2.0]), "as many of each"),
        (lambda: fake_quantize_nudged([1], -1.0, 1.0), "is not float"),
        (lambda: fake_quantize_nudged(np.zeros((2, 3)), -1.0, 1.0, granularity=PerAxis(1)), "1 ranges for"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(InvalidValue, match=message):
        call()

"""Range choosers against their definitions, written out the slow way."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quantlib.calibration import (
    MSE,
    RANGES,
    Blend,
    Entropy,
    Headroom,
    HistogramState,
    MinMax,
    MinMaxState,
    MovingAverageState,
    Percentile,
    ranges,
)
from quantlib.calibration.ranges import TIE, divergences
from quantlib.errors import InvalidRange, InvalidValue
from quantlib.numerics import affine_from_range
from tests.support.examples import examples

from .strategies import arrays

ALL = [MinMax(), Percentile(), Percentile(100), Percentile(99), Percentile(50), Entropy(), MSE()]
TYPES = ["INT8", "UINT8", "INT16", "INT4", "INT2"]
FINITE = arrays(("float16", "float32")).map(lambda x: x[np.isfinite(x)]).filter(len)


@examples(60)
@given(FINITE, st.sampled_from(TYPES), st.booleans(), st.sampled_from(ALL))
@example(np.zeros(3, np.float32), "INT8", False, MSE())
@example(np.zeros(3, np.float32), "INT8", True, Entropy())
@example(np.array([-np.finfo(np.float32).max, np.finfo(np.float32).max]), "INT8", False, Entropy())
@example(np.array([2.0**-149], np.float32), "INT16", False, MSE())
@example(np.array([-5.0, -3.0], np.float32), "INT8", False, Percentile(50))
def test_what_holds_of_every_range(x, kind, symmetric, chooser):
    state = HistogramState().observe(x)
    lo, hi = chooser.choose(state, symmetric=symmetric, type=kind)
    full = MinMax().choose(state, symmetric=symmetric, type=kind)
    assert full[0] <= lo <= 0 <= hi <= full[1]
    assert type(lo) is type(hi) is float
    assert [math.copysign(1, v) for v in (lo, hi) if v == 0] == [1.0] * [lo, hi].count(0)
    if symmetric:
        assert lo == -hi
    assert affine_from_range(lo, hi, kind, symmetric=symmetric).scale[0] > 0
    assert chooser.choose(state, symmetric=symmetric, type=kind) == (lo, hi)


def test_min_max():
    state = MinMaxState().observe([0.5, 3.0])
    assert MinMax().choose(state) == (0, 3)
    assert MinMax().choose(state.observe([-4.0])) == (-4, 3)
    assert MinMax().choose(state.observe([-4.0]), symmetric=True) == (-4, 4)
    assert MinMax().choose(MinMaxState().observe([-2.0])) == (-2, 0)
    moving = MovingAverageState(momentum=0.5).observe([-1.0, 1.0]).observe([-3.0, 5.0])
    assert MinMax().choose(moving) == (-2, 3)


@pytest.mark.parametrize("chooser", ALL, ids=repr)
def test_tensors_without_values(chooser):
    with pytest.raises(InvalidRange, match="no value was observed; calibrate with data that reaches the tensor"):
        chooser.choose(HistogramState())
    with pytest.raises(InvalidRange, match="2 values, none of them finite, was observed"):
        chooser.choose(HistogramState().observe([np.nan, np.inf]))
    for kind in ("FLOAT16", "BOOL"):
        with pytest.raises(InvalidValue, match=f"{kind} has no grid; use an integer type such as INT8"):
            chooser.choose(HistogramState().observe([1.0]), type=kind)


@pytest.mark.parametrize("chooser", [Percentile(), Entropy(), MSE()], ids=repr)
def test_choosers_that_need_a_histogram(chooser):
    for state in (MinMaxState(), MovingAverageState()):
        message = f"range '{chooser.name}' needs a histogram, which observer '{state.observer}' doesn't keep"
        with pytest.raises(InvalidValue, match=message):
            chooser.choose(state.observe([1.0]))


def test_choosers_by_name():
    assert {name: kind.name for name, kind in RANGES.items()} == {name: name for name in RANGES}
    assert [kind() for kind in RANGES.values()] == [
        MinMax(),
        Percentile(99.99),
        Entropy(),
        MSE(),
        Blend(),
        Headroom(),
    ]


@examples(80)
@given(FINITE, st.booleans())
def test_blend_lies_between_its_two(x, symmetric):
    state = HistogramState().observe(x)
    (a, b), (c, d) = (rule.choose(state, symmetric=symmetric) for rule in (MSE(), Percentile(99.99)))
    lo, hi = Blend().choose(state, symmetric=symmetric)
    assert lo <= 0 <= hi
    for blend, mse, percentile in ((-lo, -a, -c), (hi, b, d)):
        parts = [0.3 * math.log(mse), 0.7 * math.log(percentile)] if mse and percentile else [-math.inf]
        assert blend == pytest.approx(math.exp(math.fsum(parts)), rel=1e-12)
        assert not (mse and percentile) or min(mse, percentile) <= blend <= max(mse, percentile)
    assert math.copysign(1, lo) == (-1 if lo else 1)


@examples(80)
@given(FINITE, st.booleans())
def test_headroom_is_half_as_wide_again(x, symmetric):
    state = HistogramState().observe(x)
    (lo, hi), (low, high) = (rule.choose(state, symmetric=symmetric) for rule in (Headroom(), MinMax()))
    most = float(np.finfo(np.float32).max)
    assert (lo, hi) == (max(1.5 * low, -most), min(1.5 * high, most))
    assert Headroom().choose(MinMaxState().observe([-2.0, 1.0])) == (-3, 1.5)  # it needs no histogram


# --- percentile


@examples(80)
@given(FINITE, st.sampled_from([0.01, 10, 50, 90, 99, 99.9, 99.99, 100]), st.booleans())
def test_percentile_is_the_outer_edge(x, p, symmetric):
    state = HistogramState().observe(x)
    lo, hi = Percentile(p).choose(state, symmetric=symmetric)
    width = 0 if state.exponent is None else 2.0**state.exponent
    share = Fraction(str(p)) / 100
    x = np.sort(np.abs(x).astype(np.float64) if symmetric else x.astype(np.float64))
    rank = math.ceil((share if symmetric else (1 + share) / 2) * x.size)
    upper = max(0.0, x[rank - 1])
    # The quantile itself lies within, and the edge is less than a bin away.
    assert upper <= hi <= upper + width
    assert hi == max(0.0, x[-1]) or hi % width == 0
    if not symmetric:
        lower = min(0.0, x[x.size - rank])
        assert lower - width <= lo <= lower


def test_percentile_counts_values_exactly():
    x = np.arange(1, 10001) / 10000 * 1023  # exponent 0
    state = HistogramState().observe(x)
    assert Percentile(99.99).choose(state, symmetric=True)[1] == math.floor(x[9998]) + 1
    assert Percentile(100).choose(state, symmetric=True)[1] == 1023
    # 1,000 values, one in each bin: one tenth outside is the last hundred.
    state = HistogramState().observe(np.arange(1000.0) + 0.5)
    # The float 99.9 is a bit more than 99.9: as such, it would take all.
    assert Percentile(99.9).choose(state, symmetric=True) == (-999, 999)
    assert Percentile(90).choose(state, symmetric=True) == (-900, 900)
    assert Percentile(90).choose(state) == (0, 950)
    both = HistogramState().observe(np.arange(-1000.0, 1000) + 0.5)
    assert Percentile(90).choose(both) == (-900, 900)
    assert Percentile(90).choose(both, symmetric=True) == (-900, 900)


def test_zeros_count_as_values():
    state = HistogramState().observe([*[0.0] * 990, *range(1, 11)])
    assert Percentile(99).choose(state, symmetric=True) == (0, 0)
    assert Percentile(99.5).choose(state, symmetric=True)[1] == 5 + 1 / 64
    assert Percentile(98).choose(state) == (0, 0)


@pytest.mark.parametrize("p", [0, -1, 100.1, math.nan])
def test_percentiles_that_are_none(p):
    with pytest.raises(InvalidValue, match="a number above 0 and up to 100 is required"):
        Percentile(p)


# --- entropy


def naive_divergences(h, groups):
    """KL(P || Q) of every candidate, bin by bin, as the definition has it."""
    h, result = [int(v) for v in h], []
    for size in range(groups, len(h) + 1):
        p = [float(v) for v in h[:size]]
        p[-1] += float(sum(h[size:]))
        q = [0.0] * size
        for g in range(groups):
            inside = range(g * size // groups, (g + 1) * size // groups)
            filled = [i for i in inside if h[i]]
            total = float(sum(h[i] for i in filled))
            for i in filled:
                q[i] = total / len(filled)
        if sum(q) == 0:
            result.append(math.inf)
            continue
        whole, inner = sum(p), sum(q)
        terms = [
            (math.inf if b == 0 else a / whole * math.log((a / whole) / (b / inner)))
            for a, b in zip(p, q, strict=True)
            if a
        ]
        result.append(math.fsum(terms))
    return np.array(result)


@examples(25)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["dense", "sparse", "spiky", "few"]), st.sampled_from([2, 8, 24]))
def test_divergence_is_that_of_the_naive_loop(seed, kind, groups):
    rng = np.random.default_rng(seed)
    h = rng.integers(0, 1000, 96)
    h[rng.random(96) < {"dense": 0.0, "sparse": 0.7, "spiky": 0.3, "few": 0.97}[kind]] = 0
    if kind == "spiky":
        h[rng.integers(0, 96)] = 10**6
    if not h.any():
        h[50] = 1
    ours, naive = divergences(h, groups), naive_divergences(h, groups)
    np.testing.assert_array_equal(np.isinf(ours), np.isinf(naive))
    finite = np.isfinite(naive)
    np.testing.assert_allclose(ours[finite], naive[finite], rtol=0, atol=TIE / 2)
    last = [int(np.flatnonzero(v <= v.min() + TIE)[-1]) for v in (ours, naive)]
    assert last[0] == last[1]


@pytest.mark.parametrize(
    ("kind", "groups", "seed"), [("INT8", 128, 0), ("INT8", 128, 1), ("UINT8", 128, 2), ("INT4", 8, 2)]
)
def test_entropy_takes_the_argmin_of_the_naive_loop(kind, groups, seed):
    x = np.random.default_rng(seed).standard_t(2 + seed, 3000).astype(np.float32)
    state = HistogramState().observe(x)
    h = state.counts[1024:] + state.counts[1023::-1]
    naive = naive_divergences(h, groups)
    best = groups + int(np.flatnonzero(naive <= naive.min() + TIE)[-1])
    threshold = best * 2.0**state.exponent
    assert threshold < 0.9 * max(-state.min, state.max)
    assert Entropy().choose(state, symmetric=True, type=kind) == (-threshold, threshold)
    lo, hi = Entropy().choose(state, type=kind)
    assert (lo, hi) == (max(state.min, -threshold), min(state.max, threshold))


def test_ties_go_to_the_widest():
    # Every value alone in its group: nothing is lost, however wide the range.
    state = HistogramState().observe([1.0, 2.0, 700.0])
    assert Entropy().choose(state, symmetric=True) == (-700, 700)
    h = np.zeros(1024, np.int64)
    h[5] = 7
    assert np.count_nonzero(divergences(h, 128) <= TIE) == 1024 - 128 + 1


def test_ties_are_up_to_rounding(monkeypatch):
    def tied(h, groups):
        return np.array([2.0, 1.0, 1 + TIE / 2, 1 + 2 * TIE, 3.0])

    monkeypatch.setattr(ranges, "divergences", tied)
    state = HistogramState().observe([1000.0])
    assert Entropy().choose(state) == (0, 128 + 2)


def test_entropy_leaves_zeros_out():
    x = np.random.default_rng(0).standard_t(3, 5000)
    state = HistogramState().observe(x)
    assert Entropy().choose(state.observe(np.zeros(10**6))) == Entropy().choose(state)


def test_entropy_of_wide_types_is_min_max():
    state = HistogramState().observe(np.random.default_rng(0).standard_t(2, 5000))
    for kind in ("INT16", "INT32"):
        assert Entropy().choose(state, type=kind) == MinMax().choose(state)


def test_the_whole_is_one_candidate():
    # 1,024 groups for as many bins, as a type of 11 bits would have: the only candidate loses nothing.
    h = np.random.default_rng(0).integers(0, 9, 1024)
    np.testing.assert_allclose(divergences(h, 1024), [0], atol=TIE)

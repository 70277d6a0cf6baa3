"""States against exact arithmetic; and that nothing but the multiset of arrays counts."""

from __future__ import annotations

import copy
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quantlib.calibration import (
    OBSERVERS,
    Channels,
    HistogramState,
    MinMaxState,
    MovingAverageState,
    new_state,
)
from quantlib.calibration._bins import _QUICK_AT, _counted, coarsened
from quantlib.calibration._scan import BLOCK
from quantlib.errors import InvalidValue, NotFound
from tests.support.examples import examples

from .strategies import arrays, trees

MERGEABLE = ("histogram", "minmax")
TINY32, TINY64 = 2.0**-149, 2.0**-1074


def exact_bins(values):
    """(exponent, counts) by the definition, in rational arithmetic."""
    values = [Fraction(v) for v in values if v]
    counts = np.zeros(2048, np.int64)
    if not values:
        return None, counts
    largest = max(map(abs, values))
    exponent = -1100
    while largest >= 1024 * Fraction(2) ** exponent:
        exponent += 1
    for v in values:
        counts[math.floor(v / Fraction(2) ** exponent) + 1024] += 1
    return exponent, counts


def check(state, pieces):
    """Compare a state with what the definition says of all values of some arrays."""
    values = np.concatenate([np.asarray(p, np.float64).reshape(-1) for p in pieces])
    finite = values[np.isfinite(values)]
    assert state.count == finite.size
    assert state.nonfinite == values.size - finite.size
    assert state.zeros == np.count_nonzero(finite == 0)
    assert state.range == ((finite.min(), finite.max()) if finite.size else (math.inf, -math.inf))
    assert math.copysign(1, state.min + 0.0) == math.copysign(1, state.min)
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum((Fraction(float(p[np.isfinite(p)].sum(dtype=np.float64))) for p in pieces), Fraction())
    assert Fraction(state.total, 2**1074) == total
    exponent, counts = exact_bins(finite.tolist())
    assert state.exponent == exponent
    np.testing.assert_array_equal(state.counts, counts)


@examples(100)
@given(st.lists(arrays(), min_size=1, max_size=5))
@example([np.array([-TINY32, 2048.0], np.float32)])
@example([np.array([2048.0], np.float32), np.array([-TINY32, TINY32, -1e-40, 0.0], np.float32)])
@example([np.array([-TINY64]), np.array([1e300]), np.array([-1e-20], np.float32)])
@example([np.array([1024.0]), np.array([-1024.0]), np.array([1023.9999])])
@example([np.array([-0.0], np.float32), np.array([0.0], np.float32)])
@example([np.array([np.finfo(np.float32).max, -np.finfo(np.float32).max], np.float32)])
@example([np.array([np.nan, 3.0, np.inf, -np.inf, -2.0])])
def test_a_state_is_what_the_definition_says(pieces):
    # So that no float64 sum overflows; that has a test of its own.
    small = [np.clip(p, -1e300, 1e300) if p.dtype == np.float64 else p for p in pieces]
    state = HistogramState()
    for piece in small:
        state = state.observe(piece)
    check(state, small)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8"])
@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17])
def test_pieces_are_joined_seamlessly(dtype, size):
    rng = np.random.default_rng(size)
    x = (rng.normal(size=size) * np.linspace(1, 100, size)).astype(dtype)
    x[:: max(1, size // 7)] = 0
    state = HistogramState().observe(x)
    exponent = math.frexp(float(np.abs(x).max()))[1] - 10 if x.any() else None
    assert state.exponent == exponent
    if exponent is not None:
        k = np.floor(x[x != 0].astype(np.float64) / 2.0**exponent).astype(np.int64)
        np.testing.assert_array_equal(state.counts, np.bincount(k + 1024, minlength=2048))
    assert (state.min, state.max, state.count) == (x.min(), x.max(), size)
    assert state.sum == pytest.approx(float(x.sum(dtype=np.float64)), rel=1e-12)
    assert state.zeros + state.counts.sum() == size


def test_any_layout_is_read():
    x = np.random.default_rng(0).normal(size=(7, 12, 5)).astype(np.float32)
    state = HistogramState().observe(x)
    assert HistogramState().observe(np.asfortranarray(x)) == state
    assert HistogramState().observe(np.repeat(x, 2, axis=1)[:, ::2]) == state
    assert HistogramState().observe(x.tolist()).counts.sum() == x.size
    assert HistogramState().observe(np.float32(2.5)).max == 2.5
    assert HistogramState().observe(x[:0]) == HistogramState()


@examples(60)
@given(st.data(), st.lists(arrays(), max_size=7), st.sampled_from(MERGEABLE))
def test_any_sharding_order_and_tree_gives_the_same_bits(data, pieces, observer):
    whole = new_state(observer)
    for piece in pieces:
        whole = whole.observe(piece)
    shuffled = data.draw(st.permutations(pieces))
    shards = [new_state(observer) for _ in range(data.draw(st.integers(1, 4)))]
    for piece in shuffled:
        i = data.draw(st.integers(0, len(shards) - 1))
        shards[i] = shards[i].observe(piece)
    merged = trees(data.draw, shards, lambda a, b: a.merge(b))
    assert merged == whole
    assert hash(merged) == hash(whole)
    assert repr(merged) == repr(whole)


@examples(50)
@given(arrays(), arrays(), arrays(), st.sampled_from(MERGEABLE))
def test_merge_is_a_commutative_monoid(x, y, z, observer):
    a, b, c = (new_state(observer).observe(v) for v in (x, y, z))
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(new_state(observer)) == a == new_state(observer).merge(a)


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 9, 10, 11, 40])
def test_coarsening_adds_up_neighbours(steps):
    k = np.random.default_rng(3).integers(-1024, 1024, 5000)
    counts = np.bincount(k + 1024, minlength=2048)
    np.testing.assert_array_equal(coarsened(counts, steps), np.bincount((k >> steps) + 1024, minlength=2048))


@pytest.mark.parametrize("quick", [False, True])
def test_both_ways_of_counting(quick):
    indices = np.random.default_rng(4).integers(0, 2048, 1000)
    found = _counted(indices, quick)
    np.testing.assert_array_equal(found, np.bincount(indices, minlength=2048))
    assert found.dtype == np.int64
    recent = np.lib.NumpyVersion(np.__version__) >= "1.25.0"
    assert recent == _QUICK_AT


def test_states_are_values():
    for observer in OBSERVERS:
        state = new_state(observer, channel_axis=0).observe([[1.0, 2.0], [3.0, -4.0]])
        for other in (pickle.loads(pickle.dumps(state)), copy.deepcopy(state)):
            assert other == state
            assert hash(other) == hash(state)
        assert state != state.observe([[0.0], [0.0]])
        assert state != "state"
        with pytest.raises(AttributeError):
            state.count = 3
    state = pickle.loads(pickle.dumps(HistogramState().observe([1.0])))
    with pytest.raises(ValueError, match="read-only"):
        state.counts[0] = 1
    assert MinMaxState() != HistogramState()
    mine = np.zeros(2048, np.int64)
    state = HistogramState(counts=mine)
    mine[0] = 1
    assert not state.counts.any()


def test_observing_leaves_the_state_as_it_was():
    before = HistogramState().observe([1.0, 2.0])
    counts = before.counts.copy()
    before.observe([1e6])
    before.merge(HistogramState().observe([1e9]))
    np.testing.assert_array_equal(before.counts, counts)
    assert before.max == 2


@pytest.mark.parametrize("x", [[1, 2], [True], ["a"], [1j], np.ones(2, np.longdouble)])
def test_only_floats_are_observed(x):
    with pytest.raises(InvalidValue, match="is not observed; pass a float16, float32 or float64 array"):
        HistogramState().observe(x)


def test_sums_are_exact_over_arrays():
    pieces = [[1e16], [1.0], [-1e16], [1e-300]]
    state = MinMaxState()
    for piece in pieces:
        state = state.observe(piece)
    assert Fraction(state.total, 2**1074) == 1 + Fraction(1e-300)
    assert state.sum == 1.0
    assert state.mean == 0.25
    assert MinMaxState().mean == 0


def test_sums_beyond_float64():
    huge = float(np.finfo(np.float64).max)
    state = MinMaxState().observe([huge, huge, huge, -huge])
    assert state.sum == math.inf
    assert state.mean == pytest.approx(huge / 2)
    assert MinMaxState().observe([huge, huge, 1.0]).observe([-huge, -huge]).sum == 0
    assert MinMaxState().observe([-huge, -huge]).sum == -math.inf
    two = new_state("minmax", channel_axis=0).observe([[huge, huge], [1.0, TINY64]])
    assert two.channels.mean.tolist() == [huge, 0.5]
    assert two.channels.totals == (2 * int(Fraction(huge) * 2**1074), 2**1074)


def test_moving_average():
    state = MovingAverageState().observe([-1.0, 2.0]).observe([np.nan]).observe([-3.0, 4.0])
    assert state.range == (-1.0 * 0.95 + -3.0 * (1 - 0.95), 2.0 * 0.95 + 4.0 * (1 - 0.95))
    assert (state.min, state.max, state.count, state.nonfinite) == (-3, 4, 4, 1)
    assert MovingAverageState(momentum=0.5).observe([8.0]).observe([0.0]).range == (4, 4)
    assert MovingAverageState().observe([np.nan]).observe([1.0, 2.0]).range == (1, 2)
    assert MovingAverageState().range == (math.inf, -math.inf)
    for momentum in (0.0, 1.0, math.nan):
        with pytest.raises(InvalidValue, match="momentum is"):
            MovingAverageState(momentum=momentum)


def test_moving_averages_are_not_merged():
    a, b = (MovingAverageState().observe([v]) for v in (1.0, 2.0))
    with pytest.raises(InvalidValue, match="depend on the order of the samples and can't be merged"):
        a.merge(b)
    assert a.merge(MovingAverageState()) == a == MovingAverageState().merge(a)
    with pytest.raises(InvalidValue, match=r"momenta 0.95 and 0.9; observe"):
        a.merge(MovingAverageState(momentum=0.9))


def test_states_of_different_kinds_are_not_merged():
    with pytest.raises(InvalidValue, match="states of observers 'minmax' and 'histogram'"):
        MinMaxState().merge(HistogramState())
    with pytest.raises(InvalidValue, match="one state has channels and the other has none"):
        MinMaxState().merge(new_state("minmax", channel_axis=0))
    with pytest.raises(InvalidValue, match="channels along axis 0 and axis 1"):
        new_state(channel_axis=0).merge(new_state(channel_axis=1))


@pytest.mark.parametrize("observer", OBSERVERS)
@pytest.mark.parametrize(("shape", "axis"), [((2, 5, 3), 1), ((4, 7), 0), ((3, 70), 1), ((6,), 0), ((0, 3), 1),
                                            ((1, 37, 11, 5), 3), ((9, 700), 1), ((200, 600), 1)])  # fmt: skip
def test_channels(observer, shape, axis):
    rng = np.random.default_rng(1)
    state = new_state(observer, channel_axis=axis)
    pieces = [rng.normal(size=shape).astype(np.float32) for _ in range(3)]
    if pieces[0].size > 6:
        pieces[1].flat[3] = np.nan
        pieces[2].flat[5] = np.inf
    for piece in pieces:
        state = state.observe(piece)
    rows = np.moveaxis(np.stack(pieces, -1), axis, 0).reshape(shape[axis], -1).astype(np.float64)
    for c, row in enumerate(rows):
        finite = row[np.isfinite(row)]
        assert state.channels.count[c] == finite.size
        # float32 additions, of up to 256 numbers: each may round by 2**-24 of what there is so far
        bound = min(255, finite.size) * 2.0**-24 * np.abs(finite).mean() if finite.size else 0
        assert abs(state.channels.mean[c] - (finite.mean() if finite.size else 0)) <= bound
    bound = 255 * 2.0**-24 * np.nansum(np.abs(np.where(np.isfinite(rows), rows, 0)))
    assert abs(Fraction(sum(state.channels.totals) - state.total, 2**1074)) <= bound


@pytest.mark.parametrize("channels", [3, 7, 600])
def test_channels_do_not_depend_on_the_layout(channels):
    """Images often are views of planes; worker processes get them as plain arrays."""
    view = np.random.default_rng(3).normal(size=(channels, 30, 41)).astype(np.float32).transpose(1, 2, 0)[None]
    state = new_state(channel_axis=3)
    assert state.observe(view) == state.observe(np.ascontiguousarray(view))


def test_channels_wait_to_be_added_exactly():
    """Sums of arrays that wait count as those that don't, whatever joins them."""
    pieces = np.ldexp(np.random.default_rng(2).normal(size=(70, 4, 3)), np.arange(70)[:, None, None] - 35)
    alone = [new_state(channel_axis=1).observe(p) for p in pieces]
    whole = new_state(channel_axis=1)
    for piece in pieces:
        whole = whole.observe(piece)
    joined = alone[0]
    for state in alone[:0:-1]:
        joined = state.merge(joined)
    assert whole == joined == pickle.loads(pickle.dumps(whole))
    sums = [sum(Fraction(float(v)) for v in pieces[:, :, c].sum(axis=1)) for c in range(3)]
    assert [Fraction(t, 2**1074) for t in whole.channels.totals] == sums


@examples(40)
@given(st.data(), st.lists(arrays(most=6), max_size=5))
def test_channels_merge_like_all_else(data, pieces):
    pieces = [np.resize(p, (2, 3)) for p in pieces if p.size]
    whole = new_state(channel_axis=1)
    for piece in pieces:
        whole = whole.observe(piece)
    states = [new_state(channel_axis=1).observe(p) for p in pieces] + [new_state(channel_axis=1)]
    assert trees(data.draw, states, lambda a, b: a.merge(b)) == whole


def test_channels_that_do_not_fit():
    state = new_state(channel_axis=1).observe(np.ones((2, 3), np.float32))
    with pytest.raises(InvalidValue, match="3 and 4 channels along axis 1"):
        state.observe(np.ones((2, 4)))
    with pytest.raises(InvalidValue, match="needs an axis 1"):
        state.observe(np.ones(3))
    with pytest.raises(InvalidValue, match="axis"):
        new_state(channel_axis=-1)
    assert Channels.empty(0) != Channels.empty(1)
    assert Channels.empty(0) != 0
    with pytest.raises(NotFound, match="observer 'kl' is unknown; use one of histogram, minmax, moving-average"):
        new_state("kl")

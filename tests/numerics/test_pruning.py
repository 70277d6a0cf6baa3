"""Masks: exactly as many zeros as asked, the least first, the first of equals; against sorting, and exhaustively."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.numerics import Scores, cutoffs, magnitude_mask, magnitudes, pattern_mask, pruning, zeros_of
from tests.support.examples import examples

#: Few values, so that ties are common; and any float32 from subnormal to huge.
FEW = st.integers(-3, 3).map(float)
ANY = st.floats(allow_nan=False, allow_infinity=False, width=32)
#: Values that share the upper half of their bits.
NEAR = st.integers(0, 4).map(lambda steps: 1.0 + steps * 2.0**-23)
ARRAYS = st.one_of(st.lists(NEAR, max_size=40), st.lists(FEW, max_size=40), st.lists(ANY, max_size=40))


def scores_of(array):
    return Scores(array.size, lambda start, stop: array[start:stop])


def going(values, count):
    """Places of the `count` least, by sorting: the first of equals first."""
    return set(np.argsort(np.asarray(values, np.float32), kind="stable")[:count].tolist())


# ---- how many ----------------------------------------------------------------------------------------------------


def test_as_many_zeros_as_the_nearest_whole_number():
    for count, hundredths in product(range(1, 60), range(100)):
        exact = Fraction(float(hundredths / 100)) * count
        found = zeros_of(count, hundredths / 100)
        assert abs(found - exact) <= Fraction(1, 2) + Fraction(1, 10**12), (count, hundredths)
    assert [zeros_of(n, 0.5) for n in (1, 2, 3, 4, 5)] == [1, 1, 2, 2, 3]
    assert zeros_of(10, 0.999999) == 10


@pytest.mark.parametrize("sparsity", [1.5, 1, 1.0, -0.1, float("nan"), float("inf"), None, "0.5", True])
def test_what_is_no_sparsity_is_refused(sparsity):
    with pytest.raises(InvalidValue, match="a number of 0 or more and less than 1 is required"):
        zeros_of(10, sparsity)


# ---- cutting -----------------------------------------------------------------------------------------------------


@examples(150)
@given(st.lists(ARRAYS, min_size=1, max_size=4), st.data())
def test_cutoffs_are_those_of_a_stable_sort(arrays, data):
    parts = [np.abs(np.array(a, np.float32)) for a in arrays]
    together = np.concatenate(parts)
    count = data.draw(st.integers(0, together.size))
    masks = [c.stays(p) for c, p in zip(cutoffs([scores_of(p) for p in parts], count), parts, strict=True)]
    assert set(np.flatnonzero(~np.concatenate(masks)).tolist()) == going(together, count)


@examples(40)
@given(st.lists(st.integers(0, 3).map(float), min_size=1, max_size=200), st.data(), st.integers(1, 7))
def test_pieces_make_no_difference(values, data, piece):
    array = np.array(values, np.float32)
    count = data.draw(st.integers(0, array.size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruning, "_PIECE", piece)
        (cut,) = cutoffs([scores_of(array)], count)
    mask = np.concatenate([cut.stays(array[i : i + piece], i) for i in range(0, array.size, piece)])
    assert set(np.flatnonzero(~mask).tolist()) == going(array, count)


def test_minus_zero_is_zero():
    (cut,) = cutoffs([scores_of(np.array([1.0, -0.0, 2.0, 0.0], np.float32))], 2)
    assert cut.stays(np.array([1.0, -0.0, 2.0, 0.0], np.float32)).tolist() == [True, False, True, False]


@pytest.mark.parametrize("count", [-1, 4])
def test_no_more_go_than_there_are(count):
    with pytest.raises(InvalidValue, match="of 3 are to go"):
        cutoffs([scores_of(np.ones(3, np.float32))], count)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_are_finite(value):
    with pytest.raises(InvalidValue, match="aren't finite"):
        cutoffs([scores_of(np.array([1.0, value], np.float32))], 1)


# ---- masks -------------------------------------------------------------------------------------------------------


def test_every_small_array_loses_its_least():
    for values in product((-2, -1, 0, 1), repeat=4):
        for sparsity in (0.25, 0.5, 0.75):
            mask = magnitude_mask(np.array(values, np.int8), sparsity)
            assert set(np.flatnonzero(~mask).tolist()) == going(np.abs(values), zeros_of(4, sparsity))


@examples(60)
@given(st.integers(1, 5), st.integers(1, 6), st.sampled_from([1, 2, 4, 16]), st.floats(0, 0.99), st.integers(0, 99))
def test_blocks_go_whole_by_their_norm(rows, blocks, size, sparsity, seed):
    w = np.random.default_rng(seed).normal(0, 1, (rows, blocks * size)).astype(np.float32)
    mask = magnitude_mask(w, sparsity, block=size)
    grouped = mask.reshape(-1, size)
    assert (grouped.all(axis=1) | ~grouped.any(axis=1)).all()
    norms = np.sqrt((w.astype(np.float64).reshape(-1, size) ** 2).sum(axis=1)).astype(np.float32)
    assert set(np.flatnonzero(~grouped[:, 0]).tolist()) == going(norms, zeros_of(norms.size, sparsity))


def test_every_group_of_four_keeps_its_two_greatest():
    groups = np.array(list(product((-2, -1, 0, 1, 3), repeat=4)), np.float32)
    mask = pattern_mask(groups, 2, 4)
    for values, kept in zip(groups, mask, strict=True):
        assert set(np.flatnonzero(~kept).tolist()) == going(np.abs(values), 2)


@pytest.mark.parametrize(("keep", "group"), [(1, 2), (1, 4), (2, 4), (3, 4), (4, 8)])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_groups_lie_along_the_axis(keep, group, axis):
    w = np.random.default_rng(keep).normal(0, 1, (16, 8, 24)).astype(np.float32)
    mask = np.moveaxis(pattern_mask(w, keep, group, axis=axis), axis, -1)
    assert (mask.reshape(-1, group).sum(axis=1) == keep).all()
    kept = np.where(mask, np.abs(np.moveaxis(w, axis, -1)), np.inf).reshape(-1, group).min(axis=1)
    gone = np.where(mask, -1, np.abs(np.moveaxis(w, axis, -1))).reshape(-1, group).max(axis=1)
    assert (kept >= gone).all()


def test_least_integers_have_the_greatest_magnitude():
    assert magnitude_mask(np.array([-128, 127, 5, -6], np.int8), 0.75).tolist() == [True, False, False, False]
    assert magnitudes(np.array([-128, 127], np.int8)).tolist() == [128, 127]


def test_huge_weights_have_norms():
    assert np.isfinite(magnitudes(np.full((1, 16), 1e30, np.float32), 16)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: magnitude_mask(w, 0.5, block=4), "blocks of 4 don't fill"),
        (lambda w: magnitude_mask(w, 0.5, block=0), "blocks of 0 don't fill"),
        (lambda w: pattern_mask(w, 2, 4), "groups of 4 don't fill"),
        (lambda w: pattern_mask(w, 4, 4), "pattern 4:4"),
        (lambda w: pattern_mask(w, 0, 4), "pattern 0:4"),
        (lambda w: pattern_mask(w, 1, 2, axis=2), "axis 2"),
        (lambda w: magnitude_mask(np.where(w > 0, w, np.nan), 0.5), "aren't finite"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(InvalidValue, match=message):
        call(np.arange(12, dtype=np.float32).reshape(2, 6))

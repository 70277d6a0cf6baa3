"""Exact sums as limbs: what Python integers give, in every order."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quantlib.calibration._exact import Sums
from tests.support.examples import examples

FINITE = st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(FINITE, min_size=n, max_size=n), min_size=1, max_size=6))


def total(values):
    return int(sum(map(Fraction, values)) * 2**1074)


@examples(100)
@given(ROWS)
def test_they_are_those_of_fractions(rows):
    sums = [Sums.of(np.array(row)) for row in rows]
    forth = sums[0]
    for more in sums[1:]:
        forth = forth.plus(more)
    back = sums[-1]
    for more in sums[-2::-1]:
        back = more.plus(back)
    expected = tuple(total(column) for column in zip(*rows, strict=True))
    assert forth.totals() == back.totals() == expected
    settled = forth.settled()
    assert settled.totals() == expected
    assert forth.plus(settled).settled().totals() == tuple(2 * e for e in expected)
    other = back.plus(Sums.of(np.full(len(back), 1e300))).plus(Sums.of(np.full(len(back), -1e300))).settled()
    assert (other.place, other.limbs.tolist()) == (settled.place, settled.limbs.tolist())
    assert ((settled.limbs[:, :-1] >> 32) == 0).all()


@example([[1.5993903685879703e20, 0.0], [-1.0, 0.0]], 3)  # more bits than two limbs hold: rounded once, not twice
@examples(100)
@given(ROWS, st.integers(1, 1 << 40))
def test_means_are_those_of_fractions(rows, count):
    sums = Sums.of(np.array(rows[0]))
    for row in rows[1:]:
        sums = sums.plus(Sums.of(np.array(row)))
    exact = [Fraction(total(column), count * 2**1074) for column in zip(*rows, strict=True)]
    least = Fraction(1, 2**1074)
    for mean, right in zip(sums.means(np.full(len(sums), count)).tolist(), exact, strict=True):
        if not np.isfinite(mean):  # a little beyond the greatest number
            assert abs(right) > Fraction(1.797e308)
        else:
            assert abs(Fraction(mean) - right) <= max(abs(right) / 2**52, least)
    assert sums.settled().means(np.full(len(sums), count)).tolist() == sums.means(np.full(len(sums), count)).tolist()
    assert not sums.means(np.zeros(len(sums), np.int64)).any()


@pytest.mark.parametrize("power", [-1042, -18, 14, 46, 78])
def test_a_sum_that_is_all_sign_has_a_mean(power):
    """Of limbs of 32 bits, -2**14 has one of the sign, and zeros: which a settled sum doesn't keep."""
    sums = Sums.of(np.array([-(2.0**power), 0.0])).settled()
    assert sums.limbs.shape == (2, 1)
    assert sums.means(np.array([3, 3])).tolist() == [-(2.0**power) / 3, 0.0]


@pytest.mark.parametrize("value", [0.0, -0.0, 5e-324, -5e-324, 2.0**-1022, 1e-310, -1.5, 2.0**31, 2.0**32, 1.7e308])
def test_single_numbers(value):
    assert Sums.of(np.array([value, -value])).totals() == (total([value]), -total([value]))


def test_many_sums_need_no_carry():
    """Numbers that fill their limbs, 2**30 times."""
    sums, value = Sums.of(np.array([1 - 2.0**-53, -1 + 2.0**-53])), total([1 - 2.0**-53])
    for _ in range(30):
        sums = sums.plus(sums)
    assert sums.totals() == (value << 30, -value << 30)


def test_nothing_is_the_identity():
    none = Sums.none()
    assert len(none) == 0
    assert none.totals() == () == tuple(none.means(np.zeros(0, np.int64)))
    assert Sums.of(np.zeros(3)).settled().limbs.shape == (3, 0)
    assert Sums.of(np.zeros(0)).totals() == ()


def test_only_as_many_limbs_as_needed():
    assert Sums.of(np.linspace(0.1, 100, 50)).limbs.shape[1] <= 4

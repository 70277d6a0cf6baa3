"""Exact sums as integers and as text."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.calibration._sums import from_text, quotient, real, to_text, units
from quantlib.errors import InvalidValue
from tests.support.examples import examples

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@examples(50)
@given(st.lists(FINITE, max_size=6), st.integers(1, 9))
def test_sums_are_those_of_fractions(values, count):
    exact = sum(map(Fraction, values), Fraction())
    total = sum(map(units, values))
    assert Fraction(total, 2**1074) == exact
    assert from_text(to_text(total)) == total
    if abs(exact) < Fraction(float(np.finfo(np.float64).max)):
        assert real(total) == float(exact)
        assert quotient(total, count) == float(exact / count)


def test_text_is_short():
    assert [to_text(units(v)) for v in (0.0, 2.5, -1.0, 2.0**-1074)] == ["0x0p0", "0x5p-1", "-0x1p0", "0x1p-1074"]


@pytest.mark.parametrize(
    "text", ["", "0x1", "p", "0x1p-1075", "0x1p2000", "0xzp1", "0x1p1.5", "1e5", f"0x{'f' * 560}p0"]
)
def test_text_that_is_no_sum(text):
    with pytest.raises(InvalidValue, match="is no exact sum; one such as '0x5p-1' is required"):
        from_text(text)

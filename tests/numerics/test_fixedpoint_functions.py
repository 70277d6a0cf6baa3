"""Functions of fixed-point numbers, against those of real numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    exp_on_negative_values,
    inverse_sqrt_multiplier,
    leading_zeros,
    log_of_one_or_more,
    one_minus_x_over_one_plus_x,
    one_over_one_plus_x,
    reciprocal,
)

HIGH = 2**31 - 1


def spread(bits: int) -> np.ndarray:
    """Raw numbers from 0 to the greatest: all of 16 bits, some of 32."""
    return np.arange(1 << 15) if bits == 16 else np.linspace(0, HIGH, 5001).astype(np.int64)


@pytest.mark.parametrize(("bits", "apart"), [(32, 490), (16, 2)])
@pytest.mark.parametrize("integer_bits", range(8))
def test_exp(integer_bits: int, bits: int, apart: int) -> None:
    x = -spread(bits)
    found = exp_on_negative_values(x, integer_bits, bits=bits)
    assert found.dtype == f"i{bits // 8}"
    error = np.abs(found - 2.0 ** (bits - 1) * np.exp(x / 2.0 ** (bits - 1 - integer_bits))).max()
    assert error <= apart, error


@pytest.mark.parametrize("bits", [32, 16])
def test_exp_of_zero_is_the_greatest_and_below_minus_32_it_is_zero(bits: int) -> None:
    assert exp_on_negative_values([0], 3, bits=bits).item() == (1 << (bits - 1)) - 1
    edge = -(1 << (bits - 3))
    assert exp_on_negative_values([edge - 1, -edge * -2], 7, bits=bits).tolist() == [0, 0]


@pytest.mark.parametrize(("bits", "apart"), [(32, 7), (16, 6)])
def test_quotients(bits: int, apart: int) -> None:
    x, one = spread(bits), 2.0 ** (bits - 1)
    for function, exact, steps in (
        (one_over_one_plus_x, one / (1 + x / one), apart),
        (one_minus_x_over_one_plus_x, one * (1 - x / one) / (1 + x / one), 2 * apart),
    ):
        found = function(x, bits=bits)
        assert found.dtype == f"i{bits // 8}"
        error = np.abs(found - exact).max()
        assert error <= steps, (function.__name__, error)


def test_reciprocal() -> None:
    x = np.unique(np.geomspace(1, HIGH, 2000).astype(np.int64))
    mantissa, bits = reciprocal(x, 12)
    np.testing.assert_allclose(mantissa / 2**31 / 2.0**bits, 2**19 / x, rtol=5e-9)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 2**31 - 1))
def test_inverse_square_root(x: int) -> None:
    mantissa, shift = inverse_sqrt_multiplier(np.array([x]))
    assert (mantissa / 2**31 * 2.0**shift).item() == pytest.approx(x**-0.5, rel=1.3e-6, abs=0)


def test_inverse_square_root_of_zero() -> None:
    assert [v.tolist() for v in inverse_sqrt_multiplier(np.array([0, 1]))] == [[2**31 - 1] * 2, [0, 0]]
    with pytest.raises(InvalidValue, match=r"^1 / sqrt of -1\.\.3; 0 to"):
        inverse_sqrt_multiplier(np.array([-1, 3]))


@settings(max_examples=200, deadline=None)
@given(st.integers(1 << 19, 2**31 - 1))
def test_logarithm(x: int) -> None:
    assert (log_of_one_or_more(np.array([x]), 12, 5) / 2**26).item() == pytest.approx(np.log(x / 2**19), abs=5e-8)


def test_leading_zeros() -> None:
    x = [*range(1, 70), *(1 << n for n in range(32)), *((1 << n) - 1 for n in range(1, 33))]
    assert leading_zeros(x).tolist() == [32 - v.bit_length() for v in x]


def test_bad_operands() -> None:
    for bad, bits in (([1], 5), ([-(2**31) - 1], 5), ([-1], 8), ([-1], -1)):
        with pytest.raises(InvalidValue, match=rf"^exp of raw numbers with {bits} integer bits: -2\*\*31\.\.0"):
            exp_on_negative_values(bad, bits)
    with pytest.raises(InvalidValue, match=r"^exp of raw numbers with 3 integer bits: -2\*\*15\.\.0"):
        exp_on_negative_values([-(2**15) - 1], 3, bits=16)
    for function in (one_over_one_plus_x, one_minus_x_over_one_plus_x):
        for bad, bits in (([-1], 32), ([2**31], 32), ([2**15], 16)):
            with pytest.raises(InvalidValue, match=rf"^1 / \(1 \+ x\) of raw .* outside 0\.\.2\*\*{bits - 1} - 1"):
                function(bad, bits=bits)
        with pytest.raises(InvalidValue, match=r"^8 bits; 16 or 32 are required"):
            function([1], bits=8)
    with pytest.raises(InvalidValue, match=r"^the reciprocal of a raw number that isn't positive"):
        reciprocal([0], 0)

"""Fixed-point multipliers, against plain Python integers and fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    multiply_by_quantized_multiplier,
    multiply_by_quantized_multiplier_int64,
    quantize_multiplier,
    real_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)

LOW, HIGH = -(2**31), 2**31 - 1
INT32 = st.one_of(st.integers(LOW, HIGH), st.sampled_from([LOW, LOW + 1, -1, 0, 1, HIGH - 1, HIGH]))
MANTISSA = st.one_of(st.integers(0, HIGH), st.sampled_from([0, 1 << 30, HIGH, 3 << 29]))


def high_mul(a: int, b: int, bits: int = 32) -> int:
    """gemmlowp's own words: a nudge by the sign, then a division that truncates."""
    if a == b == -(1 << (bits - 1)):
        return (1 << (bits - 1)) - 1
    product = a * b
    nudge = 1 << (bits - 2) if product >= 0 else 1 - (1 << (bits - 2))
    quotient = Fraction(product + nudge, 1 << (bits - 1))
    return math.trunc(quotient)


def divide(x: int, n: int) -> int:
    """Half away from zero."""
    size = (2 * abs(x) + (1 << n)) // (2 << n)
    return size if x >= 0 else -size


def wrapped(x: int) -> int:
    return (x - LOW) % (1 << 32) + LOW


def double(x: int, mantissa: int, shift: int) -> int:
    return divide(high_mul(wrapped(x << max(shift, 0)), mantissa), max(-shift, 0))


class TestHighMul:
    def test_all_of_eight_bits_in_sixteen(self) -> None:
        """Both operands carry 8 bits at the top of 16, so that products meet every tie."""
        a = np.arange(-32768, 32768, 128)
        expected = [[high_mul(int(x), int(y), 16) for y in a] for x in a]
        found = saturating_rounding_doubling_high_mul(a[:, None], a[None], bits=16)
        assert found.dtype == np.int16
        assert found.tolist() == expected

    @given(INT32, INT32)
    def test_int32(self, a: int, b: int) -> None:
        assert saturating_rounding_doubling_high_mul(a, b) == high_mul(a, b)

    def test_ties_go_up(self) -> None:
        x = np.array([1, 3, -1, -3])
        assert saturating_rounding_doubling_high_mul(x, 1 << 30).tolist() == [1, 2, 0, -1]

    def test_other_widths(self) -> None:
        with pytest.raises(InvalidValue, match=r"^8 bits; 16 or 32 are required"):
            saturating_rounding_doubling_high_mul(1, 1, bits=8)
        with pytest.raises(InvalidValue, match=r"^a has values 32768..32768; -32768..32767 is required"):
            saturating_rounding_doubling_high_mul([32768], 1, bits=16)


class TestDivide:
    def test_every_small_number_and_shift(self) -> None:
        x, n = np.arange(-600, 601), np.arange(32)
        expected = [[divide(int(v), int(s)) for s in n] for v in x]
        assert rounding_divide_by_pot(x[:, None], n[None]).tolist() == expected

    @given(INT32, st.integers(0, 31))
    def test_int32(self, x: int, n: int) -> None:
        assert rounding_divide_by_pot(x, n) == divide(x, n)

    def test_the_operand_is_left_alone(self) -> None:
        x = np.array([5, -5])
        rounding_divide_by_pot(x, 1)
        assert x.tolist() == [5, -5]

    @pytest.mark.parametrize("n", [-1, 32])
    def test_other_shifts(self, n: int) -> None:
        with pytest.raises(InvalidValue, match=r"^exponent has values"):
            rounding_divide_by_pot(1, n)


class TestQuantizeMultiplier:
    @given(st.floats(2.0**-31, 2.0**30))
    def test_it_is_near(self, real: float) -> None:
        mantissa, shift = quantize_multiplier(real)
        assert 1 << 30 <= int(mantissa) <= HIGH
        exact = Fraction(int(mantissa)) * Fraction(2) ** (int(shift) - 31)
        assert abs(exact - Fraction(real)) <= Fraction(2) ** (int(shift) - 32)
        assert real_multiplier(mantissa, shift) == float(exact)

    @pytest.mark.parametrize(
        ("real", "expected"),
        [
            (0.0, (0, 0)),
            (1.0, (1 << 30, 1)),
            (-0.75, (-3 << 29, 0)),
            (1 - 2.0**-40, (1 << 30, 1)),  # rounds up to 2**31, which is halved
            (2.0**-32, (1 << 30, -31)),
            (2.0**-33, (0, 0)),  # all bits would be shifted out
            (0.5 + 2.0**-32, ((1 << 30) + 1, 0)),  # a half, away from zero
            (-0.5 - 2.0**-32, (-(1 << 30) - 1, 0)),
        ],
    )
    def test_ends(self, real: float, expected: tuple[int, int]) -> None:
        mantissa, shift = quantize_multiplier(real)
        assert (int(mantissa), int(shift)) == expected

    @pytest.mark.parametrize("real", [np.inf, np.nan])
    def test_not_finite(self, real: float) -> None:
        with pytest.raises(InvalidValue, match=rf"^a multiplier of {real}: finite ones are required"):
            quantize_multiplier([1.0, real])


class TestMultiply:
    @given(INT32, MANTISSA, st.integers(-31, 30))
    def test_double(self, x: int, mantissa: int, shift: int) -> None:
        assert multiply_by_quantized_multiplier(x, mantissa, shift) == double(x, mantissa, shift)

    @given(st.integers(-(2**30), 2**30), MANTISSA, st.integers(-31, 0))
    def test_single(self, x: int, mantissa: int, shift: int) -> None:
        expected = (x * mantissa + (1 << (30 - shift))) >> (31 - shift)
        assert multiply_by_quantized_multiplier(x, mantissa, shift, rounding="single") == expected

    @given(st.integers(-(2**30), 2**30), MANTISSA, st.integers(-31, 0))
    def test_upward(self, x: int, mantissa: int, shift: int) -> None:
        high = (x * mantissa + (1 << 30)) >> 31
        expected = (high + (1 << -shift >> 1)) >> -shift
        assert multiply_by_quantized_multiplier(x, mantissa, shift, rounding="upward") == expected

    @given(st.integers(-(2**47), 2**47 - 1), MANTISSA, st.integers(-31, 0))
    def test_int64(self, x: int, mantissa: int, shift: int) -> None:
        reduced = (mantissa + (1 << 15)) >> 16 if mantissa < 0x7FFF0000 else 0x7FFF
        expected = wrapped((x * reduced + (1 << (14 - shift))) >> (15 - shift))
        assert multiply_by_quantized_multiplier_int64(x, mantissa, shift) == expected

    def test_two_roundings_lift_a_quarter(self) -> None:
        pair = quantize_multiplier(0.25)
        x = [1, 2, 3, 5, 6, -1, -2, -3, -5, -6]
        assert multiply_by_quantized_multiplier(x, *pair).tolist() == [1, 1, 1, 2, 2, 0, -1, -1, -1, -2]
        single = multiply_by_quantized_multiplier(x, *pair, rounding="single")
        assert single.tolist() == [0, 1, 1, 1, 2, 0, 0, -1, -1, -1]
        upward = multiply_by_quantized_multiplier(x, *pair, rounding="upward")
        assert upward.tolist() == [1, 1, 1, 2, 2, 0, 0, 0, -1, -1]

    def test_a_multiplier_for_each_channel(self) -> None:
        x = np.arange(-6, 6).reshape(3, 4) * 1000
        real = [0.5, 1.7, 0.001, 300.0]
        mantissa, shift = quantize_multiplier(real)
        expected = [[double(int(v), int(m), int(s)) for v, m, s in zip(r, mantissa, shift, strict=True)] for r in x]
        assert multiply_by_quantized_multiplier(x, mantissa, shift).tolist() == expected

    @pytest.mark.parametrize("shape", [(), (0,), (1, 0, 3)])
    def test_shapes(self, shape: Any) -> None:
        found = multiply_by_quantized_multiplier(np.ones(shape, np.int32), 1 << 30, 1)
        assert (found.shape, found.dtype) == (shape, np.int32)

    def test_bad_operands(self) -> None:
        with pytest.raises(InvalidValue, match=r"^x is float64; integers are required"):
            multiply_by_quantized_multiplier([0.5], 1, 1)
        with pytest.raises(InvalidValue, match=r"^shift has values 31..31; -31..30 is required"):
            multiply_by_quantized_multiplier([1], 1, 31)
        with pytest.raises(InvalidValue, match=r"^rounding 'none'; known are double, single"):
            multiply_by_quantized_multiplier([1], 1, 1, rounding="none")  # type: ignore[arg-type]  # that is the test
        with pytest.raises(InvalidValue, match=r"^x has values"):
            multiply_by_quantized_multiplier_int64([1 << 47], 1, 1)


@pytest.mark.parametrize(
    ("call", "shapes"),
    [
        (lambda a, b: real_multiplier(a, b), r"mantissa of shape \(2, 3\) and shift of shape \(4,\)"),
        (lambda a, b: rounding_divide_by_pot(a, b), r"x of shape \(2, 3\) and exponent of shape \(4,\)"),
        (lambda a, b: saturating_rounding_doubling_high_mul(a, b), r"a of shape \(2, 3\) and b of shape \(4,\)"),
        (
            lambda a, b: multiply_by_quantized_multiplier(a, b, 0),
            r"x of shape \(2, 3\) and mantissa of shape \(4,\) and shift of shape \(\)",
        ),
        (
            lambda a, b: multiply_by_quantized_multiplier_int64(a, 1, b),
            r"x of shape \(2, 3\) and mantissa of shape \(\) and shift of shape \(4,\)",
        ),
    ],
)
def test_operands_that_do_not_broadcast(call: Any, shapes: str) -> None:
    with pytest.raises(InvalidValue, match=f"^{shapes} don't broadcast; extents that are equal, or 1, are required$"):
        call(np.ones((2, 3), np.int32), np.ones(4, np.int32))

"""Functions of fixed-point numbers, as integer kernels compute them (gemmlowp's ``fixedpoint/fixedpoint.h``).

A number of `n` integer bits is an int32 `raw` that stands for ``raw / 2**(31 - n)``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidValue

from .fixedpoint import rounding_divide_by_pot, saturating_rounding_doubling_high_mul

_ONE = (1 << 31) - 1  # the greatest number without integer bits stands for 1


def _constant(value: float, integer_bits: int = 0) -> int:
    return round(value * (1 << (31 - integer_bits)))


def exp_on_negative_values(x: ArrayLike, integer_bits: int) -> NDArray[np.int32]:
    """Exponential function of numbers that aren't positive.

    The fractional quarter goes through a polynomial, each bit above it through a product with a power of e.

    Parameters
    ----------
    x : integer array of any shape
        Raw, int32, 0 or less.
    integer_bits : int
        Integer bits of `x`, 0 to 5.

    Returns
    -------
    int32 array of the shape of `x`
        Raw, without integer bits; 2**31 - 1 for ``exp(0)``.

    Raises
    ------
    InvalidValue
        If a number is positive or beyond int32, or there are other integer bits.

    Examples
    --------
    >>> exp_on_negative_values([0, -(2**26)], 5) / 2**31
    array([1.        , 0.36787955])
    """
    raw = np.asarray(x, np.int64)
    if not 0 <= integer_bits <= 5 or (raw > 0).any() or (raw < -(1 << 31)).any():
        raise InvalidValue(f"exp of raw numbers with {integer_bits} integer bits: -2**31..0 and 0 to 5 are required")
    fraction = 31 - integer_bits
    quarter = 1 << (fraction - 2)
    below = (raw & (quarter - 1)) - quarter
    result = _exp_of_last_quarter(below << integer_bits)
    remainder = below - raw
    for exponent in range(-2, integer_bits):
        power = _constant(math.exp(-(2.0**exponent)))
        factor = saturating_rounding_doubling_high_mul(result, power)
        result = np.where(remainder & (1 << (fraction + exponent)), factor, result)
    return np.asarray(np.where(raw == 0, _ONE, result).astype(np.int32))


def _exp_of_last_quarter(raw: NDArray[np.int64]) -> NDArray[np.int32]:
    """Exponential function from -1/4 to 0, by a polynomial around -1/8."""
    multiply = saturating_rounding_doubling_high_mul
    x = raw + (1 << 28)
    square = multiply(x, x)
    cube, fourth = multiply(square, x), multiply(square, square)
    higher = multiply(rounding_divide_by_pot(fourth, 2).astype(np.int64) + cube, _constant(1 / 3))
    rest = rounding_divide_by_pot(higher.astype(np.int64) + square, 1)
    middle = _constant(math.exp(-1 / 8))
    return np.asarray((middle + multiply(middle, x + rest).astype(np.int64)).astype(np.int32))


def one_over_one_plus_x(x: ArrayLike) -> NDArray[np.int32]:
    """``1 / (1 + x)`` for numbers between 0 and 1, in three steps of Newton and Raphson.

    Parameters
    ----------
    x : integer array of any shape
        Raw, without integer bits, 0 to 2**31 - 1.

    Returns
    -------
    int32 array of the shape of `x`
        Raw, without integer bits.

    Raises
    ------
    InvalidValue
        If a number is negative or beyond int32.

    Examples
    --------
    >>> one_over_one_plus_x([0, 2**30]) / 2**31
    array([1.        , 0.66666667])
    """
    raw = np.asarray(x, np.int64)
    if (raw < 0).any() or (raw > _ONE).any():
        raise InvalidValue("1 / (1 + x) of raw numbers outside 0..2**31 - 1; they must be within")
    multiply = saturating_rounding_doubling_high_mul
    half = (raw + _ONE + 1) >> 1
    # from here on with 2 integer bits
    y = _constant(48 / 17, 2) + multiply(half, _constant(-32 / 17, 2)).astype(np.int64)
    for _ in range(3):
        error = (1 << 29) - multiply(half, y).astype(np.int64)
        y = y + _shifted_left(multiply(y, error), 2)
    return np.asarray(_shifted_left(y, 1).astype(np.int32))


def reciprocal(x: ArrayLike, integer_bits: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Reciprocal of positive numbers, as a mantissa and a power of two (``GetReciprocal`` in ``common.h``).

    Parameters
    ----------
    x : integer array of any shape
        Raw, int32, positive.
    integer_bits : int
        Integer bits of `x`.

    Returns
    -------
    mantissa : int32 array of the shape of `x`
        Raw, without integer bits, 1/2 or more.
    bits : int32 array of the shape of `x`
        The reciprocal is ``mantissa / 2**bits``.

    Raises
    ------
    InvalidValue
        If a number isn't positive.

    Examples
    --------
    >>> mantissa, bits = reciprocal([3 * 2**19], 12)
    >>> mantissa / 2**31 / 2.0**bits
    array([0.33333333])
    """
    raw = np.asarray(x, np.int64)
    if (raw <= 0).any():
        raise InvalidValue("the reciprocal of a raw number that isn't positive; positive ones are required")
    zeros = 32 - np.frexp(raw.astype(np.float64))[1].astype(np.int64)
    return one_over_one_plus_x((raw << zeros) - (1 << 31)), (integer_bits - zeros).astype(np.int32)


def _shifted_left(x: NDArray[np.integer], bits: int) -> NDArray[np.int64]:
    """Multiply by a power of two; what int32 can't hold saturates."""
    return np.asarray(np.clip(x.astype(np.int64) << bits, -(1 << 31), _ONE))

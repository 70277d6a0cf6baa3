"""Functions of fixed-point numbers, as integer kernels compute them.

Sources: gemmlowp's ``fixedpoint/fixedpoint.h`` and ``tflite/kernels/internal/common.h``. A number of `n` integer bits
is an integer `raw` of 32 bits, or of 16, that stands for ``raw / 2**(31 - n)``, or ``raw / 2**(15 - n)``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidValue

from .fixedpoint import rounding_divide_by_pot, saturating_rounding_doubling_high_mul

_Integers = NDArray[np.int64]

_INT32 = np.iinfo(np.int32)
#: Integer bits that the argument of an exponential function may have.
_MOST_INTEGER_BITS = 7


def _constant(value: float, integer_bits: int = 0, bits: int = 32) -> int:
    """A raw constant; one of 16 bits is that of 32, rounded once more."""
    raw = round(value * (1 << (31 - integer_bits)))
    return raw if bits == 32 else int(rounding_divide_by_pot(raw, 16))


_LOG_2 = _constant(math.log(2))
_ROOT_HALF = _constant(0.5**0.5)
_FOURTH_ROOT_HALF = _constant(0.5**0.25)
# coefficients of the logarithm's quotient of polynomials
_NUMERATOR = _constant(11 / 240 * 2**0.25)
_SQUARE = _constant(2**0.25 / 20)
_BASE = _constant(2 / 2**0.25 - 2**0.25)
_LINEAR = _constant(2**0.25 / 4)


def exp_on_negative_values(x: ArrayLike, integer_bits: int, *, bits: int = 32) -> NDArray[Any]:
    """Exponential function of numbers that aren't positive.

    The fractional quarter goes through a polynomial, each bit above it through a product with a power of e; below -32
    it is 0.

    Parameters
    ----------
    x : integer array of any shape
        Raw, within `bits`, 0 or less.
    integer_bits : int
        Integer bits of `x`, 0 to 7.
    bits : int
        Of `x` and the result: 32 or 16.

    Returns
    -------
    int32 or int16 array of the shape of `x`
        Raw, without integer bits; the greatest integer for ``exp(0)``.

    Raises
    ------
    InvalidValue
        If a number is positive or beyond its bits, or there are other bits.

    Examples
    --------
    >>> exp_on_negative_values([0, -(2**26)], 5) / 2**31
    array([1.        , 0.36787955])
    """
    one = _greatest(bits)
    raw = np.asarray(x, np.int64)
    if not 0 <= integer_bits <= _MOST_INTEGER_BITS or (raw > 0).any() or (raw < -one - 1).any():
        raise InvalidValue(
            f"exp of raw numbers with {integer_bits} integer bits: -2**{bits - 1}..0 and 0 to {_MOST_INTEGER_BITS} "
            "are required"
        )
    fraction = bits - 1 - integer_bits
    quarter = 1 << (fraction - 2)
    below = (raw & (quarter - 1)) - quarter
    result = _exp_of_last_quarter(below << integer_bits, bits)
    remainder = below - raw
    for exponent in range(-2, min(integer_bits, 5)):
        factor = _product(result, _constant(math.exp(-(2.0**exponent)), 0, bits), bits)
        result = np.where(remainder & (1 << (fraction + exponent)), factor, result)
    if integer_bits > 5:
        result = np.where(raw < -(1 << (fraction + 5)), 0, result)
    return np.asarray(np.where(raw == 0, one, result).astype(f"i{bits // 8}"))


def _exp_of_last_quarter(raw: _Integers, bits: int) -> _Integers:
    """Exponential function from -1/4 to 0, by a polynomial around -1/8."""
    x = raw + (1 << (bits - 4))
    square = _product(x, x, bits)
    cube, fourth = _product(square, x, bits), _product(square, square, bits)
    higher = _product(_halved(fourth, 2) + cube, _constant(1 / 3, 0, bits), bits) + square
    middle = _constant(math.exp(-1 / 8), 0, bits)
    return _saturated(middle + _product(middle, x + _halved(higher, 1), bits), bits)


def one_over_one_plus_x(x: ArrayLike, *, bits: int = 32) -> NDArray[Any]:
    """``1 / (1 + x)`` for numbers between 0 and 1, in three steps of Newton and Raphson.

    Parameters
    ----------
    x : integer array of any shape
        Raw, without integer bits, 0 or more.
    bits : int
        Of `x` and the result: 32 or 16.

    Returns
    -------
    int32 or int16 array of the shape of `x`
        Raw, without integer bits.

    Raises
    ------
    InvalidValue
        If a number is negative or beyond its bits, or there are other bits.

    Examples
    --------
    >>> one_over_one_plus_x([0, 2**30]) / 2**31
    array([1.        , 0.66666667])
    """
    return _shifted(_twice_the_reciprocal(x, bits), 1, bits).astype(f"i{bits // 8}")


def one_minus_x_over_one_plus_x(x: ArrayLike, *, bits: int = 32) -> NDArray[Any]:
    """``(1 - x) / (1 + x)`` for numbers between 0 and 1; parameters, result and errors of `one_over_one_plus_x`.

    Examples
    --------
    >>> one_minus_x_over_one_plus_x([0, 2**30]) / 2**31
    array([1.        , 0.33333333])
    """
    return _shifted(_twice_the_reciprocal(x, bits) - (1 << (bits - 3)), 2, bits).astype(f"i{bits // 8}")


def _twice_the_reciprocal(x: ArrayLike, bits: int) -> _Integers:
    """``2 / (1 + x)``, raw, with 2 integer bits."""
    one = _greatest(bits)
    raw = np.asarray(x, np.int64)
    if (raw < 0).any() or (raw > one).any():
        raise InvalidValue(f"1 / (1 + x) of raw numbers outside 0..2**{bits - 1} - 1; they must be within")
    half = (raw + one + 1) >> 1
    y = _constant(48 / 17, 2, bits) + _product(half, _constant(-32 / 17, 2, bits), bits)
    for _ in range(3):
        y = y + _shifted(_product(y, (1 << (bits - 3)) - _product(half, y, bits), bits), 2, bits)
    return np.asarray(y)


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
        Raw, without integer bits, about 1/2 or more.
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
    zeros = leading_zeros(raw)
    return one_over_one_plus_x((raw << zeros) - (1 << 31)), (integer_bits - zeros).astype(np.int32)


def inverse_sqrt_multiplier(x: ArrayLike) -> tuple[_Integers, _Integers]:
    """Multipliers by ``1 / sqrt(x)``, in five steps of Newton and Raphson (``GetInvSqrtQuantizedMultiplierExp``).

    Parameters
    ----------
    x : integer array of any shape
        From 0 to 2**31 - 1; 0 is taken for 1.

    Returns
    -------
    mantissa, shift : int64 arrays of the shape of `x`
        As `quantize_multiplier` gives them; the shift is 0 or less.

    Raises
    ------
    InvalidValue
        If a number is negative or beyond int32.

    Examples
    --------
    >>> mantissa, shift = inverse_sqrt_multiplier(np.array([4, 100]))
    >>> (mantissa / 2**31 * 2.0**shift).round(7).tolist()
    [0.5, 0.1]
    """
    value = np.asarray(x, np.int64)
    if value.size and not 0 <= value.min() <= value.max() <= _INT32.max:
        raise InvalidValue(f"1 / sqrt of {value.min()}..{value.max()}; 0 to 2**31 - 1 are required")
    small = value <= 1
    value = np.where(small, 2, value)
    large = value >= 1 << 29
    value = np.where(large, value >> 2, value)
    pairs = (leading_zeros(value) - 1) // 2 - 1
    right = 11 + large - pairs
    # from here on with 3 integer bits
    half = _halved((value << (2 * pairs)) >> 1, 1)
    guess = np.full(value.shape, 1 << 28, np.int64)
    for _ in range(5):
        cube = _shifted(_product(_product(guess, guess), guess), 6)
        guess = _shifted(_product((1 << 28) + (1 << 27), guess) - _product(half, cube), 3)
    mantissa = _product(guess, _ROOT_HALF) << np.maximum(-right, 0)
    shift = -np.maximum(right, 0)
    return np.where(small, _INT32.max, mantissa), np.where(small, 0, shift)


def log_of_one_or_more(x: ArrayLike, integer_bits: int, output_bits: int) -> _Integers:
    """Natural logarithm of numbers of 1 or more (``log_x_for_x_greater_than_or_equal_to_1``).

    Parameters
    ----------
    x : integer array of any shape
        Raw, int32, positive.
    integer_bits, output_bits : int
        Integer bits of `x` and of the result.

    Returns
    -------
    int64 array of the shape of `x`
        Raw.

    Examples
    --------
    >>> (log_of_one_or_more([1 << 19, 3 << 19], 12, 5) / 2**26).round(5).tolist()
    [0.0, 1.09861]
    """
    raw, extra = np.asarray(x, np.int64), output_bits + 1
    quarter = 1 << (29 - extra)

    def powers(bits: _Integers) -> _Integers:
        return _shifted(integer_bits - bits, 31 - extra)

    zeros = leading_zeros(raw)
    first = _shifted(_product(_shifted(raw, zeros - 1), _ROOT_HALF), 1)
    first_power = _saturated(powers(zeros) + quarter)
    headroom = leading_zeros(_product(raw, _ROOT_HALF)) - 1
    second = _shifted(raw, headroom)
    second_power = _saturated(powers(headroom) - quarter)
    r, power = np.minimum(first, second), np.maximum(first_power, second_power)
    total = r + _FOURTH_ROOT_HALF
    p = (total + 1) >> 1  # of a positive sum
    q = 2 * (r - _FOURTH_ROOT_HALF)
    square = _product(q, q)
    numerator = _product(q, r) + _product(_product(q, square), _NUMERATOR)
    denominator = _product(p, _BASE + q + _product(_SQUARE, square)) + _product(_LINEAR, q)
    inverse = one_over_one_plus_x(denominator).astype(np.int64)
    scaled = _halved(numerator, extra)
    return _shifted(_product(power, _LOG_2) + _product(scaled, inverse), 1)


def leading_zeros(x: ArrayLike) -> _Integers:
    """Zero bits above the highest one of numbers of 32 bits (``CountLeadingZeros`` in ``common.h``).

    Parameters
    ----------
    x : integer array of any shape
        From 0 to 2**32 - 1.

    Returns
    -------
    int64 array of the shape of `x`

    Examples
    --------
    >>> leading_zeros([0, 1, 2**31 - 1])
    array([32, 31,  1])
    """
    return np.asarray(32 - np.frexp(np.asarray(x, np.float64))[1].astype(np.int64))


def _greatest(bits: int) -> int:
    """The greatest number without integer bits, which stands for 1."""
    if bits not in (16, 32):
        raise InvalidValue(f"{bits} bits; 16 or 32 are required")
    return (1 << (bits - 1)) - 1


def _product(a: ArrayLike, b: ArrayLike, bits: int = 32) -> _Integers:
    return saturating_rounding_doubling_high_mul(a, b, bits=bits).astype(np.int64)


def _halved(x: ArrayLike, times: int) -> _Integers:
    return rounding_divide_by_pot(x, times).astype(np.int64)


def _shifted(x: ArrayLike, left: ArrayLike, bits: int = 32) -> _Integers:
    """Multiply by a power of two; what the bits can't hold saturates."""
    return _saturated(np.asarray(x, np.int64) << np.asarray(left), bits)


def _saturated(x: ArrayLike, bits: int = 32) -> _Integers:
    return np.asarray(np.clip(x, -(1 << (bits - 1)), (1 << (bits - 1)) - 1))

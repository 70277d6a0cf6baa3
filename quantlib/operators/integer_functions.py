"""Fixed-point functions of single kernels: inverse square root and logarithm.

Sources: ``tflite/kernels/internal/common.h`` and gemmlowp's ``fixedpoint/fixedpoint.h``. A number of `n` integer bits
is an integer `raw` within 32 bits that stands for ``raw / 2**(31 - n)``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import one_over_one_plus_x, rounding_divide_by_pot, saturating_rounding_doubling_high_mul

from .kernel import Array

_INT32 = np.iinfo(np.int32)


def _constant(value: float) -> int:
    return round(value * (1 << 31))


_LOG_2 = _constant(math.log(2))
_ROOT_HALF = _constant(0.5**0.5)
_FOURTH_ROOT_HALF = _constant(0.5**0.25)
# coefficients of the logarithm's quotient of polynomials
_NUMERATOR = _constant(11 / 240 * 2**0.25)
_SQUARE = _constant(2**0.25 / 20)
_BASE = _constant(2 / 2**0.25 - 2**0.25)
_LINEAR = _constant(2**0.25 / 4)


def inverse_sqrt_multiplier(x: Array) -> tuple[Array, Array]:
    """Multipliers by ``1 / sqrt(x)``, in five steps of Newton and Raphson (``GetInvSqrtQuantizedMultiplierExp``).

    Parameters
    ----------
    x : ndarray
        Integers from 0 to 2**31 - 1, any shape; 0 is taken for 1.

    Returns
    -------
    mantissa, shift : int64 arrays of the shape of `x`
        As `quantlib.numerics.quantize_multiplier` gives them; the shift is 0 or less.

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
    pairs = (_leading_zeros(value) - 1) // 2 - 1
    right = 11 + large - pairs
    # from here on with 3 integer bits
    half = rounding_divide_by_pot((value << (2 * pairs)) >> 1, 1).astype(np.int64)
    guess = np.full(value.shape, 1 << 28, np.int64)
    for _ in range(5):
        cube = _shifted(_product(_product(guess, guess), guess), 6)
        guess = _shifted(_product((1 << 28) + (1 << 27), guess) - _product(half, cube), 3)
    mantissa = _product(guess, _ROOT_HALF) << np.maximum(-right, 0)
    shift = -np.maximum(right, 0)
    return np.where(small, _INT32.max, mantissa), np.where(small, 0, shift)


def logarithm(x: Array, integer_bits: int, output_bits: int) -> Array:
    """Natural logarithm of numbers of 1 or more (``log_x_for_x_greater_than_or_equal_to_1``).

    Parameters
    ----------
    x : ndarray
        Raw, positive, any shape.
    integer_bits, output_bits : int
        Integer bits of `x` and of the result.

    Returns
    -------
    int64 array of the shape of `x`
        Raw.

    Examples
    --------
    >>> (logarithm(np.array([1 << 19, 3 << 19]), 12, 5) / 2**26).round(5).tolist()
    [0.0, 1.09861]
    """
    raw, extra = np.asarray(x, np.int64), output_bits + 1
    quarter = 1 << (29 - extra)

    def powers(bits: Array) -> Array:
        return _shifted(integer_bits - bits, 31 - extra)

    zeros = _leading_zeros(raw)
    first = _shifted(_product(_shifted(raw, zeros - 1), _ROOT_HALF), 1)
    first_power = _saturated(powers(zeros) + quarter)
    headroom = _leading_zeros(_product(raw, _ROOT_HALF)) - 1
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
    scaled = rounding_divide_by_pot(numerator, extra).astype(np.int64)
    return _shifted(_product(power, _LOG_2) + _product(scaled, inverse), 1)


def _product(a: Any, b: Any) -> Array:
    return saturating_rounding_doubling_high_mul(a, b).astype(np.int64)


def _shifted(x: Array, bits: Any) -> Array:
    """Multiply by a power of two; what int32 can't hold saturates."""
    return _saturated(np.asarray(x, np.int64) << bits)


def _saturated(x: Array) -> Array:
    return np.clip(x, _INT32.min, _INT32.max)


def _leading_zeros(x: Array) -> Array:
    """Leading zero bits of positive numbers of 32 bits."""
    return 32 - np.frexp(x.astype(np.float64))[1].astype(np.int64)

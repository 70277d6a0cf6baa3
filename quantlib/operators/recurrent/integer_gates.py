"""Steps of an integer LSTM's gates: logistic function, hyperbolic tangent and layer normalization of INT16 values.

The functions are gemmlowp's (``fixedpoint/fixedpoint.h``) in 16 bits. A number of `n` integer bits is an integer
`raw` that stands for ``raw / 2**(15 - n)``.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    multiply_by_quantized_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)

from ..integer_functions import inverse_sqrt_multiplier
from ..integer_table import tabulated

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..kernel import Array

_ONE = (1 << 15) - 1
_LEAST = -(1 << 15)
#: Greatest number of integer bits of a hyperbolic tangent's argument.
MOST_BITS = 6


def _constant(value: float, integer_bits: int = 0) -> int:
    """A constant of 32 bits, rounded once more to 16."""
    return int(rounding_divide_by_pot(round(value * (1 << (31 - integer_bits))), 16))


def sigmoid_of_gate(x: Array) -> Array:
    """Logistic function of INT16 values with three integer bits.

    Parameters
    ----------
    x : ndarray
        int16, any shape: steps of 2**-12.

    Returns
    -------
    ndarray
        int16, shape of `x`: steps of 2**-15.

    Examples
    --------
    >>> sigmoid_of_gate(np.array([-4096, 0, 4096], np.int16))
    array([ 8815, 16384, 23952], dtype=int16)
    """
    return _sigmoid_table()(x)


def tanh_of_gate(x: Array, integer_bits: int = 3) -> Array:
    """Hyperbolic tangent of INT16 values.

    Parameters
    ----------
    x : ndarray
        int16, any shape: steps of ``2**(integer_bits - 15)``.
    integer_bits : int
        0 to 6.

    Returns
    -------
    ndarray
        int16, shape of `x`: steps of 2**-15.

    Raises
    ------
    InvalidValue
        If there are other integer bits, for which LiteRT has no function.

    Examples
    --------
    >>> tanh_of_gate(np.array([-4096, 0, 4096], np.int16))
    array([-24964,      0,  24964], dtype=int16)
    """
    if not 0 <= integer_bits <= MOST_BITS:
        raise InvalidValue(f"tanh of {integer_bits} integer bits; 0 to {MOST_BITS} are required")
    return _tanh_table(integer_bits)(x)


@cache
def _sigmoid_table() -> Callable[[Array], Array]:
    def function(x: Array) -> Array:
        raw = x.astype(np.int64)
        positive = _one_over_one_plus(_exp(-np.abs(raw), 3))
        return np.where(raw == 0, 1 << 14, np.where(raw > 0, positive, _ONE - positive)).astype(np.int16)

    return tabulated(function, np.int16)


@cache
def _tanh_table(integer_bits: int) -> Callable[[Array], Array]:
    def function(x: Array) -> Array:
        raw = x.astype(np.int64)
        size = _one_minus_over_one_plus(_exp(-np.abs(raw), integer_bits + 1))
        return (np.sign(raw) * size).astype(np.int16)

    return tabulated(function, np.int16)


def _exp(x: Array, integer_bits: int) -> Array:
    """Exponential function of numbers that aren't positive: a polynomial, and a product for each bit above it."""
    fraction = 15 - integer_bits
    quarter = 1 << (fraction - 2)
    below = (x & (quarter - 1)) - quarter
    result = _exp_of_last_quarter(_shifted(below, integer_bits))
    remainder = below - x
    for exponent in range(-2, min(integer_bits, 5)):
        factor = _product(result, _constant(math.exp(-(2.0**exponent))))
        result = np.where(remainder & (1 << (fraction + exponent)), factor, result)
    if integer_bits > 5:
        result = np.where(x < -(1 << (20 - integer_bits)), 0, result)
    return np.where(x == 0, _ONE, result)


def _exp_of_last_quarter(raw: Array) -> Array:
    """Exponential function from -1/4 to 0, by a polynomial around -1/8."""
    x = raw + (1 << 12)
    square = _product(x, x)
    cube, fourth = _product(square, x), _product(square, square)
    higher = _product(_halved(fourth, 2) + cube, _constant(1 / 3)) + square
    middle = _constant(math.exp(-1 / 8))
    return np.asarray(np.clip(middle + _product(middle, x + _halved(higher, 1)), _LEAST, _ONE))


def _reciprocal(x: Array) -> Array:
    """``2 / (1 + x)`` of numbers from 0 to 1, with two integer bits, by three steps of Newton and Raphson."""
    half = (x + _ONE + 1) >> 1
    y = _constant(48 / 17, 2) + _product(half, _constant(-32 / 17, 2))
    for _ in range(3):
        y = y + _shifted(_product(y, (1 << 13) - _product(half, y)), 2)
    return np.asarray(y)


def _one_over_one_plus(x: Array) -> Array:
    return _shifted(_reciprocal(x), 1)


def _one_minus_over_one_plus(x: Array) -> Array:
    return _shifted(_reciprocal(x) - (1 << 13), 2)


def normalize_gate(
    x: Array, coefficients: Array, bias: Array, multiplier: tuple[Any, Any], variance_guard: int
) -> Array:
    """Layer normalization of a gate over its cells (``PortableApplyLayerNorm``).

    Parameters
    ----------
    x : ndarray
        int16 or wider, shape ``[batch, cells]``.
    coefficients, bias : ndarray
        int16 and int32, shape ``[cells]``.
    multiplier : (int, int)
        Mantissa and shift of the scale of `coefficients`.
    variance_guard : int
        In place of a variance below 1.

    Returns
    -------
    ndarray
        int64, within 16 bits, shape of `x`.
    """
    values, count = x.astype(np.int64), x.shape[-1]
    mean = _truncated(values.sum(axis=-1, keepdims=True) * 1024, count)
    variance = np.square(values).sum(axis=-1, keepdims=True) * ((1 << 20) // count) - np.square(mean)
    spread = _truncated(variance, 1 << 20)
    inverse = inverse_sqrt_multiplier(np.where(spread < 1, variance_guard, spread))
    rescaled = multiply_by_quantized_multiplier(1024 * values - mean, *inverse).astype(np.int64)
    weighted = (rescaled * coefficients + bias).astype(np.int32).astype(np.int64)  # overflows in the kernel too
    steps = _truncated(np.where(weighted > 0, weighted + 512, weighted - 512), 1024)
    scaled = multiply_by_quantized_multiplier(steps, multiplier[0], multiplier[1] + 12)
    return np.clip(scaled.astype(np.int64), _LEAST, _ONE)


def _truncated(a: Array, b: int) -> Array:
    """Quotient, towards zero."""
    return np.asarray(np.sign(a) * (np.abs(a) // b))


def _product(a: Any, b: Any) -> Array:
    return saturating_rounding_doubling_high_mul(a, b, bits=16).astype(np.int64)


def _halved(x: Array, bits: int) -> Array:
    return rounding_divide_by_pot(x, bits).astype(np.int64)


def _shifted(x: Array, bits: int) -> Array:
    """Multiply by a power of two; what 16 bits can't hold saturates."""
    return np.asarray(np.clip(np.asarray(x, np.int64) << bits, _LEAST, _ONE))

"""Steps of an integer LSTM's gates: logistic function, hyperbolic tangent and layer normalization of INT16 values.

The functions are gemmlowp's of 16 bits, see `quantlib.numerics.exp_on_negative_values`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    exp_on_negative_values,
    inverse_sqrt_multiplier,
    multiply_by_quantized_multiplier,
    one_minus_x_over_one_plus_x,
    one_over_one_plus_x,
)

from ..integer_table import tabulated

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..kernel import Array

_ONE = (1 << 15) - 1
_LEAST = -(1 << 15)
#: Greatest number of integer bits of a hyperbolic tangent's argument.
MOST_BITS = 6


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
        positive = one_over_one_plus_x(exp_on_negative_values(-np.abs(raw), 3, bits=16), bits=16)
        return np.where(raw == 0, 1 << 14, np.where(raw > 0, positive, _ONE - positive)).astype(np.int16)

    return tabulated(function, np.int16)


@cache
def _tanh_table(integer_bits: int) -> Callable[[Array], Array]:
    def function(x: Array) -> Array:
        raw = x.astype(np.int64)
        power = exp_on_negative_values(-np.abs(raw), integer_bits + 1, bits=16)
        size = one_minus_x_over_one_plus_x(power, bits=16)
        return np.asarray((np.sign(raw) * size).astype(np.int16))

    return tabulated(function, np.int16)


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

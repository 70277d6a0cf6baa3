"""Softmax of integers, in fixed point."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    exp_on_negative_values,
    leading_zeros,
    log_of_one_or_more,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    reciprocal,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)

from ..integer_table import between, interpolation_table
from ..kernel_checks import BYTES, WORD, checked

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt

    from ..kernel import Array

# Integer bits of differences and of their sums (tflite/kernels/internal/reference/softmax.h).
DIFFERENCE, _SUM = 5, 12
#: Integer bits of logarithms.
_LOGARITHM = 4


@checked(x=BYTES)
def softmax_bytes(x: Array, scale: float, beta: float = 1.0, *, dtype: Any = None) -> Array:
    """Softmax over the last axis of 8-bit integers.

    The exponential function of each difference from the row's maximum is taken in fixed point, and added with 12
    integer bits (``tflite/kernels/internal/reference/softmax.h``).

    Parameters
    ----------
    x : ndarray
        int8 or uint8, at least one axis.
    scale : float
        Of `x`.
    beta : float
        Factor of `x`.
    dtype : dtype, optional
        int8, uint8 or int16; that of `x` unless given.

    Returns
    -------
    ndarray
        Of `dtype`, shape of `x`: 256 steps from 0 to 1, or 65,536 for int16, from the type's least value on.

    Raises
    ------
    InvalidValue
        If ``beta * scale`` is so small that differences vanish (2**-26).

    Examples
    --------
    >>> softmax_bytes(np.array([[0, 10, 20]], np.int8), 0.1)
    array([[-105,  -65,   42]], dtype=int8)
    """
    limits = np.iinfo(x.dtype if dtype is None else dtype)
    if x.size == 0:
        return np.empty(x.shape, limits.dtype)
    exps, least = exponentials(float(np.float32(scale)), float(np.float32(beta)))
    below = x.max(axis=-1, keepdims=True).astype(np.int64) - x
    terms = rounding_divide_by_pot(exps, _SUM).astype(np.int64)
    sums = np.asarray(np.where(below <= least, terms[below], 0).sum(axis=-1, keepdims=True))
    mantissa, bits = reciprocal(sums, _SUM)
    product = saturating_rounding_doubling_high_mul(mantissa, exps[below])
    shares = rounding_divide_by_pot(product, bits + (31 - limits.bits)).astype(np.int64)
    result = np.clip(shares + limits.min, limits.min, limits.max)
    return np.where(below <= least, result, limits.min).astype(limits.dtype)


@checked(x=BYTES)
def log_softmax_bytes(x: Array, scale: float) -> Array:
    """Logarithms of softmax over the last axis of 8-bit integers, in fixed point.

    ``tflite/kernels/internal/reference/log_softmax.h``.

    Parameters
    ----------
    x : ndarray
        int8 or uint8, at least one axis.
    scale : float
        Of `x`.

    Returns
    -------
    ndarray
        Dtype and shape of `x`: steps of 1/16 from -255/16 to 0.

    Raises
    ------
    InvalidValue
        If `scale` is so small that differences vanish (2**-26).

    Examples
    --------
    >>> log_softmax_bytes(np.array([[0, 10, 20]], np.int8), 0.1)
    array([[ 88, 104, 120]], dtype=int8)
    """
    limits = np.iinfo(x.dtype)
    if x.size == 0:
        return np.empty(x.shape, x.dtype)
    raw, least, reverse = log_differences(scale)
    terms = rounding_divide_by_pot(exp_on_negative_values(raw, DIFFERENCE), _SUM).astype(np.int64)
    below = x.max(axis=-1, keepdims=True).astype(np.int64) - x
    sums = np.asarray(np.where(below <= least, terms[below], 0).sum(axis=-1, keepdims=True))
    log = log_of_one_or_more(sums, _SUM, DIFFERENCE)
    # differences beyond what the logarithm leaves of the range
    limit = -multiply_by_quantized_multiplier(log - (1 << 31), *reverse).astype(np.int64)
    steps = rounding_divide_by_pot(raw[below] - log, 31 - DIFFERENCE - _LOGARITHM).astype(np.int64)
    result = np.clip(steps + limits.max, limits.min, limits.max)
    return np.where(below < np.minimum(least + 1, limit), result, limits.min).astype(x.dtype)


def log_differences(scale: float) -> tuple[Array, int, tuple[Array, Array]]:
    """Raw products of 0 ... -255, the largest difference that isn't infinite, and the multiplier back."""
    raw, least, mantissa, shift = _differences(float(np.float32(scale)), 1.0)
    return raw, least, quantize_multiplier((1 << (31 - shift)) / mantissa)


def exponentials(scale: float, beta: float) -> tuple[Array, int]:
    """Raw exponentials of -255 * scale * beta ... 0, and the largest difference that isn't taken for infinite."""
    raw, least, *_ = _differences(scale, beta)
    return exp_on_negative_values(raw, DIFFERENCE), least


def _differences(scale: float, beta: float) -> tuple[Array, int, int, int]:
    """Raw products of 0 ... -255 and a multiplier, the largest difference that isn't infinite, and the multiplier."""
    real = min(beta * scale * (1 << (31 - DIFFERENCE)), (1 << 31) - 1.0)
    if not real > 1:
        raise InvalidValue(f"SOFTMAX with beta * scale {beta * scale}: more than 2**-26 is required")
    mantissa, shift = quantize_multiplier(real)
    radius = math.floor(((1 << DIFFERENCE) - 1) * (1 << (31 - DIFFERENCE)) / (1 << int(shift)))
    differences = -np.minimum(np.arange(256), radius)
    raw = multiply_by_quantized_multiplier(differences, mantissa, np.minimum(shift, 30)).astype(np.int64)
    return raw, radius, int(mantissa), int(shift)


@cache
def softmax_tables() -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """Tables of ``exp(x)`` from -10 to 0, and of ``1 / (1 + x)`` from 0 to 1, see `interpolation_table`.

    Examples
    --------
    >>> [table[[0, 256, 512]].tolist() for table in softmax_tables()]
    [[2, 221, 32767], [32767, 21845, 16384]]
    """
    span = 65535.0
    exponentials = interpolation_table(np.exp, 10 / span, 32767, 2 / span)
    reciprocals = interpolation_table(lambda v: 1 / (1 + v), 1 / span, -32768, 2 / span)
    for table in (exponentials, reciprocals):
        table.flags.writeable = False
    return exponentials, reciprocals


def softmax_multiplier(scale: float, beta: float) -> np.float64:
    """Real multiplier of differences, to steps of 10 / 65535."""
    return np.float64(np.float64(np.float32(scale) * np.float32(beta)) / (10.0 / 65535.0))


@checked(x=WORD)
def softmax_int16(x: Array, scale: float, beta: float = 1.0) -> Array:
    """Softmax over the last axis of INT16 values, by tables of ``exp(x)`` and ``1 / (1 + x)`` with 512 steps.

    Parameters
    ----------
    x : ndarray
        int16, at least one axis.
    scale : float
        Of `x`.
    beta : float
        Factor of `x`.

    Returns
    -------
    ndarray
        int16, shape of `x`: 32,768 steps from 0 to 1.

    Raises
    ------
    InvalidValue
        If ``beta * scale`` isn't finite.

    Examples
    --------
    >>> softmax_int16(np.array([[0, 1000, 2000]], np.int16), 0.001)
    array([[ 2950,  8019, 21799]], dtype=int16)
    """
    if x.size == 0:
        return np.empty(x.shape, np.int16)
    exps, inverse = map(between, softmax_tables())
    real = softmax_multiplier(scale, beta)
    below = x.astype(np.int64) - x.max(axis=-1, keepdims=True)
    scaled = multiply_by_quantized_multiplier(below, *quantize_multiplier(real)).astype(np.int64)
    terms = exps(np.clip(scaled + 32767, -32768, 32767)).astype(np.int64)
    sums = np.asarray(terms.sum(axis=-1, keepdims=True))
    zeros = leading_zeros(sums)
    shifted = ((sums << (zeros - 1)) + (1 << 13)) >> 14
    factor = inverse(np.clip(shifted - (1 << 15) - (1 << 16), -32768, 32767)).astype(np.int64)
    right = 31 - zeros
    result = (terms * factor + (np.int64(1) << (right - 1))) >> right
    return np.asarray(np.clip(result, 0, 32767).astype(np.int16))

"""Logistic function and hyperbolic tangent of INT16 values, and hard swish of bytes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    Affine,
    quantize_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)

from ..integer_table import exponent_of
from ..integer_values import less_zero_point, scale_of, stored
from ..kernel_checks import BYTES, WORD, checked

if TYPE_CHECKING:
    from ..kernel import Array

#: Powers of two above 2**-12 for which each function has an exact factor.
LOGISTIC_SHIFTS, TANH_SHIFTS = (0,), (0, 1)

#: Entries of LiteRT's table that are one above the nearest integer (``sigmoid_table_uint16`` in
#: tflite/kernels/internal/common.h).
_RAISED = (
    4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40, 41, 43, 44, 45, 46, 49,
    50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135, 255,
)  # fmt: skip


@cache
def sigmoid_table() -> tuple[int, ...]:
    """LiteRT's table of ``65536 / (1 + exp(-i / 24))`` for i from 0 to 255.

    Examples
    --------
    >>> sigmoid_table()[:5], sigmoid_table()[-2:]
    ((32768, 33451, 34133, 34813, 35493), (65534, 65535))
    """
    table = np.rint(65536 / (1 + np.exp(-np.arange(256) / 24))).astype(np.int64)
    table[list(_RAISED)] += 1
    return tuple(table.tolist())


@checked(x=WORD)
def logistic_int16(x: Array, scale: float) -> Array:
    """Logistic function of INT16 values: ``1 / (1 + exp(-x))`` in 32,768 steps.

    Values are brought to steps of 1 / 12288, and interpolated between the entries of `sigmoid_table`
    (``tflite/kernels/internal/reference/integer_ops/logistic.h``).

    Parameters
    ----------
    x : ndarray
        int16, any shape.
    scale : float
        Of `x`.

    Returns
    -------
    ndarray
        int16, shape of `x`.

    Examples
    --------
    >>> logistic_int16(np.array([-1000, 0, 1000], np.int16), 0.001)
    array([ 8812, 16384, 23956], dtype=int16)
    """
    scaled = _scaled(x, scale, LOGISTIC_SHIFTS)
    result = np.where(np.abs(scaled) >> 9 >= 255, 0x7FFF << 10, _between(scaled, 9))
    result = np.where(scaled >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1)
    return np.asarray((result >> 10).astype(np.int16))


@checked(x=WORD)
def tanh_int16(x: Array, scale: float) -> Array:
    """Hyperbolic tangent of INT16 values in 32,768 steps; parameters and result are those of `logistic_int16`.

    Examples
    --------
    >>> tanh_int16(np.array([-1000, 0, 1000], np.int16), 0.001)
    array([-24956,      0,  24956], dtype=int16)
    """
    scaled = _scaled(x, scale, TANH_SHIFTS)
    result = np.where(np.abs(scaled) >> 8 >= 255, 0xFFFF << 8, _between(scaled, 8))
    result = np.where(scaled >= 0, result - (1 << 23) + (1 << 7), -result + (1 << 23) + (1 << 7) - 1)
    return np.asarray((result >> 8).astype(np.int16))


def _scaled(x: Array, scale: float, shifts: tuple[int, ...]) -> Array:
    """Bring values to a scale of 1 / 12288, see `factor_of`."""
    factor, shift = factor_of(scale, shifts)
    product = (x.astype(np.int64) * factor).astype(np.int32).astype(np.int64)
    return np.asarray((product + (1 << shift >> 1)) >> shift)


def factor_of(scale: float, shifts: tuple[int, ...]) -> tuple[int, int]:
    """Factor to a scale of 1 / 12288, and a shift to the right.

    It is exact, and the shift 0, where the scale is 2**-12 times one of 2**shifts.

    Examples
    --------
    >>> factor_of(2**-12, LOGISTIC_SHIFTS), factor_of(0.001, LOGISTIC_SHIFTS)
    ((3, 0), (25165, 11))
    """
    exponent = exponent_of(np.float32(scale))
    if exponent is not None and exponent + 12 in shifts:
        return 3 << (exponent + 12), 0
    multiplier, shift = float(np.float32(scale)) * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = multiplier * 2, shift + 1
    return int(multiplier), shift


def _between(scaled: Array, bits: int) -> Array:
    """Interpolate in the table, with `bits` more than its entries have."""
    table = np.array(sigmoid_table(), np.int64)
    size = np.abs(scaled)
    place = np.minimum(size >> bits, 254)
    return np.asarray((table[place] << bits) + (size & ((1 << bits) - 1)) * (table[place + 1] - table[place]))


@checked(x=BYTES)
def hard_swish_bytes(x: Array, before: Affine, after: Affine) -> Array:
    """``x * relu6(x + 3) / 6`` of 8-bit integers, with 16-bit fixed-point numbers.

    ``tflite/kernels/internal/reference/hard_swish.h``; scales, such as 3 / 32768 of what is cut at 6, are of
    ``HardSwishPrepare`` in ``tflite/kernels/activations.cc``.

    Parameters
    ----------
    x : ndarray
        int8 or uint8, any shape.
    before, after : Affine
        Of `x` and of the result; one scale each.

    Returns
    -------
    ndarray
        Of the storage dtype of `after`, shape of `x`.

    Raises
    ------
    InvalidValue
        If ``scale / 128`` of `x` isn't below the scale of the result, which the kernel requires.

    Examples
    --------
    >>> hard_swish_bytes(np.array([-40, 0, 20, 60], np.int8), Affine("INT8", 0.1), Affine("INT8", 0.1))
    array([ 0,  0, 17, 60], dtype=int8)
    """
    scale, target = scale_of(before), scale_of(after)
    fine = np.float32(1 / 128) * scale
    mantissa, exponent = _half(fine / target)
    if exponent > 0:
        raise InvalidValue(
            f"HARD_SWISH from a scale of {scale} to {target}: {fine} or more is required of the second"
        )
    gate_mantissa, gate_exponent = _half(fine / np.float32(3 / 32768))
    values = less_zero_point(x, before) << 7
    values = values.astype(np.int16).astype(np.int64)
    outward = saturating_rounding_doubling_high_mul(values, mantissa, bits=16).astype(np.int64)
    gate = _saturated(values << max(gate_exponent - 1, 0))
    gate = saturating_rounding_doubling_high_mul(gate, gate_mantissa, bits=16).astype(np.int64)
    if gate_exponent > 0:
        gate = _saturated(gate << 1)
    gate = rounding_divide_by_pot(gate, max(-gate_exponent, 0)).astype(np.int64)
    gate = (gate + (1 << 15)) >> 1
    product = gate * outward
    product = np.sign(product) * (np.abs(product) >> 15)
    return stored(rounding_divide_by_pot(product, -exponent), after)


def _half(multiplier: np.float32) -> tuple[int, int]:
    """A multiplier with a mantissa of 16 bits (``DownScaleInt32ToInt16Multiplier`` in ``common.h``)."""
    mantissa, exponent = quantize_multiplier(multiplier)
    return min((int(mantissa) + (1 << 15)) >> 16, 0x7FFF), int(exponent)


def _saturated(x: Array) -> Array:
    return np.clip(x, -(1 << 15), (1 << 15) - 1)

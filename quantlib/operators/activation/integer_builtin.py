"""Activations as LiteRT's optimized kernels compute them on x86."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from quantlib.numerics import round_half_away

from ..integer_table import exponent_of
from ..kernel_checks import BYTES, WORD, checked
from ..recurrent.integer_gates import sigmoid_of_gate, tanh_of_gate
from .integer_sigmoid import logistic_int16, tanh_int16

if TYPE_CHECKING:
    from ..kernel import Array

#: Exponents of the scales that gemmlowp's functions of INT16 values take; the logistic function takes the first.
EXPONENTS = (-12, -11)


@checked(x=WORD)
def logistic_by_scale(x: Array, scale: float) -> Array:
    """Logistic function of INT16 values: gemmlowp's where the scale is 2**-12, else `logistic_int16`.

    ``Logistic`` in ``tflite/kernels/internal/optimized/optimized_ops.h``.

    Parameters
    ----------
    x : ndarray
        int16, any shape.
    scale : float
        Of `x`.

    Returns
    -------
    ndarray
        int16, shape of `x`: 32,768 steps.

    Examples
    --------
    >>> logistic_by_scale(np.array([-4096, 0], np.int16), 2**-12)
    array([ 8815, 16384], dtype=int16)
    """
    return sigmoid_of_gate(x) if exponent_of(np.float32(scale)) == EXPONENTS[0] else logistic_int16(x, scale)


@checked(x=WORD)
def tanh_by_scale(x: Array, scale: float) -> Array:
    """Hyperbolic tangent of INT16 values: gemmlowp's where the scale is 2**-12 or 2**-11, else `tanh_int16`.

    ``Tanh`` in ``tflite/kernels/internal/optimized/optimized_ops.h``. Parameters and result are those of
    `logistic_by_scale`.

    Examples
    --------
    >>> tanh_by_scale(np.array([-2048, 0], np.int16), 2**-11)
    array([-24964,      0], dtype=int16)
    """
    exponent = exponent_of(np.float32(scale))
    if exponent not in EXPONENTS:
        return tanh_int16(x, scale)
    if exponent == EXPONENTS[0]:
        return tanh_of_gate(x)
    return tanh_of_gate(np.clip(x.astype(np.int32) * 2, -(1 << 15), (1 << 15) - 1).astype(np.int16))


@checked(x=BYTES)
def softmax_in_floats(
    x: Array, scale: float, beta: float, output_scale: float, zero_point: int, *, dtype: Any = None
) -> Array:
    """Softmax over the last axis of 8-bit integers by a table of exponentials in float32.

    They are added one after another. ``half_away(exp * (1 / (sum * s_out))) + zero_point``; uint8 results are rounded
    as ``floor(... + 0.5)``, without a zero point (``Softmax`` in
    ``tflite/kernels/internal/optimized/optimized_ops.h``).

    Parameters
    ----------
    x : ndarray
        int8 or uint8, at least one axis.
    scale, beta : float
        Of `x`, and its factor.
    output_scale, zero_point : float, int
        Of the result.
    dtype : dtype, optional
        int8, uint8 or int16; that of `x` unless given.

    Returns
    -------
    ndarray
        Of `dtype`, shape of `x`.

    Examples
    --------
    >>> softmax_in_floats(np.array([[0, 10, 20]], np.int8), 0.1, 1.0, 1 / 256, -128)
    array([[-105,  -65,   42]], dtype=int8)
    """
    limits = np.iinfo(x.dtype if dtype is None else dtype)
    if x.size == 0:
        return np.empty(x.shape, limits.dtype)
    exps, _ = _exponentials(x, step_of(scale, beta))
    inverse = np.float32(1) / (_sum(exps) * np.float32(output_scale))
    shares = exps * inverse
    if limits.dtype == np.uint8:
        steps = np.floor(shares + np.float32(0.5)).astype(np.int64)
    else:
        steps = round_half_away(shares).astype(np.int64) + zero_point
    return np.asarray(np.clip(steps, limits.min, limits.max).astype(limits.dtype))


@checked(x=BYTES)
def log_softmax_in_floats(x: Array, scale: float) -> Array:
    """Logarithms of softmax over the last axis of 8-bit integers, in float32, rounded half to even.

    ``half_even(x * (s_in / s_out) - (s_in * max + log(sum)) / s_out) + zero_point`` with the output's fixed scale of
    1/16 (``LogSoftmax`` in ``tflite/kernels/internal/optimized/optimized_ops.h``).

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

    Examples
    --------
    >>> log_softmax_in_floats(np.array([[0, 10, 20]], np.int8), 0.1)
    array([[ 88, 104, 120]], dtype=int8)
    """
    limits = np.iinfo(x.dtype)
    if x.size == 0:
        return np.empty(x.shape, x.dtype)
    step, target = np.float32(scale), np.float32(16 / 256)
    exps, most = _exponentials(x, step)
    logs = np.log(_sum(exps).astype(np.float64)).astype(np.float32)
    offset = (step * most.astype(np.float32) + logs) / target
    steps = np.rint(x.astype(np.float32) * (step / target) - offset).astype(np.int64) + limits.max
    return np.asarray(np.clip(steps, limits.min, limits.max).astype(x.dtype))


def step_of(scale: float, beta: float) -> np.float32:
    """What one step of the operand makes in the exponent, in float32."""
    return np.float32(np.float32(scale) * np.float32(beta))


def exponential_table(scale: np.float32) -> Array:
    """``exp(-d * scale)`` of differences from 0 to 255, in float32."""
    return np.asarray(np.exp((np.arange(256, dtype=np.float32) * -scale).astype(np.float64)).astype(np.float32))


def _exponentials(x: Array, scale: np.float32) -> tuple[Array, Array]:
    """``exp(scale * (x - max))`` in float32 for each row, and its greatest value."""
    table = exponential_table(scale)
    most = x.max(axis=-1, keepdims=True)
    return table[most.astype(np.int64) - x], most


def _sum(x: Array) -> Array:
    """Sums over the last axis, one after another."""
    return np.cumsum(x, axis=-1, dtype=np.float32)[..., -1:]

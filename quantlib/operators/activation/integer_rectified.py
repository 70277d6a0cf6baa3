"""Rectifiers of quantized values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quantlib.numerics import Affine, multiply_by_quantized_multiplier, quantize_multiplier

from ..integer_requantize import real_range
from ..integer_values import less_zero_point, ratio, scale_of, stored
from ..integer_xnnpack import times_256
from ..kernel_checks import checked

if TYPE_CHECKING:
    from ..kernel import Array


@checked()
def rectify_integers(x: Array, before: Affine, after: Affine, low: float, high: float) -> Array:
    """Requantize by ``float32(s_in / s_out)``, then clip to the integers that stand for `low` and `high`.

    ``QuantizedReluX`` in ``tflite/kernels/activations.cc``.

    Parameters
    ----------
    x : ndarray
        int8, uint8 or int16, any shape.
    before, after : Affine
        Of `x` and of the result; one scale each.
    low, high : float
        Real ends; infinite for none.

    Returns
    -------
    ndarray
        Of the storage dtype of `after`, shape of `x`.

    Raises
    ------
    InvalidValue
        If the quotient of the scales isn't finite.

    Examples
    --------
    >>> rectify_integers(np.array([-4, 5, 90], np.int8), Affine("INT8", 0.1), Affine("INT8", 0.05, -128), 0, 6)
    array([-128, -118,   -8], dtype=int8)
    """
    real = ratio(before, after, np.float32)
    steps = multiply_by_quantized_multiplier(less_zero_point(x, before), *quantize_multiplier(real))
    return stored(steps, after, real_range(after, low, high))


def leaky_multipliers(before: Affine, after: Affine, alpha: float) -> tuple[np.float32, np.float32]:
    """Real multipliers of what isn't below zero, and of what is."""
    below = np.float32(np.float32(scale_of(before) * np.float32(alpha)) / scale_of(after))
    return ratio(before, after, np.float32), below


@checked()
def leaky_relu_integers(x: Array, before: Affine, after: Affine, alpha: float) -> Array:
    """Requantize by ``float32(s_in / s_out)``, and what is below zero by ``float32(float32(s_in * alpha) / s_out)``.

    ``LeakyReluPrepare`` in ``tflite/kernels/activations.cc``, and
    ``tflite/kernels/internal/reference/leaky_relu.h``.

    Parameters
    ----------
    x : ndarray
        int8, uint8 or int16, any shape.
    before, after : Affine
        Of `x` and of the result; one scale each.
    alpha : float
        Slope below zero.

    Returns
    -------
    ndarray
        Of the storage dtype of `after`, shape of `x`.

    Raises
    ------
    InvalidValue
        If the quotient of the scales isn't finite.

    Examples
    --------
    >>> leaky_relu_integers(np.array([-40, 5], np.int8), Affine("INT8", 0.1), Affine("INT8", 0.05, 3), 0.2)
    array([-13,  13], dtype=int8)
    """
    values = less_zero_point(x, before)
    return _either(values, values, leaky_multipliers(before, after, alpha), after)


def leaky_xnnpack_multipliers(before: Affine, after: Affine, alpha: float) -> tuple[np.float32, np.float32]:
    """Real multipliers of what is above zero, and of what isn't, as XNNPACK computes them in float32."""
    upper = ratio(before, after, np.float32)
    return upper, np.float32(upper * np.float32(alpha))


@checked()
def leaky_relu_xnnpack(x: Array, before: Affine, after: Affine, alpha: float) -> Array:
    """Leaky rectifier of bytes as XNNPACK computes it: multipliers have eight bits after the point, see `times_256`.

    Parameters and result are those of `leaky_relu_integers`; `x` is int8 or uint8.

    Examples
    --------
    >>> leaky_relu_xnnpack(np.array([-40, 5], np.int8), Affine("INT8", 0.1), Affine("INT8", 0.05, 3), 0.2)
    array([-13,  13], dtype=int8)
    """
    values = less_zero_point(x, before)
    upper, lower = (times_256(values, real) for real in leaky_xnnpack_multipliers(before, after, alpha))
    return stored(np.where(values > 0, upper, lower), after)


@checked()
def prelu_integers(x: Array, alpha: Array, before: Affine, slopes: Affine, after: Affine) -> Array:
    """Requantize by ``float32(s_in / s_out)``, and what is below zero times its slope by that times their scale.

    The second multiplier is ``float32(float32(s_in * s_alpha) / s_out)`` (``tflite/kernels/activations.cc``).

    Parameters
    ----------
    x : ndarray
        int8 or uint8, any shape.
    alpha : ndarray
        Dtype of `x`; they broadcast.
    before, slopes, after : Affine
        Of `x`, of `alpha`, of the result; one scale each.

    Returns
    -------
    ndarray
        Of the storage dtype of `after`.

    Raises
    ------
    InvalidValue
        If a quotient of the scales isn't finite.

    Examples
    --------
    >>> tenth = Affine("INT8", 0.1)
    >>> prelu_integers(np.array([-40, 5], np.int8), np.array([5, 5], np.int8), tenth, tenth, tenth)
    array([-20,   5], dtype=int8)
    """
    values = less_zero_point(x, before)
    products = values * less_zero_point(alpha, slopes)
    return _either(values, products, leaky_multipliers(before, after, float(scale_of(slopes))), after)


def _either(values: Array, below: Array, reals: tuple[np.float32, np.float32], after: Affine) -> Array:
    """Values that aren't negative by the first multiplier; in place of others those below, by the second."""
    upper = multiply_by_quantized_multiplier(values, *quantize_multiplier(reals[0]))
    # a negative multiplier, of a negative slope, is that of the opposite number
    lower = multiply_by_quantized_multiplier(below, *quantize_multiplier(abs(reals[1])))
    signed = -lower.astype(np.int64) if reals[1] < 0 else lower
    return stored(np.where(values >= 0, upper, signed), after)

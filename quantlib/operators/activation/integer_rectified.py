"""Rectifiers of quantized values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quantlib.numerics import Affine, multiply_by_quantized_multiplier, quantize_multiplier, round_half_away

if TYPE_CHECKING:
    from ..kernel import Array


def rectify_integers(x: Array, before: Affine, after: Affine, low: float, high: float) -> Array:
    """Requantize by ``float32(s_in / s_out)``, then clip to the integers that stand for `low` and `high`.

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
    scale, zero_point = np.float32(after.scale.flat[0]), int(after.zero_point.flat[0])
    least, greatest = after.qmin, after.qmax
    if np.isfinite(low):
        least = max(least, zero_point + int(round_half_away(np.float32(low) / scale)))
    if np.isfinite(high):
        greatest = min(greatest, zero_point + int(round_half_away(np.float32(high) / scale)))
    real = np.float32(before.scale.flat[0]) / scale
    centered = x.astype(np.int64) - before.zero_point.flat[0]
    values = multiply_by_quantized_multiplier(centered, *quantize_multiplier(real)).astype(np.int64) + zero_point
    return np.minimum(np.maximum(values, least), greatest).astype(after.type.storage)


def leaky_relu_integers(x: Array, before: Affine, after: Affine, alpha: float) -> Array:
    """Requantize by ``float32(s_in / s_out)``, and what is below zero by ``float32(float32(s_in * alpha) / s_out)``.

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
    scale, target = _scale(before), _scale(after)
    values = x.astype(np.int64) - before.zero_point.flat[0]
    below = np.float32(np.float32(scale * np.float32(alpha)) / target)
    return _either(values, values, (scale / target, below), after)


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
    scale, target = _scale(before), _scale(after)
    values = x.astype(np.int64) - before.zero_point.flat[0]
    products = values * (alpha.astype(np.int64) - slopes.zero_point.flat[0])
    below = np.float32(np.float32(scale * _scale(slopes)) / target)
    return _either(values, products, (scale / target, below), after)


def _either(values: Array, below: Array, reals: tuple[np.float32, np.float32], after: Affine) -> Array:
    """Values that aren't negative by the first multiplier; in place of others those below, by the second."""
    upper = multiply_by_quantized_multiplier(values, *quantize_multiplier(reals[0]))
    # a negative multiplier, of a negative slope, is that of the opposite number
    lower = multiply_by_quantized_multiplier(below, *quantize_multiplier(abs(reals[1])))
    signed = -lower.astype(np.int64) if reals[1] < 0 else lower
    steps = np.where(values >= 0, upper, signed) + after.zero_point.flat[0]
    return np.asarray(np.clip(steps, after.qmin, after.qmax).astype(after.type.storage))


def _scale(affine: Affine) -> np.float32:
    return np.float32(affine.scale.flat[0])

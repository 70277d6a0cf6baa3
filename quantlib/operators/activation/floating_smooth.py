"""Activations made of exponentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ._pieces import in_pieces

if TYPE_CHECKING:
    from ..kernel import Array

_ZERO, _ONE, _THREE, _SIX, _INFINITY = (np.float32(v) for v in (0, 1, 3, 6, np.inf))
#: Below it LiteRT takes the logistic function for the exponential one.
_SMALL = np.float32(-9)


def _elu(x: Array, y: Array) -> None:
    np.clip(x, -_INFINITY, _ZERO, out=y)
    np.expm1(y, out=y)
    y += np.clip(x, _ZERO, _INFINITY)


def _hard_swish(x: Array, y: Array) -> None:
    np.add(x, _THREE, out=y)
    np.clip(y, _ZERO, _SIX, out=y)
    y *= x
    y /= _SIX


def _logistic(x: Array, y: Array) -> None:
    np.negative(x, out=y)
    np.exp(y, out=y)
    y += _ONE
    np.reciprocal(y, out=y)
    small = x < _SMALL
    if small.any():  # as LiteRT does, whose result is 0.012 % larger at the limit
        y[small] = np.exp(x[small])


def elu(x: Array) -> Array:
    """Exponential linear unit: ``x`` from zero on, ``exp(x) - 1`` below; floats of any shape, whose dtype stays."""
    return in_pieces(_elu, x)


def hard_swish(x: Array) -> Array:
    """Compute ``x * clip(x + 3, 0, 6) / 6`` of floats of any shape, whose dtype stays."""
    return in_pieces(_hard_swish, x)


def logistic(x: Array) -> Array:
    """Sigmoid: ``1 / (1 + exp(-x))`` of floats of any shape, whose dtype stays; below -9 ``exp(x)``, as in LiteRT.

    ``tflite/kernels/internal/reference/logistic.h``.
    """
    return in_pieces(_logistic, x)


def tanh(x: Array) -> Array:
    """Hyperbolic tangent of floats of any shape, whose dtype stays."""
    return np.asarray(np.tanh(x))


def softmax(x: Array, beta: float = 1.0) -> Array:
    """Softmax along the last axis: ``exp(beta * x)``, divided by its sum.

    Parameters
    ----------
    x : ndarray
        Floats of rank 1 or more. The greatest element is taken off first, so that nothing overflows.
    beta : float
        Inverse temperature.

    Returns
    -------
    ndarray
        Shape and dtype of `x`.

    Raises
    ------
    InvalidValue
        If `x` is a scalar.

    Examples
    --------
    >>> softmax(np.array([1000.0, 1000.0], np.float32)).tolist()
    [0.5, 0.5]
    """
    with np.errstate(all="ignore"):
        result = _below_maximum(x, "SOFTMAX")
        if beta != 1:
            result *= np.float32(beta)
        np.exp(result, out=result)
        result /= np.add.reduce(result, axis=-1, keepdims=True)
        return result.astype(x.dtype, copy=False)


def log_softmax(x: Array) -> Array:
    """Logarithm of the softmax along the last axis.

    Parameters
    ----------
    x : ndarray
        Floats of rank 1 or more.

    Returns
    -------
    ndarray
        Shape and dtype of `x`.

    Raises
    ------
    InvalidValue
        If `x` is a scalar.
    """
    with np.errstate(all="ignore"):
        result = _below_maximum(x, "LOG_SOFTMAX")
        total = np.add.reduce(np.exp(result), axis=-1, keepdims=True)
        result -= np.log(total, out=total)
        return result.astype(x.dtype, copy=False)


def _below_maximum(x: Array, operation: str) -> Array:
    """Take the maximum of each row off it, in float32."""
    if x.ndim == 0:
        raise InvalidValue(f"{operation} of a scalar: at least one axis is required")
    x = x.astype(np.float32, copy=False)
    # An empty row has no maximum of its own.
    return np.asarray(x - np.max(x, axis=-1, keepdims=True, initial=-np.inf))

"""Activations made of straight lines."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..kernel import Array

#: The ends of each operator's range.
RECTIFIERS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"RELU": (0, math.inf), "RELU6": (0, 6), "RELU_0_TO_1": (0, 1), "RELU_N1_TO_1": (-1, 1)}
)


def rectify(x: Array, low: float = 0, high: float = math.inf) -> Array:
    """Clip to a range; NaN stays.

    Parameters
    ----------
    x : ndarray
        Floats of any shape.
    low, high : float

    Returns
    -------
    ndarray
        Shape and dtype of `x`.
    """
    # With both ends given, NumPy's clip is vectorized; its maximum with a scalar takes three times as long.
    number = x.dtype.type
    return np.asarray(np.clip(x, number(low), number(high)))


def leaky_relu(x: Array, alpha: float) -> Array:
    """Multiply what is below zero by a number.

    Parameters
    ----------
    x : ndarray
        Floats of any shape.
    alpha : float
        Any; below zero or above 1, too.

    Returns
    -------
    ndarray
        Shape and dtype of `x`.
    """
    return _sloped(x, np.asarray(alpha, x.dtype))


def prelu(x: Array, alpha: Array) -> Array:
    """Multiply what is below zero by an element of an array.

    Parameters
    ----------
    x : ndarray
        Floats of any shape.
    alpha : ndarray
        Of the dtype of `x`; it broadcasts to the shape of `x`.

    Returns
    -------
    ndarray
        Shape and dtype of `x`.

    Raises
    ------
    InvalidValue
        If types or shapes don't fit.
    """
    if alpha.dtype != x.dtype:
        raise InvalidValue(f"PRELU of {x.dtype} with slopes of {alpha.dtype}: one type is required")
    try:
        fits = np.broadcast_shapes(x.shape, alpha.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise InvalidValue(f"PRELU of {x.shape} with slopes {alpha.shape}: they must broadcast to {x.shape}")
    return _sloped(x, alpha)


def _sloped(x: Array, alpha: Array) -> Array:
    # One of both parts is zero everywhere, so that nothing is rounded twice.
    with np.errstate(all="ignore"):
        result = rectify(x, -math.inf, 0)
        np.multiply(result, alpha, out=result)
        return np.asarray(np.add(result, rectify(x), out=result))

"""Activations fused into other operators."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .kernel import Array

# ActivationFunctionType of the schema.
NONE, RELU, RELU_N1_TO_1, RELU6, TANH, SIGN_BIT = range(6)

#: Least and greatest number that an activation leaves, of those that arithmetic kernels know.
RANGES: Mapping[int, tuple[float, float]] = MappingProxyType(
    {NONE: (-np.inf, np.inf), RELU: (0, np.inf), RELU_N1_TO_1: (-1, 1), RELU6: (0, 6)}
)


def apply_fused(x: Array, code: int) -> Array:
    """Apply a fused activation in place.

    Parameters
    ----------
    x : ndarray
        Fresh result of a kernel, any shape; float32, or integers for the ReLU family. It is overwritten.
    code : int
        ``ActivationFunctionType``: 0 none, 1 ReLU, 2 clip to [-1, 1], 3 clip to [0, 6], 4 tanh, 5 sign bit
        (1 where it is set, 0 elsewhere).

    Returns
    -------
    ndarray
        `x` itself.

    Raises
    ------
    InvalidValue
        If the schema has no such activation, or it isn't defined for integers.

    Examples
    --------
    >>> apply_fused(np.array([-2.0, 3.0, 8.0], np.float32), 3).tolist()
    [0.0, 3.0, 6.0]
    """
    if code == NONE:
        return x
    if code in RANGES:
        low, high = RANGES[code]
        if x.dtype.kind == "f":
            # One vectorized pass with two bounds; `np.maximum` alone takes four times as long.
            return np.clip(x, x.dtype.type(low), x.dtype.type(high), out=x)
        if x.dtype.kind != "u":
            np.maximum(x, int(low), out=x)
        return x if high == np.inf else np.minimum(x, int(high), out=x)
    if code not in (TANH, SIGN_BIT):
        raise InvalidValue(f"fused activation {code}: the schema has 0 to {SIGN_BIT}")
    if x.dtype.kind != "f":
        raise InvalidValue(f"fused activation {code} on {x.dtype}: floats are required")
    return np.tanh(x, out=x) if code == TANH else np.signbit(x, out=x)


def clip_fused(x: Array, code: int) -> Array:
    """Apply a fused activation in place as LiteRT's arithmetic kernels do (ADD, CONV_2D, MAX_POOL_2D ...).

    They know the ReLU family alone: tanh and sign bit, which they take for "none", are left to recurrent cells.

    Parameters
    ----------
    x : ndarray
        Fresh result of a kernel, any shape, float or integer. It is overwritten.
    code : int
        ``ActivationFunctionType``, see `apply_fused`.

    Returns
    -------
    ndarray
        `x` itself.

    Raises
    ------
    InvalidValue
        If the schema has no such activation.
    """
    return x if code in (TANH, SIGN_BIT) else apply_fused(x, code)

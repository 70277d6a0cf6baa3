"""Choice between two arrays, element by element."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ._checks import check_shapes, check_type

if TYPE_CHECKING:
    from ..kernel import Array


def select_v2(condition: Array, x: Array, y: Array) -> Array:
    """Take `x` where the condition holds, `y` elsewhere; all three are broadcast.

    Parameters
    ----------
    condition : ndarray
        bool.
    x, y : ndarray
        Of one dtype.

    Returns
    -------
    ndarray
        The common shape, dtype of `x`.

    Raises
    ------
    InvalidValue
        If types or shapes don't fit.
    """
    check_type("the condition of a SELECT", "b", condition)
    if x.dtype != y.dtype:
        raise InvalidValue(f"SELECT of {x.dtype} and {y.dtype}: one type is required")
    check_shapes("SELECT", condition, x, y)
    return np.asarray(np.where(condition, x, y))


def select(condition: Array, x: Array, y: Array) -> Array:
    """Take `x` where the condition holds, `y` elsewhere; a vector of conditions chooses along the first axis.

    Parameters
    ----------
    condition : ndarray
        bool: the shape of `x`, a scalar, or a vector with one element for each of ``x[i]``.
    x, y : ndarray
        Of one shape and dtype.

    Returns
    -------
    ndarray
        Shape and dtype of `x`.

    Raises
    ------
    InvalidValue
        If types or shapes don't fit.
    """
    if x.shape != y.shape:
        raise InvalidValue(f"SELECT of shapes {x.shape} and {y.shape}: one shape is required")
    if condition.ndim == 1 and condition.shape == x.shape[:1]:
        condition = condition.reshape(-1, *(1,) * (x.ndim - 1))
    elif condition.ndim and condition.shape != x.shape:
        raise InvalidValue(f"SELECT by {condition.shape} of {x.shape}: that shape, its first axis or () is required")
    return select_v2(condition, x, y)

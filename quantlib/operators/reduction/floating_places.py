"""Places of extremes, and running sums: along one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

if TYPE_CHECKING:
    from ..kernel import Array


def arg_extreme(x: Array, axis: int, *, greatest: bool) -> Array:
    """Find the first greatest or least element along an axis; NaN counts as neither.

    Parameters
    ----------
    x : ndarray
        Numbers or bool, rank 1 or more.
    axis : int
        Of at least one element; below zero it counts from the end.
    greatest : bool

    Returns
    -------
    ndarray
        int64, shape of `x` without the axis; 0 where all is NaN.

    Raises
    ------
    InvalidValue
        If there is no such axis, or it is empty.

    Examples
    --------
    >>> arg_extreme(np.array([2.0, np.nan, 3.0], np.float32), 0, greatest=True).tolist()
    2
    """
    axis = _axis("ARG_MAX" if greatest else "ARG_MIN", x, axis)
    if x.shape[axis] == 0:
        raise InvalidValue(f"extremes of shape {x.shape} along axis {axis}: an axis with elements is required")
    search = np.argmax if greatest else np.argmin
    places = np.asarray(search(x, axis=axis))
    if x.dtype.kind != "f" or not np.isnan(_at(x, places, axis)).any():
        return places.astype(np.int64, copy=False)
    # NumPy stops at NaN: pass over it, but prefer an infinity at the wrong end to it.
    absent = np.isnan(x)
    worst = x.dtype.type(-np.inf if greatest else np.inf)
    replaced = np.where(absent, worst, x)
    places = np.asarray(search(replaced, axis=axis))
    present = np.argmin(absent, axis=axis)
    return np.asarray(np.where(_at(replaced, places, axis) == worst, present, places), np.int64)


def running_sum(x: Array, axis: int, *, exclusive: bool = False, reverse: bool = False) -> Array:
    """Sum of all elements up to each, along an axis.

    Parameters
    ----------
    x : ndarray
        float32 or integers, which wrap around; rank 1 or more.
    axis : int
        Below zero it counts from the end.
    exclusive : bool
        Leave the element itself out.
    reverse : bool
        Begin at the end.

    Returns
    -------
    ndarray
        Shape and dtype of `x`.

    Raises
    ------
    InvalidValue
        If there is no such axis, or `x` is bool.

    Examples
    --------
    >>> running_sum(np.array([1, 2, 4], np.int32), 0, exclusive=True, reverse=True).tolist()
    [6, 4, 0]
    """
    axis = _axis("CUMSUM", x, axis)
    if x.dtype.kind not in "fiu":
        raise InvalidValue(f"CUMSUM of {x.dtype}: numbers are required")
    result = np.empty(x.shape, x.dtype)
    source, target = np.moveaxis(x, axis, 0), np.moveaxis(result, axis, 0)
    if reverse:
        source, target = source[::-1], target[::-1]
    if exclusive:
        target[:1] = 0
        source, target = source[:-1], target[1:]
    with np.errstate(all="ignore"):
        np.cumsum(source, axis=0, dtype=x.dtype, out=target)
    return result


def _axis(operation: str, x: Array, axis: int) -> int:
    if not -x.ndim <= axis < x.ndim:
        raise InvalidValue(
            f"{operation} of shape {x.shape} along axis {axis}: {-x.ndim} to {x.ndim - 1} are possible"
        )
    return axis % x.ndim


def _at(x: Array, places: Array, axis: int) -> Array:
    return np.asarray(np.take_along_axis(x, np.expand_dims(places, axis), axis).squeeze(axis))

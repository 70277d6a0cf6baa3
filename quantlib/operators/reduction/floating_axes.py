"""Reductions over several axes at once."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..elementwise.floating_binary import truncated_quotient

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from ..kernel import Array

#: What combines two elements. MAX and MIN of floats pass over NaN.
REDUCERS: Mapping[str, np.ufunc] = MappingProxyType(
    {
        "REDUCE_ALL": np.logical_and,
        "REDUCE_ANY": np.logical_or,
        "REDUCE_MAX": np.fmax,
        "REDUCE_MIN": np.fmin,
        "REDUCE_PROD": np.multiply,
        "SUM": np.add,
    }
)
_LOGICAL = ("REDUCE_ALL", "REDUCE_ANY")


def mean(x: Array, axes: Iterable[int], *, keep_dims: bool = False) -> Array:
    """Mean over axes.

    Parameters
    ----------
    x : ndarray
        Any shape; floats or integers.
    axes : iterable of int
        See `axes_of`. Without any, `x` itself is the result.
    keep_dims : bool
        Keep reduced axes, with one element.

    Returns
    -------
    ndarray
        Dtype of `x`. Integers are summed in int64, and the quotient is rounded towards zero. The mean of nothing is
        NaN, of integers 0.

    Raises
    ------
    InvalidValue
        If there is no such axis, or `x` is bool.

    Examples
    --------
    >>> mean(np.array([[-1, -2], [3, 4]], np.int32), [1]).tolist()
    [-1, 3]
    """
    if x.dtype.kind not in "fiu":
        raise InvalidValue(f"MEAN of {x.dtype}: numbers are required")
    over = axes_of(axes, x.ndim)
    count = math.prod(x.shape[axis] for axis in over)
    wide = x.dtype if x.dtype.kind == "f" else np.dtype(np.int64)
    with np.errstate(all="ignore"):
        total = np.asarray(np.sum(x, axis=over, dtype=wide, keepdims=keep_dims))
        if wide.kind == "f":
            return np.asarray(np.divide(total, wide.type(count), out=total))
        return truncated_quotient(total, max(count, 1)).astype(x.dtype, copy=False)


def axes_of(axes: Iterable[int], rank: int) -> tuple[int, ...]:
    """Axes to reduce over, in order and once each.

    Parameters
    ----------
    axes : iterable of int
        Those below zero count from the end; any may stand there repeatedly.
    rank : int
        Of a scalar nothing is reduced, whatever the axes.

    Returns
    -------
    tuple of int

    Raises
    ------
    InvalidValue
        If there is no such axis.
    """
    if rank == 0:
        return ()
    given = list(axes)
    if any(not -rank <= axis < rank for axis in given):
        raise InvalidValue(f"axes {given} of rank {rank}: {-rank} to {rank - 1} are possible")
    return tuple(sorted({axis % rank for axis in given}))


def reduce(operation: str, x: Array, axes: Iterable[int], *, keep_dims: bool = False) -> Array:
    """Reduce over axes.

    Parameters
    ----------
    operation : str
        An operator of `REDUCERS`, such as ``SUM``.
    x : ndarray
        Any shape; floats, integers or bool, for REDUCE_ALL and REDUCE_ANY bool alone. Integers wrap around.
    axes : iterable of int
        See `axes_of`. Without any, `x` itself is the result.
    keep_dims : bool
        Keep reduced axes, with one element.

    Returns
    -------
    ndarray
        Dtype of `x`. Of no elements: the sum is 0, the product 1, the maximum the type's least finite number.

    Raises
    ------
    InvalidValue
        If there is no such operation or axis, or it isn't defined for the dtype.

    Examples
    --------
    >>> reduce("SUM", np.array([[1, 2], [3, 4]], np.int32), [-1]).tolist()
    [3, 7]
    """
    if operation not in REDUCERS:
        raise InvalidValue(f"no reduction {operation!r}; there are {', '.join(sorted(REDUCERS))}")
    if x.dtype.kind not in ("b" if operation in _LOGICAL else "fiub"):
        required = "booleans are" if operation in _LOGICAL else "numbers or booleans are"
        raise InvalidValue(f"{operation} of {x.dtype}: {required} required")
    over = axes_of(axes, x.ndim)
    options: dict[str, Any] = (
        {"initial": _initial(operation, x, over)} if operation in ("REDUCE_MAX", "REDUCE_MIN") else {}
    )
    with np.errstate(all="ignore"):
        found = REDUCERS[operation].reduce(x, axis=over, dtype=x.dtype, keepdims=keep_dims, **options)
    return np.asarray(found)


def _initial(operation: str, x: Array, over: tuple[int, ...]) -> bool | float | None:
    """Where a maximum or minimum begins: at the type's end, but at an element where one number is left."""
    if len(over) == x.ndim and x.size:
        return None
    if x.dtype.kind == "b":
        return operation == "REDUCE_MIN"
    span = np.finfo(x.dtype) if x.dtype.kind == "f" else np.iinfo(x.dtype)
    return span.min if operation == "REDUCE_MAX" else span.max

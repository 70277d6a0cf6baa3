"""Writing and summing up elements by index."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue

from ..kernel import Array, Call, Kernel
from ._checks import check_indices, integer, integers, shape_of
from ._index import flat_index

#: How the elements of a segment are combined, and what an empty segment holds.
_SEGMENTS: Mapping[str, tuple[np.ufunc, Callable[[np.dtype[Any]], float]]] = MappingProxyType(
    {
        # std::max and std::min keep the first operand where the second is NaN.
        "UNSORTED_SEGMENT_MAX": (np.fmax, lambda dtype: _limits(dtype)[0]),
        "UNSORTED_SEGMENT_MIN": (np.fmin, lambda dtype: _limits(dtype)[1]),
        "UNSORTED_SEGMENT_PROD": (np.multiply, lambda dtype: 1),
        "UNSORTED_SEGMENT_SUM": (np.add, lambda dtype: 0),
    }
)


def _limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    span: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return span.min, span.max


def scatter_nd(indices: Array, updates: Array, shape: Sequence[int]) -> Array:
    """SCATTER_ND.

    Parameters
    ----------
    indices : ndarray
        Integer coordinates [..., K].
    updates : ndarray
        [..., the shape behind its first K extents], any type.
    shape : sequence of int
        Of the result.

    Returns
    -------
    ndarray
        Zeros where nothing is written, sums where several updates are (booleans: or).
    """
    extents = shape_of(shape, "shape")
    if indices.ndim < 1 or updates.shape != indices.shape[:-1] + extents[indices.shape[-1] :]:
        raise InvalidValue(
            f"coordinates of shape {indices.shape}, updates of shape {updates.shape}: they don't fit {extents}"
        )
    depth = indices.shape[-1]
    out = np.zeros((math.prod(extents[:depth]), math.prod(extents[depth:])), updates.dtype)
    flat = flat_index(indices, extents[:depth]).reshape(-1)
    rows = updates.reshape(flat.size, out.shape[1])
    if np.unique(flat).size == flat.size:
        out[flat] = rows
    else:
        np.add.at(out, flat, rows)
    return out.reshape(extents)


def sparse_to_dense(indices: Array, shape: Sequence[int], values: Array, default: Array) -> Array:
    """SPARSE_TO_DENSE.

    Parameters
    ----------
    indices : ndarray
        Integer coordinates [count, rank], [count] or [].
    shape : sequence of int
        Of the result.
    values : ndarray
        [count] or [], any type. Where coordinates repeat, the last one stands.
    default : ndarray
        Scalar of that type, for all other elements.

    Returns
    -------
    ndarray
    """
    extents = shape_of(shape, "shape")
    places = indices.reshape(-1, 1) if indices.ndim < 2 else indices
    if places.ndim != 2 or places.shape[1] != len(extents) or (values.ndim and values.shape != places.shape[:1]):
        raise InvalidValue(
            f"coordinates of shape {indices.shape}, values of shape {values.shape}: they don't fit {extents}"
        )
    if default.size != 1:
        raise InvalidValue(f"default of shape {default.shape}: a scalar is required")
    out = np.full(math.prod(extents), default.reshape(()), values.dtype)
    out[flat_index(places, extents)] = values
    return out.reshape(extents)


def segment_sum(x: Array, ids: Array) -> Array:
    """SEGMENT_SUM: sums of the rows of `x` [N, ...] with the same id; `ids` [N] rise from 0 in steps of 0 or 1."""
    if x.ndim < 1 or ids.shape != x.shape[:1]:
        raise InvalidValue(f"ids of shape {ids.shape} for shape {x.shape}: one per row is required")
    steps = np.diff(ids)
    if ids.size and (ids[0] != 0 or np.any(steps < 0) or np.any(steps > 1)):
        raise InvalidValue("segment ids must begin at 0 and rise in steps of 0 or 1")
    if not x.size:
        return np.zeros((int(ids[-1]) + 1 if ids.size else 0, *x.shape[1:]), x.dtype)
    starts = np.flatnonzero(np.concatenate(([1], steps)))
    return np.add.reduceat(x, starts, 0, x.dtype)


def unsorted_segment(operator: str, x: Array, ids: Array, count: int) -> Array:
    """UNSORTED_SEGMENT_MAX, _MIN, _PROD and _SUM.

    Parameters
    ----------
    operator : str
        Which of them.
    x : ndarray
        float32 or int32.
    ids : ndarray
        Segment of each element; its shape is the beginning of the shape of `x`. Negative ones are left out.
    count : int
        Number of segments.

    Returns
    -------
    ndarray
        [count, rest of x]. Empty segments hold what the operation begins with: the lowest or greatest finite
        value, 1 or 0.
    """
    combine, initial = _SEGMENTS[operator]
    if ids.shape != x.shape[: ids.ndim] or count < 0:
        raise InvalidValue(f"ids of shape {ids.shape} for shape {x.shape}, {count} segments: they don't fit")
    rest = x.shape[ids.ndim :]
    out = np.full((count, *rest), initial(x.dtype), x.dtype)
    flat = ids.reshape(-1)
    used = np.flatnonzero(flat >= 0)
    check_indices(flat[used], count, "segment ids")
    if not used.size or not out.size:
        return out
    used = used[np.argsort(flat[used], kind="stable")]
    sorted_ids = flat[used]
    starts = np.flatnonzero(np.concatenate(([True], sorted_ids[1:] != sorted_ids[:-1])))
    with np.errstate(over="ignore", invalid="ignore"):
        rows = x.reshape(flat.size, *rest)[used]
        combined = combine.reduceat(rows, starts, 0, x.dtype)
        out[sorted_ids[starts]] = combine(out[sorted_ids[starts]], combined)
    return out


def _unsorted(operator: str) -> Kernel:
    def run(call: Call) -> list[Array]:
        x, ids, count = (call.operand(i) for i in range(3))
        return [unsorted_segment(operator, x, ids, integer(count, "number of segments"))]

    return run


def _scatter_nd(call: Call) -> list[Array]:
    return [scatter_nd(call.operand(0), call.operand(1), integers(call.operand(2), "shape"))]


def _sparse_to_dense(call: Call) -> list[Array]:
    indices, shape, values, default = (call.operand(i) for i in range(4))
    return [sparse_to_dense(indices, integers(shape, "shape"), values, default)]


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "SCATTER_ND": _scatter_nd,
        "SEGMENT_SUM": lambda call: [segment_sum(call.operand(0), call.operand(1))],
        "SPARSE_TO_DENSE": _sparse_to_dense,
        **{name: _unsorted(name) for name in _SEGMENTS},
    }
)

"""Looking up and sorting out elements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue

from ..kernel import Array, Call, Kernel
from ._checks import axis_of, check_indices, integer, output_dtype


def gather(x: Array, indices: Array, axis: int = 0, batch_dims: int = 0) -> Array:
    """GATHER.

    Parameters
    ----------
    x : ndarray
        Any type and shape.
    indices : ndarray
        Integers from 0 to the extent of `axis`, any shape.
    axis : int
        Axis of `x` to look up along.
    batch_dims : int
        Leading axes that `x` and `indices` have in common; negative ones count from the rank of `indices`.

    Returns
    -------
    ndarray
        [x up to axis, indices behind the common axes, x behind axis].
    """
    where = axis_of(axis, x.ndim)
    shared = batch_dims + indices.ndim if batch_dims < 0 else batch_dims
    if not 0 <= shared <= min(where, indices.ndim) or x.shape[:shared] != indices.shape[:shared]:
        raise InvalidValue(
            f"batch_dims {batch_dims}: shapes {x.shape} and {indices.shape} don't begin alike, up to axis {axis}"
        )
    check_indices(indices, x.shape[where], "indices")
    if shared == 0:
        return np.take(x, indices, where)
    batches = math.prod(x.shape[:shared])
    between, behind = x.shape[shared:where], x.shape[where + 1 :]
    flat = x.reshape(batches, math.prod(between), x.shape[where], math.prod(behind))
    rows = indices.reshape(batches, 1, math.prod(indices.shape[shared:]))
    found = flat[np.arange(batches).reshape(-1, 1, 1), np.arange(flat.shape[1]).reshape(-1, 1), rows]
    return found.reshape(x.shape[:where] + indices.shape[shared:] + behind)


def gather_nd(x: Array, indices: Array) -> Array:
    """GATHER_ND: the slices of `x` at coordinates [..., K], K up to the rank of `x`; [..., rest of x]."""
    if indices.ndim < 1 or indices.shape[-1] > x.ndim:
        raise InvalidValue(
            f"coordinates of shape {indices.shape} in rank {x.ndim}: [..., up to {x.ndim}] is required"
        )
    depth = indices.shape[-1]
    rest = x.shape[depth:]
    flat = flat_index(indices, x.shape[:depth])
    return np.take(x.reshape(math.prod(x.shape[:depth]), *rest), flat, 0)


def flat_index(coordinates: Array, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Row-major positions of coordinates [..., K] in a shape of rank K."""
    flat = np.zeros(coordinates.shape[:-1], np.int64)
    for i, extent in enumerate(shape):
        check_indices(coordinates[..., i], extent, f"coordinate {i}")
        flat *= extent
        flat += coordinates[..., i]
    return flat


def embedding_lookup(ids: Array, table: Array) -> Array:
    """EMBEDDING_LOOKUP: rows of a table [V, ...] for ids [N]."""
    if ids.ndim != 1 or table.ndim < 2:
        raise InvalidValue(f"ids of shape {ids.shape}, table of shape {table.shape}: [N] and [V, ...] are required")
    check_indices(ids, table.shape[0], "ids")
    return np.take(table, ids, 0)


def where(condition: Array) -> npt.NDArray[np.int64]:
    """WHERE: int64 coordinates [count, rank] of the elements that aren't zero, in row-major order."""
    if condition.ndim == 0:
        raise InvalidValue("a condition of rank 0: rank 1 or more is required")
    return np.argwhere(condition).astype(np.int64, copy=False)


def top_k(x: Array, k: int, index_type: npt.DTypeLike = np.int32) -> tuple[Array, Array]:
    """TOPK_V2.

    Parameters
    ----------
    x : ndarray
        Rank 1 or more.
    k : int
        How many elements per row of the last axis.
    index_type : dtype
        int32 or int16.

    Returns
    -------
    (ndarray, ndarray)
        [..., k] values in falling order, NaN first, equal ones by position; and their positions.
    """
    if x.ndim == 0 or not 0 <= k <= x.shape[-1]:
        raise InvalidValue(f"the {k} largest of shape {x.shape}: up to the last extent are possible")
    order = np.argsort(-x if x.dtype.kind == "f" else ~x, axis=-1, kind="stable")
    if x.dtype.kind == "f" and np.isnan(x).any():
        order = np.lexsort((-x, ~np.isnan(x)), axis=-1)
    chosen = order[..., :k]
    return np.take_along_axis(x, chosen, -1), chosen.astype(index_type)


def unique(x: Array, index_type: npt.DTypeLike = np.int32) -> tuple[Array, Array]:
    """UNIQUE: the different values of a vector in order of appearance, and the place of each element among them."""
    if x.ndim != 1:
        raise InvalidValue(f"shape {x.shape}: a vector is required")
    values, first, inverse = np.unique(x, return_index=True, return_inverse=True)
    order = np.argsort(first)
    places = np.empty(order.size, index_type)
    places[order] = np.arange(order.size)
    return values[order], places[inverse.reshape(-1)]


def bucketize(x: Array, boundaries: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """BUCKETIZE: int32 count of boundaries (float32, rising) up to and including each element."""
    if np.any(boundaries[1:] < boundaries[:-1]):
        raise InvalidValue("boundaries fall: rising ones are required")
    # C++ compares integers with float32 boundaries as float32.
    values = x.astype(np.float32) if x.dtype.kind in "iu" else x
    found: npt.NDArray[Any] = np.searchsorted(boundaries, values, "right")
    return found.astype(np.int32)


def _gather(call: Call) -> list[Array]:
    return [gather(call.operand(0), call.operand(1), call.options.axis, call.options.batch_dims)]


def _top_k(call: Call) -> list[Array]:
    return [*top_k(call.operand(0), max(0, integer(call.operand(1), "k")), output_dtype(call, 1))]


def _bucketize(call: Call) -> list[Array]:
    stored = call.options.boundaries
    return [bucketize(call.operand(0), np.empty(0, np.float32) if stored is None else stored)]


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "BUCKETIZE": _bucketize,
        "EMBEDDING_LOOKUP": lambda call: [embedding_lookup(call.operand(0), call.operand(1))],
        "GATHER": _gather,
        "GATHER_ND": lambda call: [gather_nd(call.operand(0), call.operand(1))],
        "TOPK_V2": _top_k,
        "UNIQUE": lambda call: [*unique(call.operand(0), output_dtype(call, 1))],
        "WHERE": lambda call: [where(call.operand(0))],
    }
)

"""Joining, splitting, repeating, filling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from quantlib.errors import InvalidValue

from ..fused import NONE, apply_fused
from ..kernel import Array, Call, Kernel
from ._checks import axis_of, integer, integers, shape_of


def concatenate(arrays: Sequence[Array], axis: int, activation: int = NONE) -> Array:
    """CONCATENATION.

    Parameters
    ----------
    arrays : sequence of ndarray
        One type; one shape but for `axis`. Scalars give a vector.
    axis : int
    activation : int
        ``ActivationFunctionType``.

    Returns
    -------
    ndarray

    Raises
    ------
    InvalidValue
        If there are no arrays, or their types, shapes or `axis` don't fit, or the schema has no such activation.
    """
    if not arrays:
        raise InvalidValue("no arrays to concatenate; one or more are required")
    parts = [a.reshape(1) if a.ndim == 0 else a for a in arrays]
    where = axis_of(axis, parts[0].ndim)
    if any(a.ndim != parts[0].ndim or a.dtype != parts[0].dtype for a in parts) or any(
        a.shape[d] != parts[0].shape[d] for a in parts for d in range(a.ndim) if d != where
    ):
        found = ", ".join(f"{a.dtype} {a.shape}" for a in parts)
        raise InvalidValue(f"{found} can't be concatenated along axis {axis}: types and other extents must be equal")
    return apply_fused(np.concatenate(parts, where), activation)


def split(x: Array, axis: int, parts: int) -> list[Array]:
    """SPLIT: equal parts along an axis; views."""
    where = axis_of(axis, x.ndim)
    if parts < 1 or x.shape[where] % parts:
        raise InvalidValue(f"extent {x.shape[where]} of axis {axis} can't be split into {parts} equal parts")
    return split_sizes(x, [x.shape[where] // parts] * parts, axis)


def split_sizes(x: Array, sizes: Sequence[int], axis: int) -> list[Array]:
    """SPLIT_V: parts of given extents along an axis, one of which may be -1 (the rest); views."""
    where = axis_of(axis, x.ndim)
    extent, wanted = x.shape[where], list(sizes)
    if wanted.count(-1) == 1:
        wanted[wanted.index(-1)] = extent - sum(wanted) - 1
    if any(size < 0 for size in wanted) or sum(wanted) != extent:
        raise InvalidValue(f"sizes {list(sizes)} don't add up to the extent {extent} of axis {axis}")
    before = (slice(None),) * where
    ends = np.cumsum(wanted).tolist()
    return [x[(*before, slice(end - size, end))] for size, end in zip(wanted, ends, strict=True)]


def pack(arrays: Sequence[Array], axis: int) -> Array:
    """PACK: arrays of one shape and type along a new axis."""
    if any(a.shape != arrays[0].shape or a.dtype != arrays[0].dtype for a in arrays):
        found = ", ".join(f"{a.dtype} {a.shape}" for a in arrays)
        raise InvalidValue(f"{found} can't be packed: one type and shape is required")
    return np.stack(arrays, axis_of(axis, arrays[0].ndim + 1))


def unpack(x: Array, axis: int) -> list[Array]:
    """UNPACK: the slices along an axis, without it; views."""
    where = axis_of(axis, x.ndim)
    return list(np.moveaxis(x, where, 0)) if x.ndim > 1 else [x[i, ...] for i in range(x.size)]


def tile(x: Array, multiples: Sequence[int]) -> Array:
    """TILE: repeat `x` along each of its axes."""
    if len(multiples) != x.ndim or any(m < 0 for m in multiples):
        raise InvalidValue(
            f"multiples {list(multiples)} of rank {x.ndim}: one that isn't negative per axis is required"
        )
    return np.tile(x, multiples)


def fill(shape: Sequence[int], value: Array) -> Array:
    """FILL: an array of one value; a view of it."""
    if value.size != 1:
        raise InvalidValue(f"value of shape {value.shape} to fill with: a scalar is required")
    return np.broadcast_to(value.reshape(()), shape_of(shape, "shape"))


def value_range(start: Array, limit: Array, delta: Array) -> Array:
    """RANGE: `start` and on in steps of `delta` while below `limit` (above it for negative steps).

    Parameters
    ----------
    start, limit, delta : ndarray
        Scalars of one type. float32 steps are added up one by one, each sum rounded.

    Returns
    -------
    ndarray
        Vector of their type.
    """
    first, last, step = (v.reshape(-1)[0] for v in (start, limit, delta))
    if step == 0 or (last - first if step > 0 else first - last) < 0:
        raise InvalidValue(f"range from {first} to {last} in steps of {step}: it would never end")
    if start.dtype.kind == "f":
        count = int(np.ceil(np.abs((last - first) / step)))
        steps = np.full(count, step, start.dtype)
        steps[:1] = first
        return np.add.accumulate(steps)
    return np.arange(int(first), int(last), int(step), dtype=start.dtype)


def one_hot(indices: Array, depth: int, on: Array, off: Array, axis: int = -1) -> Array:
    """ONE_HOT.

    Parameters
    ----------
    indices : ndarray
        int32 or int64, any shape. Those outside of [0, depth) light nothing.
    depth : int
        Extent of the new axis.
    on, off : ndarray
        The two values, scalars of the output's type.
    axis : int
        Where the new axis stands; -1 for the last.

    Returns
    -------
    ndarray
    """
    if on.size != 1 or off.size != 1 or depth < 0:
        raise InvalidValue(
            f"depth {depth}, values of shapes {on.shape} and {off.shape}: a depth and two scalars are required"
        )
    where = axis_of(axis, indices.ndim + 1)
    levels = np.arange(depth, dtype=indices.dtype).reshape([-1] + [1] * (indices.ndim - where))
    return np.where(np.expand_dims(indices, where) == levels, on.reshape(()), off.reshape(()))


def matrix_diag(diagonal: Array) -> Array:
    """MATRIX_DIAG: [..., N] on the diagonals of [..., N, N], zeros elsewhere."""
    if diagonal.ndim < 1:
        raise InvalidValue("a diagonal of rank 0: rank 1 or more is required")
    out = np.zeros((*diagonal.shape, diagonal.shape[-1]), diagonal.dtype)
    _diagonal(out)[...] = diagonal
    return out


def matrix_set_diag(x: Array, diagonal: Array) -> Array:
    """MATRIX_SET_DIAG: a copy of `x` [..., M, N] whose main diagonals are `diagonal` [..., min(M, N)]."""
    if x.ndim < 2 or diagonal.shape != (*x.shape[:-2], min(x.shape[-2:])):
        raise InvalidValue(f"a diagonal of shape {diagonal.shape} doesn't fit matrices of shape {x.shape}")
    out = x.copy()
    _diagonal(out)[...] = diagonal
    return out


def _diagonal(matrices: Array) -> Array:
    """Writable view of the main diagonals of C-contiguous matrices."""
    rows, columns = matrices.shape[-2:]
    flat = matrices.reshape(*matrices.shape[:-2], rows * columns)
    return flat[..., : min(rows, columns) * (columns + 1) : columns + 1]


def _all(call: Call) -> list[Array]:
    return [call.operand(i) for i in range(len(call.inputs))]


def _unpack(call: Call) -> list[Array]:
    parts = unpack(call.operand(0), call.options.axis)
    if len(parts) != call.options.num:
        raise InvalidValue(f"extent {len(parts)} along axis {call.options.axis}: {call.options.num} is required")
    return parts


def _split_v(call: Call) -> list[Array]:
    x, sizes, axis = (call.operand(i) for i in range(3))
    return split_sizes(x, integers(sizes, "sizes"), integer(axis, "axis"))


def _one_hot(call: Call) -> list[Array]:
    indices, depth, on, off = (call.operand(i) for i in range(4))
    return [one_hot(indices, integer(depth, "depth"), on, off, call.options.axis)]


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "CONCATENATION": lambda call: [
            concatenate(_all(call), call.options.axis, call.options.fused_activation_function)
        ],
        "FILL": lambda call: [fill(integers(call.operand(0), "shape"), call.operand(1))],
        "MATRIX_DIAG": lambda call: [matrix_diag(call.operand(0))],
        "MATRIX_SET_DIAG": lambda call: [matrix_set_diag(call.operand(0), call.operand(1))],
        "ONE_HOT": _one_hot,
        "PACK": lambda call: [pack(_all(call), call.options.axis)],
        "RANGE": lambda call: [value_range(call.operand(0), call.operand(1), call.operand(2))],
        "SPLIT": lambda call: split(call.operand(1), integer(call.operand(0), "axis"), call.options.num_splits),
        "SPLIT_V": _split_v,
        "TILE": lambda call: [tile(call.operand(0), integers(call.operand(1), "multiples"))],
        "UNPACK": _unpack,
    }
)

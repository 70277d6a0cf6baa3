"""Slices, and writing into them; reversal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue

from ..kernel import Array, Call, Kernel
from ._checks import axis_of, integers


def slice_sizes(x: Array, begin: Sequence[int], size: Sequence[int]) -> Array:
    """SLICE: from `begin`, `size` elements per axis (-1: all that follow); a view."""
    if len(begin) != x.ndim or len(size) != x.ndim:
        raise InvalidValue(
            f"begin {list(begin)} and size {list(size)} of rank {x.ndim}: one of each per axis is required"
        )
    items: list[Any] = []
    for extent, start, count in zip(x.shape, begin, size, strict=True):
        stop = extent if count == -1 else start + count
        if not 0 <= start <= stop <= extent:
            raise InvalidValue(f"begin {list(begin)} and size {list(size)} leave the shape {x.shape}")
        items.append(slice(start, stop))
    return x[(*items, ...)]


def strided_slice(
    x: Array,
    begin: Sequence[int],
    end: Sequence[int],
    strides: Sequence[int],
    *,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
    offset: bool = False,
) -> Array:
    """STRIDED_SLICE.

    Parameters
    ----------
    x : ndarray
        Any type and shape.
    begin, end, strides : sequence of int
        One entry per axis, new axis or ellipsis; axes without one are taken whole. Negative positions count from
        the end, and positions outside of the axis are moved to its nearer end.
    begin_mask, end_mask : int
        Bits of entries without a begin, or an end.
    ellipsis_mask : int
        Bit of the entry that stands for all axes that no other entry names, at least one.
    new_axis_mask : int
        Bits of entries that insert an axis of extent 1.
    shrink_axis_mask : int
        Bits of entries that take the one element at `begin`, and drop the axis.
    offset : bool
        `end` counts from `begin`.

    Returns
    -------
    ndarray
        A view.

    Raises
    ------
    InvalidValue
        If there are more entries than axes, a stride of zero, or a dropped axis without that element.
    """
    count = len(begin)
    if not count == len(end) == len(strides):
        raise InvalidValue(f"{count} begins, {len(end)} ends, {len(strides)} strides: equally many are required")
    if (ellipsis_mask & ((1 << count) - 1)).bit_count() > 1:
        raise InvalidValue(f"ellipsis_mask {ellipsis_mask:#b}: one ellipsis is possible")
    added = (new_axis_mask & ~ellipsis_mask & ((1 << count) - 1)).bit_count()
    items: list[Any] = []
    axis = 0
    for i in range(count):
        if ellipsis_mask >> i & 1:
            covered = max(1, 1 + added + x.ndim - count)
            items += [slice(None)] * covered
            axis += covered
        elif new_axis_mask >> i & 1:
            items.append(None)
        else:
            if axis >= x.ndim:
                raise InvalidValue(f"{count} entries, {added} of them new axes, for rank {x.ndim}: too many")
            bounds = (
                None if begin_mask >> i & 1 else begin[i],
                None if end_mask >> i & 1 else end[i],
                strides[i],
            )
            shrink = bool(shrink_axis_mask >> i & 1)
            items.append(_one_axis(x.shape[axis], *bounds, shrink=shrink, offset=offset))
            axis += 1
    return x[(*items, ...)]


def _one_axis(
    extent: int, begin: int | None, end: int | None, stride: int, *, shrink: bool, offset: bool
) -> slice | int:
    """Python's index for one axis."""
    if stride == 0:
        raise InvalidValue("a stride of 0: it must be positive or negative")
    low, high = (0, extent) if stride > 0 else (-1, extent - 1)
    if begin is None:
        start = low if stride > 0 else high
    else:
        start = min(max(begin + extent if begin < 0 else begin, low), high)
    if shrink:
        if stride < 0 or not 0 <= start < extent:
            raise InvalidValue(f"element {begin} with stride {stride} of an axis of extent {extent}: there is none")
        return start
    if end is None:
        stop = high if stride > 0 else low
    else:
        stop = end + start if offset else end
        stop = min(max(stop + extent if stop < 0 else stop, low), high)
    return slice(start, None if stop < 0 else stop, stride) if start >= 0 else slice(0, 0)


def dynamic_update_slice(x: Array, update: Array, start: Sequence[int]) -> Array:
    """DYNAMIC_UPDATE_SLICE.

    Parameters
    ----------
    x : ndarray
        Any type and shape.
    update : ndarray
        Of its type and rank, no extent larger.
    start : sequence of int
        Where `update` goes; moved so that it lies inside.

    Returns
    -------
    ndarray
        A copy of `x`, `update` written over a part.
    """
    if (
        update.ndim != x.ndim
        or len(start) != x.ndim
        or any(u > e for u, e in zip(update.shape, x.shape, strict=True))
    ):
        raise InvalidValue(f"update of shape {update.shape} at {list(start)} doesn't fit shape {x.shape}")
    if update.shape == x.shape:
        return update
    out = x.copy()
    at = [max(0, min(s, e - u)) for s, e, u in zip(start, x.shape, update.shape, strict=True)]
    out[tuple(slice(s, s + u) for s, u in zip(at, update.shape, strict=True))] = update
    return out


def reverse(x: Array, axes: Sequence[int]) -> Array:
    """REVERSE_V2: backwards along some axes; a view."""
    return np.flip(x, tuple(axis_of(axis, x.ndim) for axis in axes))


def reverse_sequence(x: Array, lengths: Array, sequence_axis: int, batch_axis: int) -> Array:
    """REVERSE_SEQUENCE: for each index b of `batch_axis`, the first ``lengths[b]`` elements backwards."""
    if not (0 <= sequence_axis < x.ndim and 0 <= batch_axis < x.ndim and sequence_axis != batch_axis):
        raise InvalidValue(f"axes {sequence_axis} and {batch_axis} of rank {x.ndim}: two different ones are required")
    extent = x.shape[sequence_axis]
    if lengths.shape != (x.shape[batch_axis],) or (lengths.size and np.max(lengths) > extent):
        raise InvalidValue(f"lengths {lengths.tolist()}: {x.shape[batch_axis]} of up to {extent} are required")
    steps = np.arange(extent)[:, np.newaxis]
    mirrored = np.where(steps < lengths, lengths - 1 - steps, steps)
    if batch_axis < sequence_axis:
        mirrored = mirrored.T
    shape = [extent if axis in (sequence_axis, batch_axis) else 1 for axis, extent in enumerate(x.shape)]
    return np.take_along_axis(x, mirrored.reshape(shape), sequence_axis)


def _slice(call: Call) -> list[Array]:
    x, begin, size = (call.operand(i) for i in range(3))
    return [slice_sizes(x, integers(begin, "begin"), integers(size, "size"))]


def _strided_slice(call: Call) -> list[Array]:
    o = call.options
    x, begin, end, strides = (call.operand(i) for i in range(4))
    sliced = strided_slice(
        x,
        integers(begin, "begin"),
        integers(end, "end"),
        integers(strides, "strides"),
        begin_mask=o.begin_mask,
        end_mask=o.end_mask,
        ellipsis_mask=o.ellipsis_mask,
        new_axis_mask=o.new_axis_mask,
        shrink_axis_mask=o.shrink_axis_mask,
        offset=o.offset,
    )
    return [sliced]


def _dynamic_update_slice(call: Call) -> list[Array]:
    x, update, start = (call.operand(i) for i in range(3))
    return [dynamic_update_slice(x, update, integers(start, "start"))]


def _reverse_sequence(call: Call) -> list[Array]:
    o = call.options
    return [reverse_sequence(call.operand(0), call.operand(1), o.seq_dim, o.batch_dim)]


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "DYNAMIC_UPDATE_SLICE": _dynamic_update_slice,
        "REVERSE_SEQUENCE": _reverse_sequence,
        "REVERSE_V2": lambda call: [reverse(call.operand(0), integers(call.operand(1), "axes"))],
        "SLICE": _slice,
        "STRIDED_SLICE": _strided_slice,
    }
)

"""Padding, and the exchange of space with depth and batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from quantlib.errors import InvalidValue

from ..kernel import Array, Call, Kernel
from ..kernel_checks import ANY, checked
from ._checks import integers, pairs

# MirrorPadMode of the schema.
REFLECT, SYMMETRIC = range(2)


@checked(x=ANY, value=ANY)
def pad(x: Array, paddings: Sequence[tuple[int, int]], value: Array | None = None) -> Array:
    """PAD and PADV2.

    Parameters
    ----------
    x : ndarray
        Any type and shape.
    paddings : sequence of (int, int)
        Elements to add before and after, for each axis.
    value : ndarray, optional
        Scalar of the type of `x`; zero where it is left out.

    Returns
    -------
    ndarray

    Raises
    ------
    InvalidValue
        If there aren't as many paddings as axes, one is negative, or the value isn't a scalar.
    """
    negative = any(p < 0 for both in paddings for p in both)
    if len(paddings) != x.ndim or negative or (value is not None and value.size != 1):
        raise InvalidValue(
            f"shape {x.shape} padded by {list(paddings)}: one for each axis, none negative, and a scalar are required"
        )
    filling = x.dtype.type(0) if value is None else value.reshape(())
    shape = [before + extent + after for extent, (before, after) in zip(x.shape, paddings, strict=True)]
    out = np.empty(shape, x.dtype)
    for axis, (before, after) in enumerate(paddings):
        front = (slice(None),) * axis
        out[(*front, slice(0, before))] = filling
        out[(*front, slice(shape[axis] - after, shape[axis]))] = filling
    out[tuple(slice(b, b + e) for e, (b, _) in zip(x.shape, paddings, strict=True))] = x
    return out


def mirror_pad(x: Array, paddings: Sequence[tuple[int, int]], mode: int = REFLECT) -> Array:
    """MIRROR_PAD.

    Parameters
    ----------
    x : ndarray
        Any type and shape.
    paddings : sequence of (int, int)
        Elements to add before and after, for each axis.
    mode : int
        ``MirrorPadMode``: 0 leaves the edge out of the mirror image, 1 takes it in.

    Returns
    -------
    ndarray
    """
    offset = 1 if mode == REFLECT else 0
    if any(not 0 <= p <= max(e - offset, 0) for e, both in zip(x.shape, paddings, strict=True) for p in both):
        raise InvalidValue(f"shape {x.shape} has too few elements to mirror {list(paddings)}, mode {mode}")
    out = np.empty([e + b + a for e, (b, a) in zip(x.shape, paddings, strict=True)], x.dtype)
    out[tuple(slice(b, b + e) for e, (b, _) in zip(x.shape, paddings, strict=True))] = x
    for axis, (extent, (before, after)) in enumerate(zip(x.shape, paddings, strict=True)):
        # Axes before this one are complete, those after it not yet: what is mirrored there is overwritten later.
        along = np.moveaxis(out, axis, 0)
        along[:before] = along[before + offset : 2 * before + offset][::-1]
        end = before + extent
        along[end:] = along[end - offset - after : end - offset][::-1]
    return out


def space_to_depth(x: Array, block: int) -> Array:
    """SPACE_TO_DEPTH: [N, H, W, C] to [N, H / block, W / block, block * block * C]."""
    n, h, w, c = _images(x)
    if block < 1 or h % block or w % block:
        raise InvalidValue(f"shape {x.shape} can't be cut into blocks of {block} x {block}")
    parts = x.reshape(n, h // block, block, w // block, block, c).transpose(0, 1, 3, 2, 4, 5)
    return parts.reshape(n, h // block, w // block, block * block * c)


def depth_to_space(x: Array, block: int) -> Array:
    """DEPTH_TO_SPACE: [N, H, W, block * block * C] to [N, H * block, W * block, C]."""
    n, h, w, c = _images(x)
    if block < 1 or c % (block * block):
        raise InvalidValue(f"depth {c} can't be spread over blocks of {block} x {block}")
    parts = x.reshape(n, h, w, block, block, c // (block * block)).transpose(0, 1, 3, 2, 4, 5)
    return parts.reshape(n, h * block, w * block, c // (block * block))


@checked(x=ANY)
def space_to_batch(x: Array, blocks: Sequence[int], paddings: Sequence[tuple[int, int]]) -> Array:
    """SPACE_TO_BATCH_ND.

    Parameters
    ----------
    x : ndarray
        [N, spatial axes, rest].
    blocks : sequence of int
        Block extent of each spatial axis, of which there are as many.
    paddings : sequence of (int, int)
        Zeros to add before and after, for each spatial axis.

    Returns
    -------
    ndarray
        [N * product of blocks, padded extents / blocks, rest].

    Raises
    ------
    InvalidValue
        If blocks and paddings don't fit the shape, or padded extents aren't multiples of the blocks.
    """
    m = len(blocks)
    fits = x.ndim > m and len(paddings) == m
    if not fits or any(b < 1 for b in blocks) or any(p < 0 for both in paddings for p in both):
        raise InvalidValue(f"blocks {list(blocks)} and paddings {list(paddings)} don't fit shape {x.shape}")
    whole = [(0, 0), *paddings, *[(0, 0)] * (x.ndim - m - 1)]
    padded = pad(x, whole) if any(before or after for before, after in paddings) else x
    spatial = padded.shape[1 : m + 1]
    if any(extent % b for extent, b in zip(spatial, blocks, strict=True)):
        raise InvalidValue(f"padded extents {spatial} aren't multiples of the blocks {list(blocks)}")
    cut = [v for extent, b in zip(spatial, blocks, strict=True) for v in (extent // b, b)]
    parts = padded.reshape(x.shape[0], *cut, *x.shape[m + 1 :])
    inner, outer = [2 * i + 2 for i in range(m)], [2 * i + 1 for i in range(m)]
    moved = parts.transpose(*inner, 0, *outer, *range(2 * m + 1, parts.ndim))
    return moved.reshape(x.shape[0] * math.prod(blocks), *cut[::2], *x.shape[m + 1 :])


def batch_to_space(x: Array, blocks: Sequence[int], crops: Sequence[tuple[int, int]]) -> Array:
    """BATCH_TO_SPACE_ND: the inverse of `space_to_batch`; `crops` are cut off instead of added."""
    m, count = len(blocks), math.prod(blocks)
    if x.ndim < m + 1 or any(b < 1 for b in blocks) or x.shape[0] % count:
        raise InvalidValue(f"blocks {list(blocks)} don't fit shape {x.shape}")
    spatial = x.shape[1 : m + 1]
    extents = [extent * b for extent, b in zip(spatial, blocks, strict=True)]
    if any(a < 0 or b < 0 or a + b > e for e, (a, b) in zip(extents, crops, strict=True)):
        raise InvalidValue(f"crops {list(crops)} don't fit extents {extents}")
    parts = x.reshape(*blocks, x.shape[0] // count, *spatial, *x.shape[m + 1 :])
    order = [m, *(axis for i in range(m) for axis in (m + 1 + i, i)), *range(2 * m + 1, parts.ndim)]
    joined = parts.transpose(order).reshape(x.shape[0] // count, *extents, *x.shape[m + 1 :])
    return joined[(slice(None), *(slice(a, e - b) for e, (a, b) in zip(extents, crops, strict=True)))]


def _images(x: Array) -> tuple[int, ...]:
    if x.ndim != 4:
        raise InvalidValue(f"shape {x.shape}: rank 4 is required")
    return x.shape


def _pad(call: Call) -> list[Array]:
    x = call.operand(0)
    return [pad(x, pairs(call.operand(1), "paddings", x.ndim), call.optional(2))]


def _mirror_pad(call: Call) -> list[Array]:
    x = call.operand(0)
    return [mirror_pad(x, pairs(call.operand(1), "paddings", x.ndim), call.options.mode)]


def _space_to_batch(call: Call) -> list[Array]:
    blocks = integers(call.operand(1), "blocks")
    return [space_to_batch(call.operand(0), blocks, pairs(call.operand(2), "paddings", len(blocks)))]


def _batch_to_space(call: Call) -> list[Array]:
    blocks = integers(call.operand(1), "blocks")
    return [batch_to_space(call.operand(0), blocks, pairs(call.operand(2), "crops", len(blocks)))]


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "BATCH_TO_SPACE_ND": _batch_to_space,
        "DEPTH_TO_SPACE": lambda call: [depth_to_space(call.operand(0), call.options.block_size)],
        "MIRROR_PAD": _mirror_pad,
        "PAD": _pad,
        "PADV2": _pad,
        "SPACE_TO_BATCH_ND": _space_to_batch,
        "SPACE_TO_DEPTH": lambda call: [space_to_depth(call.operand(0), call.options.block_size)],
    }
)

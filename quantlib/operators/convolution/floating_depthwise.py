"""Depthwise convolution: taps are multiplied and added where they lie, without gathering windows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..fused import clip_fused
from ..windows import Axis, plan
from .floating_bias import check_bias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..kernel import Array
    from ..windows import PaddingName

# Elements of a block of outputs, and of the filters repeated along it: together they fit 1 MiB.
_BLOCK = 1 << 16
_FILTERS = 1 << 17


def depthwise_convolve(
    x: Array,
    filters: Array,
    bias: Array | None = None,
    *,
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: PaddingName,
    activation: int = 0,
) -> Array:
    """Convolve each channel with filters of its own.

    Parameters
    ----------
    x : ndarray
        float32, shape ``[batch, height, width, channels]``.
    filters : ndarray
        float32, shape ``[1, kernel height, kernel width, channels * multiplier]``.
    bias : ndarray, optional
        float32, shape ``[channels * multiplier]``.
    strides, dilations : sequence of int
        Of height and width.
    padding : {"SAME", "VALID"}
    activation : int
        ``ActivationFunctionType``.

    Returns
    -------
    ndarray
        float32, shape ``[batch, rows, columns, channels * multiplier]``.

    Raises
    ------
    InvalidValue
        If ranks, channels or sizes don't fit.
    """
    if x.ndim != 4 or filters.ndim != 4 or len(filters) != 1:
        raise InvalidValue(
            f"depthwise convolution of {x.shape} with {filters.shape}: rank 4 and [1, ...] are required"
        )
    outputs = filters.shape[3]
    if x.shape[3] == 0 or outputs % x.shape[3]:
        raise InvalidValue(f"depthwise convolution of {x.shape[3]} channels: {outputs} filters aren't a multiple")
    check_bias(bias, outputs)
    rows, columns = plan(x.shape[1:3], filters.shape[1:3], strides, dilations, padding)
    out = np.empty((len(x), rows.count, columns.count, outputs), np.result_type(x, filters))
    if out.size:
        width = max(1, min(columns.count, _FILTERS // filters.size))
        # Repeated along a block's columns, filters turn short inner loops over channels into one long loop.
        repeated = np.repeat(filters[0, :, :, None], width, axis=2).reshape(*filters.shape[1:3], -1)
        offsets = None if bias is None else np.tile(bias.reshape(-1), width)
        for sample, result in zip(x, out, strict=True):
            _accumulate(_phases(sample, rows, columns, outputs), rows, columns, repeated, offsets, activation, result)
    return out


def _columns(axis: Axis) -> list[tuple[int, int, int]]:
    """Sets of taps that read the same columns modulo the stride: first tap, step from tap to tap, phase."""
    step = axis.stride // math.gcd(axis.stride, axis.dilation)
    return [(tap, step, tap * axis.dilation % axis.stride) for tap in range(min(step, axis.kernel))]


def _phases(sample: Array, rows: Axis, columns: Axis, outputs: int) -> Array:
    """Pad a sample and sort its columns, so that neighbouring windows read neighbouring columns.

    Returns shape ``[phases, padded height, columns, outputs]``, C-contiguous; channels are repeated.
    """
    taps = _columns(columns)
    if (
        len(taps) == columns.stride == 1
        and outputs == sample.shape[2]
        and rows.padded + columns.padded == sum(sample.shape[:2])
    ):
        return np.ascontiguousarray(sample)[None]
    stride = columns.stride
    width = columns.count + (columns.kernel - 1) * columns.dilation // stride
    channels = sample.shape[2]
    sorted_ = np.zeros((len(taps), rows.padded, width, channels, outputs // channels), sample.dtype)
    inside = sorted_[:, rows.before : rows.before + rows.length]
    for place, (_, _, phase) in zip(inside, taps, strict=True):
        first = max(0, -((phase - columns.before) // stride))
        source = sample[:, first * stride + phase - columns.before :: stride][:, : width - first]
        place[:, first : first + source.shape[1]] = source[..., None]
    return sorted_.reshape(len(taps), rows.padded, width, outputs)


def _accumulate(
    phases: Array, rows: Axis, columns: Axis, filters: Array, bias: Array | None, activation: int, result: Array
) -> None:
    """Add the products of all taps into a sample's result, block by block."""
    channels = phases.shape[3]
    width = filters.shape[2] // channels
    height = max(1, min(rows.count, _BLOCK // filters.shape[2]))
    flat = result.reshape(rows.count, -1)
    scratch = np.empty((height, filters.shape[2]), result.dtype)
    sources = [_taps(phase, rows, columns, *taps[:2]) for phase, taps in zip(phases, _columns(columns), strict=True)]
    weights = [filters[:, first::step] for first, step, _ in _columns(columns)]
    for left in range(0, columns.count, width):
        span = slice(left * channels, min(left + width, columns.count) * channels)
        used = span.stop - span.start
        for top in range(0, rows.count, height):
            block = flat[top : top + height, span]
            for i, (source, weight) in enumerate(zip(sources, weights, strict=True)):
                sums = scratch[: len(block), :used] if i else block
                # One pass that multiplies, adds and keeps the sum in a register's reach; `+=` needs two.
                np.einsum("ijyx,ijx->yx", source[:, :, top : top + height, span], weight[:, :, :used], out=sums)
                if i:
                    block += sums
            if bias is not None:
                block += bias[:used]
            clip_fused(block, activation)


def _taps(phase: Array, rows: Axis, columns: Axis, first: int, step: int) -> Array:
    """View a phase as the elements that each tap reads: ``[taps, taps, rows, columns * channels]``."""
    line, place, element = phase.strides
    count = len(range(first, columns.kernel, step))
    shape = (rows.kernel, count, rows.count, columns.count * phase.shape[2])
    skip = step * columns.dilation // columns.stride
    strides = (rows.dilation * line, skip * place, rows.stride * line, element)
    offset = first * columns.dilation // columns.stride * place
    return np.ndarray(shape, phase.dtype, buffer=phase, offset=offset, strides=strides)

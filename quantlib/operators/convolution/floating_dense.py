"""Dense and grouped convolutions: windows are gathered into a matrix, then multiplied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..fused import clip_fused
from ..windows import pad, plan, windows
from .floating_bias import add_bias, check_bias
from .floating_depthwise import depthwise_convolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..kernel import Array
    from ..windows import PaddingName

# Gathered windows are multiplied in blocks: few enough to stay near the second-level cache, enough rows for the
# product to run at full speed.
_BLOCK_BYTES = 1 << 21


def convolve(
    x: Array,
    filters: Array,
    bias: Array | None = None,
    *,
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: PaddingName,
    activation: int = 0,
) -> Array:
    """Convolution over any number of spatial axes. Each sample is multiplied by itself, whatever the batch.

    Parameters
    ----------
    x : ndarray
        float32, shape ``[batch, *spatial, channels]``.
    filters : ndarray
        float32, shape ``[outputs, *kernel, channels / groups]``.
    bias : ndarray, optional
        float32, shape ``[outputs]``.
    strides, dilations : sequence of int
        One per spatial axis.
    padding : {"SAME", "VALID"}
    activation : int
        ``ActivationFunctionType``.

    Returns
    -------
    ndarray
        float32, shape ``[batch, *counts, outputs]``.

    Raises
    ------
    InvalidValue
        If ranks, channels or sizes don't fit.
    """
    outputs, *kernel, depth = filters.shape
    if x.ndim != filters.ndim or x.ndim != 2 + len(strides):
        raise InvalidValue(f"convolution of {x.shape} with {filters.shape}: both need rank {2 + len(strides)}")
    groups = x.shape[-1] // max(depth, 1)
    if depth == 0 or groups * depth != x.shape[-1] or groups == 0 or outputs % groups:
        raise InvalidValue(f"convolution of {x.shape} with {filters.shape}: the channels don't make groups")
    check_bias(bias, outputs)
    if depth == 1 and groups > 1 and len(kernel) == 2:
        separate = np.moveaxis(filters, 0, -1)[None, ..., 0, :]
        return depthwise_convolve(
            x, separate, bias, strides=strides, dilations=dilations, padding=padding, activation=activation
        )
    axes = plan(x.shape[1:-1], kernel, strides, dilations, padding)
    out = np.empty((len(x), *(a.count for a in axes), outputs), np.result_type(x, filters))
    matrices = filters.reshape(groups, outputs // groups, -1).swapaxes(1, 2)
    for sample, result in zip(x, out, strict=True):
        view = windows(pad(sample, axes), axes)
        _multiply(view.reshape(*view.shape[:-1], groups, depth), matrices, result)
    return clip_fused(add_bias(out, bias), activation)


def _multiply(view: Array, matrices: Array, result: Array) -> None:
    """Multiply windows ``[*counts, *kernel, groups, depth]`` by ``[groups, taps, outputs]``, in blocks."""
    groups, taps, outputs = matrices.shape
    if result.size == 0:
        return
    count = view.shape[0]
    each = result.size // (count * groups * outputs)
    target = result.reshape(-1, groups, outputs).swapaxes(0, 1)
    view = np.moveaxis(view, -2, 0)
    if view.flags.c_contiguous:
        np.matmul(view.reshape(groups, -1, taps), matrices, out=target)
        return
    rows = min(count, max(1, _BLOCK_BYTES // (each * groups * taps * view.itemsize)))
    gathered = np.empty((groups, rows, *view.shape[2:]), view.dtype)
    for start in range(0, count, rows):
        part = view[:, start : start + rows]
        if part.shape[1] != rows:
            gathered = np.empty(part.shape, view.dtype)
        np.copyto(gathered, part)
        stop = start + part.shape[1]
        np.matmul(gathered.reshape(groups, -1, taps), matrices, out=target[:, start * each : stop * each])

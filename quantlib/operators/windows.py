"""Windows that slide over the spatial axes of convolutions and pools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from quantlib.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .kernel import Array

PaddingName = Literal["SAME", "VALID"]

#: Names of the schema's ``Padding`` codes.
PADDINGS: tuple[PaddingName, ...] = ("SAME", "VALID")


@dataclass(frozen=True, slots=True)
class Axis:
    """Windows along one axis.

    Attributes
    ----------
    length : int
        Elements of the axis.
    kernel, stride, dilation : int
        Taps of a window, elements between windows, elements between taps.
    count : int
        Windows.
    before, after : int
        Elements of padding that the windows need on either side.
    """

    length: int
    kernel: int
    stride: int
    dilation: int
    count: int
    before: int
    after: int

    @property
    def padded(self) -> int:
        """Elements with the padding."""
        return self.before + self.length + self.after

    def valid(self, tap: int) -> tuple[slice, slice]:
        """Windows whose tap lies inside the axis, and the elements that it reads there."""
        offset = tap * self.dilation - self.before
        first = max(0, -(offset // self.stride))
        stop = max(first, min(self.count, (self.length - 1 - offset) // self.stride + 1))
        start = first * self.stride + offset
        return slice(first, stop), slice(start, start + (stop - first - 1) * self.stride + 1, self.stride)


def plan_axis(length: int, kernel: int, stride: int, dilation: int, padding: PaddingName) -> Axis:
    """Windows along an axis, as LiteRT counts and pads them (``tflite/kernels/padding.h``).

    Raises
    ------
    InvalidValue
        If a size isn't positive, or no window fits.

    Examples
    --------
    >>> plan_axis(5, 3, 2, 1, "SAME")
    Axis(length=5, kernel=3, stride=2, dilation=1, count=3, before=1, after=1)
    """
    for name, value in (("kernel size", kernel), ("stride", stride), ("dilation", dilation)):
        if value <= 0:
            raise InvalidValue(f"{name} {value}: a positive number is required")
    extent = (kernel - 1) * dilation + 1
    room = length + stride - (1 if padding == "SAME" else extent)
    if room <= -stride:
        raise InvalidValue(f"a window of {extent} on an axis of {length}: no window fits, without padding")
    count = max(room, 0) // stride
    total = max(0, (count - 1) * stride + extent - length) if count else 0
    return Axis(length, kernel, stride, dilation, count, total // 2, total - total // 2)


def plan(
    lengths: Sequence[int],
    kernels: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: PaddingName,
) -> tuple[Axis, ...]:
    """Windows along each spatial axis."""
    sizes = zip(lengths, kernels, strides, dilations, strict=True)
    return tuple(plan_axis(*s, padding) for s in sizes)


def pad(sample: Array, axes: Sequence[Axis]) -> Array:
    """Pad with zeros.

    Parameters
    ----------
    sample : ndarray
        Shape ``[*spatial, channels]``.
    axes : sequence of Axis
        One per spatial axis.

    Returns
    -------
    ndarray
        C-contiguous; `sample` itself where nothing is to be done.
    """
    if not any(a.before or a.after for a in axes):
        return np.ascontiguousarray(sample)
    padded = np.zeros((*(a.padded for a in axes), sample.shape[-1]), sample.dtype)
    padded[tuple(slice(a.before, a.before + a.length) for a in axes)] = sample
    return padded


def windows(padded: Array, axes: Sequence[Axis]) -> Array:
    """View an array as its windows.

    Parameters
    ----------
    padded : ndarray
        C-contiguous, shape ``[*spatial, channels]``.
    axes : sequence of Axis
        One per spatial axis; their padding is part of `padded`.

    Returns
    -------
    ndarray
        Shape ``[*counts, *kernel, channels]``; elements of overlapping windows share memory.
    """
    steps = padded.strides
    shape = (*(a.count for a in axes), *(a.kernel for a in axes), padded.shape[-1])
    moves = (a.stride * s for a, s in zip(axes, steps, strict=False))
    taps = (a.dilation * s for a, s in zip(axes, steps, strict=False))
    if 0 in shape:
        return np.empty(shape, padded.dtype)
    # Unlike `as_strided`, this checks the bounds, and it is ten times as fast.
    return np.ndarray(shape, padded.dtype, buffer=padded, strides=(*moves, *taps, steps[-1]))


def patches(
    sample: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], padding: PaddingName
) -> Array:
    """What each place of a filter over a sample reads; zeros where that is padding.

    Parameters
    ----------
    sample : ndarray
        Shape ``[*spatial, channels]``.
    kernel, strides, dilations : sequence of int
        One per spatial axis.
    padding : {"SAME", "VALID"}

    Returns
    -------
    ndarray
        Shape ``[*counts, *kernel, channels]``; elements of overlapping windows share memory.

    Raises
    ------
    InvalidValue
        If a size isn't positive, or no window fits.
    """
    axes = plan(sample.shape[:-1], kernel, strides, dilations, padding)
    return windows(pad(sample, axes), axes)

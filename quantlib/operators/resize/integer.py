"""Integer kernels of resizing, where a runtime has another arithmetic than the plain one of `floating`."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ..integer import alike
from ..integer_xnnpack import of_bytes, xnnpack
from ..kernel_checks import BYTES, checked
from .floating import check_resizing, resize_bilinear_by_weights, resizing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..integer import IntegerKernel, QuantizedOperator
    from ..kernel import Array, Kernel

# Fraction bits of XNNPACK's weights.
BITS = 11


@checked(x=BYTES)
def resize_bilinear_xnnpack(
    x: Array, size: Sequence[int], *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Array:
    """Resize bytes by linear interpolation as XNNPACK does, with weights of 11 bits, halves upwards.

    Positions are float32 (``xnn_indirection_init_resize_bilinear2d_hwc_q11`` in ``src/indirection.c``; the kernel is
    ``src/s8-ibilinear``). With `align_corners`, `half_pixel_centers` isn't looked at.

    Parameters
    ----------
    x : ndarray
        Shape ``[batch, height, width, channels]``; int8 or uint8.
    size : sequence of int
        New height and width.
    align_corners, half_pixel_centers : bool
        As in `resize_bilinear`.

    Returns
    -------
    ndarray
        Dtype of `x`, shape ``[batch, *size, channels]``.

    Raises
    ------
    InvalidValue
        If the rank or the size isn't acceptable.

    Examples
    --------
    >>> row = np.array([0, 3], np.int8).reshape(1, 1, 2, 1)
    >>> resize_bilinear_xnnpack(row, (1, 4)).ravel().tolist()
    [0, 2, 3, 3]
    """
    check_resizing(x, size)
    half = half_pixel_centers and not align_corners
    top, bottom, down = between(x.shape[1], size[0], align_corners, half)
    left, right, along = between(x.shape[2], size[1], align_corners, half)
    wide, along, down = x.astype(np.int32), along.reshape(-1, 1), down.reshape(-1, 1, 1)
    rows = [np.take(wide, place, axis=1) for place in (top, bottom)]
    upper, lower = (
        (np.take(row, left, axis=2) << BITS) + (np.take(row, right, axis=2) - np.take(row, left, axis=2)) * along
        for row in rows
    )
    sums = (upper << BITS) + (lower - upper) * down
    return np.asarray(((sums + (1 << (2 * BITS - 1))) >> (2 * BITS)).astype(x.dtype))


def between(length: int, size: int, align_corners: bool, half_pixel_centers: bool) -> tuple[Array, Array, Array]:
    """Lower and upper neighbour of each result, and the weight of the upper one."""
    less = int(align_corners and size != 1)
    scale = np.float32(length - less) / np.float32(size - less)
    positions = np.arange(size, dtype=np.float32) * scale
    if half_pixel_centers:
        positions += np.float32(0.5) * scale - np.float32(0.5)
    positions = np.clip(positions, 0, np.float32(length - 1))
    lower = positions.astype(np.int64)
    weights = np.rint((positions - lower.astype(np.float32)) * np.float32(1 << BITS)).astype(np.int32)
    return lower, np.minimum(lower + 1, length - 1), weights


def _is_taken_over(operator: QuantizedOperator) -> bool:
    size = operator.optional(1)
    return of_bytes(operator) and size is not None and size.value is not None


def _builtin(_: QuantizedOperator) -> Kernel:
    return resizing(resize_bilinear_by_weights)


def _xnnpack(_: QuantizedOperator) -> Kernel:
    return resizing(resize_bilinear_xnnpack)


KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {
        "RESIZE_BILINEAR": (
            xnnpack(_is_taken_over, _xnnpack),
            *alike(_builtin, ("UINT8",), (("INT32",),), runtimes=("builtin",)),
        )
    }
)

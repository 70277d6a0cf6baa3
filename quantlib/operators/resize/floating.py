"""Float kernels of resizing; integers are interpolated as plain values.

Positions are computed in float32 (signed integers: in 1/1024 of an element) as in LiteRT's reference kernels:
`tflite/kernels/internal/reference/resize_bilinear.h` and `resize_nearest_neighbor.h`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..kernel_checks import ANY, FLOAT, NARROW, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..kernel import Array, Call, Kernel

# Fraction bits of integer positions.
BITS = 10
_ONE = 1 << BITS


def check_resizing(x: Array, size: Sequence[int]) -> None:
    """Refuse what isn't a batch of images, or a size that none can have."""
    if x.ndim != 4 or len(size) != 2 or min(size) <= 0:
        raise InvalidValue(f"resizing {x.shape} to {tuple(size)}: rank 4 and two positive sizes are required")
    if 0 in x.shape[1:3]:
        raise InvalidValue(f"resizing {x.shape}: an image without elements has no neighbours")


def _check_interpolating(x: Array, size: Sequence[int], align_corners: bool, half_pixel_centers: bool) -> None:
    """The same, and refuse options that contradict each other."""
    check_resizing(x, size)
    if align_corners and half_pixel_centers:
        raise InvalidValue("align_corners with half_pixel_centers: only one of them is possible")


def _scale(length: int, size: int, align_corners: bool) -> np.float32:
    if align_corners and size > 1:
        return np.float32(length - 1) / np.float32(size - 1)
    return np.float32(length) / np.float32(size)


def between(length: int, size: int, align_corners: bool, half_pixel_centers: bool) -> tuple[Array, Array, Array]:
    """Lower and upper neighbour of each result, and the way from one to the other in float32."""
    places = np.arange(size, dtype=np.float32)
    scale = _scale(length, size, align_corners)
    half = np.float32(0.5)
    positions = (places + half) * scale - half if half_pixel_centers else places * scale
    lower = np.maximum(np.floor(positions).astype(np.int64), 0)
    upper = np.minimum(np.ceil(positions).astype(np.int64), length - 1)
    return lower, upper, positions - lower.astype(np.float32)


def between_integers(
    length: int, size: int, align_corners: bool, half_pixel_centers: bool
) -> tuple[Array, Array, Array]:
    """The same in 1/1024 of an element, int64."""
    spans, steps = (length - 1, size - 1) if align_corners and size > 1 else (length, size)
    scale = (_ONE * spans + steps // 2) // steps
    positions = np.arange(size, dtype=np.int64) * scale
    if half_pixel_centers:
        positions += scale // 2 - _ONE // 2
    # The rounded scale can lead beyond the last element, where LiteRT reads what happens to lie there.
    lower = np.clip(positions // _ONE, 0, length - 1)
    upper = np.minimum((positions + _ONE - 1) // _ONE, length - 1)
    return lower, upper, positions - _ONE * lower


def _mix(x: Array, axis: int, between: tuple[Array, Array, Array], one: int) -> Array:
    """Interpolate along an axis: ``lower * (one - way) + upper * way``."""
    lower, upper, way = between
    way = way.reshape((-1,) + (1,) * (x.ndim - 1 - axis))
    mixed: Array = np.take(x, lower, axis=axis)
    mixed *= one - way
    other = np.take(x, upper, axis=axis)
    other *= way
    mixed += other
    return mixed


def _four_terms(x: Array, rows: tuple[Array, Array, Array], columns: tuple[Array, Array, Array]) -> Array:
    """Interpolate in LiteRT's order of float32 operations, on which halves depend; 0.5 is added to round."""
    way_y, way_x = rows[2].reshape(-1, 1, 1), columns[2].reshape(-1, 1)
    total: Array = np.zeros((), np.float32)
    for column, weight_x in ((columns[0], 1 - way_x), (columns[1], way_x)):
        narrow = np.take(x, column, axis=2)
        for row, weight_y in ((rows[0], 1 - way_y), (rows[1], way_y)):
            total = total + np.take(narrow, row, axis=1) * weight_y * weight_x
    total += np.float32(0.5)
    return total


@checked(x=FLOAT + NARROW)
def resize_bilinear_by_weights(
    x: Array, size: Sequence[int], *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Array:
    """Resize uint8 images as LiteRT's optimized kernel does: by products of weights in float32.

    Parameters, result and errors are those of `resize_bilinear`
    (``ResizeBilinearGenericSmallChannel`` in ``tflite/kernels/internal/optimized/resize_bilinear.h``).

    Examples
    --------
    >>> resize_bilinear_by_weights(np.array([0, 3], np.uint8).reshape(1, 1, 2, 1), (1, 4)).ravel().tolist()
    [0, 2, 3, 3]
    """
    _check_interpolating(x, size, align_corners, half_pixel_centers)
    (top, bottom, down), (left, right, along) = (
        between(n, m, align_corners, half_pixel_centers) for n, m in zip(x.shape[1:3], size, strict=True)
    )
    down, along, floats = down.reshape(-1, 1, 1), along.reshape(-1, 1), x.astype(np.float32)
    total: Array = np.zeros((), np.float32)
    for row, weight_y in ((top, 1 - down), (bottom, down)):
        narrow = np.take(floats, row, axis=1)
        for column, weight_x in ((left, 1 - along), (right, along)):
            total = total + np.take(narrow, column, axis=2) * (weight_y * weight_x)
    return np.asarray((total + np.float32(0.5)).astype(x.dtype))


@checked(x=FLOAT + NARROW)
def resize_bilinear(
    x: Array, size: Sequence[int], *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Array:
    """Resize by linear interpolation along height and width.

    Parameters
    ----------
    x : ndarray
        Shape ``[batch, height, width, channels]``; float32, uint8, int8 or int16.
    size : sequence of int
        New height and width.
    align_corners : bool
        The centers of the corner elements stay corners; not with `half_pixel_centers`.
    half_pixel_centers : bool
        Elements are areas, whose centers lie at halves.

    Returns
    -------
    ndarray
        Dtype of `x`, shape ``[batch, *size, channels]``.

    Raises
    ------
    InvalidValue
        If the rank, the dtype, the size or the options aren't acceptable.

    Examples
    --------
    >>> row = np.array([0, 2], np.float32).reshape(1, 1, 2, 1)
    >>> resize_bilinear(row, (1, 4)).ravel().tolist()
    [0.0, 1.0, 2.0, 2.0]
    """
    _check_interpolating(x, size, align_corners, half_pixel_centers)
    signed = x.dtype.kind == "i"
    find = between_integers if signed else between
    rows, columns = (find(n, m, align_corners, half_pixel_centers) for n, m in zip(x.shape[1:3], size, strict=True))
    if x.dtype.kind == "f":
        return _mix(_mix(x, 1, rows, 1), 2, columns, 1)
    if not signed:
        return _four_terms(x.astype(np.float32), rows, columns).astype(x.dtype)
    sums = _mix(_mix(x.astype(np.int64), 1, rows, _ONE), 2, columns, _ONE)
    half = 1 << (2 * BITS - 1)
    rounded: Array = np.sign(sums) * ((np.abs(sums) + half) >> (2 * BITS))
    return rounded.astype(x.dtype)


@checked(x=ANY)
def resize_nearest_neighbor(
    x: Array, size: Sequence[int], *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Array:
    """Resize by copying the nearest element; parameters are those of `resize_bilinear`, `x` of any dtype.

    Examples
    --------
    >>> row = np.array([0, 2], np.float32).reshape(1, 1, 2, 1)
    >>> resize_nearest_neighbor(row, (1, 4)).ravel().tolist()
    [0.0, 0.0, 2.0, 2.0]
    """
    check_resizing(x, size)
    # Columns first: rows are then copied whole.
    for axis in (2, 1):
        length, wanted = x.shape[axis], size[axis - 1]
        places = np.arange(wanted, dtype=np.float32) + np.float32(0.5 if half_pixel_centers else 0)
        positions = places * _scale(length, wanted, align_corners)
        if align_corners:
            # Halves go up; in float64, where the sum is exact.
            positions = positions.astype(np.float64) + 0.5
        x = np.take(x, np.clip(np.floor(positions).astype(np.int64), 0, length - 1), axis=axis)
    return x


def resizing(resize: Callable[..., Array]) -> Kernel:
    """Make a kernel of a function of an image and its new size."""

    def run(call: Call) -> Sequence[Array]:
        x, size = call.inputs[:2]
        if x is None or size is None or size.dtype != np.int32 or size.shape != (2,):
            raise InvalidValue("resizing without its image, or its new size as two INT32")
        corners, centers = call.options.align_corners, call.options.half_pixel_centers
        height, width = (int(n) for n in size)
        return (resize(x, (height, width), align_corners=corners, half_pixel_centers=centers),)

    return run


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {"RESIZE_BILINEAR": resizing(resize_bilinear), "RESIZE_NEAREST_NEIGHBOR": resizing(resize_nearest_neighbor)}
)

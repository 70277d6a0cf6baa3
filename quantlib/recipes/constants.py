"""Constants looked at: their values piece by piece, and the range that each channel of them has."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidRange, InvalidValue
from quantlib.numerics import (
    Affine,
    ElementType,
    Granularity,
    PerAxis,
    PerBlock,
    PerTensor,
    affine_from_range,
    element_type,
    from_bfloat16,
    mse_range,
    to_bfloat16,
    weight_range,
)
from quantlib.tflite import Tensor

from .grid import Rounded

#: Elements that one thread looks at when it searches a range.
_PIECE = 1 << 20

#: The least normal float16, and the greatest that is a bfloat16 too.
_LEAST, _MOST = 2.0**-14, 65280.0
#: Squared rounding errors may grow so many times, 1 dB, where blocks' scales are raised to the least.
_WORSE = 1.26

_T = TypeVar("_T")
_Floats = npt.NDArray[np.float32]


def constant_range(
    origin: Tensor,
    shape: tuple[int, ...],
    kind: ElementType,
    granularity: Granularity,
    *,
    symmetric: bool,
    choose: str,
) -> tuple[_Floats, _Floats]:
    """Range of every channel of a float constant.

    Parameters
    ----------
    origin : Tensor
        Dense or sparse.
    shape : tuple of int
        Shape in which operators read it.
    kind : ElementType
        What it is to become; matters to ``mse`` alone.
    granularity : Granularity
    symmetric : bool
    choose : str
        ``minmax`` or ``mse``.

    Returns
    -------
    lo, hi : float32 array
        Of the shape of the scales.

    Raises
    ------
    InvalidValue
        If a value isn't finite.
    """
    cut, elements = Cut.of(shape, granularity), elements_of(origin)

    def rows(first: int, last: int) -> npt.NDArray[Any]:
        return elements(first * cut.row, last * cut.row).reshape(last - first, *cut.shape[1:])

    try:
        return _range(rows, cut, kind, symmetric, choose)
    except InvalidRange as error:
        raise InvalidValue(f"{origin}: {error}; or leave it out by skip") from None


def constant_affine(
    origin: Tensor,
    shape: tuple[int, ...],
    kind: ElementType,
    granularity: Granularity,
    *,
    symmetric: bool,
    choose: str,
) -> Affine:
    """Scales and zero points for a float constant.

    Parameters
    ----------
    origin : Tensor
    shape : tuple of int
    kind : ElementType
    granularity : Granularity
    symmetric : bool
    choose : str
        All as `constant_range`.

    Returns
    -------
    Affine

    Raises
    ------
    InvalidValue
        If a value isn't finite.
    """
    lo, hi = constant_range(origin, shape, kind, granularity, symmetric=symmetric, choose=choose)
    if isinstance(granularity, PerBlock):  # scales of rows by blocks
        granularity = Cut.of(shape, granularity).granularity
    affine = affine_from_range(lo, hi, kind, granularity=granularity, symmetric=symmetric, narrow_range=symmetric)
    if not isinstance(granularity, PerBlock):
        return affine
    # XNNPACK reads block scales, which are stored as float16, as bfloat16: only a value that both hold is the same.
    coarse = np.maximum(from_bfloat16(to_bfloat16(affine.scale)), np.float32(_LEAST))
    return Affine(affine.type, coarse, affine.zero_point, granularity, affine.narrow_range)


def blocks_unfit(origin: Tensor, shape: tuple[int, ...], size: int, kind: ElementType) -> str:
    """Why a constant's block scales can't be stored: empty where they can.

    They are float16 in the file, and bfloat16 for XNNPACK.

    Parameters
    ----------
    origin : Tensor
    shape : tuple of int
    size : int
        Elements of a block, along the last axis.
    kind : ElementType
    """
    blocks = PerBlock(len(shape) - 1, size)
    try:
        lo, hi = constant_range(origin, shape, kind, blocks, symmetric=True, choose="minmax")
    except InvalidValue:  # which is said where it is quantized
        return ""
    scale = np.maximum(np.abs(lo), np.abs(hi)).astype(np.float64) / (kind.max or 1)
    if scale.max(initial=0.0) > _MOST:
        return f"its block scales, up to {scale.max():.3g}, are beyond float16"
    noise, stored = (float(np.square(s).sum()) for s in (scale, np.maximum(scale, _LEAST)))
    if 0 < noise * _WORSE < stored:
        return f"its block scales, up to {scale.max():.3g}, are too small for float16"
    return ""


def elements_of(origin: Tensor) -> Callable[[int, int], npt.NDArray[Any]]:
    """Make a function that gives the values ``start:stop`` of a float constant, in flat order.

    They are read from the file, not mapped; what is sparse is expanded again each time, so nothing stays in memory.
    """
    if isinstance(origin, Rounded):
        return origin.elements(elements_of(origin.stored))
    data, dtype = origin.data, origin.dtype
    if data is None or dtype is None or origin.table.sparsity is not None:
        return lambda start, stop: origin.numpy().reshape(-1)[start:stop]
    origin.numpy()  # raises where the buffer is shorter than the shape
    size = dtype.itemsize

    def elements(start: int, stop: int) -> npt.NDArray[Any]:
        return np.require(data.load(size * start, size * stop).view(dtype), requirements="A")

    return elements


def stored_bytes(origin: Tensor, kind: str = "") -> int:
    """Bytes of a constant as it is stored, with what says where its elements stand if it is sparse.

    Parameters
    ----------
    origin : Tensor
    kind : str
        Element type that its elements are to have; their own if empty.
    """
    size = 0 if origin.data is None else origin.data.nbytes
    if kind:
        size = size * element_type(kind).bits // element_type(origin.type).bits
    for level in origin.table.sparsity.dim_metadata or () if origin.table.sparsity is not None else ():
        vectors = [v.values for v in (level.array_segments, level.array_indices) if v is not None]
        size += sum(v.nbytes for v in vectors if v is not None)
    return size


def stays_sparse(tensor: Tensor, origin: Tensor) -> bool:
    """Whether a constant is stored sparse, and other floats can take its elements' place.

    Parameters
    ----------
    tensor : Tensor
        What operators read.
    origin : Tensor
        The constant that it comes from.

    Returns
    -------
    bool
        Whether a DENSIFY, and nothing that rounds, stands between the two.
    """
    return origin.table.sparsity is not None and not isinstance(origin, Rounded) and origin.index != tensor.index


@dataclass(frozen=True, slots=True)
class Cut:
    """How a tensor is cut into rows that can be quantized on their own.

    Attributes
    ----------
    shape : tuple of int
        The tensor's values in this shape have the rows first.
    granularity : Granularity
        In that shape.
    row : int
        Elements of a row.
    """

    shape: tuple[int, ...]
    granularity: Granularity
    row: int

    @classmethod
    def of(cls, shape: tuple[int, ...], granularity: Granularity) -> Cut:
        count = math.prod(shape)
        if isinstance(granularity, PerBlock):
            last = shape[-1]
            return cls((count // max(last, 1), last), PerBlock(1, granularity.size), last)
        if isinstance(granularity, PerAxis):
            axis = granularity.axis
            outer, channels = math.prod(shape[:axis]), shape[axis]
            inner = count // max(outer * channels, 1)
            if outer == 1:
                return cls((channels, inner), PerAxis(0), inner)
            return cls((outer, channels, inner), PerAxis(1), channels * inner)
        return cls((count,), PerTensor(), 1)

    def granule(self, kind: ElementType, nbytes: int) -> int:
        """Bytes at whose multiples a row begins at a whole byte; everything where no such number is small."""
        bits = self.row * kind.bits
        for rows in (1, 2, 4):
            if bits * rows and bits * rows % 8 == 0:
                return bits * rows // 8
        return max(nbytes, 1)

    def part(self, affine: Affine, first: int, last: int) -> Affine:
        """Parameters of the rows ``first:last``, for values in this shape."""
        if self.granularity == affine.granularity and (first, last) == (0, self.shape[0]):
            return affine
        scale, points = affine.scale, affine.zero_point
        if not isinstance(self.granularity, PerTensor) and self.granularity != PerAxis(1):
            scale, points = scale[first:last], points[first:last]
        return Affine(affine.type, scale, points, self.granularity, affine.narrow_range)


def _range(
    rows: Callable[[int, int], npt.NDArray[Any]], cut: Cut, kind: ElementType, symmetric: bool, choose: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Range of every channel or block, in threads over the rows."""

    def clipped(part: slice) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        return mse_range(
            rows(part.start, part.stop), cut.granularity, kind, symmetric=symmetric, narrow_range=symmetric
        )

    count = cut.shape[0]
    # Rows share their scales where there is one for all, or where the channels lie inside the rows.
    shared = isinstance(cut.granularity, PerTensor) or cut.granularity == PerAxis(1)
    if shared and choose == "mse":
        return clipped(slice(0, count))
    step = max(_PIECE // max(cut.row, 1), 1)
    parts = [slice(i, min(i + step, count)) for i in range(0, max(count, 1), step)]
    task = clipped if choose == "mse" else lambda part: weight_range(rows(part.start, part.stop), cut.granularity)
    found = in_threads(task, parts, 4 * count * cut.row)
    lows, highs = [lo for lo, _ in found], [hi for _, hi in found]
    if shared:
        return np.min(lows, axis=0), np.max(highs, axis=0)
    return np.concatenate(lows), np.concatenate(highs)


def in_threads(task: Callable[[slice], _T], parts: list[slice], nbytes: int) -> list[_T]:
    """Do a task for each part, in threads where there is enough to do (NumPy releases the GIL)."""
    workers = min(os.cpu_count() or 1, 4) if len(parts) > 1 and nbytes >= 1 << 23 else 1
    if workers == 1:
        return [task(part) for part in parts]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(task, parts))

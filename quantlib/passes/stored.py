"""A constant in its new form: parameters now, bytes when they are written."""

from __future__ import annotations

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
    from_bfloat16,
    mse_range,
    pack,
    quantize,
    to_bfloat16,
    to_float16,
    weight_range,
)
from quantlib.tflite import Deferred, Tensor

#: Elements that one thread looks at when it searches a range.
_PIECE = 1 << 20

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Stored:
    """Data of a constant in a new type, and its scales where the type is an integer."""

    data: Deferred
    affine: Affine | None


def stored_float16(origin: Tensor) -> Stored:
    """A constant as float16, rounded to nearest even."""
    count, elements = int(np.prod(origin.shape, dtype=np.int64)), _elements(origin)

    def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
        half, _ = to_float16(elements(start // 2, stop // 2))
        return _bytes(half)

    return Stored(Deferred(2 * count, produce, granule=2), None)


def stored_float32(origin: Tensor) -> Stored:
    """A constant as plain float32, dense."""

    def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
        return _bytes(origin.real())[start:stop]

    return Stored(Deferred(4 * int(np.prod(origin.shape, dtype=np.int64)), produce, granule=4), None)


def _elements(origin: Tensor) -> Callable[[int, int], npt.NDArray[Any]]:
    """Make a function that gives the values ``start:stop`` of a float constant, in flat order.

    They are read from the file, not mapped; what is sparse is expanded again each time, so nothing stays in memory.
    """
    data, dtype = origin.data, origin.dtype
    if data is None or dtype is None or origin.table.sparsity is not None:
        return lambda start, stop: origin.numpy().reshape(-1)[start:stop]
    origin.numpy()  # raises where the buffer is shorter than the shape
    size = dtype.itemsize

    def elements(start: int, stop: int) -> npt.NDArray[Any]:
        return np.require(data.load(size * start, size * stop).view(dtype), requirements="A")

    return elements


def _bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def stored_integer(
    origin: Tensor,
    shape: tuple[int, ...],
    kind: ElementType,
    granularity: Granularity,
    *,
    symmetric: bool,
    choose: str,
) -> Stored:
    """A constant as integers.

    Parameters
    ----------
    origin : Tensor
        A float constant, dense or sparse.
    shape : tuple of int
        Shape in which operators read it.
    kind : ElementType
    granularity : Granularity
    symmetric : bool
    choose : str
        ``minmax`` or ``mse``.

    Raises
    ------
    InvalidValue
        If a value isn't finite.
    """
    cut, elements = _Cut.of(shape, granularity), _elements(origin)

    def rows(first: int, last: int) -> npt.NDArray[Any]:
        return elements(first * cut.row, last * cut.row).reshape(last - first, *cut.shape[1:])

    try:
        lo, hi = _range(rows, cut, kind, symmetric, choose)
    except InvalidRange as error:
        raise InvalidValue(f"{origin}: {error}; or leave it out by skip") from None
    affine = _affine(lo, hi, kind, cut.granularity, symmetric)

    def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
        first, last = start * 8 // kind.bits // cut.row, -(-stop * 8 // kind.bits // cut.row)
        last = min(last, cut.shape[0])
        integers = quantize(rows(first, last), cut.part(affine, first, last))
        return pack(integers, kind) if kind.bits < 8 else _bytes(integers)

    nbytes = kind.nbytes(int(np.prod(shape, dtype=np.int64)))
    return Stored(Deferred(nbytes, produce, granule=cut.granule(kind, nbytes)), cut.public(affine, granularity))


@dataclass(frozen=True, slots=True)
class _Cut:
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
    def of(cls, shape: tuple[int, ...], granularity: Granularity) -> _Cut:
        count = int(np.prod(shape, dtype=np.int64))
        if isinstance(granularity, PerBlock):
            last = shape[-1]
            return cls((count // max(last, 1), last), PerBlock(1, granularity.size), last)
        if isinstance(granularity, PerAxis):
            axis = granularity.axis
            outer, channels = int(np.prod(shape[:axis], dtype=np.int64)), shape[axis]
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
        """Parameters of the rows ``first:last``."""
        if isinstance(self.granularity, PerTensor) or self.granularity == PerAxis(1):
            return affine
        scale, points = affine.scale[first:last], affine.zero_point[first:last]
        return Affine(affine.type, scale, points, affine.granularity, affine.narrow_range)

    def public(self, affine: Affine, granularity: Granularity) -> Affine:
        """The same parameters for the tensor in its own shape."""
        if isinstance(granularity, PerBlock):
            return affine  # its scales become a tensor of rows by blocks
        return Affine(affine.type, affine.scale, affine.zero_point, granularity, affine.narrow_range)


def _range(
    rows: Callable[[int, int], npt.NDArray[Any]], cut: _Cut, kind: ElementType, symmetric: bool, choose: str
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


def _affine(
    lo: npt.NDArray[np.float32],
    hi: npt.NDArray[np.float32],
    kind: ElementType,
    granularity: Granularity,
    symmetric: bool,
) -> Affine:
    affine = affine_from_range(lo, hi, kind, granularity=granularity, symmetric=symmetric, narrow_range=symmetric)
    if not isinstance(granularity, PerBlock):
        return affine
    # XNNPACK reads block scales, which are stored as float16, as bfloat16: only a value that both hold is the same.
    coarse = np.maximum(from_bfloat16(to_bfloat16(affine.scale)), np.float32(2.0**-14))  # the least normal float16
    return Affine(affine.type, coarse, affine.zero_point, granularity, affine.narrow_range)


def in_threads(task: Callable[[slice], _T], parts: list[slice], nbytes: int) -> list[_T]:
    """Do a task for each part, in threads where there is enough to do (NumPy releases the GIL)."""
    workers = min(os.cpu_count() or 1, 4)
    if workers == 1 or len(parts) == 1 or nbytes < 1 << 23:
        return [task(part) for part in parts]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(task, parts))

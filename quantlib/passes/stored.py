"""A constant in its new form: parameters now, bytes when they are written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, dequantize, element_type, pack, quantize, to_float16
from quantlib.recipes import Cut, affine_of, elements_of
from quantlib.tflite import Deferred, Tensor


@dataclass(frozen=True, slots=True)
class Stored:
    """Data of a constant in a new type, and its scales where the type is an integer."""

    data: Deferred
    affine: Affine | None


def stored_float16(origin: Tensor) -> Stored:
    """A constant as float16, rounded to nearest even."""
    count, elements = math.prod(origin.shape), elements_of(origin)

    def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
        half, _ = to_float16(elements(start // 2, stop // 2))
        return as_bytes(half)

    return Stored(Deferred(2 * count, produce, granule=2), None)


def stored_sparse_float16(origin: Tensor) -> Stored:
    """The stored elements of a sparse float32 constant as float16, rounded to nearest even; not its zeros."""
    data = origin.data
    if data is None:
        raise InvalidValue(f"{origin}: not a constant, so it has no elements")

    def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
        half, _ = to_float16(np.require(data.read(2 * start, 2 * stop).view(np.float32), requirements="A"))
        return as_bytes(half)

    return Stored(Deferred(data.nbytes // 4 * 2, produce, granule=2), None)


def stored_float32(origin: Tensor, affine: Affine | None = None) -> Stored:
    """A constant as plain float32, dense.

    Parameters
    ----------
    origin : Tensor
        Of floats or integers, dense or sparse.
    affine : Affine, optional
        Scales and zero points of its integers; those that it has otherwise.
    """
    affine = affine_of(origin) if affine is None else affine
    nbytes = 4 * math.prod(origin.shape)
    dense = origin.table.sparsity is None and element_type(origin.type).bits >= 8
    if dense and origin.dtype is not None and origin.dtype.kind == "f":
        elements = elements_of(origin)

        def part(start: int, stop: int) -> npt.NDArray[np.uint8]:
            return as_bytes(elements(start // 4, stop // 4).astype(np.float32, copy=False))

        return Stored(Deferred(nbytes, part, granule=4), None)
    if affine is None or not dense:  # what can't be had piece by piece is computed at once, not once a piece

        def whole(start: int, stop: int) -> npt.NDArray[np.uint8]:
            values = origin.real() if affine is None else dequantize(origin.numpy(), affine)
            return as_bytes(values)[start:stop]

        return Stored(Deferred(nbytes, whole, granule=max(nbytes, 1)), None)
    return Stored(_dequantized(origin, affine, nbytes), None)


def _dequantized(origin: Tensor, affine: Affine, nbytes: int) -> Deferred:
    """Real values of dense integers, row by row."""
    cut, elements = Cut.of(origin.shape, affine.granularity), elements_of(origin)

    def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
        first, last = start // 4 // cut.row, stop // 4 // cut.row
        integers = elements(first * cut.row, last * cut.row).reshape(last - first, *cut.shape[1:])
        return as_bytes(dequantize(integers, cut.part(affine, first, last)))

    return Deferred(nbytes, produce, granule=4 * max(cut.row, 1))


def as_bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Bytes of an array in C order."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def stored_integer(origin: Tensor, shape: tuple[int, ...], affine: Affine) -> Stored:
    """A float constant as integers.

    Parameters
    ----------
    origin : Tensor
        Dense or sparse.
    shape : tuple of int
        Shape in which operators read it.
    affine : Affine
        Its scales and zero points in that shape.
    """
    kind, cut, elements = affine.type, Cut.of(shape, affine.granularity), elements_of(origin)

    def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
        first, last = start * 8 // kind.bits // cut.row, -(-stop * 8 // kind.bits // cut.row)
        last = min(last, cut.shape[0])
        values = elements(first * cut.row, last * cut.row).reshape(last - first, *cut.shape[1:])
        integers = quantize(values, cut.part(affine, first, last))
        return pack(integers, kind) if kind.bits < 8 else as_bytes(integers)

    nbytes = kind.nbytes(math.prod(shape))
    return Stored(Deferred(nbytes, produce, granule=cut.granule(kind, nbytes)), affine)

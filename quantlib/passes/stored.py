"""A constant in its new form: parameters now, bytes when they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.numerics import Affine, pack, quantize, to_float16
from quantlib.recipes import Cut, elements_of
from quantlib.tflite import Deferred, Tensor


@dataclass(frozen=True, slots=True)
class Stored:
    """Data of a constant in a new type, and its scales where the type is an integer."""

    data: Deferred
    affine: Affine | None


def stored_float16(origin: Tensor) -> Stored:
    """A constant as float16, rounded to nearest even."""
    count, elements = int(np.prod(origin.shape, dtype=np.int64)), elements_of(origin)

    def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
        half, _ = to_float16(elements(start // 2, stop // 2))
        return as_bytes(half)

    return Stored(Deferred(2 * count, produce, granule=2), None)


def stored_float32(origin: Tensor) -> Stored:
    """A constant as plain float32, dense."""

    def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
        return as_bytes(origin.real())[start:stop]

    return Stored(Deferred(4 * int(np.prod(origin.shape, dtype=np.int64)), produce, granule=4), None)


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

    nbytes = kind.nbytes(int(np.prod(shape, dtype=np.int64)))
    return Stored(Deferred(nbytes, produce, granule=cut.granule(kind, nbytes)), affine)

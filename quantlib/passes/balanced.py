"""A weight whose rounding errors cancel, and the bias that takes up what is left of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from quantlib.numerics import Affine, PerAxis, PerTensor, dequantize, pack, quantize, quantize_balanced
from quantlib.recipes import Cut, Moments, elements_of
from quantlib.tflite import Deferred, Tensor

from .stored import Stored, as_bytes

#: Elements that are looked at in one piece.
_PIECE = 1 << 20

_Floats = npt.NDArray[np.float32]
_Shifts = npt.NDArray[np.float64]


@dataclass
class Balanced:
    """A float weight as integers whose rounding errors cancel within each output channel.

    Attributes
    ----------
    origin : Tensor
        Dense or sparse.
    shape : tuple of int
        Shape in which operators read it.
    affine : Affine
        Its scales and zero points in that shape: one, or one for each output channel.
    axis : int
        The axis of its output channels: 0; or 3, the depthwise filter's, (1, H, W, C).
    moments : Moments
        Of the input.
    """

    origin: Tensor
    shape: tuple[int, ...]
    affine: Affine
    axis: int
    moments: Moments
    _shift: _Shifts | None = field(default=None, repr=False)

    @property
    def _ahead(self) -> bool:
        """Whether output channels are rows; else they lie across the tensor, and it is done in one piece."""
        return self.axis == 0

    @property
    def _row(self) -> int:
        return math.prod(self.shape) // max(self.shape[self.axis], 1)

    def stored(self) -> Stored:
        """The integers, computed when they are written."""
        kind, row = self.affine.type, self._row
        nbytes = kind.nbytes(math.prod(self.shape))

        def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
            first, last = 0, self.shape[self.axis]
            if self._ahead:
                first, last = start * 8 // kind.bits // row, min(-(-stop * 8 // kind.bits // row), last)
            values, part = self._rows(first, last)
            integers = self._integers(values, part)
            if self._shift is not None:
                self._shift[first:last] = self._shifted(values, integers, part, self.moments)
            integers = integers if self._ahead else np.swapaxes(integers, 0, self.axis)
            return pack(np.ascontiguousarray(integers), kind) if kind.bits < 8 else as_bytes(integers)

        granule = Cut(self.shape, PerAxis(0), row).granule(kind, nbytes) if self._ahead else max(nbytes, 1)
        return Stored(Deferred(nbytes, produce, granule=granule), self.affine)

    def corrected(self, bias: Tensor, affine: Affine, moments: Moments) -> Stored:
        """The bias of an operator that reads this weight, with what the weight's rounding takes from each output.

        It is computed when it is written.

        Parameters
        ----------
        bias : Tensor
            Dense or sparse.
        affine : Affine
            Scales of the integers that it becomes.
        moments : Moments
            Of the operator's input.
        """
        count = math.prod(bias.shape)
        if moments == self.moments and self._shift is None:
            self._shift = np.full(self.shape[self.axis], np.nan)

        def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
            real = elements_of(bias)(0, count) + self._shifts(moments)
            return as_bytes(quantize(real.astype(np.float32), affine))[start:stop]

        nbytes = affine.type.nbytes(count)
        return Stored(Deferred(nbytes, produce, granule=max(nbytes, 1)), affine)

    def _shifts(self, moments: Moments) -> _Shifts:
        """Mean of each output less that with rounded weights, for an input; what `stored` found is not done again."""
        known = self._shift if moments == self.moments else None
        found = np.full(self.shape[self.axis], np.nan) if known is None else known
        step = max(_PIECE // max(self._row, 1), 1) if self._ahead else len(found)
        for first in range(0, len(found), step):
            last = min(first + step, len(found))
            if np.isnan(found[first:last]).any():
                values, part = self._rows(first, last)
                found[first:last] = self._shifted(values, self._integers(values, part), part, moments)
        return found

    def _rows(self, first: int, last: int) -> tuple[_Floats, Affine]:
        """Values of some output channels, which stand first, and their parameters."""
        elements, row = elements_of(self.origin), self._row
        if self._ahead:
            values = elements(first * row, last * row).reshape(last - first, *self.shape[1:])
        else:
            values = elements(0, row * self.shape[self.axis]).reshape(self.shape).swapaxes(self.axis, 0)
        values = np.ascontiguousarray(values, np.float32)
        scale, points = self.affine.scale, self.affine.zero_point
        one = scale.size == 1
        if not one:
            scale, points = scale[first:last], points[first:last]
        part = Affine(self.affine.type, scale, points, PerTensor() if one else PerAxis(0), self.affine.narrow_range)
        return values, part

    def _integers(self, values: _Floats, part: Affine) -> npt.NDArray[np.generic]:
        mean, variance = self._expanded(self.moments.mean), self._expanded(self.moments.variance)
        return quantize_balanced(values, part, mean=mean, variance=variance)

    def _shifted(self, values: _Floats, integers: npt.NDArray[np.generic], part: Affine, moments: Moments) -> _Shifts:
        """What is left of the weights of each output channel, times the mean of what they're multiplied with."""
        left = values - dequantize(integers, part)
        shifts: _Shifts = (left * self._expanded(moments.mean)).reshape(len(left), -1).sum(axis=1)
        return shifts

    def _expanded(self, moment: tuple[float, ...]) -> npt.NDArray[np.float64]:
        """Means or variances as `quantize_balanced` takes them: for a row's inputs, or for each depthwise filter."""
        found = np.array(moment)
        if found.size == 1:
            return found
        count = self.shape[-1] // found.size
        return np.tile(found, count) if self._ahead else np.repeat(found, count).reshape(-1, 1, 1, 1)

"""Grids that training rounded to: what a FAKE_QUANT, a QUANTIZE or a table of a float tensor says of its values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidRange, InvalidValue
from quantlib.numerics import (
    Affine,
    ElementType,
    Granularity,
    PerAxis,
    PerTensor,
    affine_from_range,
    dequantize,
    element_type,
    fake_quantize,
    fake_quantize_nudged,
    nudged_range,
    quantize,
    round_half_away,
)
from quantlib.tflite import Table, Tensor

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """What training left for the values of one tensor.

    Attributes
    ----------
    lo, hi : float32 array of shape (C,)
        Least and greatest value of each channel.
    bits : int
        2 to 16; 0 where only the range is known.
    scale : float32 array of shape (C,)
        Empty where only the range is known.
    zero_point : int64 array of shape (C,)
        Of the signed type with so many bits.
    axis : int or None
        That of the channels.
    narrow : bool
        The least integer isn't used.
    ambiguous : bool
        Nothing tells 8 bits from 16: `bits` is 8, and a symmetric INT16 takes the scale as well.
    """

    lo: _Floats
    hi: _Floats
    bits: int = 0
    scale: _Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    zero_point: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    axis: int | None = None
    narrow: bool = False
    ambiguous: bool = False

    @classmethod
    def of_steps(
        cls,
        scale: npt.ArrayLike,
        zero_point: npt.ArrayLike,
        bits: int,
        axis: int | None = None,
        *,
        narrow: bool = False,
        ambiguous: bool = False,
    ) -> Grid:
        """Make one of scales and of zero points of the signed type."""
        steps, points = np.array(scale, np.float32, ndmin=1), np.array(zero_point, np.int64, ndmin=1)
        half = 2 ** (bits - 1)
        lo, hi = ((edge - points).astype(np.float32) * steps for edge in (narrow - half, half - 1))
        return cls(lo, hi, bits, steps, points, axis if steps.size > 1 else None, narrow, ambiguous)

    def bounds(self, kind: str) -> tuple[float, float]:
        """Least and greatest value of the tensor, in an element type."""
        affine = self._exact(element_type(kind)) if self.ambiguous else None
        if affine is None:
            return float(self.lo.min()), float(self.hi.max())
        step = float(affine.scale[0])
        return step * affine.qmin, step * affine.qmax

    def activation(self, kind: str, *, symmetric: bool) -> tuple[Affine, str]:
        """Parameters of an activation of an element type, and in words how they follow from training."""
        wanted = element_type(kind)
        exact = self._exact(wanted)
        if exact is not None and not (symmetric and exact.zero_point.any()):
            return exact, "as trained"
        lo, hi = self.bounds(kind)
        affine = affine_from_range(lo, hi, wanted, symmetric=symmetric)
        if not self.bits:
            return affine, "as trained"
        if self.bits != wanted.bits:
            return affine, f"range as trained with {self.bits} bits"
        why = "trained per channel" if self.scale.size > 1 else f"{kind} with zero point 0"
        return affine, f"range as trained; {why}"

    def _exact(self, kind: ElementType) -> Affine | None:
        """The trained scale and zero point, where an activation of that type can have them."""
        if self.scale.size != 1 or not (self.bits == kind.bits or (self.ambiguous and kind.bits == 16)):
            return None
        return Affine(kind, self.scale, self.zero_point + (2 ** (kind.bits - 1) if kind.kind == "uint" else 0))

    def weight(
        self, kinds: tuple[str, ...], axis: int | None, *, one: bool, symmetric: bool = True
    ) -> tuple[Affine | None, str]:
        """Parameters of a weight, where its kernels take them; else why they don't.

        Parameters
        ----------
        kinds : tuple of str
            Element types that the kernel takes; the one that the recipe would choose first.
        axis : int or None
            That of the kernel's channels.
        one : bool
            There must be one scale for the tensor.
        symmetric : bool
            The kernel takes no zero point.
        """
        if self.lo.size > 1 and (one or self.axis != axis):
            wanted = "one scale is required" if one or axis is None else f"axis {axis} is required"
            return None, f"it has {self.lo.size} scales along axis {self.axis}, and {wanted}"
        granularity: Granularity = PerTensor() if self.lo.size == 1 or axis is None else PerAxis(axis)
        if not self.bits:
            narrow = kinds[0] != "UINT8"
            return affine_from_range(
                self.lo, self.hi, kinds[0], granularity=granularity, symmetric=narrow, narrow_range=narrow
            ), ""
        choice = sorted(map(element_type, kinds), key=lambda kind: kind.bits)
        fitting = [kind for kind in choice if kind.bits >= self.bits]
        if not fitting:
            return None, f"it was trained with {self.bits} bits, and {kinds[0]} is required"
        if fitting[0].kind == "uint":
            return Affine(fitting[0], self.scale, self.zero_point + 2 ** (fitting[0].bits - 1)), ""
        if not symmetric and self.zero_point.any():
            return Affine(fitting[0], self.scale, self.zero_point, granularity, self.narrow), ""
        # Values are whole steps whatever the zero point: with 0 they need as many to the further side.
        half = 2 ** (self.bits - 1)
        reach = int(np.max([half - self.narrow + self.zero_point, half - 1 - self.zero_point]))
        for kind in fitting:
            if reach <= (kind.max or 0) + 1:
                return Affine(kind, self.scale, np.zeros_like(self.zero_point), granularity, narrow_range=True), ""
        return None, "kernels require zero point 0"

    def constant(self, kind: str, *, symmetric: bool) -> Affine | None:
        """Parameters of a constant that stands where an activation could; None where it can't have these."""
        exact = self._exact(element_type(kind))
        return None if exact is None or (symmetric and exact.zero_point.any()) else exact


@dataclass(frozen=True, slots=True)
class FakeQuant:
    """What one FAKE_QUANT does: its options."""

    lo: float
    hi: float
    bits: int
    narrow_range: bool

    @classmethod
    def of(cls, options: Table | None) -> FakeQuant:
        """Take it from an operator's options; where there are none, those that the schema has."""
        given = Table("FakeQuantOptions") if options is None else options
        return cls(given.min, given.max, given.num_bits, bool(given.narrow_range))

    def grid(self) -> Grid | None:
        """The grid, nudged so that 0 lies on it; None where there is none."""
        try:
            _, _, scale, point = nudged_range(self.lo, self.hi, self.bits, self.narrow_range)
        except (InvalidRange, InvalidValue):
            return None
        return Grid.of_steps(scale, point - 2 ** (self.bits - 1), self.bits, narrow=self.narrow_range)

    def __str__(self) -> str:
        return f"range {self.lo:g}..{self.hi:g} with {self.bits} bits"


Step = FakeQuant | Affine
"""Something that rounds a constant before operators read it: a FAKE_QUANT, or QUANTIZE and DEQUANTIZE."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Shaped(Tensor):
    """A tensor whose shape isn't stored with it."""

    known: tuple[int, ...] = ()

    @property
    def table(self) -> Table:
        stored = Tensor(self.model, self.subgraph, self.index).table
        return stored.replace(shape=np.array(self.known, np.int32), has_rank=True)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Rounded(Tensor):
    """A constant as the operators behind FAKE_QUANT, QUANTIZE and DEQUANTIZE see it: always float32.

    Attributes
    ----------
    steps : tuple of (FakeQuant or Affine)
        In order. Those of integers that are dequantized come first and aren't listed.
    """

    steps: tuple[Step, ...] = ()

    @property
    def stored(self) -> Tensor:
        """The constant as it stands in the file."""
        return Tensor(self.model, self.subgraph, self.index)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    def numpy(self) -> npt.NDArray[np.float32]:
        return self._through(self.stored.real().reshape(-1), 0).reshape(self.shape)

    def real(self) -> npt.NDArray[np.float32]:
        return self.numpy()

    def elements(self, raw: Callable[[int, int], npt.NDArray[Any]]) -> Callable[[int, int], _Floats]:
        """Make a function that gives its values ``start:stop``, of one that gives the stored ones."""
        stored = affine_of(self.stored)
        if (stored is None and self.type not in ("FLOAT32", "FLOAT16")) or element_type(self.type).bits < 8:
            return lambda start, stop: self.numpy().reshape(-1)[start:stop]

        def elements(start: int, stop: int) -> _Floats:
            values = raw(start, stop)
            if stored is not None:
                values = dequantize(values, _part(stored, start, stop - start, self.shape))
            return self._through(values.astype(np.float32, copy=False), start)

        return elements

    def _through(self, values: _Floats, first: int) -> _Floats:
        for step in self.steps:
            if isinstance(step, FakeQuant):
                values = fake_quantize_nudged(values, step.lo, step.hi, step.bits, step.narrow_range)
            else:  # as QUANTIZE does
                part = _part(step, first, values.size, self.shape)
                values = fake_quantize(values, part, rounding=round_half_away)
        return values


def trained_note(grid: Grid, taken: Affine, kind: str, origin: Tensor, shape: tuple[int, ...]) -> str:
    """What there is to say of a weight whose trained parameters are taken.

    Parameters
    ----------
    grid : Grid
    taken : Affine
    kind : str
        Type that the recipe would have given it.
    origin : Tensor
        The weight.
    shape : tuple of int
        In which operators read it.
    """
    clipped = _clipped(origin, shape, taken) if grid.bits and taken.narrow_range and not grid.narrow else 0
    notes = [
        "weight as trained",
        f"{taken.type.name} instead of {kind}" if taken.type.name != kind else "",
        f"{clipped:,} of {origin.real().size:,} values clipped to {taken.qmin}..{taken.qmax}, as kernels require"
        if clipped
        else "",
    ]
    return ", ".join(note for note in notes if note)


def _clipped(origin: Tensor, shape: tuple[int, ...], taken: Affine) -> int:
    """How many values of a weight are beyond the integers of its type."""
    wide = Affine(element_type("INT16"), taken.scale, taken.zero_point, taken.granularity)
    return int(np.count_nonzero(np.abs(quantize(origin.real().reshape(shape), wide)) > taken.qmax))


def stored_identity(origin: Tensor) -> tuple[object, ...]:
    """What makes two constants the same values: their buffer, type, and what happens to them before they are read."""
    scales: tuple[object, ...] = ()
    if isinstance(origin, Rounded):
        scales = origin.steps
        if (found := origin.quantization) is not None:
            scales += found.scale.tobytes(), found.zero_point.tobytes(), found.quantized_dimension
    return origin.table.buffer, origin.type, *scales


def affine_of(tensor: Tensor) -> Affine | None:
    """Parameters of a tensor of integers; None where it has none, or blocks."""
    kind, found = element_type(tensor.type), tensor.quantization
    if not kind.is_integer or found is None or found.block_size:
        return None
    granularity: Granularity = PerAxis(found.quantized_dimension) if found.scale.size > 1 else PerTensor()
    return Affine(kind, found.scale, found.zero_point, granularity)


def _part(affine: Affine, first: int, count: int, shape: tuple[int, ...]) -> Affine:
    """Parameters of so many elements from `first` on, in flat order."""
    if not isinstance(affine.granularity, PerAxis) or affine.scale.size == 1:
        return Affine(affine.type, affine.scale, affine.zero_point, narrow_range=affine.narrow_range)
    axis = affine.granularity.axis
    inner = math.prod(shape[axis + 1 :])
    channels = np.arange(first, first + count) // inner % shape[axis]
    return Affine(affine.type, affine.scale[channels], affine.zero_point[channels], PerAxis(0), affine.narrow_range)

"""Finding the codebook of a weight: real numbers, integers, or real numbers on the grid of int8."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    Affine,
    Clusters,
    Gram,
    Granularity,
    PerAxis,
    PerTensor,
    Refitted,
    cluster_integers,
    cluster_values,
    element_type,
    quantize,
)
from quantlib.operators import row
from quantlib.recipes import Cut, constant_affine
from quantlib.tflite import Tensor

from ..reading import require_refit
from ..scales import require_channels, scales_of
from ..weight_sites import WeightSite
from .codebook import Codebook, Lookup, pieces_of, rows_of, spread

PER = ("tensor", "channel")
#: Starts of k-means, as `cluster_values` has them.
STARTS = ("density", "linear", "k-means++")
#: Grids of float weights, and whether each channel has a scale.
GRIDS = ("int8", "int8-tensor")
#: Most clusters; with more, float16 does as well.
MOST = 4096
#: Types of weights whose values are real numbers.
FLOATS = ("FLOAT32", "FLOAT16")
_LEVELS = 256
#: The greatest integer of int8 weights; the least one is its negative.
_END = 127
#: Channels whose integers are counted at once.
_CHANNELS = 4096

_Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What `quantlib.passes.cluster` was asked for; checked when made."""

    clusters: int
    per: str
    start: str | None
    preserve_zeros: bool
    grid: str | None
    seed: int | None
    min_elements: int
    refit: Mapping[str, Gram | Refitted] | None = None

    def __post_init__(self) -> None:
        if not _is_whole(self.clusters) or not 2 <= self.clusters <= MOST:
            raise InvalidValue(f"{self.clusters!r} clusters asked for; a whole number from 2 to {MOST:,} is required")
        for name, known in (("per", PER), ("start", (None, *STARTS)), ("grid", (None, *GRIDS))):
            if getattr(self, name) not in known:
                wanted = ", ".join(str(k) for k in known if k)
                raise InvalidValue(f"{name} is {getattr(self, name)!r}; one of {wanted} is required")
        for name in ("seed", "min_elements"):
            value = getattr(self, name)
            if (value is not None or name != "seed") and (not _is_whole(value) or value < 0):
                raise InvalidValue(f"{name} is {value!r}; a whole number of 0 or more is required")
        if self.grid is not None and self.start is not None:
            raise InvalidValue(
                f"start says nothing beside grid {self.grid!r}, whose best values are found directly; leave it out"
            )
        if self.seed is not None and self.start != "k-means++":
            raise InvalidValue(
                f"seed says nothing to start {self.start or STARTS[0]!r}; leave it out, or start with k-means++"
            )
        require_refit(self.refit)


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def find_codebook(site: WeightSite, options: ClusterOptions) -> Codebook | str:
    """Find the codebook of a weight; why there is none, where none can be.

    Raises
    ------
    InvalidValue
        If a value isn't finite.
    """
    if site.tensor.type not in FLOATS:
        return _of_integers(site, options)
    return _real(site, options) if options.grid is None else _on_grid(site, options)


def _axis(site: WeightSite) -> tuple[int | None, bool]:
    """Axis of the channels of a weight, and whether its integers have a scale for each."""
    use = site.readers[0]
    known = row(site.graph.names[use.operator]).weight(use.operand)
    if known is None:
        return None, False
    options = site.graph.operators[use.operator].builtin_options
    transposed = bool(known.transposed) and bool(getattr(options, known.transposed, False))
    axis = known.channel_axis(len(site.tensor.shape), transposed)
    return axis, axis is not None and known.hybrid_channels is not False


def _granularity(axis: int | None, several: bool) -> Granularity:
    return PerAxis(axis) if several and axis is not None else PerTensor()


def empty_codebook(site: WeightSite, options: ClusterOptions) -> Codebook:
    """A float weight's codebook without its values, for those that were found before: nothing is searched for."""
    cut, none = _cut(site, options), np.zeros(0, np.float32)
    count = (
        cut.shape[cut.granularity.axis] if options.per == "channel" and isinstance(cut.granularity, PerAxis) else 1
    )
    if options.grid is None:
        return Codebook(site.tensor, cut, (Clusters(none, none),) * count)
    return Codebook(site.tensor, cut, (Lookup(none, 0, none),) * count, _grid(site, options))


def _cut(site: WeightSite, options: ClusterOptions) -> Cut:
    """Rows of a float weight by what has values, or scales, of its own."""
    axis, scales = _axis(site)
    return Cut.of(
        site.tensor.shape, _granularity(axis, options.per == "channel" or (scales and options.grid == "int8"))
    )


def _grid(site: WeightSite, options: ClusterOptions) -> Affine:
    """The grid that quantizing a float weight would have."""
    axis, scales = _axis(site)
    granularity, tensor = _granularity(axis, scales and options.grid == "int8"), site.tensor
    return constant_affine(tensor, tensor.shape, element_type("INT8"), granularity, symmetric=True, choose="minmax")


def _real(site: WeightSite, options: ClusterOptions) -> Codebook | str:
    """k-means of real numbers."""
    tensor, cut = site.tensor, _cut(site, options)
    rows, zeros = rows_of(tensor, cut), keeps_zeros(tensor, options)

    def found(values: _Array) -> Clusters:
        try:
            return cluster_values(
                values,
                options.clusters,
                start=options.start or STARTS[0],
                preserve_zeros=zeros,
                seed=options.seed or 0,
            )
        except InvalidValue as error:
            raise InvalidValue(f"{site.name}: {error}; or leave it out by skip") from None

    if cut.granularity == PerAxis(0):
        parts = ((rows(first, last), last - first) for first, last in pieces_of(cut))
        return Codebook(tensor, cut, tuple(found(part[c]) for part, count in parts for c in range(count)))
    whole = rows(0, cut.shape[0])
    if cut.granularity == PerAxis(1):
        return Codebook(tensor, cut, tuple(found(whole[:, c]) for c in range(cut.shape[1])))
    return Codebook(tensor, cut, (found(whole),))


def _of_integers(site: WeightSite, options: ClusterOptions) -> Codebook | str:
    """The best integers for integers."""
    tensor, kind, found = site.tensor, element_type(site.tensor.type), site.tensor.quantization
    if not kind.is_integer or kind.bits > 8:
        return f"{tensor.type} weights can't be clustered"
    if found is None or found.block_size:
        return f"{tensor.type} weights {'without a scale' if found is None else 'in blocks'} can't be clustered"
    several = found.scale.size > 1
    if (affine := scales_of(tensor)) is not None:
        require_channels(tensor, affine)
    axis = found.quantized_dimension if several else _axis(site)[0]
    cut = Cut.of(tensor.shape, _granularity(axis, several or options.per == "channel"))
    zeros = set(found.zero_point.tolist()) if keeps_zeros(tensor, options) else set()
    if len(zeros) >= options.clusters:
        return f"{len(zeros)} different zero points, which {options.clusters} clusters don't hold"
    rows = rows_of(tensor, cut)

    def steps(first: int, last: int) -> tuple[_Array, _Array]:
        return rows(first, last), rows(first, last)

    scale = found.scale.astype(np.float64)
    levels = _levels(cut, steps, scale, int(kind.min or 0), one=options.per == "tensor")
    return Codebook(tensor, cut, tuple(book.lookup(options.clusters, zeros) for book in levels))


def _on_grid(site: WeightSite, options: ClusterOptions) -> Codebook | str:
    """The best integers for real numbers on the grid of int8, and the grid.

    What quantizes the result finds the scale by the greatest magnitude of a channel, or of the tensor, so that these
    have to stay: one of -127 and 127 wherever there is one. 127 steps of a scale that was 1/127 of a float32 number
    give that scale again, whatever rounding does to them.
    """
    tensor, cut, affine = site.tensor, _cut(site, options), _grid(site, options)
    rows, scale = rows_of(tensor, cut), affine.scale.astype(np.float64)
    reached = np.zeros((2, affine.scale.size), bool)

    def steps(first: int, last: int) -> tuple[_Array, _Array]:
        values, part = rows(first, last), affine if affine.scale.size == 1 else cut.part(affine, first, last)
        integers = quantize(values, part)
        for end, there in zip((affine.qmin, affine.qmax), reached, strict=True):
            _note(there, integers == end, cut, first, last)
        return integers, values / spread(scale, cut, first, last)

    levels = _levels(cut, steps, scale, -128, one=options.per == "tensor")
    zeros = {0} if keeps_zeros(tensor, options) or not reached.any(axis=0).all() else set()
    if len(levels) == 1:
        fixed = [levels[0].present(zeros) | _ends(*reached)]
    else:
        ends = ((book.present({_END}) or book.present({-_END})) for book in levels)
        fixed = [book.present(zeros) | end for book, end in zip(levels, ends, strict=True)]
    most = max(fixed, key=len, default=set())
    if len(most) > options.clusters:
        stay = ", ".join(map(str, sorted(most)))
        return f"{options.clusters} clusters are too few: of the integers {stay} have to stay"
    books = tuple(book.lookup(options.clusters, f) for f, book in zip(fixed, levels, strict=True))
    return Codebook(tensor, cut, books, affine)


def keeps_zeros(tensor: Tensor, options: ClusterOptions) -> bool:
    """What is stored sparse has zeros that can be nothing else."""
    return options.preserve_zeros or tensor.table.sparsity is not None


def _note(there: npt.NDArray[np.bool_], found: npt.NDArray[np.bool_], cut: Cut, first: int, last: int) -> None:
    """Note for each scale whether something was found in rows ``first:last``."""
    if there.size == 1:
        there |= found.any()
    elif cut.granularity == PerAxis(0):
        there[first:last] |= found.any(axis=1)
    else:
        there |= found.any(axis=(0, 2))


def _ends(lows: npt.NDArray[np.bool_], highs: npt.NDArray[np.bool_]) -> set[int]:
    """Ends of the grid that must stay for each scale to have one that it reaches."""
    some = lows | highs
    if (highs == some).all():
        return {_END} if some.any() else set()
    return {-_END} if (lows == some).all() else {-_END, _END}


@dataclass(frozen=True, slots=True, eq=False)
class _Levels:
    """The integers that there are among those of a book: what they count, and the mean of what they stand for."""

    low: int
    integers: _Array
    weights: _Array
    means: _Array

    @classmethod
    def of(cls, low: int, counts: _Array, weights: _Array, sums: _Array) -> _Levels:
        there = np.flatnonzero(counts)
        weights, sums = weights[there], sums[there]
        means = np.divide(sums, weights, out=(there + low).astype(np.float64), where=weights > 0)
        return cls(low, there + low, weights, means)

    def lookup(self, clusters: int, fixed: set[int]) -> Lookup:
        """The best clusters."""
        found = cluster_integers(self.integers, clusters, weights=self.weights, means=self.means, fixed=fixed)
        table = np.arange(self.low, self.low + _LEVELS, dtype=np.int16)
        table[self.integers - self.low] = found
        return Lookup(table, self.low, np.unique(found))

    def present(self, wanted: set[int]) -> set[int]:
        """Which of some integers there are."""
        return wanted & set(self.integers.tolist())


def _levels(
    cut: Cut,
    steps: Callable[[int, int], tuple[_Array, _Array]],
    scale: npt.NDArray[np.float64],
    low: int,
    *,
    one: bool,
) -> list[_Levels]:
    """Count the integers of each book; `steps` gives those of some rows, and what they stand for in steps.

    In a book for channels with different scales an error counts by its square as a real number.
    """
    found: list[_Levels] = []
    price = np.square(scale) if one else np.ones(1)
    for count, pieces in _groups(cut, one=one):
        sums = np.zeros((3, count * _LEVELS))
        for first, last in pieces:
            integers, real = steps(first, last)
            key = integers.astype(np.intp) - low
            if count > 1:
                channels = np.arange(0, count * _LEVELS, _LEVELS)
                key += channels[:, None] if cut.granularity == PerAxis(0) else channels[None, :, None]
            prices = np.broadcast_to(spread(price, cut, first, last), key.shape)
            for row_of, weights in zip(sums, (None, prices, prices * real), strict=True):
                flat = None if weights is None else weights.reshape(-1)
                row_of += np.bincount(key.reshape(-1), flat, minlength=row_of.size)
        found += [_Levels.of(low, *one_book) for one_book in zip(*sums.reshape(3, count, _LEVELS), strict=True)]
    return found


def _groups(cut: Cut, *, one: bool) -> list[tuple[int, list[tuple[int, int]]]]:
    """Books that are counted together, and the rows that they are for."""
    if one or isinstance(cut.granularity, PerTensor):
        return [(1, pieces_of(cut))]
    if cut.granularity == PerAxis(0):
        return [(last - first, [(first, last)]) for first, last in pieces_of(cut, _CHANNELS)]
    return [(cut.shape[1], pieces_of(cut))]

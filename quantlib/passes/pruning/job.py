"""One weight on its way to be pruned: what its elements are worth, which of them go, and its new bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import Cutoff, Scores, cutoffs, magnitudes, pattern_mask, zeros_of
from quantlib.recipes import elements_of
from quantlib.tflite import Deferred

from ..stored import as_bytes
from ..weight_sites import WeightSite, real_elements, zero_elements
from .options import PruneOptions

#: Elements that are looked at in one piece.
_PIECE = 1 << 20
#: Least price of a weight's energy, as part of the greatest: nothing is free.
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Tally:
    """What pruning does to one weight.

    Attributes
    ----------
    zeros : int
        Elements that are zero afterwards.
    removed : int
        Those of them that weren't before.
    lost : float
        Their energy, a sum of squares of real values.
    """

    zeros: int
    removed: int
    lost: float


@dataclass(frozen=True, slots=True)
class PruneJob:
    """A weight, and where it is cut.

    Attributes
    ----------
    site : WeightSite
    options : PruneOptions
    price : float
        What scores are multiplied by.
    cutoff : Cutoff or None
        None with a pattern of groups, and before it is known.
    """

    site: WeightSite
    options: PruneOptions
    price: float = 1.0
    cutoff: Cutoff | None = None

    @property
    def scores(self) -> Scores:
        """What elements or blocks are worth."""
        block, price = self.options.block, np.float32(self.price)

        def read(start: int, stop: int) -> npt.NDArray[np.float32]:
            return magnitudes(self._values(start * block, stop * block), block) * price

        return Scores(self.site.count // block, read)

    def stays(self, start: int, stop: int) -> npt.NDArray[np.bool_]:
        """Tell which of the elements ``start:stop`` stay; both are multiples of a block or group."""
        options = self.options
        if options.group:
            return pattern_mask(self._values(start, stop), options.keep, options.group)
        if self.cutoff is None:
            raise InvalidValue(f"{self.site.name}: not ranked yet")
        first, last = start // options.block, stop // options.block
        return np.repeat(self.cutoff.stays(self.scores.read(first, last), first), options.block)

    def _values(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Real values of the elements ``start:stop``."""
        values = real_elements(self.site.tensor)(start, stop)
        if not np.isfinite(values).all():
            raise InvalidValue(
                f"{self.site.name}: its values aren't all finite, so have no order; leave it out by skip"
            )
        return values

    def pieces(self) -> list[tuple[int, int]]:
        """Ends of pieces that can be looked at one by one."""
        step = max(_PIECE // self.options.unit, 1) * self.options.unit
        return [(start, min(start + step, self.site.count)) for start in range(0, self.site.count, step)]

    def tally(self) -> Tally:
        """Count what goes."""
        zeros = removed = 0
        lost = 0.0
        for start, stop in self.pieces():
            values, stays = self._values(start, stop), self.stays(start, stop)
            going = values[~stays].astype(np.float64)
            removed += int(np.count_nonzero(going))
            zeros += int(np.count_nonzero((values == 0) | ~stays))
            lost += float(np.dot(going, going))
        return Tally(zeros, removed, lost)

    def data(self) -> Deferred:
        """The pruned bytes, dense, computed when they are written."""
        tensor = self.site.tensor
        elements, zero = elements_of(tensor), zero_elements(tensor)
        size, unit = np.dtype(tensor.dtype).itemsize, self.options.unit

        def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
            first, last = start // size, stop // size
            end = min(-(-last // unit) * unit, self.site.count)
            stays = self.stays(first, end)[: last - first]
            values: npt.NDArray[Any] = elements(first, last).copy()
            np.copyto(values, np.asarray(zero(first, last)).astype(values.dtype), where=~stays)
            return as_bytes(values)

        return Deferred(size * self.site.count, produce, granule=size * unit)


def ranked(sites: Sequence[WeightSite], options: PruneOptions) -> list[PruneJob]:
    """Decide for each of several different weights where it is cut."""
    jobs = [PruneJob(site, options) for site in sites]
    if options.group:
        return jobs
    if options.sensitivity is not None or not options.together:
        jobs = [replace(job, cutoff=_cut([job], options.sparsity)[0]) for job in jobs]
    if not options.together:
        return jobs
    if options.sensitivity is not None:
        jobs = _priced(jobs, options.sensitivity)
    return [replace(job, cutoff=c) for job, c in zip(jobs, _cut(jobs, options.sparsity), strict=True)]


def _cut(jobs: list[PruneJob], sparsity: float) -> tuple[Cutoff, ...]:
    scores = [job.scores for job in jobs]
    return cutoffs(scores, zeros_of(sum(s.size for s in scores), sparsity))


def _priced(alone: list[PruneJob], sensitivity: Mapping[str, float]) -> list[PruneJob]:
    """Weights whose scores are what their energy costs: error over the energy whose loss made it."""
    prices = []
    for job in alone:
        lost = job.tally().lost
        prices.append(sensitivity[job.site.name] / lost if lost else 0.0)
    largest = max(prices, default=0.0) or 1.0
    return [
        replace(job, price=float(np.sqrt(max(price / largest, _LEAST))), cutoff=None)
        for job, price in zip(alone, prices, strict=True)
    ]

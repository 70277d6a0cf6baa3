"""Weights that are pruned by what samples say they are worth, and refitted: `FittedJob`, as `PruneJob` without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    Equations,
    Gram,
    Refitted,
    Scores,
    cutoffs,
    pattern_mask,
    refit_rows,
    saliencies,
    to_float16,
    zeros_of,
)
from quantlib.runners import one_blas_thread
from quantlib.tflite import Data, Inline

from ..reading import Reading, bias_of, reading_of, require_products, require_values
from ..weight_sites import WeightSite, real_elements
from .job import Tally
from .options import PruneOptions

#: Steps in which weights go, each refitted before the next is ranked.
_ROUNDS = 4
#: Multiplications of the inverses that each row of a layer may cost in all; beyond, its rows share one.
_DEAREST = 1e12

_Floats = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FittedJob:
    """A weight with its new values, in memory.

    Attributes
    ----------
    site : WeightSite
    reading : Reading
    fit : Refitted
    """

    site: WeightSite
    reading: Reading
    fit: Refitted

    def tally(self) -> Tally:
        """Count what goes."""
        values = self._stored()
        gone = real_elements(self.site.tensor)(0, self.site.count)[values.reshape(-1) == 0].astype(np.float64)
        return Tally(gone.size, int(np.count_nonzero(gone)), float(np.dot(gone, gone)))

    def data(self) -> Data:
        """The new values as they are stored."""
        return Inline(self._stored())

    def _stored(self) -> npt.NDArray[np.floating]:
        weights = self.fit.weights
        return to_float16(weights)[0] if self.site.tensor.type == "FLOAT16" else weights


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """A weight on its way to be refitted, as a matrix."""

    site: WeightSite
    reading: Reading
    equations: Equations
    whole: _Floats
    bias: _Floats | None
    energy: float
    now: _Floats
    mask: _Mask

    @classmethod
    def of(cls, site: WeightSite, reading: Reading, gram: Gram) -> _Layer:
        require_products(site, reading, gram)
        whole = reading.rows(real_elements(site.tensor)(0, site.count).reshape(site.tensor.shape))
        if not np.isfinite(whole).all():
            raise InvalidValue(f"{site.name}: its values aren't all finite, so can't be refitted; skip it")
        bias = bias_of(site.graph, reading)
        free = isinstance(bias, np.ndarray)
        equations = Equations.of(gram, bias=free)
        energy = equations.energy(whole)
        found = bias.astype(np.float64) if isinstance(bias, np.ndarray) else None
        return cls(site, reading, equations, whole, found, energy or 1.0, whole, np.ones(whole.shape, np.bool_))

    def scores(self, block: int) -> npt.NDArray[np.float32]:
        """What blocks are worth, as part of what the outputs vary by: layers can be compared."""
        shared = len(self.whole) * float(self.whole.shape[1]) ** 3 * _ROUNDS > _DEAREST
        found = saliencies(self.now, self.mask, self.equations, block=block, shared=shared) / self.energy
        # kept at more than what is gone already, which is worth nothing
        there = self.mask.reshape(len(found), -1, block).any(axis=2)
        return np.where(there, np.maximum(found, 1e-30), 0.0).astype(np.float32)

    def cut(self, mask: _Mask) -> _Layer:
        """The same with fewer weights, refitted."""
        now, _ = refit_rows(self.whole, self.bias, mask, self.equations)
        return replace(self, now=now, mask=mask)

    def done(self) -> Refitted:
        now, bias = refit_rows(self.whole, self.bias, self.mask, self.equations)
        return Refitted(self.reading.weights(now), None if bias is None else bias.astype(np.float32))


@one_blas_thread()  # many small solutions: several threads would only fight for the cores
def fitted(groups: Sequence[Sequence[WeightSite]], options: PruneOptions) -> dict[str, FittedJob]:
    """Prune and refit the weights that there is something known of.

    Parameters
    ----------
    groups : sequence of sequence of WeightSite
        Different weights; each with all that have its values.
    options : PruneOptions

    Returns
    -------
    dict of str to FittedJob
        By the weight's name.
    """
    found: dict[str, FittedJob] = {}
    layers = []
    for group in groups:
        site = group[0]
        known = (options.refit or {}).get(site.name)
        if known is None:
            continue
        reading = reading_of(site, alone=len(group) == 1)
        if isinstance(reading, str):
            raise InvalidValue(f"{site.name} can't be refitted: {reading}; leave it out of what is refitted")
        if isinstance(known, Gram):
            layers.append(_Layer.of(site, reading, known))
        else:
            found[site.name] = FittedJob(site, reading, _checked(site, reading, known, options))
    for layer in _thinned(layers, options):
        found[layer.site.name] = FittedJob(layer.site, layer.reading, layer.done())
    if options.refit and not found and groups:
        raise InvalidValue(f"refit names {next(iter(options.refit))!r} and none of the weights that are pruned")
    return found


def _checked(site: WeightSite, reading: Reading, fit: Refitted, options: PruneOptions) -> Refitted:
    require_values(site, reading, fit)
    zeros = int(np.count_nonzero(fit.weights == 0))
    if not options.together and zeros < zeros_of(site.count, options.sparsity):
        raise InvalidValue(
            f"{site.name}: {zeros:,} of {site.count:,} refitted values are zero, and a sparsity of "
            f"{options.sparsity:g} asks for more; refit for this sparsity"
        )
    return fit


def _thinned(layers: list[_Layer], options: PruneOptions) -> list[_Layer]:
    """Take the weights that are worth least, some in each round."""
    rounds = min(_ROUNDS, options.group - options.keep) if options.group else _ROUNDS
    for k in range(1, rounds + 1):
        scores = [layer.scores(options.block) for layer in layers]
        if options.group:
            keep = options.group - round((options.group - options.keep) * k / rounds)
            masks = [pattern_mask(s, keep, options.group) for s in scores]
        else:
            share = options.sparsity if k == rounds else 1 - (1 - options.sparsity) ** (k / rounds)
            parts = [list(scores)] if options.together else [[s] for s in scores]
            masks = [m for part in parts for m in _stays(part, share)]
        layers = [
            layer.cut(np.repeat(mask, options.block, axis=1)) for layer, mask in zip(layers, masks, strict=True)
        ]
    return layers


def _stays(scores: list[npt.NDArray[np.float32]], share: float) -> list[_Mask]:
    parts = [Scores(s.size, partial(_part, s.reshape(-1))) for s in scores]
    cuts = cutoffs(parts, zeros_of(sum(p.size for p in parts), share))
    return [cut.stays(s.reshape(-1)).reshape(s.shape) for cut, s in zip(cuts, scores, strict=True)]


def _part(scores: npt.NDArray[np.float32], start: int, stop: int) -> npt.NDArray[np.float32]:
    return scores[start:stop]

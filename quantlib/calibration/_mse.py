"""The ranges of least mean square error of histograms, on the grids that are deployed.

Lengths are in bins. Values of a bin are spread evenly over it: h is a density, constant within each bin. With
``G(t)``, the integral of ``(t - x) h(x)`` over ``x < t``, and the total moments ``m0 m1 m2`` of h, the error of a
grid of step s, greatest level v and decision boundaries b (half a step above each other level) is, by summation by
parts, ``m2 - 2 v m1 + v**2 m0 - 2 s sum(G(b))``: one look-up for each boundary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantlib.numerics import Affine, ElementType, PerAxis, affine_from_range

from ._bins import BINS, HALF

# Fractions of the whole range that are tried, on each side: quarter octaves, down to the innermost bin.
_STEPS_PER_OCTAVE = 4
_OCTAVES = 10
_ONE_SIDED = 16

# From there, the best few are refined: so many times, neighbours at a quarter of the distance.
_KEPT = 2
_ROUNDS = 2

# Up to that width, `affine_from_range` widens a range, so that no candidate is better than another.
_NARROW = 1e-6

# Grids of up to so many levels are judged exactly from the start. Of more, steps are narrow enough to take them for
# evenly filled at first, and the exact error decides between the best few.
_FEW = 1 << 5
_FINAL = 16
_NEAR = 64

#: Boundaries looked up at once: a few arrays of 128 KiB.
_CHUNK = 1 << 14

# Above, a step is narrower than a bin, within which rounding errors are even: their mean square is s**2 / 12.
_LEVELS = 1 << 12

#: Histograms that are searched side by side: one alone has few numbers for a call of NumPy.
_TOGETHER = 32

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """A histogram whose range is wanted.

    Attributes
    ----------
    counts : int64 array of shape (2048,)
        Bin k, at ``k + 1024``, covers ``[k * 2**exponent, (k + 1) * 2**exponent)``.
    exponent : int
    full : (lo, hi)
        Range that holds zero. Always a candidate, and wins ties.
    """

    counts: NDArray[np.int64]
    exponent: int
    full: tuple[float, float]


def least_error(searches: Sequence[Search], kind: ElementType, symmetric: bool) -> list[tuple[float, float]]:
    """The range, within each full one, of least mean square error: the same beside others as by itself.

    Parameters
    ----------
    searches : sequence of Search
    kind : ElementType
        An integer type.
    symmetric : bool
        Whether the full ranges are, and the grids.
    """
    found = [s.full for s in searches]
    for two_sided in (False, True):
        alike = [
            i
            for i, (lo, hi) in enumerate(found)
            if hi - lo > _NARROW and (not symmetric and lo < 0 < hi) == two_sided
        ]
        for start in range(0, len(alike), _TOGETHER):
            some = alike[start : start + _TOGETHER]
            best = _best(_Grid([searches[i] for i in some], kind, symmetric), two_sided)
            for i, (low, high) in zip(some, best.tolist(), strict=True):
                found[i] = found[i][0] * low, found[i][1] * high
    return found


def _best(grid: _Grid, two_sided: bool) -> _Floats:
    """The fractions of each side of least error: of shape (n, 2)."""
    per_octave, points = (_STEPS_PER_OCTAVE, 9) if two_sided else (_ONE_SIDED, 17)
    steps = 2.0 ** (-np.arange(_OCTAVES * per_octave + 1) / per_octave)
    low, high = (steps[None, :, None], steps[None, None]) if two_sided else (steps[None], steps[None])
    news, part = grid.flat(low, high), grid.judged(low, high)
    tried, errors, reach = news, part, 1 / per_octave
    for _ in range(_ROUNDS):
        best = np.argpartition(part, _KEPT, axis=1)[:, :_KEPT]
        near = 2.0 ** (reach * np.linspace(-1, 1, points))
        kept = np.minimum(_taken(news, best)[..., None] * near, 1.0)
        low, high = kept[:, :, 0], kept[:, :, 1]
        if two_sided:
            low, high = low[..., None], high[..., None, :]
        news, part = grid.flat(low, high), grid.judged(low, high)
        tried, errors = np.concatenate([tried, news], axis=1), np.concatenate([errors, part], axis=1)
        reach /= 4
    return grid.best(tried, errors)


def _taken(pairs: _Floats, places: NDArray[np.intp]) -> _Floats:
    """Pairs, of shape (n, candidates, 2), at some places of each row."""
    return np.take_along_axis(pairs, places[..., None], axis=1)


def _rows(values: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """A value for each histogram, to be broadcast with an array of which each has a row."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


class _Grid:
    """Errors of histograms on the grids of candidates, which are fractions of the two ends of the full ranges."""

    def __init__(self, searches: Sequence[Search], kind: ElementType, symmetric: bool) -> None:
        self._kind, self._symmetric, self._levels = kind, symmetric, (1 << kind.bits) - 1
        self._full = np.array([s.full for s in searches])
        self._exponent = np.array([s.exponent for s in searches])
        h, below, g, j = np.zeros((4, len(searches), BINS + 1))
        for row, search in zip(h, searches, strict=True):
            row[:BINS] = search.counts
        k, some = np.arange(-HALF, HALF + 1) + 0.5, np.empty_like(h)
        self._m0 = h.sum(axis=1)
        self._m1, self._m2 = (np.multiply(h, x, out=some).sum(axis=1) for x in (k, k * k + 1 / 12))
        # each is the sum of what comes before
        np.cumsum(h[:, :-1], axis=1, out=below[:, 1:])
        np.divide(h, 2, out=some)
        some += below
        np.cumsum(some[:, :-1], axis=1, out=g[:, 1:])
        np.multiply(g, 2, out=some)
        some += below
        some += h / 3
        np.cumsum(some[:, :-1], axis=1, out=j[:, 1:])
        self._h, self._below, self._g, self._j = (a.reshape(-1) for a in (h, below, g, j))

    def flat(self, low: _Floats, high: _Floats) -> _Floats:
        """Fractions of the two sides, which are broadcast: of shape (n, candidates, 2)."""
        pairs = np.stack(np.broadcast_arrays(low, high), axis=-1)
        pairs = pairs.reshape(len(pairs), -1, 2)
        return np.broadcast_to(pairs, (len(self._full), *pairs.shape[1:]))

    def judged(self, low: _Floats, high: _Floats) -> _Floats:
        """What a first look says of the errors for fractions of the two sides: of shape (n, candidates)."""
        if self._levels <= _FEW:
            return self.errors(self.flat(low, high))
        powers = _rows(-self._exponent, low)
        least, most = (np.ldexp(_rows(self._full[:, k], low) * part, powers) for k, part in enumerate((low, high)))
        return self._fine((most - least) / self._levels, least, most).reshape(len(self._full), -1)

    def best(self, tried: _Floats, errors: _Floats) -> _Floats:
        """The fractions of least error, of those of shape (n, candidates, 2) that `judged` says this of.

        The first of equals.
        """
        if _FEW < self._levels < _LEVELS:
            near = np.argpartition(errors, min(_NEAR, errors.shape[1] - 1), axis=1)[:, :_NEAR]
            order = np.argsort(np.take_along_axis(errors, near, axis=1), axis=1, kind="stable")
            near = np.take_along_axis(near, order, axis=1)
            # Equal candidates, of which there are many at a range's end, have equal errors: one is enough.
            news = np.diff(np.take_along_axis(errors, near, axis=1), prepend=-1.0, axis=1) > 0
            first = np.argsort(~news, axis=1, kind="stable")[:, :_FINAL]
            # The full range came first, and stays before its equals; it fills rows that have fewer, too.
            best = np.where(np.take_along_axis(news, first, axis=1), np.take_along_axis(near, first, axis=1), 0)
            tried = _taken(tried, np.insert(best, 0, 0, axis=1))
            errors = self.errors(tried)
        return _taken(tried, np.argmin(errors, axis=1)[:, None])[:, 0]

    def errors(self, fractions: _Floats) -> _Floats:
        """Sums of square errors for fractions of shape (n, candidates, 2), in square bins: (n, candidates)."""
        affine, step = self._parameters(fractions)
        points = affine.zero_point.reshape(step.shape)
        least, most = (affine.qmin - points) * step, (affine.qmax - points) * step
        if self._levels >= _LEVELS:
            return self._fine(step, least, most)
        levels = np.arange(affine.qmin, affine.qmax) + 0.5
        size, rows = step.reshape(-1, 1), np.repeat(np.arange(len(step)), step.shape[1])
        count = max(1, _CHUNK // self._levels)
        parts = [slice(start, start + count) for start in range(0, size.size, count)]
        sums = [self._g_at((levels - points.reshape(-1, 1)[p]) * size[p], rows[p]).sum(axis=1) for p in parts]
        return np.asarray(self._above(most) - 2 * step * np.concatenate(sums).reshape(step.shape))

    def _parameters(self, fractions: _Floats) -> tuple[Affine, _Floats]:
        """Parameters of all candidates in a row, and their steps in bins: (n, candidates)."""
        low, high = ((self._full[:, None, side] * fractions[..., side]).reshape(-1) for side in (0, 1))
        affine = affine_from_range(low, high, self._kind, granularity=PerAxis(0), symmetric=self._symmetric)
        step = affine.scale.astype(np.float64).reshape(fractions.shape[:2])
        return affine, np.ldexp(step, -self._exponent[:, None])

    def _fine(self, step: _Floats, least: _Floats, most: _Floats) -> _Floats:
        """Errors where those within a step are even."""
        every = np.arange(len(self._full))
        low, high = self._places(least, every), self._places(most, every)
        inside = self._below_at(*high) - self._below_at(*low)
        return np.asarray(inside * step**2 / 12 + self._j_at(*low) + (self._above(most) - self._j_at(*high)))

    def _above(self, most: _Floats) -> _Floats:
        """The error if all there is were rounded to the greatest level."""
        m0, m1, m2 = (_rows(m, most) for m in (self._m0, self._m1, self._m2))
        return np.asarray(m2 - 2 * most * m1 + most**2 * m0)

    def _places(self, t: _Floats, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], _Floats]:
        """Place of the bin that holds each position, and how far into it; all that is beyond is in the last."""
        part = t + HALF
        np.maximum(part, 0.0, out=part)
        bins = np.minimum(part, BINS).astype(np.intp)
        part -= bins
        bins += _rows(rows * (BINS + 1), bins)
        return bins, part

    def _below_at(self, bins: NDArray[np.intp], f: _Floats) -> _Floats:
        return self._below[bins] + self._h[bins] * f

    def _g_at(self, t: _Floats, rows: NDArray[np.intp]) -> _Floats:
        bins, f = self._places(t, rows)
        found: _Floats = self._h[bins]
        found /= 2
        for higher in (self._below, self._g):
            found *= f
            found += higher[bins]
        return found

    def _j_at(self, bins: NDArray[np.intp], f: _Floats) -> _Floats:
        return self._j[bins] + f * (2 * self._g[bins] + f * (self._below[bins] + f * (self._h[bins] / 3)))

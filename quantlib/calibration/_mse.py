"""The range of least mean square error of a histogram, on the grid that is deployed.

Lengths are in bins. Values of a bin are spread evenly over it: h is a density, constant within each bin. With
``G(t)``, the integral of ``(t - x) h(x)`` over ``x < t``, and the total moments ``m0 m1 m2`` of h, the error of a
grid of step s, greatest level v and decision boundaries b (half a step above each other level) is, by summation by
parts, ``m2 - 2 v m1 + v**2 m0 - 2 s sum(G(b))``: one look-up for each boundary.
"""

from __future__ import annotations

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

#: Boundaries looked up at once: a few arrays of 512 KiB.
_CHUNK = 1 << 16

# Above, a step is narrower than a bin, within which rounding errors are even: their mean square is s**2 / 12.
_LEVELS = 1 << 12


def least_error(
    counts: NDArray[np.int64], exponent: int, full: tuple[float, float], kind: ElementType, symmetric: bool
) -> tuple[float, float]:
    """The range, within a full one that holds zero, of least mean square error.

    Parameters
    ----------
    counts : int64 array of shape (2048,)
        Bin k, at ``k + 1024``, covers ``[k * 2**exponent, (k + 1) * 2**exponent)``.
    exponent : int
    full : (lo, hi)
        Always a candidate, and wins ties.
    kind : ElementType
        An integer type.
    symmetric : bool
        Whether `full` is, and the grid.
    """
    if full[1] - full[0] <= _NARROW:
        return full
    grid = _Grid(counts, exponent, full, kind, symmetric)
    two_sided = not symmetric and full[0] < 0 < full[1]
    per_octave, points = (_STEPS_PER_OCTAVE, 9) if two_sided else (_ONE_SIDED, 17)
    steps = 2.0 ** (-np.arange(_OCTAVES * per_octave + 1) / per_octave)
    low, high = (steps[:, None], steps[None]) if two_sided else (steps, steps)
    tried, errors = _flat(low, high), grid.judged(low, high).ravel()
    reach, part, news = 1 / per_octave, errors, tried
    for _ in range(_ROUNDS):
        best = np.argpartition(part, _KEPT)[:_KEPT]
        near = 2.0 ** (reach * np.linspace(-1, 1, points))
        kept = np.minimum(news[best][..., None] * near, 1.0)
        low, high = (kept[:, 0, :, None], kept[:, 1, None]) if two_sided else (kept[:, 0], kept[:, 1])
        news, part = _flat(low, high), grid.judged(low, high).ravel()
        tried, errors = np.concatenate([tried, news]), np.concatenate([errors, part])
        reach /= 4
    return grid.range(grid.best(tried, errors))


def _flat(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack(np.broadcast_arrays(low, high), axis=-1).reshape(-1, 2)


class _Grid:
    """Errors of a histogram on the grids of some candidates: fractions of the full range's two ends."""

    def __init__(
        self,
        counts: NDArray[np.int64],
        exponent: int,
        full: tuple[float, float],
        kind: ElementType,
        symmetric: bool,
    ) -> None:
        self._full, self._exponent, self._kind, self._symmetric = full, exponent, kind, symmetric
        self._levels = (1 << kind.bits) - 1
        h = np.append(counts, 0).astype(np.float64)
        k = np.arange(-HALF, HALF + 1) + 0.5
        self._h = h
        self._m0, self._m1, self._m2 = h.sum(), (h * k).sum(), (h * (k * k + 1 / 12)).sum()
        self._below = np.append(0.0, np.cumsum(h)[:BINS])
        self._g = np.append(0.0, np.cumsum(self._below + h / 2)[:BINS])
        self._j = np.append(0.0, np.cumsum(2 * self._g + self._below + h / 3)[:BINS])

    def range(self, fractions: NDArray[np.float64]) -> tuple[float, float]:
        """The candidate's range."""
        return self._full[0] * float(fractions[0]), self._full[1] * float(fractions[1])

    def judged(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
        """What a first look says of the errors for fractions of each side, which are broadcast."""
        if self._levels <= _FEW:
            return self.errors(_flat(low, high))
        least, most = (np.ldexp(self._full[side] * part, -self._exponent) for side, part in ((0, low), (1, high)))
        return self._fine((most - least) / self._levels, least, most)

    def best(self, tried: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
        """The fractions of least error, of those of shape (n, 2) that `judged` says this of; the first of equals."""
        if _FEW < self._levels < _LEVELS:
            # Equal candidates, of which there are many at a range's end, have equal errors: one is enough.
            near = np.argpartition(errors, min(_NEAR, errors.size - 1))[:_NEAR]
            near = near[np.argsort(errors[near], kind="stable")]
            best = near[np.diff(errors[near], prepend=-1.0) > 0][:_FINAL]
            # The full range came first, and stays before its equals.
            tried = tried[np.append(0, best)]
            errors = self.errors(tried)
        return np.asarray(tried[int(np.argmin(errors))])

    def errors(self, fractions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of square errors for fractions of shape (n, 2), in square bins."""
        affine, step, least, most = self._parameters(fractions)
        if self._levels >= _LEVELS:
            return self._fine(step, least, most)
        rows = max(1, _CHUNK // self._levels)
        parts = [slice(start, start + rows) for start in range(0, step.size, rows)]
        return np.concatenate([self._exact(affine, step, most, part) for part in parts])

    def _parameters(
        self, fractions: NDArray[np.float64]
    ) -> tuple[Affine, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Parameters of each candidate; its step, least and greatest level in bins."""
        low, high = (self._full[side] * fractions[:, side] for side in (0, 1))
        affine = affine_from_range(low, high, self._kind, granularity=PerAxis(0), symmetric=self._symmetric)
        step = np.ldexp(affine.scale.astype(np.float64), -self._exponent)
        least: NDArray[np.float64] = (affine.qmin - affine.zero_point).astype(np.float64) * step
        most: NDArray[np.float64] = (affine.qmax - affine.zero_point).astype(np.float64) * step
        return affine, step, least, most

    def _exact(
        self, affine: Affine, step: NDArray[np.float64], most: NDArray[np.float64], part: slice
    ) -> NDArray[np.float64]:
        step, most, points = step[part], most[part], affine.zero_point[part]
        t = (np.arange(affine.qmin, affine.qmax) + 0.5 - points[:, None]) * step[:, None]
        sums = self._g_at(*self._places(t)).sum(axis=1)
        return np.asarray(self._m2 - 2 * most * self._m1 + most**2 * self._m0 - 2 * step * sums)

    def _fine(
        self, step: NDArray[np.float64], least: NDArray[np.float64], most: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        (low, low_part), (high, high_part) = self._places(least), self._places(most)
        inside = self._below_at(high, high_part) - self._below_at(low, low_part)
        above = self._m2 - 2 * most * self._m1 + most**2 * self._m0 - self._j_at(high, high_part)
        return np.asarray(inside * step**2 / 12 + self._j_at(low, low_part) + above)

    def _places(self, t: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Index of the bin that holds each position, and how far into it; all that is beyond is in the last."""
        t = np.maximum(t + HALF, 0.0)
        bins = np.minimum(t, BINS).astype(np.intp)
        return bins, t - bins

    def _below_at(self, bins: NDArray[np.intp], f: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._below[bins] + self._h[bins] * f

    def _g_at(self, bins: NDArray[np.intp], f: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._g[bins] + f * (self._below[bins] + f * (self._h[bins] / 2))

    def _j_at(self, bins: NDArray[np.intp], f: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._j[bins] + f * (2 * self._g[bins] + f * (self._below[bins] + f * (self._h[bins] / 3)))

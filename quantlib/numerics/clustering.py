"""k-means: which few numbers stand best for many values.

Weight sharing is what S. Han et al. ("Deep Compression", ICLR 2016) use it for. In one dimension a cluster is an
interval, so that Lloyd's algorithm (S. P. Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28,
1982) needs no look at each value: with values sorted once and their sums at every 64th place, a step for k clusters
costs k searches. Where it ends depends on where it began, and least so after clusters have been regrouped: two
neighbours are joined wherever cutting another cluster in two gains more than that loses.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidValue

from ._arrays import float_array
from ._blocks import cuts

#: Values between two places where sums are kept.
_STRIDE = 64
#: Steps after which k-means ends even if values would still move; they don't after some hundred.
_STEPS = 2000
#: Steps between regroupings, and regroupings at most; hardly any model needs more than ten.
_FEW_STEPS, _MOVES = 20, 100
#: Values among which ``k-means++`` draws, at most; evenly spread over the sorted ones.
_DRAWN = 1 << 20
_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")

_Floats = NDArray[np.float32]
_Doubles = NDArray[np.float64]
_Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """A partition of values into intervals, and the number that stands for each.

    Attributes
    ----------
    centroids : float32 array of shape (k,)
        Ascending, all different.
    starts : float32 array of shape (k - 1,)
        Least value of each cluster but the first.
    """

    centroids: NDArray[np.float32]
    starts: NDArray[np.float32]

    def labels(self, x: ArrayLike) -> NDArray[np.intp]:
        """Cluster of each value: int array of the shape of `x`."""
        return np.searchsorted(self.starts, np.asarray(x, np.float32), side="right")

    def assign(self, x: ArrayLike) -> NDArray[np.float32]:
        """The number that stands for each value: float32 array of the shape of `x`."""
        assigned: NDArray[np.float32] = self.centroids[self.labels(x)]
        return assigned


def cluster_values(
    x: ArrayLike, clusters: int, *, start: str = "density", preserve_zeros: bool = True, seed: int = 0
) -> Clusters:
    """Find clusters of small square error by k-means.

    Always the same for the same multiset of values and the same parameters. The clusters are a local optimum, as
    k-means has them: each value belongs to the nearest centroid, each centroid is the mean of its values.

    Parameters
    ----------
    x : float16, float32 or float64 array of any shape
        Finite values, which are rounded to float32.
    clusters : int
        How many; at least 1.
    start : str
        Where centroids begin: ``linear``, evenly between the least and the greatest value; ``density``, each in the
        middle of equally many values; ``k-means++``, drawn one after the other, each value by its squared distance to
        those drawn before (Arthur and Vassilvitskii, SODA 2007).
    preserve_zeros : bool
        Where a value is zero, let one of the centroids be exactly 0: zeros stay zeros.
    seed : int
        Of the generator for ``k-means++``.

    Returns
    -------
    Clusters
        As many as asked for, each with a value; fewer where `x` has fewer different values, which are then the
        centroids.

    Raises
    ------
    InvalidValue
        If `x` isn't float or has a value that isn't finite, `clusters` is less than 1, or there is no such start.

    Examples
    --------
    >>> found = cluster_values([0.0, 0.1, 0.2, 0.9, 1.1, 3.0], 3)
    >>> print(found.centroids, found.assign([0.1, 1.2, -5.0]))
    [0. 1. 3.] [0. 1. 0.]
    >>> print(cluster_values([0.0, 0.1, 0.2, 0.9, 1.1, 3.0], 3, preserve_zeros=False).centroids)
    [0.1 1.  3. ]
    """
    if clusters < 1:
        raise InvalidValue(f"{clusters} clusters asked for; 1 or more are required")
    if start not in STARTS:
        raise InvalidValue(f"start is {start!r}; one of {', '.join(STARTS)} is required")
    with np.errstate(over="ignore"):
        values = np.sort(float_array(x).reshape(-1).astype(np.float32, copy=False))
    values += np.float32(0)  # of -0 and 0 either might come first
    if values.size and not (np.isfinite(values[0]) and np.isfinite(values[-1])):
        raise InvalidValue("a value isn't finite in float32; remove or replace it")
    distinct = _distinct(values, clusters)
    if distinct.size <= clusters:
        return Clusters(distinct, distinct[1:])
    return _Lloyd(values, clusters, preserve_zeros).run(start, seed)


def _distinct(values: _Floats, most: int) -> _Floats:
    """Different values of a sorted array; one more than `most` where there are more."""
    found, count = [values[:1]], min(values.size, 1)
    for cut in cuts(values.size):
        piece = values[max(cut.start - 1, 0) : cut.stop]
        found.append(piece[1:][piece[1:] != piece[:-1]])
        count += found[-1].size
        if count > most:
            break
    return np.concatenate(found)[: most + 1]


class _Sums:
    """Sums and sums of squares of sorted values up to any place."""

    def __init__(self, values: _Floats) -> None:
        self.values = values
        whole = values[: values.size - values.size % _STRIDE].reshape(-1, _STRIDE)
        self._first, self._second = np.zeros(len(whole) + 1), np.zeros(len(whole) + 1)
        np.cumsum(whole.sum(axis=1, dtype=np.float64), out=self._first[1:])
        np.cumsum(np.einsum("ij,ij->i", whole, whole, dtype=np.float64), out=self._second[1:])

    def between(self, edges: _Indices) -> tuple[_Indices, _Doubles, _Doubles]:
        """Count, sum and sum of squares of the values between each place and the next."""
        block, rest = np.divmod(edges, _STRIDE)
        within = np.arange(_STRIDE)
        at = np.minimum(block[:, None] * _STRIDE + within, self.values.size - 1)
        few = np.where(within < rest[:, None], self.values[at].astype(np.float64), 0.0)
        first = self._first[block] + few.sum(axis=1)
        second = self._second[block] + np.einsum("ij,ij->i", few, few)
        return np.diff(edges), np.diff(first), np.diff(second)


class _Lloyd:
    """k-means of sorted values, of which more are different than there are clusters.

    A partition is the array of the places where clusters begin, and the number of values at its end.
    """

    def __init__(self, values: _Floats, clusters: int, preserve_zeros: bool) -> None:
        self.values, self.clusters, self.sums = values, clusters, _Sums(values)
        low, high = (int(np.searchsorted(values, np.float32(0), side)) for side in _SIDES)
        self.zeros = (low, high) if preserve_zeros and low < high else None

    def run(self, start: str, seed: int) -> Clusters:
        """Move centroids until no value changes its cluster, and clusters that are of more use elsewhere."""
        edges = self._moved(self._filled(self._nearest(self._begin(start, seed))), _FEW_STEPS)
        for _ in range(_MOVES):
            other = self._moved(self._regrouped(edges), _FEW_STEPS)
            if not self._errors(other).sum() < self._errors(edges).sum():
                break
            edges = other
        edges = self._moved(edges, _STEPS)
        return Clusters(self._centers(edges).astype(np.float32) + np.float32(0), self.values[edges[1:-1]])

    def _moved(self, edges: _Indices, steps: int) -> _Indices:
        """Some steps of Lloyd's."""
        for _ in range(steps):
            before, edges = edges, self._filled(self._nearest(self._centers(edges)))
            if np.array_equal(before, edges):
                break
        return edges

    def _regrouped(self, edges: _Indices) -> _Indices:
        """Join neighbours wherever cutting another cluster in two gains more than that loses."""
        alone, joined = self._errors(edges), self._errors_of_pairs(edges)
        cuts = self._cuts(edges)
        halves = self._errors(np.sort(np.concatenate([edges, cuts]))).reshape(-1, 2).sum(axis=1)
        loss, gain = joined - alone[:-1] - alone[1:], alone - halves
        best, used, gone, new = np.argsort(-gain, kind="stable").tolist(), set[int](), [], []
        for i in np.argsort(loss, kind="stable").tolist():
            if used & {i, i + 1}:
                continue
            j = next((j for j in best if j not in used and j not in (i, i + 1)), i)
            if not gain[j] > loss[i] or j == i:
                break
            used |= {i, i + 1, j}
            gone.append(i + 1)
            new.append(cuts[j])
        return np.sort(np.concatenate([np.delete(edges, gone), np.array(new, np.intp)]))

    def _begin(self, start: str, seed: int) -> _Doubles:
        """The first centroids; that of the zeros is among them without a choice."""
        if self.zeros is None:
            return np.unique(STARTS[start](self.values, self.clusters, (), seed))
        low, high = self.zeros
        rest = np.concatenate([self.values[:low], self.values[high:]])
        return np.unique(np.append(STARTS[start](rest, self.clusters - 1, (0.0,), seed), 0.0))

    def _nearest(self, centers: _Doubles) -> _Indices:
        """Partition by the nearest centroid; clusters may be empty."""
        middles = ((centers[:-1] + centers[1:]) / 2).astype(np.float32)
        inner = np.searchsorted(self.values, middles, "right")
        if self.zeros is not None:  # whatever rounding did to the middles beside 0
            at = int(np.searchsorted(centers, 0.0))
            inner[:at] = np.minimum(inner[:at], self.zeros[0])
            inner[at:] = np.maximum(inner[at:], self.zeros[1])
        return np.concatenate([[0], inner, [self.values.size]])

    def _centers(self, edges: _Indices) -> _Doubles:
        """Mean of each cluster; 0 for that of the zeros, and for an empty one."""
        count, total, _ = self.sums.between(edges)
        last = self.values[np.maximum(edges[1:], 1) - 1]
        first = self.values[np.minimum(edges[:-1], self.values.size - 1)]
        centers = np.clip(total / np.maximum(count, 1), first, np.maximum(first, last))
        if self.zeros is not None:
            at = int(np.searchsorted(edges, self.zeros[0], "right")) - 1
            if 0 <= at < centers.size:
                centers[at] = 0.0
        return centers

    def _errors(self, edges: _Indices) -> _Doubles:
        """Summed square error of each cluster."""
        (count, total, squares), centers = self.sums.between(edges), self._centers(edges)
        errors: _Doubles = np.maximum(squares - 2 * centers * total + centers * centers * count, 0)
        return errors

    def _errors_of_pairs(self, edges: _Indices) -> _Doubles:
        """Those of two neighbours each, as one cluster."""
        errors = np.empty(edges.size - 2)
        for first in (0, 1):
            errors[first::2] = self._errors(edges[first::2])
        return errors

    def _filled(self, edges: _Indices) -> _Indices:
        """A partition into as many clusters as wanted: for each empty one, the one of most error is cut in two."""
        edges = np.unique(edges)
        if edges.size > self.clusters:
            return edges
        found, heap = edges.tolist(), self._mixed(edges)
        heapq.heapify(heap)
        while len(found) <= self.clusters:
            _, low, high = heapq.heappop(heap)
            found.append(int(self._cuts(np.array([low, high]))[0]))
            for entry in self._mixed(np.array([low, found[-1], high])):
                heapq.heappush(heap, entry)
        return np.sort(np.array(found, np.intp))

    def _mixed(self, edges: _Indices) -> list[tuple[float, int, int]]:
        """Clusters with different values: their errors, negative, and where they begin and end."""
        parts = zip(self._errors(edges).tolist(), *(e.tolist() for e in (edges[:-1], edges[1:])), strict=True)
        return [(-e, low, high) for e, low, high in parts if self.values[low] != self.values[high - 1]]

    def _cuts(self, edges: _Indices) -> _Indices:
        """Where each cluster is cut: at its mean, or beside its zeros; where it begins if all values are alike."""
        lows, highs = edges[:-1], edges[1:]
        cuts = np.searchsorted(self.values, self._centers(edges).astype(np.float32), "right")
        cuts = np.where(cuts < highs, cuts, np.searchsorted(self.values, self.values[highs - 1], "left"))
        if self.zeros is not None:
            at = int(np.searchsorted(edges, self.zeros[0], "right")) - 1
            if 0 <= at < cuts.size and (lows[at], highs[at]) != self.zeros:
                _, _, (left, _, right) = self.sums.between(np.array([lows[at], *self.zeros, highs[at]]))
                cuts[at] = self.zeros[0] if left > right or self.zeros[1] == highs[at] else self.zeros[1]
        return cuts


def _linear(values: _Floats, count: int, known: tuple[float, ...], seed: int) -> _Doubles:
    """Evenly between the least and the greatest value."""
    low, high = float(values[0]), float(values[-1])
    return np.linspace(low, high, count) if count > 1 else np.full(count, (low + high) / 2)


def _density(values: _Floats, count: int, known: tuple[float, ...], seed: int) -> _Doubles:
    """In the middle of equally many values."""
    places = ((np.arange(count) + 0.5) / max(count, 1) * values.size).astype(np.intp)
    return values[places].astype(np.float64)


def _plus_plus(values: _Floats, count: int, known: tuple[float, ...], seed: int) -> _Doubles:
    """Drawn one after the other, by the squared distance to those that are drawn or known."""
    some = values[:: -(-values.size // _DRAWN)].astype(np.float64)
    rng, found = np.random.Generator(np.random.PCG64(seed)), list(known)
    distance = np.min([(some - f) ** 2 for f in found], axis=0) if found else np.ones(some.size)
    while len(found) < count + len(known):
        heights = np.cumsum(distance)
        if not heights[-1] > 0:
            break
        at = int(np.searchsorted(heights, rng.random() * heights[-1], "right"))
        found.append(float(some[min(at, some.size - 1)]))
        further = (some - found[-1]) ** 2
        distance = further if len(found) == 1 else np.minimum(distance, further)
    return np.array(found)


#: Where centroids begin, by name.
STARTS: Mapping[str, Callable[[_Floats, int, tuple[float, ...], int], _Doubles]] = MappingProxyType(
    {"linear": _linear, "density": _density, "k-means++": _plus_plus}
)

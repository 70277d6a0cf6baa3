"""Clusters of integers: of few different values the best partition of all can be found."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidValue

_Doubles = NDArray[np.float64]


def cluster_integers(
    integers: ArrayLike,
    clusters: int,
    *,
    weights: ArrayLike,
    means: ArrayLike | None = None,
    fixed: Collection[int] = (),
) -> NDArray[np.int64]:
    """Find the clusters of integers that have the smallest square error of all.

    Values on a grid, of which there are few different ones: a cluster's centroid is an integer, too. The best of all
    partitions is found by dynamic programming (W. D. Fisher, "On grouping for maximum homogeneity", J. Am. Stat.
    Assoc. 53, 1958).

    Parameters
    ----------
    integers : int array of shape (n,)
        Ascending; n up to some hundred.
    clusters : int
        How many; at least 1, and as many as there are fixed ones among the integers.
    weights : float array of shape (n,)
        What the values at each integer count; 0 or more.
    means : float array of shape (n,), optional
        Their means, where they were rounded to the integers.
    fixed : collection of int
        Those that stay as they are, where they are among the integers.

    Returns
    -------
    int64 array of shape (n,)
        What stands for each integer: as many different ones as clusters were asked for, or n where that is less.

    Raises
    ------
    InvalidValue
        If shapes don't agree, integers don't ascend, a weight is negative, or there are too few clusters.

    Examples
    --------
    >>> cluster_integers([0, 1, 2, 60, 127], 3, weights=[50, 9, 1, 2, 1])
    array([  0,   0,   0,  60, 127])
    >>> cluster_integers([0, 1, 2, 60, 127], 2, weights=[0, 9, 1, 2, 1], fixed={0})
    array([ 0,  0,  0, 82, 82])
    """
    at = np.asarray(integers, np.int64)
    weight, mean = np.asarray(weights, np.float64), np.asarray(at if means is None else means, np.float64)
    if at.ndim != 1 or weight.shape != at.shape or mean.shape != at.shape:
        raise InvalidValue(
            f"{at.shape} integers, {weight.shape} weights and {mean.shape} means; as many are required"
        )
    if (np.diff(at) <= 0).any() or (weight < 0).any():
        raise InvalidValue("integers don't ascend, or a weight is negative; sort them, and leave no one twice")
    stays = np.isin(at, list(fixed))
    if clusters < max(int(stays.sum()), 1):
        raise InvalidValue(
            f"{clusters} clusters for {int(stays.sum())} fixed integers; as many are required, and one"
        )
    if at.size <= clusters:
        return at.copy()
    centers, cost = _grouped(at, weight, mean, stays)
    total, steps = cost[0], []
    for _ in range(clusters - 1):
        sums = total[:, None] + cost
        steps.append(sums.argmin(axis=0))
        total = sums[steps[-1], np.arange(at.size + 1)]
    found, stop = np.empty(at.size, np.int64), at.size
    for step in (*reversed(steps), np.zeros(at.size + 1, np.intp)):
        first = int(step[stop])
        found[first:stop], stop = centers[first, stop], first
    return found


def _grouped(
    at: NDArray[np.int64], weight: _Doubles, mean: _Doubles, stays: NDArray[np.bool_]
) -> tuple[_Doubles, _Doubles]:
    """Centroid and error of each group of neighbours, of the integers ``i:j`` at [i, j]; infinite where none is."""

    def sums(values: NDArray[Any]) -> _Doubles:
        before = np.concatenate([[0.0], np.cumsum(values)])
        between: _Doubles = before[None, :] - before[:, None]
        return between

    whole, first, second = sums(weight), sums(weight * mean), sums(weight * mean * mean)
    count = sums(stays)
    ends = np.arange(at.size + 1)
    low, high = np.append(at, at[-1])[:, None], np.append(at[0], at)[None, :]
    free = np.divide(first, whole, out=np.broadcast_to(low, whole.shape).astype(np.float64), where=whole > 0)
    centers = np.where(count == 1, sums(np.where(stays, at, 0)), np.clip(np.rint(free), low, np.maximum(low, high)))
    cost = np.maximum(second - 2 * centers * first + centers * centers * whole, 0)
    cost[(ends[:, None] >= ends[None, :]) | (count > 1)] = np.inf
    return centers, cost

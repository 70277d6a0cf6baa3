"""k-means: as many clusters as asked for, each value in the nearest, zeros kept; the best clusters of integers."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.numerics import cluster_integers, cluster_values
from tests.support.examples import examples

STARTS = ("density", "linear", "k-means++")

any_start = st.sampled_from(STARTS)
floats = st.floats(-8, 8, width=32) | st.sampled_from([0.0, -0.0, 0.125, -0.125, 1.0, 1.0000001, 1e-40, -3e38, 3e38])
values = st.lists(floats, min_size=1, max_size=150).map(lambda v: np.array(v, np.float32))


def partitions(count, groups):
    """Every way to cut so many things in a row into groups."""
    for cuts in combinations(range(1, count), groups - 1):
        yield tuple(pairwise((0, *cuts, count)))


def square_error(x, found):
    return float(np.square(found.assign(x).astype(np.float64) - x).sum())


def least_error(x, k):
    """Of any k clusters, by dynamic programming over the sorted values."""
    x = np.sort(x.astype(np.float64))
    ends = np.arange(x.size + 1)
    count = np.maximum(ends - ends[:, None], 1)
    sums, squares = (np.concatenate([[0], np.cumsum(x**power)]) for power in (1, 2))
    cost = squares - squares[:, None] - np.square(sums - sums[:, None]) / count
    cost[ends <= ends[:, None]] = np.inf
    total = cost[0]
    for _ in range(k - 1):
        total = (total[:, None] + cost).min(axis=0)
    return total[-1]


@given(values, st.integers(1, 40), any_start, st.booleans(), st.integers(0, 3))
@examples(300)
def test_there_are_as_many_clusters_as_asked_for(x, k, start, preserve, seed):
    found = cluster_values(x, k, start=start, preserve_zeros=preserve, seed=seed)
    distinct = np.unique(x)
    assert found.centroids.dtype == found.starts.dtype == np.float32
    assert found.centroids.size == found.starts.size + 1 == min(k, distinct.size)
    assert (found.centroids[1:] > found.centroids[:-1]).all()
    assert set(found.labels(x).tolist()) == set(range(found.centroids.size))
    np.testing.assert_array_equal(np.unique(found.assign(x)), found.centroids)
    assert not np.signbit(found.centroids[found.centroids == 0]).any()
    if distinct.size <= k:
        np.testing.assert_array_equal(found.assign(x), x)
    elif preserve and 0 in x:
        assert not found.assign(x)[x == 0].any()


@given(values, st.integers(1, 12), any_start, st.booleans())
@examples(200)
def test_centroids_are_means_and_the_nearest(x, k, start, preserve):
    found = cluster_values(x, k, start=start, preserve_zeros=preserve)
    labels, exact = found.labels(x), x.astype(np.float64)
    largest = np.abs(exact).max()
    for c, center in enumerate(found.centroids):
        mine = exact[labels == c]
        zeros = preserve and (mine == 0).any()
        assert center == pytest.approx(0 if zeros else mine.mean(), rel=1e-6, abs=max(1e-12 * largest, 1.5e-45))
    distances = np.abs(exact[:, None] - found.centroids)
    np.testing.assert_allclose(
        distances[np.arange(x.size), labels], distances.min(axis=1), rtol=0, atol=1e-6 * largest
    )


@given(values, st.integers(1, 12), any_start, st.randoms(use_true_random=False))
@examples(50)
def test_only_the_multiset_counts(x, k, start, shuffler):
    order = list(range(x.size))
    shuffler.shuffle(order)
    first, second = cluster_values(x, k, start=start), cluster_values(x[order].reshape(-1, 1), k, start=start)
    assert first.centroids.tobytes() == second.centroids.tobytes()
    assert first.starts.tobytes() == second.starts.tobytes()


@pytest.mark.parametrize("start", STARTS)
def test_the_error_is_near_the_least(start):
    rng, ratios = np.random.default_rng(3), []
    for power in (1, 3) * 20:
        x, k = (rng.standard_normal(120) ** power).astype(np.float32), int(rng.integers(6, 20))
        found = cluster_values(x, k, start=start, preserve_zeros=False)
        ratios.append(square_error(x, found) / least_error(x, k))
    assert min(ratios) > 1 - 1e-6  # nothing is below the least
    assert np.mean(ratios) < 1.12  # where clusters are never regrouped it is 1.2 and more


def test_many_values_are_as_few():
    x = np.repeat(np.random.default_rng(0).standard_normal(500).astype(np.float32), 300)
    many, few = cluster_values(x, 16), cluster_values(x[::300], 16)
    np.testing.assert_allclose(many.centroids, few.centroids, rtol=1e-6)


def test_starts_are_what_they_are_called():
    # far apart pairs, so that every start stays where it began
    x = np.array([-9, -8, 0.5, 1, 2, 3, 40, 41], np.float32)
    for start in STARTS:
        assert square_error(x, cluster_values(x, 3, start=start)) == pytest.approx(least_error(x, 3))
    drawn = {cluster_values(np.arange(64, dtype=np.float32) ** 1.5, 5, start="k-means++", seed=s).starts.tobytes()
             for s in range(8)}  # fmt: skip
    assert len(drawn) > 1


def test_pruned_values_leave_all_other_clusters_to_what_is_not_zero():
    x = np.random.default_rng(1).standard_normal(4000).astype(np.float32)
    x[np.abs(x) < 1] = 0
    found = cluster_values(x, 8)
    assert (found.assign(x) == 0).sum() == (x == 0).sum()
    assert square_error(x, found) < 0.4 * square_error(x, cluster_values(x, 4))


def test_half_floats_stay_apart():
    x = np.array([1, 1 + 2**-10, 1 + 2**-9, 2], np.float16)
    found = cluster_values(x, 3).centroids.astype(np.float16)
    assert np.unique(found).size == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, np.nan], 2), "isn't finite"),
        (([1.0, -np.inf], 2), "isn't finite"),
        ((np.array([1e39]), 2), "isn't finite"),
        (([1, 2], 2), "is not float"),
        (([1.0, 2.0], 0), "0 clusters asked for; 1 or more"),
    ],
)
def test_what_has_no_clusters_is_refused(arguments, message):
    with pytest.raises(InvalidValue, match=message):
        cluster_values(*arguments)


def test_an_unknown_start_is_refused():
    with pytest.raises(InvalidValue, match="start is 'best'; one of linear, density, k-means"):
        cluster_values([1.0], 1, start="best")


def test_nothing_has_no_clusters():
    found = cluster_values(np.zeros((0, 3), np.float32), 4)
    assert found.centroids.size == 0
    assert found.starts.size == 0


@given(
    st.lists(st.integers(-12, 12), unique=True, min_size=1, max_size=7).map(sorted),
    st.integers(1, 7),
    st.data(),
)
@examples(150)
def test_clusters_of_integers_are_the_best_there_are(integers, k, data):
    at = np.array(integers)
    weights = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=at.size, max_size=at.size)))
    means = at + np.array(data.draw(st.lists(st.sampled_from([-0.4, 0.0, 0.3]), min_size=at.size, max_size=at.size)))
    fixed = set(data.draw(st.lists(st.sampled_from(integers), max_size=k, unique=True)))

    def error(found):
        return float((weights * np.square(found - means)).sum())

    found = cluster_integers(at, k, weights=weights, means=means, fixed=fixed)
    assert np.unique(found).size == min(k, at.size)
    assert all(found[at == f] == f for f in fixed)
    if at.size <= k:
        np.testing.assert_array_equal(found, at)
        return
    best = np.inf
    for parts in partitions(at.size, k):
        total = 0.0
        for first, last in parts:
            stays = fixed & set(integers[first:last])
            choices = stays or range(integers[first], integers[last - 1] + 1)
            costs = [float((weights[first:last] * np.square(c - means[first:last])).sum()) for c in choices]
            total += min(costs) if len(stays) < 2 else np.inf
        best = min(best, total)
    assert error(found) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"integers": [2, 1]}, "don't ascend"),
        ({"integers": [1, 1]}, "don't ascend"),
        ({"weights": [1.0, -1.0]}, "a weight is negative"),
        ({"weights": [1.0]}, "as many are required"),
        ({"means": [1.0]}, "as many are required"),
        ({"clusters": 0}, "0 clusters for 0 fixed integers"),
        ({"clusters": 1, "fixed": {1, 2}}, "1 clusters for 2 fixed integers"),
    ],
)
def test_integers_that_have_no_clusters_are_refused(given, message):
    with pytest.raises(InvalidValue, match=message):
        cluster_integers(**{"integers": [1, 2], "clusters": 2, "weights": [1.0, 1.0], **given})

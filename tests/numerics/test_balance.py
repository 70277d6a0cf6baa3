"""Balanced rounding: never further than a step, never worse than nearest, and as good as moving one by one can be."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import example, given, reject
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, PerAxis, PerBlock, PerTensor, element_type, quantize, quantize_balanced
from tests.support.examples import examples

#: Neighbours in a window share half of their variance too, as the module says.
WINDOW = 0.5
TYPES = ("INT8", "INT4", "UINT8", "INT16")


def errors(w, q, affine):
    """What is left of each weight, in steps, as the library's float32 arithmetic sees it."""
    columns = (-1,) + (1,) * (w.ndim - 1)
    left = w * (np.float32(1) / affine.scale).reshape(columns)
    points = affine.zero_point.astype(np.float32).reshape(columns)
    left += points
    left -= q
    farthest = max(abs(affine.qmin), affine.qmax) + np.abs(points).max()
    left[np.abs(left) <= np.float32(farthest) * np.float32(2.0**-22)] = 0  # on the grid
    return left


def objective(left, mean, variance):
    """Expected squared error of a row's output."""
    left = np.asarray(left, np.float64)
    return (mean * left).sum() ** 2 + (variance * np.square(left)).sum()


def unit(w, mean, variance):
    """Moments of each weight as the library's arithmetic sees them: float32, in a unit that makes the largest 1."""
    m, v = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    by = max(np.abs(m).max(initial=0), np.sqrt(v.max(initial=0))) or 1.0
    m, v = (m / by).astype(np.float32), np.maximum(v / by / by, 1e-6).astype(np.float32)
    return np.broadcast_to(m, w.shape), np.broadcast_to(v, w.shape)


def shared(mean, variance):
    c = np.float32(WINDOW)
    return np.sqrt(mean * mean + c * variance), (1 - c) * variance


class EitherWay(Exception):
    """Moving a weight is as good as not: the last place of a float decides."""


def moved(q, left, qmin, qmax, mean, variance):
    """One row, moved one weight at a time: the cheapest for its mean, each if it helps."""
    q, left = [int(v) for v in q], np.array(left, np.float32)
    total = float((left * mean).sum(dtype=np.float64))
    way, rest = (-1 if total < 0 else 1), abs(total)
    towards = [way * (-1 if m < 0 else 1) for m in mean]
    size = np.abs(mean)
    free = [
        i for i in range(len(q))
        if size[i] > 0 and q[i] != (qmax if towards[i] > 0 else qmin) and left[i] * towards[i] > 0
    ]  # fmt: skip
    price = {i: (1 - 2 * left[i] * np.float32(towards[i])) * (variance[i] / size[i]) for i in free}
    for i in sorted(free, key=lambda i: price[i]):  # the first of equals first
        if abs(price[i] + size[i] - 2 * rest) <= 1e-5 * rest:
            raise EitherWay
        if price[i] + size[i] < 2 * rest:
            q[i] += towards[i]
            left[i] -= np.float32(towards[i])
            rest -= float(size[i])
    return q, left


def plain(w, affine, mean, variance):
    """`quantize_balanced` in loops."""
    w = np.asarray(w, np.float32)
    q = quantize(w, affine).astype(np.int64)
    left = errors(w, q.astype(np.float32), affine)
    m, v = unit(w, mean, variance)
    ends = affine.qmin, affine.qmax
    if w.ndim == 4 and w.shape[1] * w.shape[2] > 1 and w.shape[3] > 1:
        for c, i in product(range(w.shape[0]), range(w.shape[3])):
            at = np.s_[c, :, :, i]
            row, rest = moved(q[at].ravel(), left[at].ravel(), *ends, *shared(m[at].ravel(), v[at].ravel()))
            q[at], left[at] = (np.reshape(a, w.shape[1:3]) for a in (row, rest))
    if w.ndim == 4 and w.shape[3] == 1:
        m, v = shared(m, v)
    for c in range(w.shape[0]):
        row, _ = moved(q[c].ravel(), left[c].ravel(), *ends, m[c].ravel(), v[c].ravel())
        q[c] = np.reshape(row, w.shape[1:])
    return q.astype(affine.type.storage)


SMALL = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)
LONG = st.tuples(st.integers(1, 4), st.integers(60, 400))
WINDOWS = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 12))
ROWS = st.tuples(st.integers(1, 4), st.integers(1, 200))
SHORT = st.tuples(st.integers(1, 4), st.integers(1, 64))


@st.composite
def cases(draw, shapes=SMALL):
    """Weights, parameters of which some clip, and mean and variance of their inputs."""
    shape = draw(shapes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = element_type(draw(st.sampled_from(TYPES)))
    channels = draw(st.sampled_from([1, shape[0]]))
    half = 2 ** (kind.bits - 1)
    clip = draw(st.sampled_from([1.0, 0.9, 0.3]))  # a range that clips weights, as `mse` chooses
    scale = rng.uniform(0.5, 2.0, channels).astype(np.float32) / half * clip
    least, greatest = int(kind.min), int(kind.max)
    points = rng.integers(least, greatest + 1, channels) if kind.kind == "uint" else np.zeros(channels, np.int64)
    granularity = PerAxis(0) if channels > 1 else PerTensor()
    affine = Affine(kind, scale, points, granularity, narrow_range=kind.kind == "int" and draw(st.booleans()))
    w = rng.uniform(-1, 1, shape) if draw(st.booleans()) else rng.normal(draw(st.floats(-1, 1)), 0.3, shape)
    if draw(st.booleans()):  # few different values: ties, and errors that aren't spread evenly
        w = np.round(w * 4) / 4
    return w.astype(np.float32), affine, *moments(draw, shape, rng)


def moments(draw, shape, rng):
    """Mean and variance: one for all, or for each input; for a depthwise filter, for each of its windows."""
    ratio = draw(st.sampled_from([0.0, 1e-3, 0.1, 0.7, 5.0, 100.0]))
    sizes = {"one": (), "each": shape[-1:] if len(shape) < 4 or shape[3] > 1 else (shape[0], 1, 1, 1)}
    size = sizes[draw(st.sampled_from(["one", "each"]))]
    mean, variance = rng.normal(draw(st.sampled_from([0, 1, -3])), 1, size), np.exp(rng.normal(0, 1, size))
    if size and draw(st.booleans()):
        mean = mean * (rng.uniform(size=size) < 0.6)  # inputs that are always 0 on average
    if not size:
        mean, variance = draw(st.sampled_from([1.0, -1.0])), 1.0
    return mean * np.sqrt(ratio), variance


@examples(100)
@given(cases() | cases(SHORT) | cases(WINDOWS.filter(lambda s: s[1] * s[2] * s[3] <= 64)))
def test_it_does_what_moving_one_by_one_does(case):
    w, affine, mean, variance = case
    try:
        expected = plain(w, affine, mean, variance)
    except EitherWay:
        reject()
    found = quantize_balanced(w, affine, mean=mean, variance=variance)
    assert (found.dtype, found.shape) == (affine.type.storage, w.shape)
    np.testing.assert_array_equal(found, expected)


@examples(100)
@given(cases(LONG) | cases(WINDOWS))
def test_long_rows_end_as_near(case):
    """They needn't look at every weight: what an average mean could still take may stay."""
    w, affine, mean, variance = case
    try:
        q = {"plain": plain(w, affine, mean, variance)}
    except EitherWay:
        reject()
    q["found"] = quantize_balanced(w, affine, mean=mean, variance=variance)
    m, v = unit(w, mean, variance)
    if w.ndim == 4 and w.shape[3] == 1:
        m, v = shared(m, v)
    for row in range(len(w)):
        size, ratio = np.abs(m[row].ravel()), v[row].ravel()
        gain = size * size / ratio
        average = (gain * size).sum() / max(gain.sum(), 1e-6)
        error = {k: objective(errors(w, a.astype(np.float32), affine)[row], m[row], v[row]) for k, a in q.items()}
        assert error["found"] <= error["plain"] * 1.05 + average**2 + 1e-6


@pytest.mark.parametrize("length", [64, 65, 1000])
@pytest.mark.parametrize("value", [0.2, -0.2, 0.45, 0.05])
@pytest.mark.parametrize("mean", [10.0, -10.0])
def test_rows_of_equal_weights_keep_their_sum_at_every_length(length, value, mean):
    w, affine = np.full((2, length), value, np.float32), Affine("INT8", 1.0)
    found = quantize_balanced(w, affine, mean=mean, variance=1.0)
    assert np.abs(found.sum(axis=1) - value * length).max() <= 0.5
    np.testing.assert_array_equal(found, plain(w, affine, mean, 1.0))


@pytest.mark.parametrize("length", [40, 4000])
def test_what_means_take_is_nearly_nothing(length):
    """The sum that a mean meets shrinks to less than one step of a typical input, whatever the means are."""
    rng = np.random.default_rng(1)
    w, affine = rng.normal(0, 20, (50, length)).astype(np.float32), Affine("INT8", 1.0)
    mean, variance = rng.normal(0.5, 1, length), rng.uniform(0.1, 0.3, length)
    nearest, found = (
        w - q for q in (quantize(w, affine), quantize_balanced(w, affine, mean=mean, variance=variance))
    )
    assert np.abs(found @ mean).mean() < 0.15 * np.abs(nearest @ mean).mean()
    assert np.square(found).mean() < 1.6 * np.square(nearest).mean()


def test_what_moved_for_its_window_may_move_back_for_its_row():
    """Even where the row's sum is too small to pay for a move by itself."""
    w = np.array([[-0.4926, -0.0387, -0.3998], [0.2611, 0.1016, -0.2437]], np.float32).T.reshape(1, 1, 3, 2)
    affine, inputs = Affine("INT8", 1.0), {"mean": 0.0316, "variance": 1.0}
    found = quantize_balanced(w, affine, **inputs)
    np.testing.assert_array_equal(found, plain(w, affine, **inputs))
    assert not found.any()
    assert quantize_balanced(w[..., :1], affine, **inputs).any()


def test_inputs_that_vary_least_move_first():
    w, affine = np.array([[0.4, 0.4, 0.4]], np.float32), Affine("INT8", 1.0)
    for cheap in range(3):
        variance = np.where(np.arange(3) == cheap, 0.1, 0.5)
        assert quantize_balanced(w, affine, mean=1.0, variance=variance).tolist() == [np.eye(3)[cheap].tolist()]
    mean = [1.0, 1.0, -1.0]  # which takes back what one of the others gives
    assert not quantize_balanced(w, affine, mean=mean, variance=0.5).any()


@examples(100)
@given(cases() | cases(LONG) | cases(WINDOWS))
def test_no_weight_is_more_than_a_step_from_its_nearest_nor_out_of_range(case):
    w, affine, mean, variance = case
    nearest, found = (
        q.astype(np.int64) for q in (quantize(w, affine), quantize_balanced(w, affine, mean=mean, variance=variance))
    )
    assert np.abs(found - nearest).max(initial=0) <= 1
    assert affine.qmin <= found.min(initial=affine.qmax)
    assert found.max(initial=affine.qmin) <= affine.qmax
    clipped = np.abs(errors(w, nearest.astype(np.float32), affine)) > 0.501
    np.testing.assert_array_equal(found[clipped], nearest[clipped])


@examples(100)
@given(cases(ROWS))
def test_the_error_of_a_row_never_rises(case):
    w, affine, mean, variance = case
    nearest, found = quantize(w, affine), quantize_balanced(w, affine, mean=mean, variance=variance)
    m, v = unit(w, mean, variance)
    for row in range(len(w)):
        before, after = (
            objective(errors(w, q.astype(np.float32), affine)[row], m[row], v[row]) for q in (nearest, found)
        )
        assert after <= before * (1 + 1e-5) + 1e-9


@examples(100)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=7), st.sampled_from([0.05, 0.3, 1.0, 20.0]))
@example([20, 20, 20, 20, 20], 1.0)
@example([50, 50, -50], 20.0)
def test_no_set_of_moves_is_better(hundredths, common):
    """Against every choice of weights to round the other way, each towards where it lies."""
    w, affine = np.array([hundredths], np.float32) / 100 + 3, Affine("INT8", 1.0)
    left = errors(w, quantize(w, affine).astype(np.float32), affine)[0].astype(np.float64)
    way = -1.0 if left.sum() < 0 else 1.0
    towards = [i for i, m in enumerate(left * way) if m > 0]
    best = min(
        objective(left - way * np.isin(np.arange(len(left)), chosen), np.sqrt(common), 1.0)
        for count in range(len(towards) + 1)
        for chosen in combinations(towards, count)
    )
    found = errors(w, quantize_balanced(w, affine, mean=np.sqrt(common), variance=1.0).astype(np.float32), affine)[0]
    assert objective(found, np.sqrt(common), 1.0) == pytest.approx(best, rel=1e-5, abs=1e-5)


@examples(100)
@given(cases(ROWS))
def test_nothing_in_common_is_rounding_to_nearest(case):
    w, affine, _, variance = case
    np.testing.assert_array_equal(quantize_balanced(w, affine, mean=0.0, variance=variance), quantize(w, affine))


def test_windows_balance_without_anything_in_common_too():
    """Neighbours share variance: nine weights of 0.3 each are three."""
    w = np.full((1, 3, 3, 2), 0.3, np.float32)
    found = quantize_balanced(w, Affine("INT8", 1.0), mean=0.0, variance=1.0)
    np.testing.assert_array_equal(found.sum(axis=(1, 2)), [[3, 3]])  # 2.7 each
    one = quantize_balanced(w[..., :1], Affine("INT8", 1.0), mean=0.0, variance=1.0)
    assert one.sum() == 3


@pytest.mark.parametrize("shape", [(2, 1, 1, 8), (2, 8), (2, 2, 4), (2, 1, 8)])
def test_a_single_place_is_no_window(shape):
    w = np.full(shape, 0.3, np.float32)
    assert not quantize_balanced(w, Affine("INT8", 1.0), mean=0.0, variance=1.0).any()


@pytest.mark.parametrize("kind", ["INT8", "INT4", "UINT8"])
def test_weights_at_the_end_of_the_range_stay(kind):
    affine = Affine(kind, 1.0, 0 if kind != "UINT8" else 100, narrow_range=kind != "UINT8")
    top = affine.qmax - int(affine.zero_point[0])
    w = np.array([[top + 0.4, top + 0.4, top - 1 + 0.3]], np.float32)
    found = quantize_balanced(w, affine, mean=10.0, variance=1.0).astype(int) - int(affine.zero_point[0])
    assert found.tolist() == [[top] * 3]


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (2, 0, 3, 3), (0, 3, 3, 1)])
def test_nothing_is_nothing(shape):
    assert quantize_balanced(np.zeros(shape, np.float32), Affine("INT8", 1.0), mean=1.0, variance=1.0).shape == shape


def test_the_weights_given_stay_as_they_are():
    w = np.full((4, 100), 0.3, np.float32)
    w.flags.writeable = False
    quantize_balanced(w, Affine("INT8", 1.0), mean=1.0, variance=1.0)
    assert (w == np.float32(0.3)).all()


@pytest.mark.parametrize(
    ("mean", "variance", "message"),
    [
        (1.0, -1.0, "variance is -1.0; 0 or more"),
        (float("nan"), 1.0, "mean is not finite"),
        (1.0, float("inf"), "variance is not finite"),
        (np.ones(3), 1.0, "mean has shape .3,.; one that broadcasts"),
        (1.0, np.ones((1, 1, 1, 1, 4)), "variance has shape"),
        (np.ones((1, 2, 1, 1)), 1.0, "one number for a window"),
    ],
    ids=str,
)
def test_moments_are_checked(mean, variance, message):
    with pytest.raises(InvalidValue, match=message):
        quantize_balanced(np.zeros((1, 2, 2, 4), np.float32), Affine("INT8", 1.0), mean=mean, variance=variance)


@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e-150, 1e150])
@pytest.mark.parametrize("shape", [(3, 30), (3, 300), (3, 3, 3, 4)])
def test_units_of_the_input_do_not_matter(scale, shape):
    w, affine = np.random.default_rng(0).normal(0, 20, shape).astype(np.float32), Affine("INT8", 1.0)
    mean, variance = np.linspace(0.1, 1, shape[-1]), np.linspace(0.5, 0.1, shape[-1])
    expected = quantize_balanced(w, affine, mean=mean, variance=variance)
    found = quantize_balanced(w, affine, mean=mean * scale, variance=variance * scale * scale)
    assert (expected != quantize(w, affine)).any()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(3, 30), (3, 300), (3, 3, 3, 4), (3, 9, 9, 1)])
def test_inputs_that_are_always_0_move_nothing(shape):
    w, affine = np.full(shape, 0.4, np.float32), Affine("INT8", 1.0)
    assert not quantize_balanced(w, affine, mean=0.0, variance=0.0).any() or len(shape) == 4
    dead = np.where(np.arange(shape[-1]) % 2, 1.0, 0.0)
    if len(shape) == 2:
        found = quantize_balanced(w, affine, mean=dead, variance=0.1)
        assert found[:, 1::2].any()
        assert not found[:, ::2].any()


@pytest.mark.parametrize(
    "affine",
    [Affine("INT8", np.ones(4, np.float32), granularity=PerAxis(1)),
     Affine("INT8", np.ones((1, 1), np.float32), granularity=PerBlock(1, 32))],
    ids=["axis 1", "blocks"],
)  # fmt: skip
def test_other_granularities_are_refused(affine):
    with pytest.raises(InvalidValue, match="one for each row of axis 0"):
        quantize_balanced(np.zeros((1, 4), np.float32), affine, mean=1.0, variance=1.0)


@examples(60)
@given(st.data(), st.sampled_from([SMALL, LONG, WINDOWS]), st.floats(0.05, 0.95))
def test_what_lies_on_the_grid_stays(data, shapes, share):
    """Pruned weights stay 0 and clustered ones where they are, however much moving them would help."""
    w, affine, mean, variance = data.draw(cases(shapes))
    columns = (-1,) + (1,) * (w.ndim - 1)
    real = (quantize(w, affine).astype(np.float32) - affine.zero_point.reshape(columns)) * affine.scale.reshape(
        columns
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    on_grid = rng.random(w.shape) < share
    w = np.where(on_grid, np.where(rng.random(w.shape) < 0.5, 0, real), w).astype(np.float32)
    found = quantize_balanced(w, affine, mean=mean, variance=variance * 1e-9)
    np.testing.assert_array_equal(found[on_grid], quantize(w, affine)[on_grid])


def test_layout_in_memory_makes_no_difference() -> None:
    rng, affine = np.random.default_rng(281), Affine("INT8", 1.0)
    for width in (80, 500):
        w = (rng.normal(size=(2, width)) * 20).astype(np.float32)
        mean, variance = rng.lognormal(0, 2, size=width), 10.0 ** rng.uniform(-4, 1) * rng.random(width)
        expected = quantize_balanced(w, affine, mean=mean, variance=variance)
        for other in (np.asfortranarray(w), np.repeat(w, 2, 0)[::2], w.astype(">f4")):
            assert np.array_equal(quantize_balanced(other, affine, mean=mean, variance=variance), expected)
        assert np.abs(expected - quantize(w, affine)).max() <= 1


def test_a_number_has_no_channels() -> None:
    with pytest.raises(InvalidValue, match=r"shape \(\)"):
        quantize_balanced(np.float32(1.2), Affine("INT8", 1.0), mean=1.0, variance=1.0)

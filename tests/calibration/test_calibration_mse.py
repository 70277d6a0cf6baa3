"""Mean square error: on the deployed grid, and within 1 % of an exhaustive search there."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from quantlib.calibration import MSE, Blend, HistogramState, MinMax, Percentile, choose_all
from quantlib.calibration._mse import Search, _Grid
from quantlib.numerics import affine_from_range, dequantize, element_type, fake_quantize, quantize

SIZE = 20_000


def swish(x):
    return x / (1 + np.exp(-x))


@cache
def values(name):
    rng = np.random.default_rng(11)
    normal = rng.normal(size=SIZE)
    x = {
        "normal": normal,
        "laplace": rng.laplace(size=SIZE),
        "heavy": rng.standard_t(2, size=SIZE),
        "relu": np.maximum(normal, 0),
        "negative": -(np.abs(normal) ** 1.5),
        "skew": rng.exponential(size=SIZE) - 0.3,
        "swish": swish(3 * normal),
        "outlier": np.append(normal, 50.0),
        "just above a power of two": np.clip(normal / 3, -0.7, 1.001),
        "two humps": np.append(rng.normal(-3, 0.1, SIZE // 2), rng.normal(9, 0.2, SIZE // 2)),
    }[name]
    return x.astype(np.float32)


DISTRIBUTIONS = (
    *("normal", "laplace", "heavy", "relu", "negative", "skew", "swish", "outlier"),
    *("just above a power of two", "two humps"),
)


def real_error(x, lo, hi, kind, symmetric):
    affine = affine_from_range(lo, hi, kind, symmetric=symmetric)
    difference = fake_quantize(x, affine).astype(np.float64) - x
    return float(np.square(difference).mean())


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("kind", ["INT8", "INT4"])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_within_one_percent_of_an_exhaustive_search(name, kind, symmetric):
    x = values(name)
    state = HistogramState().observe(x)
    full = MinMax().choose(state, symmetric=symmetric)
    ours = real_error(x, *MSE().choose(state, symmetric=symmetric, type=kind), kind, symmetric)
    two_sided = not symmetric and full[0] < 0 < full[1]
    steps = np.linspace(1, 0.04, 25 if two_sided else 150)
    pairs = [(a, b) for a in steps for b in steps] if two_sided else [(a, a) for a in steps]
    best = min(real_error(x, full[0] * a, full[1] * b, kind, symmetric) for a, b in pairs)
    assert ours <= 1.01 * best
    assert ours <= 1.0001 * real_error(x, *full, kind, symmetric)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT4", "INT2", "INT16"])
@pytest.mark.parametrize("fractions", [(1.0, 1.0), (0.4, 0.7), (0.01, 0.9), (0.003, 0.002)])
def test_the_error_is_that_of_evenly_filled_bins_on_the_deployed_grid(kind, symmetric, fractions):
    state = HistogramState().observe(values("heavy")[:200] - 1)
    full = MinMax().choose(state, symmetric=symmetric)
    fractions = (fractions[0],) * 2 if symmetric else fractions
    grid = _Grid([Search(state.counts, state.exponent, full)], element_type(kind), symmetric)
    found = grid.errors(np.array([[fractions]]))[0, 0] * 4.0**state.exponent
    affine = affine_from_range(*np.multiply(full, fractions).tolist(), kind, symmetric=symmetric)
    # Many values evenly over every filled bin, through the integers and back.
    within = (np.arange(4000) + 0.5) / 4000
    exact = 0.0
    for k in np.flatnonzero(state.counts):
        x = np.ldexp(k - 1024 + within, state.exponent)
        rounded = dequantize(quantize(x, affine), affine).astype(np.float64)
        exact += state.counts[k] * np.square(rounded - x).mean()
    # 4,000 points for an integral, and above 12 bits a step's mean square for its own.
    assert found == pytest.approx(exact, rel=2e-3)


def test_the_grid_matters():
    # With 4 levels, whatever is best for a continuous range is not for the grid with a whole zero point.
    x = values("skew")
    state = HistogramState().observe(x)
    lo, hi = MSE().choose(state, type="INT2")
    tried = [(state.min * a, state.max * b) for a in np.linspace(0, 1, 30) for b in np.linspace(0.03, 1, 60)]
    assert real_error(x, lo, hi, "INT2", False) <= 1.01 * min(real_error(x, *t, "INT2", False) for t in tried)


def test_sixteen_bits():
    x = values("heavy")
    state = HistogramState().observe(x)
    lo, hi = MSE().choose(state, symmetric=True, type="INT16")
    full = MinMax().choose(state, symmetric=True)
    best = min(real_error(x, -full[1] * f, full[1] * f, "INT16", True) for f in np.linspace(0.9, 1, 50))
    assert real_error(x, lo, hi, "INT16", True) <= 1.01 * best
    assert hi > 0.99 * full[1]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("kind", ["INT8", "INT4", "INT16"])
@pytest.mark.parametrize("rule", [MSE(), Blend(), Percentile(99.0), MinMax()], ids=lambda rule: rule.name)
def test_tensors_side_by_side_get_what_each_gets_by_itself(rule, kind, symmetric):
    """More of them than are searched at once, of every kind, of all sizes, and some of next to nothing."""
    arrays = [values(name) * np.float32(4.0**k) for k in (-9, 0, 5) for name in DISTRIBUTIONS]
    arrays += [values(name)[:size] for size in (1, 2, 7) for name in DISTRIBUTIONS]
    arrays += [np.zeros(3), np.full(3, 1e-9), np.full(2, -1e30), np.array([0.0, 5e-324])]
    states = [HistogramState().observe(x) for x in arrays]
    found = choose_all(rule, states, symmetric=symmetric, type=kind)
    assert found == [rule.choose(state, symmetric=symmetric, type=kind) for state in states]
    assert len(set(found)) > 40


def test_what_does_not_help_keeps_the_whole_range():
    tiny = np.random.default_rng(0).normal(size=500)
    for x in ([1e-8, -1e-8], [0.0], [1e-30], tiny * 1e-9, tiny * 1e-20, tiny * 1e-38):
        state = HistogramState().observe(x)
        assert MSE().choose(state) == MinMax().choose(state)
        assert MSE().choose(state, symmetric=True) == MinMax().choose(state, symmetric=True)

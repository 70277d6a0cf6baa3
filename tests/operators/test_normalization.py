"""Normalizations against LiteRT."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quantlib.errors import InvalidValue
from quantlib.operators.normalization.floating import l2_normalize, local_response_normalize
from quantlib.tflite import Table
from tests.support.examples import examples
from tests.support.single import litert, ours

F = np.float32
EPS = float(np.finfo(F).eps)
L2 = Table("L2NormOptions")
SEEDS = st.integers(0, 2**32 - 1)


def normal(seed, *shape, scale=2.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(F)


def assert_near(reference, other, bound):
    assert other.shape == reference.shape
    assert other.dtype == reference.dtype
    np.testing.assert_allclose(other, reference, rtol=bound * EPS, atol=1e-37)


@given(hnp.array_shapes(min_dims=1, max_dims=4, max_side=9), SEEDS, st.sampled_from((1e-9, 1.0, 1e6)))
@examples(25)
def test_l2(shape, seed, scale):
    x = normal(seed, *shape, scale=scale)
    # Sums of up to 9 squares, in whatever order; half of their error is left after the root.
    assert_near(*litert("L2_NORMALIZATION", [x], L2), *ours("L2_NORMALIZATION", [x], L2), 5)


def test_l2_at_the_ends():
    x = np.array([[0, 0], [1e-7, 0], [1e-30, 1e-30], [1e25, 1], [np.inf, 1], [np.nan, 1]], F)
    assert_near(*litert("L2_NORMALIZATION", [x], L2), *ours("L2_NORMALIZATION", [x], L2), 2)


@pytest.mark.parametrize("activation", [1, 2, 3])
def test_l2_with_an_activation(activation):
    # Which LiteRT refuses.
    x = normal(0, 5, 3)
    low, high = {1: (0, np.inf), 2: (-1, 1), 3: (0, 6)}[activation]
    np.testing.assert_array_equal(l2_normalize(x, activation=activation), np.clip(l2_normalize(x), low, high))


@given(
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9)),
    SEEDS,
    st.integers(0, 12),
    st.sampled_from((1.0, 2.0)),
    st.sampled_from((1e-4, 0.5)),
    st.sampled_from((0.75, 0.5, 1.0, -1.0)),
)
@examples(30)
def test_local_response(shape, seed, radius, bias, alpha, beta):
    x = normal(seed, *shape)
    fields = {"radius": radius, "bias": bias, "alpha": alpha, "beta": beta}
    options = Table("LocalResponseNormalizationOptions", **fields)
    (reference,) = litert("LOCAL_RESPONSE_NORMALIZATION", [x], options)
    (found,) = ours("LOCAL_RESPONSE_NORMALIZATION", [x], options)
    assert_near(reference, found, 4)
    (optimized,) = litert("LOCAL_RESPONSE_NORMALIZATION", [x], options, resolver="builtin")
    # Its sums run along: they add what comes in and subtract what goes out.
    assert_near(optimized, local_response_normalize(x, **fields, symmetric=True), 64)


def test_windows_of_local_response():
    x = np.arange(1, 6, dtype=F).reshape(1, 1, 1, 5)
    fields = {"bias": 0.0, "alpha": 1.0, "beta": -1.0}
    found = local_response_normalize(x, radius=1, **fields) / x
    assert found.ravel().tolist() == [1, 5, 13, 25, 41]
    found = local_response_normalize(x, radius=1, **fields, symmetric=True) / x
    assert found.ravel().tolist() == [5, 14, 29, 50, 41]


def test_of_nothing():
    assert l2_normalize(np.zeros((0, 3), F)).shape == (0, 3)
    assert l2_normalize(np.zeros((3, 0), F)).shape == (3, 0)
    empty = np.zeros((1, 0, 2, 3), F)
    assert local_response_normalize(empty, radius=2, bias=1, alpha=1, beta=1).shape == empty.shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: l2_normalize(np.array(1, F)), "at least one axis"),
        (lambda: l2_normalize(np.ones(3, np.int8)), "L2_NORMALIZATION of int8"),
        (lambda: local_response_normalize(np.ones((2, 3), F), radius=1, bias=1, alpha=1, beta=1), "rank 4"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidValue, match=message):
        call()

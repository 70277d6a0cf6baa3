"""Pools against LiteRT's reference kernels; sums of whole numbers are exact, so that results are equal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.operators.pooling.floating import average_pool, l2_pool, max_pool
from quantlib.tflite import Table
from tests.support.examples import examples
from tests.support.single import litert, ours


@st.composite
def pools(draw):
    same = draw(st.booleans())
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    lengths = [(1 if same else k) + draw(st.integers(0, 8)) for k in kernel]
    options = Table(
        "Pool2DOptions",
        padding=0 if same else 1,
        filter_height=kernel[0],
        filter_width=kernel[1],
        stride_h=draw(st.integers(1, 6)),
        stride_w=draw(st.integers(1, 6)),
        fused_activation_function=draw(st.integers(0, 5)),
    )
    shape = (draw(st.integers(1, 2)), *lengths, draw(st.integers(1, 4)))
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1))), shape, options


def check(operator, x, options):
    name = {"float32": "FLOAT32", "int8": "INT8", "uint8": "UINT8", "int16": "INT16"}[x.dtype.name]
    (reference,) = litert(operator, [x], options, [name])
    (other,) = ours(operator, [x], options, [name])
    assert other.dtype == x.dtype
    np.testing.assert_array_equal(other, reference)


@pytest.mark.parametrize("operator", ["AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"])
@examples()
@given(drawn=pools())
def test_floats(operator, drawn):
    rng, shape, options = drawn
    check(operator, rng.integers(-9, 10, shape).astype(np.float32), options)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("operator", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@examples(15)
@given(drawn=pools())
def test_integers(operator, dtype, drawn):
    rng, shape, options = drawn
    span = np.iinfo(dtype)
    x = rng.integers(span.min, span.max, shape, dtype, endpoint=True)
    check(operator, x, options.replace(fused_activation_function=0))


def test_fractions_agree_within_the_bound_of_float32_sums():
    x = np.random.default_rng(1).standard_normal((2, 12, 12, 20)).astype(np.float32)
    options = Table("Pool2DOptions", filter_height=7, filter_width=7, stride_h=2, stride_w=1)
    for operator in ("AVERAGE_POOL_2D", "L2_POOL_2D"):
        (reference,), (other,) = litert(operator, [x], options), ours(operator, [x], options)
        # 49 terms and a division on either side; the root halves an error and adds its own.
        magnitude = average_pool(abs(x), kernel=(7, 7), strides=(2, 1), padding="SAME")
        bound = magnitude if operator.startswith("AVERAGE") else abs(reference)
        assert np.all(abs(other - reference) <= 2 * 50 * 2.0**-24 * bound)


def test_a_pool_of_the_whole_image():
    x = np.random.default_rng(2).integers(-9, 10, (2, 7, 5, 6)).astype(np.float32)
    how = {"kernel": (7, 5), "strides": (1, 1), "padding": "VALID"}
    np.testing.assert_array_equal(max_pool(x, **how)[:, 0, 0], x.max((1, 2)))
    np.testing.assert_array_equal(average_pool(x, **how)[:, 0, 0], x.sum((1, 2)) / np.float32(35))
    np.testing.assert_array_equal(l2_pool(x, **how)[:, 0, 0], np.sqrt((x * x).sum((1, 2)) / np.float32(35)))


def test_infinity_and_nan():
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 0, 0], x[0, 3, 3], x[0, 0, 3] = np.nan, np.inf, -np.inf
    how = {"kernel": (2, 2), "strides": (2, 2), "padding": "VALID"}
    np.testing.assert_array_equal(max_pool(x, **how).ravel(), np.float32([np.nan, 0, 0, np.inf]))
    np.testing.assert_array_equal(average_pool(x, **how).ravel(), np.float32([np.nan, -np.inf, 0, np.inf]))


def test_a_batch_of_none():
    none = np.zeros((0, 4, 4, 3), np.float32)
    for pool in (average_pool, max_pool, l2_pool):
        assert pool(none, kernel=(2, 2), strides=(2, 2), padding="SAME").shape == (0, 2, 2, 3)


def test_what_does_not_fit_is_refused():
    x = np.zeros((1, 4, 4, 3), np.float32)
    how = {"kernel": (2, 2), "strides": (2, 2), "padding": "SAME"}
    with pytest.raises(InvalidValue, match="rank 4"):
        max_pool(x[0], **how)
    with pytest.raises(InvalidValue, match="pool of int32"):
        max_pool(x.astype(np.int32), **how)
    with pytest.raises(InvalidValue, match="pool of int8"):
        l2_pool(x.astype(np.int8), **how)
    with pytest.raises(InvalidValue, match="depend on the scale"):
        average_pool(x.astype(np.int8), **how, activation=1)
    with pytest.raises(InvalidValue, match="kernel size 0"):
        max_pool(x, **how | {"kernel": (0, 2)})

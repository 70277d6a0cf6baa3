"""Matrix products against LiteRT's reference kernels; whole numbers make them exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.operators.matmul.floating import batch_matmul, fully_connected
from quantlib.tflite import Table
from tests.support.examples import examples
from tests.support.single import litert, ours


def whole(rng, *shape, dtype=np.float32):
    return rng.integers(-9, 10, shape).astype(dtype)


def assert_equal(operator, inputs, options, types=("FLOAT32",), constants=()):
    (reference,) = litert(operator, inputs, options, types, constants)
    (other,) = ours(operator, inputs, options, types)
    assert other.dtype == reference.dtype
    np.testing.assert_array_equal(other, reference)


@examples(50)
@given(
    lead=st.lists(st.integers(1, 4), max_size=3),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 20)),
    keep=st.booleans(),
    bias=st.sampled_from(["some", "left out", "not given"]),
    activation=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_fully_connected(lead, sizes, keep, bias, activation, seed):
    rng = np.random.default_rng(seed)
    depth, units = sizes
    last = {"some": [whole(rng, units)], "left out": [None], "not given": []}[bias]
    x, weights = whole(rng, *lead, depth), whole(rng, units, depth)
    options = Table("FullyConnectedOptions", keep_num_dims=keep, fused_activation_function=activation)
    assert_equal("FULLY_CONNECTED", [x, weights, *last], options, constants=(1,))


def test_fully_connected_flattens_across_axes():
    rng = np.random.default_rng(1)
    x, weights = whole(rng, 2, 3, 4), whole(rng, 5, 6)
    assert_equal("FULLY_CONNECTED", [x, weights, whole(rng, 5)], Table("FullyConnectedOptions"))


@st.composite
def products(draw):
    batch = draw(st.lists(st.integers(1, 3), max_size=3))
    x, y = ([draw(st.sampled_from([n, 1])) for n in batch][draw(st.integers(0, len(batch))) :] for _ in range(2))
    rows, depth, columns = draw(st.tuples(*[st.integers(1, 9)] * 3))
    adj_x, adj_y = draw(st.booleans()), draw(st.booleans())
    shapes = (
        (*x, depth, rows) if adj_x else (*x, rows, depth),
        (*y, columns, depth) if adj_y else (*y, depth, columns),
    )
    return shapes, Table("BatchMatMulOptions", adj_x=adj_x, adj_y=adj_y), draw(st.integers(0, 2**32 - 1))


@examples(50)
@given(products())
def test_batch_matmul(drawn):
    shapes, options, seed = drawn
    rng = np.random.default_rng(seed)
    assert_equal("BATCH_MATMUL", [whole(rng, *s) for s in shapes], options)


@examples()
@given(products())
def test_batch_matmul_of_int8_to_int32(drawn):
    shapes, options, seed = drawn
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(-128, 128, s).astype(np.int8) for s in shapes)
    assert_equal("BATCH_MATMUL", [x, y], options, ["INT32"])


@pytest.mark.parametrize("operator", ["FULLY_CONNECTED", "BATCH_MATMUL"])
def test_fractions_agree_within_the_bound_of_float32_sums(operator):
    rng = np.random.default_rng(2)
    x, y = (rng.standard_normal(s).astype(np.float32) for s in ((37, 300), (50, 300)))
    options = Table("FullyConnectedOptions") if operator[0] == "F" else Table("BatchMatMulOptions", adj_y=True)
    (reference,), (other,) = litert(operator, [x, y], options), ours(operator, [x, y], options)
    assert np.all(abs(other - reference) <= 2 * 300 * 2.0**-24 * (abs(x) @ abs(y).T))


def test_matrices_of_a_batch_are_multiplied_one_by_one():
    rng = np.random.default_rng(3)
    x, y = (rng.standard_normal(s).astype(np.float32) for s in ((4, 17, 33), (33, 19)))
    together = batch_matmul(x, y)
    for i in range(4):
        np.testing.assert_array_equal(batch_matmul(x[i : i + 1], y)[0], together[i])


def test_empty_axes():
    weights = np.zeros((3, 4), np.float32)
    assert fully_connected(np.zeros((0, 4), np.float32), weights).shape == (0, 3)
    kept = fully_connected(np.zeros((2, 0, 4), np.float32), weights, keep_num_dims=True)
    assert kept.shape == (2, 0, 3)
    assert batch_matmul(np.zeros((0, 2, 4), np.float32), weights, adj_y=True).shape == (0, 2, 3)


def test_nan_and_infinity_are_passed_on():
    x = np.array([[np.nan, 1], [np.inf, 1], [-np.inf, 1]], np.float32)
    out = fully_connected(x, np.eye(1, 2, dtype=np.float32), activation=3)
    np.testing.assert_array_equal(out.ravel(), np.float32([np.nan, 6, 0]))


def test_what_does_not_fit_is_refused():
    x, weights = np.zeros((2, 6), np.float32), np.zeros((3, 4), np.float32)
    with pytest.raises(InvalidValue, match="rows of 4"):
        fully_connected(x, weights, keep_num_dims=True)
    with pytest.raises(InvalidValue, match="rows of 4"):
        fully_connected(x[:1], weights)
    with pytest.raises(InvalidValue, match="weight matrix"):
        fully_connected(x, weights[0])
    with pytest.raises(InvalidValue, match="bias of 2 for 3"):
        fully_connected(x, weights, np.zeros(2, np.float32))
    with pytest.raises(InvalidValue, match="activation 4"):
        fully_connected(x, weights, activation=4)
    with pytest.raises(InvalidValue, match="float32 is required"):
        ours("FULLY_CONNECTED", [x, weights.astype(np.int8)], Table("FullyConnectedOptions"))
    with pytest.raises(InvalidValue, match="inner sizes"):
        batch_matmul(x, weights)
    with pytest.raises(InvalidValue, match="don't broadcast"):
        batch_matmul(np.zeros((2, 3, 4), np.float32), np.zeros((3, 4, 2), np.float32))
    with pytest.raises(InvalidValue, match="matrices"):
        batch_matmul(x[0], weights)
    with pytest.raises(InvalidValue, match="both float32"):
        batch_matmul(x, weights.astype(np.int8))

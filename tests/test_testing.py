"""`quantlib.testing`: what passes, what a failure says, and what random operands are like."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine
from quantlib.operators.kernels import (
    convolve_integers,
    depthwise_convolve_integers,
    exact_weights,
    fixed_point,
    floating_point,
    fully_connected_integers,
    multiplier_of_product,
    reach,
)
from quantlib.testing import (
    assert_within_steps,
    assert_within_ulp,
    random_affine,
    random_operands,
    random_quantized,
)


def test_steps_within_the_bound_pass() -> None:
    a = np.array([[-128, 127], [3, 4]], np.int8)
    assert_within_steps(a, a)
    assert_within_steps(a, np.array([[-127, 126], [3, 4]], np.int8), steps=1)
    assert_within_steps(np.zeros((0, 2), np.int8), np.zeros((0, 2), np.int8))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "uint64"])
def test_no_difference_overflows(dtype: str) -> None:
    limits = np.iinfo(dtype)
    ends = np.array([limits.min, limits.max], dtype)
    most = int(limits.max) - int(limits.min)
    with pytest.raises(AssertionError, match=rf"^2 of 2 .* at most by {most}: at \[0\]"):
        assert_within_steps(ends, ends[::-1])


def test_a_failure_says_where_and_by_how_much_worst_first() -> None:
    expected = np.arange(12, dtype=np.int16).reshape(3, 4)
    actual = expected.copy()
    actual[0, 1] += 2
    actual[2, 3] -= 7
    with pytest.raises(AssertionError) as caught:
        assert_within_steps(actual, expected, steps=1)
    assert str(caught.value) == (
        "2 of 12 elements differ by more than 1 steps, at most by 7: "
        "at [2, 3] 4, not 11 (-7); at [0, 1] 3, not 1 (+2)"
    )
    with pytest.raises(AssertionError, match=r"^12 of 12 .*; \.\.\.$") as many:
        assert_within_steps(expected + np.int16(1), expected)
    assert str(many.value).count("at [") == 5


@pytest.mark.parametrize(
    ("actual", "expected", "message"),
    [
        (np.zeros(2, np.int8), np.zeros(2, np.uint8), "an array of int8, not uint8"),
        (np.zeros((1, 2), np.int8), np.zeros(2, np.int8), "an array of shape [1, 2], not [2]"),
    ],
)
def test_dtypes_and_shapes_must_be_the_same(actual: np.ndarray, expected: np.ndarray, message: str) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_within_steps(actual, expected, steps=300)
    assert str(caught.value) == message


def test_misuse_is_named() -> None:
    with pytest.raises(InvalidValue, match="float32 is expected; integers are required"):
        assert_within_steps(np.zeros(1, np.float32), np.zeros(1, np.float32))
    with pytest.raises(InvalidValue, match="int8 is expected; floats are required"):
        assert_within_ulp(np.zeros(1, np.int8), np.zeros(1, np.int8))
    with pytest.raises(InvalidValue, match="-1 steps"):
        assert_within_steps(np.zeros(1, np.int8), np.zeros(1, np.int8), -1)
    with pytest.raises(InvalidValue, match="FLOAT32; a type of integers"):
        random_affine(np.random.default_rng(0), "FLOAT32")


@given(st.floats(-(2.0**126), 2.0**126, width=32), st.integers(0, 40))
def test_ulp_counts_numbers(start: float, count: int) -> None:
    here = there = np.float32(start)
    for _ in range(count):
        there = np.nextafter(there, np.float32(np.inf))
    assert_within_ulp(np.array([there]), np.array([here]), count)
    if count:
        with pytest.raises(AssertionError, match=rf"at most by {count}: at \[0\]"):
            assert_within_ulp(np.array([there]), np.array([here]), count - 1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_ulp_of_special_numbers(dtype: str) -> None:
    of = np.dtype(dtype).type
    assert_within_ulp(np.array([0.0, np.nan, np.inf], of), np.array([-0.0, np.nan, np.inf], of), 0)
    for a, b in ((np.nan, 1.0), (np.inf, -np.inf), (1.0, np.nan)):
        with pytest.raises(AssertionError, match="1 of 1 elements"):
            assert_within_ulp(np.array([a], of), np.array([b], of), 10)
    infinite = np.array([np.inf], of)
    beside = (infinite.view(f"i{infinite.itemsize}") + 1).view(dtype)  # the NaN that comes next in bits
    with pytest.raises(AssertionError, match="1 of 1 elements"):
        assert_within_ulp(beside, infinite, 10)
    largest = np.array([np.finfo(dtype).max])
    assert_within_ulp(np.array([np.inf], of), largest, 1)
    with pytest.raises(AssertionError):
        assert_within_ulp(-largest, largest, 1000)


@pytest.mark.parametrize("type", ["INT4", "INT8", "UINT8", "INT16", "INT32"])
def test_random_integers_fill_their_range(type: str) -> None:
    rng = np.random.default_rng(3)
    affine = random_affine(rng, type)
    values = random_quantized(rng, (7, 5), affine)
    assert (values.min(), values.max()) == (affine.qmin, affine.qmax)
    assert values.dtype == affine.type.storage
    assert 1 / 256 <= affine.scale[0] <= 1


def test_the_seed_says_it_all() -> None:
    one, other = (random_operands(np.random.default_rng(5), (1, 4), (3, 4)) for _ in range(2))
    for name in ("x", "weights", "bias"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.of_x, one.of_weights, one.of_output) == (other.of_x, other.of_weights, other.of_output)


@pytest.mark.parametrize("type", ["INT8", "UINT8", "INT16"])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense"])
def test_random_operands_give_outputs_that_say_something(type: str, kind: str) -> None:
    shape, weights_shape, axis = {
        "conv": ((2, 6, 6, 3), (8, 3, 3, 3), 0),
        "depthwise": ((2, 6, 6, 8), (1, 3, 3, 8), 3),
        "dense": ((16, 12), (8, 12), 0),
    }[kind]
    given = random_operands(
        np.random.default_rng(8),
        shape,
        weights_shape,
        type=type,
        axis=axis,
        weights_type="UINT8" if type == "UINT8" else "INT8",
    )
    assert given.of_weights.scale.size == (1 if type == "UINT8" else 8)
    real = multiplier_of_product(given.of_x, given.of_weights, given.of_output)
    make = floating_point if kind == "dense" else fixed_point
    requantize = make(real, given.of_output, bias=given.bias, wide=type == "INT16")
    weights = np.moveaxis(given.weights, axis, 0)
    exact = exact_weights(weights, reach(given.of_x), int(given.of_weights.zero_point[0]))
    exact = np.ascontiguousarray(np.moveaxis(exact, 0, axis))
    point = int(given.of_x.zero_point[0])
    window = {"strides": (1, 1), "dilations": (1, 1), "padding": "SAME"}
    if kind == "dense":
        out = fully_connected_integers(given.x, exact, requantize, zero_point=point)
    else:
        convolve = convolve_integers if kind == "conv" else depthwise_convolve_integers
        out = convolve(given.x, exact, requantize, zero_point=point, **window)
    assert out.dtype == given.of_output.type.storage
    saturated = ((out == given.of_output.qmin) | (out == given.of_output.qmax)).mean()
    assert saturated < 0.6
    assert len(np.unique(out)) > 40


def test_per_tensor_and_int4_weights() -> None:
    given = random_operands(np.random.default_rng(0), (1, 4), (3, 4), weights_type="INT4", per_channel=False)
    assert given.of_weights == Affine("INT4", given.of_weights.scale)
    assert given.weights.min() >= -8
    assert given.weights.max() <= 7


@pytest.mark.parametrize(
    "draw", [lambda r: random_affine(r), lambda r: random_quantized(r, (2,), Affine("INT8", 1.0))]
)
@pytest.mark.parametrize("rng", [0, None, np.random.RandomState(0)])
def test_a_seed_is_no_generator(draw, rng):
    with pytest.raises(InvalidValue, match="a Generator is required, such as"):
        draw(rng)


@pytest.mark.parametrize(
    ("shape", "weights", "axis", "fits"),
    [
        ((2, 3), (4, 3), 0, True),
        ((2, 3), (4, 5), 0, False),
        ((1, 5, 5, 6), (4, 3, 3, 3), 0, True),  # two groups
        ((1, 5, 5, 3), (4, 3, 3, 6), 0, False),
        ((1, 5, 5, 3), (1, 3, 3, 6), 3, True),  # depthwise, two outputs a channel
        ((1, 5, 5, 3), (1, 3, 3, 6), -1, True),
        ((1, 5, 5, 4), (1, 3, 3, 6), 3, False),
        ((), (4, 5), 0, False),
    ],
)
def test_depths_of_operands_go_together(shape, weights, axis, fits):
    rng = np.random.default_rng(0)
    if fits:
        assert random_operands(rng, shape, weights, axis=axis).weights.shape == weights
        return
    with pytest.raises(InvalidValue, match="must be a multiple of that of the other"):
        random_operands(rng, shape, weights, axis=axis)


def test_ulp_of_another_byte_order() -> None:
    one = np.array([1.0], ">f4")
    assert_within_ulp(one, np.nextafter(one, np.float32(2)).astype(">f4"), 1)
    with pytest.raises(AssertionError, match="1 of 1 elements"):
        assert_within_ulp(one, np.array([4.0], ">f4"), 1)

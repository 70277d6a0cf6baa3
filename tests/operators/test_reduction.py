"""Reductions against LiteRT's reference kernels.

Float sums of whole numbers are exact in any order, hence equal. For others the bound is that of float32 sums: n
additions err by at most n halves of a unit of the sum of magnitudes.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quantlib.errors import InvalidValue
from quantlib.operators.reduction.floating import REDUCERS, arg_extreme, axes_of, mean, reduce, running_sum
from quantlib.tflite import Table, tensor_type_code
from tests.support.examples import examples
from tests.support.single import litert, ours, type_name

F = np.float32
I8, I16, I32, I64, U8, B = np.int8, np.int16, np.int32, np.int64, np.uint8, np.bool_
EPS = float(np.finfo(F).eps)
SEEDS = st.integers(0, 2**32 - 1)
SHAPES = hnp.array_shapes(min_dims=1, max_dims=5, max_side=5)

# Types that LiteRT 2.3 computes without scales.
ALL = (F, I8, U8, I16, I32, I64, B)
TYPES = {
    "MEAN": (F, I32, I64),
    "REDUCE_ALL": (B,),
    "REDUCE_ANY": (B,),
    "REDUCE_MAX": ALL,
    "REDUCE_MIN": ALL,
    "REDUCE_PROD": ALL,
    "SUM": (F, I32, I64, B),
}


def numbers(rng, dtype, *shape):
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if kind == "f":
        return rng.integers(-4, 5, shape).astype(dtype)
    span = np.iinfo(dtype)
    return rng.integers(span.min, span.max, shape, dtype, endpoint=True)


def axes_operand(draw, rank):
    """A scalar or a vector; axes from either end, in any order, repeatedly."""
    axes = draw(st.lists(st.integers(-rank, rank - 1), max_size=rank + 1))
    if axes and draw(st.booleans()):
        return np.array(axes[0], I32)
    return np.array(axes, I32)


def assert_equal(reference, other):
    assert other.shape == reference.shape
    assert other.dtype == reference.dtype
    np.testing.assert_array_equal(other, reference)


def test_every_operator_is_compared():
    assert set(TYPES) == {*REDUCERS, "MEAN"}


@pytest.mark.parametrize("operator", sorted(TYPES))
def test_reduce(operator):
    @given(SHAPES, SEEDS, st.sampled_from(TYPES[operator]), st.booleans(), st.booleans(), st.data())
    @examples(25)
    def check(shape, seed, dtype, keep_dims, constant, data):
        x = numbers(np.random.default_rng(seed), dtype, *shape)
        if operator == "REDUCE_PROD" and dtype is F:  # powers of two: products are exact
            x = np.ldexp(F(1), (x / 2).astype(I32)) * np.where(x < 0, F(-1), F(1))
        if operator == "MEAN" and dtype is I64:
            x //= 2**11  # LiteRT's sum overflows
        operands = [x, axes_operand(data.draw, x.ndim)]
        options = Table("ReducerOptions", keep_dims=keep_dims)
        (reference,) = litert(operator, operands, options, (type_name(x),), (1,) if constant else ())
        assert_equal(reference, *ours(operator, operands, options))

    check()


@given(SHAPES, SEEDS, st.sampled_from(("SUM", "MEAN")), st.data())
@examples(25)
def test_rounded_sums(shape, seed, operator, data):
    x = np.random.default_rng(seed).standard_normal(shape).astype(F)
    operands = [x, axes_operand(data.draw, x.ndim)]
    over = axes_of(operands[1].reshape(-1).tolist(), x.ndim)
    (reference,) = litert(operator, operands, Table("ReducerOptions"))
    (found,) = ours(operator, operands, Table("ReducerOptions"))
    count = x.size // max(found.size, 1)
    magnitude = np.abs(x.astype(np.float64)).sum(axis=over) / (count if operator == "MEAN" else 1)
    assert np.all(np.abs(found - reference) <= (count / 2 + 1) * EPS * magnitude)


def test_scalars():
    for operator, axes, keep_dims in itertools.product(sorted({*REDUCERS, "MEAN"}), ([], [5], [-1, 0]), (0, 1)):
        x = np.array(1, TYPES[operator][0])
        operands, options = [x, np.array(axes, I32)], Table("ReducerOptions", keep_dims=keep_dims)
        assert_equal(*litert(operator, operands, options, (type_name(x),)), *ours(operator, operands, options))


@pytest.mark.parametrize("operator", ["SUM", "MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"])
def test_of_nothing(operator):
    for dtype in TYPES[operator][:2] if operator == "MEAN" else TYPES[operator]:
        x, axes = np.zeros((2, 0), dtype), np.array([1], I32)
        (reference,) = litert(operator, [x, axes], Table("ReducerOptions"), (type_name(x),))
        assert_equal(reference, *ours(operator, [x, axes], Table("ReducerOptions")))
    assert ours(operator, [np.zeros((0, 2, 3), F), axes], Table("ReducerOptions"))[0].shape == (0, 3)


@pytest.mark.parametrize("operator", ["REDUCE_MAX", "REDUCE_MIN", "SUM", "MEAN", "REDUCE_PROD"])
def test_special_values(operator):
    nan, inf = np.nan, np.inf
    x = np.array([[nan, 1, 2], [1, nan, 2], [nan] * 3, [inf] * 3, [-inf] * 3, [inf, -inf, 0], [-inf, 1, nan]], F)
    operands = [x, np.array([1], I32)]
    assert_equal(
        *litert(operator, operands, Table("ReducerOptions")), *ours(operator, operands, Table("ReducerOptions"))
    )
    for row in (x[3:4], x[4:5], x[5:6]):  # down to one number
        operands = [row, np.array([0, 1], I32)]
        assert_equal(
            *litert(operator, operands, Table("ReducerOptions")), *ours(operator, operands, Table("ReducerOptions"))
        )


def test_integer_means_truncate():
    x = np.array([[-1, -2], [1, 2], [-3, -3], [2**31 - 1, 2**31 - 1]], I32)
    assert mean(x, [1]).tolist() == [-1, 1, -3, 2**31 - 1]


@pytest.mark.parametrize("operator", ["ARG_MAX", "ARG_MIN"])
def test_arg_extreme(operator):
    @given(SHAPES, SEEDS, st.sampled_from((F, I8, U8, I32)), st.sampled_from(("INT32", "INT64")), st.data())
    @examples(40)
    def check(shape, seed, dtype, output, data):
        rng = np.random.default_rng(seed)
        x = numbers(rng, dtype, *shape) % dtype(3)
        axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
        if dtype is F:
            x[rng.random(shape) < 0.2] = np.inf
            x[rng.random(shape) < 0.2] = -np.inf
            if shape[axis] < 4:  # from there on, LiteRT's result depends on which lane NaN falls into
                x[rng.random(shape) < 0.3] = np.nan
        operand = np.array([axis], data.draw(st.sampled_from((I32, I64)))).reshape(
            data.draw(st.sampled_from(((), 1)))
        )
        options = Table(
            "ArgMaxOptions" if operator == "ARG_MAX" else "ArgMinOptions", output_type=tensor_type_code(output)
        )
        assert_equal(*litert(operator, [x, operand], options, (output,)), *ours(operator, [x, operand], options))

    check()


def test_arg_extreme_passes_over_nan_in_long_rows():
    x = np.array([[1, 0, np.nan, 2], [np.nan, 7, 2, -1], [np.nan] * 4, [np.nan, -np.inf, np.nan, -np.inf]], F)
    assert arg_extreme(x, 1, greatest=True).tolist() == [3, 1, 0, 1]
    assert arg_extreme(x, 1, greatest=False).tolist() == [1, 3, 0, 1]
    assert arg_extreme(-x, 1, greatest=False).tolist() == [3, 1, 0, 1]


def test_arg_extreme_of_booleans_and_nothing():
    assert arg_extreme(np.array([False, True, True]), 0, greatest=True).tolist() == 1
    assert arg_extreme(np.zeros((0, 2), F), 1, greatest=True).shape == (0,)


@given(SHAPES, SEEDS, st.sampled_from((F, I32, I64)), st.booleans(), st.booleans(), st.data())
@examples(40)
def test_running_sum(shape, seed, dtype, exclusive, reverse, data):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(F) if dtype is F else numbers(rng, dtype, *shape)
    operands = [x, np.array(data.draw(st.integers(-x.ndim, x.ndim - 1)), I32)]
    options = Table("CumsumOptions", exclusive=exclusive, reverse=reverse)
    # Both add one by one, in the same order.
    assert_equal(*litert("CUMSUM", operands, options, (type_name(x),)), *ours("CUMSUM", operands, options))


def test_running_sum_of_nothing():
    for exclusive, reverse in itertools.product((False, True), repeat=2):
        assert running_sum(np.zeros((2, 0), F), 1, exclusive=exclusive, reverse=reverse).shape == (2, 0)
        assert running_sum(np.zeros((2, 0), F), 0, exclusive=exclusive, reverse=reverse).shape == (2, 0)


@pytest.mark.parametrize("operator", sorted({*REDUCERS, "MEAN"}))
def test_operands_are_left_alone(operator):
    x = np.ones((2, 3), TYPES[operator][0])
    x.flags.writeable = False
    for axes in ([], [0], [0, 1]):
        ours(operator, [x, np.array(axes, I32)], Table("ReducerOptions"))


ONE = np.ones((2, 3), F)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reduce("SUM", ONE, [2]), r"axes \[2\] of rank 2"),
        (lambda: reduce("NO", ONE, [0]), "no reduction"),
        (lambda: reduce("REDUCE_ALL", ONE, [0]), "booleans"),
        (lambda: reduce("SUM", ONE.astype(np.complex64), [0]), "numbers or booleans"),
        (lambda: mean(ONE > 0, [0]), "MEAN of bool"),
        (lambda: mean(ONE, [-3]), r"axes \[-3\]"),
        (lambda: arg_extreme(ONE, 2, greatest=True), "ARG_MAX of shape"),
        (lambda: arg_extreme(np.array(1, F), 0, greatest=False), "ARG_MIN of shape"),
        (lambda: arg_extreme(np.zeros((2, 0), F), 1, greatest=False), "an axis with elements"),
        (lambda: running_sum(ONE, 5), "CUMSUM of shape"),
        (lambda: running_sum(ONE > 0, 0), "CUMSUM of bool"),
        (lambda: ours("SUM", [ONE, ONE], Table("ReducerOptions")), "axes are float32"),
        (lambda: ours("CUMSUM", [ONE, np.array([0, 1], I32)], Table("CumsumOptions")), "one is required"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidValue, match=message):
        call()

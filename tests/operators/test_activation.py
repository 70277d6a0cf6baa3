"""Activation functions against LiteRT.

Bounds are relative, for each element, in units of float32's epsilon: the sum of what both libraries' exponentials and
the roundings of a formula may contribute.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quantlib.errors import InvalidValue
from quantlib.operators import row, rows
from quantlib.operators.activation._pieces import PIECE
from quantlib.operators.activation.floating import KERNELS, erf, gelu, log_softmax, logistic, prelu, softmax
from quantlib.tflite import Table
from tests.support.examples import examples
from tests.support.single import litert, ours

F, H = np.float32, np.float16
EPS = float(np.finfo(F).eps)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, max_side=6)
SEEDS = st.integers(0, 2**32 - 1)

PLAIN = ("RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "ELU", "HARD_SWISH", "LOGISTIC", "TANH")
BOUNDS = {"ELU": 4, "LOGISTIC": 4, "TANH": 4}


def resolver(operator):
    return "builtin" if operator == "ELU" else "reference"  # which has no reference kernel


def normal(seed, *shape, scale=4.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(F)


def assert_near(reference, other, bound=0.0, least=1e-37):
    assert other.shape == reference.shape
    assert other.dtype == reference.dtype
    step = bound * float(np.finfo(reference.dtype).eps)
    np.testing.assert_allclose(other, reference, rtol=step, atol=least if bound else 0)


def options_of(operator, **fields):
    name = row(operator).options
    return Table(name, **fields) if name else None


def test_every_row_has_a_kernel():
    assert set(KERNELS) <= set(rows())
    assert set(KERNELS) == {*PLAIN, "GELU", "LEAKY_RELU", "LOG_SOFTMAX", "PRELU", "SOFTMAX"}


@pytest.mark.parametrize("operator", PLAIN)
def test_plain(operator):
    @given(SHAPES, SEEDS, st.sampled_from((0.5, 4.0, 40.0)))
    @examples(10)
    def check(shape, seed, scale):
        x = normal(seed, *shape, scale=scale)
        (reference,) = litert(operator, [x], resolver=resolver(operator))
        # Below -9, LiteRT's exp(x) is no more than 1.3e-4 from the sigmoid, as a ratio.
        if operator == "LOGISTIC":
            assert_near(reference[x >= -9], ours(operator, [x])[0][x >= -9], BOUNDS[operator])
            np.testing.assert_allclose(ours(operator, [x])[0], reference, rtol=1.3e-4, atol=2e-38)
        else:
            assert_near(reference, ours(operator, [x])[0], BOUNDS.get(operator, 0))

    check()


def assert_gelu(x):
    (reference,) = litert("GELU", [x], Table("GeluOptions"))
    (found,) = ours("GELU", [x], Table("GeluOptions"))
    assert found.shape == reference.shape
    # exp(-x**2 / 2) carries the rounding of its argument, in both: at most x**2 / 4 units each.
    bound = EPS * (8 + x.astype(np.float64) ** 2 / 2)
    assert np.all(np.abs(found - reference) <= bound * np.abs(reference) + 1e-37)


@given(SHAPES, SEEDS, st.sampled_from((0.5, 3.0)))
@examples(15)
def test_gelu(shape, seed, scale):
    assert_gelu(normal(seed, *shape, scale=scale))


def test_gelu_keeps_its_precision_far_below_zero():
    assert_gelu(np.linspace(-12, 6, 20011, dtype=F))


@given(SHAPES, SEEDS, st.sampled_from((0.5, 3.0)))
@examples(15)
def test_approximate_gelu(shape, seed, scale):
    x, options = normal(seed, *shape, scale=scale), Table("GeluOptions", approximate=True)
    # 1 + tanh(...) cancels below zero: what is left is exact to units of 1.0.
    (reference,), (found,) = litert("GELU", [x], options), ours("GELU", [x], options)
    assert found.shape == reference.shape
    assert np.all(np.abs(found - reference) <= 3 * EPS * np.abs(x))


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 0.3, 1.5, 10.0])
def test_erf(scale):
    x = normal(1, 60000, scale=scale)
    found = erf(x).astype(np.float64)
    exact = np.array([math.erf(v) for v in x.tolist()])
    assert np.abs(found - exact).max() <= 2 * EPS
    small = np.abs(x) < 1
    assert np.all(np.abs(found - exact)[small] <= 5 * EPS * np.abs(exact)[small])


def test_erf_near_the_seam_and_at_the_ends():
    one = F(1)
    x = np.concatenate([np.nextafter(one, F([0, 2])), F([1, -1, 0, -0.0, 4, 30, 3e38, np.inf, -np.inf, np.nan])])
    exact = np.array([math.erf(v) for v in x.tolist()])
    np.testing.assert_allclose(erf(x), exact, rtol=0, atol=2 * EPS)
    assert np.signbit(erf(F([-0.0])))[0]


@given(SHAPES, SEEDS, st.sampled_from((0.1, -0.5, 0.0, 1.0, 2.5)))
@examples(20)
def test_leaky_relu(shape, seed, alpha):
    x, options = normal(seed, *shape), Table("LeakyReluOptions", alpha=alpha)
    assert_near(*litert("LEAKY_RELU", [x], options), *ours("LEAKY_RELU", [x], options))


@given(SHAPES, SEEDS, st.data())
@examples(25)
def test_prelu(shape, seed, data):
    kept = data.draw(st.tuples(*(st.booleans() for _ in shape)))
    slopes = tuple(n if keep else 1 for n, keep in zip(shape, kept, strict=True))
    while slopes and slopes[0] == 1 and data.draw(st.booleans()):
        slopes = slopes[1:]
    x, alpha = normal(seed, *shape), normal(seed + 1, *slopes, scale=1)
    assert_near(*litert("PRELU", [x, alpha]), *ours("PRELU", [x, alpha]))


@pytest.mark.parametrize("operator", ["SOFTMAX", "LOG_SOFTMAX"])
def test_softmax(operator):
    @given(hnp.array_shapes(min_dims=1, max_dims=4, max_side=7), SEEDS, st.sampled_from((1.0, 0.25, 3.0)))
    @examples(15)
    def check(shape, seed, beta):
        x = normal(seed, *shape)
        options = options_of(operator, **({"beta": beta} if operator == "SOFTMAX" else {}))
        (reference,) = litert(operator, [x], options)
        (found,) = ours(operator, [x], options)
        assert_near(reference, found, 5, least=4 * EPS if operator == "LOG_SOFTMAX" else 1e-37)

    check()


@pytest.mark.parametrize("operator", ["SOFTMAX", "LOG_SOFTMAX"])
def test_softmax_of_long_rows(operator):
    x = normal(3, 4, 1000)
    options = options_of(operator, **({"beta": 1.0} if operator == "SOFTMAX" else {}))
    # LiteRT adds one by one, which errs by n / 2 units of the sum at worst, and by far less on the average.
    assert_near(*litert(operator, [x], options), *ours(operator, [x], options), 64)


def test_softmax_of_infinities():
    x = np.array([[0, -np.inf, 1], [-np.inf] * 3, [np.inf, 0, 1], [np.nan, 0, 1], [3e38, -3e38, 0]], F)
    options = Table("SoftmaxOptions", beta=1.0)
    assert_near(*litert("SOFTMAX", [x], options), *ours("SOFTMAX", [x], options), 4)
    assert_near(*litert("LOG_SOFTMAX", [x]), *ours("LOG_SOFTMAX", [x]), 4)


@pytest.mark.parametrize("operator", [*PLAIN, "GELU", "LEAKY_RELU"])
def test_special_values(operator):
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40, -1e-40, 3e38, -3e38], F)
    if operator == "HARD_SWISH":
        x = x[:7]  # 3e38 * 6 overflows before it is divided, in both
    options = options_of(operator, **({"alpha": 0.5} if operator == "LEAKY_RELU" else {}))
    (reference,) = litert(operator, [x], options, resolver=resolver(operator))
    assert_near(reference, ours(operator, [x], options)[0], 1, least=2e-38)


@pytest.mark.parametrize("operator", ["LOGISTIC", "TANH"])
def test_half_precision(operator):
    x = normal(2, 5, 40).astype(H)
    (reference,) = litert(operator, [x], types=("FLOAT16",))
    assert_near(reference, ours(operator, [x], types=("FLOAT16",))[0], 1, least=1e-7)


@pytest.mark.parametrize("shape", [(PIECE,), (PIECE + 1,), (3, PIECE - 1), (0,), (2, 0, 3), ()])
def test_pieces(shape):
    x = normal(0, *shape)
    for function in (erf, gelu, logistic):
        whole = function(x)
        assert whole.shape == shape
        single = np.array([function(v.reshape(1))[0] for v in x.reshape(-1)[:: max(1, x.size // 50)]], F)
        np.testing.assert_allclose(whole.reshape(-1)[:: max(1, x.size // 50)], single, rtol=4 * EPS)


@pytest.mark.parametrize("operator", sorted(KERNELS))
def test_operands_are_left_alone(operator):
    x = normal(0, 4, 6)
    before, x.flags.writeable = x.copy(), False
    alpha = normal(1, 6)
    alpha.flags.writeable = False
    options = options_of(operator, **({"beta": 1.0} if operator == "SOFTMAX" else {}))
    for view in (x, x.T, x[::2, ::3]):
        found = ours(operator, [view, alpha[: view.shape[-1]]], options)[0]
        copied = ours(operator, [np.ascontiguousarray(view), alpha[: view.shape[-1]]], options)[0]
        np.testing.assert_allclose(found, copied, rtol=4 * EPS, atol=EPS)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("rows_of", [softmax, log_softmax])
def test_softmax_of_nothing(rows_of):
    assert rows_of(np.zeros((0, 3), F)).shape == (0, 3)
    assert rows_of(np.zeros((3, 0), F)).shape == (3, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: softmax(np.array(1, F)), "SOFTMAX of a scalar"),
        (lambda: prelu(np.ones((2, 3), F), np.ones(2, F)), "must broadcast"),
        (lambda: prelu(np.ones((1, 3), F), np.ones((2, 1), F)), "must broadcast"),
        (lambda: prelu(np.ones((1, 3), F), np.ones(3, np.float64)), "one type"),
        (lambda: ours("RELU", [np.ones(3, np.int8)]), "floats are required"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidValue, match=message):
        call()

"""Operators on elements against LiteRT's reference kernels.

What IEEE 754 rounds correctly is equal; transcendental functions may differ by the sum of both libraries' errors.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quantlib.errors import InvalidValue
from quantlib.numerics import from_bfloat16, to_bfloat16
from quantlib.operators import row
from quantlib.operators.elementwise.floating import BINARY, UNARY, add_n, binary, cast, select, select_v2, unary
from quantlib.tflite import Table, tensor_type_code
from tests.support.examples import examples
from tests.support.single import litert, ours, type_name

F, H, D = np.float32, np.float16, np.float64
I8, I16, I32, I64, U8, U32, B = np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32, np.bool_
EPS = float(np.finfo(F).eps)

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, max_side=5)
SEEDS = st.integers(0, 2**32 - 1)
PAIRS = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=5).map(lambda s: s.input_shapes)

# Types that LiteRT 2.3 computes without scales. CEIL and ROUND have no reference kernel: another resolver has them.
UNARY_TYPES = {
    "ABS": (F, I16),
    "CEIL": (F,),
    "COS": (F,),
    "EXP": (F,),
    "FLOOR": (F, H),
    "LOG": (F,),
    "LOGICAL_NOT": (B,),
    "NEG": (F, H, I8, I16, I32, I64),
    "ROUND": (F,),
    "RSQRT": (F,),
    "SIGN": (F, D, I32),
    "SIN": (F,),
    "SQRT": (F,),
    "SQUARE": (F,),
    "ZEROS_LIKE": (F, I32, I64),
}
COMPARED = (F, H, I16, I32, I64)
BINARY_TYPES = {
    "ADD": (F, I16, I32, I64),
    "ATAN2": (F, H, D),
    "BITWISE_XOR": (I8, U8, I16, I32, U32),
    "DIV": (F, I32),
    "EQUAL": (*COMPARED, B),
    "FLOOR_DIV": (F, I8, I16, I32),
    "FLOOR_MOD": (F, I8, I16, I32, I64),
    "GREATER": COMPARED,
    "GREATER_EQUAL": COMPARED,
    "LESS": COMPARED,
    "LESS_EQUAL": COMPARED,
    "LOGICAL_AND": (B,),
    "LOGICAL_OR": (B,),
    "MAXIMUM": (F, H, I8, U8, I16, I32, I64),
    "MINIMUM": (F, H, I8, U8, I16, I32, I64),
    "MUL": (F, I16, I32, U32, I64),
    "NOT_EQUAL": (F, H, I32, I64, B),  # LiteRT leaves the output of unquantized INT16 as it was
    "POW": (F, I32),
    "RIGHT_SHIFT": (I8, U8, I16, I32, U32),
    "SQUARED_DIFFERENCE": (F, I32),
    "SUB": (F, I32, I64),
}
COMPARISONS = ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
# Greatest relative difference in units of float32's epsilon.
BOUNDS = {"EXP": 3, "LOG": 3, "SIN": 3, "COS": 3, "POW": 4, "ATAN2": 3}


def numbers(rng, dtype, *shape, divisor=False):
    """Few integers, so that they often are equal, and greater ones; floats likewise."""
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if kind == "f":
        found = np.where(rng.random(shape) < 0.3, rng.integers(-3, 4, shape), rng.standard_normal(shape) * 9)
    else:
        span = np.iinfo(dtype)
        wide = rng.integers(span.min, span.max, shape, dtype, endpoint=True)
        found = np.where(rng.random(shape) < 0.5, wide, rng.integers(0 if kind == "u" else -3, 4, shape))
    found = np.asarray(found).astype(dtype)
    return np.where(found == 0, dtype(1), found).astype(dtype) if divisor else found


def assert_near(reference, other, bound=0.0):
    assert other.shape == reference.shape
    assert other.dtype == reference.dtype
    step = bound * (float(np.finfo(reference.dtype).eps) if reference.dtype.kind == "f" else 0)
    if bound == 0:
        np.testing.assert_array_equal(other, reference)
    else:
        np.testing.assert_allclose(other, reference, rtol=step, atol=1e-37)


def options_of(operator, **fields):
    name = row(operator).options
    return Table(name, **fields) if name else None


def test_every_operator_is_compared():
    assert set(UNARY_TYPES) == set(UNARY)
    assert set(BINARY_TYPES) == set(BINARY)


@pytest.mark.parametrize("operator", sorted(UNARY_TYPES))
def test_unary(operator):
    resolver = "builtin" if operator in ("CEIL", "ROUND") else "reference"

    @given(SHAPES, SEEDS, st.sampled_from(UNARY_TYPES[operator]))
    @examples(6)
    def check(shape, seed, dtype):
        x = numbers(np.random.default_rng(seed), dtype, *shape)
        if operator in ("LOG", "SQRT", "RSQRT"):
            x = np.abs(x)
        types = (type_name(x),)
        (reference,) = litert(operator, [x], options_of(operator), types, resolver=resolver)
        (found,) = ours(operator, [x], types=types)
        assert_near(reference, found, BOUNDS.get(operator, 0))

    check()


@pytest.mark.parametrize("operator", sorted(BINARY_TYPES))
def test_binary(operator):
    @given(PAIRS, SEEDS, st.sampled_from(BINARY_TYPES[operator]))
    @examples(12)
    def check(shapes, seed, dtype):
        rng = np.random.default_rng(seed)
        a = numbers(rng, dtype, *shapes[0])
        shape = shapes[0] if operator == "ATAN2" else shapes[1]  # which LiteRT doesn't broadcast
        b = numbers(rng, dtype, *shape, divisor=operator in ("DIV", "FLOOR_DIV", "FLOOR_MOD"))
        if operator == "POW":  # below zero, or out of range, integer powers have no meaning
            a, b = (np.abs(a), b) if dtype is F else (a % 20 - 10, b % 8)
        types = ("BOOL",) if operator in COMPARISONS else (type_name(a),)
        (reference,) = litert(operator, [a, b], options_of(operator), types)
        (found,) = ours(operator, [a, b], options_of(operator), types)
        assert_near(reference, found, BOUNDS.get(operator, 0))

    check()


@given(
    PAIRS,
    SEEDS,
    st.sampled_from(("ADD", "SUB", "MUL", "DIV")),
    st.sampled_from((F, I32, I64)),
    st.integers(0, 5),
)
@examples(50)
def test_fused_activations(shapes, seed, operator, dtype, activation):
    dtype = I32 if operator == "DIV" and dtype is I64 else dtype
    rng = np.random.default_rng(seed)
    a, b = numbers(rng, dtype, *shapes[0]), numbers(rng, dtype, *shapes[1], divisor=True)
    options = options_of(operator, fused_activation_function=activation)
    (reference,) = litert(operator, [a, b], options, (type_name(a),))
    (found,) = ours(operator, [a, b], options, (type_name(a),))
    assert_near(reference, found)


@given(SHAPES, SEEDS, st.sampled_from((F, I32)), st.integers(2, 5))
@examples(20)
def test_add_n(shape, seed, dtype, count):
    rng = np.random.default_rng(seed)
    arrays = [numbers(rng, dtype, *shape) for _ in range(count)]
    if dtype is F:  # LiteRT adds in another order where it has threads
        arrays = [np.rint(a) for a in arrays]
    (reference,) = litert("ADD_N", arrays, Table("AddNOptions"), (type_name(arrays[0]),))
    assert_near(reference, ours("ADD_N", arrays)[0])


def test_infinities_are_not_clipped_as_by_the_default_runtime():
    # LiteRT's reference kernels clip them to the greatest finite number; XNNPACK doesn't.
    a = np.array([np.inf, -np.inf, np.nan, 1], F)
    for operator in ("ADD", "SUB", "MUL", "DIV"):
        b = np.array([1, 1, 1, 0], F)
        (reference,) = litert(operator, [a, b], options_of(operator), resolver="default")
        assert_near(reference, ours(operator, [a, b], options_of(operator))[0])


SPECIAL = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.0, 0.5, -2.5], F)


@pytest.mark.parametrize("operator", ["MAXIMUM", "MINIMUM", "FLOOR_MOD", "POW", "ATAN2", "SQUARED_DIFFERENCE"])
def test_special_pairs(operator):
    a, b = (np.ascontiguousarray(v.reshape(-1)) for v in np.meshgrid(SPECIAL, SPECIAL))
    (reference,) = litert(operator, [a, b], options_of(operator))
    assert_near(reference, ours(operator, [a, b])[0], BOUNDS.get(operator, 0))


@pytest.mark.parametrize("operator", COMPARISONS)
def test_special_comparisons(operator):
    a, b = (np.ascontiguousarray(v.reshape(-1)) for v in np.meshgrid(SPECIAL, SPECIAL))
    assert_near(*litert(operator, [a, b], None, ("BOOL",)), *ours(operator, [a, b]))


@pytest.mark.parametrize("operator", sorted(set(UNARY) - {"LOGICAL_NOT"}))
def test_special_values(operator):
    resolver = "builtin" if operator in ("CEIL", "ROUND") else "reference"
    assert_near(
        *litert(operator, [SPECIAL], options_of(operator), resolver=resolver),
        *ours(operator, [SPECIAL]),
        BOUNDS.get(operator, 0),
    )


def test_transcendental_functions_over_their_whole_range():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-100, 90, 4000), rng.uniform(-1, 1, 4000)]).astype(F)
    for operator in ("EXP", "SIN", "COS"):
        assert_near(*litert(operator, [x], options_of(operator)), *ours(operator, [x]), 3)
    positive = np.exp(rng.uniform(-80, 80, 4000)).astype(F)
    for operator, bound in (("LOG", 3), ("SQRT", 0), ("RSQRT", 0)):
        assert_near(*litert(operator, [positive]), *ours(operator, [positive]), bound)


def test_quotients_are_floored_in_double_precision():
    a, b = np.array([1, 3, -1, 1e30], F), np.array([0.1, 0.3, 0.1, 7], F)
    assert_near(*litert("FLOOR_DIV", [a, b]), *ours("FLOOR_DIV", [a, b]))
    assert ours("FLOOR_DIV", [a, b])[0][0] == 9


def test_shifts_beyond_the_width():
    x = np.array([-128, 127, -1, 64, -128], I8)
    counts = np.array([100, 8, 7, -5, 0], I8)
    assert_near(*litert("RIGHT_SHIFT", [x, counts], None, ("INT8",)), *ours("RIGHT_SHIFT", [x, counts]))
    x, counts = np.array([255, 128, 127, 3], U8), np.array([8, 200, 7, 1], U8)
    assert_near(*litert("RIGHT_SHIFT", [x, counts], None, ("UINT8",)), *ours("RIGHT_SHIFT", [x, counts]))


def test_least_integer():
    assert unary("ABS", np.array([-128], I8)).tolist() == [-128]
    assert binary("FLOOR_DIV", np.array([-(2**31)], I32), np.array([-1], I32)).tolist() == [-(2**31)]


@pytest.mark.parametrize("operator", sorted(set(BINARY) - {"LOGICAL_AND", "LOGICAL_OR"}))
def test_empty_and_scalar_operands(operator):
    dtype = BINARY_TYPES[operator][0]
    empty = binary(operator, np.ones((0, 3), dtype), np.ones((1, 1), dtype))
    assert empty.shape == (0, 3)
    scalar = binary(operator, np.array(3, dtype), np.array(2, dtype))
    assert isinstance(scalar, np.ndarray)
    assert scalar.shape == ()
    assert scalar.dtype == (bool if operator in COMPARISONS else dtype)


@pytest.mark.parametrize("operator", sorted(UNARY))
def test_operands_are_left_alone(operator):
    x = np.ones((2, 3), UNARY_TYPES[operator][0])
    x.flags.writeable = False
    assert not np.shares_memory(unary(operator, x), x)


# Choice

CONDITIONS = hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, max_side=4).map(lambda s: s.input_shapes)
SELECTED = (F, H, D, I8, U8, I16, I32, U32, I64, B)


@given(CONDITIONS, SEEDS, st.sampled_from(SELECTED))
@examples(30)
def test_select_v2(shapes, seed, dtype):
    rng = np.random.default_rng(seed)
    operands = [numbers(rng, B, *shapes[0]), numbers(rng, dtype, *shapes[1]), numbers(rng, dtype, *shapes[2])]
    (reference,) = litert("SELECT_V2", operands, None, (type_name(operands[1]),))
    (found,) = ours("SELECT_V2", operands)
    if found.size == 1:  # then LiteRT keeps the shape that the file gives, here ()
        found = found.reshape(reference.shape)
    assert_near(reference, found)


@given(hnp.array_shapes(min_dims=1, max_dims=4, min_side=2, max_side=4), SEEDS, st.sampled_from(SELECTED), st.data())
@examples(30)
def test_select(shape, seed, dtype, data):
    rng = np.random.default_rng(seed)
    condition = numbers(rng, B, *data.draw(st.sampled_from(((), shape[:1], shape))))
    operands = [condition, numbers(rng, dtype, *shape), numbers(rng, dtype, *shape)]
    assert_near(*litert("SELECT", operands, None, (type_name(operands[1]),)), *ours("SELECT", operands))


# Conversion

CAST_TYPES = (F, H, D, I8, U8, I16, I32, U32, I64, B)
CAST_TO = ("FLOAT32", "FLOAT16", "FLOAT64", "INT8", "UINT8", "INT16", "INT32", "UINT32", "INT64", "BOOL", "UINT16")
EDGES = [
    *(0.0, -0.0, 0.5, -0.5, 1.5, -1.5, 0.99, -0.99, 126.9, 127.0, 127.6, 128.0, -128.0, -128.9, -129.0, 255.9, 256.0),
    *(32767.6, 32768.0, -32768.9, -32769.0, 65535.9, 65536.0, 2.0**31, 2.0**31 - 128, -(2.0**31), -(2.0**31) - 256),
    *(2.0**32, 2.0**32 - 256, 2.0**63, 2.0**63 - 2.0**39, -(2.0**63), -(2.0**64), 3e38, np.inf, -np.inf, np.nan),
    *(1 + 2.0**-11 + 2.0**-40, 1 + 3 * 2.0**-11 - 2.0**-40),  # ties of float16, once they are rounded to float32
]


def cast_operand(dtype):
    kind = np.dtype(dtype).kind
    with np.errstate(over="ignore"):
        if kind == "f":
            return np.array(EDGES).astype(dtype)
    if kind == "b":
        return np.array([False, True])
    span = np.iinfo(dtype)
    near = [v + d for v in (0, 2**7, 2**8, 2**15, 2**16, 2**31, 2**32, 2**24, 2**53) for d in (-1, 0, 1)]
    return np.array([v for v in (*near, *(-v for v in near), span.min, span.max) if span.min <= v <= span.max], dtype)


@pytest.mark.parametrize("to", [*CAST_TO, "COMPLEX64"])
@pytest.mark.parametrize("dtype", CAST_TYPES)
def test_cast(dtype, to):
    x = cast_operand(dtype)
    assert_near(*litert("CAST", [x], Table("CastOptions"), (to,)), *ours("CAST", [x], Table("CastOptions"), (to,)))


@pytest.mark.parametrize("to", ["INT8", "UINT8", "INT16", "INT32", "UINT32", "INT64"])
def test_cast_of_single_values(to):
    # Ordinary values take a shorter way, which must end where the range does.
    for dtype in (F, H, D):
        x = cast_operand(dtype)
        assert [cast(v.reshape(1), to)[0] for v in x] == cast(x, to).tolist()


@pytest.mark.parametrize("to", ["INT4", "UINT4", "INT2"])
def test_cast_to_few_bits(to):
    x = np.array([-9, -1.5, -0.5, 0, 0.5, 1.5, 7, 9, 14.9, 99, np.inf, -np.inf, np.nan], F)
    (reference,) = litert("CAST", [x], Table("CastOptions"), (to,))
    (found,) = ours("CAST", [x], Table("CastOptions"), (to,))
    np.testing.assert_array_equal(found, reference)


@pytest.mark.parametrize("to", ["INT8", "INT32", "INT64"])
def test_cast_of_ordinary_values(to):
    x = np.random.default_rng(0).uniform(-120, 120, (3, 50)).astype(F)
    assert_near(*litert("CAST", [x], Table("CastOptions"), (to,)), *ours("CAST", [x], Table("CastOptions"), (to,)))


def test_cast_of_bfloat16_and_complex():
    x = np.array([1.0, -2.5, 3e38, 0.1], F)
    bits = to_bfloat16(x)
    np.testing.assert_array_equal(cast(x, "BFLOAT16"), bits)
    options = Table("CastOptions", in_data_type=tensor_type_code("BFLOAT16"))
    np.testing.assert_array_equal(*ours("CAST", [bits], options), from_bfloat16(bits))
    np.testing.assert_array_equal(*ours("CAST", [bits], Table("CastOptions"), ("INT32",)), bits.astype(I32))
    assert cast(np.array([1.5 - 3j, 2j], np.complex64), "INT16").tolist() == [1, 0]


def test_cast_of_nothing():
    assert cast(np.zeros((0, 2), F), "INT8").shape == (0, 2)
    assert cast(np.array(2.7, F), "INT8").shape == ()


# Refusals

ONE = np.ones((2, 3), F)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: unary("SIN", np.ones(3, I32)), "SIN of int32: floats"),
        (lambda: unary("NO", ONE), "no operation 'NO'"),
        (lambda: binary("ADD", ONE, np.ones((2, 2), F)), "can't be broadcast"),
        (lambda: binary("ADD", ONE, ONE.astype(D)), "float32 and float64"),
        (lambda: binary("LOGICAL_OR", ONE, ONE), "booleans"),
        (lambda: binary("DIV", np.ones(2, I32), np.array([1, 0], I32)), "DIV by zero"),
        (lambda: binary("FLOOR_MOD", np.ones(2, I32), np.array([1, 0], I32)), "FLOOR_MOD by zero"),
        (lambda: binary("FLOOR_DIV", ONE, ONE * 0), "FLOOR_DIV by zero"),
        (lambda: binary("POW", np.ones(2, I32), np.array([1, -1], I32)), "exponent -1"),
        (lambda: add_n([ONE]), "two or more"),
        (lambda: add_n([ONE, ONE[:1]]), "one shape"),
        (lambda: select(np.array([[True]]), ONE, ONE), "first axis"),
        (lambda: select(np.array(True), ONE, ONE[:1]), "one shape"),
        (lambda: select_v2(ONE, ONE, ONE), "booleans"),
        (lambda: select_v2(ONE > 0, ONE, ONE.astype(D)), "one type"),
        (lambda: select_v2(np.ones(4, bool), ONE, ONE), "can't be broadcast"),
        (lambda: cast(ONE, "STRING"), "CAST of float32 to STRING"),
        (lambda: cast(np.ones(3, I32), "INT4"), "floats are required"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidValue, match=message):
        call()

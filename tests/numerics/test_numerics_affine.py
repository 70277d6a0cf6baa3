"""Affine maps: the parameters, and quantize and dequantize against the plain formula."""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    Affine,
    PerAxis,
    PerBlock,
    PerTensor,
    channels,
    dequantize,
    element_type,
    fake_quantize,
    parameter_shape,
    quantize,
    quantize_balanced,
    retyped,
    round_half_away,
    round_half_even,
    weight_range,
)
from quantlib.numerics._blocks import BLOCK
from tests.support.layouts import LAYOUTS

NARROW = ("INT2", "INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16")


def spread(values, granularity, shape):
    """Per-channel values as an array of the tensor's shape."""
    if isinstance(granularity, PerTensor):
        return np.full(shape, values[0])
    if isinstance(granularity, PerAxis):
        rest = [1] * len(shape)
        rest[granularity.axis] = -1
        return np.broadcast_to(values.reshape(rest), shape)
    return values.repeat(granularity.size, granularity.axis)


def formula(x, affine, rounding):
    """Quantize with one expression."""
    inverse = spread(np.float32(1) / affine.scale, affine.granularity, x.shape)
    zero_point = spread(affine.zero_point, affine.granularity, x.shape)
    with np.errstate(over="ignore"):
        levels = rounding(np.asarray(x.astype(np.float32) * inverse)).astype(np.float64) + zero_point
    return np.clip(levels, affine.qmin, affine.qmax).astype(affine.type.storage)


def affine_for(shape, granularity, name, rng, symmetric=False):
    kind, size = element_type(name), parameter_shape(granularity, shape)
    scale = rng.uniform(0.001, 0.1, size).astype(np.float32)
    zero_point = np.zeros(size, np.int64) if symmetric else rng.integers(kind.min, kind.max + 1, size)
    return Affine(kind, scale, zero_point, granularity)


@pytest.mark.parametrize(("shape", "granularity"), LAYOUTS, ids=str)
@pytest.mark.parametrize("symmetric", [True, False])
def test_every_layout(shape, granularity, symmetric):
    rng = np.random.default_rng(7)
    affine = affine_for(shape, granularity, "INT8", rng, symmetric)
    x = rng.normal(0, 3, shape).astype(np.float32) * np.float32(1)
    x = np.asarray(x, np.float32).reshape(shape)
    for rounding in (round_half_even, round_half_away):
        q = quantize(x, affine, rounding=rounding)
        assert q.dtype == np.int8
        assert q.shape == shape
        np.testing.assert_array_equal(q, formula(x, affine, rounding))
    zero_point = spread(affine.zero_point, granularity, shape)
    real = dequantize(q, affine)
    assert real.dtype == np.float32
    np.testing.assert_array_equal(
        real, (q - zero_point).astype(np.float32) * spread(affine.scale, granularity, shape)
    )
    np.testing.assert_array_equal(fake_quantize(x, affine, rounding=round_half_away), real)


@pytest.mark.parametrize("name", NARROW)
def test_every_integer_survives(name):
    kind = element_type(name)
    q = np.arange(kind.min, kind.max + 1).astype(kind.storage)
    middle = (kind.min + kind.max) // 2
    for scale, zero_point in itertools.product((0.1, 1 / 3, 7.0, 1e-30, 2e33), (kind.min, middle, kind.max)):
        affine = Affine(kind, scale, zero_point)
        np.testing.assert_array_equal(quantize(dequantize(q, affine), affine), q)


@pytest.mark.parametrize("name", ["INT8", "UINT8", "INT4", "UINT4", "INT2"])
@pytest.mark.parametrize("narrow", [False, True])
def test_ties_and_saturation_exhaustively(name, narrow):
    kind = element_type(name)
    for zero_point in range(kind.min, kind.max + 1, 1 if kind.bits < 8 else 15):
        affine = Affine(kind, 0.5, zero_point, narrow_range=narrow)
        steps = np.arange(-600, 601) / 2
        for rounding, exact in ((round_half_even, np.rint), (round_half_away, None)):
            rounded = exact(steps) if exact else np.copysign(np.floor(np.abs(steps) + 0.5), steps)
            expected = np.clip(rounded + zero_point, kind.min + narrow, kind.max)
            np.testing.assert_array_equal(quantize(steps * 0.5, affine, rounding=rounding), expected)


def test_the_reciprocal_is_multiplied():
    # Values next to ties, some of which dividing takes to another integer.
    scale = np.float32(0.3)
    x = scale * (np.arange(2**14, dtype=np.float32) + np.float32(0.5))
    product, quotient = np.rint(x * (np.float32(1) / scale)), np.rint(x / scale)
    assert (product != quotient).any()
    np.testing.assert_array_equal(quantize(x, Affine("INT16", scale)), product)


@given(
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=8),
    st.floats(2.0**-126, 2.0**127, width=32),
    st.integers(-128, 127),
)
def test_any_float32(values, scale, zero_point):
    x, affine = np.array(values, np.float32), Affine("INT8", scale, zero_point)
    np.testing.assert_array_equal(quantize(x, affine), formula(x, affine, round_half_even))


@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4"])
def test_other_dtypes_are_rounded_to_float32_first(dtype):
    x = np.random.default_rng(1).normal(0, 20, 4000).astype(dtype)
    affine = Affine("INT8", 0.3, 5)
    np.testing.assert_array_equal(quantize(x, affine), quantize(x.astype(np.float32), affine))
    np.testing.assert_array_equal(fake_quantize(x, affine), fake_quantize(x.astype(np.float32), affine))


def test_infinities_and_huge_values_saturate():
    affine = Affine("INT8", 2.0**-126, 3)
    x = [np.inf, -np.inf, 1e300, -1e300, 3e38, -3e38]
    np.testing.assert_array_equal(quantize(x, affine), [127, -128] * 3)


@pytest.mark.parametrize("name", ["INT8", "INT32"])
def test_what_is_beyond_float32_is_infinite(name):
    affine = Affine(name, 3e38)
    stored = np.array([-2, -1, 2], affine.type.storage)
    assert dequantize(stored, affine).tolist() == [-np.inf, -affine.scale.item(), np.inf]


@pytest.mark.parametrize("position", [0, 1, BLOCK, 2 * BLOCK + 4])
@pytest.mark.parametrize("name", ["INT8", "INT32"])
def test_nan_is_refused_wherever_it_is(position, name):
    x = np.zeros((3, BLOCK), np.float32)
    x.flat[position] = np.nan
    where = rf"NaN at index \({position // BLOCK}, {position % BLOCK}\)"
    for function in (quantize, fake_quantize):
        with pytest.raises(InvalidValue, match=where):
            function(x, Affine(name, 0.5))


@pytest.mark.parametrize("name", ["INT32", "INT64", "UINT32", "UINT64"])
@pytest.mark.parametrize("narrow", [False, True])
def test_wide_types_saturate_exactly(name, narrow):
    kind = element_type(name)
    affine = Affine(kind, 1.0, narrow_range=narrow)
    ends = [2.0 ** (kind.bits - 1), 2.0**kind.bits, np.inf, 1e30]
    below = float(np.nextafter(np.float32(2.0 ** (kind.bits - 1)), np.float32(0)))
    x = np.array([*ends, *(-v for v in ends), below, -below, 0.0, 5.0], np.float32)
    expected = [
        min(max(int(v) if np.isfinite(v) else int(np.sign(v)) << 99, affine.qmin), affine.qmax) for v in x.tolist()
    ]
    q = quantize(x, affine)
    assert q.dtype == kind.storage
    assert q.tolist() == expected
    real = np.array([float(np.float32(float(v))) for v in expected], np.float32)
    np.testing.assert_array_equal(dequantize(q, affine), real)
    np.testing.assert_array_equal(fake_quantize(x, affine), real)


def test_int32_with_zero_point():
    affine = Affine("INT32", 0.5, 2**31 - 1)
    expected = [2**31 - 1, 2**31 - 1, 2**31 - 3, -(2**31)]
    assert quantize([0.0, 1.0, -1.0, -(2.0**31)], affine).tolist() == expected
    assert dequantize(np.array([2**31 - 1, -(2**31)], np.int32), affine).tolist() == [0.0, -(2.0**31)]


def test_bias_as_the_converter_does_it():
    # float32 product with the float32 reciprocal, ties away; 24 significant bits survive.
    scale = np.array([3e-9, 7e-8, 0.25], np.float32)
    bias = np.array([0.731, -1.9, 0.125], np.float32)
    expected = np.trunc(np.float64(bias * (np.float32(1) / scale)) + np.copysign(0.5, bias)).astype(np.int64)
    for name in ("INT32", "INT64"):
        affine = Affine(name, scale, 0, PerAxis(0), narrow_range=True)
        np.testing.assert_array_equal(quantize(bias, affine, rounding=round_half_away), expected)


def test_out_and_strides():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 64)).astype(np.float32)
    for granularity in (PerTensor(), PerAxis(0), PerAxis(1), PerBlock(0, 8), PerBlock(1, 8)):
        affine = affine_for(x.shape, granularity, "INT8", rng)
        q, real = quantize(x, affine), fake_quantize(x, affine)
        for order in "CF":
            out = np.full(x.shape, 99, np.int8, order=order)
            assert quantize(np.asarray(x, order=order), affine, out=out) is out
            np.testing.assert_array_equal(out, q)
            back = np.full(x.shape, 99, np.float32, order=order)
            assert dequantize(out, affine, out=back) is back
            np.testing.assert_array_equal(back, real)
    wide = np.zeros((40, 128), np.int8)
    quantize(x, affine, out=wide[:, ::2])
    np.testing.assert_array_equal(wide[:, ::2], q)
    assert not wide[:, 1::2].any()


def test_inputs_stay_as_they_are():
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    x.flags.writeable = False
    q = quantize(x, Affine("INT8", 0.02, 7))
    q.flags.writeable = False
    dequantize(q, Affine("INT8", 0.02, 7))


def test_threads_may_share_the_work():
    x = np.random.default_rng(0).normal(size=(8, BLOCK)).astype(np.float32)
    affine, out = Affine("INT8", 0.02, 7), np.empty(x.shape, np.int8)
    work = [threading.Thread(target=quantize, args=(x[k], affine), kwargs={"out": out[k]}) for k in range(8)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    np.testing.assert_array_equal(out, quantize(x, affine))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: quantize([1, 2], a), "dtype int64 is not float"),
        (lambda a: quantize(np.zeros(2, np.longdouble), a), "is not float"),
        (lambda a: quantize([1.0], a, out=np.zeros(1, np.uint8)), "out is uint8"),
        (lambda a: quantize([1.0], a, out=np.zeros(2, np.int8)), r"out is int8\(2,\); int8\(1,\)"),
        (lambda a: dequantize(np.zeros(1, np.uint8), a), "uint8 values for INT8"),
        (lambda a: dequantize(np.zeros(1, np.int8), a, out=np.zeros(1)), "out is float64"),
        (lambda a: quantize([1.0], Affine("INT8", 0.0)), "not a normal float32"),
        (lambda a: quantize([1.0], Affine("INT8", 1e-40)), "not a normal float32"),
        (lambda a: fake_quantize([1.0], Affine("INT8", [1.0, 0.0], 0, PerAxis(0))), r"\(2,\) for a tensor"),
        (lambda a: quantize(np.zeros((2, 2)), Affine("INT8", [1.0], 0, PerAxis(1))), r"\(2,\) is required"),
        (
            lambda a: dequantize(np.zeros((2, 2), np.int8), Affine("INT8", 1.0, 0, PerAxis(2))),
            "needs an axis 2",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(InvalidValue, match=message):
        call(Affine("INT8", 0.5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("FLOAT32", 1.0), "FLOAT32 has no affine map"),
        (("INT8", -1.0), "scale -1.0 of channel 0"),
        (("INT8", [1.0, np.nan], 0, PerAxis(0)), "scale nan of channel 1"),
        (("INT8", np.inf), "scale inf"),
        (("INT8", 1e39), "scale inf"),
        (("INT8", 1.0, 128), "zero point 128 of channel 0 is outside -128..127"),
        (("UINT8", 1.0, -1), "outside 0..255"),
        (("INT64", 1.0, 1), "outside 0..0"),
        (("INT8", 1.0, 0.5), "zero points are float64"),
        (("INT8", [1.0, 2.0]), "don't fit PerTensor"),
        (("INT8", [[1.0]], 0, PerAxis(0)), "don't fit PerAxis"),
        (("INT8", [1.0], 0, PerBlock(1, 4)), "don't fit PerBlock"),
        (("INT8", [1.0, 2.0], [0, 0, 0], PerAxis(0)), "one integer, or"),
        (("INT8", 1.0, 0, 0), "granularity is 0"),
        (("INT8", "wide"), "^scale is 'wide'; a number, or an array of numbers, is required$"),
        (("INT8", [[1.0], [1.0, 2.0]]), r"^scale is \[\[1.0\], \[1.0, 2.0\]\]; a number, or an array"),
        (("INT8", 1j), "^scale is 1j; a number"),
    ],
)
def test_affine_refuses(arguments, message):
    with pytest.raises(InvalidValue, match=message):
        Affine(*arguments)


@pytest.mark.parametrize("thing", [None, "INT8", 0.5, (0.5, 0)])
@pytest.mark.parametrize(
    "call",
    [
        lambda thing: quantize([1.0], thing),
        lambda thing: dequantize(np.zeros(1, np.int8), thing),
        lambda thing: fake_quantize([1.0], thing),
        lambda thing: quantize_balanced(np.ones((2, 2), np.float32), thing, mean=0.0, variance=1.0),
        lambda thing: retyped(thing, "INT8"),
    ],
)
def test_something_else_in_place_of_parameters(call, thing):
    with pytest.raises(InvalidValue, match=f"^affine is a {type(thing).__name__}; an Affine is required"):
        call(thing)


@pytest.mark.parametrize("thing", ["axis", None, 3])
def test_something_else_in_place_of_granularity(thing):
    for call in (parameter_shape, channels):
        with pytest.raises(InvalidValue, match=r"^granularity is .*; use PerTensor"):
            call(thing, (2, 3))
    with pytest.raises(InvalidValue, match=r"^granularity is .*; use PerTensor"):
        weight_range(np.ones((2, 3)), thing)


def test_affine_is_a_value():
    a = Affine("INT8", [0.5, 0.25], [1, 2], PerAxis(0), True)
    b = Affine(element_type("INT8"), np.array([0.5, 0.25]), np.array([1, 2], np.int8), PerAxis(0), True)
    assert a == b
    assert hash(a) == hash(b)
    for other in (
        Affine("INT4", [0.5, 0.25], [1, 2], PerAxis(0), True),
        Affine("INT8", [0.5, 0.125], [1, 2], PerAxis(0), True),
        Affine("INT8", [0.5, 0.25], [1, 3], PerAxis(0), True),
        Affine("INT8", [0.5, 0.25], [1, 2], PerAxis(1), True),
        Affine("INT8", [0.5, 0.25], [1, 2], PerAxis(0), False),
        "INT8",
    ):
        assert a != other
    scale = np.array([1.0], np.float32)
    c = Affine("INT8", scale)
    scale[0] = 2
    assert c.scale[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        c.scale[0] = 3
    with pytest.raises(ValueError, match="read-only"):
        c.zero_point[0] = 3
    assert (a.qmin, a.qmax) == (-127, 127)
    np.testing.assert_array_equal(Affine("INT8", [1.0, 2.0], 7, PerAxis(0)).zero_point, [7, 7])
    assert dequantize(np.array([5], np.int8), Affine("INT8", 0.0)) == [0]


def test_parameters_are_found_in_another_process() -> None:
    """Hashes of text differ from process to process, so none may travel along."""
    affine = Affine("INT8", [0.5, 0.25], [0, 1], PerAxis(0))
    known = {affine}
    code = (
        "import pickle, sys; from quantlib.numerics import Affine, PerAxis; "
        "found = pickle.loads(sys.stdin.buffer.read()); "
        "sys.exit(Affine('INT8', [0.5, 0.25], [0, 1], PerAxis(0)) not in found)"
    )
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        assert not subprocess.run([sys.executable, "-c", code], input=pickle.dumps(known), env=environment).returncode


@pytest.mark.parametrize(
    ("shape", "granularity"),
    [
        ((4, 2), PerBlock(0, 4)),
        ((4, 2), PerBlock(0, 2)),
        ((1, 4, 2), PerBlock(1, 4)),
        ((8, 3, 3, 16), PerBlock(0, 8)),
        ((8, 3, 3, 16), PerBlock(3, 4)),
        ((2, 4, 3), PerBlock(1, 2)),
        ((4, 1), PerBlock(0, 2)),
    ],
)
def test_blocks_along_any_axis(shape: tuple[int, ...], granularity: PerBlock) -> None:
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.5, 2, parameter_shape(granularity, shape)).astype(np.float32)
    affine = Affine("INT8", scale, np.arange(scale.size).reshape(scale.shape) % 7, granularity)
    x = rng.uniform(-99, 99, shape).astype(np.float32)
    per, points = (np.repeat(a, granularity.size, granularity.axis) for a in (scale, affine.zero_point))
    expected = np.clip(np.rint(x * (np.float32(1) / per)) + points, -128, 127)
    for order in "CF":
        given, out = np.asarray(x, order=order), np.full(shape, 99, np.int8, order=order)
        assert np.array_equal(quantize(given, affine), expected)
        assert quantize(given, affine, out=out) is out
        assert np.array_equal(out, expected)
        real = np.full(shape, np.nan, np.float32, order=order)
        dequantize(out, affine, out=real)
        assert np.array_equal(real, ((expected - points) * per).astype(np.float32))


def test_unsigned_zero_points_do_not_wrap() -> None:
    for points in (2**64 - 5, np.array([3, 2**64 - 5], np.uint64)):
        with pytest.raises(InvalidValue, match="zero point 18446744073709551611"):
            Affine("INT8", np.ones(np.size(points), np.float32), points, PerAxis(0))
    assert Affine("INT8", 0.5, np.uint64(3)).zero_point.tolist() == [3]


def test_what_cannot_be_written_to_is_refused() -> None:
    frozen = np.zeros(2, np.int8)
    frozen.flags.writeable = False
    for out, held in ((frozen, "read-only"), ([0, 0], "a list")):
        with pytest.raises(InvalidValue, match=f"out is {held}"):
            quantize([1.0, 2.0], Affine("INT8", 1.0), out=out)


def test_ragged_rows_are_no_array() -> None:
    with pytest.raises(InvalidValue, match="rows of different lengths"):
        quantize([[1.0], [1.0, 2.0]], Affine("INT8", 1.0))

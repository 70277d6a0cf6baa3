"""float16 and bfloat16 against NumPy's own cast and against exact neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.numerics import from_bfloat16, from_float16, to_bfloat16, to_float16
from quantlib.numerics._blocks import BLOCK

HALVES = np.arange(2**16, dtype=np.uint16).view(np.float16)


def plain(x):
    """What is promised, in NumPy's words: clip, cast, one NaN, and the count."""
    with np.errstate(invalid="ignore"):
        half = np.clip(x, -65504, 65504).astype(np.float16).view(np.uint16)
        half[np.isnan(x)] = 0x7E00
        return half, int((np.abs(x) >= 65520).sum())


def check(x):
    half, saturated = to_float16(x)
    expected, count = plain(x)
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half.view(np.uint16), expected)
    assert saturated == count


def interesting():
    """Every float16, every midpoint, and their float32 neighbours on both sides."""
    finite = np.sort(np.unique(HALVES[np.isfinite(HALVES)].astype(np.float32)))
    midpoints = (finite[1:] + finite[:-1]) / 2
    x = np.concatenate([finite, midpoints, [-0.0, 65519.996, 65520, 65535, 65536]]).astype(np.float32)
    return np.concatenate([x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))])


def test_float16_values_midpoints_and_neighbours():
    x = interesting()
    check(x)
    # Blocks without a large value go another way than blocks with one.
    check(x[np.abs(x) < 65520])
    for v in x[np.abs(x) >= 65500]:
        check(np.array([v, 1.0], np.float32))


def test_float16_random_bits():
    bits = np.random.default_rng(5).integers(0, 2**32, 4 * BLOCK, np.uint32)
    x = bits.view(np.float32)
    check(x)
    check(x[np.abs(x) < 65520])


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20))
def test_float16_any_bits(bits):
    check(np.array(bits, np.uint32).view(np.float32))


def test_float16_subnormal_float32_values():
    check(np.arange(1, 2**23, 977, dtype=np.uint32).view(np.float32))


def test_float16_as_the_converter_writes_it():
    x = np.array([1e5, np.inf, np.nan, 6e-8, 2.99e-8, 2.98e-8, -1e5], np.float32)
    half, saturated = to_float16(x)
    assert half.view(np.uint16).tolist() == [0x7BFF, 0x7BFF, 0x7E00, 0x0001, 0x0001, 0x0000, 0xFBFF]
    assert saturated == 3


def test_float16_from_float64_rounds_once():
    # Via float32 this would be the midpoint, and then go to even.
    above = 1 + 2**-11 + 2**-40
    assert np.float32(above) == 1 + 2**-11
    assert to_float16(np.array([above]))[0][0] == np.float16(1 + 2**-10)
    check(np.random.default_rng(1).normal(0, 1e4, 1000))
    check(np.array([65519.999999999, 65520, np.inf, np.nan, 1e300]))


def test_float16_of_float16():
    half, saturated = to_float16(HALVES)
    finite = np.isfinite(HALVES)
    np.testing.assert_array_equal(half[finite].view(np.uint16), HALVES[finite].view(np.uint16))
    assert saturated == 2
    assert set(half[np.isnan(HALVES)].view(np.uint16)) == {0x7E00}


def test_from_float16_is_exact():
    expected = HALVES.astype(np.float32).view(np.uint32)
    np.testing.assert_array_equal(from_float16(HALVES).view(np.uint32), expected)
    assert from_float16(np.array([1, np.inf, -np.inf], np.float16)).tolist() == [1, np.inf, -np.inf]
    finite = np.isfinite(HALVES)
    np.testing.assert_array_equal(from_float16(HALVES[finite]).view(np.uint32), expected[finite])


def test_bfloat16_values_midpoints_and_neighbours():
    high = np.arange(2**16, dtype=np.uint32) << np.uint32(16)
    finite = (high & np.uint32(0x7F800000)) != 0x7F800000
    even = (high >> np.uint32(16)) % 2 == 0
    for low, up in ((0, False), (0x7FFF, False), (0x8000, None), (0x8001, True), (0xFFFF, True)):
        bits = (high | np.uint32(low))[finite]
        rounded = (high >> np.uint32(16))[finite] + (~even[finite] if up is None else up)
        np.testing.assert_array_equal(to_bfloat16(bits.view(np.float32)), rounded)


def test_bfloat16_special_values():
    x = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, -0.0, 1e300])
    assert to_bfloat16(x).tolist() == [0x7FC0, 0x7F80, 0xFF80, 0x7F80, 0xFF80, 0x8000, 0x7F80]
    nans = np.array([0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF], np.uint32).view(np.float32)
    assert to_bfloat16(nans).tolist() == [0x7FC0] * 3


def test_from_bfloat16_is_exact():
    bits = np.arange(2**16, dtype=np.uint16)
    np.testing.assert_array_equal(from_bfloat16(bits).view(np.uint32), bits.astype(np.uint32) << np.uint32(16))


@pytest.mark.parametrize(
    ("convert", "given_dtype", "dtype"),
    [
        (lambda x, **k: to_float16(x, **k)[0], "f4", "f2"),
        (from_float16, "f2", "f4"),
        (to_bfloat16, "f4", "u2"),
        (from_bfloat16, "u2", "f4"),
    ],
)
def test_shapes_strides_and_out(convert, given_dtype, dtype):
    x = (np.arange(3 * (BLOCK + 5)) % 1000).reshape(3, -1).astype(given_dtype)
    y = convert(x)
    assert y.dtype == dtype
    for view in (x.T, x[:, ::3], x[:, :1], x[:0], x[1, 2], np.asfortranarray(x)):
        expected = np.array([convert(v) for v in np.asarray(view).reshape(-1)[:50]], dtype)
        result = convert(view)
        assert result.shape == np.shape(view)
        np.testing.assert_array_equal(result.reshape(-1)[:50], expected)
    swapped = x.astype(x.dtype.newbyteorder())
    np.testing.assert_array_equal(convert(swapped), y)
    strided = np.zeros((3, 2 * x.shape[1]), dtype)[:, ::2]
    for out in (np.zeros(x.shape, dtype), np.zeros(x.shape, dtype, order="F"), strided):
        assert convert(x, out=out) is out
        np.testing.assert_array_equal(out, y)
    with pytest.raises(InvalidValue, match="is required"):
        convert(x, out=np.zeros(x.shape, "f8"))
    with pytest.raises(InvalidValue, match="is required"):
        convert(x, out=np.zeros(3, dtype))
    with pytest.raises(InvalidValue, match="dtype"):
        convert(x.astype("i4"))

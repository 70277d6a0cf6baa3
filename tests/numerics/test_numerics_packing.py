"""Packing against the definition, byte by byte."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.numerics import element_type, pack, unpack
from quantlib.numerics._blocks import BLOCK

PACKED = ("INT4", "UINT4", "INT2")


def packed_by_hand(values, kind):
    per_byte = 8 // kind.bits
    data = bytearray(kind.nbytes(len(values)))
    for i, v in enumerate(values):
        data[i // per_byte] |= (int(v) % 2**kind.bits) << (i % per_byte * kind.bits)
    return bytes(data)


@pytest.mark.parametrize("name", PACKED)
def test_every_byte(name):
    kind = element_type(name)
    data = np.arange(256, dtype=np.uint8)
    values = unpack(data, name, 256 * 8 // kind.bits)
    assert values.dtype == kind.storage
    assert set(values.tolist()) == set(range(kind.min, kind.max + 1))
    assert packed_by_hand(values, kind) == data.tobytes()
    np.testing.assert_array_equal(pack(values, kind), data)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("count", [*range(10), BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_any_length(name, count):
    kind = element_type(name)
    values = np.random.default_rng(count).integers(kind.min, kind.max + 1, count).astype(kind.storage)
    data = pack(values, name)
    assert data.dtype == np.uint8
    assert data.tobytes() == packed_by_hand(values, kind)
    np.testing.assert_array_equal(unpack(data, name, count), values)
    np.testing.assert_array_equal(unpack(data.tobytes(), name, count), values)


@given(st.sampled_from(PACKED), st.data())
def test_round_trip_from_any_integer_dtype(name, data):
    kind = element_type(name)
    values = data.draw(st.lists(st.integers(kind.min, kind.max), max_size=40))
    dtype = data.draw(st.sampled_from(["i1", "i2", "i4", "i8", ">i4"]))
    array = np.array(values, dtype)
    assert pack(array, name).tobytes() == packed_by_hand(values, kind)
    assert unpack(pack(array, name), name, len(values)).tolist() == values


def test_shapes_and_strides():
    values = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)
    assert pack(values, "INT4").shape == (8,)
    np.testing.assert_array_equal(pack(values.T, "INT4"), pack(values.T.copy(), "INT4"))
    np.testing.assert_array_equal(pack(values[:, ::3], "INT4"), pack(values[:, ::3].copy(), "INT4"))
    data = np.arange(16, dtype=np.uint8)
    np.testing.assert_array_equal(unpack(data[::2], "INT4", 16), unpack(data[::2].copy(), "INT4", 16))


def test_bits_behind_the_end_are_ignored():
    assert unpack(b"\xf1\xa7", "INT4", 3).tolist() == [1, -1, 7]


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("where", [0, 5, BLOCK, BLOCK + 2])
def test_values_that_do_not_fit(name, where):
    kind = element_type(name)
    for wrong in (kind.min - 1, kind.max + 1, 2**40):
        values = np.zeros(BLOCK + 3, np.int64)
        values[where] = wrong
        with pytest.raises(InvalidValue, match=rf"value {wrong} at flat index {where} is outside"):
            pack(values, name)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pack([1], "INT8"), "INT8 is not packed"),
        (lambda: unpack(b"1", "UINT8", 1), "UINT8 is not packed"),
        (lambda: pack([1.0], "INT4"), "float64 can't be packed"),
        (lambda: pack([True], "INT4"), "bool can't be packed"),
        (lambda: unpack(b"12", "INT4", 2), "2 bytes for 2 elements of INT4; 1 are required"),
        (lambda: unpack(b"1", "INT4", 3), "2 are required"),
        (lambda: unpack(b"", "INT2", -1), "0 are required"),
        (lambda: unpack(np.zeros(1, np.int8), "INT4", 2), "int8 is not packed"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(InvalidValue, match=message):
        call()

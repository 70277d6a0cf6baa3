"""Element types against the schema's names, and granularity."""

from __future__ import annotations

import numpy as np
import pytest
import tflite

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    ELEMENT_TYPES,
    PerAxis,
    PerBlock,
    PerTensor,
    as_channels,
    channels,
    element_type,
    parameter_shape,
)


def test_every_type_of_the_schema_is_there():
    published = {name for name in vars(tflite.TensorType) if name.isupper()}
    newer = {"INT2", "UINT4", "FLOAT8_E4M3FN", "FLOAT8_E5M2"}
    assert set(ELEMENT_TYPES) == published | newer
    assert all(name == kind.name for name, kind in ELEMENT_TYPES.items())


@pytest.mark.parametrize("kind", ELEMENT_TYPES.values(), ids=lambda k: k.name)
def test_bits_storage_and_range_agree(kind):
    if kind.kind == "other":
        assert (kind.bits, kind.storage, kind.min, kind.max) == (0, None, None, None)
        return
    assert kind.storage.itemsize * 8 == max(8, kind.bits)
    if kind.is_integer:
        assert kind.max - kind.min == 2**kind.bits - 1
        assert (kind.min < 0) == (kind.kind == "int")
        assert np.iinfo(kind.storage).min <= kind.min
        assert np.iinfo(kind.storage).max >= kind.max
    elif kind.name in ("FLOAT16", "FLOAT32", "FLOAT64"):
        assert kind.max == np.finfo(kind.storage).max == -kind.min


def test_bfloat16_and_float8_ranges():
    assert np.float32(element_type("BFLOAT16").max).view(np.uint32) == 0x7F7F0000
    assert element_type("FLOAT8_E4M3FN").max == 1.75 * 2**8
    assert element_type("FLOAT8_E5M2").max == 1.75 * 2**15


@pytest.mark.parametrize(
    ("name", "count", "nbytes"),
    [
        ("INT4", 0, 0),
        ("INT4", 1, 1),
        ("INT4", 2, 1),
        ("UINT4", 3, 2),
        ("INT2", 4, 1),
        ("INT2", 5, 2),
        ("INT8", 7, 7),
        ("FLOAT32", 3, 12),
        ("BOOL", 3, 3),
        ("COMPLEX128", 2, 32),
        ("STRING", 9, 0),
    ],
)
def test_nbytes(name, count, nbytes):
    assert element_type(name).nbytes(count) == nbytes


def test_lookup():
    int8 = element_type("INT8")
    assert element_type(int8) is int8
    for wrong in ("int8", "", None, 3, []):
        with pytest.raises(InvalidValue, match="is unknown; use one of FLOAT32, FLOAT16"):
            element_type(wrong)
    with pytest.raises(TypeError):
        ELEMENT_TYPES["INT9"] = int8


@pytest.mark.parametrize(
    ("granularity", "shape"),
    [
        (PerTensor(), (1,)),
        (PerAxis(0), (4,)),
        (PerAxis(2), (6,)),
        (PerBlock(2, 3), (4, 5, 2)),
        (PerBlock(0, 2), (2, 5, 6)),
        (PerBlock(1, 1), (4, 5, 6)),
        (PerBlock(1, 5), (4, 1, 6)),
    ],
)
def test_elements_and_their_channel(granularity, shape):
    x = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    assert parameter_shape(granularity, x.shape) == shape
    assert channels(granularity, x.shape) == np.prod(shape)
    owner = np.arange(np.prod(shape)).reshape(shape)
    if isinstance(granularity, PerTensor):
        owner = np.zeros_like(x)
    elif isinstance(granularity, PerAxis):
        owner = np.broadcast_to(np.moveaxis(owner[:, None, None], 0, granularity.axis), x.shape)
    else:
        owner = owner.repeat(granularity.size, granularity.axis)
    grouped = as_channels(x, granularity)
    for c in range(grouped.shape[1]):
        assert sorted(grouped[:, c].ravel()) == sorted(x[owner == c])


def test_grouping_is_a_view_where_it_can_be():
    x = np.zeros((4, 5, 6))
    for granularity in (PerTensor(), PerAxis(0), PerAxis(1), PerAxis(2), PerBlock(2, 3)):
        assert np.shares_memory(as_channels(x, granularity), x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PerAxis(-1), "axis is -1"),
        (lambda: PerAxis(1.5), "axis is 1.5"),
        (lambda: PerBlock(0, 0), "size is 0"),
        (lambda: PerBlock(-1, 4), "axis is -1"),
        (lambda: channels(PerAxis(2), (3, 4)), "needs an axis 2"),
        (lambda: channels(PerBlock(2, 1), (3, 4)), "needs an axis 2"),
        (lambda: channels(PerBlock(1, 3), (3, 4)), "multiple of 3"),
    ],
)
def test_what_does_not_fit(make, message):
    with pytest.raises(InvalidValue, match=message):
        make()

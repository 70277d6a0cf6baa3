"""Kernels that move data give exactly what LiteRT gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.operators import Call
from quantlib.operators.movement import floating
from quantlib.operators.movement.rows import ROWS
from quantlib.tflite import Table
from tests.support.examples import examples
from tests.support.movement import CASES
from tests.support.single import assert_close, litert, ours, type_name

OPTIONS = {row.name: row.options for row in ROWS}
#: The reference resolver registers fewer versions than LiteRT's own, of the same kernels.
VERSIONS = {"STRIDED_SLICE": 2, "GATHER": 2, "TRANSPOSE": 2, "PAD": 2, "PADV2": 2, "BROADCAST_TO": 2}
#: Those that the reference resolver doesn't register at all.
UNREFERENCED = {"SEGMENT_SUM"}


def test_every_row_has_a_case():
    assert {row.name for row in ROWS} == set(CASES)


def assert_same(one, other):
    """Equal, bit for bit: NaN and the sign of zero too."""
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
@examples(25)
def test_agrees_with_litert(name, data):
    case = CASES[name](data.draw)
    options = Table(OPTIONS[name], **case.options) if OPTIONS[name] else None
    types = case.types or (type_name(case.inputs[0]),)
    for operand in case.inputs:
        operand.flags.writeable = False
    found = ours(name, case.inputs, options, types)
    resolver = "builtin" if name in UNREFERENCED else "reference"
    try:
        expected = litert(
            name, case.inputs, options, types, case.constants, resolver=resolver, version=VERSIONS.get(name, 1)
        )
    except ValueError as error:
        if "Invalid tensor size" not in str(error):
            raise
        # LiteRT gives no bytes of an empty output.
        assert any(array.size == 0 for array in found)
        return
    assert len(found) == len(expected)
    for one, other in zip(expected, found, strict=True):
        if case.steps:
            assert_close(one, other, case.steps)
        else:
            assert_same(one, other)


def floats(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: floating.reshape(floats(2, 3), [4, -1]), "6 elements"),
        (lambda: floating.reshape(floats(2, 3), [-1, -1]), "one extent"),
        (lambda: floating.transpose(floats(2, 3), [0, 0]), "each axis"),
        (lambda: floating.transpose(floats(2, 3), [0, 2]), "rank 2"),
        (lambda: floating.expand_dims(floats(2), 3), "axis 3"),
        (lambda: floating.squeeze(floats(2, 1), [0]), "extent 1"),
        (lambda: floating.broadcast_to(floats(2, 3), [3, 2]), "broadcast"),
        (lambda: floating.broadcast_to(floats(1), [-1]), "negative"),
        (lambda: floating.broadcast_args(np.array([2]), np.array([3])), "together"),
        (lambda: floating.bitcast(floats(2, 3), np.int64), "extent 2"),
        (lambda: floating.concatenate([floats(2, 3), floats(2, 2)], 0), "equal"),
        (lambda: floating.split(floats(3), 0, 2), "equal parts"),
        (lambda: floating.split_sizes(floats(3), [1, 1], 0), "add up"),
        (lambda: floating.split_sizes(floats(3), [4, -1], 0), "add up"),
        (lambda: floating.pack([floats(3), floats(2)], 0), "one type"),
        (lambda: floating.tile(floats(3), [1, 2]), "per axis"),
        (lambda: floating.value_range(*(np.array(v) for v in (0, 5, -1))), "never end"),
        (lambda: floating.value_range(*(np.array(v) for v in (0, 5, 0))), "never end"),
        (lambda: floating.slice_sizes(floats(3), [2], [2]), "leave"),
        (lambda: floating.slice_sizes(floats(3), [-1], [1]), "leave"),
        (lambda: floating.strided_slice(floats(3), [0], [2], [0]), "stride of 0"),
        (lambda: floating.strided_slice(floats(3), [3], [4], [1], shrink_axis_mask=1), "there is none"),
        (lambda: floating.strided_slice(floats(3), [0, 0], [1, 1], [1, 1]), "too many"),
        (lambda: floating.strided_slice(floats(3), [0, 0], [1, 1], [1, 1], ellipsis_mask=3), "one ellipsis"),
        (lambda: floating.dynamic_update_slice(floats(3), floats(4), [0]), "doesn't fit"),
        (lambda: floating.reverse(floats(3), [1]), "axis 1"),
        (lambda: floating.reverse_sequence(floats(2, 3), np.array([4, 0]), 1, 0), "up to 3"),
        (lambda: floating.pad(floats(3), [(-1, 0)]), "negative"),
        (lambda: floating.mirror_pad(floats(3), [(3, 0)]), "too few"),
        (lambda: floating.space_to_depth(floats(1, 3, 2, 1), 2), "blocks"),
        (lambda: floating.depth_to_space(floats(1, 3, 2, 3), 2), "depth 3"),
        (lambda: floating.space_to_batch(floats(1, 3, 1), [2], [(0, 0)]), "multiples"),
        (lambda: floating.batch_to_space(floats(3, 3, 1), [2], [(0, 0)]), "blocks"),
        (lambda: floating.batch_to_space(floats(2, 1, 1), [2], [(2, 1)]), "crops"),
        (lambda: floating.gather(floats(3), np.array([3])), "0 to 2"),
        (lambda: floating.gather(floats(3), np.array([-1])), "0 to 2"),
        (lambda: floating.gather(floats(3, 2), np.array([[0], [0]]), 1, 1), "begin alike"),
        (lambda: floating.gather_nd(floats(3), np.array([[3]])), "coordinate 0"),
        (lambda: floating.embedding_lookup(np.array([2]), floats(2, 2)), "ids"),
        (lambda: floating.where(np.array(True)), "rank 0"),
        (lambda: floating.top_k(floats(3), 4), "last extent"),
        (lambda: floating.unique(floats(3, 1)), "vector"),
        (lambda: floating.bucketize(floats(3), floats(3)[::-1]), "rising"),
        (lambda: floating.scatter_nd(np.array([[4]]), floats(1), [4]), "coordinate 0"),
        (lambda: floating.scatter_nd(np.array([[0]]), floats(2), [4]), "don't fit"),
        (lambda: floating.sparse_to_dense(np.array([5]), [4], floats(1), floats(1)), "coordinate 0"),
        (lambda: floating.segment_sum(floats(2), np.array([0, 2])), "steps"),
        (lambda: floating.unsorted_segment("UNSORTED_SEGMENT_SUM", floats(2), np.array([0, 2]), 2), "segment ids"),
        (lambda: floating.KERNELS["TRANSPOSE"](Call((floats(2), None), Table("TransposeOptions"))), "operand 1"),
        (lambda: floating.KERNELS["TRANSPOSE"](Call((floats(2), floats(1)), Table("TransposeOptions"))), "integers"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(InvalidValue, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_largest_elements_put_nan_first():
    x = np.array([1, np.nan, np.inf, -0.0, 0.0, np.nan], np.float32)
    values, places = floating.top_k(x, 6)
    assert places.tolist() == [1, 5, 2, 0, 3, 4]
    np.testing.assert_array_equal(values, x[places])


def test_segments_leave_out_nan():
    x, ids = np.array([np.nan, 2, np.nan], np.float32), np.array([0, 0, 1], np.int32)
    lowest = np.finfo(np.float32).min
    given = [x, ids, np.array(3, np.int32)]
    assert ours("UNSORTED_SEGMENT_MAX", given)[0].tolist() == [2, lowest, lowest]
    found = litert("UNSORTED_SEGMENT_MAX", given, Table("UnsortedSegmentMaxOptions"), version=1)
    assert found[0].tolist() == [2, lowest, lowest]


def test_strided_slice_counts_the_end_from_the_begin():
    x, begin, end, strides = floats(6, 5), np.array([2, -4]), np.array([3, 2]), np.array([1, 1])
    found = floating.strided_slice(x, begin, end, strides, offset=True)
    np.testing.assert_array_equal(found, x[2:5, 1:3])
    given = [x, *(v.astype(np.int32) for v in (begin, end, strides))]
    options = Table("StridedSliceOptions", offset=True)
    np.testing.assert_array_equal(litert("STRIDED_SLICE", given, options, constants=(1, 2, 3), version=2)[0], found)


def test_scalars_are_concatenated_to_a_vector():
    given = [np.array(v, np.int32) for v in (3, 1, 2)]
    options = Table("ConcatenationOptions", axis=0)
    found = ours("CONCATENATION", given, options, ("INT32",))[0]
    assert found.tolist() == [3, 1, 2]
    np.testing.assert_array_equal(litert("CONCATENATION", given, options, ("INT32",), constants=(0, 1, 2))[0], found)


def test_concatenation_applies_its_activation():
    found = floating.concatenate([floats(3) - 1, floats(3) * 9], 0, 3)
    assert found.tolist() == [0, 0, 1, 0, 6, 6]


def test_what_does_not_fit_is_named():
    x = floats(2, 3)
    for paddings, value in (([(0, 0)], None), ([(0, 0), (0, -1)], None), ([(0, 0), (1, 1)], floats(2))):
        with pytest.raises(InvalidValue, match=r"^shape \(2, 3\) padded by .* one for each axis"):
            floating.pad(x, paddings, value)
    for blocks, paddings in (([2], []), ([0], [(0, 1)]), ([1, 1], [(0, 0), (0, 0)])):
        with pytest.raises(InvalidValue, match=r"^blocks .* don't fit shape \(2, 3\)"):
            floating.space_to_batch(x, blocks, paddings)
    with pytest.raises(InvalidValue, match=r"^no arrays to concatenate"):
        floating.concatenate([], 0)


def test_special_values_are_only_moved():
    x = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
    for found in (floating.transpose(x, [0]), floating.pad(x, [(0, 0)]), floating.gather(x, np.arange(4))):
        assert_same(x, found)


def test_views_where_nothing_needs_to_be_copied():
    x = floats(2, 3, 4)
    views = [
        floating.reshape(x, [6, 4]),
        floating.transpose(x, [2, 0, 1]),
        floating.squeeze(x),
        floating.strided_slice(x, [0, 1], [2, 3], [1, 1]),
        floating.slice_sizes(x, [0, 0, 0], [1, 1, 1]),
        *floating.split(x, 1, 3),
        *floating.unpack(x, 2),
        floating.reverse(x, [0]),
        floating.broadcast_to(x, [5, 2, 3, 4]),
    ]
    assert all(np.shares_memory(x, view) for view in views)

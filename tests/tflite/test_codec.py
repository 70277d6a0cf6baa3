"""Encoder and decoder: what is written is what is read, whatever the table, wherever it stands."""

from __future__ import annotations

import copy
import math
import pickle
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, PerBlock
from quantlib.tflite import Data, Deferred, Inline, Model, Quantization, Table, plan_layout, read, table_names
from quantlib.tflite.schema import SCALARS, layout
from tests.support.models import BUILT, assemble, built
from tests.support.readers import decode, differences, encode, namespace, open_with
from tests.support.shared import each_model
from tests.support.strategies import any_table, tables

QUICK = settings(max_examples=150, deadline=None)


@QUICK
@given(any_table())
def test_any_table_survives(table: Table) -> None:
    assert decode(table.kind, encode(table)) == table


@pytest.mark.parametrize("kind", table_names())
def test_each_kind_of_table_survives(kind: str) -> None:
    @settings(max_examples=5, deadline=None)
    @given(tables(kind))
    def survives(table: Table) -> None:
        assert decode(kind, encode(table)) == table

    survives()


@QUICK
@given(any_table(), st.sampled_from(["tflite", "litert"]))
def test_others_read_any_table_the_same(table: Table, reader: str) -> None:
    readers = namespace(reader)
    if hasattr(readers, table.kind):
        assert not list(differences(table, open_with(readers, table.kind, encode(table)), readers))


@QUICK
@given(tables("Model"))
def test_encoding_is_deterministic(table: Table) -> None:
    raw = encode(table)
    assert encode(decode("Model", raw)) == raw == encode(table)


@pytest.mark.parametrize("value", [-0.0, 0.0, math.nan, math.inf, -math.inf, 1e-45])
def test_floats_keep_their_bits(value: float) -> None:
    table = Table("OperatorCode"), Table("SoftmaxOptions", beta=value)
    back = decode("SoftmaxOptions", encode(table[1]))
    assert struct.pack("<f", back.beta) == struct.pack("<f", value)
    operators = [Table("Operator", builtin_options=Table("SoftmaxOptions", beta=v)) for v in (0.0, -0.0, value)]
    graph = decode("SubGraph", encode(Table("SubGraph", operators=operators)))
    read_back = [struct.pack("<f", o.builtin_options.beta) for o in graph.operators]
    assert read_back == [struct.pack("<f", v) for v in (0.0, -0.0, value)]


def test_a_union_type_without_its_value_is_kept() -> None:
    """LiteRT runs such operators with default options, so they are ordinary; PyPI's packers write them."""
    whole = Table("Operator", builtin_options=Table("SoftmaxOptions"), opcode_index=3)
    raw = bytearray(encode(whole))
    at = struct.unpack_from("<I", raw)[0]
    vtable = at - struct.unpack_from("<i", raw, at)[0]
    struct.pack_into("<H", raw, vtable + 4 + 2 * layout("Operator").index["builtin_options"], 0)
    table = decode("Operator", bytes(raw))
    assert table.builtin_options is None
    assert table.builtin_options_type == 9
    again = decode("Operator", encode(table))
    assert again == table
    assert again.builtin_options_type == 9
    given_options = table.replace(builtin_options=Table("AddOptions"))
    assert decode("Operator", encode(given_options)).builtin_options == Table("AddOptions")


# ---- what a table takes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "field", "value", "message"),
    [
        ("Tensor", "type", 128, "int8"),
        ("Tensor", "type", -129, "int8"),
        ("Tensor", "buffer", -1, "uint32"),
        ("Tensor", "shape", [1 << 31], "int32"),
        ("Tensor", "shape", np.array([1 << 31], np.int64), "int32"),
        ("Tensor", "shape", ["a"], "int32"),
        ("Tensor", "name", 5, "text"),
        ("Tensor", "name", b"bytes", "text"),
        ("Tensor", "name", "\ud800", "UTF-8"),
        ("Tensor", "quantization", Table("Tensor"), "can't hold a Tensor"),
        ("SubGraph", "tensors", [Table("Buffer")], "can't hold a Buffer"),
        ("SubGraph", "tensors", [1], "can't hold a int"),
        ("Operator", "builtin_options", Table("DilateOptions"), "can't hold a DilateOptions"),
        ("SoftmaxOptions", "beta", 1e39, "float32"),
        ("Buffer", "offset", 1 << 64, "uint64"),
        ("Buffer", "colour", 1, "no field 'colour'"),
    ],
)
def test_what_cannot_be_stored_is_refused(kind: str, field: str, value: object, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        Table(kind, **{field: value})


def test_there_is_no_other_table() -> None:
    with pytest.raises(InvalidValue, match="no table 'Weights'"):
        Table("Weights")


def test_tables_are_immutable() -> None:
    table = Table("Tensor", shape=[1, 2])
    with pytest.raises(AttributeError, match="replace"):
        table.type = 3
    with pytest.raises(ValueError, match="read-only"):
        table.shape[0] = 2
    with pytest.raises(AttributeError, match="replace"):
        del table.shape
    shape = np.array([1, 2], np.int32)
    table = Table("Tensor", shape=shape)
    shape[0] = 9
    assert table.shape.tolist() == [1, 2]
    with pytest.raises(AttributeError, match="no field"):
        _ = table.colour


def test_no_field_hides_what_every_table_has() -> None:
    own = {name for name in vars(Table) if not name.startswith("__")}
    assert {"kind", "replace", "stored", "children"} <= own
    for kind in table_names():
        assert own.isdisjoint(layout(kind).index), kind


def test_data_in_memory_equals_data_in_a_file() -> None:
    made = Table("Buffer", data=np.arange(4, dtype=np.int16))
    assert decode("Buffer", encode(made)) == made
    assert made != Table("Buffer", data=np.arange(5, dtype=np.int16))
    assert made != Table("Buffer")


# ---- where things stand ----------------------------------------------------------------------------------------


def addresses(kind: str, raw: bytes, at: int) -> Iterator[tuple[str, int, int]]:
    """(what, position, alignment that it needs) of everything in a FlatBuffer, found without our decoder."""
    vtable = at - struct.unpack_from("<i", raw, at)[0]
    yield f"{kind} table", at, 4
    yield f"{kind} vtable", vtable, 2
    length = struct.unpack_from("<H", raw, vtable)[0]
    offsets = struct.unpack_from(f"<{(length - 4) // 2}H", raw, vtable + 4)
    slots = layout(kind).slots
    for slot, offset in zip(slots, offsets, strict=False):
        if not offset:
            continue
        field, where = at + offset, f"{kind}.{slot.name}"
        if slot.kind == "scalar":
            yield where, field, SCALARS[slot.type][1]
            continue
        if slot.kind == "union type":
            code = raw[field]
            continue
        yield where, field, 4
        target = field + struct.unpack_from("<I", raw, field)[0]
        yield where, target, 4
        if slot.kind == "scalars":
            yield where, target + 4, slot.align
        elif slot.kind == "tables":
            for i in range(struct.unpack_from("<I", raw, target)[0]):
                item = target + 4 + 4 * i
                yield from addresses(slot.type, raw, item + struct.unpack_from("<I", raw, item)[0])
        elif slot.kind == "table":
            yield from addresses(slot.type, raw, target)
        elif slot.kind == "union":
            from quantlib.tflite.schema import union_members

            yield from addresses(union_members(slot.type)[code - 1], raw, target)


def misplaced(raw: bytes) -> list[tuple[str, int, int]]:
    return [a for a in addresses("Model", raw, struct.unpack_from("<I", raw)[0]) if a[1] % a[2]]


def places(model: Model, raw: bytes) -> list[tuple[int, int]]:
    """Start and end of the data that each tensor reads, in a file, by PyPI's reader."""
    other = open_with(namespace("tflite"), "Model", raw)
    found = []
    for i in {t.buffer for g in model.subgraphs for t in g.tensors or ()}:
        buffer = other.Buffers(i) if i < other.BuffersLength() else None
        if buffer is not None and buffer.Offset() > 1:
            found.append((buffer.Offset(), buffer.Offset() + buffer.Size()))
        elif buffer is not None and buffer.DataLength():
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            found.append((start, start + buffer.DataLength()))
    return found


def well_placed(model: Model) -> None:
    inline = model.to_bytes(rebuild=True)
    external = assemble(plan_layout(model, rebuild=True, limit=64))
    end = len(inline) - model.trailing.nbytes
    for raw in (inline, external):
        assert not misplaced(raw)
        for start, stop in places(model, raw):
            assert start % 16 == 0
            assert stop + 16 <= len(raw)
    with_data = [b for b in model.buffers if b.data is not None and b.data.nbytes]
    last = max((stop for _, stop in places(model, inline)), default=0)
    assert not with_data or end >= min(last + 16, len(inline))


@pytest.mark.parametrize("name", BUILT)
def test_everything_is_aligned(name: str) -> None:
    well_placed(read(built(name)))


@each_model(most=3_000_000)
def test_everything_is_aligned_in_real_files(path: object) -> None:
    well_placed(read(str(path)))


@QUICK
@given(tables("SubGraph"), st.lists(st.binary(max_size=50), max_size=4))
def test_everything_is_aligned_in_any_file(graph: Table, contents: list[bytes]) -> None:
    buffers = [Table("Buffer"), *(Table("Buffer", data=np.frombuffer(c, np.uint8)) for c in contents)]
    model = Model(Table("Model", version=3, subgraphs=[graph], buffers=buffers))
    for raw in (model.to_bytes(), assemble(plan_layout(model, limit=0))):
        assert not misplaced(raw)


def test_equal_vtables_strings_and_vectors_stand_once() -> None:
    tensor = Table("Tensor", name="same", shape=[1, 2, 3])
    one, many = (len(encode(Table("SubGraph", tensors=[tensor] * n))) for n in (1, 101))
    assert (many - one) / 100 <= 4 + 4 * 3  # an offset in the vector; vtable, shape and name offsets in the table


def test_shared_data_stands_once() -> None:
    model = read(built("shared_vector"))
    a, b = (model.buffers[i].data for i in (1, 2))
    assert isinstance(a, Data)
    assert a is b
    for raw in (model.to_bytes(rebuild=True), assemble(plan_layout(model, rebuild=True, limit=64))):
        assert raw.count(a.numpy().tobytes()) == 1
        assert [x.data == a for x in read(raw).buffers[1:]] == [True, True]


def test_one_array_under_two_buffers_stands_once() -> None:
    data = np.arange(100, dtype=np.float32)
    buffer = Table("Buffer", data=data)
    model = Model(Table("Model", version=3, subgraphs=[Table("SubGraph")], buffers=[Table("Buffer"), buffer, buffer]))
    assert model.to_bytes().count(data.tobytes()) == 1


# ---- what nobody can change ------------------------------------------------------------------------------------


def test_a_view_that_cannot_be_written_to_is_no_promise() -> None:
    base = np.array([1, 2], np.int32)
    view = base.view()
    view.flags.writeable = False
    table, data = Table("Tensor", shape=view), Inline(view)
    base[:] = 9
    assert table.shape.tolist() == [1, 2]
    assert data.numpy().view(np.int32).tolist() == [1, 2]
    frozen = np.array([1, 2], np.int32)
    frozen.flags.writeable = False
    assert np.shares_memory(Inline(frozen).numpy(), frozen)
    assert np.shares_memory(Table("Tensor", shape=frozen).shape, frozen)
    raw = bytearray(8)
    held = np.frombuffer(memoryview(raw).toreadonly(), np.int32)
    held_by_bytes = np.frombuffer(bytes(8), np.int32)
    assert np.shares_memory(Inline(held_by_bytes).numpy(), held_by_bytes)
    assert Inline(held).nbytes == 8


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_copies_are_as_frozen(copied: Callable[[Any], Any]) -> None:
    table = Table("Tensor", name="t", shape=[1, 2], quantization=Table("QuantizationParameters", scale=[0.5]))
    for value in (table, Quantization([0.5], [3], 1, 0)):
        twin = copied(value)
        assert twin == value
        arrays = (twin.shape, twin.quantization.scale) if value is table else (twin.scale, twin.zero_point)
        for array in arrays:
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 9


def test_deferred_data_leaves_the_array_of_its_function_alone() -> None:
    own = np.arange(8, dtype=np.uint8)
    data = Deferred(8, lambda start, stop: own[start:stop])
    assert not data.read(0, 8).flags.writeable
    assert not data.numpy().flags.writeable
    assert own.flags.writeable


@pytest.mark.parametrize("points", [[1.5], [2**63], np.array([2**64 - 5], np.uint64), [np.nan]])
def test_zero_points_that_are_no_integers_are_refused(points: Any) -> None:
    with pytest.raises(InvalidValue, match="zero points are"):
        Quantization([0.5], points)
    assert Quantization([0.5], [3.0]).zero_point.tolist() == [3]


def test_blocks_are_no_quantization_per_axis() -> None:
    with pytest.raises(InvalidValue, match="blockwise"):
        Quantization.of(Affine("INT4", np.ones((1, 2), np.float32), 0, PerBlock(1, 32)))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("Tensor", {"nofield": None}, "no field 'nofield'"),
        ("Tensor", {"shape": np.array([1.7, 2])}, "don't fit int32"),
        ("Tensor", {"shape": [1.7, 2]}, "don't fit int32"),
        ("Tensor", {"type": "INT8"}, "'INT8' where a number of int8 is required"),
        ("Tensor", {"buffer": 1.5}, "1.5 where a number of uint32"),
        ("SoftmaxOptions", {"beta": "x"}, "'x' where a number of float32"),
        ("Buffer", {"data": [1, 2]}, "a list where an array, bytes or a Data is required"),
        ("Buffer", {"data": bytearray(4)}, "a bytearray where"),
        ("SubGraph", {"tensors": 5}, "a int where a list or tuple is required"),
    ],
)
def test_values_of_another_kind_are_refused(kind: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        Table(kind, **values)
    with pytest.raises(InvalidValue, match=message):
        Table(kind).replace(**values)

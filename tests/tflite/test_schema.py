"""Every slot of the declared schema, against two independent readers: PyPI's `tflite` and LiteRT's own module."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from quantlib.tflite import Table, builtin_operators, enum_names, table_names, tensor_types
from quantlib.tflite.schema import SCALARS, Slot, layout, union_members
from tests.support.readers import DEPRECATED, NEWER, camel, differences, encode, namespace, open_with

READERS = ("tflite", "litert")


@pytest.fixture(params=READERS)
def readers(request: pytest.FixtureRequest) -> Any:
    return namespace(request.param)


def telling(kind: str, slot: Slot) -> list[Any]:
    """Values of a slot that no other slot or type would be read as."""
    if slot.kind == "scalar":
        if slot.type == "bool":
            return [not slot.default]
        if slot.type == "float32":
            return [0.1, -3e38]
        span = np.iinfo(slot.type)
        return [v for v in (span.max, span.min, 1 + (slot.default or 0)) if v != slot.default]
    if slot.kind == "string":
        return ["", "naïve"]
    if slot.kind == "strings":
        return [(), ("a", "")]
    if slot.kind == "scalars":
        some = [1, 0, 1] if slot.type in ("bool", "float32") else [np.iinfo(slot.type).max, 0, 1]
        return [np.array(v, slot.type) for v in ([], some)]
    if slot.kind == "table":
        return [Table(slot.type)]
    if slot.kind == "tables":
        return [(), (Table(slot.type),) * 2]
    return [Table(member) for member in union_members(slot.type)]


@pytest.mark.parametrize("kind", table_names())
def test_each_slot_is_where_others_read_it(kind: str, readers: Any) -> None:
    if not hasattr(readers, kind):
        assert kind in NEWER
        return  # newer than this release of the reader; the other one has it
    for slot in layout(kind).slots:
        if slot.kind == "union type":
            continue
        if f"{kind}.{slot.name}" in DEPRECATED:
            assert not hasattr(getattr(readers, kind), camel(slot.name))
            continue
        for value in telling(kind, slot):
            table = Table(kind, **{slot.name: value})
            found = list(differences(table, open_with(readers, kind, encode(table)), readers))
            assert not found


@pytest.mark.parametrize("kind", table_names())
def test_defaults_are_those_of_others(kind: str, readers: Any) -> None:
    if not hasattr(readers, kind):
        return  # newer than this release of the reader; the other one has it
    assert not list(differences(Table(kind), open_with(readers, kind, encode(Table(kind))), readers))


@pytest.mark.parametrize("kind", table_names())
def test_no_field_of_others_is_missing(kind: str, readers: Any) -> None:
    if not hasattr(readers, kind):
        return  # newer than this release of the reader; the other one has it
    reader = getattr(readers, kind)
    known = {camel(slot.name) for slot in layout(kind).slots}
    known |= {f"{name}{end}" for name in known for end in ("AsNumpy", "Length", "IsNone")}
    theirs = {n for n, _ in inspect.getmembers(reader, inspect.isfunction) if not n.startswith("_") and n != "Init"}
    assert theirs <= known


def test_no_table_of_others_is_missing(readers: Any) -> None:
    tables = {n for n, c in vars(readers).items() if inspect.isclass(c) and hasattr(c, "GetRootAs")}
    assert tables <= set(table_names())


def test_litert_knows_all_our_tables() -> None:
    readers = namespace("litert")
    assert set(table_names()) <= {n for n, c in vars(readers).items() if inspect.isclass(c)}


@pytest.mark.parametrize(
    ("enum", "names"), [("TensorType", tensor_types()), ("BuiltinOperator", builtin_operators())]
)
def test_names_have_their_codes(enum: str, names: tuple[str, ...], readers: Any) -> None:
    theirs = {k: v for k, v in vars(getattr(readers, enum)).items() if isinstance(v, int)}
    assert theirs.items() <= {name: code for code, name in enumerate(names)}.items()
    newer = set(names) - set(theirs)
    assert newer <= {"INT2", "UINT4", "FLOAT8_E4M3FN", "FLOAT8_E5M2", "STABLEHLO_CASE"}
    assert not newer or readers.__name__ == "tflite"


@pytest.mark.parametrize("union", ["QuantizationDetails", "SparseIndexVector", "BuiltinOptions", "BuiltinOptions2"])
def test_union_members_have_their_codes(union: str, readers: Any) -> None:
    theirs = {k: v for k, v in vars(getattr(readers, union)).items() if isinstance(v, int)}
    assert theirs.items() <= {name: i for i, name in enumerate(("NONE", *union_members(union)))}.items()
    assert set(union_members(union)) - set(theirs) <= NEWER


def test_smaller_enumerations_have_names() -> None:
    assert enum_names("Padding") == {0: "SAME", 1: "VALID"}
    assert enum_names("ActivationFunctionType")[3] == "RELU6"


def test_alignments_are_declared_where_the_schema_forces_them() -> None:
    forced = {
        (kind, slot.name): slot.align
        for kind in table_names()
        for slot in layout(kind).slots
        if slot.kind == "scalars" and slot.align != max(SCALARS[slot.type][1], 4)
    }
    # force_align in tflite/converter/schema/schema.fbs; the 4 of Uint8Vector and Uint16Vector holds for all
    assert forced == {("Buffer", "data"): 16, ("CustomQuantization", "custom"): 16}

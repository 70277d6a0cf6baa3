"""Hypothesis strategies for tables of the schema, drawn from its own declaration."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from quantlib.tflite import Table, table_names
from quantlib.tflite.schema import Slot, layout, union_members

#: Any text that a file can hold: bytes that are no UTF-8 are read as surrogates.
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12), st.just("\udcff\udc80"), st.just("")
)


def scalars(kind: str) -> st.SearchStrategy[Any]:
    if kind == "bool":
        return st.booleans()
    if kind == "float32":
        return st.floats(width=32)
    span = np.iinfo(kind)
    return st.integers(int(span.min), int(span.max))


def arrays(kind: str) -> st.SearchStrategy[Any]:
    return st.lists(scalars(kind), max_size=9).map(lambda values: np.array(values, kind))


def values(slot: Slot) -> st.SearchStrategy[Any]:
    """Anything that a field can hold."""
    if slot.kind == "scalar":
        return scalars(slot.type)
    if slot.kind == "scalars":
        return arrays(slot.type)
    if slot.kind == "string":
        return TEXT
    if slot.kind == "strings":
        return st.lists(TEXT, max_size=3)
    if slot.kind == "table":
        return tables(slot.type)
    if slot.kind == "tables":
        return st.lists(tables(slot.type), max_size=3)
    return st.sampled_from(union_members(slot.type)).flatmap(tables)


def tables(kind: str) -> st.SearchStrategy[Table]:
    """Tables of one type, with any of its fields present, and any tables below."""
    slots = [slot for slot in layout(kind).slots if slot.kind != "union type"]
    fields = {slot.name: st.none() | st.deferred(lambda slot=slot: values(slot)) for slot in slots}
    return st.fixed_dictionaries({}, optional=fields).map(lambda chosen: Table(kind, **chosen))


def any_table() -> st.SearchStrategy[Table]:
    """Tables of any type."""
    return st.sampled_from(table_names()).flatmap(tables)

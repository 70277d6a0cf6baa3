"""Layouts of tables, made on first use from the one declaration in `_schema_text`."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from . import _schema_text as text

if TYPE_CHECKING:
    from collections.abc import Mapping

#: struct code and size in bytes of each scalar of the schema
SCALARS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "bool": ("?", 1),
        "int8": ("b", 1),
        "uint8": ("B", 1),
        "uint16": ("H", 2),
        "int32": ("i", 4),
        "uint32": ("I", 4),
        "int64": ("q", 8),
        "uint64": ("Q", 8),
        "float32": ("f", 4),
    }
)


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot of a table's vtable.

    Attributes
    ----------
    name : str
        Field name; the type of a union named ``x`` stands in a slot ``x_type``.
    kind : str
        ``scalar``, ``string``, ``table``, ``union type``, ``union``, or one of the three vectors
        ``scalars``, ``strings`` and ``tables``.
    type : str
        Scalar name, or name of the table or union.
    align : int
        Alignment of a vector's first element, in bytes.
    default : bool, int or float or None
        Value of a scalar that isn't stored.
    """

    name: str
    kind: str
    type: str
    align: int
    default: bool | int | float | None


@dataclass(frozen=True, slots=True)
class Layout:
    """The slots of one table, in order, and their positions and defaults by name."""

    name: str
    slots: tuple[Slot, ...]
    index: Mapping[str, int]
    defaults: Mapping[str, bool | int | float | None]
    unpackers: tuple[struct.Struct | None, ...]


def _paragraphs(declaration: str) -> dict[str, list[str]]:
    """Split a declaration into ``{first word: other words}``; continued lines are indented."""
    entries: dict[str, list[str]] = {}
    words: list[str] = []
    for line in declaration.splitlines():
        if line and not line.startswith(" "):
            name, *words = line.split()
            entries[name] = words
        else:
            words.extend(line.split())
    return entries


@cache
def _declared() -> tuple[dict[str, list[str]], dict[str, list[str]], dict[str, str]]:
    storage = {name: words[0] for name, words in _paragraphs(text.ENUM_STORAGE).items()}
    return _paragraphs(text.TABLES), _paragraphs(text.UNIONS), storage


def _slots(field: str) -> list[Slot]:
    """Slots of one declared field, ``name:type@align=default``."""
    name, _, kind = field.partition(":")
    kind, _, default = kind.partition("=")
    kind, _, align = kind.partition("@")
    vector = kind.startswith("[")
    kind = kind.strip("[]")
    _, unions, storage = _declared()
    scalar = storage.get(kind, kind)
    if scalar in SCALARS:
        size = SCALARS[scalar][1]
        if vector:
            return [Slot(name, "scalars", scalar, int(align or max(size, 4)), None)]
        number = float(default or "0")
        value = number if scalar == "float32" else bool(number) if scalar == "bool" else int(number)
        return [Slot(name, "scalar", scalar, size, value)]
    if kind == "string":
        return [Slot(name, "strings" if vector else "string", "string", 4, None)]
    if kind in unions:
        return [Slot(f"{name}_type", "union type", kind, 1, 0), Slot(name, "union", kind, 4, None)]
    return [Slot(name, "tables" if vector else "table", kind, 4, None)]


@cache
def layout(name: str) -> Layout:
    """Layout of the table ``name`` (KeyError when the schema has no such table)."""
    slots = tuple(slot for field in _declared()[0][name] for slot in _slots(field))
    unpackers = tuple(
        struct.Struct("<" + (SCALARS[s.type][0] if s.kind == "scalar" else "B"))
        if s.kind in ("scalar", "union type")
        else None
        for s in slots
    )
    index = MappingProxyType({slot.name: i for i, slot in enumerate(slots)})
    defaults = MappingProxyType({slot.name: slot.default for slot in slots})
    return Layout(name, slots, index, defaults, unpackers)


def table_names() -> tuple[str, ...]:
    """Names of all tables of the schema."""
    return tuple(_declared()[0])


@cache
def union_members(name: str) -> tuple[str, ...]:
    """Tables of a union; the member with type code 1 comes first."""
    return tuple(_declared()[1][name])


@cache
def tensor_types() -> tuple[str, ...]:
    """Names of the TensorType members; the position is the code."""
    return tuple(text.TENSOR_TYPES.split())


@cache
def builtin_operators() -> tuple[str, ...]:
    """Names of the BuiltinOperator members; the position is the code."""
    return tuple(text.BUILTIN_OPERATORS.split())


@cache
def tensor_type_code(name: str) -> int:
    """Code of a TensorType name (ValueError when there is none)."""
    return tensor_types().index(name)


@cache
def builtin_code(name: str) -> int:
    """Code of a BuiltinOperator name (ValueError when there is none)."""
    return builtin_operators().index(name)


@cache
def enum_names(enum: str) -> Mapping[int, str]:
    """Members of one of the smaller enumerations (``Padding``, ``ActivationFunctionType`` ...) by code.

    The names are those of PyPI's `tflite`.
    """
    import importlib

    members = vars(getattr(importlib.import_module(f"tflite.{enum}"), enum))
    return MappingProxyType({v: k for k, v in members.items() if isinstance(v, int)})

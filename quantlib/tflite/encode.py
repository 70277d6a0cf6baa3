"""Tables to bytes: one generic encoder for every type.

Parents are written before their children, so that each table is a single `struct` call; strings, scalar vectors
and tables without offsets come last (offsets point forward), each different one once. ``Buffer.data`` isn't
written here: the encoder leaves a hole for its offset and reports it, and the writer lays the bytes out behind
everything else.
"""

from __future__ import annotations

import math
import struct
import zlib
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from .data import Data
from .schema import SCALARS, Slot, layout, union_members
from .table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TypeAlias

    _Raw: TypeAlias = "bytes | _View"
    #: (count, bytes), (alignment, fields that point at it)
    _Leaf: TypeAlias = tuple[tuple[int, _Raw], tuple[int, list[int]]]

_U32 = struct.Struct("<I")
#: Vectors from this size on aren't copied before they are written.
_LARGE = 1 << 16
_FORMS: Mapping[str, tuple[str, int]] = MappingProxyType({"union type": ("B", 1)})


@cache
def _form(kind: str, present: tuple[str, ...]) -> tuple[bytes, struct.Struct, int, dict[str, int]]:
    """How a table with these fields present is stored: vtable, inline form, alignment, offset of each field.

    Fields go largest first, as the FlatBuffers libraries do, so that no padding is needed between them.
    """
    slots = layout(kind).slots
    sized = []
    for name in present:
        slot = slots[layout(kind).index[name]]
        code, size = _FORMS.get(slot.kind) or (SCALARS[slot.type] if slot.kind == "scalar" else ("I", 4))
        sized.append((size, slot.name, code))
    sized.sort(key=lambda item: -item[0])
    align = max([4, *(size for size, _, _ in sized)])
    at, form, offsets = 4, "<i", {}
    if align == 8:
        at, form = 8, "<i4x"
    for size, name, code in sized:
        offsets[name] = at
        form += code
        at += size
    last = max((layout(kind).index[name] for name in present), default=-1)
    entries = [offsets.get(slot.name, 0) for slot in slots[: last + 1]]
    vtable = struct.pack(f"<{len(entries) + 2}H", 4 + 2 * len(entries), at, *entries)
    return vtable, struct.Struct(form), align, offsets


class Encoder:
    """Builds the FlatBuffer skeleton of a model.

    Attributes
    ----------
    out : bytearray
        What has been written.
    holes : list of (int, Data)
        Position of the offset field of each ``Buffer.data`` that is still to be laid out.
    """

    def __init__(self) -> None:
        self.out = bytearray(b"\0\0\0\0TFL3")
        self.holes: list[tuple[int, Data]] = []
        self._leaves: dict[tuple[int, _Raw], tuple[int, list[int]]] = {}
        self._twigs: dict[tuple[str, tuple[tuple[str, Any], ...]], list[int]] = {}
        self._vtables: dict[bytes, int] = {}

    def root(self, table: Table) -> bytearray:
        """Write a root table and everything below it; the result holds all but the buffers' bytes."""
        self._point(0, self._table(table))
        for (kind, items), fields in self._twigs.items():
            vtable, form, align, offsets = _form(kind, tuple(name for name, _ in items))
            inline = dict(items)
            at = self._put(vtable, form, align, [inline[name] for name in offsets])
            for field in fields:
                self._point(field, at)
        for (count, raw), (align, fields) in self._in_tight_order():
            self._pad(align, ahead=4)
            at = len(self.out)
            self.out.extend(_U32.pack(count))
            self.out.extend(raw if isinstance(raw, bytes) else raw.bytes)
            for field in fields:
                self._point(field, at)
        return self.out

    def _in_tight_order(self) -> Iterator[_Leaf]:
        """Leaves in an order that needs little padding: behind 4 + 8n bytes, one of 4 + 8n without alignment to 8."""
        self._pad(4)
        wide: list[_Leaf] = []
        even: list[_Leaf] = []
        odd: list[_Leaf] = []
        for leaf in self._leaves.items():
            (_, raw), (align, _) = leaf
            (wide if align > 4 else odd if -(-len(raw) // 4) % 2 == 0 else even).append(leaf)
        at = len(self.out)
        for leaf in wide:
            if (at + 4) % 8 and odd:
                filler = odd.pop(0)
                at += 4 + len(filler[0][1])
                yield filler
            at += 4 + len(leaf[0][1])
            at += -at % 4
            yield leaf
        yield from (*odd, *even)

    def _pad(self, align: int, ahead: int = 0) -> None:
        self.out.extend(bytes(-(len(self.out) + ahead) % align))

    def _point(self, field: int, target: int) -> None:
        _U32.pack_into(self.out, field, target - field)

    def _fields(self, table: Table) -> tuple[dict[str, Any], list[tuple[Slot, Any]]]:
        """Fields to store: inline values (0 for an offset), and what the offsets lead to."""
        values = table.__dict__
        inline: dict[str, Any] = {}
        below: list[tuple[Slot, Any]] = []
        for slot in layout(table.kind).slots:
            name = slot.name
            if name not in values:
                continue
            value = values[name]
            if slot.kind == "scalar":
                if value != slot.default or (value == 0 and math.copysign(1, value) < 0):
                    inline[name] = value
            elif slot.kind == "union type":
                inline[name] = value
            else:
                if slot.kind == "union":
                    inline[f"{name}_type"] = union_members(slot.type).index(value.kind) + 1
                inline[name] = 0
                below.append((slot, value))
        return inline, below

    def _table(self, table: Table) -> int:
        inline, below = self._fields(table)
        vtable, form, align, offsets = _form(table.kind, tuple(inline))
        at = self._put(vtable, form, align, [inline[name] for name in offsets])
        for slot, value in below:
            self._below(at + offsets[slot.name], slot.kind, slot.align, value)
        return at

    def _put(self, vtable: bytes, form: struct.Struct, align: int, values: list[Any]) -> int:
        """Write a table's own bytes, and its vtable where no equal one stands yet."""
        where = self._vtables.get(vtable)
        if where is None:
            self._pad(2)
            where = self._vtables[vtable] = len(self.out)
            self.out.extend(vtable)
        self._pad(align)
        at = len(self.out)
        self.out.extend(form.pack(at - where, *values))
        return at

    def _below(self, field: int, kind: str, align: int, value: Any) -> None:
        """Write what the offset in a field leads to, or note it for later."""
        if isinstance(value, Data):
            self.holes.append((field, value))
        elif kind in ("table", "union"):
            inline, children = self._fields(value)
            if children:
                self._point(field, self._table(value))
            else:
                self._twigs.setdefault((value.kind, tuple(inline.items())), []).append(field)
        elif kind == "string":
            self._string(field, value)
        elif kind == "scalars":
            self._leaf(field, align, value.size, _raw(value))
        else:
            self._pad(4)
            at = len(self.out)
            self._point(field, at)
            self.out.extend(_U32.pack(len(value)) + bytes(4 * len(value)))
            for i, item in enumerate(value):
                item_field = at + 4 + 4 * i
                if kind == "strings":
                    self._string(item_field, item)
                else:
                    self._point(item_field, self._table(item))

    def _string(self, field: int, value: str) -> None:
        raw = value.encode("utf-8", "surrogateescape")
        self._leaf(field, 4, len(raw), raw + b"\0")

    def _leaf(self, field: int, align: int, count: int, raw: _Raw) -> None:
        """Note a counted run of bytes; an equal one that is already noted serves for both."""
        key = (count, raw)
        known_align, fields = self._leaves.get(key, (4, []))
        fields.append(field)
        self._leaves[key] = (max(known_align, align), fields)


class _View:
    """Bytes of a large vector that nobody can change: not copied before they are written."""

    __slots__ = ("bytes",)

    def __init__(self, value: Any) -> None:
        self.bytes: memoryview = value.view("u1").data

    def __len__(self) -> int:
        return len(self.bytes)

    def __hash__(self) -> int:
        return zlib.crc32(self.bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _View) and np.array_equal(np.asarray(self.bytes), np.asarray(other.bytes))


def _raw(value: Any) -> _Raw:
    """Bytes of a vector, for telling equal ones."""
    large = value.nbytes >= _LARGE and not value.flags.writeable and value.flags.c_contiguous
    raw: _Raw = _View(value) if large else value.tobytes()
    return raw

"""Bytes to tables: every offset and length is checked before it is used."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from quantlib.errors import InvalidModel, UnsupportedSchema

from .data import Slice
from .schema import SCALARS, Layout, Slot, layout, union_members
from .source import Source
from .table import Table

_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")
_VTABLE = struct.Struct("<HH")


class Decoder:
    """Reads tables of one file.

    A file spends at least the 4 bytes of an offset on each table and string, even where several offsets lead to
    one, so work is bounded by a budget of that many; a few vectors read again and again run out of it. Scalar
    vectors are copied, in total no more than the file's size; ``Buffer.data`` stays a slice of the source.

    Attributes
    ----------
    end : int
        Position behind the last byte that any table, vector or string used.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.raw = source.bytes(0, source.size).data
        self.size = source.size
        self.end = 0
        self._items = self.size // 4 + 64
        self._bytes = self.size + 4096

    def fail(self, where: str, at: int, what: str) -> InvalidModel:
        """Make the error for something that can't be at a position."""
        return InvalidModel(f"{where} at byte {at}: {what}; the file is damaged or not a .tflite file")

    def spend(self, items: int, where: str, at: int) -> None:
        """Count items against the budget."""
        self._items -= items
        if self._items < 0:
            raise self.fail(where, at, f"more tables and strings than {self.size:,} bytes can hold")

    def number(self, at: int, where: str) -> int:
        """Read an unsigned 32-bit number."""
        if not 0 <= at <= self.size - 4:
            raise self.fail(where, at, f"4 bytes are due beyond the file's {self.size:,}")
        return int(_U32.unpack_from(self.raw, at)[0])

    def used(self, stop: int) -> None:
        """Note how far the FlatBuffer reaches."""
        self.end = max(self.end, stop)

    def table(self, kind: str, at: int) -> Table:
        """Read the table of a type at a position."""
        known = layout(kind)
        offsets = self._vtable(kind, at)
        values: dict[str, Any] = {}
        slots = known.slots
        for i, offset in enumerate(offsets):
            if not offset:
                continue
            if i >= len(slots):
                raise UnsupportedSchema(
                    f"{kind} at byte {at} sets slot {i}, which this version's schema ({len(slots)} slots) doesn't "
                    "know; nothing may be dropped, so the file needs a newer quantlib"
                )
            slot = slots[i]
            unpacker = known.unpackers[i]
            if unpacker is not None:
                values[slot.name] = unpacker.unpack_from(self.raw, at + offset)[0]
            else:
                values[slot.name] = self._reference(known, slot, at + offset, values)
        for slot in slots:
            if slot.kind == "union type":
                self._check_union(kind, at, slot, values)
        return Table._trusted(known, values)

    def _vtable(self, kind: str, at: int) -> tuple[int, ...]:
        """Offsets of the fields within a table, each checked to lie inside it."""
        self.spend(1, kind, at)
        if not 0 <= at <= self.size - 4:
            raise self.fail(kind, at, f"a table can't stand there in {self.size:,} bytes")
        vtable = at - int(_I32.unpack_from(self.raw, at)[0])
        if not 0 <= vtable <= self.size - 4:
            raise self.fail(kind, at, f"its vtable would be at {vtable}")
        length, extent = _VTABLE.unpack_from(self.raw, vtable)
        if length < 4 or length % 2 or vtable + length > self.size:
            raise self.fail(kind, at, f"its vtable at {vtable} claims {length} bytes")
        if extent < 4 or at + extent > self.size:
            raise self.fail(kind, at, f"it claims {extent} bytes of {self.size - at} left")
        self.used(vtable + length)
        self.used(at + extent)
        count = (length - 4) // 2
        offsets = struct.unpack_from(f"<{count}H", self.raw, vtable + 4)
        slots = layout(kind).slots
        for i, offset in enumerate(offsets):
            if offset:
                size = 4
                if i < len(slots):
                    slot = slots[i]
                    size = SCALARS[slot.type][1] if slot.kind == "scalar" else 1 if slot.kind == "union type" else 4
                if offset < 4 or offset + size > extent:
                    raise self.fail(kind, at, f"slot {i} at offset {offset} lies outside its {extent} bytes")
        return offsets

    def _check_union(self, kind: str, at: int, slot: Slot, values: dict[str, Any]) -> None:
        code, value = values.pop(slot.name, 0), values.get(slot.name[: -len("_type")])
        if bool(code) != (value is not None):
            raise self.fail(f"{kind}.{slot.name}", at, "a union's type and value must come together")

    def _reference(self, known: Layout, slot: Slot, at: int, values: dict[str, Any]) -> Any:
        """Read what a field's offset leads to."""
        where = f"{known.name}.{slot.name}"
        target = at + self.number(at, where)
        if slot.kind == "string":
            return self._string(target, where)
        if slot.kind == "table":
            return self.table(slot.type, target)
        if slot.kind == "union":
            members = union_members(slot.type)
            code = values.get(f"{slot.name}_type", 0)
            if code > len(members):
                raise UnsupportedSchema(
                    f"{where} at byte {at} has the type {code}, and this version's schema knows {len(members)}; "
                    "nothing may be dropped, so the file needs a newer quantlib"
                )
            if not code:
                raise self.fail(where, at, "a union's type and value must come together")
            return self.table(members[code - 1], target)
        count = self.number(target, where)
        if slot.kind == "scalars":
            return self._scalars(known, slot, target + 4, count, where)
        first = target + 4
        if first + 4 * count > self.size:
            raise self.fail(
                where, target, f"a vector of {count:,} offsets reaches beyond the file's {self.size:,} bytes"
            )
        self.used(first + 4 * count)
        positions = [first + 4 * i + o for i, o in enumerate(struct.unpack_from(f"<{count}I", self.raw, first))]
        if slot.kind == "strings":
            return tuple(self._string(p, where) for p in positions)
        return tuple(self.table(slot.type, p) for p in positions)

    def _scalars(self, known: Layout, slot: Slot, first: int, count: int, where: str) -> Any:
        nbytes = count * SCALARS[slot.type][1]
        if first + nbytes > self.size:
            raise self.fail(
                where,
                first - 4,
                f"a vector of {count:,} {slot.type} reaches beyond the file's {self.size:,} bytes",
            )
        self.used(first + nbytes)
        if known.name == "Buffer":
            return Slice(self.source, first, nbytes)
        self._bytes -= nbytes
        if self._bytes < 0:
            raise self.fail(where, first - 4, f"vectors of more than the file's {self.size:,} bytes")
        array = np.frombuffer(bytes(self.raw[first : first + nbytes]), slot.type)
        array.flags.writeable = False
        return array

    def _string(self, at: int, where: str) -> str:
        self.spend(1, where, at)
        length = self.number(at, where)
        if at + 4 + length > self.size:
            raise self.fail(where, at, f"a string of {length:,} bytes reaches beyond the file's {self.size:,}")
        self._bytes -= length
        if self._bytes < 0:
            raise self.fail(where, at, f"strings of more than the file's {self.size:,} bytes")
        self.used(at + 4 + length + 1)
        return bytes(self.raw[at + 4 : at + 4 + length]).decode("utf-8", "surrogateescape")

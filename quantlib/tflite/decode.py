"""Bytes to tables: every offset and length is checked before it is used."""

from __future__ import annotations

import struct
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidModel, UnsupportedSchema

from .data import Slice
from .schema import SCALARS, Layout, Slot, layout, union_members
from .source import Source
from .table import Table, table_of

_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")
_VTABLE = struct.Struct("<HH")
#: Bytes of a field in its table; those of a scalar depend on its type.
_SIZES = MappingProxyType(
    {"union type": 1, **dict.fromkeys(("string", "table", "union", "scalars", "strings", "tables"), 4)}
)


class Decoder:
    """Reads tables of one file.

    A file spends at least the 4 bytes of an offset on each table and string, even where several offsets lead to
    one, so work is bounded by a budget of that many; a few vectors read again and again run out of it. Scalar
    vectors and strings are copied once for each place where one stands, in total no more than the file's size;
    ``Buffer.data`` stays a slice of the source, and buffers that share a vector share the slice.

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
        self._bytes = self._weights = self.size + 4096
        self._vtables: dict[tuple[str, int], tuple[int, tuple[int, ...]]] = {}
        self._copies: dict[tuple[int, int, str], Any] = {}
        self._slices: dict[tuple[int, int], Slice] = {}

    def fail(self, where: str, at: int, what: str) -> InvalidModel:
        """Make the error for something that can't be at a position."""
        return InvalidModel(f"{where} at byte {at}: {what}; the file is damaged or not a .tflite file")

    def spend(self, items: int, where: str, at: int) -> None:
        """Count items against the budget."""
        self._items -= items
        if self._items < 0:
            raise self.fail(where, at, f"more tables and strings than {self.size:,} bytes can hold")

    def copied(self, nbytes: int, where: str, at: int) -> None:
        """Count bytes that are copied out of the file."""
        self._bytes -= nbytes
        if self._bytes < 0:
            raise self.fail(where, at, f"overlapping vectors and strings of more than the file's {self.size:,} bytes")

    def slice(self, start: int, nbytes: int, where: str) -> Slice:
        """Bytes that stay in the file; the same object for the same place."""
        found = self._slices.get((start, nbytes))
        if found is None:
            self._weights -= nbytes
            if self._weights < 0:
                raise self.fail(where, start, f"overlapping data of more than the file's {self.size:,} bytes")
            found = self._slices[start, nbytes] = Slice(self.source, start, nbytes)
        self.used(start + nbytes)
        return found

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
        values: dict[str, Any] = {}
        slots = known.slots
        for i, offset in enumerate(self._fields(kind, at)):
            if not offset:
                continue
            slot = slots[i]
            unpacker = known.unpackers[i]
            if unpacker is not None:
                values[slot.name] = unpacker.unpack_from(self.raw, at + offset)[0]
            else:
                values[slot.name] = self._reference(known, slot, at + offset, values)
        for slot in slots:
            if slot.kind == "union type":
                self._check_union(kind, at, slot, values)
        return table_of(kind, values)

    def _fields(self, kind: str, at: int) -> tuple[int, ...]:
        """Offsets of the fields within a table, each checked to lie inside it."""
        self.spend(1, kind, at)
        if not 0 <= at <= self.size - 4:
            raise self.fail(kind, at, f"a table can't stand there in {self.size:,} bytes")
        vtable = at - int(_I32.unpack_from(self.raw, at)[0])
        if not 0 <= vtable <= self.size - 4:
            raise self.fail(kind, at, f"its vtable would be at {vtable}")
        found = self._vtables.get((kind, vtable))
        if found is None:
            found = self._vtables[kind, vtable] = self._vtable(kind, at, vtable)
        extent, offsets = found
        if at + extent > self.size:
            raise self.fail(kind, at, f"it claims {extent} bytes of {self.size - at} left")
        self.used(at + extent)
        return offsets

    def _vtable(self, kind: str, at: int, vtable: int) -> tuple[int, tuple[int, ...]]:
        """Extent of a table in bytes, and the offsets of the fields that the schema knows."""
        length, extent = _VTABLE.unpack_from(self.raw, vtable)
        if length < 4 or length % 2 or vtable + length > self.size:
            raise self.fail(kind, at, f"its vtable at {vtable} claims {length} bytes")
        if extent < 4:
            raise self.fail(kind, at, f"it claims {extent} bytes, and takes 4 at least")
        self.copied(length, kind, vtable)
        self.used(vtable + length)
        offsets = struct.unpack_from(f"<{(length - 4) // 2}H", self.raw, vtable + 4)
        slots = layout(kind).slots
        for i, offset in enumerate(offsets):
            if not offset:
                continue
            size = 1 if i >= len(slots) else _SIZES.get(slots[i].kind) or SCALARS[slots[i].type][1]
            if offset < 4 or offset + size > extent:
                raise self.fail(kind, at, f"slot {i} at offset {offset} lies outside its {extent} bytes")
            if i >= len(slots):
                raise UnsupportedSchema(
                    f"{kind} at byte {at} sets slot {i}, which this version's schema ({len(slots)} slots) doesn't "
                    "know; nothing may be dropped, so the file needs a newer quantlib"
                )
        return extent, offsets[: len(slots)]

    def _check_union(self, kind: str, at: int, slot: Slot, values: dict[str, Any]) -> None:
        """Drop the type of a union that has its value; without one it is kept, since readers allow that."""
        code, value = values.get(slot.name), values.get(slot.name[: -len("_type")])
        if code is None:
            return
        if value is not None or not code:
            del values[slot.name]
        elif code > len(union_members(slot.type)):
            raise self.unknown_member(f"{kind}.{slot.name}", at, code, slot)

    def unknown_member(self, where: str, at: int, code: int, slot: Slot) -> UnsupportedSchema:
        """Make the error for a union member that the schema doesn't have."""
        return UnsupportedSchema(
            f"{where} at byte {at} has the type {code}, and this version's schema knows "
            f"{len(union_members(slot.type))}; nothing may be dropped, so the file needs a newer quantlib"
        )

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
                raise self.unknown_member(where, at, code, slot)
            if not code:
                raise self.fail(where, at, "a union has a value without a type")
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
        if known.name == "Buffer":
            return self.slice(first, nbytes, where)
        return self.copy(first, count, slot.type, where)

    def copy(self, first: int, count: int, type: str, where: str) -> npt.NDArray[Any]:
        """Numbers that stand in the file, as an array of its own; the same array for the same place."""
        key = (first, count, type)
        array: npt.NDArray[Any] | None = self._copies.get(key)
        if array is None:
            nbytes = count * SCALARS[type][1]
            self.copied(nbytes, where, first)
            self.used(first + nbytes)
            array = np.frombuffer(bytes(self.raw[first : first + nbytes]), type)
            array.flags.writeable = False
            self._copies[key] = array
        return array

    def _string(self, at: int, where: str) -> str:
        self.spend(1, where, at)
        length = self.number(at, where)
        key = (at, length, "string")
        text: str | None = self._copies.get(key)
        if text is None:
            if at + 4 + length > self.size:
                raise self.fail(where, at, f"a string of {length:,} bytes reaches beyond the file's {self.size:,}")
            self.copied(length, where, at)
            self.used(at + 4 + length + 1)
            text = bytes(self.raw[at + 4 : at + 4 + length]).decode("utf-8", "surrogateescape")
            self._copies[key] = text
        return text

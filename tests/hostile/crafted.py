"""Files made by hand to explode: little data that leads to much, by offsets that share and overlap."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType

from quantlib.tflite.schema import layout

SIZE = 300_000


class Forge:
    """Writes tables and vectors wherever it likes; a position may be used by anybody."""

    def __init__(self) -> None:
        self.raw = bytearray(b"\0\0\0\0TFL3")

    def align(self, to: int = 4) -> int:
        self.raw.extend(bytes(-len(self.raw) % to))
        return len(self.raw)

    def table(self, kind: str, **fields: int) -> int:
        """A table of 4-byte fields: numbers, or offsets that `point` fills in."""
        index = layout(kind).index
        last = max((index[name] for name in fields), default=-1)
        entries = [0] * (last + 1)
        for i, name in enumerate(fields):
            entries[index[name]] = 4 + 4 * i
        vtable = self.align(2)
        self.raw.extend(struct.pack(f"<{2 + len(entries)}H", 4 + 2 * len(entries), 4 + 4 * len(fields), *entries))
        at = self.align()
        self.raw.extend(struct.pack(f"<i{len(fields)}I", at - vtable, *fields.values()))
        return at

    def point(self, field: int, target: int) -> None:
        struct.pack_into("<I", self.raw, field, target - field)

    def offsets(self, count: int) -> int:
        """A vector of offsets, for `point` to fill in."""
        at = self.align()
        self.raw.extend(struct.pack("<I", count) + bytes(4 * count))
        return at

    def fill(self, size: int, byte: int = 0) -> int:
        at = self.align()
        self.raw.extend(bytes([byte]) * size)
        return at

    def root(self, **fields: int) -> int:
        """A ``Model`` with version 3; other fields are offsets."""
        at = self.table("Model", version=3, **dict.fromkeys(fields, 0))
        self.point(0, at)
        return at


def tables_in_tables() -> bytes:
    """One subgraph that a thousand offsets lead to, with one tensor that ten thousand lead to: ten million tables."""
    forge = Forge()
    root = forge.root(subgraphs=0)
    graphs = forge.offsets(20_000)
    graph = forge.table("SubGraph", tensors=0)
    tensors = forge.offsets(50_000)
    tensor = forge.table("Tensor")
    forge.point(root + 8, graphs)
    forge.point(graph + 4, tensors)
    for i in range(20_000):
        forge.point(graphs + 4 + 4 * i, graph)
    for i in range(50_000):
        forge.point(tensors + 4 + 4 * i, tensor)
    return bytes(forge.raw)


def _overlapping(kind: str, field: str, item: int) -> bytes:
    """Vectors or strings of half the region each, every one a few bytes further on than the one before."""
    forge, count = Forge(), 2000
    holder = {"Buffer": "buffers", "Metadata": "metadata", "SubGraph": "subgraphs"}[kind]
    root = forge.root(**{holder: 0})
    vector = forge.offsets(count)
    forge.point(root + 8, vector)
    tables = []
    for i in range(count):
        tables.append(forge.table(kind, **{field: 0}))
        forge.point(vector + 4 + 4 * i, tables[-1])
    length = SIZE // 2 // item
    region = forge.fill(0)
    forge.raw.extend(struct.pack("<I", length) * (SIZE // 4))
    for i, table in enumerate(tables):
        forge.point(table + 4, region + 4 * i)
    return bytes(forge.raw)


def overlapping_strings() -> bytes:
    return _overlapping("Metadata", "name", 1)


def overlapping_vectors() -> bytes:
    return _overlapping("SubGraph", "inputs", 4)


def overlapping_data() -> bytes:
    return _overlapping("Buffer", "data", 1)


def one_vector_for_all() -> bytes:
    """Thousands of buffers that share one vector: no harm, if it is never multiplied."""
    forge, count = Forge(), 5000
    root = forge.root(subgraphs=0, buffers=0)
    graphs = forge.offsets(1)
    forge.point(root + 8, graphs)
    forge.point(graphs + 4, forge.table("SubGraph"))
    vector = forge.offsets(count)
    forge.point(root + 12, vector)
    tables = [forge.table("Buffer", data=0) for _ in range(count)]
    data = forge.fill(SIZE)
    struct.pack_into("<I", forge.raw, data, SIZE - 4)
    for i, table in enumerate(tables):
        forge.point(vector + 4 + 4 * i, table)
        forge.point(table + 4, data)
    return bytes(forge.raw)


def long_vtable() -> bytes:
    """One vtable that claims 32,000 slots, all empty, under thousands of tables."""
    forge, count = Forge(), 5000
    root = forge.root(subgraphs=0)
    vector = forge.offsets(count)
    forge.point(root + 8, vector)
    vtable = forge.fill(65_532)
    struct.pack_into("<HH", forge.raw, vtable, 65_532, 4)
    for i in range(count):
        at = forge.align()
        forge.raw.extend(struct.pack("<i", at - vtable))
        forge.point(vector + 4 + 4 * i, at)
    return bytes(forge.raw)


def data_outside(step: int) -> bytes:
    """Buffers by offset and size, all over the same bytes."""
    forge, count = Forge(), 3000
    root = forge.root(subgraphs=0, buffers=0)
    graphs = forge.offsets(1)
    forge.point(root + 8, graphs)
    forge.point(graphs + 4, forge.table("SubGraph"))
    vector = forge.offsets(count)
    forge.point(root + 12, vector)
    spots = []
    for i in range(count):
        vtable = forge.align(2)
        forge.raw.extend(struct.pack("<5H", 10, 24, 0, 8, 16))
        at = forge.align(8)
        forge.raw.extend(struct.pack("<i4xQQ", at - vtable, 0, 0))
        forge.point(vector + 4 + 4 * i, at)
        spots.append(at)
    region = forge.fill(SIZE, 7)
    for i, at in enumerate(spots):
        struct.pack_into("<QQ", forge.raw, at + 8, region + step * i, SIZE // 2)
    return bytes(forge.raw)


def options_outside(step: int) -> bytes:
    """Operators whose large custom options stand over the same bytes."""
    forge, count = Forge(), 3000
    root = forge.root(subgraphs=0, operator_codes=0)
    graphs = forge.offsets(1)
    codes = forge.offsets(1)
    forge.point(root + 12, codes)
    forge.point(codes + 4, forge.table("OperatorCode"))
    forge.point(root + 8, graphs)
    graph = forge.table("SubGraph", operators=0)
    forge.point(graphs + 4, graph)
    vector = forge.offsets(count)
    forge.point(graph + 4, vector)
    index, spots = layout("Operator").index["large_custom_options_offset"], []
    for i in range(count):
        vtable = forge.align(2)
        entries = [0] * (index + 2)
        entries[index], entries[index + 1] = 8, 16
        forge.raw.extend(struct.pack(f"<{2 + len(entries)}H", 4 + 2 * len(entries), 24, *entries))
        at = forge.align(8)
        forge.raw.extend(struct.pack("<i4xQQ", at - vtable, 0, 0))
        forge.point(vector + 4 + 4 * i, at)
        spots.append(at)
    region = forge.fill(SIZE, 7)
    for i, at in enumerate(spots):
        struct.pack_into("<QQ", forge.raw, at + 8, region + step * i, SIZE // 2)
    return bytes(forge.raw)


def itself() -> bytes:
    """A model whose subgraph is the model, whose tensors are the model."""
    forge = Forge()
    root = forge.root(subgraphs=0)
    vector = forge.offsets(1000)
    forge.point(root + 8, vector)
    for i in range(1000):
        struct.pack_into("<I", forge.raw, vector + 4 + 4 * i, (root - (vector + 4 + 4 * i)) & 0xFFFFFFFF)
    return bytes(forge.raw)


def everything_at_once() -> bytes:
    """A vector of offsets that all lead to the same empty table."""
    forge = Forge()
    root = forge.root(subgraphs=0)
    vector = forge.offsets(10_000)
    graph = forge.table("SubGraph")
    forge.point(root + 8, vector)
    for i in range(10_000):
        forge.point(vector + 4 + 4 * i, graph)
    return bytes(forge.raw)


#: Files by name, and what reading them says; nothing where they are valid.
CRAFTED: Mapping[str, tuple[Callable[[], bytes], str]] = MappingProxyType(
    {
        "tables in tables": (tables_in_tables, "more tables and strings than 280,0.. bytes can hold"),
        "overlapping strings": (overlapping_strings, "Metadata.name .* overlapping vectors and strings"),
        "overlapping vectors": (overlapping_vectors, "SubGraph.inputs .* overlapping vectors and strings"),
        "overlapping data": (overlapping_data, "Buffer.data .* overlapping data"),
        "one vector for all": (one_vector_for_all, ""),
        "long vtable": (long_vtable, ""),
        "one place outside for all": (lambda: data_outside(0), ""),
        "overlapping data outside": (lambda: data_outside(1), r"Model.buffers\[2\] .* overlapping data"),
        "one place for all options": (lambda: options_outside(0), ""),
        "overlapping options outside": (lambda: options_outside(1), r"operators\[2\] .* overlapping vectors"),
        "itself": (itself, "a table can't stand there in 4,036 bytes"),
        "everything at once": (everything_at_once, ""),
    }
)

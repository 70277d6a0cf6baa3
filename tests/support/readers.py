"""Other people's readers of the format, walked beside ours: PyPI's `tflite`, and LiteRT's generated module."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from quantlib.tflite import Data, Source, Table
from quantlib.tflite.decode import Decoder
from quantlib.tflite.encode import Encoder
from quantlib.tflite.schema import Slot, layout, union_members

#: What releases of the readers lack: tables and fields that are newer than PyPI's `tflite` 2.18, or than LiteRT 2.2.
NEWER = frozenset(
    {
        "BlockwiseQuantization", "MultiAxisQuantization", "StablehloCaseOptions", "ExternalBufferGroup",
        "ExternalBuffer", "Tensor.external_buffer", "Model.external_buffer_groups", "Model.external_buffers",
        "BlockwiseQuantization.block_shape", "FullyConnectedOptions.quant_spec",
    }
)  # fmt: skip
#: Slots that the schema keeps under names, and for which readers have no accessors any more.
DEPRECATED = frozenset(
    {"ResizeBilinearOptions.new_height", "ResizeBilinearOptions.new_width", "SignatureDef.deprecated_tag"}
)


def namespace(name: str) -> Any:
    """Module with the readers, or a skip."""
    if name == "tflite":
        return importlib.import_module("tflite")
    reason = "LiteRT is not installed (the extra 'litert')"
    return pytest.importorskip("ai_edge_litert.schema_py_generated", reason=reason)


def camel(name: str) -> str:
    """Name of a field's accessor: ``stride_w`` is ``StrideW``."""
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def lower_camel(name: str) -> str:
    """Name of a field of the object API: ``stride_w`` is ``strideW``."""
    return camel(name)[:1].lower() + camel(name)[1:]


# ---- one table, by our codec ---------------------------------------------------------------------------------


def encode(table: Table) -> bytes:
    """A FlatBuffer with any table as its root."""
    encoder = Encoder()
    out = encoder.root(table)
    for field, data in encoder.holes:
        out.extend(bytes(-(len(out) + 4) % 16))
        struct.pack_into("<I", out, field, len(out) - field)
        out.extend(struct.pack("<I", data.nbytes) + data.numpy().tobytes())
    return bytes(out)


def decode(kind: str, raw: bytes) -> Table:
    """Root of a FlatBuffer, as a table of any type."""
    return Decoder(Source(raw)).table(kind, struct.unpack_from("<I", raw)[0])


# ---- accessors -----------------------------------------------------------------------------------------------


def open_with(readers: Any, kind: str, raw: bytes) -> Any:
    """Root of a FlatBuffer as another library's reader sees it."""
    return getattr(readers, kind).GetRootAs(raw, 0)


def differences(table: Table, other: Any, readers: Any, where: str = "") -> Iterator[str]:
    """Where our table and another library's reader don't see the same, slot by slot."""
    where = where or table.kind
    for slot in layout(table.kind).slots:
        place = f"{where}.{slot.name}"
        if not hasattr(other, camel(slot.name)):
            if f"{table.kind}.{slot.name}" not in NEWER | DEPRECATED:
                yield f"{place}: unknown to the other"
        elif slot.kind == "union type":
            ours = getattr(table, slot.name.removesuffix("_type"))
            code = 0 if ours is None else union_members(slot.type).index(ours.kind) + 1
            if code != getattr(other, camel(slot.name))():
                yield f"{place}: {code} and {getattr(other, camel(slot.name))()}"
        else:
            yield from _slot(slot, getattr(table, slot.name), table, other, readers, place)


def _slot(slot: Slot, ours: Any, table: Table, other: Any, readers: Any, place: str) -> Iterator[str]:
    name = camel(slot.name)
    if slot.kind in ("scalars", "strings", "tables"):
        if getattr(other, f"{name}IsNone")():
            if ours is not None:
                yield f"{place}: absent for the other"
            return
        yield from _vector(slot, ours, other, readers, place)
        return
    theirs = getattr(other, name)()
    if slot.kind == "scalar":
        if slot.name == "builtin_code" and readers.__name__ == "tflite" and ours < 127:
            ours = table.deprecated_builtin_code  # with which PyPI's accessor answers where that is enough
        if ours != theirs and not (ours != ours and theirs != theirs):
            yield f"{place}: {ours} and {theirs}"
    elif ours is None or theirs is None:
        if (ours is None) != (theirs is None):
            yield f"{place}: {ours!r} and {theirs!r}"
    elif slot.kind == "string":
        if ours.encode("utf-8", "surrogateescape") != theirs:
            yield f"{place}: {ours!r} and {theirs!r}"
    elif hasattr(readers, ours.kind):
        if slot.kind == "union":
            member = getattr(readers, ours.kind)()
            member.Init(theirs.Bytes, theirs.Pos)
            theirs = member
        yield from differences(ours, theirs, readers, place)
    elif ours.kind not in NEWER:
        yield f"{place}: the other has no {ours.kind}"


def _vector(slot: Slot, ours: Any, other: Any, readers: Any, place: str) -> Iterator[str]:
    name = camel(slot.name)
    length = getattr(other, f"{name}Length")()
    if ours is None or length != (ours.nbytes if isinstance(ours, Data) else len(ours)):
        yield f"{place}: {ours!r} and {length} items"
    elif slot.kind == "scalars":
        theirs = getattr(other, f"{name}AsNumpy")() if length else np.zeros(0, np.uint8)
        mine = ours.numpy() if isinstance(ours, Data) else ours
        if length and (mine.dtype != theirs.dtype or mine.tobytes() != theirs.tobytes()):
            yield f"{place}: other values"
    else:
        for i, item in enumerate(ours):
            theirs = getattr(other, name)(i)
            if slot.kind == "tables":
                yield from differences(item, theirs, readers, f"{place}[{i}]")
            elif item.encode("utf-8", "surrogateescape") != theirs:
                yield f"{place}[{i}]: {item!r} and {theirs!r}"


# ---- the object API ------------------------------------------------------------------------------------------


def object_differences(table: Table, other: Any, where: str = "") -> Iterator[str]:
    """Where our table and an object of the generated object API differ."""
    where = where or table.kind
    for slot in layout(table.kind).slots:
        if slot.kind == "union type" or not hasattr(other, lower_camel(slot.name)):
            continue
        place, ours, theirs = (
            f"{where}.{slot.name}",
            getattr(table, slot.name),
            getattr(other, lower_camel(slot.name)),
        )
        if ours is None or theirs is None:
            if (ours is None) != (theirs is None):
                yield f"{place}: {ours!r} and {theirs!r}"
        elif isinstance(ours, Table):
            if type(theirs).__name__ != f"{ours.kind}T":
                yield f"{place}: {ours.kind} and {type(theirs).__name__}"
            yield from object_differences(ours, theirs, place)
        elif isinstance(ours, tuple):
            if len(ours) != len(theirs):
                yield f"{place}: {len(ours)} and {len(theirs)} items"
            for i, (a, b) in enumerate(zip(ours, theirs, strict=False)):
                if isinstance(a, Table):
                    yield from object_differences(a, b, f"{place}[{i}]")
                elif a.encode("utf-8", "surrogateescape") != b:
                    yield f"{place}[{i}]: {a!r} and {b!r}"
        elif slot.kind == "scalars":
            mine = ours.numpy() if isinstance(ours, Data) else ours
            if mine.size != np.size(theirs) and not (mine.size == 0 and np.ndim(theirs) == 0):
                yield f"{place}: {mine.size} and {np.size(theirs)} values"
            elif mine.size and mine.tobytes() != np.asarray(theirs).tobytes():
                yield f"{place}: other values"
        elif slot.kind == "string":
            if ours.encode("utf-8", "surrogateescape") != theirs:
                yield f"{place}: {ours!r} and {theirs!r}"
        elif ours != theirs and not (ours != ours and theirs != theirs):
            yield f"{place}: {ours} and {theirs}"

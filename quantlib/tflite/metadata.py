"""TFLite Metadata: the least and greatest value that it says of inputs and outputs, changed in place.

The tables are those of ``metadata_schema.fbs`` (TensorFlow Lite Support), a FlatBuffer of their own within a buffer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from quantlib.errors import InvalidModel

#: Name of the metadata entry.
ENTRY = "TFLITE_METADATA"
#: Slots: ModelMetadata.subgraph_metadata; SubGraphMetadata.{input,output}_tensor_metadata; TensorMetadata.stats;
#: Stats.max and Stats.min.
_SUBGRAPHS, _STATS, _MAX, _MIN = 3, 5, 0, 1
_SIDES = MappingProxyType({"input": 2, "output": 3})
#: Greatest and least values of an end, changed or left (None).
Change = Callable[[tuple[float, ...], tuple[float, ...]], tuple[tuple[float, ...], tuple[float, ...]] | None]


def with_statistics(raw: bytes, changes: Mapping[tuple[int, str, int], Change]) -> bytes:
    """Return the metadata with other statistics of some ends.

    Parameters
    ----------
    raw : bytes
        Data of the entry `ENTRY`.
    changes : mapping of (int, str, int) to callable
        By subgraph, ``input`` or ``output``, and place among these: takes the greatest and the least values, of all
        channels, and returns as many others, or None to leave them.

    Returns
    -------
    bytes
        As long as before; nothing but these numbers differs.

    Raises
    ------
    InvalidModel
        If the bytes are no such FlatBuffer.
    """
    data = bytearray(raw)
    try:
        for (g, side, place), change in changes.items():
            stats = _stats(data, g, side, place)
            if stats is None:
                continue
            places = [list(_floats(data, stats, slot)) for slot in (_MAX, _MIN)]
            before = [tuple(struct.unpack_from("<f", data, at)[0] for at in part) for part in places]
            after = change(before[0], before[1])
            for part, values in zip(places, after or (), strict=False):
                for at, value in zip(part, values, strict=True):
                    struct.pack_into("<f", data, at, value)
    except (struct.error, OverflowError) as error:
        raise InvalidModel(f"{ENTRY}: {len(raw)} bytes that are no metadata of a model: {error}") from None
    return bytes(data)


def _stats(data: bytearray, g: int, side: str, place: int) -> int | None:
    """Position of an end's statistics; None where there are none."""
    at: int | None = _follow(data, 0)
    for slot, index in ((_SUBGRAPHS, g), (_SIDES[side], place)):
        vector = None if at is None else _field(data, at, slot)
        if vector is None:
            return None
        start = _follow(data, vector)
        count = struct.unpack_from("<I", data, start)[0]
        at = _follow(data, start + 4 + 4 * index) if index < count else None
    field = None if at is None else _field(data, at, _STATS)
    return None if field is None else _follow(data, field)


def _floats(data: bytearray, table: int, slot: int) -> Iterator[int]:
    field = _field(data, table, slot)
    if field is None:
        return
    start = _follow(data, field)
    count = struct.unpack_from("<I", data, start)[0]
    if count > len(data) // 4:
        raise struct.error(f"{count} numbers")
    yield from (start + 4 + 4 * k for k in range(count))


def _follow(data: bytearray, at: int) -> int:
    """Where an offset points."""
    return at + int(struct.unpack_from("<I", data, at)[0])


def _field(data: bytearray, table: int, slot: int) -> int | None:
    """Position of a table's field; None where it isn't stored."""
    entries = table - struct.unpack_from("<i", data, table)[0]
    if entries < 0:
        raise struct.error("a table without fields")
    place = 4 + 2 * slot
    if place >= struct.unpack_from("<H", data, entries)[0]:
        return None
    offset = struct.unpack_from("<H", data, entries + place)[0]
    return table + offset if offset else None

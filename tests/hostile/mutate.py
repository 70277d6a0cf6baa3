"""Damage to a file, drawn from a seed: the same seed gives the same bytes everywhere."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from quantlib.tflite import Model, Table
from quantlib.tflite.schema import Slot, layout, union_members

Damage = Callable[[bytearray, random.Random, "Places"], None]

#: Values at the borders of what a count, an index or an offset can be.
WORDS = (
    0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 127, 128, 255, 256, 32767, 32768, 65535, 65536,
    1 << 20, (1 << 24) + 1, (1 << 29) - 1, 1 << 29, (1 << 30) - 1, 1 << 30, (1 << 31) - 5, (1 << 31) - 1, 1 << 31,
    (1 << 32) - 5, (1 << 32) - 4, (1 << 32) - 2, (1 << 32) - 1,
)  # fmt: skip
DOUBLES = (0, 1, 2, (1 << 31), (1 << 32), (1 << 53), (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


class Places:
    """Where damage does most: outside the weights, whose bytes may be anything."""

    def __init__(self, raw: bytes, weights: list[tuple[int, int]]) -> None:
        covered = bytearray(len(raw))
        for start, stop in weights:
            covered[start:stop] = b"\1" * (stop - start)
        self.spots = [i for i, c in enumerate(covered) if not c]

    def draw(self, rng: random.Random, size: int, width: int = 1) -> int:
        """Draw a position that is a multiple of a width, with that many bytes left."""
        spot = rng.choice(self.spots) if self.spots and rng.random() < 0.95 else rng.randrange(size)
        return max(min(spot // width * width, size - width), 0)


def flip(raw: bytearray, rng: random.Random, places: Places) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        raw[places.draw(rng, len(raw))] ^= 1 << rng.randrange(8)


def byte(raw: bytearray, rng: random.Random, places: Places) -> None:
    raw[places.draw(rng, len(raw))] = rng.choice((0, 1, 2, 3, 4, 8, 16, 126, 127, 128, 129, 254, 255))


def half(raw: bytearray, rng: random.Random, places: Places) -> None:
    """Overwrite what may be an entry of a vtable."""
    value = rng.choice((0, 1, 2, 3, 4, 5, 6, 8, 12, 16, 32, 255, 32767, 32768, 65534, 65535))
    struct.pack_into("<H", raw, places.draw(rng, len(raw), 2), value)


def word(raw: bytearray, rng: random.Random, places: Places) -> None:
    """Overwrite what may be a length, an index or an offset."""
    at = places.draw(rng, len(raw), 4)
    value = rng.choice(WORDS) if rng.random() < 0.8 else rng.choice((len(raw), len(raw) - at, len(raw) - at - 4))
    struct.pack_into("<I", raw, at, value & 0xFFFFFFFF)


def nudge(raw: bytearray, rng: random.Random, places: Places) -> None:
    """Move a number a little."""
    at = places.draw(rng, len(raw), 4)
    value = struct.unpack_from("<I", raw, at)[0] + rng.choice((-64, -16, -8, -4, -2, -1, 1, 2, 4, 8, 16, 64))
    struct.pack_into("<I", raw, at, value & 0xFFFFFFFF)


def double(raw: bytearray, rng: random.Random, places: Places) -> None:
    struct.pack_into("<Q", raw, max(min(places.draw(rng, len(raw), 4), len(raw) - 8), 0), rng.choice(DOUBLES))


def splice(raw: bytearray, rng: random.Random, places: Places) -> None:
    """Let an offset lead where another one leads: tables as strings, shared and nested vectors."""
    at, other = places.draw(rng, len(raw), 4), places.draw(rng, len(raw), 4)
    target = other + struct.unpack_from("<I", raw, other)[0]
    struct.pack_into("<I", raw, at, (target - at) & 0xFFFFFFFF)


def lead(raw: bytearray, rng: random.Random, places: Places) -> None:
    """Let an offset lead anywhere, backwards and to itself too: cycles."""
    at, target = places.draw(rng, len(raw), 4), places.draw(rng, len(raw), 4)
    struct.pack_into("<I", raw, at, (rng.choice((target, at, max(at - 4, 0))) - at) & 0xFFFFFFFF)


def vtable(raw: bytearray, rng: random.Random, places: Places) -> None:
    """Let a table use another vtable, which may be no vtable."""
    at, target = places.draw(rng, len(raw), 4), places.draw(rng, len(raw), 2)
    struct.pack_into("<i", raw, at, at - target)


def copy(raw: bytearray, rng: random.Random, places: Places) -> None:
    size = rng.choice((4, 8, 16, 64, 256))
    to = places.draw(rng, len(raw), 4)
    block = raw[(source := places.draw(rng, len(raw), 4)) : source + min(size, len(raw) - to)]
    raw[to : to + len(block)] = block


def blank(raw: bytearray, rng: random.Random, places: Places) -> None:
    at = places.draw(rng, len(raw), 4)
    size = min(rng.choice((1, 4, 16, 64)), len(raw) - at)
    raw[at : at + size] = bytes([rng.choice((0, 0, 1, 255))]) * size


def insert(raw: bytearray, rng: random.Random, places: Places) -> None:
    at = places.draw(rng, len(raw))
    raw[at:at] = rng.randbytes(rng.choice((1, 2, 4, 16)))


def delete(raw: bytearray, rng: random.Random, places: Places) -> None:
    at = places.draw(rng, len(raw))
    del raw[at : at + rng.choice((1, 2, 4, 16, 100))]


def truncate(raw: bytearray, rng: random.Random, places: Places) -> None:
    del raw[rng.randrange(len(raw)) :]


def tail(raw: bytearray, rng: random.Random, places: Places) -> None:
    """Damage the last bytes, where the directory of an archive stands."""
    for _ in range(rng.choice((1, 4))):
        raw[len(raw) - 1 - rng.randrange(min(len(raw), 160))] = rng.randrange(256)


#: Damage by name, the more telling kinds more often.
KINDS: tuple[tuple[Damage, int], ...] = (
    (flip, 4), (byte, 3), (half, 3), (word, 6), (nudge, 4), (double, 1), (splice, 5), (lead, 3), (vtable, 2),
    (copy, 3), (blank, 2), (insert, 1), (delete, 1), (truncate, 1), (tail, 1),
)  # fmt: skip


def damaged(raw: bytes, places: Places, seed: str) -> bytes:
    """Return a file with one to four damages."""
    rng = random.Random(seed)
    out = bytearray(raw)
    kinds, shares = zip(*KINDS, strict=True)
    for kind in rng.choices(kinds, shares, k=rng.choice((1, 1, 1, 2, 2, 4))):
        if len(out) > 16:
            kind(out, rng, places)
    return bytes(out)


# ---- damage to values, in files that stay well-formed ---------------------------------------------------------


def bent(model: Model, seed: str) -> bytes:
    """Return a well-formed file in which one to three fields, anywhere in the tables, have hostile values."""
    rng = random.Random(seed)
    root = model.root
    for _ in range(rng.choice((1, 1, 2, 3))):
        root = _bend(root, rng)
    return Model(root, model.trailing).to_bytes()


def _bend(table: Table, rng: random.Random) -> Table:
    """Change one field of a table, or of one below it."""
    below = [(k, v) for k, v in table.stored().items() if isinstance(v, Table) or (isinstance(v, tuple) and v)]
    if below and rng.random() < 0.8:
        name, value = rng.choice(below)
        if isinstance(value, Table):
            return table.replace(**{name: _bend(value, rng)})
        i = rng.randrange(len(value))
        if isinstance(value[i], Table):
            return table.replace(**{name: (*value[:i], _bend(value[i], rng), *value[i + 1 :])})
    slots = layout(table.kind).slots
    slot = rng.choice(slots) if slots else None
    return table if slot is None or slot.kind == "union type" else table.replace(**{slot.name: _value(slot, rng)})


def _value(slot: Slot, rng: random.Random) -> Any:
    """Draw a value that a field can store, and that may make no sense."""
    if slot.kind == "scalar":
        return _scalar(slot.type, rng)
    if slot.kind == "scalars":
        return np.array([_scalar(slot.type, rng) for _ in range(rng.choice((0, 1, 2, 3, 8, 70)))], slot.type)
    if slot.kind == "string":
        return rng.choice((None, "", "\0", "x" * 5000, "\udcff\udc80", "../../a", "é"))
    if slot.kind == "union":
        return rng.choice((None, Table(rng.choice(union_members(slot.type)))))
    if slot.kind == "table":
        return rng.choice((None, Table(slot.type)))
    if slot.kind == "strings":
        return ()
    return rng.choice((None, (), (Table(slot.type),), (Table(slot.type),) * 3))


def _scalar(kind: str, rng: random.Random) -> Any:
    if kind == "float32":
        return np.float32(rng.choice((0.0, -0.0, 1.0, -1.0, 1e-40, 3e38, np.inf, -np.inf, np.nan)))
    if kind == "bool":
        return rng.random() < 0.5
    span = np.iinfo(kind)
    value = rng.choice((-2, -1, 0, 1, 2, 3, 7, 16, 127, 128, 255, *WORDS, *DOUBLES, span.min, span.max))
    return min(max(value, span.min), span.max)

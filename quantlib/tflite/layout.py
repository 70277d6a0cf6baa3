"""Where everything of a file goes, before any weight exists: skeleton, buffers, what follows the FlatBuffer."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .archive import moved
from .data import Data, Inline, Slice
from .encode import Encoder

if TYPE_CHECKING:
    from .model import Model
    from .table import Table

#: A FlatBuffer ends below 2 GiB: its offsets are 32 bits, and readers take them as signed.
#: flatbuffers: FLATBUFFERS_MAX_BUFFER_SIZE in include/flatbuffers/base.h
INLINE_LIMIT = (1 << 31) - 1
#: `Buffer.data` is declared force_align: 16 in the schema; XNNPACK reads up to 16 bytes past a weight buffer
#: (XNN_EXTRA_BYTES, include/xnnpack.h), which must stay inside the file.
ALIGN = OVERREAD = 16


@dataclass(frozen=True, slots=True)
class Placement:
    """Bytes and the place in the file where they go."""

    start: int
    data: Data


@dataclass(frozen=True, slots=True)
class FileLayout:
    """All placements of a file, in order, and its size; what lies between them is zero.

    Attributes
    ----------
    placements : tuple of Placement
        The skeleton first.
    size : int
        File size in bytes.
    external : bool
        Whether buffers stand behind the FlatBuffer by offset and size, instead of inside it.
    """

    placements: tuple[Placement, ...]
    size: int
    external: bool


def _up(value: int, align: int = ALIGN) -> int:
    return -(-value // align) * align


def plan_layout(model: Model, *, rebuild: bool = False, limit: int = INLINE_LIMIT) -> FileLayout:
    """Lay a model out.

    A model that wasn't changed since it was read is one placement, its source.

    Parameters
    ----------
    model : Model
    rebuild : bool
        Encode every table anew, even where nothing changed.
    limit : int
        Size in bytes from which buffers go behind the FlatBuffer by offset and size.
    """
    if model.unchanged and not rebuild:
        return FileLayout((Placement(0, Slice(model.source, 0, model.source.size)),), model.source.size, False)
    layout = _inline(model)
    return layout if layout.size <= limit else _external(model)


def _inline(model: Model) -> FileLayout:
    """Vectors behind the skeleton: 4 bytes of length, then data at a multiple of 16; the offset points forward.

    Buffers with one `Data` between them share its vector.
    """
    encoder = Encoder()
    skeleton = encoder.root(model.root)
    at = read_past = len(skeleton)
    places: list[Placement] = []
    in_tensors = {t.buffer for graph in model.subgraphs for t in graph.tensors or ()}
    owners = [i for i, b in enumerate(model.buffers) if b.data is not None]
    # what no tensor holds, such as metadata, goes last: kernels don't read past it
    order = sorted(zip(owners, encoder.holes, strict=True), key=lambda item: item[0] not in in_tensors)
    starts: dict[int, int] = {}
    for owner, (field, data) in order:
        start = starts.get(id(data))
        if start is None:
            start = starts[id(data)] = _up(at + 4)
            places.append(Placement(start - 4, Inline(struct.pack("<I", data.nbytes & 0xFFFFFFFF))))
            places.append(Placement(start, data))
            at = start + data.nbytes
            read_past = at + OVERREAD if owner in in_tensors else read_past
        struct.pack_into("<I", skeleton, field, (start - 4 - field) & 0xFFFFFFFF)
    return _finish(model, skeleton, places, max(at, read_past), external=False)


def _external(model: Model) -> FileLayout:
    """Data by offset and size from the start of the file (LiteRT reads this form; TFLite Micro doesn't)."""
    buffers = model.buffers
    with_data = [i for i, b in enumerate(buffers) if b.data is not None and b.data.nbytes]
    blank: dict[int, Any] = {i: {"data": None, "offset": 2, "size": buffers[i].data.nbytes} for i in with_data}
    encoder = Encoder()
    at = first = _up(len(encoder.root(_with_buffers(model.root, blank))) + 4 * bool(encoder.holes))
    places = []
    starts: dict[int, int] = {}
    for i in with_data:
        data = buffers[i].data
        if id(data) not in starts:
            starts[id(data)] = at
            places.append(Placement(at, data))
            at = _up(at + data.nbytes)
        blank[i]["offset"] = starts[id(data)]
    encoder = Encoder()
    skeleton = encoder.root(_with_buffers(model.root, blank))
    if encoder.holes:  # vectors that are present but empty: one serves for all
        skeleton.extend(bytes(first - len(skeleton)))
        for field, _ in encoder.holes:
            struct.pack_into("<I", skeleton, field, first - 4 - field)
    return _finish(model, skeleton, places, at + OVERREAD, external=True)


def _with_buffers(root: Table, changes: dict[int, Any]) -> Table:
    if not changes:
        return root
    return root.replace(buffers=[b.replace(**changes.get(i, {})) for i, b in enumerate(root.buffers)])


def _finish(model: Model, skeleton: bytearray, places: list[Placement], at: int, *, external: bool) -> FileLayout:
    end = at
    if model.trailing.nbytes:
        end = _up(end)
        distance = end - model.trailing_start
        trailing = moved(model.trailing.numpy().tobytes(), distance)
        places = [*places, Placement(end, Inline(trailing))]
        end += len(trailing)
    whole = np.frombuffer(memoryview(skeleton).toreadonly(), np.uint8)
    return FileLayout((Placement(0, Inline(whole)), *places), end, external)

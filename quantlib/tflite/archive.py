"""The ZIP archive of associated files (labels, vocabularies) that TFLite metadata appends to a model.

Offsets in a ZIP directory count from the start of the file, so they move with the archive. They are patched in
place; everything else, comments and unknown extra fields included, stays byte for byte.
"""

from __future__ import annotations

import struct

_END, _ENTRY = b"PK\5\6", b"PK\1\2"
_ENTRY_SIZE, _END_SIZE = 46, 22


def moved(trailing: bytes, distance: int) -> bytes:
    """Return trailing bytes that stand `distance` bytes further back in the new file.

    Anything that isn't a ZIP archive with offsets from the start of the file is returned as it is.

    Parameters
    ----------
    trailing : bytes
        What follows the FlatBuffer.
    distance : int
        New position minus old position, in bytes.
    """
    end = _end(trailing)
    if not distance or end is None:
        return trailing
    count, size, start = struct.unpack_from("<HII", trailing, end + 10)
    directory = end - size
    if directory < 0 or start == 0xFFFFFFFF or not 0 <= start + distance < 0xFFFFFFFF:
        return trailing
    out = bytearray(trailing)
    at = directory
    for _ in range(count):
        if out[at : at + 4] != _ENTRY or at + _ENTRY_SIZE > end:
            return trailing
        lengths = struct.unpack_from("<HHH", out, at + 28)
        local = struct.unpack_from("<I", out, at + 42)[0] + distance
        if not 0 <= local < 0xFFFFFFFF:
            return trailing
        struct.pack_into("<I", out, at + 42, local)
        at += _ENTRY_SIZE + sum(lengths)
    struct.pack_into("<I", out, end + 16, start + distance)
    return bytes(out)


def _end(trailing: bytes) -> int | None:
    """Position of the record that ends the archive; its comment, which may hold anything, ends the file."""
    end = trailing.rfind(_END)
    while end >= 0:
        if end + _END_SIZE <= len(trailing):
            comment = struct.unpack_from("<H", trailing, end + 20)[0]
            if end + _END_SIZE + comment == len(trailing):
                return end
        end = trailing.rfind(_END, 0, end)
    return None

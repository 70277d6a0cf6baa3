"""The ZIP of associated files, and whether it stands where its directory says."""

from __future__ import annotations

import io
import struct
import zipfile


def members(raw: bytes) -> dict[str, bytes]:
    """Contents by name, after all checks that `zipfile` has; nothing where the file has no archive."""
    if not zipfile.is_zipfile(io.BytesIO(raw)):
        return {}
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def stands_exactly(raw: bytes) -> bool:
    """Whether offsets count from the start of the file, with no shift that a reader would have to guess."""
    end = raw.rfind(b"PK\5\6")
    count, size, start = struct.unpack_from("<HII", raw, end + 10)
    if start + size != end:
        return False
    for _ in range(count):
        lengths = struct.unpack_from("<HHH", raw, start + 28)
        (local,) = struct.unpack_from("<I", raw, start + 42)
        if raw[start : start + 4] != b"PK\1\2" or raw[local : local + 4] != b"PK\3\4":
            return False
        start += 46 + sum(lengths)
    return start == end

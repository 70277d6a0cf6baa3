"""What is done of a calibration, on disk, so that it can go on after an interruption."""

from __future__ import annotations

import contextlib
import json
import os
import time
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.calibration import Statistics, load, merge
from quantlib.errors import InvalidValue, WriteFailed

from .protocol import Array

#: Seconds between two saves.
_INTERVAL = 10.0

#: The member, beside those of a statistics file, that says which samples are in it.
_MEMBER = "checkpoint.json"


def digest(values: Mapping[str, Array]) -> int:
    """CRC-32 of one sample: tells whether the data is still the same when a calibration goes on."""
    crc = 0
    for name in sorted(values):
        array = np.ascontiguousarray(values[name])
        crc = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), crc)
        crc = zlib.crc32(array.tobytes() if array.dtype.hasobject else array.reshape(-1).view(np.uint8).data, crc)
    return crc


class Checkpoint:
    """Statistics so far, and which samples are in them.

    On disk it is a statistics file with one member more, replaced as a whole.

    Parameters
    ----------
    path : path or None
        None keeps everything in memory only.
    about : mapping of str to JSON value
        What has to be the same when the calibration goes on.

    Raises
    ------
    InvalidValue
        If the file is something else, or of another model or way of observing.
    """

    def __init__(self, path: str | os.PathLike[str] | None, about: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.path = None if path is None else Path(path)
        self.saved = False
        self._about = dict(about)
        self._statistics: Statistics | None = None
        self._done: dict[int, int] = {}
        self._left: set[int] = set()
        self._time = time.monotonic()
        if self.path is not None and os.path.lexists(self.path):
            self._resume(self.path)

    def _resume(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                kept: dict[str, Any] = json.loads(archive.read(_MEMBER))
            about, done = dict(kept["about"]), {int(n): int(crc) for n, crc in kept["samples"]}
        except (OSError, ValueError, KeyError, TypeError, NotImplementedError, zipfile.BadZipFile, zlib.error):
            raise InvalidValue(
                f"{path}: not a checkpoint of a calibration; remove it, or name another file"
            ) from None
        for name, value in self._about.items():
            if about.get(name) != value:
                raise InvalidValue(
                    f"{path}: a checkpoint with another {name} ({about.get(name)!r} where {value!r} is asked for); "
                    "remove it to begin anew"
                )
        self._statistics, self._done, self._left, self.saved = load(path), done, set(done), True

    def has(self, number: int, crc: int) -> bool:
        """Whether a sample is done already.

        Raises
        ------
        InvalidValue
            If another sample had that number before.
        """
        if number not in self._done:
            return False
        if self._done[number] != crc:
            raise InvalidValue(
                f"sample {number}: other values than when the calibration was broken off; give the same data in the "
                f"same order, or remove {self.path}"
            )
        self._left.discard(number)
        return True

    def add(self, statistics: Statistics, numbers: Mapping[int, int]) -> None:
        """Add what a worker found of some samples, which are given by number and digest."""
        self._statistics = statistics if self._statistics is None else merge(self._statistics, statistics)
        self._done.update(numbers)
        if time.monotonic() - self._time > _INTERVAL:
            self.save()

    def save(self) -> None:
        """Write what is done; nothing happens without a path, or before anything is done.

        Raises
        ------
        WriteFailed
            If it can't be written.
        """
        if self.path is None or self._statistics is None:
            return
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        content = json.dumps({"about": self._about, "samples": sorted(self._done.items())})
        try:
            self._statistics.save(temporary)
            with zipfile.ZipFile(temporary, "a", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(_MEMBER, content)
            os.replace(temporary, self.path)
        except OSError as error:
            if isinstance(error, WriteFailed):
                raise
            raise WriteFailed(f"{self.path}: {error.strerror or error}; choose another path") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        self.saved, self._time = True, time.monotonic()

    def finish(self) -> Statistics:
        """Return the result and remove the file.

        Raises
        ------
        InvalidValue
            If nothing was done, or the data had fewer samples than before.
        """
        if self._left:
            raise InvalidValue(
                f"the data has no sample {min(self._left)}, which {self.path} has; give the same data in the same "
                "order, or remove that file"
            )
        if self._statistics is None:
            raise InvalidValue("no samples were run: the shard has none; use fewer shards")
        if self.path is not None:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
        return self._statistics

"""Where a model's bytes come from: a memory-mapped file, or bytes in memory."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidModel, NotFound, WriteFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from .data import Bytes

#: Files up to so many bytes may become resident.
_SMALL = 1 << 26


class Source:
    """Read-only bytes of a file, mapped; or bytes in memory.

    Attributes
    ----------
    path : str or None
        Absolute path of the mapped file.
    size : int
        Length in bytes.
    """

    __slots__ = ("_file", "_map", "_view", "path", "size")

    def __init__(self, content: bytes | mmap.mmap, path: str | None = None, file: int | None = None) -> None:
        self._file = file
        self._map = content if isinstance(content, mmap.mmap) else None
        self._view = np.frombuffer(content, np.uint8)
        self._view.flags.writeable = False
        self.path, self.size = path, len(content)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Source:
        """Map a file.

        Raises
        ------
        NotFound
            If there is no such file, or it can't be opened.
        InvalidModel
            If it is empty or no regular file.
        """
        name = os.fspath(path)
        try:
            with open(name, "rb") as file:
                if os.fstat(file.fileno()).st_size == 0:
                    raise InvalidModel(f"{name}: the file is empty; a .tflite file is required")
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                own = os.dup(file.fileno()) if hasattr(os, "preadv") else None
        except FileNotFoundError:
            raise NotFound(f"{name}: no such file; give the path of a .tflite file") from None
        except InvalidModel:
            raise
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidModel(f"{name}: {reason}; a readable .tflite file is required") from None
        return cls(mapped, os.path.abspath(name), own)

    def _close(self, close: Callable[[int], None] = os.close) -> None:
        file, self._file = getattr(self, "_file", None), None
        if file is not None:
            close(file)

    __del__ = _close

    def bytes(self, start: int, stop: int) -> Bytes:
        """Read-only uint8 view of the bytes ``start:stop``."""
        return self._view[start:stop]

    def load(self, start: int, stop: int) -> Bytes:
        """Bytes ``start:stop`` for a look at them: of a large file in memory of their own, else a view.

        Pages of the map stay resident, and cost as much to enter and to leave as to copy. Where that is no matter,
        whoever looks again finds them there.

        Raises
        ------
        InvalidModel
            If the file has become shorter.
        """
        if self._file is None:
            return self.bytes(start, stop)
        if self.size <= _SMALL:
            if os.fstat(self._file).st_size < stop:  # beyond the file's end, a map's pages end the process
                raise self._shorter()
            return self.bytes(start, stop)
        loaded = np.empty(stop - start, np.uint8)
        done = 0
        while done < loaded.size:
            count = os.preadv(self._file, [loaded[done:].data], start + done)
            if not count:
                raise self._shorter()
            done += count
        return loaded

    def _shorter(self) -> InvalidModel:
        return InvalidModel(f"{self.path}: the file became shorter while it was read; read it again")

    def is_file(self, path: str) -> bool:
        """Whether ``path`` names the very file that is mapped here."""
        try:
            return self._map is not None and self.path is not None and os.path.samefile(self.path, path)
        except OSError:
            return False

    def release(self) -> None:
        """Copy the bytes into memory and unmap the file, so that it can be replaced where the system asks that.

        Raises
        ------
        WriteFailed
            If somebody still holds an array that views the map.
        """
        if self._map is None:
            return
        mapped, self._map = self._map, None
        self._view = np.frombuffer(self._view.tobytes(), np.uint8)
        self._close()
        try:
            mapped.close()
        except BufferError:
            self._map = mapped
            raise WriteFailed(
                f"{self.path}: arrays that view the mapped file are still in use, and this system can't replace a "
                "mapped file; drop them, or write to another path"
            ) from None

"""Bytes of a buffer: a slice of the source, an array in memory, or computed when they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Callable

    from .source import Source

Bytes = npt.NDArray[np.uint8]


def is_frozen(array: npt.NDArray[Any]) -> bool:
    """Whether nobody can write to an array, through another one that shares its memory neither."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    try:
        return base is None or memoryview(base).readonly
    except TypeError:  # memory of something that doesn't say
        return False


class Data:
    """What a buffer holds: its length is known, its bytes need not exist yet.

    Attributes
    ----------
    nbytes : int
        Length in bytes.
    granule : int
        `read` takes positions that are multiples of this many bytes.
    """

    __slots__ = ("granule", "nbytes")
    nbytes: int
    granule: int

    def read(self, start: int, stop: int) -> Bytes:
        """Return the bytes ``start:stop`` as a read-only uint8 array of shape (stop - start,)."""
        raise NotImplementedError

    def numpy(self) -> Bytes:
        """Return all bytes as a read-only uint8 array of shape (nbytes,)."""
        return self.read(0, self.nbytes)

    def load(self, start: int, stop: int) -> Bytes:
        """Return any bytes ``start:stop``, for a look at them that is not repeated: a file is read, not mapped."""
        return self.numpy()[start:stop]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Data):
            return NotImplemented
        return self is other or (self.nbytes == other.nbytes and np.array_equal(self.numpy(), other.numpy()))

    def __hash__(self) -> int:
        return hash(self.nbytes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.nbytes:,} bytes>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Inline, (self.numpy(),)


class Slice(Data):
    """Bytes of the source; a view on its memory map, so they cost nothing until they are read."""

    __slots__ = ("_source", "_start")

    def __init__(self, source: Source, start: int, nbytes: int) -> None:
        self._source, self._start = source, start
        self.nbytes, self.granule = nbytes, 1

    def read(self, start: int, stop: int) -> Bytes:
        return self._source.bytes(self._start + start, self._start + stop)

    def load(self, start: int, stop: int) -> Bytes:
        return self._source.load(self._start + start, self._start + stop)


class Inline(Data):
    """Bytes of an array in memory, which is copied where somebody else could still write to it.

    Parameters
    ----------
    array : ndarray
        Any dtype and shape; its C-order bytes, little-endian, are the data.
    """

    __slots__ = ("_array",)

    def __init__(self, array: npt.NDArray[Any] | bytes) -> None:
        if isinstance(array, bytes):
            flat = np.frombuffer(array, np.uint8)
        else:
            array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            base = array if is_frozen(array) else array.copy()
            flat = base.reshape(-1).view(np.uint8)
        flat.flags.writeable = False
        self._array = flat
        self.nbytes, self.granule = flat.size, 1

    def read(self, start: int, stop: int) -> Bytes:
        return self._array[start:stop]


class Deferred(Data):
    """Bytes that a function computes, piece by piece, when they are written.

    The writer asks for pieces and keeps none. `numpy` computes everything once and keeps it, for passes that
    read what an earlier pass made.

    Parameters
    ----------
    nbytes : int
        Length of the whole.
    produce : callable
        ``produce(start, stop)`` gives the bytes ``start:stop`` as a uint8 array, each time the same, also when
        several threads call it.
    granule : int
        Pieces begin at multiples of this many bytes.
    """

    __slots__ = ("_kept", "_produce")

    def __init__(self, nbytes: int, produce: Callable[[int, int], Bytes], granule: int = 1) -> None:
        if nbytes < 0 or granule < 1:
            raise InvalidValue(f"a buffer of {nbytes} bytes in pieces of {granule} can't be")
        self._produce = produce
        self._kept: Bytes | None = None
        self.nbytes, self.granule = nbytes, granule

    def read(self, start: int, stop: int) -> Bytes:
        if self._kept is not None:
            return self._kept[start:stop]
        piece = self._produce(start, stop)
        if piece.dtype != np.uint8 or piece.size != stop - start:
            raise InvalidValue(f"a deferred buffer gave {piece.size} bytes where {stop - start} are due")
        piece = piece.view()  # the function's own array stays as it is
        piece.flags.writeable = False
        return piece

    def numpy(self) -> Bytes:
        if self._kept is None:
            self._kept = self.read(0, self.nbytes)
        return self._kept

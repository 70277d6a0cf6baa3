"""`Codebook`: the few values that stand for those of a weight, and the weight written with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.numerics import Affine, Clusters, PerAxis, dequantize, element_type, pack, quantize
from quantlib.recipes import Cut, elements_of
from quantlib.tflite import Deferred, Tensor, densify

from ..stored import as_bytes

#: Elements that are looked at in one piece.
_PIECE = 1 << 20

_Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """What stands for each integer of 8 bits.

    Attributes
    ----------
    table : int array of shape (256,)
    low : int
        The integer of its first entry.
    centroids : int array
        Those that stand for an integer that there is, ascending.
    """

    table: _Array
    low: int
    centroids: _Array

    def assign(self, x: _Array) -> _Array:
        """What stands for each integer of an array, in its dtype."""
        found: _Array = self.table[x.astype(np.intp) - self.low].astype(x.dtype)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Codebook:
    """The values that a weight is to have.

    Attributes
    ----------
    tensor : Tensor
        The weight as it is stored.
    cut : Cut
        Rows in which it can be written, and where its channels are.
    books : tuple of Clusters or Lookup
        One; or one for each channel.
    affine : Affine or None
        Of a float weight whose values are to lie on the grid of integers with these scales: books are of integers.
    written : array, optional
        The weight as it is to be, in its own shape and dtype, where each element doesn't simply take the value that
        stands for its own.
    """

    tensor: Tensor
    cut: Cut
    books: tuple[Clusters | Lookup, ...]
    affine: Affine | None = field(default=None)
    written: _Array | None = field(default=None)

    @property
    def integers(self) -> int:
        """How many different integers stand for the values; 0 where books are of real numbers."""
        if not any(isinstance(book, Lookup) for book in self.books):
            return 0
        return int(np.unique(np.concatenate(self._used())).size)

    @property
    def most(self) -> int:
        """Different values of the book that has most."""
        return max((used.size for used in self._used()), default=0)

    def _used(self) -> list[_Array]:
        """What each book's values are; of those only some where all was written otherwise."""
        if self.written is None:
            return [book.centroids for book in self.books]
        levels = self.written if self.affine is None else quantize(self.written.astype(np.float32), self.affine)
        levels = levels.astype(np.float32).reshape(self.cut.shape)  # not float16, which NumPy 2.4 sorts wrongly
        return [np.unique(levels[at]) for at, _ in self._channels(0, self.cut.shape[0])]

    def apply(self, values: _Array, first: int, last: int) -> _Array:
        """Write some rows, (last - first, ...), with the values that stand for theirs; of the same dtype."""
        if self.written is not None:
            return self.written.reshape(self.cut.shape)[first:last]
        part = self.affine
        if part is not None and part.scale.size > 1:
            part = self.cut.part(part, first, last)
        before = values if part is None else quantize(values, part)
        after = np.empty_like(before)
        for at, book in self._channels(first, last):
            after[at] = book.assign(before[at])
        return after if part is None else dequantize(after, part).astype(values.dtype)

    def _channels(self, first: int, last: int) -> Iterator[tuple[Any, Clusters | Lookup]]:
        """Where in some rows each book is used."""
        if len(self.books) == 1:
            yield ..., self.books[0]
        elif self.cut.granularity == PerAxis(0):
            yield from ((c - first, self.books[c]) for c in range(first, last))
        else:
            yield from (((slice(None), c), book) for c, book in enumerate(self.books))

    def data(self) -> Deferred:
        """The new bytes, in the form that the old ones have; computed when they are written."""
        kind, cut = element_type(self.tensor.type), self.cut
        old = self.tensor.data
        nbytes = 0 if old is None else old.nbytes
        if self.tensor.table.sparsity is not None or kind.bits < 8:
            return Deferred(nbytes, lambda start, stop: self._whole()[start:stop], granule=max(nbytes, 1))
        rows, size = rows_of(self.tensor, cut), kind.bits // 8 * cut.row

        def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
            first, last = start // size, stop // size
            return as_bytes(self.apply(rows(first, last), first, last))

        return Deferred(size * cut.shape[0], produce, granule=max(size, 1))

    def _whole(self) -> npt.NDArray[np.uint8]:
        """All bytes: packed ones, or those of elements that are stored sparse."""
        kind, count = element_type(self.tensor.type), self.cut.shape[0]
        dense = self.apply(rows_of(self.tensor, self.cut)(0, count), 0, count).reshape(-1)
        if self.tensor.table.sparsity is None:
            return pack(dense, kind)
        raw = self.tensor.data.numpy() if self.tensor.data is not None else np.zeros(0, np.uint8)
        stored = raw[: raw.size - raw.size % dense.itemsize].copy().view(dense.dtype)
        # where each stored element comes to lie: the place of the number that it has, when numbers are expanded
        numbers = np.arange(1, stored.size + 1, dtype=np.int32).view(np.uint8)
        shape, index = self.tensor.shape, element_type("INT32")
        at = densify(self.tensor.table.sparsity, numbers, index, shape, str(self.tensor)).reshape(-1)
        stored[at[at > 0] - 1] = dense[at > 0]
        return np.concatenate([stored.view(np.uint8), raw[stored.nbytes :]])


def rows_of(tensor: Tensor, cut: Cut) -> Callable[[int, int], _Array]:
    """Make a function that gives the rows ``first:last`` of a constant: its stored values, dense."""
    sparse = tensor.table.sparsity is not None
    if sparse or element_type(tensor.type).bits < 8:
        whole = tensor.numpy().reshape(cut.shape)
        return lambda first, last: whole[first:last]
    elements = elements_of(tensor)
    return lambda first, last: elements(first * cut.row, last * cut.row).reshape(last - first, *cut.shape[1:])


def pieces_of(cut: Cut, most: int = _PIECE) -> list[tuple[int, int]]:
    """Ends of groups of rows, at most so many, that can be looked at one by one."""
    step = min(max(_PIECE // max(cut.row, 1), 1), most)
    return [(first, min(first + step, cut.shape[0])) for first in range(0, cut.shape[0], step)]


def spread(values: _Array, cut: Cut, first: int, last: int) -> Any:
    """Bring one number, or one for each channel, to where rows ``first:last`` need it."""
    if values.size == 1:
        return values.reshape(-1)[0]
    return values[first:last, None] if cut.granularity == PerAxis(0) else values[None, :, None]


@dataclass(frozen=True, slots=True)
class Tally:
    """What a codebook does to a weight.

    Attributes
    ----------
    count : int
        Elements.
    distinct : int
        Different stored values afterwards.
    changed : int
        Elements that have another value than before.
    square : float
        Sum of the squares of what real values changed by.
    """

    count: int
    distinct: int
    changed: int
    square: float


def tally(book: Codebook) -> Tally:
    """Look at a weight before and after."""
    rows, steps = rows_of(book.tensor, book.cut), book.tensor.quantization
    real = element_type(book.tensor.type).kind == "float" or steps is None
    scale = np.ones(1) if real or steps is None else steps.scale.astype(np.float64)
    found: list[_Array] = []
    count, changed, square = 0, 0, 0.0
    for first, last in pieces_of(book.cut):
        before = rows(first, last)
        after = book.apply(before, first, last)
        # not float16, of which NumPy 2.4 sorts some arrays wrongly
        plain = after.astype(np.float32) if after.dtype == np.float16 else after
        found = [np.unique(np.concatenate([*found, np.unique(plain)]))]
        difference = after.astype(np.float64) - before
        count += before.size
        changed += int(np.count_nonzero(difference))
        difference *= spread(scale, book.cut, first, last)
        square += float(np.dot(difference.reshape(-1), difference.reshape(-1)))
    return Tally(count, found[0].size if found else 0, changed, square)

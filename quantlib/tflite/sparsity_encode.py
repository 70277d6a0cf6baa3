"""The sparse form of a dense array: `sparsify`, the way back from `densify`.

Format: `SparsityParameters` of the schema, as ``FormatConverter::DenseToSparse`` of LiteRT's
``tflite/kernels/internal/utils/sparsity_format_converter.cc`` makes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue

from .data import Data, Deferred, Inline
from .table import Table

_DENSE, _CSR = 0, 1
#: Vectors of segments and indices, and the greatest value that each holds.
_VECTORS = (("Uint8Vector", 255), ("Uint16Vector", 65535), ("Int32Vector", 2**31 - 1))
#: Bytes of an element of each of these vectors.
_WIDTHS = (1, 2, 4)
_DTYPES = (np.uint8, np.uint16, np.int32)
#: Elements that are looked at in one piece.
_PIECE = 1 << 20

#: Gives (rows, blocks, elements of a block) of rows ``first:last``.
_Rows = Callable[[int, int], npt.NDArray[Any]]
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SparseLayout:
    """How an array is stored without its zeros: blocks along one axis, of which those that are all zero are left out.

    Attributes
    ----------
    axis : int
        The one that is compressed, traversed last: a list of where along it something is stored, for each place
        along the others. 0 or more.
    block : int
        Elements along it that are stored or left out together.
    """

    axis: int
    block: int = 1

    def extent(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """How many places along the other axes an array has, and how many blocks at each.

        Raises
        ------
        InvalidValue
            If there is no such axis, or blocks don't fill it.
        """
        if not 0 <= self.axis < len(shape) or self.block < 1 or shape[self.axis] % self.block:
            raise InvalidValue(
                f"blocks of {self.block} along axis {self.axis} of shape {list(shape)} don't fit; give an axis "
                "that it has, and a block that divides it"
            )
        return math.prod(shape[: self.axis] + shape[self.axis + 1 :]), shape[self.axis] // self.block

    def rows(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """View an array as (places along the other axes, blocks, elements of a block), in order of traversal.

        Raises
        ------
        InvalidValue
            As `extent`.
        """
        return np.moveaxis(array, self.axis, -1).reshape(*self.extent(array.shape), self.block)


def sparsify(dense: npt.NDArray[Any], layout: SparseLayout) -> tuple[npt.NDArray[Any], Table]:
    """Store an array without its zeros.

    Parameters
    ----------
    dense : ndarray of any real dtype, at least one axis
    layout : SparseLayout

    Returns
    -------
    values : ndarray of the same dtype in native byte order, shape (stored,)
        What is stored, in order of traversal. A zero that is stored beside others of its block keeps its sign, one
        that isn't comes back as +0.
    sparsity : Table
        ``SparsityParameters``, with vectors as narrow as they can be.

    Raises
    ------
    InvalidValue
        If the layout doesn't fit the array.

    Examples
    --------
    >>> import numpy as np
    >>> values, table = sparsify(np.array([[0, 5, 0, 0], [0, 0, 0, 7]], np.int8), SparseLayout(1))
    >>> print(values, table.dim_metadata[1].array_segments.values, table.dim_metadata[1].array_indices.values)
    [5 7] [0 1 2] [1 3]
    """
    dense = dense.astype(dense.dtype.newbyteorder("="), copy=False)
    data, table = sparsify_data(Inline(dense), dense.dtype, dense.shape, layout)
    return data.numpy().view(dense.dtype), table


def sparsify_data(
    data: Data, dtype: npt.DTypeLike, shape: tuple[int, ...], layout: SparseLayout
) -> tuple[Data, Table]:
    """Store bytes without the zeros among them; what is stored is computed when it is written.

    Along the last axis that is done piece by piece, along any other all at once. The table's vectors of segments and
    indices are made here and stay in memory.

    Parameters
    ----------
    data : Data
        All elements, dense.
    dtype : dtype
    shape : tuple of int
        At least one axis.
    layout : SparseLayout

    Returns
    -------
    values : Data
        As from `sparsify`.
    sparsity : Table

    Raises
    ------
    InvalidValue
        If the layout doesn't fit the shape.
    """
    dtype, last = np.dtype(dtype), layout.axis == len(shape) - 1
    count, blocks = layout.extent(shape)
    read = _rows_of(data, dtype, shape, layout)
    index = _DTYPES[_vector_for(max(blocks - 1, 0))]
    found, per_row = [np.zeros(0, index)], [np.zeros(1, np.int64)]
    for first, end in _spans(count, blocks * layout.block):
        stored = _stored(read(first, end))
        found.append(_places(stored, index))
        per_row.append(np.count_nonzero(stored, axis=1))
    del read
    segments, indices = np.cumsum(np.concatenate(per_row)), np.concatenate(found)
    empty = count * blocks > 0 and not indices.size
    if empty:  # no constant is empty: the first block is stored, though it is zero
        segments[1:], indices = 1, np.zeros(1, index)
    segments = segments.astype(_DTYPES[_vector_for(indices.size)])
    nbytes = indices.size * layout.block * dtype.itemsize

    def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
        size = layout.block * dtype.itemsize
        a, z = start // size, stop // size
        first = int(np.searchsorted(segments, a, side="right")) - 1
        end = int(np.searchsorted(segments, z, side="left"))
        rows = _rows_of(data, dtype, shape, layout)(first, end)
        stored = _stored(rows)
        if empty:
            stored[0, 0] = True
        skipped = int(segments[first])
        values = np.ascontiguousarray(rows[stored][a - skipped : z - skipped]).reshape(-1)
        return values.view(np.uint8)

    granule = layout.block * dtype.itemsize if last else max(nbytes, 1)
    return Deferred(nbytes, produce, granule=granule), _table(segments, indices, shape, layout)


def stored_counts(
    data: Data, dtype: npt.DTypeLike, shape: tuple[int, ...], blocks: Sequence[int]
) -> dict[int, tuple[int, int]]:
    """Count blocks along the last axis that aren't all zero, piece by piece.

    Parameters
    ----------
    data, dtype, shape
        As `sparsify_data` takes them.
    blocks : sequence of int
        Sizes that divide the last axis.

    Returns
    -------
    dict of int to (int, int)
        By size: how many there are, and the most in one row.

    Raises
    ------
    InvalidValue
        If a size doesn't divide the axis.
    """
    found = {}
    for block in blocks:
        layout = SparseLayout(len(shape) - 1, block)
        spans = _spans(layout.extent(shape)[0], shape[-1])
        read = _rows_of(data, np.dtype(dtype), shape, layout)
        rows = [np.count_nonzero(_stored(read(*span)), axis=1) for span in spans]
        found[block] = sum(int(r.sum()) for r in rows), max((int(r.max(initial=0)) for r in rows), default=0)
    return found


def sparse_size(shape: tuple[int, ...], itemsize: int, layout: SparseLayout, stored: int) -> int:
    """Bytes of an array in a sparse form: its elements, segments and indices, without the tables around them.

    Parameters
    ----------
    shape : tuple of int
    itemsize : int
        Bytes of an element.
    layout : SparseLayout
    stored : int
        Blocks that aren't all zero.

    Returns
    -------
    int

    Raises
    ------
    InvalidValue
        If the layout doesn't fit the shape.
    """
    rows, blocks = layout.extent(shape)
    stored = max(stored, min(rows * blocks, 1))
    segments = (rows + 1) * _WIDTHS[_vector_for(stored)]
    indices = stored * _WIDTHS[_vector_for(max(blocks - 1, 0))]
    return stored * layout.block * itemsize + segments + indices


def _spans(rows: int, length: int) -> Iterator[tuple[int, int]]:
    """Rows that are looked at together."""
    step = max(_PIECE // max(length, 1), 1)
    return ((first, min(first + step, rows)) for first in range(0, rows, step))


def _rows_of(data: Data, dtype: np.dtype[Any], shape: tuple[int, ...], layout: SparseLayout) -> _Rows:
    """Make a function that gives rows in order of traversal."""
    length = shape[layout.axis]
    row = length * dtype.itemsize
    if layout.axis < len(shape) - 1 or row % data.granule:
        whole = layout.rows(np.ascontiguousarray(data.read(0, data.nbytes)).view(dtype).reshape(shape))
        return lambda first, last: whole[first:last]

    def read(first: int, last: int) -> npt.NDArray[Any]:
        raw = np.require(data.read(first * row, last * row), requirements="A")
        return raw.view(dtype).reshape(last - first, length // layout.block, layout.block)

    return read


def _stored(rows: npt.NDArray[Any]) -> _Mask:
    """Which blocks are stored: those that aren't zero."""
    nonzero = rows != 0
    stored: _Mask = nonzero[:, :, 0] if nonzero.shape[2] == 1 else nonzero.any(axis=2)
    return stored


def _places(stored: _Mask, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Where along its row each stored block stands."""
    places: npt.NDArray[Any] = (np.flatnonzero(stored) % max(stored.shape[1], 1)).astype(dtype)
    return places


def _table(
    segments: npt.NDArray[Any], indices: npt.NDArray[Any], shape: tuple[int, ...], layout: SparseLayout
) -> Table:
    order = [d for d in range(len(shape)) if d != layout.axis] + [layout.axis]
    levels = [Table("DimensionMetadata", format=_DENSE, dense_size=shape[d]) for d in order[:-1]]
    vectors = {"array_segments": _vector(segments), "array_indices": _vector(indices)}
    levels.append(Table("DimensionMetadata", format=_CSR, **vectors))
    blocks = None
    if layout.block > 1:
        order.append(len(shape))
        levels.append(Table("DimensionMetadata", format=_DENSE, dense_size=layout.block))
        blocks = [layout.axis]
    return Table("SparsityParameters", traversal_order=order, block_map=blocks, dim_metadata=levels)


def _vector_for(greatest: int) -> int:
    """Place in `_VECTORS` of the narrowest that holds a number."""
    return next(i for i, (_, limit) in enumerate(_VECTORS) if greatest <= limit)


def _vector(values: npt.NDArray[Any]) -> Table:
    place = _vector_for(int(values.max(initial=0)))
    values = values.astype(_DTYPES[place], copy=False)
    values.flags.writeable = False  # so that the table needn't copy it
    return Table(_VECTORS[place][0], values=values)

"""The sparse form of a dense array: `sparsify`, the way back from `densify`.

Format: `SparsityParameters` of the schema, as ``FormatConverter::DenseToSparse`` of LiteRT's
``tflite/kernels/internal/utils/sparsity_format_converter.cc`` makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue

from .table import Table

_DENSE, _CSR = 0, 1
#: Vectors of segments and indices, and the greatest value that each holds.
_VECTORS = (("Uint8Vector", 255), ("Uint16Vector", 65535), ("Int32Vector", 2**31 - 1))
#: Bytes of an element of each of these vectors.
_WIDTHS = (1, 2, 4)


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

    def rows(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """View an array as (places along the other axes, blocks, elements of a block), in order of traversal.

        Raises
        ------
        InvalidValue
            If the array has no such axis, or blocks don't fill it.
        """
        if not 0 <= self.axis < array.ndim or self.block < 1 or array.shape[self.axis] % self.block:
            raise InvalidValue(
                f"blocks of {self.block} along axis {self.axis} of shape {list(array.shape)} don't fit; give an axis "
                "that it has, and a block that divides it"
            )
        length = array.shape[self.axis]
        return np.moveaxis(array, self.axis, -1).reshape(-1, length // self.block, self.block)


def sparsify(dense: npt.NDArray[Any], layout: SparseLayout) -> tuple[npt.NDArray[Any], Table]:
    """Store an array without its zeros.

    Parameters
    ----------
    dense : ndarray of any real dtype, at least one axis
    layout : SparseLayout

    Returns
    -------
    values : ndarray of the same dtype, shape (stored,)
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
    rows = layout.rows(dense)
    stored = (rows != 0).any(axis=2)
    return rows[stored].reshape(-1), _table(stored, dense.shape, layout)


def sparse_size(dense: npt.NDArray[Any], layout: SparseLayout) -> int:
    """Bytes of an array in a sparse form: its elements, segments and indices, without the tables around them.

    Parameters
    ----------
    dense : ndarray
    layout : SparseLayout

    Returns
    -------
    int

    Raises
    ------
    InvalidValue
        If the layout doesn't fit the array.
    """
    rows = layout.rows(dense)
    count = int((rows != 0).any(axis=2).sum())
    segments = (len(rows) + 1) * _WIDTHS[_vector_for(count)]
    indices = count * _WIDTHS[_vector_for(max(rows.shape[1] - 1, 0))]
    return count * layout.block * dense.dtype.itemsize + segments + indices


def _table(stored: npt.NDArray[np.bool_], shape: tuple[int, ...], layout: SparseLayout) -> Table:
    segments = np.concatenate([[0], np.cumsum(stored.sum(axis=1))])
    order = [d for d in range(len(shape)) if d != layout.axis] + [layout.axis]
    levels = [Table("DimensionMetadata", format=_DENSE, dense_size=shape[d]) for d in order[:-1]]
    levels.append(
        Table(
            "DimensionMetadata",
            format=_CSR,
            array_segments=_vector(segments),
            array_indices=_vector(np.nonzero(stored)[1]),
        )
    )
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
    return Table(_VECTORS[_vector_for(int(values.max(initial=0)))][0], values=values)

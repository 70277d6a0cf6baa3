"""Dense values of a tensor that is stored sparse (pruned weights behind DENSIFY, or in sparse kernels).

Format: `SparsityParameters` of the schema; the rules are those of TACO, as in
``tflite/kernels/internal/utils/sparsity_format_converter.cc`` of LiteRT.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue

from .tensor import shaped

if TYPE_CHECKING:
    from quantlib.numerics import ElementType

    from .table import Table

_CSR = 1
#: A dense tensor may be this many times larger than what is stored of it; pruning beyond 99.9 % isn't seen.
_EXPANSION = 1024


def densify(
    sparsity: Table, raw: npt.NDArray[np.uint8], kind: ElementType, shape: tuple[int, ...], where: str
) -> npt.NDArray[Any]:
    """Expand stored elements to the dense tensor; what isn't stored is zero.

    Parameters
    ----------
    sparsity : Table
        ``SparsityParameters`` of the tensor.
    raw : ndarray of uint8
        Bytes of the stored elements, in traversal order.
    kind : ElementType
        At least 8 bits wide.
    shape : tuple of int
        Shape of the dense tensor.
    where : str
        Names the tensor in an error.

    Returns
    -------
    ndarray of the type's storage dtype, shape `shape`, read-only

    Raises
    ------
    InvalidValue
        If orders, segments or indices contradict the shape.
    """
    if kind.bits < 8 or kind.storage is None:
        raise InvalidValue(f"{where}: sparse {kind.name} can't be expanded; 8 bits or more are required")
    order = [] if sparsity.traversal_order is None else sparsity.traversal_order.tolist()
    blocks = [] if sparsity.block_map is None else sparsity.block_map.tolist()
    levels = sparsity.dim_metadata or ()
    if sorted(order) != list(range(len(levels))) or len(levels) != len(shape) + len(blocks):
        raise InvalidValue(f"{where}: sparse order {order} with {len(levels)} levels doesn't fit shape {list(shape)}")
    if any(not 0 <= d < len(shape) for d in blocks):
        raise InvalidValue(f"{where}: block map {blocks} names dimensions that shape {list(shape)} doesn't have")
    count = math.prod(shape)
    stored = raw.size // kind.storage.itemsize
    if count > _EXPANSION * max(stored, 1024):
        raise InvalidValue(f"{where}: {stored:,} stored elements can't stand for a tensor of shape {list(shape)}")
    _check_sizes(dict(zip(order, levels, strict=True)), blocks, shape, where)
    coordinates, nodes = _walk(levels, max(count, 1), where)
    if nodes > stored:
        raise InvalidValue(f"{where}: {nodes:,} sparse elements are due and {stored:,} stored")
    index = _positions(
        dict(zip(order, coordinates, strict=True)),
        dict(zip(order, levels, strict=True)),
        blocks,
        shape,
        where,
    )
    dense = np.zeros(count, kind.storage)
    dense[index] = raw[: nodes * kind.storage.itemsize].copy().view(kind.storage)
    dense.flags.writeable = False
    return shaped(dense, shape, where)


def _check_sizes(level: dict[int, Table], blocks: list[int], shape: tuple[int, ...], where: str) -> None:
    """Check that dense levels and blocks together are as long as the dimensions that they make up."""
    length = list(shape)
    for j, d in enumerate(blocks):
        size = level[len(shape) + j].dense_size
        if size < 1 or length[d] % size:
            raise InvalidValue(f"{where}: blocks of {size} along dimension {d} of shape {list(shape)} don't fit it")
        length[d] //= size
    for d, size in enumerate(length):
        if level[d].format != _CSR and level[d].dense_size != size:
            raise InvalidValue(
                f"{where}: a dense level of {level[d].dense_size:,} where dimension {d} of shape {list(shape)} needs "
                f"{size:,}"
            )


def _walk(levels: tuple[Table, ...], limit: int, where: str) -> tuple[list[npt.NDArray[np.int64]], int]:
    """Coordinates of every stored element at each level of the traversal."""
    coordinates: list[npt.NDArray[np.int64]] = []
    nodes = 1
    for level in levels:
        if level.format == _CSR:
            segments, indices = _vector(level.array_segments, where), _vector(level.array_indices, where)
            if segments.size < nodes + 1 or segments[0] != 0 or (np.diff(segments[: nodes + 1]) < 0).any():
                raise InvalidValue(f"{where}: sparse segments don't rise over their {nodes:,} parents")
            repeats, total = np.diff(segments[: nodes + 1]), int(segments[nodes])
            if total > indices.size:
                raise InvalidValue(
                    f"{where}: sparse segments count {total:,} indices and {indices.size:,} are stored"
                )
            own = indices[:total]
        else:
            size = int(level.dense_size)
            if size < 0 or nodes * size > limit:
                raise InvalidValue(
                    f"{where}: a dense level of {size:,} below {nodes:,} nodes exceeds the tensor's {limit:,}"
                )
            repeats, total = np.full(nodes, size), nodes * size
            own = np.tile(np.arange(size), nodes)
        if total > limit:
            raise InvalidValue(f"{where}: {total:,} sparse elements exceed the tensor's {limit:,}")
        coordinates = [np.repeat(c, repeats) for c in coordinates]
        coordinates.append(own.astype(np.int64))
        nodes = total
    return coordinates, nodes


def _vector(table: Table | None, where: str) -> npt.NDArray[np.int64]:
    if table is None or table.values is None:
        raise InvalidValue(f"{where}: a sparse level without its segments or indices")
    values: npt.NDArray[np.int64] = table.values.astype(np.int64)
    return values


def _positions(
    coordinate: dict[int, npt.NDArray[np.int64]],
    level: dict[int, Table],
    blocks: list[int],
    shape: tuple[int, ...],
    where: str,
) -> npt.NDArray[np.int64]:
    """Flat position in the dense tensor of every stored element."""
    full = {d: coordinate[d] for d in range(len(shape))}
    for j, d in enumerate(blocks):
        block = len(shape) + j
        full[d] = full[d] * int(level[block].dense_size) + coordinate[block]
    flat: npt.NDArray[np.int64] = np.zeros(coordinate[0].size if coordinate else 1, np.int64)
    for d, size in enumerate(shape):
        if full[d].size and not 0 <= full[d].min() <= full[d].max() < size:
            raise InvalidValue(f"{where}: a sparse index lies outside dimension {d} of shape {list(shape)}")
        flat = flat * size + full[d]
    return flat

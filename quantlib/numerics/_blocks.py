"""Walking an array in pieces that stay in the cache, and spreading per-channel values over them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Elements of a piece: 256 KiB of float32, so that input and scratch fit a second-level cache of 512 KiB,
# while the fixed cost of NumPy calls is small. (Half as many are 15 % slower, twice as many 5 % faster.)
BLOCK = 65536

# Shortest row over which NumPy may broadcast one value without the cost of starting a row showing.
LONG_ROW = 64


def cuts(size: int, step: int = BLOCK) -> Iterator[slice]:
    """Slices of at most `step` that cover ``range(size)`` in order."""
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def walk(
    shape: tuple[int, ...], *values: NDArray[Any]
) -> Iterator[tuple[slice, tuple[int, int], tuple[NDArray[Any], ...]]]:
    """Walk a C-contiguous (outer, channels, inner) array in order, a piece at a time.

    Parameters
    ----------
    shape : (outer, channels, inner)
    *values : arrays of shape (channels,)
        Per-channel parameters.

    Yields
    ------
    slice
        Where the piece stands in the flattened array.
    (rows, columns)
        Shape to give the piece.
    tuple of arrays
        Each of `values`, so that it broadcasts against that shape.
    """
    outer, count, inner = shape
    if outer * count * inner == 0:
        return
    if count == 1:
        outer, inner = 1, outer * inner
    # Few channels: repeat them until one group of `fold` outer steps fills a piece.
    fold = min(outer, max(1, BLOCK // (count * inner)))
    values = tuple(np.tile(v, fold) for v in values) if fold > 1 else values
    by_row = inner >= LONG_ROW
    once = not by_row and fold * count * inner <= BLOCK
    if once:
        values = tuple(np.repeat(v, inner) for v in values)
    step = max(1, BLOCK // inner)
    for first in range(0, outer, fold):
        base = first * count * inner
        for rows in cuts(min(fold, outer - first) * count, step):
            n = rows.stop - rows.start
            start = base + rows.start * inner
            if by_row:
                columns = tuple(v[rows, None] for v in values)
                for part in cuts(inner):
                    width = part.stop - part.start
                    yield slice(start + part.start, start + part.start + n * width), (n, width), columns
            elif once:
                n *= inner
                yield slice(start, start + n), (1, n), tuple(v[None, :n] for v in values)
            else:
                n *= inner
                yield slice(start, start + n), (1, n), tuple(np.repeat(v[rows], inner)[None] for v in values)

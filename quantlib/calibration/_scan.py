"""One pass over an array in pieces that stay in the cache: exact extremes, counts and sum, and the histogram."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidValue

from ._bins import Bins
from ._sums import total_of

#: Elements of a piece: with its scaled copy and the indices, 1 MiB of float32. Half as many take 5 % more time.
BLOCK = 65536


def float_values(x: ArrayLike) -> NDArray[Any]:
    """`x` as an array of float16, float32 or float64.

    Raises
    ------
    InvalidValue
        If it is of another dtype.
    """
    x = np.asarray(x)
    if x.dtype.kind != "f" or x.dtype.itemsize > 8:
        raise InvalidValue(f"dtype {x.dtype} is not observed; pass a float16, float32 or float64 array")
    return x


class Scan:
    """What one pass finds: extremes, counts and sum of the finite values, and how many others there are."""

    __slots__ = ("count", "max", "min", "nonfinite", "total", "zeros")

    def __init__(self, x: NDArray[Any], bins: Bins | None = None) -> None:
        self.min, self.max = math.inf, -math.inf
        self.count = self.zeros = self.nonfinite = self.total = 0
        for piece in _pieces(x):
            self._add(piece, bins)

    def _add(self, piece: NDArray[Any], bins: Bins | None) -> None:
        # NaN and infinities come to light in the least and the greatest value: no pass of its own for them.
        low, high = _ends(piece)
        if not (math.isfinite(low) and math.isfinite(high)):
            size, piece = piece.size, piece[np.isfinite(piece)]
            self.nonfinite += size - piece.size
            if piece.size == 0:
                return
            low, high = _ends(piece)
        zeros = int(np.count_nonzero(piece == 0)) if low <= 0 <= high else 0
        self.min, self.max = min(self.min, low), max(self.max, high)
        self.count += piece.size
        self.zeros += zeros
        self.total += total_of(piece)
        if bins is not None:
            bins.add(piece, low, high, zeros)


def _ends(piece: NDArray[Any]) -> tuple[float, float]:
    with np.errstate(invalid="ignore"):
        # Adding 0 turns -0 into 0: which of the two comes out as the least depends on the order.
        return float(piece.min()) + 0.0, float(piece.max()) + 0.0


def _pieces(x: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Native float32 or float64 pieces of an array in C order."""
    flat = x.reshape(-1)
    work = np.dtype(np.float64 if x.dtype.itemsize == 8 else np.float32)
    for start in range(0, flat.size, BLOCK):
        yield flat[start : start + BLOCK].astype(work, copy=False)

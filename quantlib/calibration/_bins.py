"""The zero-aligned power-of-two histogram: 2,048 bins, of which bin k covers ``[k * 2**e, (k + 1) * 2**e)``.

``e`` is the least exponent with ``max|x| < 1024 * 2**e``. As ``floor(floor(x / w) / 2) == floor(x / (2 * w))``,
adding pairs of bins gives the counts that the wider bins would have had from the start: they depend on the values
alone, not on their order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bins on each side of zero.
HALF = 1024
BINS = 2 * HALF
_PLACES = HALF.bit_length() - 1

# 1.5 * 2**23 and 1.5 * 2**52: the bits of their sum with a small whole number are their own bits plus that number,
# which takes less time than a conversion.
_MAGIC = (np.float32(1.5 * 2**23), np.float64(1.5 * 2**52))

# From NumPy 1.25, `add.at` takes two thirds of the time of `bincount`, which looks for the least index first; before,
# fifty times as much.
_QUICK_AT = tuple(int(part) for part in np.__version__.split(".")[:2]) >= (1, 25)


def exponent_of(largest: float) -> int:
    """The least e with ``largest < 1024 * 2**e``, for a positive finite number."""
    return math.frexp(largest)[1] - _PLACES


def coarsened(counts: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
    """Counts in bins ``2**steps`` times as wide.

    Parameters
    ----------
    counts : int64 array of shape (2048,)
        Bin k stands at ``k + 1024``.
    steps : int
        Not negative. After ten, every value is in bin -1 or 0, and stays there.
    """
    steps = min(steps, _PLACES)
    if steps == 0:
        return counts
    merged = counts.reshape(-1, 1 << steps).sum(axis=1)
    result = np.zeros(BINS, np.int64)
    half = merged.size // 2
    result[HALF - half : HALF + half] = merged
    return result


class Bins:
    """A histogram being filled.

    Parameters
    ----------
    exponent : int or None
        e; None as long as there was nothing but zeros.
    counts : int64 array of shape (2048,)
        Copied.
    """

    __slots__ = ("counts", "exponent")

    def __init__(self, exponent: int | None, counts: NDArray[np.int64]) -> None:
        self.exponent = exponent
        self.counts = counts.copy()

    def add(self, piece: NDArray[Any], low: float, high: float, zeros: int) -> None:
        """Count the values of a finite native float32 or float64 array that reach from `low` to `high`."""
        largest = max(-low, high)
        if largest == 0:
            return
        exponent = self._grown(exponent_of(largest))
        floors = _scaled(piece, -exponent)
        np.floor(floors, out=floors)
        # A value that is too small beside the bin becomes zero, which is in bin 0; below zero, bin -1 is right.
        lost = _negative(piece) - _negative(floors) if low < 0 < exponent else 0
        found = _counted(_indices(floors))
        self.counts += found
        self.counts[HALF] -= zeros + lost
        self.counts[HALF - 1] += lost

    def _grown(self, exponent: int) -> int:
        """Widen the bins, if need be, to those of an exponent; return what it is then."""
        if self.exponent is None:
            self.exponent = exponent
        elif exponent > self.exponent:
            self.counts = coarsened(self.counts, exponent - self.exponent)
            self.exponent = exponent
        return self.exponent


def _scaled(piece: NDArray[Any], power: int) -> NDArray[Any]:
    """``piece * 2**power`` as a new array, in one product or, where the factor would overflow, in two."""
    most = int(np.finfo(piece.dtype).maxexp) - 1
    result = np.empty(piece.shape, piece.dtype)
    with np.errstate(under="ignore"):
        np.multiply(piece, piece.dtype.type(2.0 ** min(power, most)), out=result)
        if power > most:
            np.multiply(result, piece.dtype.type(2.0 ** (power - most)), out=result)
    return result


def _negative(x: NDArray[Any]) -> int:
    return int(np.count_nonzero(x < 0))


def _indices(floors: NDArray[Any]) -> NDArray[np.intp]:
    """Whole numbers from -1024 to 1023, as floats that are overwritten, to indices from 0 to 2047."""
    magic = _MAGIC[floors.itemsize == 8]
    bits = np.dtype(f"i{floors.itemsize}")
    np.add(floors, magic, out=floors)
    indices = np.empty(floors.shape, np.intp)
    np.subtract(floors.view(bits), magic.view(bits) - bits.type(HALF), out=indices)
    return indices


def _counted(indices: NDArray[np.intp], quick: bool = _QUICK_AT) -> NDArray[np.int64]:
    """``bincount(indices)`` over all bins."""
    if not quick:
        return np.bincount(indices, minlength=BINS).astype(np.int64, copy=False)
    counts = np.zeros(BINS, np.int64)
    np.add.at(counts, indices, 1)
    return counts

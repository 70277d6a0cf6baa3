"""Sums of each channel: what rounding weights, and the bias beside them, look at."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantlib.errors import InvalidValue
from quantlib.numerics import PerAxis, as_channels

from ._exact import Sums
from ._scan import BLOCK
from ._sums import quotient, totals_of

#: Length that short rows of channels are brought to: NumPy reduces long ones at once.
_ROW = 512


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """What was seen of each channel of a tensor.

    Attributes
    ----------
    axis : int
        Axis of the channels; not negative.
    count : int64 array of shape (C,)
        Finite values; C is 0 until something was observed.
    sums : Sums
        Exact sums; `totals` has them as integers.
    """

    axis: int
    count: NDArray[np.int64]
    sums: Sums

    @classmethod
    def empty(cls, axis: int) -> Channels:
        """Nothing seen yet: the identity of `merge`."""
        PerAxis(axis)  # refuses what is no axis
        return cls(axis, np.zeros(0, np.int64), Sums.of_totals(()))

    def __post_init__(self) -> None:
        if self.count.flags.writeable or not self.count.flags.owndata:
            object.__setattr__(self, "count", self.count.copy())
            self.count.flags.writeable = False

    @property
    def totals(self) -> tuple[int, ...]:
        """Exact sums, in units of 2**-1074."""
        return self.sums.totals()

    @property
    def mean(self) -> NDArray[np.float64]:
        """float64 array of shape (C,): mean of the finite values, each rounded once; 0 where there are none."""
        counts = self.count.tolist()
        return np.array([quotient(t, n) for t, n in zip(self.totals, counts, strict=True)], np.float64)

    def observe(self, x: NDArray[Any]) -> Channels:
        """Return what is known after one more array.

        Raises
        ------
        InvalidValue
            If the array has no such axis, or another number of channels.
        """
        grouped = as_channels(x, PerAxis(self.axis))
        outer, channels, inner = grouped.shape
        count, found = np.full(channels, outer * inner, np.int64), _sums(grouped)
        if np.isfinite(found).all():
            return self.merge(Channels(self.axis, count, Sums.of(found)))
        finite = np.isfinite(grouped)
        count = np.count_nonzero(finite, axis=(0, 2)).astype(np.int64)
        totals = totals_of(np.where(finite, grouped, grouped.dtype.type(0)), (0, 2))
        return self.merge(Channels(self.axis, count, Sums.of_totals(totals)))

    def merge(self, other: Channels) -> Channels:
        """Return what is known from both.

        Raises
        ------
        InvalidValue
            If axes or numbers of channels differ.
        """
        if self.axis != other.axis:
            raise InvalidValue(f"channels along axis {self.axis} and axis {other.axis}; observe both along one axis")
        if not (len(self.sums) and len(other.sums)):
            return self if len(self.sums) else other
        if len(self.sums) != len(other.sums):
            raise InvalidValue(
                f"{len(self.sums)} and {len(other.sums)} channels along axis {self.axis}; "
                "a tensor must have as many each time"
            )
        return Channels(self.axis, self.count + other.count, self.sums.plus(other.sums))

    def _key(self) -> tuple[object, ...]:
        return self.axis, self.count.tobytes(), self.totals

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Channels) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return Channels, (self.axis, self.count, self.sums)


def _sums(grouped: NDArray[Any]) -> NDArray[np.float64]:
    """Sum of each channel of (outer, channels, inner), which is not finite where a value is not."""
    outer, channels, inner = grouped.shape
    several = min(_ROW // max(channels, 1), outer)
    with np.errstate(over="ignore", invalid="ignore"):
        if inner != 1 or several < 2:
            parts = [_reduced(grouped)]
        else:  # rows of several times all channels, and a rest
            whole = outer // several * several
            parts = [_reduced(grouped[:whole].reshape(-1, several * channels, 1)), _reduced(grouped[whole:])]
        sums: NDArray[np.float64] = np.concatenate([p.reshape(-1, channels) for p in parts]).sum(axis=0)
        return sums


def _reduced(grouped: NDArray[Any]) -> NDArray[np.float64]:
    """Float64 sums over the first axis and the last, in pieces that stay in the cache."""
    step = max(BLOCK // max(grouped[:1].size, 1), 1)
    starts = range(0, max(len(grouped), 1), step)
    pieces = (grouped[s : s + step].astype(np.float64, copy=False).sum(axis=(0, 2)) for s in starts)
    total: NDArray[np.float64] = functools.reduce(np.add, pieces)
    return total

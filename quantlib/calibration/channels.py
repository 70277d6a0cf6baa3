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
from ._sums import HEADROOM

#: Length that short rows of channels are brought to: what adds rows does long ones at once.
_ROW = 512
#: Rows that are added in float32 before float64 goes on: the error stays below 2**-24 times as many.
_ROWS = 256
_ONES = np.ones(_ROWS, np.float32)
#: Arrays whose sums wait to be added exactly: many at once cost little more than one.
_WAITING = 32


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
        Exact sums of those that don't wait.
    waiting : tuple of float64 arrays of shape (C,)
        Sums of single arrays that aren't in `sums` yet; `totals` has all.
    """

    axis: int
    count: NDArray[np.int64]
    sums: Sums
    waiting: tuple[NDArray[np.float64], ...] = ()

    @classmethod
    def empty(cls, axis: int) -> Channels:
        """Nothing seen yet: the identity of `merge`."""
        PerAxis(axis)  # refuses what is no axis
        return cls(axis, np.zeros(0, np.int64), Sums.none())

    def __post_init__(self) -> None:
        if self.count.flags.writeable or not self.count.flags.owndata:
            object.__setattr__(self, "count", self.count.copy())
            self.count.flags.writeable = False

    @property
    def totals(self) -> tuple[int, ...]:
        """Exact sums, in units of 2**-1074."""
        return self._whole().totals()

    @property
    def mean(self) -> NDArray[np.float64]:
        """float64 array of shape (C,): mean of finite values, to two units in the last place; 0 without any."""
        return self._whole().means(self.count)

    def observe(self, x: NDArray[Any]) -> Channels:
        """Return what is known after one more array.

        Raises
        ------
        InvalidValue
            If the array has no such axis, or another number of channels.
        """
        # in one layout, since the order of float32 additions depends on it
        grouped = as_channels(np.ascontiguousarray(x), PerAxis(self.axis))
        outer, channels, inner = grouped.shape
        found = _sums(grouped)
        if np.isfinite(found).all():
            return self._joined(np.full(channels, outer * inner, np.int64), Sums.none(), (found,))
        finite = np.isfinite(grouped)
        count = np.count_nonzero(finite, axis=(0, 2)).astype(np.int64)
        return self._joined(count, _finite_sums(np.where(finite, grouped, grouped.dtype.type(0))), ())

    def merge(self, other: Channels) -> Channels:
        """Return what is known from both.

        Raises
        ------
        InvalidValue
            If axes or numbers of channels differ.
        """
        if self.axis != other.axis:
            raise InvalidValue(f"channels along axis {self.axis} and axis {other.axis}; observe both along one axis")
        return self._joined(other.count, other.sums, other.waiting) if other.count.size else self

    def _joined(self, count: NDArray[np.int64], sums: Sums, waiting: tuple[NDArray[np.float64], ...]) -> Channels:
        """What is known with more values."""
        if self.count.size:
            if self.count.size != count.size:
                raise InvalidValue(
                    f"{self.count.size} and {count.size} channels along axis {self.axis}; "
                    "a tensor must have as many each time"
                )
            count = self.count + count
        count.flags.writeable = False  # nobody else has it, so it needn't be copied
        both = Channels(self.axis, count, self.sums.plus(sums), self.waiting + waiting)
        return both if len(both.waiting) < _WAITING else both.settled()

    def settled(self) -> Channels:
        """The same in its one form, with nothing waiting."""
        return Channels(self.axis, self.count, self._whole().settled())

    def _whole(self) -> Sums:
        return self.sums.plus(Sums.of(np.stack(self.waiting)) if self.waiting else Sums.none())

    def _key(self) -> tuple[object, ...]:
        sums = self.settled().sums
        return self.axis, self.count.tobytes(), sums.place, sums.limbs.tobytes()

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Channels) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return Channels, (self.axis, self.count, self.settled().sums)


def _sums(grouped: NDArray[Any]) -> NDArray[np.float64]:
    """Sum of each channel of (outer, channels, inner), which is not finite where a value is not.

    It needn't be exact: rounding weights looks at means, in float64 alone where that costs nothing.
    """
    outer, channels, inner = grouped.shape
    several = min(_ROW // max(channels, 1), outer)
    with np.errstate(over="ignore", invalid="ignore"):
        if inner != 1 or several < 2:
            return _reduced(grouped)
        whole = outer // several * several  # rows of several times all channels, and a rest
        parts = [_reduced(grouped[:whole].reshape(-1, several * channels, 1)), _reduced(grouped[whole:])]
        sums: NDArray[np.float64] = np.concatenate([p.reshape(-1, channels) for p in parts]).sum(axis=0)
        return sums


def _finite_sums(grouped: NDArray[Any]) -> Sums:
    """Float64 sums of each channel, even where these are beyond float64."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        found = np.add.reduce(grouped, axis=(0, 2), dtype=np.float64)
        if np.isfinite(found).all():
            return Sums.of(found)
        return Sums.of(np.add.reduce(np.ldexp(grouped, -HEADROOM), axis=(0, 2), dtype=np.float64)).raised(HEADROOM)


def _reduced(grouped: NDArray[Any]) -> NDArray[np.float64]:
    """Sums over the first axis and the last: float32 rows by BLAS, all others in float64."""
    if grouped.shape[2] == 1 and grouped.dtype == np.float32:
        rows = grouped[:, :, 0]
        if len(rows) <= _ROWS:
            return np.asarray(_ONES[: len(rows)] @ rows, np.float64)
        pieces = (_ONES[: len(rows) - s] @ rows[s : s + _ROWS] for s in range(0, len(rows), _ROWS))
    else:  # in pieces that stay in the cache
        step = max(BLOCK // max(grouped[:1].size, 1), 1)
        starts = range(0, max(len(grouped), 1), step)
        pieces = (grouped[s : s + step].astype(np.float64, copy=False).sum(axis=(0, 2)) for s in starts)
    total: NDArray[np.float64] = functools.reduce(np.add, pieces, np.zeros(grouped.shape[1]))
    return total

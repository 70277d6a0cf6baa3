"""Extremes and sums of each channel, for the passes that ask for them (bias correction, equalization)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantlib.errors import InvalidValue
from quantlib.numerics import PerAxis, as_channels

from ._sums import quotient, totals_of


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """What was seen of each channel of a tensor.

    Attributes
    ----------
    axis : int
        Axis of the channels; not negative.
    min, max : float64 array of shape (C,)
        Exact, over finite values; C is 0 until something was observed. inf and -inf for a channel without any.
    count : int64 array of shape (C,)
        Finite values.
    totals : tuple of C int
        Exact sums, in units of 2**-1074.
    """

    axis: int
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    count: NDArray[np.int64]
    totals: tuple[int, ...]

    @classmethod
    def empty(cls, axis: int) -> Channels:
        """Nothing seen yet: the identity of `merge`."""
        PerAxis(axis)  # refuses what is no axis
        return cls(axis, np.zeros(0), np.zeros(0), np.zeros(0, np.int64), ())

    def __post_init__(self) -> None:
        for name in ("min", "max", "count"):
            array = getattr(self, name).copy()
            array.flags.writeable = False
            object.__setattr__(self, name, array)

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
        with np.errstate(invalid="ignore"):
            low = grouped.min(axis=(0, 2), initial=np.inf).astype(np.float64)
            high = grouped.max(axis=(0, 2), initial=-np.inf).astype(np.float64)
        count = np.full(channels, outer * inner, np.int64)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            finite = np.isfinite(grouped)
            count = np.count_nonzero(finite, axis=(0, 2)).astype(np.int64)
            low = grouped.min(axis=(0, 2), initial=np.inf, where=finite).astype(np.float64)
            high = grouped.max(axis=(0, 2), initial=-np.inf, where=finite).astype(np.float64)
            grouped = np.where(finite, grouped, grouped.dtype.type(0))
        return self.merge(Channels(self.axis, low + 0.0, high + 0.0, count, totals_of(grouped, (0, 2))))

    def merge(self, other: Channels) -> Channels:
        """Return what is known from both.

        Raises
        ------
        InvalidValue
            If axes or numbers of channels differ.
        """
        if self.axis != other.axis:
            raise InvalidValue(f"channels along axis {self.axis} and axis {other.axis}; observe both along one axis")
        if not (self.totals and other.totals):
            return self if self.totals else other
        if len(self.totals) != len(other.totals):
            raise InvalidValue(
                f"{len(self.totals)} and {len(other.totals)} channels along axis {self.axis}; "
                "a tensor must have as many each time"
            )
        low, high = np.minimum(self.min, other.min), np.maximum(self.max, other.max)
        totals = tuple(a + b for a, b in zip(self.totals, other.totals, strict=True))
        return Channels(self.axis, low, high, self.count + other.count, totals)

    def _key(self) -> tuple[object, ...]:
        return self.axis, self.min.tobytes(), self.max.tobytes(), self.count.tobytes(), self.totals

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Channels) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return Channels, (self.axis, self.min, self.max, self.count, self.totals)

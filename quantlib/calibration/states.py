"""What an observer keeps of one tensor: frozen values that observe, merge and compare.

Observing and merging give a new state. For min-max and histogram states, merging is associative and commutative,
an empty state is its identity, and the result depends on nothing but the multiset of the arrays observed: any
sharding, order and merge tree ends in the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidValue, NotFound

from ._bins import BINS, HALF, Bins, coarsened
from ._scan import Scan, float_values
from ._sums import quotient, real
from .channels import Channels

_S = TypeVar("_S", bound="MinMaxState")

#: Squares of the middles of a histogram's bins, in bins.
_SQUARES = (np.arange(-HALF, HALF, dtype=np.float64) + 0.5) ** 2
_SQUARES.flags.writeable = False


@dataclass(frozen=True, slots=True, eq=False)
class MinMaxState:
    """Exact extremes, counts and sum of all values that a tensor took.

    Attributes
    ----------
    min, max : float
        Over finite values; inf and -inf as long as there are none. Never -0.
    count : int
        Finite values, zeros included.
    zeros : int
        Values that are exactly zero.
    nonfinite : int
        NaN and infinite values; they count nowhere else.
    total : int
        Sum of the finite values in units of 2**-1074: float64 sums of each array observed, added exactly.
    channels : Channels or None
        The same by channel, if asked for.

    Examples
    --------
    >>> import numpy as np
    >>> a = MinMaxState().observe(np.array([1.0, -2.0, np.nan]))
    >>> b = MinMaxState().observe(np.array([0.0, 5.0]))
    >>> a.merge(b).range, a.merge(b) == b.observe(np.array([1.0, np.nan, -2.0]))
    ((-2.0, 5.0), True)
    """

    observer: ClassVar[str] = "minmax"

    min: float = math.inf
    max: float = -math.inf
    count: int = 0
    zeros: int = 0
    nonfinite: int = 0
    total: int = 0
    channels: Channels | None = None

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest value; (inf, -inf) if there was none."""
        return self.min, self.max

    @property
    def sum(self) -> float:
        """The sum of all finite values, rounded once."""
        return real(self.total)

    @property
    def mean(self) -> float:
        """The mean of all finite values, rounded once; 0 if there was none."""
        return quotient(self.total, self.count)

    @property
    def seen(self) -> bool:
        """Whether there was any value, finite or not."""
        return self.count + self.nonfinite > 0

    def observe(self: _S, x: ArrayLike) -> _S:
        """Return the state after one more array.

        Parameters
        ----------
        x : float16, float32 or float64 array of any shape
            Read in pieces, in one pass (one more if channels are asked for).

        Raises
        ------
        InvalidValue
            If `x` is not float, or doesn't fit the channels.
        """
        return self._observed(float_values(x))

    def merge(self: _S, other: _S) -> _S:
        """Return the state after all that either state has seen.

        Raises
        ------
        InvalidValue
            If the observers differ, or only one has channels, or channels differ.
        """
        if type(self) is not type(other):
            raise InvalidValue(f"states of observers {self.observer!r} and {other.observer!r}; merge those of one")
        return self._merged(other)

    def _observed(self: _S, x: NDArray[Any]) -> _S:
        return replace(self, **self._with(Scan(x), self._channels_after(x)))

    def _merged(self: _S, other: _S) -> _S:
        if (self.channels is None) != (other.channels is None):
            raise InvalidValue("one state has channels and the other has none; observe both with one channel_axis")
        channels = self.channels.merge(other.channels) if self.channels and other.channels else None
        return replace(self, **self._with(other, channels))

    def _with(self, more: Scan | MinMaxState, channels: Channels | None) -> dict[str, Any]:
        """Fields after a scan or another state."""
        return {
            "min": min(self.min, more.min),
            "max": max(self.max, more.max),
            **{name: getattr(self, name) + getattr(more, name) for name in ("count", "zeros", "nonfinite", "total")},
            "channels": channels,
        }

    def _channels_after(self, x: NDArray[Any]) -> Channels | None:
        return self.channels.observe(x) if self.channels is not None else None

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, f.name) for f in fields(self))

    def _key(self) -> tuple[Any, ...]:
        return self.observer, *(v.tobytes() if isinstance(v, np.ndarray) else v for v in self._values())

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, MinMaxState) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._values()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class HistogramState(MinMaxState):
    """What `MinMaxState` has, and the zero-aligned power-of-two histogram of the values other than zero.

    Bin k, for k from -1024 to 1023, covers ``[k * 2**exponent, (k + 1) * 2**exponent)``.

    Attributes
    ----------
    exponent : int or None
        The least with ``max|x| < 1024 * 2**exponent``; None as long as there was nothing but zeros.
    counts : int64 array of shape (2048,)
        Bin k stands at ``k + 1024``. Read-only.

    Examples
    --------
    >>> import numpy as np
    >>> state = HistogramState().observe(np.array([1023.0, -0.5, 0.0, 2.5, 2.75], np.float32))
    >>> state.exponent, state.zeros, {int(k) - 1024: int(state.counts[k]) for k in np.flatnonzero(state.counts)}
    (0, 1, {-1: 1, 2: 2, 1023: 1})
    """

    observer: ClassVar[str] = "histogram"

    exponent: int | None = None
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def __post_init__(self) -> None:
        if self.counts.flags.writeable or not self.counts.flags.owndata:
            object.__setattr__(self, "counts", self.counts.copy())
            self.counts.flags.writeable = False

    @property
    def mean_square(self) -> float:
        """Mean of the squares of all finite values, each taken for the middle of its bin; 0 if there was none.

        Infinite where float64 doesn't hold it.
        """
        if not self.count or self.exponent is None:
            return 0.0
        with np.errstate(over="ignore", under="ignore"):
            return float(np.ldexp(float(self.counts @ _SQUARES) / self.count, 2 * self.exponent))

    def _observed(self, x: NDArray[Any]) -> HistogramState:
        bins = Bins(self.exponent, self.counts)
        known = self._with(Scan(x, bins), self._channels_after(x))
        return HistogramState(**known, exponent=bins.exponent, counts=bins.counts)

    def _merged(self, other: HistogramState) -> HistogramState:
        known = MinMaxState._merged(self, other)
        if self.exponent is None or other.exponent is None:
            filled = other if self.exponent is None else self
            return replace(known, exponent=filled.exponent, counts=filled.counts)
        exponent = max(self.exponent, other.exponent)
        counts = coarsened(self.counts, exponent - self.exponent) + coarsened(other.counts, exponent - other.exponent)
        return replace(known, exponent=exponent, counts=counts)

    def __repr__(self) -> str:
        filled = int(np.count_nonzero(self.counts))
        return (
            f"HistogramState(min={self.min}, max={self.max}, count={self.count}, zeros={self.zeros}, "
            f"nonfinite={self.nonfinite}, exponent={self.exponent}, {filled} bins filled)"
        )


@dataclass(frozen=True, slots=True, eq=False)
class MovingAverageState(MinMaxState):
    """What `MinMaxState` has, and moving averages of each array's least and greatest value.

    They depend on the order of the arrays, so that two such states can't be merged (unless one is empty).

    Attributes
    ----------
    momentum : float
        ``low = momentum * low + (1 - momentum) * min(array)``, from the second array on; between 0 and 1.
        The default, 0.95, is that of ai-edge-quantizer; PyTorch and ONNX Runtime use 0.99.
    low, high : float
        The averages; inf and -inf as long as there was no finite value.

    Examples
    --------
    >>> state = MovingAverageState(momentum=0.75).observe([0.0, 4.0]).observe([0.0, 8.0])
    >>> state.range, state.max
    ((0.0, 5.0), 8.0)
    """

    observer: ClassVar[str] = "moving-average"

    momentum: float = 0.95
    low: float = math.inf
    high: float = -math.inf

    def __post_init__(self) -> None:
        if not 0 < self.momentum < 1:
            raise InvalidValue(f"momentum is {self.momentum}; a number between 0 and 1 is required, such as 0.95")

    @property
    def range(self) -> tuple[float, float]:
        """The averages of the least and the greatest value."""
        return self.low, self.high

    def _observed(self, x: NDArray[Any]) -> MovingAverageState:
        scan = Scan(x)
        low, high = self.low, self.high
        if scan.count:
            low, high = (self._average(*pair) for pair in ((low, scan.min), (high, scan.max)))
        return replace(self, **self._with(scan, self._channels_after(x)), low=low, high=high)

    def _average(self, old: float, new: float) -> float:
        return self.momentum * old + (1 - self.momentum) * new if self.count else new

    def _merged(self, other: MovingAverageState) -> MovingAverageState:
        if self.momentum != other.momentum:
            raise InvalidValue(f"momenta {self.momentum} and {other.momentum}; observe both with one")
        if self.seen and other.seen:
            raise InvalidValue(
                "moving averages depend on the order of the samples and can't be merged; "
                "calibrate in one piece, or use the observer 'histogram' or 'minmax'"
            )
        known = MinMaxState._merged(self, other)
        filled = self if self.seen else other
        return replace(known, low=filled.low, high=filled.high)


OBSERVERS: Mapping[str, type[MinMaxState]] = MappingProxyType(
    {kind.observer: kind for kind in (HistogramState, MinMaxState, MovingAverageState)}
)
"""The kinds of state by the name of the observer; the first is the default."""


def new_state(observer: str = "histogram", *, channel_axis: int | None = None) -> MinMaxState:
    """Make the empty state of an observer.

    Parameters
    ----------
    observer : str
        ``histogram``, ``minmax`` or ``moving-average``.
    channel_axis : int, optional
        Axis along which counts and sums are kept by channel as well; not negative.

    Raises
    ------
    NotFound
        If there is no such observer.
    InvalidValue
        If the axis is no axis.

    Examples
    --------
    >>> state = new_state("minmax", channel_axis=1).observe([[1.0, 2.0], [3.0, -4.0]])
    >>> print(state.channels.count, state.channels.mean)
    [2 2] [ 2. -1.]
    """
    if observer not in OBSERVERS:
        raise NotFound(f"observer {observer!r} is unknown; use one of {', '.join(OBSERVERS)}")
    channels = None if channel_axis is None else Channels.empty(channel_axis)
    return OBSERVERS[observer](channels=channels)

"""How a range is chosen from what an observer kept: min-max, percentile, entropy, mean square error.

Each chooser is a frozen value with one method, `choose`. Every range holds zero, and none but that of `Headroom` is
wider than what was observed; symmetric ranges have zero in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from quantlib.errors import InvalidRange, InvalidValue
from quantlib.numerics import ElementType, element_type

from ._bins import HALF
from ._mse import Search, least_error
from .states import HistogramState, MinMaxState

__all__ = ["MSE", "RANGES", "Blend", "Entropy", "Headroom", "MinMax", "Percentile", "RangeChooser"]

# Divergences that differ by less are taken for equal. Each is a difference of prefix sums of at most 1,024 terms
# that reach ln(N) < 44, with a relative error of 1,023 * 2**-53 each at most: 5e-12.
TIE = 1e-11

#: The greatest float32 number: no range that is to have a scale goes beyond.
_GREATEST = float(np.finfo(np.float32).max)


class RangeChooser(Protocol):
    """A rule that makes a range of a state."""

    name: ClassVar[str]

    def choose(
        self, state: MinMaxState, *, symmetric: bool = False, type: str | ElementType = "INT8"
    ) -> tuple[float, float]:
        """Choose the range that a tensor is quantized over.

        Parameters
        ----------
        state : MinMaxState
            What an observer kept.
        symmetric : bool
            Whether zero is in the middle.
        type : str or ElementType
            The integer type deployed. Only the number of its levels matters, and only to some rules.

        Returns
        -------
        lo, hi : float
            ``lo <= 0 <= hi``, for `affine_from_range`.

        Raises
        ------
        InvalidRange
            If no finite value was observed.
        InvalidValue
            If the rule needs a histogram and the state has none, or `type` is no integer type.
        """


@dataclass(frozen=True, slots=True)
class MinMax:
    """The observer's whole range: least and greatest value, or for a moving average their averages.

    Examples
    --------
    >>> MinMax().choose(HistogramState().observe([-1.0, 3.0]), symmetric=True)
    (-3.0, 3.0)
    """

    name: ClassVar[str] = "minmax"

    def choose(
        self, state: MinMaxState, *, symmetric: bool = False, type: str | ElementType = "INT8"
    ) -> tuple[float, float]:
        """Choose the range; see `RangeChooser.choose`."""
        _integer(type)
        return _full(state, symmetric)


@dataclass(frozen=True, slots=True)
class Percentile:
    """The range that holds `p` percent of the values; what lies outside saturates.

    Symmetric, it is quantile p of ``|x|``; else (100 - p) / 2 percent may lie outside on each side. A quantile is
    the outer edge of the bin that it falls in, but no more than the extreme: at most one bin too wide, and never
    too narrow. Zeros count as values.

    Attributes
    ----------
    p : float
        Percent, above 0 and up to 100.

    Raises
    ------
    InvalidValue
        If `p` isn't.

    Examples
    --------
    >>> state = HistogramState().observe([*range(1000), 5000.0])
    >>> Percentile(99.9).choose(state, symmetric=True)
    (-1000.0, 1000.0)
    """

    name: ClassVar[str] = "percentile"

    p: float = 99.99

    def __post_init__(self) -> None:
        if not 0 < self.p <= 100:
            raise InvalidValue(f"percentile is {self.p}; a number above 0 and up to 100 is required, such as 99.99")

    def choose(
        self, state: MinMaxState, *, symmetric: bool = False, type: str | ElementType = "INT8"
    ) -> tuple[float, float]:
        """Choose the range; see `RangeChooser.choose`."""
        _integer(type)
        low, high = _full(state, symmetric)
        histogram = _histogram(state, self.name)
        # As a decimal fraction: 10,000 * 0.9999 is 9,999 values, not one more for a float's last bit.
        outside = (100 - Fraction(str(self.p))) / 100
        if symmetric:
            rank = math.ceil((1 - outside) * state.count)
            bound = min(high, _edge(_magnitudes(histogram), rank - state.zeros, histogram))
            return _pair(-bound, bound)
        rank = math.ceil((1 - outside / 2) * state.count)
        above, below = histogram.counts[HALF:], histogram.counts[HALF - 1 :: -1]
        high = min(high, _edge(above, rank - state.zeros - int(below.sum()), histogram))
        low = max(low, -_edge(below, rank - state.zeros - int(above.sum()), histogram))
        return _pair(low, high)


@dataclass(frozen=True, slots=True)
class Entropy:
    """The range whose values, once quantized, diverge least from all values (Kullback-Leibler).

    Of the histogram of ``|x|`` without zeros, every prefix of i bins is a candidate. P is the prefix with what lies
    outside added to its last bin; Q is the prefix without that, summed into as many groups as the type has levels
    on one side (128 for INT8; group g has bins ``i * g // 128`` to ``i * (g + 1) // 128``) and spread over the bins
    of each group that aren't empty. The threshold is the end of the prefix of least KL(P || Q), the widest of
    equals. Types of more than 11 bits have more levels than there are bins: their range is the whole.

    It can clip far too much where values pile up near zero: never the default.

    Examples
    --------
    >>> state = HistogramState().observe([*range(1024), 1.0, 2.0])
    >>> Entropy().choose(state)
    (0.0, 1023.0)
    """

    name: ClassVar[str] = "entropy"

    def choose(
        self, state: MinMaxState, *, symmetric: bool = False, type: str | ElementType = "INT8"
    ) -> tuple[float, float]:
        """Choose the range; see `RangeChooser.choose`."""
        kind = _integer(type)
        low, high = _full(state, symmetric)
        histogram = _histogram(state, self.name)
        groups = 1 << (kind.bits - 1)
        if histogram.exponent is None or groups > HALF:
            return low, high
        divergence = divergences(_magnitudes(histogram), groups)
        best = int(np.flatnonzero(divergence <= divergence.min() + TIE)[-1])
        threshold = _length(groups + best, histogram.exponent)
        return _pair(max(low, -threshold), min(high, threshold))


@dataclass(frozen=True, slots=True)
class MSE:
    """The range of least mean square error on the grid that it would be deployed on.

    The error is that of the histogram, with the values of each bin spread evenly over it, on the grid of
    `affine_from_range`, whose zero point is a whole number. It counts both rounding and saturation. The whole range
    is a candidate: the result is never worse.

    Examples
    --------
    >>> state = HistogramState().observe([*range(-99, 100), 10000.0])
    >>> lo, hi = MSE().choose(state, type="INT8")
    >>> hi
    10000.0
    """

    name: ClassVar[str] = "mse"

    def choose(
        self, state: MinMaxState, *, symmetric: bool = False, type: str | ElementType = "INT8"
    ) -> tuple[float, float]:
        """Choose the range; see `RangeChooser.choose`."""
        return choose_all(self, [state], symmetric=symmetric, type=type)[0]


#: Share of `Percentile` in `Blend`: from 0.5 to 0.75 most networks do alike, and the most sensitive ones best here.
_NARROW = 0.7


@dataclass(frozen=True, slots=True)
class Blend:
    """Between `MSE` and `Percentile`: a geometric mean of the ends that they choose, with more of the latter.

    A mean square error is ruled by the few largest values, which most networks can do without; a percentile clips
    them all, which some can't bear. Between the two lies what costs the output of a network least, measured over
    many: the default for 8-bit activations.

    Examples
    --------
    >>> state = HistogramState().observe([*range(100), *[0.0] * 99900, 5000.0])
    >>> [round(rule.choose(state)[1], 1) for rule in (MSE(), Percentile(99.99), Blend())]
    [5000.0, 96.0, 314.3]
    """

    name: ClassVar[str] = "blend"

    def choose(
        self, state: MinMaxState, *, symmetric: bool = False, type: str | ElementType = "INT8"
    ) -> tuple[float, float]:
        """Choose the range; see `RangeChooser.choose`."""
        return choose_all(self, [state], symmetric=symmetric, type=type)[0]


#: How much wider `Headroom` is: of 1.25, 1.5, 2 and 4, what most networks do best with.
_WIDER = 1.5


@dataclass(frozen=True, slots=True)
class Headroom:
    """Half as wide again as `MinMax`: room for what the samples haven't shown.

    The greatest value of a few samples is seldom the greatest of all. With 8 bits the room costs more than it gains;
    of 16 bits it takes little more than half of one: the default for 16-bit activations.

    Examples
    --------
    >>> Headroom().choose(HistogramState().observe([-1.0, 3.0]))
    (-1.5, 4.5)
    """

    name: ClassVar[str] = "headroom"

    def choose(
        self, state: MinMaxState, *, symmetric: bool = False, type: str | ElementType = "INT8"
    ) -> tuple[float, float]:
        """Choose the range; see `RangeChooser.choose`."""
        _integer(type)
        low, high = _full(state, symmetric)
        return max(_WIDER * low, -_GREATEST), min(_WIDER * high, _GREATEST)


def _between(wide: float, narrow: float) -> float:
    if not (wide and narrow):
        return 0.0
    found = float(wide ** (1 - _NARROW) * narrow**_NARROW)
    return min(max(found, min(wide, narrow)), max(wide, narrow))  # powers round


RANGES: Mapping[str, type[MinMax] | type[Percentile] | type[Entropy] | type[MSE] | type[Blend] | type[Headroom]] = (
    MappingProxyType({kind.name: kind for kind in (MinMax, Percentile, Entropy, MSE, Blend, Headroom)})
)
"""The choosers by name."""


def choose_all(
    rule: RangeChooser, states: Sequence[MinMaxState], *, symmetric: bool = False, type: str | ElementType = "INT8"
) -> list[tuple[float, float]]:
    """Choose the ranges of several tensors; `MSE` and `Blend` search them side by side, in less time.

    Parameters
    ----------
    rule : RangeChooser
    states : sequence of MinMaxState
    symmetric : bool
    type : str or ElementType
        As for `RangeChooser.choose`, which gives the same for each.

    Returns
    -------
    list of (lo, hi)

    Raises
    ------
    InvalidRange, InvalidValue
        As `RangeChooser.choose`, for the first that it can't choose.
    """
    if isinstance(rule, MSE):
        return _least_errors(states, symmetric, _integer(type))
    if isinstance(rule, Blend):
        wide, narrow = (choose_all(r, states, symmetric=symmetric, type=type) for r in (MSE(), Percentile()))
        return [
            (0.0 - _between(-lo, -low), _between(hi, high))
            for (lo, hi), (low, high) in zip(wide, narrow, strict=True)
        ]
    return [rule.choose(state, symmetric=symmetric, type=type) for state in states]


def _least_errors(states: Sequence[MinMaxState], symmetric: bool, kind: ElementType) -> list[tuple[float, float]]:
    found = [_full(state, symmetric) for state in states]
    histograms = [_histogram(state, MSE.name) for state in states]
    searches = {
        i: Search(h.counts, h.exponent, full)
        for i, (h, full) in enumerate(zip(histograms, found, strict=True))
        if h.exponent is not None
    }
    for i, best in zip(searches, least_error(list(searches.values()), kind, symmetric), strict=True):
        found[i] = best
    return found


def divergences(h: NDArray[np.int64], groups: int) -> NDArray[np.float64]:
    """KL(P || Q) for the prefixes of `groups` to all bins of a histogram; inf where Q lacks what P has.

    With S the sum and n the number of bins other than empty ones of a group, M = S, but with what lies outside in
    the last group, T the sum of the prefix and N that of the histogram, it is
    ``(sum(h' ln h') - sum(M ln(S / n))) / N + ln(T / N)``, where h' are the counts of P: prefix sums give it.
    """
    sizes = np.arange(groups, h.size + 1)
    mass, filled, plogp = (np.append(0.0, np.cumsum(v)) for v in (h, h > 0, _xlogx(h)))
    edges = sizes[:, None] * np.arange(groups + 1) // groups
    group_mass, group_filled = np.diff(mass[edges]), np.diff(filled[edges])
    outside = mass[-1] - mass[sizes]
    last = h[sizes - 1].astype(np.float64)
    level = np.log(group_mass, out=np.zeros(group_mass.shape), where=group_mass > 0)
    level -= np.log(group_filled, out=np.zeros(group_mass.shape), where=group_filled > 0)
    spread = np.einsum("ij,ij->i", group_mass, level) + outside * level[:, -1]
    own = plogp[sizes] - _xlogx(last) + _xlogx(last + outside)
    result = np.full(sizes.size, np.inf)
    possible = (mass[sizes] > 0) & ~((last == 0) & (outside > 0))
    result[possible] = ((own - spread) / mass[-1])[possible] + np.log(mass[sizes][possible] / mass[-1])
    return result


def _xlogx(h: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    x = h.astype(np.float64)
    return x * np.log(x, out=np.zeros(x.shape), where=x > 0)


def _magnitudes(state: HistogramState) -> NDArray[np.int64]:
    """Histogram of ``|x|``: 1,024 bins without zeros."""
    return state.counts[HALF:] + state.counts[HALF - 1 :: -1]


def _edge(h: NDArray[np.int64], rank: int, state: HistogramState) -> float:
    """Outer edge of the bin with the value of a rank, 1 being the one next to zero; 0 for ranks below."""
    if rank <= 0 or state.exponent is None:
        return 0.0
    return _length(int(np.searchsorted(np.cumsum(h), rank)) + 1, state.exponent)


def _length(bins: int, exponent: int) -> float:
    """Width of so many bins; infinite where the last ends beyond float64."""
    try:
        return math.ldexp(bins, exponent)
    except OverflowError:
        return math.inf


def _pair(low: float, high: float) -> tuple[float, float]:
    """The two without the sign of a negative zero."""
    return low + 0.0, high + 0.0


def _full(state: MinMaxState, symmetric: bool) -> tuple[float, float]:
    if state.count == 0:
        found = f"{state.nonfinite} values, none of them finite," if state.nonfinite else "no value"
        raise InvalidRange(f"{found} was observed; calibrate with data that reaches the tensor, or leave it float")
    low, high = min(state.range[0], 0.0), max(state.range[1], 0.0)
    bound = max(-low, high)
    return _pair(-bound, bound) if symmetric else _pair(low, high)


def _histogram(state: MinMaxState, name: str) -> HistogramState:
    if not isinstance(state, HistogramState):
        raise InvalidValue(
            f"range {name!r} needs a histogram, which observer {state.observer!r} doesn't keep; "
            "calibrate with observer 'histogram', or use range 'minmax'"
        )
    return state


def _integer(type: str | ElementType) -> ElementType:
    kind = element_type(type)
    if not kind.is_integer:
        raise InvalidValue(f"{kind.name} has no grid; use an integer type such as INT8")
    return kind

"""Mistakes in calibration data that show in its figures: each was somebody's lost week.

Nothing is raised and nothing is printed: findings are values, for whoever calibrates to show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ._bins import HALF
from ._scan import Scan
from .states import HistogramState, MinMaxState
from .statistics import Key, Statistics

#: Fewer samples than that rarely show a tensor's range.
FEW_SAMPLES = 10

#: Greatest magnitude in units of the 99.9th percentile; beyond, one value coarsens the steps of all others.
OUTLIER_RATIO = 64.0

#: Quantile that the greatest magnitude is compared with.
_TAIL = 0.999


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the data that is probably a mistake.

    Attributes
    ----------
    kind : str
        ``few-samples``, ``never-written``, ``non-finite``, ``constant``, ``outliers``; of samples,
        ``identical-samples``, ``constant-samples``, ``non-finite`` and ``unexpected-range``.
    message : str
        One line: what was found, why it matters, and what to do.
    name : str
        Name of the tensor or input; empty if it is about all.
    key : (subgraph, index) or None
        The tensor, if it is about one.
    """

    kind: str
    message: str
    name: str = ""
    key: Key | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.name else self.message


def findings(statistics: Statistics) -> tuple[Finding, ...]:
    """List what looks like a mistake in the data behind some statistics.

    Parameters
    ----------
    statistics : Statistics

    Returns
    -------
    tuple of Finding
        First about all samples, then by tensor.

    Examples
    --------
    >>> from quantlib.calibration import HistogramState
    >>> state = HistogramState().observe([0.5, 0.5, float("nan")])
    >>> statistics = Statistics("0" * 64, 12, "histogram", {(0, 4): state}, {(0, 4): "conv1"})
    >>> for finding in findings(statistics):
    ...     print(finding)
    conv1: 1 of 3 values are NaN or infinite and were left out; find where they come from
    conv1: every value is 0.5; check that the samples differ
    """
    found = []
    if statistics.samples < FEW_SAMPLES:
        count = "1 sample is" if statistics.samples == 1 else f"{statistics.samples} samples are"
        message = f"{count} few; use {FEW_SAMPLES} or more, better some hundreds"
        found.append(Finding("few-samples", message))
    for key, state in statistics.tensors.items():
        found += [Finding(kind, text, statistics.names[key], key) for kind, text in _of_state(state)]
    return tuple(found)


def tail_ratio(state: MinMaxState) -> float | None:
    """Greatest magnitude in units of the 99.9th percentile of ``|x|``; None without a histogram, or values.

    Zeros are left out: a ReLU's output is no worse for being sparse. The percentile is the outer edge of its bin.

    Examples
    --------
    >>> tail_ratio(HistogramState().observe([*[0.75, -0.25] * 5000, 128.0]))
    128.0
    """
    if not isinstance(state, HistogramState) or state.exponent is None:
        return None
    totals = np.cumsum(state.counts[HALF:] + state.counts[HALF - 1 :: -1])
    bins = int(np.searchsorted(totals, math.ceil(_TAIL * int(totals[-1])))) + 1
    largest = math.ldexp(max(-state.min, state.max), -state.exponent)
    return max(1.0, largest / bins)


def _of_state(state: MinMaxState) -> Iterator[tuple[str, str]]:
    if not state.seen:
        yield "never-written", "never written in calibration; add samples that reach it, or leave it float"
    if state.nonfinite:
        yield _nonfinite(state.nonfinite, state.count)
    if state.count > 1 and state.min == state.max:
        yield "constant", f"every value is {state.min:g}; check that the samples differ"
    ratio = tail_ratio(state)
    if ratio is not None and ratio > OUTLIER_RATIO:
        yield (
            "outliers",
            f"the greatest magnitude, {max(-state.min, state.max):g}, is {ratio:.0f} times the 99.9th percentile; "
            "choose the range by percentile or mse, or look at the sample it comes from",
        )


def _nonfinite(count: int, others: int) -> tuple[str, str]:
    message = f"{count:,} of {count + others:,} values are NaN or infinite and were left out"
    return "non-finite", f"{message}; find where they come from"


class SampleWatch:
    """Looks at the samples themselves while they pass by: in constant memory, so that a generator will do.

    Examples
    --------
    >>> watch = SampleWatch()
    >>> for _ in range(12):
    ...     watch.observe({"image": np.full((2, 2), 255, np.float32)})
    >>> [finding.kind for finding in watch.findings({"image": (0.0, 1.0)})]
    ['identical-samples', 'constant-samples', 'unexpected-range']
    """

    def __init__(self) -> None:
        self._samples = 0
        self._first: bytes | None = None
        self._identical = True
        self._constant: dict[str, bool] = {}
        self._states: dict[str, MinMaxState] = {}

    def observe(self, sample: Mapping[str, NDArray[np.generic]]) -> None:
        """Look at one sample: an array of numbers for each input's name. Nothing of it is kept."""
        digest = _digest(sample)
        self._first = self._first or digest
        self._identical &= digest == self._first
        self._samples += 1
        for name, x in sample.items():
            if x.dtype.kind not in "fiu" or x.size == 0:
                continue
            # Integers are inputs too (token numbers, images): looked at here, though never observed.
            seen = Scan(x if x.dtype.kind == "f" else x.astype(np.float64))
            constant = x.size > 1 and seen.nonfinite == 0 and seen.min == seen.max
            self._constant[name] = self._constant.get(name, True) and constant
            state = MinMaxState(seen.min, seen.max, seen.count, seen.zeros, seen.nonfinite, seen.total)
            self._states[name] = self._states.get(name, MinMaxState()).merge(state)

    def findings(self, expected: Mapping[str, tuple[float, float]] = MappingProxyType({})) -> tuple[Finding, ...]:
        """List what looks like a mistake so far.

        Parameters
        ----------
        expected : mapping of str to (lo, hi)
            What the model's metadata, or its first layer, says of an input's range.
        """
        found = []
        if self._samples > 1 and self._identical:
            message = f"all {self._samples} samples are identical; check how they are read"
            found.append(Finding("identical-samples", message))
        for name, state in self._states.items():
            if state.nonfinite:
                found.append(Finding(*_nonfinite(state.nonfinite, state.count), name))
            if self._constant[name]:
                message = "each sample has one value throughout; check how they are read"
                found.append(Finding("constant-samples", message, name))
            if name in expected and state.count and (odd := _odd_range(state, *expected[name])):
                found.append(Finding("unexpected-range", odd, name))
        return tuple(found)


def sample_findings(
    samples: Iterable[Mapping[str, NDArray[np.generic]]],
    expected: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> tuple[Finding, ...]:
    """List what looks like a mistake in the samples themselves.

    Parameters
    ----------
    samples : iterable of mappings of str to array
        One array for each input's name; consumed.
    expected : mapping of str to (lo, hi)
        What the model's metadata, or its first layer, says of an input's range.

    Returns
    -------
    tuple of Finding

    Examples
    --------
    >>> images = [{"image": np.array([[i, 255.0]])} for i in range(20)]
    >>> for finding in sample_findings(images, {"image": (-1.0, 1.0)}):
    ...     print(finding)
    image: values from 0 to 255 where -1 to 1 is expected; prepare the samples as in training
    """
    watch = SampleWatch()
    for sample in samples:
        watch.observe(sample)
    return watch.findings(expected)


def _odd_range(state: MinMaxState, lo: float, hi: float) -> str:
    """Whether values have another scale than expected (0..255, 0..1), or another zero (0..1, -1..1)."""
    seen, wanted = max(-state.min, state.max), max(-lo, hi)
    scale = seen > 2 * wanted or seen < wanted / 4
    zero = (lo < 0 <= state.min) if lo < 0 < hi else (lo >= 0 and state.min < lo - (hi - lo) / 100)
    if not (scale or zero):
        return ""
    return (
        f"values from {state.min:g} to {state.max:g} where {lo:g} to {hi:g} is expected; "
        "prepare the samples as in training"
    )


def _digest(sample: Mapping[str, NDArray[np.generic]]) -> bytes:
    import hashlib

    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(sample):
        x = np.ascontiguousarray(sample[name])
        digest.update(f"{name} {x.dtype.str} {x.shape} ".encode())
        digest.update(x.tobytes() if x.dtype.hasobject else x.reshape(-1).view(np.uint8).data)
    return digest.digest()

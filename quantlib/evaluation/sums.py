"""Errors summed up sample by sample, so that a data set costs the memory of one sample."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.runners import Array

#: Classes from which a top-5 figure says something.
TOP5_FROM = 10
#: An output's SQNR is taken no lower and no higher, in decibels, so that the mean over outputs stays a number.
_LOWEST, _HIGHEST = -100.0, 200.0


class ErrorSums:
    """Sums over pairs of arrays; figures as in `quantlib.numerics`, over all pairs together."""

    def __init__(self) -> None:
        self.count = 0
        self.worst = 0.0
        self._aa = self._bb = self._ab = self._noise = 0.0

    def add(self, reference: Array, other: Array) -> None:
        """Add a pair of real arrays of one shape.

        Raises
        ------
        InvalidValue
            If shapes differ.
        """
        if reference.shape != other.shape:
            raise InvalidValue(f"shapes {list(reference.shape)} and {list(other.shape)} differ; one is required")
        a, b = (x.reshape(-1).astype(np.float64) for x in (reference, other))
        self.count += a.size
        with np.errstate(invalid="ignore", over="ignore"):
            self._aa += _dot(a, a)
            self._bb += _dot(b, b)
            self._ab += _dot(a, b)
            np.subtract(b, a, out=b)
            self._noise += _dot(b, b)
            self.worst = float(np.maximum(self.worst, np.abs(b).max(initial=0.0)))

    @property
    def sqnr_db(self) -> float:
        """Signal to noise in decibels; inf where nothing differs."""
        if self._noise == 0:
            return math.inf
        ratio = self._aa / self._noise
        return 10 * math.log10(ratio) if ratio else -math.inf

    @property
    def noise_to_signal(self) -> float:
        """Noise power over signal power; inf where there is noise alone."""
        if self._noise == 0:
            return 0.0
        return self._noise / self._aa if self._aa else math.inf

    @property
    def cosine(self) -> float:
        """Cosine of the angle between all values of both."""
        if self._aa == 0 or self._bb == 0:
            return float(self._aa == self._bb)
        ratio = self._ab / (math.sqrt(self._aa) * math.sqrt(self._bb))
        return math.copysign(1.0, ratio) if abs(ratio) > 1 else ratio

    @property
    def rmse(self) -> float:
        """Root of the mean square error."""
        return math.sqrt(self._noise / self.count) if self.count else 0.0


def mean_sqnr(values: Iterable[float]) -> float:
    """Mean of SQNR in dB over outputs, each between -100 and 200; NaN counts as the least."""
    known = [_LOWEST if math.isnan(v) else min(max(v, _LOWEST), _HIGHEST) for v in values]
    return sum(known) / len(known)


def _dot(a: Array, b: Array) -> float:
    """Sum of products, on this thread alone: BLAS would wake others, which costs more than the sum."""
    return float(np.einsum("i,i->", a, b))


class ClassSums:
    """Agreement of two classifiers: rows of scores along the last axis."""

    def __init__(self) -> None:
        self.rows = self.classes = 0
        self._first = self._five = 0.0

    def add(self, reference: Array, other: Array) -> None:
        """Add scores of one shape, (..., classes)."""
        self.classes = reference.shape[-1]
        a, b = (x.reshape(-1, self.classes) for x in (reference, other))
        self.rows += len(a)
        self._first += float(np.count_nonzero(a.argmax(-1) == b.argmax(-1)))
        if self.classes >= TOP5_FROM:
            five = highest(a)[:, :, None] == highest(b)[:, None, :]
            self._five += float(five.any(-1).mean(-1).sum())

    @property
    def top1(self) -> float | None:
        """Share of rows with the same highest class."""
        return self._first / self.rows if self.rows else None

    @property
    def top5(self) -> float | None:
        """Mean share of the five highest classes that both have; None for few classes."""
        return self._five / self.rows if self.rows and self.classes >= TOP5_FROM else None


def highest(scores: Array) -> Array:
    """Five highest classes of each row; of equal scores the first class wins, as with argmax."""
    return np.argsort(-scores.astype(np.float64), axis=-1, kind="stable")[..., :5]

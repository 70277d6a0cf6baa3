"""Exact sums of many numbers side by side: what `_sums` does with a Python integer for each, as arrays.

A sum is a row of limbs of 32 bits, in units of 2**-1074; each limb is an int64 number, which has room for 2**31 sums
before it overflows, so that adding needs no carries. Only as many limbs are kept as the numbers seen so far need.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._sums import PLACES

_BITS = 32
_MASK = (1 << _BITS) - 1
#: Binary places of a float64 number.
_DIGITS = 53


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Exact sums.

    Attributes
    ----------
    place : int
        Which limb, counted from that of 2**-1074, is the first one kept.
    limbs : int64 array of shape (sums, limbs)
        From the least one on; not reduced to 32 bits.
    """

    place: int
    limbs: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.limbs)

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Sums:
        """Sums of finite numbers: of one each, or of the columns of an array of two axes."""
        if values.ndim == 2:
            each = cls.of(values.reshape(-1))
            return cls(each.place, each.limbs.reshape(*values.shape, -1).sum(axis=0))
        mantissas, exponents = np.frexp(values)
        whole, shift = (mantissas * 2.0**_DIGITS).astype(np.int64), exponents.astype(np.int64) + (PLACES - _DIGITS)
        if shift.min(initial=0) < 0:  # subnormal numbers: only zeros are shifted out
            whole, shift = whole >> np.maximum(-shift, 0), np.maximum(shift, 0)
        limb, bits = shift // _BITS, shift % _BITS
        place = int(limb.min(where=whole != 0, initial=2 * PLACES)) if whole.any() else 0
        limb = np.where(whole != 0, limb - place, 0)
        low = (whole & _MASK) << bits
        high = ((whole >> _BITS) << bits) + (low >> _BITS)
        limbs, rows = np.zeros((len(values), int(limb.max(initial=0)) + 3), np.int64), np.arange(len(values))
        for k, part in enumerate((low & _MASK, high & _MASK, high >> _BITS)):
            limbs[rows, limb + k] = part
        return cls(place, limbs)

    @classmethod
    def of_totals(cls, totals: Iterable[int]) -> Sums:
        """Sums from Python integers, in units of 2**-1074."""
        each = list(totals)
        count = max((abs(t).bit_length() for t in each), default=0) // _BITS + 1
        parts = [[(abs(t) >> (_BITS * k) & _MASK) * (1 if t >= 0 else -1) for k in range(count)] for t in each]
        return cls(0, np.array(parts, np.int64).reshape(len(each), count))

    def plus(self, other: Sums) -> Sums:
        """Sum by sum, of as many; no sums at all are zeros."""
        if not (len(self) and len(other)):
            return self if len(self) else other
        place = min(self.place, other.place)
        ends = [s.place + s.limbs.shape[1] for s in (self, other)]
        limbs = np.zeros((len(self), max(ends) - place), np.int64)
        for sums, end in zip((self, other), ends, strict=True):
            limbs[:, sums.place - place : end - place] += sums.limbs
        return Sums(place, limbs)

    def totals(self) -> tuple[int, ...]:
        """Python integers, in units of 2**-1074."""
        shifts = [_BITS * (self.place + k) for k in range(self.limbs.shape[1])]
        return tuple(sum(x << s for x, s in zip(row, shifts, strict=True)) for row in self.limbs.tolist())

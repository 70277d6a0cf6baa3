"""Exact sums of many numbers side by side: what `_sums` does with a Python integer for each, as arrays.

A sum is a row of limbs of 32 bits, in units of 2**-1074; each limb is an int64 number, which has room for 2**31 sums
before it overflows, so that adding needs no carries. Only as many limbs are kept as the numbers seen so far need.
"""

from __future__ import annotations

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
    def none(cls) -> Sums:
        """No sums at all."""
        return cls(0, np.zeros((0, 0), np.int64))

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

    def raised(self, power: int) -> Sums:
        """These sums times a power of two, which is a multiple of 32."""
        return Sums(self.place + power // _BITS, self.limbs)

    def settled(self) -> Sums:
        """The same sums in their one form: limbs of 0 to 2**32 - 1, then one of the sign, and none to no purpose."""
        limbs = self._carried()
        signs = limbs[:, -1:]
        # the last limb that says more than the sign; it takes the sign of those beyond it
        said = np.flatnonzero((limbs != (signs & _MASK))[:, :-1].any(axis=0))
        end = int(said[-1]) + 1 if said.size else 0
        limbs = np.concatenate([limbs[:, :end], signs], axis=1)
        some = np.flatnonzero(limbs.any(axis=0))
        if not some.size:
            return Sums(0, np.zeros((len(self), 0), np.int64))
        return Sums(self.place + int(some[0]), limbs[:, some[0] :])

    def _carried(self) -> NDArray[np.int64]:
        """Limbs of 0 to 2**32 - 1, and one of the sign: 0 or -1."""
        limbs = self.limbs
        if limbs.shape[1] and not (limbs[:, :-1] >> _BITS).any() and not (limbs[:, -1] >> 1 != limbs[:, -1]).any():
            return limbs
        limbs = np.concatenate([limbs, np.zeros((len(self), 2), np.int64)], axis=1)
        for k in range(limbs.shape[1] - 1):
            limbs[:, k + 1] += limbs[:, k] >> _BITS
            limbs[:, k] &= _MASK
        limbs[:, -1] >>= _BITS - 1
        return limbs

    def means(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Each sum over its count, to within two units in the last place; 0 where the count is 0.

        Both the sum and the quotient are rounded to nearest.
        """
        limbs = self._carried()
        if limbs.shape[1] == 1:  # signs alone: 0, or one less than 0
            return Sums(self.place - 1, np.concatenate([np.zeros_like(limbs), limbs], axis=1)).means(counts)
        body, signs = limbs[:, :-1], limbs[:, -1]
        width = body.shape[1]
        if width <= 3:  # most often
            top: NDArray[np.intp] | int = width - 1
            first, second, third = (body[:, width - k] if k <= width else np.zeros_like(signs) for k in (1, 2, 3))
        else:
            rows = np.arange(len(self))
            said = body != (signs & _MASK)[:, None]  # the rest is what a sign is continued by
            top = np.where(said.any(axis=1), width - 1 - np.argmax(said[:, ::-1], axis=1), 0)
            first, second, third = (np.where(top >= k, body[rows, np.maximum(top - k, 0)], 0) for k in range(3))
        # Three limbs, of 65 bits or more, rounded once: what the first two are too long for goes with the third.
        high = (first + (signs << _BITS)).astype(np.float64) * 2.0**_BITS
        both = high + second
        size = both * 2.0**_BITS + ((second - (both - high)) * 2.0**_BITS + third)
        with np.errstate(over="ignore", under="ignore"):
            found = np.ldexp(size / np.maximum(counts, 1), _BITS * (self.place + top - 2) - PLACES)
        return np.where(counts > 0, found, 0.0)

    def totals(self) -> tuple[int, ...]:
        """Python integers, in units of 2**-1074."""
        shifts = [_BITS * (self.place + k) for k in range(self.limbs.shape[1])]
        return tuple(sum(x << s for x, s in zip(row, shifts, strict=True)) for row in self.limbs.tolist())

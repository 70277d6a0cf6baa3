"""Sums that don't depend on the order of addition: float64 numbers added as scaled integers.

Every finite float64 number is a whole multiple of 2**-1074, the least subnormal. Counted in that unit, numbers
are Python integers, and addition is exact, hence associative.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantlib.errors import InvalidValue

#: Binary places of the unit: the least subnormal float64 number is 2**-1074 (IEEE 754 binary64).
PLACES = 1074

#: Values are made that many binary places smaller where their float64 sum would overflow.
HEADROOM = 64


def units(value: float) -> int:
    """A finite float64 number as a multiple of 2**-1074."""
    numerator, denominator = value.as_integer_ratio()
    return numerator << (PLACES + 1 - denominator.bit_length())


def real(total: int) -> float:
    """The float64 number nearest to a multiple of 2**-1074; infinite beyond the greatest.

    Examples
    --------
    >>> real(units(0.1) + units(-0.1) + units(2.5))
    2.5
    """
    return quotient(total, 1)


def quotient(total: int, count: int) -> float:
    """``real(total) / count``, rounded once; 0 where `count` is 0."""
    if count == 0:
        return 0.0
    try:
        return total / (count << PLACES)
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def total_of(x: NDArray[Any]) -> int:
    """Float64 sum of a finite array, in units of 2**-1074."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        total = float(np.add.reduce(x, axis=None, dtype=np.float64))
        if math.isfinite(total):
            return units(total)
        return units(float(np.add.reduce(np.ldexp(x, -HEADROOM), axis=None))) << HEADROOM


def to_text(total: int) -> str:
    """Write a total without its trailing zeros: ``"0x5p-1"`` is 2.5."""
    zeros = (total & -total).bit_length() - 1 if total else PLACES
    return f"{total >> zeros:#x}p{zeros - PLACES}"


def from_text(text: str) -> int:
    """Read what `to_text` wrote.

    Raises
    ------
    InvalidValue
        If it is nothing of that kind, or no sum of 2**63 float64 numbers.
    """
    digits, _, exponent = text.partition("p")
    try:
        mantissa, zeros = int(digits, 16), int(exponent) + PLACES
    except ValueError:
        mantissa, zeros = 0, -1
    if zeros < 0 or mantissa.bit_length() + zeros > 2 * PLACES + 64:
        raise InvalidValue(f"sum {text[:40]!r} is no exact sum; one such as '0x5p-1' is required")
    return mantissa << zeros

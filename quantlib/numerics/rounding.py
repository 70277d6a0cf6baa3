"""Rounding to integers, under the names that the field uses.

Runtimes differ in nothing but this where they disagree by one step, so that a rounding always has a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import float_array


class Rounding(Protocol):
    """A function that rounds a float array to integral values of the same dtype."""

    def __call__(self, x: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Round `x`, into `out` if given; `out` may be `x`."""


def round_half_even(x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Round to the nearest integer, ties to the even one (RNE; C's `rint` in its default mode).

    Parameters
    ----------
    x : float16, float32 or float64 array of any shape
    out : array of the dtype and shape of `x`, optional
        Where to write; may be `x` itself.

    Returns
    -------
    array of the dtype and shape of `x`
        Infinities, NaN and the sign of zero are kept.

    Raises
    ------
    InvalidValue
        If `x` is not a float array.

    Examples
    --------
    >>> round_half_even(np.array([-1.5, -0.5, 0.5, 1.5, 2.5]))
    array([-2., -0.,  0.,  2.,  2.])
    """
    x = float_array(x)
    return np.asarray(np.rint(x, out=out))


def round_half_away(x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Round to the nearest integer, ties away from zero: exactly C's `round`.

    Adding the greatest number below one half, with the sign of `x`, and truncating is exact for every
    value: adding one half itself would lift 0.49999997 to 1 and odd integers above 2**23 to even ones.

    Parameters
    ----------
    x : float16, float32 or float64 array of any shape
    out : array of the dtype and shape of `x`, optional
        Where to write; may be `x` itself.

    Returns
    -------
    array of the dtype and shape of `x`
        Infinities, NaN and the sign of zero are kept.

    Raises
    ------
    InvalidValue
        If `x` is not a float array.

    Examples
    --------
    >>> round_half_away(np.array([-1.5, -0.5, 0.5, 1.5, 2.5]))
    array([-2., -1.,  1.,  2.,  3.])
    """
    x = float_array(x)
    x = x.astype(x.dtype.newbyteorder("="), copy=False)
    bits = np.dtype(f"u{x.dtype.itemsize}").type
    half = np.nextafter(x.dtype.type(0.5), x.dtype.type(0)).view(bits)
    # np.copysign(half, x), which NumPy does not vectorize.
    sign = np.asarray(np.bitwise_and(x.view(bits), bits(1 << (8 * x.dtype.itemsize - 1))))
    np.bitwise_or(sign, half, out=sign)
    shifted = np.add(x, sign.view(x.dtype), out=out)
    return np.asarray(np.trunc(shifted, out=out))


ROUNDINGS: Mapping[str, Rounding] = MappingProxyType({"half_even": round_half_even, "half_away": round_half_away})
"""The roundings by name."""

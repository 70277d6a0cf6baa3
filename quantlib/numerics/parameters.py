"""From a range to a scale and a zero point."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidRange, InvalidValue

from ._arrays import GREATEST
from .affine import Affine
from .granularity import PER_TENSOR, Granularity
from .rounding import round_half_away
from .types import ElementType, element_type

# Width below which the TensorFlow Lite converter widens a range, and what it adds to each end of an
# asymmetric one (quantization_utils.h, ConvertStatsToQDQs; quantization_utils.cc, ExpandVerySmallRange).
_SMALL = 1e-6


def affine_from_range(
    lo: ArrayLike,
    hi: ArrayLike,
    type: str | ElementType,
    *,
    granularity: Granularity = PER_TENSOR,
    symmetric: bool = False,
    narrow_range: bool = False,
) -> Affine:
    """Choose scale and zero point for a range, with the float32 arithmetic of the TensorFlow Lite converter.

    **Asymmetric** (activations), up to 16 bits: the range is first widened to hold zero, which the zero point
    then represents exactly. ``scale = (hi - lo) / (qmax - qmin)``, all in float32;
    ``zero_point = half_away(float32(qmin - lo / scale))`` with the quotient in float64, clipped to the grid.

    **Symmetric** (weights, 16-bit activations): ``scale = float32(max(|lo|, |hi|) / qmax)``, zero point 0.
    An unsigned type has its zero point in the middle (128 for UINT8) and as many steps above it (127).

    The degenerate cases:

    * ``lo == hi == 0``, or narrower than 1e-6. Asymmetric: 1e-6 is added at both ends. Symmetric: with
      ``2 * max(|lo|, |hi|) <= 1e-6`` it becomes the range +-5e-7. So no scale is ever zero or subnormal,
      which XNNPACK would refuse: an all-zero INT8 tensor gets 2e-6 / 255, all-zero weights 1e-6 / 254.
    * ``hi - lo`` overflows float32: the difference is taken in float64 instead.
    * ``lo > hi``, NaN, infinite, or beyond float32: `InvalidRange`.
    * No channels: an `Affine` with none.

    Parameters
    ----------
    lo, hi : float array of the shape of the scales, or scalar
        Least and greatest real value of each channel.
    type : str or ElementType
        An integer type.
    granularity : Granularity
        Which elements share a scale; taken over into the result.
    symmetric : bool
        Whether zero is in the middle.
    narrow_range : bool
        Whether the type's least value is left out.

    Returns
    -------
    Affine

    Raises
    ------
    InvalidRange
        See the degenerate cases.
    InvalidValue
        If `type` is not an integer type, or wider than 16 bits and not symmetric; if shapes don't agree.

    Examples
    --------
    >>> affine = affine_from_range(-1.0, 1.55, "INT8")
    >>> print(affine.scale, affine.zero_point)
    [0.01] [-28]
    >>> affine_from_range(-0.5, 1.27, "INT8", symmetric=True, narrow_range=True).scale
    array([0.01], dtype=float32)
    """
    kind = element_type(type)
    if not kind.is_integer:
        raise InvalidValue(f"{kind.name} has no scale; use an integer type such as INT8")
    if not symmetric and kind.bits > 16:
        raise InvalidValue(f"{kind.name} has no asymmetric scale; use symmetric=True above 16 bits")
    low, high = _checked(lo, hi)
    choose = _symmetric if symmetric else _asymmetric
    scale, zero_point = choose(low, high, kind, narrow_range)
    return Affine(kind, scale, zero_point, granularity, narrow_range)


def _asymmetric(
    lo: NDArray[np.float64], hi: NDArray[np.float64], kind: ElementType, narrow: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    qmin, qmax = int(kind.min or 0) + narrow, int(kind.max or 0)
    lo, hi = np.minimum(lo, 0.0), np.maximum(hi, 0.0)
    small = hi - lo < _SMALL
    if small.any():
        lo, hi = np.where(small, lo - _SMALL, lo), np.where(small, hi + _SMALL, hi)
    with np.errstate(over="ignore"):
        width = hi.astype(np.float32) - lo.astype(np.float32)
    scale = width / np.float32(qmax - qmin)
    finite = np.isfinite(width)
    if not finite.all():
        scale = np.where(finite, scale, ((hi - lo) / (qmax - qmin)).astype(np.float32))
    zero_point = round_half_away((qmin - lo / scale.astype(np.float64)).astype(np.float32))
    return scale, np.minimum(np.maximum(zero_point, qmin), qmax).astype(np.int64)


def _symmetric(
    lo: NDArray[np.float64], hi: NDArray[np.float64], kind: ElementType, narrow: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    greatest = int(kind.max or 0)
    middle = (greatest + 1) // 2 if kind.kind == "uint" else 0
    bound = np.maximum(np.abs(lo), np.abs(hi))
    bound = np.where(2 * bound <= _SMALL, _SMALL / 2, bound)
    scale = (bound / (greatest - middle)).astype(np.float32)
    return scale, np.full(scale.shape, middle, np.int64)


def _checked(lo: ArrayLike, hi: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = (np.array(v, np.float64, ndmin=1) for v in (lo, hi))
    if low.shape != high.shape:
        raise InvalidValue(f"lo has shape {low.shape} and hi {high.shape}; give as many of each")
    bad = ~((low <= high) & (low >= -GREATEST) & (high <= GREATEST))
    if bad.any():
        c = int(np.argmax(bad))
        raise InvalidRange(
            f"range [{low.flat[c]}, {high.flat[c]}] of channel {c} gives no scale; "
            "lo <= hi, both finite float32 numbers, is required"
        )
    return low, high

"""The arithmetic of the FAKE_QUANT operator: a range moved until zero lies on the grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidRange, InvalidValue

from ._arrays import LEAST_NORMAL, float_array
from ._blocks import walk
from .granularity import PER_TENSOR, Granularity, as_channels, from_channels, parameter_shape
from .rounding import round_half_away


def nudged_range(
    lo: ArrayLike, hi: ArrayLike, bits: int = 8, narrow_range: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Move a range by less than one step, so that zero is exactly on its grid of unsigned integers.

    This is `NudgeQuantizationRange` of the LiteRT runtime, in float32 throughout
    (``tflite/kernels/internal/quantization_util.cc``). The integers are ``qmin = narrow_range`` to
    ``qmax = 2**bits - 1``.

    Parameters
    ----------
    lo, hi : float array of any shape, or scalar
        ``lo <= 0 <= hi`` and ``lo < hi``.
    bits : int
        2 to 16.
    narrow_range : bool
        Whether the grid starts at 1 instead of 0.

    Returns
    -------
    lo, hi : float32 array of shape (C,)
        The nudged range.
    scale : float32 array of shape (C,)
        The step.
    zero_point : int64 array of shape (C,)
        The unsigned integer that stands for 0.0. Take ``2**(bits - 1)`` off for the signed type.

    Raises
    ------
    InvalidRange
        If a range is not finite, is empty, doesn't hold zero, or has no normal step.
    InvalidValue
        If `bits` is not 2 to 16.

    Examples
    --------
    >>> lo, hi, scale, zero_point = nudged_range(-0.1, 25.4)
    >>> print(lo, hi, scale, zero_point)
    [-0.1] [25.4] [0.1] [1]
    """
    if bits not in range(2, 17):
        raise InvalidValue(f"bits is {bits!r}; use 2 to 16")
    with np.errstate(over="ignore"):
        low, high = (np.array(v, np.float32, ndmin=1).reshape(-1) for v in (lo, hi))
    if low.shape != high.shape:
        raise InvalidValue(f"lo has {low.size} channels and hi {high.size}; give as many of each")
    qmin, qmax = np.float32(narrow_range), np.float32(2**bits - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        scale = (high - low) / (qmax - qmin)
        good = (low <= 0) & (high >= 0) & (scale >= LEAST_NORMAL) & np.isfinite(scale)
    if not good.all():
        c = int(np.argmin(good))
        raise InvalidRange(
            f"range [{low[c]}, {high[c]}] of channel {c} can't be nudged; "
            "lo <= 0 <= hi, lo < hi and both finite are required"
        )
    zero_point = round_half_away(np.clip(qmin - low / scale, qmin, qmax))
    return (qmin - zero_point) * scale, (qmax - zero_point) * scale, scale, zero_point.astype(np.int64)


def fake_quantize_nudged(
    x: ArrayLike,
    lo: ArrayLike,
    hi: ArrayLike,
    bits: int = 8,
    narrow_range: bool = False,
    *,
    granularity: Granularity = PER_TENSOR,
) -> NDArray[np.float32]:
    """Compute what the FAKE_QUANT operator computes.

    ``half_away((clamp(x, lo', hi') - lo') * (1 / scale)) * scale + lo'`` in float32, where lo', hi' and scale
    are those of `nudged_range` (LiteRT, `FakeQuantizeArray`). As in that kernel, NaN becomes lo'.

    Parameters
    ----------
    x : float array of any shape
        Rounded to float32 first.
    lo, hi : float array of shape (C,), or scalar
        The range of each channel.
    bits : int
        2 to 16.
    narrow_range : bool
        Whether the grid starts at 1 instead of 0.
    granularity : Granularity
        The operator in a file is per tensor; QAT tools also have a form per axis.

    Returns
    -------
    float32 array of the shape of `x`

    Raises
    ------
    InvalidRange
        As `nudged_range`.
    InvalidValue
        As `nudged_range`, if `x` is not float, or if there is not one range for each channel.

    Examples
    --------
    >>> print(fake_quantize_nudged([-3.0, 0.0, 0.2, 1.4], 0.0, 3.0, bits=2))
    [0. 0. 0. 1.]
    """
    x = float_array(x)
    low, high, scale, _ = nudged_range(lo, hi, bits, narrow_range)
    required = parameter_shape(granularity, x.shape)
    grouped: NDArray[Any] = as_channels(x, granularity)
    if low.size != grouped.shape[1]:
        raise InvalidValue(
            f"{low.size} ranges for a tensor of shape {x.shape}, {granularity}; {required} is required"
        )
    flat, result = grouped.reshape(-1), np.empty(x.size, np.float32)
    for cut, shape, (a, b, inv, s) in walk(grouped.shape, low, high, np.float32(1) / scale, scale):
        y = result[cut].reshape(shape)
        with np.errstate(over="ignore"):
            np.copyto(y, flat[cut].reshape(shape), casting="unsafe")
        np.clip(y, a, b, out=y)
        if np.isnan(y.max()):
            np.copyto(y, a, where=np.isnan(y))
        np.subtract(y, a, out=y)
        np.multiply(y, inv, out=y)
        round_half_away(y, out=y)
        np.multiply(y, s, out=y)
        np.add(y, a, out=y)
    return from_channels(result, granularity, x.shape)

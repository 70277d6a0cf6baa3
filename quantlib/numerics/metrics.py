"""Error metrics between two arrays, accumulated in float64 and a piece at a time.

A NaN in either array gives NaN, and so does an infinity in both at one place; neither gives a warning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidValue

from ._blocks import BLOCK, cuts


@np.errstate(invalid="ignore", over="ignore")
def mse(a: ArrayLike, b: ArrayLike) -> float:
    """Mean square error, ``mean((a - b)**2)``; 0 for empty arrays.

    Parameters
    ----------
    a, b : real arrays of one shape
        Differences and sums are float64.

    Returns
    -------
    float
        NaN if a value is.

    Raises
    ------
    InvalidValue
        If shapes differ, or values are complex.

    Examples
    --------
    >>> mse([1.0, 2.0], [1.0, 4.0])
    2.0
    """
    total = count = 0.0
    for x, y in _pairs(a, b):
        count += x.size
        x -= y
        total += float(np.square(x, out=x).sum())
    return total / count if count else 0.0


@np.errstate(invalid="ignore", over="ignore")
def sqnr_db(reference: ArrayLike, other: ArrayLike) -> float:
    """Signal to quantization noise ratio in decibels: ``10 * log10(sum(ref**2) / sum((ref - other)**2))``.

    Parameters
    ----------
    reference, other : real arrays of one shape

    Returns
    -------
    float
        ``inf`` where the arrays are equal, even if both are zero or empty; ``-inf`` where only the reference
        is zero throughout, or only the other has an infinity. NaN if a value is.

    Raises
    ------
    InvalidValue
        As `mse`.

    Examples
    --------
    >>> sqnr_db([10.0, 0.0], [9.0, 0.0])
    20.0
    """
    signal = noise = 0.0
    for x, y in _pairs(reference, other):
        y -= x
        noise += float(np.square(y, out=y).sum())
        signal += float(np.square(x, out=x).sum())
    if noise == 0:
        return math.inf
    ratio = signal / noise
    return 10 * math.log10(ratio) if ratio else -math.inf


@np.errstate(invalid="ignore", over="ignore")
def cosine(a: ArrayLike, b: ArrayLike) -> float:
    """Cosine of the angle between two arrays: ``sum(a * b) / (|a| * |b|)``.

    Parameters
    ----------
    a, b : real arrays of one shape

    Returns
    -------
    float
        -1 to 1. Where one array is zero throughout there is no angle: 0, and 1 if both are. NaN
        if a value is.

    Raises
    ------
    InvalidValue
        As `mse`.

    Examples
    --------
    >>> cosine([3.0, 4.0], [4.0, 3.0])
    0.96
    """
    xx = yy = xy = 0.0
    for x, y in _pairs(a, b):
        xy += float((x * y).sum())
        xx += float(np.square(x, out=x).sum())
        yy += float(np.square(y, out=y).sum())
    if xx == 0 or yy == 0:
        return float(xx == yy)
    ratio = xy / (math.sqrt(xx) * math.sqrt(yy))
    # Rounding may carry it past the ends by some 1e-16.
    return math.copysign(1.0, ratio) if abs(ratio) > 1 else ratio


@np.errstate(invalid="ignore", over="ignore")
def max_error_in_steps(a: ArrayLike, b: ArrayLike, scale: ArrayLike) -> float:
    """Greatest difference in quantization steps: ``max(|a - b| / scale)``; 0 for empty arrays.

    Parameters
    ----------
    a, b : real arrays of one shape
    scale : positive float, or array that broadcasts to that shape
        Size of a step. For scales along axis 0 of an NHWC filter pass ``scale[:, None, None, None]``.

    Returns
    -------
    float
        NaN if a value is.

    Raises
    ------
    InvalidValue
        As `mse`; if a scale is not positive, or doesn't broadcast.

    Examples
    --------
    >>> max_error_in_steps([1.0, 2.0], [1.25, 2.0], 0.5)
    0.5
    """
    shape, steps = np.shape(a), np.asarray(scale, np.float64)
    if not np.all(steps > 0):
        raise InvalidValue("a scale is not positive; divide by positive step sizes only")
    try:
        spread = np.broadcast_to(steps, shape)
    except ValueError:
        raise InvalidValue(f"scales of shape {steps.shape} don't broadcast to {shape}; reshape them to fit") from None
    worst = 0.0
    for (x, y), cut in zip(_pairs(a, b), cuts(math.prod(shape)), strict=True):
        x -= y
        np.abs(x, out=x)
        x /= spread.flat[cut] if steps.ndim else steps  # as a whole it would be as large as the arrays
        worst = float(np.maximum(worst, x.max()))
    return worst


def _pairs(a: ArrayLike, b: ArrayLike) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield matching pieces of two arrays as float64 copies that the caller may write to."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise InvalidValue(f"shapes {a.shape} and {b.shape} differ; compare arrays of one shape")
    for array in (a, b):
        if array.dtype.kind not in "fiub":
            raise InvalidValue(f"dtype {array.dtype} has no error metric; compare real numbers")
    x, y = a.reshape(-1), b.reshape(-1)
    p, q = np.empty(min(BLOCK, x.size)), np.empty(min(BLOCK, x.size))
    for cut in cuts(x.size):
        n = cut.stop - cut.start
        np.copyto(p[:n], x[cut], casting="unsafe")
        np.copyto(q[:n], y[cut], casting="unsafe")
        yield p[:n], q[:n]

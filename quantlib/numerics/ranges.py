"""Ranges of weights: least and greatest value of each channel, and the range of least error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidRange, InvalidValue

from ._arrays import float_array
from ._blocks import BLOCK, LONG_ROW, cuts
from .affine import Affine
from .granularity import PER_TENSOR, Granularity, PerAxis, as_channels, parameter_shape
from .mapping import fake_quantize
from .parameters import affine_from_range
from .types import ElementType

# Fractions of the full range that `mse_range` tries.
CANDIDATES = tuple(k / 100 for k in range(100, 20, -2))

# Elements whose error `mse_range` finds at once, in a second-level cache: many times the fixed cost.
_GROUP = 2 * BLOCK


def weight_range(
    w: ArrayLike, granularity: Granularity = PER_TENSOR
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Least and greatest value of each channel, exactly, in one pass over memory.

    Parameters
    ----------
    w : float16, float32 or float64 array of any shape
        Values are rounded to float32.
    granularity : Granularity

    Returns
    -------
    lo, hi : float32 array of the shape of the scales
        See `parameter_shape`. An empty tensor has the range 0 to 0.

    Raises
    ------
    InvalidRange
        If a value is NaN or infinite (in float32); names the first.
    InvalidValue
        If `w` is not float, or has no such axis or blocks.

    Examples
    --------
    >>> from quantlib.numerics import PerAxis
    >>> lo, hi = weight_range(np.array([[-1.0, 2.0], [3.0, 4.0]], np.float32), PerAxis(0))
    >>> print(lo, hi)
    [-1.  3.] [2. 4.]
    """
    w = float_array(w)
    shape = parameter_shape(granularity, w.shape)
    if w.size == 0:
        return np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    with np.errstate(over="ignore"):
        lo, hi = (v.astype(np.float32).reshape(shape) for v in _extremes(as_channels(w, granularity)))
    if not (np.isfinite(lo).all() and np.isfinite(hi).all()):
        raise _not_finite(w)
    return lo, hi


def absmax(w: ArrayLike, granularity: Granularity = PER_TENSOR) -> NDArray[np.float32]:
    """Greatest magnitude of each channel: ``max(|lo|, |hi|)`` of `weight_range`, which see.

    Examples
    --------
    >>> absmax(np.array([-3.0, 2.0], np.float32))
    array([3.], dtype=float32)
    """
    lo, hi = weight_range(w, granularity)
    return np.maximum(-lo, hi)


def mse_range(
    w: ArrayLike,
    granularity: Granularity = PER_TENSOR,
    type: str | ElementType = "INT8",
    *,
    symmetric: bool = True,
    narrow_range: bool = True,
    candidates: ArrayLike = CANDIDATES,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Range of least mean square error, for each channel on the very grid that it would be deployed on.

    Every candidate shrinks the range of `weight_range` by a factor. The error of the grid that
    `affine_from_range` makes of it is summed in float64 over all weights of the channel, clipped ones
    included. The full range always is a candidate, and wins ties: the result is never worse.

    Parameters
    ----------
    w : float16, float32 or float64 array of any shape
    granularity : Granularity
    type : str or ElementType
        The integer type deployed.
    symmetric, narrow_range : bool
        As in `affine_from_range`.
    candidates : float array
        Factors, above 0 and up to 1.

    Returns
    -------
    lo, hi : float32 array of the shape of the scales
        For `affine_from_range`.

    Raises
    ------
    InvalidRange
        As `weight_range`.
    InvalidValue
        As `weight_range` and `affine_from_range`, or if a factor is not in (0, 1].

    Examples
    --------
    >>> w = np.array([7.0, *[1.0, 2.0, -1.0] * 20], np.float32)
    >>> lo, hi = mse_range(w, type="INT2")
    >>> print(lo, hi)
    [-0.22] [1.54]
    """
    factors = np.unique(np.append(np.asarray(candidates, np.float64).reshape(-1), 1.0))[::-1]
    if not np.all((factors > 0) & (factors <= 1)):
        raise InvalidValue(f"candidates reach from {factors[-1]} to {factors[0]}; use factors in (0, 1]")
    w = float_array(w)
    lo, hi = weight_range(w, granularity)
    fractions = factors.astype(np.float32)[:, None]
    lows, highs = fractions * lo.reshape(1, -1), fractions * hi.reshape(1, -1)
    x = as_channels(w, granularity)
    best = np.zeros(lo.size, np.intp)
    for part, rows in _channel_rows(x):
        affines = [
            affine_from_range(low, high, type, granularity=PerAxis(0), symmetric=symmetric, narrow_range=narrow_range)
            for low, high in zip(lows[:, part], highs[:, part], strict=True)
        ]
        best[part] = np.argmin(_square_errors(rows, affines), axis=0)
    chosen = best, np.arange(lo.size)
    return lows[chosen].reshape(lo.shape), highs[chosen].reshape(lo.shape)


def _square_errors(rows: NDArray[np.float32], affines: list[Affine]) -> NDArray[np.float64]:
    """Sum the square errors of each row, on each of several grids: shape (grids, rows)."""
    errors = np.zeros((len(affines), len(rows)))
    for columns in cuts(rows.shape[1], max(1, _GROUP // max(1, len(rows)))):
        piece = np.ascontiguousarray(rows[:, columns])
        exact, difference = piece.astype(np.float64), np.empty(piece.shape)
        for k, affine in enumerate(affines):
            np.subtract(fake_quantize(piece, affine), exact, out=difference)
            errors[k] += np.einsum("ij,ij->i", difference, difference)
    return errors


def _channel_rows(x: NDArray[Any]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Channels of an (outer, channels, inner) array as rows, a group of them at a time."""
    outer, count, inner = x.shape
    # Columns of an array are gathered sixteen at a time at least: a cache line of float32.
    step = max(1 if outer == 1 else 16, _GROUP // max(1, outer * inner))
    for part in cuts(count, step):
        rows = x[:, part].swapaxes(0, 1).reshape(part.stop - part.start, outer * inner)
        with np.errstate(over="ignore"):
            yield part, rows.astype(np.float32, copy=False)


def _extremes(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Minimum and maximum over axes 0 and 2 of an (outer, channels, inner) array without zero extents."""
    outer, count, inner = x.shape
    if outer > 1 and inner < LONG_ROW:
        return _column_extremes(x.reshape(outer, count * inner), count)
    lo, hi = np.full(count, np.inf, x.dtype), np.full(count, -np.inf, x.dtype)
    for o in range(outer):
        for rows in cuts(count, max(1, BLOCK // inner)):
            for columns in cuts(inner):
                low, high = _row_extremes(x[o, rows, columns])
                np.minimum(lo[rows], low, out=lo[rows])
                np.maximum(hi[rows], high, out=hi[rows])
    return lo, hi


def _row_extremes(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    rows, width = x.shape
    if width < LONG_ROW:
        x = np.ascontiguousarray(x.T)
        return x.min(axis=0), x.max(axis=0)
    # What min(axis=1) gives, in less than half of its time.
    starts, x = np.arange(0, rows * width, width), x.reshape(-1)
    return np.minimum.reduceat(x, starts), np.maximum.reduceat(x, starts)


def _column_extremes(x: NDArray[Any], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Minimum and maximum of each of `count` groups of neighbouring columns."""
    height, width = x.shape
    # Narrow rows are laid end to end, for the vector unit to have something to do.
    fold = min(height, max(1, 1024 // width))
    tail = x[height - height % fold :]
    x = x[: height - height % fold].reshape(-1, fold * width)
    lo, hi = x[0].copy(), x[0].copy()
    for columns in cuts(x.shape[1]):
        low, high = lo[columns], hi[columns]
        for rows in cuts(len(x), max(1, BLOCK // len(low))):
            piece = x[rows, columns]
            np.minimum(low, piece.min(axis=0), out=low)
            np.maximum(high, piece.max(axis=0), out=high)
    lo = np.concatenate([lo.reshape(fold, width), tail]).min(axis=0)
    hi = np.concatenate([hi.reshape(fold, width), tail]).max(axis=0)
    return lo.reshape(count, -1).min(axis=1), hi.reshape(count, -1).max(axis=1)


def _not_finite(w: NDArray[Any]) -> InvalidRange:
    with np.errstate(over="ignore"):
        flat = int(np.argmin(np.isfinite(w.astype(np.float32))))
    index = tuple(int(i) for i in np.unravel_index(flat, w.shape))
    return InvalidRange(f"{w[index]} at index {index} is not finite in float32; remove or replace it")

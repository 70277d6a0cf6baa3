"""Functions of narrow integers as tables: computed once for every value, then looked up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.numerics import round_half_away

from .kernel import Array

#: Steps of a table that is interpolated.
_STEPS = 512


def all_values(dtype: npt.DTypeLike) -> Array:
    """Every integer of an 8 or 16-bit dtype, in the order of its bits read as an unsigned number.

    Examples
    --------
    >>> all_values(np.int8)[[0, 127, 128, 255]]
    array([   0,  127, -128,   -1], dtype=int8)
    """
    kind = np.dtype(dtype)
    return np.arange(1 << (8 * kind.itemsize), dtype=f"u{kind.itemsize}").view(kind)


def exponent_of(scale: np.float32) -> int | None:
    """Exponent of a scale that LiteRT takes for a power of two (``CheckedLog2``, ``quantization_util.cc``), or None.

    Examples
    --------
    >>> exponent_of(np.float32(2**-12)), exponent_of(np.float32(0.3))
    (-12, None)
    """
    log = np.float32(np.log(scale)) * np.float32(np.float32(1) / np.float32(np.log(np.float32(2))))
    nearest = np.rint(log)
    return int(nearest) if abs(log - nearest) < np.float32(1e-3) else None


def tabulated(function: Callable[[Array], Array], dtype: npt.DTypeLike) -> Callable[[Array], Array]:
    """Make a table of a function of one integer.

    Parameters
    ----------
    function : callable
        Elementwise, from an array of `dtype` to an array.
    dtype : dtype
        Of 8 or 16 bits.

    Returns
    -------
    callable
        The same function, looked up.

    Examples
    --------
    >>> double = tabulated(lambda x: x.astype(np.int16) * 2, np.int8)
    >>> double(np.array([-128, 5], np.int8))
    array([-256,   10], dtype=int16)
    """
    table = function(all_values(dtype))

    def look_up(x: Array) -> Array:
        return np.asarray(table[np.ascontiguousarray(x).view(f"u{x.dtype.itemsize}")])

    return look_up


def tabulated_pairs(
    function: Callable[[Array, Array], Array], first: npt.DTypeLike, second: npt.DTypeLike
) -> Callable[[Array, Array], Array]:
    """Make a table of a function of two integers of 8 bits each, 65,536 entries.

    Parameters
    ----------
    function : callable
        Elementwise, from two arrays that broadcast to an array.
    first, second : dtype
        Of 8 bits.

    Returns
    -------
    callable
        The same function, looked up; its arrays broadcast.

    Examples
    --------
    >>> product = tabulated_pairs(lambda a, b: a.astype(np.int16) * b, np.int8, np.int8)
    >>> product(np.array([[-128], [3]], np.int8), np.array([2, 5], np.int8))
    array([[-256, -640],
           [   6,   15]], dtype=int16)
    """
    table = np.ascontiguousarray(function(all_values(first)[:, None], all_values(second)[None])).reshape(-1)

    def look_up(a: Array, b: Array) -> Array:
        high: Any = np.ascontiguousarray(a).view(np.uint8).astype(np.uint16)
        high <<= 8
        return np.asarray(table[high | np.ascontiguousarray(b).view(np.uint8)])

    return look_up


def interpolation_table(
    function: Callable[[Array], Array],
    scale: float,
    zero_point: int,
    output_scale: float,
    output_zero_point: int = 0,
    *,
    dtype: npt.DTypeLike = np.float64,
) -> npt.NDArray[np.int16]:
    """Make a table of 513 values of a function of INT16 integers, between which kernels interpolate.

    Each entry is shifted by half the error that interpolation makes in the middle of its step (``LUTPopulateInt16``
    and ``LUTLookup`` in ``tflite/kernels/internal/common.h``).

    Parameters
    ----------
    function : callable
        Elementwise, of real numbers in float64.
    scale, zero_point : float, int
        What the integers stand for.
    output_scale, output_zero_point : float, int
        What the results stand for.
    dtype : dtype
        float32 or float64: in which the table is computed.

    Returns
    -------
    int16 array of shape (513,)

    Examples
    --------
    >>> interpolation_table(lambda x: 2 * x, 0.5 / 32768, 0, 1 / 32768)[[0, 256, 512]]
    array([-32768,     -1,  32767], dtype=int16)
    """
    kind: Any = np.dtype(dtype).type
    low, high = (kind(scale) * kind(end - zero_point) for end in (-32768, 32767))
    least, greatest = (kind(output_scale) * kind(end - output_zero_point) for end in (-32768, 32767))
    step = (high - low) / kind(_STEPS)
    inverse = kind(65536) / (greatest - least)
    places = np.arange(_STEPS + 1, dtype=kind)

    def values(x: Array) -> Array:
        return np.asarray(function(x.astype(np.float64)).astype(kind))

    ends = values(low + places * step) * inverse
    samples = round_half_away(ends[:-1])
    middle = round_half_away(values(low + places[:-1] * step + step / kind(2)) * inverse)
    error = round_half_away((ends[1:] + samples) / kind(2)) - middle
    last = round_half_away(values(np.atleast_1d(high)) * inverse)
    table = np.concatenate([samples - round_half_away(error / kind(2)), last])
    # beyond float32 there is infinity less infinity, which the kernels' cast turns into 0
    stored: npt.NDArray[np.int16] = np.nan_to_num(np.clip(table, -32768, 32767), nan=0).astype(np.int16)
    return stored


def between(table: npt.NDArray[np.int16]) -> Callable[[Array], Array]:
    """Make a function of INT16 integers that interpolates between the entries of an `interpolation_table`.

    Parameters
    ----------
    table : int16 array of shape (513,)

    Returns
    -------
    callable
        From int16 (or wider, within its range) to int16.

    Examples
    --------
    >>> double = between(interpolation_table(lambda x: 2 * x, 0.5 / 32768, 0, 1 / 32768))
    >>> double(np.array([-300, 0, 7], np.int16))
    array([-301,   -1,    6], dtype=int16)
    """
    entries = table.astype(np.int64)
    slopes = np.diff(entries).astype(np.int16).astype(np.int64)  # an int16 in the kernels too

    def look_up(x: Array) -> Array:
        wide = x.astype(np.int64)
        index = 256 + (wide >> 7)
        return np.asarray(entries[index] + ((slopes[index] * (wide & 127) + 64) >> 7), np.int16)

    return look_up


def interpolated(
    function: Callable[[Array], Array],
    scale: float,
    zero_point: int,
    output_scale: float,
    output_zero_point: int = 0,
    *,
    dtype: npt.DTypeLike = np.float64,
) -> Callable[[Array], Array]:
    """Make a table of a function, and interpolate in it; parameters are those of `interpolation_table`.

    Examples
    --------
    >>> interpolated(lambda x: 2 * x, 0.5 / 32768, 0, 1 / 32768)(np.array([-300, 0, 7], np.int16))
    array([-301,   -1,    6], dtype=int16)
    """
    return between(interpolation_table(function, scale, zero_point, output_scale, output_zero_point, dtype=dtype))

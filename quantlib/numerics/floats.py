"""Narrow floats: float16 with saturation, and bfloat16.

NumPy converts float16 element by element. Here it is done with a handful of vector operations on blocks
that stay in the cache, about twice as fast; the results are the same bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidValue

from ._arrays import contiguous, flattened, float_array, output, settle
from ._blocks import BLOCK, cuts

_MAX = 65504.0
# Half a step above the greatest float16: from here on, round-half-even gives infinity.
_OVERFLOW = 65520.0
_OVERFLOW_BITS = 0x477FF000


def to_float16(x: ArrayLike, *, out: NDArray[np.float16] | None = None) -> tuple[NDArray[np.float16], int]:
    """Convert to float16: clamp to +-65504, then round to nearest, ties to even.

    This is what the TensorFlow Lite converter does with weights. Subnormals are kept, NaN becomes the quiet
    NaN 0x7e00, infinities saturate like every other large value. Rounding happens once, from float64 too.

    Parameters
    ----------
    x : float16, float32 or float64 array of any shape
    out : float16 array of the shape of `x`, optional
        Where to write.

    Returns
    -------
    float16 array of the shape of `x`
    int
        How many values were changed by saturation: those of magnitude 65520 and more, infinities among
        them, which would have become infinite. (Between 65504 and 65520 they round to 65504 anyway.)

    Raises
    ------
    InvalidValue
        If `x` is not float, or `out` doesn't fit.

    Examples
    --------
    >>> to_float16(np.array([1.0, 1e5, -np.inf, 6e-8], np.float32))
    (array([ 1.00e+00,  6.55e+04, -6.55e+04,  5.96e-08], dtype=float16), 2)
    """
    x = contiguous(float_array(x))
    out = output(out, x.shape, np.float16)
    flat_out = flattened(out)
    flat, saturated = x.reshape(-1), 0
    fast = x.dtype == np.float32
    n = min(BLOCK, x.size) if fast else 0
    magnitude, exponent, sign = np.empty(n, np.uint32), np.empty(n, np.uint32), np.empty(n, np.bool_)
    least = np.full(n, (127 - 14) << 23, np.uint32)
    for cut in cuts(x.size):
        piece, half = flat[cut], flat_out[cut]
        m = len(piece)
        if not (fast and _narrow(piece, half.view(np.uint16), magnitude[:m], exponent[:m], sign[:m], least)):
            saturated += _saturate(piece, half)
    settle(flat_out, out)
    return out, saturated


def _narrow(
    x: NDArray[np.float32],
    half: NDArray[np.uint16],
    magnitude: NDArray[np.uint32],
    exponent: NDArray[np.uint32],
    sign: NDArray[np.bool_],
    least: NDArray[np.uint32],
) -> bool:
    """Convert float32 to float16 bits unless a value is NaN or would overflow; tell whether it was done.

    With 2**e the power of two at or below |x|, but at least 2**-14, the step of float16 is 2**(e - 10).
    That is the step of float32 in the binade of 2**(e + 13): adding this power rounds |x| to m steps as the
    FPU rounds, half to even. The low bits of the sum are m, 1024..2048 (0..1024 below 2**-14), and the
    float16 is (e + 14) * 1024 + m: a carry of m = 2048 goes into the exponent by itself.
    """
    bits = x.view(np.uint32)
    np.bitwise_and(bits, np.uint32(0x7FFFFFFF), out=magnitude)
    if magnitude.max() >= _OVERFLOW_BITS:
        return False
    np.bitwise_and(magnitude, np.uint32(0x7F800000), out=exponent)
    # Two arrays: NumPy does not vectorize the maximum of an array and a number.
    np.maximum(exponent, least[: len(x)], out=exponent)
    np.add(exponent, np.uint32(13 << 23), out=exponent)
    np.add(magnitude.view(np.float32), exponent.view(np.float32), out=magnitude.view(np.float32))
    np.subtract(magnitude, exponent, out=magnitude)
    np.right_shift(exponent, np.uint32(13), out=exponent)
    np.add(magnitude, exponent, out=magnitude)
    np.copyto(half, magnitude, casting="unsafe")
    # The exponent field is e + 13 + 127; e + 14 is wanted. 16 bits wrap.
    np.subtract(half, np.uint16((126 << 10) & 0xFFFF), out=half)
    np.signbit(x, out=sign)
    # The exponent's memory is free by now.
    shifted = exponent.view(np.uint16)[: len(half)]
    np.copyto(shifted, sign.view(np.uint8))
    np.left_shift(shifted, np.uint16(15), out=shifted)
    np.bitwise_or(half, shifted, out=half)
    return True


def _saturate(x: NDArray[Any], half: NDArray[np.float16]) -> int:
    x = x.astype(np.result_type(x, np.float32), copy=False)
    saturated = int(np.count_nonzero(np.abs(x) >= _OVERFLOW))
    np.copyto(half, np.clip(x, -_MAX, _MAX), casting="unsafe")
    half.view(np.uint16)[np.isnan(x)] = 0x7E00
    return saturated


def from_float16(h: ArrayLike, *, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Convert float16 to float32, which is exact.

    Parameters
    ----------
    h : float16 array of any shape
    out : float32 array of the shape of `h`, optional
        Where to write.

    Returns
    -------
    float32 array of the shape of `h`

    Raises
    ------
    InvalidValue
        If `h` is not float16, or `out` doesn't fit.

    Examples
    --------
    >>> from_float16(np.array([0.1], np.float16))
    array([0.09997559], dtype=float32)
    """
    h = contiguous(np.asarray(h))
    if h.dtype != np.float16:
        raise InvalidValue(f"dtype {h.dtype}; a float16 array is required")
    out = output(out, h.shape, np.float32)
    flat_out = flattened(out)
    flat = h.reshape(-1)
    for cut in cuts(h.size):
        piece, wide = flat[cut], flat_out[cut]
        if np.bitwise_and(piece.view(np.uint16), np.uint16(0x7FFF)).max() >= 0x7C00:
            np.copyto(wide, piece)
            continue
        bits = wide.view(np.int32)
        # Sign extension puts the sign where float32 has it; the exponent is then 112 too low, and the
        # multiplication sets that right for subnormals as well.
        np.copyto(bits, piece.view(np.int16))
        np.left_shift(bits, np.int32(13), out=bits)
        np.bitwise_and(bits, np.int32(0x0FFFE000 - 2**31), out=bits)
        np.multiply(wide, np.float32(2.0**112), out=wide)
    settle(flat_out, out)
    return out


def to_bfloat16(x: ArrayLike, *, out: NDArray[np.uint16] | None = None) -> NDArray[np.uint16]:
    """Convert to bfloat16, given as its bits: round to nearest, ties to even.

    Values beyond the greatest bfloat16 by half a step become infinite, as IEEE 754 has it; NaN becomes the
    quiet NaN 0x7fc0.

    Parameters
    ----------
    x : float16, float32 or float64 array of any shape
        Rounded to float32 first.
    out : uint16 array of the shape of `x`, optional
        Where to write.

    Returns
    -------
    uint16 array of the shape of `x`

    Raises
    ------
    InvalidValue
        If `x` is not float, or `out` doesn't fit.

    Examples
    --------
    >>> [hex(b) for b in to_bfloat16([1.0, -2.0])]
    ['0x3f80', '0xc000']
    """
    x = contiguous(float_array(x))
    out = output(out, x.shape, np.uint16)
    flat_out = flattened(out)
    flat = x.reshape(-1)
    n = min(BLOCK, x.size)
    single, odd = np.empty(n, np.float32), np.empty(n, np.uint32)
    for cut in cuts(x.size):
        m = cut.stop - cut.start
        value, parity, result = single[:m], odd[:m], flat_out[cut]
        with np.errstate(over="ignore"):
            np.copyto(value, flat[cut], casting="unsafe")
        bits = value.view(np.uint32)
        nan = np.isnan(value) if np.isnan(value.max()) else None
        np.right_shift(bits, np.uint32(16), out=parity)
        np.bitwise_and(parity, np.uint32(1), out=parity)
        np.add(bits, parity, out=bits)
        np.add(bits, np.uint32(0x7FFF), out=bits)
        np.right_shift(bits, np.uint32(16), out=bits)
        np.copyto(result, bits, casting="unsafe")
        if nan is not None:
            result[nan] = 0x7FC0
    settle(flat_out, out)
    return out


def from_bfloat16(bits: ArrayLike, *, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Convert the bits of bfloat16 to float32, which is exact.

    Parameters
    ----------
    bits : uint16 array of any shape
    out : float32 array of the shape of `bits`, optional
        Where to write.

    Returns
    -------
    float32 array of the shape of `bits`

    Raises
    ------
    InvalidValue
        If `bits` is not uint16, or `out` doesn't fit.

    Examples
    --------
    >>> from_bfloat16(np.array([0x3F80, 0xC000], np.uint16))
    array([ 1., -2.], dtype=float32)
    """
    bits = contiguous(np.asarray(bits))
    if bits.dtype != np.uint16:
        raise InvalidValue(f"dtype {bits.dtype}; a uint16 array, the bits of bfloat16, is required")
    out = output(out, bits.shape, np.float32)
    flat_out = flattened(out)
    flat = bits.reshape(-1)
    for cut in cuts(bits.size):
        wide = flat_out[cut].view(np.uint32)
        np.copyto(wide, flat[cut])
        np.left_shift(wide, np.uint32(16), out=wide)
    settle(flat_out, out)
    return out

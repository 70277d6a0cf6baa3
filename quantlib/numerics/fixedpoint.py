"""Fixed-point multipliers: how integer kernels multiply by a real number.

A real multiplier is a Q31 mantissa and a power of two, ``mantissa / 2**31 * 2**shift``. Runtimes differ in how they
round its product, so that each way has a name. Sources: ``tflite/kernels/internal/quantization_util.cc``,
``tflite/kernels/internal/common.cc``, gemmlowp's ``fixedpoint/fixedpoint.h``.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidValue

from ._arrays import require_broadcast
from .rounding import round_half_away

#: How `multiply_by_quantized_multiplier` rounds.
MultiplierRounding = Literal["double", "single", "upward"]

_INT32 = np.iinfo(np.int32)


def quantize_multiplier(multiplier: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Split real multipliers into a Q31 mantissa and a shift, as ``QuantizeMultiplier`` does.

    Parameters
    ----------
    multiplier : float array of any shape
        Finite; taken as float64.

    Returns
    -------
    mantissa : int32 array of the shape of `multiplier`
        Within 2**30..2**31 - 1 in size, halves rounded away from zero; 0 for a multiplier of 0 or below 2**-32.
    shift : int32 array of the shape of `multiplier`
        Power of two, -31 or more.

    Raises
    ------
    InvalidValue
        If a multiplier isn't finite.

    Examples
    --------
    >>> quantize_multiplier([0.25, 0.75, 3.0])
    (array([1073741824, 1610612736, 1610612736], dtype=int32), array([-1,  0,  2], dtype=int32))
    """
    real = np.asarray(multiplier, np.float64)
    if not np.isfinite(real).all():
        found = real[~np.isfinite(real)].flat[0]
        raise InvalidValue(f"a multiplier of {found}: finite ones are required; see the scales")
    fraction, exponent = np.frexp(real)
    mantissa = np.asarray(round_half_away(fraction * 2.0**31)).astype(np.int64)
    whole = np.abs(mantissa) == 1 << 31
    mantissa, exponent = np.where(whole, mantissa >> 1, mantissa), np.where(whole, exponent + 1, exponent)
    gone = exponent < -31
    return np.where(gone, 0, mantissa).astype(np.int32), np.where(gone, 0, exponent).astype(np.int32)


def real_multiplier(mantissa: ArrayLike, shift: ArrayLike) -> NDArray[np.float64]:
    """Put a multiplier together again: ``mantissa / 2**31 * 2**shift``, exactly.

    Parameters
    ----------
    mantissa, shift : integer array of any shape
        They broadcast.

    Returns
    -------
    float64 array

    Raises
    ------
    InvalidValue
        If they don't broadcast.

    Examples
    --------
    >>> real_multiplier(1610612736, 2).item()
    3.0
    """
    parts, places = np.asarray(mantissa, np.float64), np.asarray(shift, np.int32)
    require_broadcast(mantissa=parts, shift=places)
    return np.asarray(np.ldexp(parts, places - 31))


def saturating_rounding_doubling_high_mul(a: ArrayLike, b: ArrayLike, *, bits: int = 32) -> NDArray[Any]:
    """High half of twice the product, rounded: ``a * b / 2**31``, halves upwards (ARM's ``SQRDMULH``).

    The one product that the type can't hold, that of two least numbers, saturates.

    Parameters
    ----------
    a, b : integer array of any shape
        Within int32, or int16; they broadcast.
    bits : int
        32, or 16: then it is ``a * b / 2**15``.

    Returns
    -------
    int32 or int16 array

    Raises
    ------
    InvalidValue
        If an operand isn't an integer array or is beyond its type, they don't broadcast, or `bits` is another number.

    Examples
    --------
    >>> saturating_rounding_doubling_high_mul([3, -3, -(2**31)], [2**30, 2**30, -(2**31)])
    array([         2,         -1, 2147483647], dtype=int32)
    """
    if bits not in (16, 32):
        raise InvalidValue(f"{bits} bits; 16 or 32 are required")
    least, greatest = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    first, second = _within("a", a, least, greatest), _within("b", b, least, greatest)
    require_broadcast(a=first, b=second)
    product = np.asarray(first * second)
    return np.asarray(_high_half(product, bits).astype(f"i{bits // 8}"))


def rounding_divide_by_pot(x: ArrayLike, exponent: ArrayLike) -> NDArray[np.int32]:
    """Divide by a power of two and round to the nearest, halves away from zero.

    Parameters
    ----------
    x : integer array of any shape
        Within int32.
    exponent : integer array
        0..31; broadcasts with `x`.

    Returns
    -------
    int32 array

    Raises
    ------
    InvalidValue
        If an operand isn't an integer array, or beyond its range, or they don't broadcast.

    Examples
    --------
    >>> rounding_divide_by_pot([5, 6, -5, -6], 2)
    array([ 1,  2, -1, -2], dtype=int32)
    """
    right = _within("exponent", exponent, 0, 31)
    wide = _within_int32("x", x)
    require_broadcast(x=wide, exponent=right)
    return _shifted_right(wide + np.zeros_like(right), right).astype(np.int32)


def multiply_by_quantized_multiplier(
    x: ArrayLike, mantissa: ArrayLike, shift: ArrayLike, *, rounding: MultiplierRounding = "double"
) -> NDArray[np.int32]:
    """Multiply int32 accumulators by fixed-point multipliers.

    ``double``, as runtimes are built: ``rounding_divide_by_pot(saturating_rounding_doubling_high_mul(x <<
    max(shift, 0), mantissa), max(-shift, 0))``. Two roundings can lift 0.25 to 1. ``single`` is what the build option
    ``TFLITE_SINGLE_ROUNDING`` gives: ``(x * mantissa + 2**(30 - shift)) >> (31 - shift)``, halves upwards. ``upward``
    rounds twice as ``double`` does, but halves of the second rounding upwards too, as ruy and vectors of ARM's
    ``SRSHL`` do.

    Parameters
    ----------
    x : integer array of any shape
        Within int32. What ``x << shift`` has beyond 32 bits is lost, as it is in the kernels.
    mantissa : integer array
        Q31; for single rounding not negative. One for all, or one per channel: broadcasts with `x`.
    shift : integer array
        -31..30, of the shape of `mantissa`.
    rounding : {"double", "single", "upward"}

    Returns
    -------
    int32 array

    Raises
    ------
    InvalidValue
        If an operand isn't an integer array or is beyond its range, they don't broadcast, or there is no such
        rounding.

    Examples
    --------
    >>> multiply_by_quantized_multiplier([1, 2, 3, -2], *quantize_multiplier(0.25))
    array([ 1,  1,  1, -1], dtype=int32)
    >>> multiply_by_quantized_multiplier([1, 2, 3, -2], *quantize_multiplier(0.25), rounding="single")
    array([0, 1, 1, 0], dtype=int32)
    >>> multiply_by_quantized_multiplier([1, 2, 3, -2], *quantize_multiplier(0.25), rounding="upward")
    array([1, 1, 1, 0], dtype=int32)
    """
    if rounding not in get_args(MultiplierRounding):
        raise InvalidValue(f"rounding {rounding!r}; known are {', '.join(get_args(MultiplierRounding))}")
    wide, by = _within_int32("x", x), _within_int32("mantissa", mantissa)
    exponent = _within("shift", shift, -31, 30)
    require_broadcast(x=wide, mantissa=by, shift=exponent)
    if rounding == "single":
        product = wide * by
        product += np.int64(1) << (30 - exponent)
        product >>= 31 - exponent
        return np.asarray(product.astype(np.int32))
    if (exponent > 0).any():
        wide = np.asarray((wide << np.maximum(exponent, 0)).astype(np.int32)).astype(np.int64)
    high = _high_half(np.asarray(wide * by))
    right = np.maximum(-exponent, 0)
    if rounding == "upward":
        high = np.asarray(high + ((np.int64(1) << right) >> 1)) >> right
        return np.asarray(high.astype(np.int32))
    return np.asarray(_shifted_right(high, right).astype(np.int32))


def multiply_by_quantized_multiplier_int64(x: ArrayLike, mantissa: ArrayLike, shift: ArrayLike) -> NDArray[np.int32]:
    """Multiply 64-bit accumulators, as kernels with INT16 activations and INT64 bias do.

    The mantissa is cut to 16 bits, ``min((mantissa + 2**15) >> 16, 0x7FFF)``, so that the product fits 64; then
    ``(x * reduced + 2**(14 - shift)) >> (15 - shift)``: one rounding, halves upwards.

    Parameters
    ----------
    x : integer array of any shape
        Within -2**47..2**47 - 1.
    mantissa : integer array
        Q31, not negative. Broadcasts with `x`.
    shift : integer array
        -31..7, of the shape of `mantissa`.

    Returns
    -------
    int32 array
        Bits beyond 32 are lost.

    Raises
    ------
    InvalidValue
        If an operand isn't an integer array or is beyond its range, or they don't broadcast.

    Examples
    --------
    >>> multiply_by_quantized_multiplier_int64([1, 2, 3, -2], *quantize_multiplier(0.25))
    array([0, 1, 1, 0], dtype=int32)
    """
    wide = _within("x", x, -(1 << 47), (1 << 47) - 1)
    reduced = np.minimum((_within("mantissa", mantissa, 0, _INT32.max) + (1 << 15)) >> 16, 0x7FFF)
    total = 15 - _within("shift", shift, -31, 7)
    require_broadcast(x=wide, mantissa=reduced, shift=total)
    product = np.asarray(wide * reduced)
    product = np.asarray(product + (np.int64(1) << (total - 1)))
    return np.asarray((product >> total).astype(np.int32))


def _high_half(product: NDArray[np.int64], bits: int = 32) -> NDArray[np.int64]:
    """Round ``product / 2**(bits - 1)``, halves upwards, in place.

    gemmlowp adds one half to a product that isn't negative, a little less than minus one half to others, and
    truncates: the same.
    """
    product = np.asarray(product)
    product += 1 << (bits - 2)
    product >>= bits - 1
    most = (1 << (bits - 1)) - 1
    return np.minimum(product, most, out=product) if product.size and product.max() > most else product


def _shifted_right(x: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Divide by 2**right and round halves away from zero: `x` is overwritten."""
    x = np.asarray(x)
    if not right.any():
        return x
    # The floor of x + half sends halves upwards; below zero, one less sends them down.
    below = x >> 63
    if not right.all():
        below &= -(right > 0).astype(np.int64)
    x += below
    x += (np.int64(1) << right) >> 1
    x >>= right
    return x


def _within_int32(name: str, value: ArrayLike) -> NDArray[np.int64]:
    return _within(name, value, _INT32.min, _INT32.max)


def _within(name: str, value: ArrayLike, low: int, high: int) -> NDArray[Any]:
    """An integer array as int64, after a check of its range."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu" and array.size:
        raise InvalidValue(f"{name} is {array.dtype}; integers are required")
    # what the dtype can't exceed isn't looked for
    limits = np.iinfo(array.dtype) if array.size else None
    if limits is not None and (limits.min < low or limits.max > high) and (array.min() < low or array.max() > high):
        raise InvalidValue(f"{name} has values {array.min()}..{array.max()}; {low}..{high} is required")
    return array.astype(np.int64)

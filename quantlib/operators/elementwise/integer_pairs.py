"""Integer arithmetic of two elements beyond sums and products: quotients, squared differences, comparisons."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    Affine,
    leading_zeros,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    reciprocal,
    saturating_rounding_doubling_high_mul,
)

from ..integer_requantize import activation_range
from ..integer_values import less_zero_point, scale_of, stored
from ..kernel_checks import checked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..kernel import Array

# Bits by which values are shifted before they are scaled.
COMPARED, SUBTRACTED = 8, 7


@checked(divides_by=("second", "output"))
def divide_integers(
    a: Array, b: Array, first: Affine, second: Affine, output: Affine, *, activation: int = 0
) -> Array:
    """Quotient of quantized arrays: `a` times the reciprocal of `b` in fixed point, scaled by ``s1 / (s2 * s_out)``.

    Small quotients are wrong: what should be shifted to the right by 32 bits or more, and become 0, is shifted by 32
    bits less, and mostly saturates; so are great ones that should be shifted to the left. That is what LiteRT 2.3
    computes on x86, with all its resolvers: ``DivElementwise`` in ``tflite/kernels/internal/reference/div.h`` gives
    gemmlowp's ``RoundingDivideByPOT`` other numbers than 0 to 31. C++ leaves open what follows, and other processors
    may give other integers. No quotient is too small where ``s1 / (s2 * s_out)`` is 2**6 or more for 8 bits, 2**14 or
    more for 16.

    Parameters
    ----------
    a, b : ndarray
        int8, uint8 or int16; they broadcast.
    first, second, output : Affine
        Of `a`, of `b`, of the result; one scale each.
    activation : int
        ``ActivationFunctionType``.

    Returns
    -------
    ndarray
        Of the storage dtype of `output`. What `b` has of its zero point is taken for 1.

    Raises
    ------
    InvalidValue
        If the multiplier isn't finite.

    Examples
    --------
    >>> ten, one = Affine("INT8", 0.1), Affine("INT8", 1)
    >>> divide_integers(np.array([60, -60, 1], np.int8), np.array([30, 20, 100], np.int8), one, one, ten)
    array([ 20, -30, 127], dtype=int8)
    """
    mantissa, shift = quantize_multiplier(quotient_multiplier(first, second, output))
    divisor = less_zero_point(b, second)
    dividend = np.where(divisor < 0, -1, 1) * less_zero_point(a, first)
    inverse, bits = reciprocal(np.maximum(np.abs(divisor), 1), 31)
    room = _sign_bits(dividend)
    quotient = saturating_rounding_doubling_high_mul(dividend << room, inverse)
    scaled = saturating_rounding_doubling_high_mul(quotient, mantissa)
    steps = _divided_as_on_x86(scaled.astype(np.int64), bits.astype(np.int64) + room - int(shift))
    return stored(steps, output, activation_range(activation, output))


def quotient_multiplier(first: Affine, second: Affine, output: Affine) -> np.float32:
    """Real multiplier of a quotient, in float32."""
    return np.float32(scale_of(first) / np.float32(scale_of(second) * scale_of(output)))


def _divided_as_on_x86(x: Array, exponent: Array) -> Array:
    """Round ``x / 2**exponent`` as gemmlowp's ``RoundingDivideByPOT`` does.

    Processors shift 32 bits by the exponent's remainder of 32, and 64 bits by that of 64. Within 0..31 that is
    `quantlib.numerics.rounding_divide_by_pot`.
    """
    mask = ((np.uint64(1) << (exponent & 63).astype(np.uint64)) - np.uint64(1)).astype(np.int32).astype(np.int64)
    threshold = (mask >> 1) + (x < 0)
    return np.asarray((x >> (exponent & 31)) + ((x & mask) > threshold))


@checked()
def squared_difference_integers(a: Array, b: Array, first: Affine, second: Affine, output: Affine) -> Array:
    """Squared difference of INT8 arrays (``tflite/kernels/squared_difference.cc``).

    Both are shifted to the left by 7 bits and scaled by ``scale / (2 * larger scale)``; the square of the difference
    is scaled to the output.

    Parameters
    ----------
    a, b : ndarray
        int8; they broadcast.
    first, second, output : Affine
        Of `a`, of `b`, of the result; one scale each.

    Returns
    -------
    ndarray
        int8.

    Raises
    ------
    InvalidValue
        If the output's scale is so small that its multiplier would be 1 or more, at which LiteRT ends the process.

    Examples
    --------
    >>> same = Affine("INT8", 0.5)
    >>> squared_difference_integers(np.array([3, 4], np.int8), np.array([1, 9], np.int8), same, same, same)
    array([ 2, 13], dtype=int8)
    """
    *reals, last = difference_multipliers(first, second, output)
    one, other = (
        multiply_by_quantized_multiplier(less_zero_point(x, of) << SUBTRACTED, *quantize_multiplier(real)).astype(
            np.int64
        )
        for x, of, real in zip((a, b), (first, second), reals, strict=True)
    )
    square = ((one - other) ** 2).astype(np.int32)
    steps = multiply_by_quantized_multiplier(square, *quantize_multiplier(last)).astype(np.int64)
    return stored(steps, output)


def difference_multipliers(first: Affine, second: Affine, output: Affine) -> tuple[float, float, float]:
    """Real multipliers of both operands of a squared difference, and of the square.

    Raises
    ------
    InvalidValue
        See `squared_difference_integers`.
    """
    twice = np.float64(np.float32(2) * max(scale_of(first), scale_of(second)))
    last = float(twice * twice / np.float64(np.float32(1 << (2 * SUBTRACTED)) * scale_of(output)))
    if not 0 < last < 1:
        raise InvalidValue(
            f"an output scale of {scale_of(output):.6g}: more than {twice * twice / (1 << 14):.6g} is required"
        )
    return float(np.float64(scale_of(first)) / twice), float(np.float64(scale_of(second)) / twice), last


#: What compares two numbers.
COMPARISONS: Mapping[str, Callable[[Array, Array], Array]] = MappingProxyType(
    {
        "EQUAL": np.equal,
        "GREATER": np.greater,
        "GREATER_EQUAL": np.greater_equal,
        "LESS": np.less,
        "LESS_EQUAL": np.less_equal,
        "NOT_EQUAL": np.not_equal,
    }
)


@checked()
def compare_integers(operation: str, a: Array, b: Array, first: Affine, second: Affine) -> Array:
    """Compare quantized arrays: as integers with 8 more bits, each scaled by its own scale and rounded.

    Two values that differ by less than about 1/256 are equal to it (``ComparisonWithScaling`` in
    ``tflite/kernels/internal/reference/comparisons.h``).

    Parameters
    ----------
    operation : str
        An operator of `COMPARISONS`.
    a, b : ndarray
        int8 or uint8; they broadcast.
    first, second : Affine
        Of `a`, of `b`; one scale each.

    Returns
    -------
    ndarray
        bool.

    Raises
    ------
    InvalidValue
        If a scale is 1 or more: LiteRT would shift by a negative number.

    Examples
    --------
    >>> a, b = np.array([2, 3], np.int8), np.array([4, 5], np.int8)
    >>> compare_integers("LESS", a, b, Affine("INT8", 0.5), Affine("INT8", 0.25))
    array([False, False])
    """
    largest = max(scale_of(first), scale_of(second))
    if not largest < 1:
        raise InvalidValue(f"{operation} of integers with a scale of {largest:.6g}: less than 1 is required")
    one, other = (
        multiply_by_quantized_multiplier(less_zero_point(x, of) << COMPARED, *quantize_multiplier(scale_of(of)))
        for x, of in ((a, first), (b, second))
    )
    return np.asarray(COMPARISONS[operation](one, other))


def _sign_bits(x: Array) -> Array:
    """Bits that equal the sign of a number of 32 bits, but for the sign itself."""
    return leading_zeros(np.where(x < 0, ~x, x)) - 1

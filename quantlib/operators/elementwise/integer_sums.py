"""Sums of quantized arrays, as LiteRT's reference kernels compute them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, multiply_by_quantized_multiplier, quantize_multiplier, rounding_divide_by_pot

from ..integer_requantize import activation_range
from ..integer_table import exponent_of
from ..integer_values import less_zero_point, scale_of, stored
from ..kernel_checks import checked

if TYPE_CHECKING:
    from ..kernel import Array


def sum_multipliers(first: Affine, second: Affine, output: Affine) -> tuple[int, Array, float]:
    """Bits by which operands are shifted to the left, real multipliers of both, and that of their sum.

    Raises
    ------
    InvalidValue
        See `add_integers`.
    """
    shift = 15 if output.type.bits == 16 else 20
    twice = np.float64(2 * max(scale_of(first), scale_of(second)))
    reals = np.array([scale_of(first) / twice, scale_of(second) / twice])
    last = float(twice / np.float64(np.float32(1 << shift) * scale_of(output)))
    if not last < 1:
        raise InvalidValue(
            f"an output scale of {scale_of(output):.6g}: more than {twice / (1 << shift):.6g} is required"
        )
    return shift, reals, last


@checked()
def add_integers(
    a: Array, b: Array, first: Affine, second: Affine, output: Affine, *, subtract: bool = False, activation: int = 0
) -> Array:
    """Sum or difference of quantized arrays.

    Both are shifted to the left (20 bits, for INT16 15), scaled by ``scale / (2 * larger scale)``, added, and
    scaled to the output (``tflite/kernels/add.cc``, ``sub.cc``).

    Parameters
    ----------
    a, b : ndarray
        int8, uint8 or int16; they broadcast.
    first, second, output : Affine
        Of `a`, of `b`, of the result; one scale each.
    subtract : bool
    activation : int
        ``ActivationFunctionType``.

    Returns
    -------
    ndarray
        Of the storage dtype of `output`.

    Raises
    ------
    InvalidValue
        If the output's scale is so small that its multiplier would be 1 or more: ADD refuses it, SUB shifts by a
        negative number.
    """
    shift, reals, last = sum_multipliers(first, second, output)
    mantissas, shifts = quantize_multiplier(reals)
    one, other = (
        multiply_by_quantized_multiplier(less_zero_point(x, of) << shift, mantissas[i], shifts[i]).astype(np.int64)
        for i, (x, of) in enumerate(((a, first), (b, second)))
    )
    total = one - other if subtract else one + other
    steps = multiply_by_quantized_multiplier(total, *quantize_multiplier(last))
    return stored(steps, output, activation_range(activation, output))


def right_shifts(first: Affine, second: Affine, output: Affine) -> tuple[int, int]:
    """Bits by which `add_shifted` shifts each operand to the right.

    Raises
    ------
    InvalidValue
        See `add_shifted`.
    """
    scales = [scale_of(x) for x in (first, second, output)]
    exponents = [exponent_of(s) for s in scales]
    right = [exponents[2] - e for e in exponents[:2] if e is not None and exponents[2] is not None]
    if len(right) != 2 or 0 not in right or min(right) < 0:
        raise InvalidValue(
            f"scales {scales[0]} and {scales[1]} to {scales[2]}: powers of two, of which one equals the output's and "
            "none is above it, are required"
        )
    return right[0], right[1]


@checked(divides_by=("first", "second", "output"))
def add_shifted(
    a: Array, b: Array, first: Affine, second: Affine, output: Affine, *, subtract: bool = False, activation: int = 0
) -> Array:
    """Sum or difference of INT16 arrays whose scales are powers of two, by shifts alone.

    One of them has the scale of the output, and the other one is divided by a power of two, rounded half away from
    zero. A sum beyond 16 bits saturates. Parameters and result are those of `add_integers`.

    Raises
    ------
    InvalidValue
        If no operand has the output's scale, or one has a larger one.
    """
    right = right_shifts(first, second, output)
    one, other = (rounding_divide_by_pot(x, r).astype(np.int64) for x, r in zip((a, b), right, strict=True))
    total = np.clip(one - other if subtract else one + other, -(1 << 15), (1 << 15) - 1)
    return stored(total, output, activation_range(activation, output))

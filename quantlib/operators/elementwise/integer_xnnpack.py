"""Sums and products of bytes as XNNPACK computes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quantlib.numerics import Affine

from ..integer_product import float_multiplier_of_product
from ..integer_values import less_zero_point, ratio, stored
from ..integer_xnnpack import float_range, of_bytes
from ..kernel_checks import checked

if TYPE_CHECKING:
    from ..integer import QuantizedOperator
    from ..kernel import Array

#: Bits of the larger multiplier of a sum, after the first.
_BITS = 20


def sum_multipliers_xnnpack(first: Affine, second: Affine, output: Affine) -> tuple[int, int, int]:
    """Multipliers of both operands of a sum, and the shift to the right of their sum.

    ``scale / s_out`` in float32 times ``2**shift``, rounded half to even, so that the larger one has 21 bits
    (``xnn_init_qs8_add_minmax_scalar_params`` in ``src/microparams-init.c``).

    Parameters
    ----------
    first, second, output : Affine
        One scale each.

    Returns
    -------
    multiplier, other, shift : int

    Examples
    --------
    >>> sum_multipliers_xnnpack(Affine("INT8", 0.5), Affine("INT8", 0.25), Affine("INT8", 1))
    (1048576, 524288, 21)
    """
    ratios = [ratio(x, output, np.float32) for x in (first, second)]
    shift = _BITS + 1 - int(np.frexp(max(ratios))[1])
    one, other = (int(np.rint(np.ldexp(ratio, shift))) for ratio in ratios)
    return one, other, shift


@checked()
def add_xnnpack(
    a: Array, b: Array, first: Affine, second: Affine, output: Affine, *, subtract: bool = False, activation: int = 0
) -> Array:
    """Sum or difference of bytes less their zero points: ``(a * multiplier + b * other + half) >> shift``.

    Parameters and result are those of `add_integers`; `a` and `b` are int8 or uint8.

    Examples
    --------
    >>> same = Affine("INT8", 0.1)
    >>> add_xnnpack(np.array([3, 100], np.int8), np.array([4, 50], np.int8), same, same, Affine("INT8", 0.2))
    array([ 4, 75], dtype=int8)
    """
    one, other, shift = sum_multipliers_xnnpack(first, second, output)
    total = less_zero_point(a, first) * one + less_zero_point(b, second) * (-other if subtract else other)
    steps = (total + (1 << (shift - 1))) >> shift
    return stored(steps, output, float_range(activation, output))


@checked()
def multiply_xnnpack(
    a: Array, b: Array, first: Affine, second: Affine, output: Affine, *, activation: int = 0
) -> Array:
    """Product of bytes, times ``s1 * s2 / s_out`` in float32, rounded half to even.

    Parameters and result are those of `add_xnnpack`.

    Examples
    --------
    >>> same = Affine("INT8", 0.5)
    >>> multiply_xnnpack(np.array([3, 5], np.int8), np.array([3, 100], np.int8), same, same, same)
    array([  4, 127], dtype=int8)
    """
    real = float_multiplier_of_product(first, second, output)
    product = (less_zero_point(a, first) * less_zero_point(b, second)).astype(np.float32)
    return stored(np.rint(product * real), output, float_range(activation, output))


def sum_is_taken_over(operator: QuantizedOperator) -> bool:
    """Whether XNNPACK computes an ADD or SUB: of bytes, ``scale / s_out`` within 2**-10..2**8."""
    return of_bytes(operator, (0, 1)) and all(
        2.0**-10 <= operator.operand(i).scale / operator.output.scale < 2.0**8 for i in (0, 1)
    )


def product_is_taken_over(operator: QuantizedOperator) -> bool:
    """Whether XNNPACK computes a MUL: of bytes, ``s1 * s2 / s_out`` within 2**-16..2**8."""
    if not of_bytes(operator, (0, 1)):
        return False
    return bool(2.0**-16 <= operator.operand(0).scale * operator.operand(1).scale / operator.output.scale < 2.0**8)

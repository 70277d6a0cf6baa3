"""Integer kernels of functions of one element."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    Affine,
    inverse_sqrt_multiplier,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
)

from ..integer import alike
from ..integer_unary import by_floats, by_steps, real_kernel, unary_kernel
from ..integer_values import less_zero_point, ratio, scale_of, stored, zero_point_of
from ..kernel_checks import WORD, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..integer import IntegerKernel, QuantizedOperator
    from ..kernel import Array, Call, Kernel

#: Bits by which values are shifted on their way through `rsqrt_bytes`.
_ROOM = 20


@checked()
def absolute_integers(x: Array, before: Affine, after: Affine) -> Array:
    """Absolute values, requantized by ``float32(s_in / s_out)`` where the scales differ.

    ``AbsEvalQuantized`` in ``tflite/kernels/elementwise.cc``.

    Parameters
    ----------
    x : ndarray
        int8 or int16, any shape.
    before, after : Affine
        Of `x` and of the result; one scale each.

    Returns
    -------
    ndarray
        Of the storage dtype of `after`, shape of `x`.

    Examples
    --------
    >>> absolute_integers(np.array([-3, 1, 4], np.int8), Affine("INT8", 0.5, 1), Affine("INT8", 0.25, -128))
    array([-120, -128, -122], dtype=int8)
    """
    values = np.abs(less_zero_point(x, before))
    if scale_of(before) != scale_of(after):
        multiplier = quantize_multiplier(ratio(before, after, np.float32))
        values = multiply_by_quantized_multiplier(values, *multiplier).astype(np.int64)
    return stored(values, after)


@checked()
def square_root_integers(x: Array, before: Affine, after: Affine) -> Array:
    """Square roots in float32, truncated to integers; ``tflite/kernels/elementwise.cc`` doesn't round.

    Parameters and result are those of `absolute_integers`; what stands for negative numbers gives the zero point.

    Examples
    --------
    >>> square_root_integers(np.array([2, 4, 99], np.int8), Affine("INT8", 1), Affine("INT8", 0.5))
    array([ 2,  4, 19], dtype=int8)
    """
    real = scale_of(before) * np.maximum(less_zero_point(x, before), 0).astype(np.float32)
    steps = np.trunc(np.sqrt(real) / scale_of(after))
    return stored(steps, after)


@checked(divides_by=("before", "after"))
def rsqrt_bytes(x: Array, before: Affine, after: Affine) -> Array:
    """Reciprocals of square roots of 8-bit integers, in fixed point; of zero, the greatest integer.

    ``RsqrtEvalQuantizedInt8`` in ``tflite/kernels/elementwise.cc``.
    Parameters and result are those of `absolute_integers`; negative numbers are taken for zero.

    Raises
    ------
    InvalidValue
        If ``1 / (sqrt(s_in) * s_out)`` isn't finite, or 2**50 or more.

    Examples
    --------
    >>> rsqrt_bytes(np.array([0, 1, 4, 100], np.int8), Affine("INT8", 1), Affine("INT8", 0.01))
    array([127, 100,  50,  10], dtype=int8)
    """
    values = np.maximum(less_zero_point(x, before), 0)
    root = np.sqrt(scale_of(before)) * scale_of(after)
    mantissa, shift = quantize_multiplier(1 / np.float64(root))
    inverse, places = inverse_sqrt_multiplier(values)
    fine = multiply_by_quantized_multiplier(np.ones_like(values), inverse, places + _ROOM)
    steps = multiply_by_quantized_multiplier(fine, mantissa, shift - _ROOM).astype(np.int64)
    return np.where(values == 0, x.dtype.type(after.qmax), stored(steps, after))


@checked(x=WORD, divides_by=("before", "after"))
def rsqrt_int16(x: Array, before: Affine, after: Affine) -> Array:
    """Reciprocals of square roots of INT16 values, by a table of 513 entries, see `by_steps`.

    The table has the greatest integer for zero, but all its entries are shifted by half the error of interpolation in
    the middle of their step. That of zero is large, so that zero gives less than the greatest integer, in LiteRT too.

    Parameters and result are those of `absolute_integers`; negative numbers are taken for zero.

    Examples
    --------
    >>> rsqrt_int16(np.array([400, 10000], np.int16), Affine("INT16", 0.01), Affine("INT16", 0.001))
    array([501, 100], dtype=int16)
    """
    return by_steps(inverse_root(after), before, after)(x)


def inverse_root(after: Affine) -> Callable[[Array], Array]:
    """What the table of `rsqrt_int16` is made of."""
    greatest = np.float32(32767) * scale_of(after)

    def function(real: Array) -> Array:
        return np.where(real > 0, np.float32(1) / np.sqrt(np.maximum(real, np.finfo(np.float32).tiny)), greatest)

    return function


@checked()
def logarithm_integers(x: Array, before: Affine, after: Affine) -> Array:
    """Natural logarithms by a table, see `by_floats` and `by_steps`; of zero and below, the least number.

    Parameters and result are those of `absolute_integers`.

    Examples
    --------
    >>> logarithm_integers(np.array([0, 1, 100], np.int8), Affine("INT8", 1), Affine("INT8", 0.1))
    array([-128,    0,   46], dtype=int8)
    """
    function = natural_logarithm(after)
    return by_steps(function, before, after)(x) if x.dtype == np.int16 else by_floats(x, function, before, after)


def natural_logarithm(after: Affine) -> Callable[[Array], Array]:
    """What the tables of `logarithm_integers` are made of."""
    least = np.float32(after.qmin - zero_point_of(after)) * scale_of(after)

    def function(real: Array) -> Array:
        positive = np.maximum(real, np.finfo(np.float32).tiny).astype(np.float64)
        return np.where(real > 0, np.log(positive).astype(np.float32), least)

    return function


def exponential(real: Array) -> Array:
    """``exp(real)``, float32, rounded once from float64."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(real.astype(np.float64)).astype(np.float32))


def _of_positive(
    operation: str, function: Callable[[Array, Affine, Affine], Array]
) -> Callable[[QuantizedOperator], Kernel]:
    """Make a kernel's `prepare` of a function that isn't defined below zero."""
    prepared = unary_kernel(function)

    def prepare(operator: QuantizedOperator) -> Kernel:
        zero_point, kernel = operator.operand(0).zero_point, prepared(operator)

        def run(call: Call) -> Sequence[Array]:
            x = call.operand(0)
            if x.size and x.min() < zero_point:
                raise InvalidValue(
                    f"{operation} of {x.min()}, less than the zero point {zero_point}; none is required"
                )
            return kernel(call)

        return run

    return prepare


_WORDS = ("INT8", "INT16")

UNARY: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {
        "ABS": alike(unary_kernel(absolute_integers), _WORDS),
        "EXP": alike(real_kernel(exponential), _WORDS),
        "LOG": alike(unary_kernel(logarithm_integers), _WORDS),
        "RSQRT": (
            *alike(_of_positive("RSQRT", rsqrt_bytes), ("INT8",)),
            *alike(_of_positive("RSQRT", rsqrt_int16), ("INT16",)),
        ),
        "SQRT": alike(_of_positive("SQRT", square_root_integers), _WORDS),
    }
)

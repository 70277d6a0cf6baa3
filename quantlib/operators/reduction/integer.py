"""Integer kernels of reductions."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    Affine,
    multiply_by_quantized_multiplier,
    multiply_by_quantized_multiplier_int64,
    quantize_multiplier,
)

from ..integer import alike
from .floating import axes_in
from .floating_axes import axes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..integer import IntegerKernel, QuantizedOperator
    from ..kernel import Array, Call, Kernel


def sum_integers(
    x: Array, axes: Iterable[int], before: Affine, after: Affine, *, keep_dims: bool = False, average: bool = False
) -> Array:
    """Sum or mean of quantized values, requantized by ``s_in / s_out``.

    For a mean the mantissa is divided by the number of elements, and truncated: it is first shifted to the left by as
    many bits as that number has (``QuantizedMeanOrSum`` in ``tflite/kernels/internal/reference/reduce.h``).
    The reference kernel of SUM reads INT8 and INT16 values as if they were UINT8 (LiteRT 2.3), from which nothing
    follows for the sum: here they are what they are.

    Parameters
    ----------
    x : ndarray
        int8, uint8 or int16, any shape.
    axes : iterable of int
        See `axes_of`.
    before, after : Affine
        Of `x` and of the result; one scale each.
    keep_dims : bool
        Keep reduced axes, with one element.
    average : bool
        The mean.

    Returns
    -------
    ndarray
        Of the storage dtype of `after`. Of no elements it is 0, whatever the zero point.

    Raises
    ------
    InvalidValue
        If there is no such axis, or the quotient of the scales isn't finite.

    Examples
    --------
    >>> x = np.array([[3, 5, 8]], np.int8)
    >>> sum_integers(x, [1], Affine("INT8", 0.1, 3), Affine("INT8", 0.1), average=True)
    array([2], dtype=int8)
    """
    over = axes_of(axes, x.ndim)
    sums = np.asarray(np.sum(x, axis=over, dtype=np.int64, keepdims=keep_dims))
    storage = after.type.storage
    count = math.prod(x.shape[axis] for axis in over)
    if x.size == 0 or count == 0:
        return np.zeros(sums.shape, storage)
    pair = quantize_multiplier(np.float64(before.scale.flat[0]) / np.float64(after.scale.flat[0]))
    mantissa, shift = int(pair[0]), int(pair[1])
    if average:
        room = min(count.bit_length() - 1, 32, 31 + shift)
        mantissa, shift = (mantissa << room) // count, shift - room
    centered = (sums - int(before.zero_point.flat[0]) * count).astype(np.int32)
    scaled = multiply_by_quantized_multiplier(centered, mantissa, shift).astype(np.int64)
    return np.asarray(np.clip(scaled + after.zero_point.flat[0], after.qmin, after.qmax).astype(storage))


def product_integers(
    x: Array, axes: Iterable[int], before: Affine, after: Affine, *, keep_dims: bool = False
) -> Array:
    """Product of quantized values, in their order, each time requantized by ``s_in / s_out**(1 / count)``.

    With 64-bit accumulators, see `quantlib.numerics.multiply_by_quantized_multiplier_int64`
    (``QuantizedReduceProd`` in ``tflite/kernels/internal/reference/reduce.h``).

    Parameters
    ----------
    x : ndarray
        int8 or int16, any shape.
    axes : iterable of int
        See `axes_of`.
    before, after : Affine
        Of `x` and of the result; one scale each.
    keep_dims : bool
        Keep reduced axes, with one element.

    Returns
    -------
    ndarray
        Of the storage dtype of `after`.

    Raises
    ------
    InvalidValue
        If there is no such axis, nothing to multiply, or a multiplier is 2**7 or more.

    Examples
    --------
    >>> tenth = Affine("INT8", 0.1)
    >>> product_integers(np.array([[20, 30, 10]], np.int8), [1], tenth, tenth)
    array([60], dtype=int8)
    """
    over = axes_of(axes, x.ndim)
    kept = [axis for axis in range(x.ndim) if axis not in over]
    count = math.prod(x.shape[axis] for axis in over)
    if not x.size:
        raise InvalidValue(f"REDUCE_PROD of {x.shape}: quantized values, one or more, are required")
    real = np.float64(before.scale.flat[0]) / np.float64(after.scale.flat[0]) ** (1 / count)
    mantissa, shift = quantize_multiplier(real)
    rows = x.transpose(*kept, *over).reshape(-1, count).astype(np.int64) - before.zero_point.flat[0]
    product = rows[:, 0]
    for i in range(1, count):
        product = multiply_by_quantized_multiplier_int64(product * rows[:, i], mantissa, shift).astype(np.int64)
    steps = multiply_by_quantized_multiplier_int64(product, mantissa, shift) + after.zero_point.flat[0]
    shape = [1 if axis in over else n for axis, n in enumerate(x.shape) if keep_dims or axis not in over]
    return np.asarray(np.clip(steps, after.qmin, after.qmax).astype(after.type.storage)).reshape(shape)


def _product(operator: QuantizedOperator) -> Kernel:
    before, after = operator.operand(0).parameters, operator.output.parameters
    _ = operator.operand(0).scale, operator.output.scale  # there is one

    def run(call: Call) -> Sequence[Array]:
        return (product_integers(call.operand(0), axes_in(call), before, after, keep_dims=call.options.keep_dims),)

    return run


def _prepare(average: bool) -> Callable[[QuantizedOperator], Kernel]:
    def prepare(operator: QuantizedOperator) -> Kernel:
        before, after = operator.operand(0).parameters, operator.output.parameters
        _ = operator.operand(0).scale, operator.output.scale  # there is one

        def run(call: Call) -> Sequence[Array]:
            keep = call.options.keep_dims
            return (sum_integers(call.operand(0), axes_in(call), before, after, keep_dims=keep, average=average),)

        return run

    return prepare


_AXES = (("INT32",),)

KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {
        "MEAN": alike(_prepare(True), others=_AXES),
        "REDUCE_PROD": alike(_product, ("INT8", "INT16"), _AXES),
        "SUM": alike(_prepare(False), others=_AXES),
    }
)

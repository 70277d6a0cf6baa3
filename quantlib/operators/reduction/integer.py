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

from ..integer import alike, per_tensor
from ..integer_values import less_zero_point, ratio, scale_of, stored, zero_point_of
from ..integer_xnnpack import of_bytes, xnnpack
from ..kernel_checks import INT8, WORD, checked
from .floating import axes_in
from .floating_axes import axes_of
from .integer_builtin import mean_over_pixels, sum_in_floats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..integer import IntegerKernel, QuantizedOperator
    from ..kernel import Array, Call, Kernel


def sum_multiplier(before: Affine, after: Affine, count: int) -> tuple[int, int]:
    """Mantissa and shift of a sum, or with a `count` other than 1 of the mean of so many elements."""
    pair = quantize_multiplier(ratio(before, after, np.float64))
    mantissa, shift = int(pair[0]), int(pair[1])
    room = min(count.bit_length() - 1, 32, 31 + shift)
    return (mantissa << room) // count, shift - room


@checked()
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
    count = math.prod(x.shape[axis] for axis in over)
    if x.size == 0 or count == 0:
        return np.zeros(sums.shape, after.type.storage)
    mantissa, shift = sum_multiplier(before, after, count if average else 1)
    centered = (sums - zero_point_of(before) * count).astype(np.int32)
    return stored(multiply_by_quantized_multiplier(centered, mantissa, shift), after)


@checked()
def sum_xnnpack(
    x: Array, axes: Iterable[int], before: Affine, after: Affine, *, keep_dims: bool = False, average: bool = False
) -> Array:
    """Sum or mean of bytes as XNNPACK computes it: the sum in int32, the rest in float32, rounded half to even.

    ``half_even(sum * scale + (zero_point - count * zero_point_in * scale))`` with ``scale = s_in / s_out``, for a
    mean times ``1 / count`` (``reshape_reduce_nd`` in google/XNNPACK's ``src/operators/reduce-nd.c``).

    Parameters and result are those of `sum_integers`; `x` is int8 or uint8, and the axes are one or more.

    Raises
    ------
    InvalidValue
        If there is no such axis, or nothing to add.

    Examples
    --------
    >>> x = np.array([[3, 5, 8]], np.int8)
    >>> sum_xnnpack(x, [1], Affine("INT8", 0.1, 3), Affine("INT8", 0.1), average=True)
    array([2], dtype=int8)
    """
    over = axes_of(axes, x.ndim)
    count = math.prod(x.shape[axis] for axis in over)
    if not x.size or not over:
        raise InvalidValue(f"a sum of {x.shape} over axes {over}: one or more of both are required")
    scale, point = xnnpack_scale(before, after, count, average=average)
    sums = np.sum(x, axis=over, dtype=np.int32, keepdims=keep_dims).astype(np.float32)
    return np.asarray(np.clip(np.rint(sums * scale + point), after.qmin, after.qmax).astype(after.type.storage))


def xnnpack_scale(before: Affine, after: Affine, count: int, *, average: bool) -> tuple[np.float32, np.float32]:
    """Scale of a sum, and what is added to it before it is rounded, see `sum_xnnpack`."""
    scale = ratio(before, after, np.float32)
    if average:
        scale = np.float32(scale * (np.float32(1) / np.float32(count)))
    return scale, np.float32(np.float32(zero_point_of(after)) - np.float32(count * zero_point_of(before)) * scale)


def product_multiplier(before: Affine, after: Affine, count: int) -> np.float64:
    """Real multiplier of each step of a product of `count` values."""
    return np.float64(np.float64(scale_of(before)) / np.float64(scale_of(after)) ** (1 / count))


@checked(x=INT8 + WORD)
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
    mantissa, shift = quantize_multiplier(product_multiplier(before, after, count))
    rows = less_zero_point(x.transpose(*kept, *over).reshape(-1, count), before)
    product = rows[:, 0]
    for i in range(1, count):
        product = multiply_by_quantized_multiplier_int64(product * rows[:, i], mantissa, shift).astype(np.int64)
    steps = multiply_by_quantized_multiplier_int64(product, mantissa, shift)
    shape = [1 if axis in over else n for axis, n in enumerate(x.shape) if keep_dims or axis not in over]
    return stored(steps, after).reshape(shape)


def _product(operator: QuantizedOperator) -> Kernel:
    before, after = per_tensor(operator.operand(0), operator.output)

    def run(call: Call) -> Sequence[Array]:
        x, axes, keep = call.operand(0), axes_in(call), call.options.keep_dims
        result = product_integers(x, axes, before, after, keep_dims=keep)
        if operator.runtime == "builtin" and x.size == result.size:  # of one element each LiteRT makes a copy
            result = x.reshape(result.shape)
        return (result,)

    return run


def _prepare(average: bool) -> Callable[[QuantizedOperator], Kernel]:
    def prepare(operator: QuantizedOperator) -> Kernel:
        before, after = per_tensor(operator.operand(0), operator.output)
        add = sum_xnnpack if operator.runtime == "xnnpack" else sum_integers

        def run(call: Call) -> Sequence[Array]:
            x, axes, keep = call.operand(0), axes_in(call), call.options.keep_dims
            if operator.runtime == "builtin" and not average and x.size:
                return (sum_in_floats(x, axes, before, after, keep_dims=keep),)
            if operator.runtime == "builtin" and keep and x.dtype.itemsize == 1 and are_pixels(x.shape, axes):
                return (mean_over_pixels(x, before, after),)
            return (add(x, axes, before, after, keep_dims=keep, average=average),)

        return run

    return prepare


def are_pixels(shape: tuple[int, ...], axes: Iterable[int]) -> bool:
    """Whether axes are height and width of images."""
    return len(shape) == 4 and 0 not in shape and sorted(axes_of(axes, 4)) == [1, 2]


def _is_taken_over(operator: QuantizedOperator) -> bool:
    """Whether XNNPACK computes a MEAN or SUM: of bytes, over constant axes."""
    axes = operator.optional(1)
    return of_bytes(operator) and axes is not None and axes.value is not None and axes.value.size > 0


_AXES = (("INT32",),)

KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {
        "MEAN": (xnnpack(_is_taken_over, _prepare(True)), *alike(_prepare(True), others=_AXES)),
        "REDUCE_PROD": alike(_product, ("INT8", "INT16"), _AXES),
        "SUM": (xnnpack(_is_taken_over, _prepare(False)), *alike(_prepare(False), others=_AXES)),
    }
)

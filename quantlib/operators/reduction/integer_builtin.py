"""Reductions as LiteRT's optimized kernels compute them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, round_half_away

from ..integer_requantize import Requantizer, fixed_point
from ..integer_values import ratio, scale_of, stored, zero_point_of
from ..integer_vectors import InVectors, in_vectors
from ..kernel_checks import checked
from .floating_axes import axes_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..kernel import Array

#: Channels that the vectors of a mean over pixels take at a time.
_LANES = 16


@checked()
def sum_in_floats(x: Array, axes: Iterable[int], before: Affine, after: Affine, *, keep_dims: bool = False) -> Array:
    """Sum of quantized values, scaled in float32 and rounded half away from zero.

    ``half_away(sum * scale - count * zero_point_in * scale) + zero_point`` with ``scale = s_in / s_out``
    (``QuantizedMeanOrSum`` in ``tflite/kernels/internal/optimized/reduce.h``). Parameters and result are those of
    `sum_integers`.

    Raises
    ------
    InvalidValue
        If there is no such axis, or nothing to add.

    Examples
    --------
    >>> sum_in_floats(np.array([[3, 5, 8]], np.int8), [1], Affine("INT8", 0.1, 3), Affine("INT8", 0.2, 1))
    array([5], dtype=int8)
    """
    over = axes_of(axes, x.ndim)
    if not x.size:
        raise InvalidValue(f"SUM of {x.shape}: quantized values, one or more, are required")
    count = math.prod(x.shape[axis] for axis in over)
    scale, bias = sum_scale(before, after, count)
    sums = np.sum(x, axis=over, dtype=np.int32, keepdims=keep_dims).astype(np.float32)
    return stored(round_half_away(sums * scale + bias), after)


def sum_scale(before: Affine, after: Affine, count: int) -> tuple[np.float32, np.float32]:
    """Scale of a sum, and what is added to it before it is rounded, see `sum_in_floats`."""
    scale = ratio(before, after, np.float32)
    return scale, np.float32(np.float32(-zero_point_of(before)) * scale * np.float32(count))


@checked()
def mean_over_pixels(x: Array, before: Affine, after: Affine) -> Array:
    """Mean over height and width, whose axes are kept: a sum by a fixed-point multiplier, by vectors of 16 channels.

    The multiplier is ``s_in / (count * s_out)`` in float32, to which comes ``zero_point - half_away(zero_point_in *
    s_in / s_out)``; vectors round halves upwards (``MeanImpl`` in
    ``tflite/kernels/internal/optimized/integer_ops/mean.h`` and ``.../optimized/reduce.h``).

    Parameters
    ----------
    x : ndarray
        int8 or uint8, shape ``[batch, height, width, channels]``.
    before, after : Affine
        Of `x` and of the result; one scale each.

    Returns
    -------
    ndarray
        Of the storage dtype of `after`, shape ``[batch, 1, 1, channels]``.

    Raises
    ------
    InvalidValue
        If there is nothing to add.

    Examples
    --------
    >>> x = np.array([3, 5, 8, 9], np.int8).reshape(1, 2, 2, 1)
    >>> mean_over_pixels(x, Affine("INT8", 0.1, 3), Affine("INT8", 0.1)).ravel()
    array([4], dtype=int8)
    """
    if not x.size:
        raise InvalidValue(f"MEAN of {x.shape}: quantized values, one or more, are required")
    requantize = pixels_requantizer(before, after, x.shape[1] * x.shape[2])
    return requantize(np.asarray(np.sum(x, axis=(1, 2), dtype=np.int64, keepdims=True)))


def pixels_requantizer(before: Affine, after: Affine, count: int) -> InVectors:
    """From sums over `count` pixels to their mean, see `mean_over_pixels`."""
    scale, target = scale_of(before), scale_of(after)
    real = scale / (np.float32(count) * target)
    offset = np.float32(zero_point_of(before)) * scale / target
    point = zero_point_of(after) - int(offset + np.float32(0.5 if offset > 0 else -0.5))
    parts = [fixed_point(real, after, rounding=rounding) for rounding in ("upward", "double")]
    upward, double = (Requantizer(p.scaled, p.parameters, point, p.low, p.high, p.dtype) for p in parts)
    return in_vectors(upward, double, _LANES)

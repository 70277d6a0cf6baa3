"""Kernels between floats and integers, and between integers of different scales."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, as_channels, dequantize, parameter_shape, round_half_away

from ..integer import IntegerKernel
from ..integer_requantize import fixed_point
from ..integer_table import tabulated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..integer import QuantizedOperator
    from ..kernel import Array, Call, Kernel

_NARROW = ("INT8", "UINT8", "INT16")
_FLOATS = ("FLOAT32",)
#: Types between which LiteRT requantizes, from and to.
_PAIRS = frozenset(
    {(a, b) for a in ("INT8", "UINT8") for b in _NARROW}
    | {("INT16", b) for b in ("INT8", "INT16", "INT32")}
    | {("INT32", b) for b in ("INT8", "INT16")}
)


def quantize_divided(x: Array, affine: Affine) -> Array:
    """Quantize as LiteRT's reference kernel does: ``half_away(x / scale) + zero_point`` in float32.

    `quantlib.numerics.quantize` multiplies by the reciprocal, which gives other integers near ties.

    Parameters
    ----------
    x : ndarray
        float32, any shape.
    affine : Affine
        One scale, or one for each index along an axis.

    Returns
    -------
    ndarray
        Of the storage dtype of `affine`, shape of `x`. Values beyond the type's range saturate.

    Raises
    ------
    InvalidValue
        If `x` isn't float32 or has a NaN, a scale is 0, or shapes don't agree.

    Examples
    --------
    >>> quantize_divided(np.array([0.25, -0.25, 100], np.float32), Affine("INT8", 0.5, 3))
    array([  4,   2, 127], dtype=int8)
    """
    if x.dtype != np.float32:
        raise InvalidValue(f"QUANTIZE of {x.dtype} without a scale: float32, or integers with one, are required")
    if affine.scale.shape != parameter_shape(affine.granularity, x.shape):
        raise InvalidValue(
            f"QUANTIZE of {x.shape} with {affine.scale.size} scales, {affine.granularity}: they don't fit"
        )
    if not affine.scale.all():
        raise InvalidValue("QUANTIZE with a scale of 0: a positive one is required")
    grouped = as_channels(x, affine.granularity)
    values = grouped / affine.scale.reshape(-1, 1)
    round_half_away(values, out=values)
    if np.isnan(values).any():
        raise InvalidValue("QUANTIZE of NaN: no integer stands for it; remove or replace it")
    # the kernel adds in int32: float32 is as exact while the sum is within the range, and is clipped beyond it
    values += affine.zero_point.astype(np.float32).reshape(-1, 1)
    np.clip(values, affine.qmin, affine.qmax, out=values)
    return values.astype(affine.type.storage).reshape(x.shape)


def requantize_integers(x: Array, before: Affine, after: Affine) -> Array:
    """Integers of one scale to those of another, by a fixed-point multiplier ``before / after``.

    Parameters
    ----------
    x : ndarray
        int8, uint8, int16 or int32, any shape.
    before, after : Affine
        One scale each.

    Returns
    -------
    ndarray
        Of the storage dtype of `after`, shape of `x`.

    Raises
    ------
    InvalidValue
        If the quotient of the scales isn't finite.

    Examples
    --------
    >>> requantize_integers(np.array([3, 4, 5], np.int8), Affine("INT8", 0.25, 3), Affine("UINT8", 0.5, 128))
    array([128, 129, 129], dtype=uint8)
    """
    real = np.float64(before.scale.flat[0]) / np.float64(after.scale.flat[0])
    return fixed_point(real, after)(x.astype(np.int64) - before.zero_point.flat[0])


def _is_quantizable(operator: QuantizedOperator) -> bool:
    x, output = operator.operand(0), operator.output
    return (x.type in _FLOATS and output.type in (*_NARROW, "INT4", "UINT4")) or (x.type, output.type) in _PAIRS


def _quantize(operator: QuantizedOperator) -> Kernel:
    x, output = operator.operand(0), operator.output
    if output.affine is None:
        raise InvalidValue("QUANTIZE to a tensor without a scale: one is required")
    after = output.affine
    if x.type in _FLOATS:
        return _elementwise(lambda values: quantize_divided(values, after))
    if x.affine is None:
        raise InvalidValue(
            f"QUANTIZE of {x.type.lower()} without a scale: floats, or integers with one, are required"
        )
    before = x.affine
    _ = x.scale, output.scale  # there is one

    def function(values: Array) -> Array:
        return requantize_integers(values, before, after)

    return _elementwise(function if x.type == "INT32" else tabulated(function, x.dtype))


def _dequantize(operator: QuantizedOperator) -> Kernel:
    affine = operator.operand(0).parameters
    return _elementwise(lambda values: dequantize(values, affine))


def _elementwise(function: Callable[[Array], Array]) -> Kernel:
    def run(call: Call) -> Sequence[Array]:
        return (function(call.operand(0)),)

    return run


def _is_dequantizable(operator: QuantizedOperator) -> bool:
    return operator.operand(0).affine is not None and operator.output.type in _FLOATS


KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {
        "DEQUANTIZE": (IntegerKernel(_is_dequantizable, _dequantize),),
        "QUANTIZE": (IntegerKernel(_is_quantizable, _quantize),),
    }
)

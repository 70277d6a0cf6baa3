"""Kernels between floats and integers, and between integers of different scales."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, as_channels, dequantize, parameter_shape, round_half_away

from ..integer import IntegerKernel, per_tensor
from ..integer_requantize import fixed_point
from ..integer_table import tabulated
from ..integer_values import less_zero_point, ratio, scale_of, stored
from ..integer_vectors import in_vectors
from ..integer_xnnpack import of_bytes, times_256, xnnpack
from ..kernel_checks import FLOAT, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..integer import QuantizedOperator
    from ..integer_requantize import Requantizer
    from ..integer_vectors import InVectors
    from ..kernel import Array, Call, Kernel

_NARROW = ("INT8", "UINT8", "INT16")
_FLOATS = ("FLOAT32",)
#: Floats that vectors of LiteRT's optimized kernel take at a time (``AffineQuantize`` in
#: tflite/kernels/internal/optimized/optimized_ops.h).
LANES = 8
#: Bytes (``Requantize``, ibid.).
_BYTE_LANES = 16
#: Types between which LiteRT requantizes, from and to.
_PAIRS = frozenset(
    {(a, b) for a in ("INT8", "UINT8") for b in _NARROW}
    | {("INT16", b) for b in ("INT8", "INT16", "INT32")}
    | {("INT32", b) for b in ("INT8", "INT16")}
)


@checked(x=FLOAT)
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
    _refuse_nan(values)
    # the kernel adds in int32: float32 is as exact while the sum is within the range, and is clipped beyond it
    values += affine.zero_point.astype(np.float32).reshape(-1, 1)
    np.clip(values, affine.qmin, affine.qmax, out=values)
    return values.astype(affine.type.storage).reshape(x.shape)


@checked(x=FLOAT)
def quantize_even(x: Array, affine: Affine) -> Array:
    """Quantize as XNNPACK does: ``half_even(x * (1 / scale)) + zero_point`` in float32.

    Parameters
    ----------
    x : ndarray
        float32, any shape.
    affine : Affine
        One scale, INT8 or UINT8.

    Returns
    -------
    ndarray
        Of the storage dtype of `affine`, shape of `x`. Values beyond the type's range saturate.

    Raises
    ------
    InvalidValue
        If `x` has a NaN.

    Examples
    --------
    >>> quantize_even(np.array([0.25, -0.75, 100], np.float32), Affine("INT8", 0.5, 3))
    array([  3,   1, 127], dtype=int8)
    """
    steps = np.rint(x * (np.float32(1) / scale_of(affine)))
    _refuse_nan(steps)
    return stored(steps, affine)


@checked(x=FLOAT)
def quantize_in_vectors(x: Array, affine: Affine) -> Array:
    """Quantize as LiteRT's optimized kernel does: eight values at a time half to even, what remains half away.

    The first are multiplied by ``1 / scale`` in float32, the others divided in float64 (``AffineQuantize`` in
    ``tflite/kernels/internal/optimized/optimized_ops.h``). Parameters, result and errors are those of
    `quantize_even`, also for INT16.

    Examples
    --------
    >>> quantize_in_vectors(np.full(9, 0.25, np.float32), Affine("INT8", 0.5))
    array([0, 0, 0, 0, 0, 0, 0, 0, 1], dtype=int8)
    """
    scale, flat = np.float64(scale_of(affine)), x.reshape(-1)
    whole = flat.size - flat.size % LANES
    steps = np.empty(flat.size)
    steps[:whole] = np.rint(flat[:whole] * np.float32(1 / scale))
    steps[whole:] = round_half_away(flat[whole:] / scale)
    _refuse_nan(steps)
    return stored(steps, affine).reshape(x.shape)


def _refuse_nan(steps: Array) -> None:
    if np.isnan(steps).any():
        raise InvalidValue("QUANTIZE of NaN: no integer stands for it; remove or replace it")


@checked()
def requantize_xnnpack(x: Array, before: Affine, after: Affine) -> Array:
    """Bytes of one scale to those of another as XNNPACK does, by a multiplier of eight bits after the point.

    Parameters and result are those of `requantize_integers`, see `times_256`.

    Examples
    --------
    >>> requantize_xnnpack(np.array([3, 4, 5], np.int8), Affine("INT8", 0.25, 3), Affine("INT8", 0.5))
    array([0, 1, 1], dtype=int8)
    """
    return stored(times_256(less_zero_point(x, before), ratio(before, after, np.float32)), after)


def requantizer(before: Affine, after: Affine) -> Requantizer:
    """From integers less their zero point to those of another scale."""
    return fixed_point(ratio(before, after, np.float64), after)


def requantizer_in_vectors(before: Affine, after: Affine) -> InVectors:
    """The same for bytes to bytes as LiteRT's optimized kernel does, by vectors."""
    real = ratio(before, after, np.float64)
    upward, double = (fixed_point(real, after, rounding=r) for r in ("upward", "double"))
    return in_vectors(upward, double, _BYTE_LANES, flat=True)


@checked()
def requantize_integers(x: Array, before: Affine, after: Affine) -> Array:
    """Integers of one scale to those of another, by a fixed-point multiplier ``before / after``.

    ``tflite/kernels/internal/reference/requantize.h``.

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
    return requantizer(before, after)(less_zero_point(x, before))


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
    before, after = per_tensor(x, output)

    def function(values: Array) -> Array:
        return requantize_integers(values, before, after)

    return _elementwise(function if x.type == "INT32" else tabulated(function, x.dtype))


def _is_quantized_by_xnnpack(operator: QuantizedOperator) -> bool:
    """Whether XNNPACK computes a QUANTIZE: of floats to bytes, or of bytes to the same type."""
    x, output = operator.operand(0), operator.output
    if output.type not in ("INT8", "UINT8") or output.affine is None or output.affine.scale.size != 1:
        return False
    if x.type in _FLOATS:
        return True
    return of_bytes(operator) and bool(2.0**-8 <= x.scale / output.scale <= 2.0**7)


def _quantize_xnnpack(operator: QuantizedOperator) -> Kernel:
    x, after = operator.operand(0), operator.output.parameters
    if x.type in _FLOATS:
        return _elementwise(lambda values: quantize_even(values, after))
    before = x.parameters
    return _elementwise(tabulated(lambda values: requantize_xnnpack(values, before, after), x.dtype))


def _quantize_in_vectors(operator: QuantizedOperator) -> Kernel:
    """QUANTIZE as LiteRT's optimized kernels compute it, by vectors, of floats or of bytes to bytes."""
    x = operator.operand(0)
    (after,) = per_tensor(operator.output)
    if x.type in _FLOATS:
        return _elementwise(lambda values: quantize_in_vectors(values, after))
    (before,) = per_tensor(x)
    requantize = requantizer_in_vectors(before, after)
    return _elementwise(lambda values: requantize(less_zero_point(values, before)))


def _is_in_vectors(operator: QuantizedOperator) -> bool:
    x, output = operator.operand(0), operator.output
    if output.affine is None or output.affine.scale.size != 1:
        return False
    return output.type in (_NARROW if x.type in _FLOATS else _NARROW[:2]) and x.type in (*_FLOATS, *_NARROW[:2])


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
        "QUANTIZE": (
            xnnpack(_is_quantized_by_xnnpack, _quantize_xnnpack),
            IntegerKernel(_is_in_vectors, _quantize_in_vectors, ("builtin",)),
            IntegerKernel(_is_quantizable, _quantize),
        ),
    }
)

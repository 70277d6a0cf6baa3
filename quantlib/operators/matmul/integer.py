"""Integer kernels of matrix products."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.numerics import PerBlock

from ..fused import clip_fused
from ..integer import IntegerKernel, accumulates_int64, constants_once, per_tensor, takes
from ..integer_hybrid import dynamic, quantize_rows
from ..integer_product import (
    LARGEST_HYBRID,
    centered,
    exact_weights,
    multiplier_of_product,
    reach,
    rounded_multiplier_of_product,
)
from ..integer_requantize import fixed_point, floating_point
from ..integer_xnnpack import of_bytes, product_requantizer, xnnpack
from ..kernel_checks import EXACT, FLOAT, NARROW, checked
from .floating import fully_connected
from .integer_batch import (
    batch_matmul_hybrid,
    batch_matmul_integers,
    is_dynamic_batch,
    is_taken_over,
    prepare_dynamic,
    prepare_hybrid,
    prepare_integers,
)
from .integer_blocks import fully_connected_blockwise, is_dynamic_blockwise, prepare_blockwise, prepare_even

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..integer import Operand, QuantizedOperator
    from ..integer_requantize import Requantizer
    from ..kernel import Array, Call, Kernel

#: ``TensorType`` of the schema.
_INT64 = 4
#: Least sizes of weights of four bits that LiteRT packs (``optimized_4bit`` in tflite/kernels/fully_connected.cc).
_PACKED_UNITS, _PACKED_DEPTH = 4, 32

__all__ = [
    "KERNELS",
    "batch_matmul_hybrid",
    "batch_matmul_integers",
    "fully_connected_blockwise",
    "fully_connected_hybrid",
    "fully_connected_integers",
]


@checked(x=NARROW, weights=EXACT)
def fully_connected_integers(
    x: Array, weights: Array, requantize: Requantizer, *, zero_point: int, keep_num_dims: bool = False
) -> Array:
    """Product of integers with a matrix of weights.

    Parameters
    ----------
    x : ndarray
        int8, uint8 or int16, any shape whose size is a multiple of `depth`.
    weights : ndarray
        Shape ``[units, depth]``, less their zero point, in a float type in which sums are exact, see
        `exact_weights`.
    requantize : Requantizer
        From sums to the output; it has the bias.
    zero_point : int
        Of `x`.
    keep_num_dims : bool
        As in `fully_connected`.

    Returns
    -------
    ndarray
        Dtype of `requantize`, shape ``[rows, units]`` or ``[*x.shape[:-1], units]``.

    Raises
    ------
    InvalidValue
        If shapes don't fit.
    """
    return requantize(fully_connected(centered(x, zero_point, weights.dtype), weights, keep_num_dims=keep_num_dims))


@checked(x=FLOAT, weights=EXACT, scales=FLOAT, bias=FLOAT)
def fully_connected_hybrid(
    x: Array,
    weights: Array,
    scales: Array,
    bias: Array | None = None,
    *,
    asymmetric: bool,
    keep_num_dims: bool = False,
    activation: int = 0,
) -> Array:
    """Product of floats with integer weights; each row of floats is quantized to int8 first.

    Parameters
    ----------
    x : ndarray
        float32, any shape whose size is a multiple of `depth`.
    weights : ndarray
        Shape ``[units, depth]``, in a float type in which sums are exact, see `exact_weights`.
    scales : ndarray
        float32, one for all units or one for each.
    bias : ndarray, optional
        float32, shape ``[units]``.
    asymmetric : bool
        See `quantize_rows`.
    keep_num_dims : bool
        As in `fully_connected`.
    activation : int
        ``ActivationFunctionType``.

    Returns
    -------
    ndarray
        float32, shape ``[rows, units]`` or ``[*x.shape[:-1], units]``.

    Raises
    ------
    InvalidValue
        If shapes don't fit.
    """
    rows = quantize_rows(x.reshape(-1, weights.shape[1]), asymmetric=asymmetric)
    values = rows.q.astype(weights.dtype)
    values -= rows.zero_point
    out = fully_connected(values, weights).astype(np.float32)
    out *= rows.scale * scales
    if bias is not None:
        out += bias
    clip_fused(out, activation)
    return out.reshape(*x.shape[:-1], -1) if keep_num_dims else out


def _hybrid(operator: QuantizedOperator) -> Kernel:
    weights, options = operator.operand(1), operator.options
    scales = weights.parameters.scale.reshape(-1)
    ready = constants_once(operator, (1,), lambda stored: exact_weights(stored, LARGEST_HYBRID))
    asymmetric = is_asymmetric(operator)

    def run(call: Call) -> Sequence[Array]:
        exact = ready(call)
        if operator.runtime == "xnnpack":
            return (_dynamic(call, exact, scales),)
        result = fully_connected_hybrid(
            call.operand(0),
            exact,
            scales,
            call.optional(2),
            asymmetric=asymmetric,
            keep_num_dims=options.keep_num_dims,
            activation=options.fused_activation_function,
        )
        return (result,)

    return run


def is_asymmetric(operator: QuantizedOperator) -> bool:
    """Whether rows of floats are quantized asymmetrically."""
    return bool(operator.options.asymmetric_quantize_inputs and not _is_packed(operator))


def _is_packed(operator: QuantizedOperator) -> bool:
    """Whether LiteRT's optimized kernel packs weights of four bits, and quantizes symmetrically whatever is asked."""
    weights = operator.operand(1)
    if operator.runtime != "builtin" or weights.type != "INT4" or weights.value is None:
        return False
    units, depth = weights.value.shape
    return bool(depth % 2 == 0 and units >= _PACKED_UNITS and depth >= _PACKED_DEPTH)


def _dynamic(call: Call, weights: Array, scales: Array) -> Array:
    """A FULLY_CONNECTED of floats as XNNPACK computes it; each row is quantized over its own range."""
    x, options = call.operand(0), call.options

    def product(values: Array, finish: Callable[[Array], Array]) -> Array:
        return finish(fully_connected(values.astype(weights.dtype), weights))

    rows = x.reshape(-1, weights.shape[1])
    out = dynamic(rows, 1, product, scales, call.optional(2), activation=options.fused_activation_function)
    return out.reshape(*x.shape[:-1], -1) if options.keep_num_dims else out


def _is_dynamic(operator: QuantizedOperator) -> bool:
    """Whether XNNPACK computes a FULLY_CONNECTED of floats: by constants, of whole bytes."""
    weights, bias = operator.operand(1), operator.optional(2)
    if not _is_hybrid(operator) or weights.value is None or (bias is not None and bias.value is None):
        return False
    return _fits_xnnpack(weights) and not weights.parameters.zero_point.any()


def _fits_xnnpack(weights: Operand) -> bool:
    """Whether XNNPACK takes rows of weights: those of 2 bits in fours, with a scale each, those of 4 in pairs."""
    if weights.value is None:
        return False
    depth, scales = weights.value.shape[-1], weights.parameters.scale.size
    if weights.type == "INT2":
        return bool(depth % 4 == 0 and scales == len(weights.value))
    return weights.type == "INT8" or (weights.type == "INT4" and depth % 2 == 0)


def _is_hybrid(operator: QuantizedOperator) -> bool:
    """Whether activations are floats, and weights integers with a scale for all or for each unit."""
    affine = operator.operand(1).affine if _FLOATS(operator) else None
    return affine is not None and not isinstance(affine.granularity, PerBlock)


def _is_blockwise(operator: QuantizedOperator) -> bool:
    """Whether activations are floats, and weights integers of four bits with a scale for each block."""
    affine = operator.operand(1).affine if _FLOATS(operator) and operator.operand(1).type == "INT4" else None
    return affine is not None and isinstance(affine.granularity, PerBlock)


def multipliers(operator: QuantizedOperator) -> Array:
    """Real multipliers of the units."""
    x, weights, output = operator.operand(0), operator.operand(1), operator.output
    if weights.parameters.scale.size == 1 and (weights.type == "INT16" or _is_optimized(operator)):
        return np.atleast_1d(rounded_multiplier_of_product(*per_tensor(x, weights, output)))
    before, after = per_tensor(x, output)
    return multiplier_of_product(before, weights.parameters, after)


def requantizer(operator: QuantizedOperator, offsets: Array | None = None) -> Requantizer:
    """From sums of a FULLY_CONNECTED to its output."""
    if operator.runtime == "xnnpack":
        return product_requantizer(operator, offsets, activation=operator.options.fused_activation_function)
    real, fused, to = multipliers(operator), operator.options.fused_activation_function, operator.output.parameters
    # Reference kernels scale by a float64, but for INT16 weights (tflite/kernels/fully_connected.cc, EvalQuantized).
    wide = accumulates_int64(operator)
    if operator.operand(1).type == "INT16":
        return fixed_point(real, to, activation=fused, bias=offsets, wide=True)
    if _is_optimized(operator):
        return fixed_point(real, to, activation=fused, bias=offsets, rounding="upward")
    return floating_point(real, to, activation=fused, bias=offsets, wide=wide)


def _is_optimized(operator: QuantizedOperator) -> bool:
    """Whether LiteRT multiplies by ruy, which rounds halves upwards: not INT16 with 64-bit sums, or zero points."""
    x, weights, output = operator.operand(0), operator.operand(1), operator.output
    if operator.runtime != "builtin" or weights.type == "INT16":
        return False
    if x.type != "INT16":
        return True
    points = x.zero_point, output.zero_point, *weights.parameters.zero_point.reshape(-1)
    return not _stated_int64(operator) and not any(points)


def _stated_int64(operator: QuantizedOperator) -> bool:
    """Whether the bias of a FULLY_CONNECTED of INT16 has 64 bits, or its options say that it would have."""
    bias = operator.optional(2)
    return (bias is not None and bias.type == "INT64") or operator.options.quantized_bias_type == _INT64


def _is_taken_over(operator: QuantizedOperator) -> bool:
    """Whether XNNPACK computes a FULLY_CONNECTED: of bytes, by constants."""
    weights, bias = operator.operand(1), operator.optional(2)
    if not of_bytes(operator) or weights.value is None or weights.affine is None:
        return False
    if bias is not None and (bias.type != "INT32" or bias.value is None):
        return False
    if operator.output.type == "UINT8":
        return weights.type == "UINT8"
    return _fits_xnnpack(weights) and not weights.affine.zero_point.any()


def _fully_connected(operator: QuantizedOperator) -> Kernel:
    x, weights, options = operator.operand(0), operator.operand(1), operator.options
    point = weights.zero_point if weights.parameters.scale.size == 1 else 0
    largest, zero_point = reach(x.parameters), x.zero_point

    def made(stored: Array, offsets: Array | None) -> tuple[Array, Requantizer]:
        return exact_weights(stored, largest, point), requantizer(operator, offsets)

    ready = constants_once(operator, (1, 2), made)

    def run(call: Call) -> Sequence[Array]:
        exact, requantize = ready(call)
        keep = options.keep_num_dims
        return (
            fully_connected_integers(call.operand(0), exact, requantize, zero_point=zero_point, keep_num_dims=keep),
        )

    return run


_FLOATS_BY_BYTES = takes(("FLOAT32",), ("INT8",), to=("FLOAT32",))


def _is_hybrid_batch(operator: QuantizedOperator) -> bool:
    """Whether activations are floats, and matrices integers whose sums may be kept, see `batch_matmul_hybrid`."""
    if not _FLOATS_BY_BYTES(operator):
        return False
    y = operator.operand(1)
    kept = y.value is not None or not operator.options.asymmetric_quantize_inputs
    return kept and y.affine is not None and y.affine.scale.size == 1


_FLOATS = takes(("FLOAT32",), ("INT8", "INT4", "INT2"), ("FLOAT32", ""), to=("FLOAT32",))
_WIDE_BIAS = ("INT64", "INT32", "")

KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {
        "BATCH_MATMUL": (
            xnnpack(is_taken_over, prepare_integers),
            xnnpack(is_dynamic_batch, prepare_dynamic),
            IntegerKernel(takes(("INT8",), ("INT8",), to=("INT8",)), prepare_integers),
            IntegerKernel(takes(("INT16",), ("INT16", "INT8"), to=("INT16",)), prepare_integers),
            IntegerKernel(_is_hybrid_batch, prepare_hybrid),
        ),
        "FULLY_CONNECTED": (
            xnnpack(_is_taken_over, _fully_connected),
            xnnpack(_is_dynamic, _hybrid),
            xnnpack(lambda operator: _is_blockwise(operator) and is_dynamic_blockwise(operator), prepare_even),
            IntegerKernel(takes(("INT8",), ("INT8", "INT4", "INT2"), ("INT32", ""), to=("INT8",)), _fully_connected),
            IntegerKernel(_is_hybrid, _hybrid),
            IntegerKernel(_is_blockwise, prepare_blockwise),
            IntegerKernel(takes(("UINT8",), ("UINT8",), ("INT32", ""), to=("UINT8",)), _fully_connected),
            IntegerKernel(
                takes(("INT16",), ("INT8", "INT4", "INT2", "INT16"), _WIDE_BIAS, to=("INT16",)), _fully_connected
            ),
        ),
    }
)

"""Integer kernels of matrix products."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.numerics import PerBlock

from ..fused import clip_fused
from ..integer import IntegerKernel, accumulates_int64, takes
from ..integer_hybrid import quantize_rows
from ..integer_product import centered, exact_weights, reach
from ..integer_requantize import fixed_point, floating_point
from .floating import fully_connected
from .integer_batch import batch_matmul_hybrid, batch_matmul_integers, prepare_hybrid, prepare_integers
from .integer_blocks import fully_connected_blockwise, prepare_blockwise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..integer import QuantizedOperator
    from ..integer_requantize import Requantizer
    from ..kernel import Array, Call, Kernel

__all__ = [
    "KERNELS",
    "batch_matmul_hybrid",
    "batch_matmul_integers",
    "fully_connected_blockwise",
    "fully_connected_hybrid",
    "fully_connected_integers",
]


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
    affine = weights.parameters
    scales = affine.scale.reshape(-1)
    ready = None if weights.value is None else exact_weights(weights.value, 255)

    def run(call: Call) -> Sequence[Array]:
        exact = exact_weights(call.operand(1), 255) if ready is None else ready
        result = fully_connected_hybrid(
            call.operand(0),
            exact,
            scales,
            call.optional(2),
            asymmetric=options.asymmetric_quantize_inputs,
            keep_num_dims=options.keep_num_dims,
            activation=options.fused_activation_function,
        )
        return (result,)

    return run


def _is_hybrid(operator: QuantizedOperator) -> bool:
    """Whether activations are floats, and weights integers with a scale for all or for each unit."""
    affine = operator.operand(1).affine if _FLOATS(operator) else None
    return affine is not None and not isinstance(affine.granularity, PerBlock)


def _is_blockwise(operator: QuantizedOperator) -> bool:
    """Whether activations are floats, and weights integers of four bits with a scale for each block."""
    affine = operator.operand(1).affine if _FLOATS(operator) and operator.operand(1).type == "INT4" else None
    return affine is not None and isinstance(affine.granularity, PerBlock)


def _fully_connected(operator: QuantizedOperator) -> Kernel:
    x, weights, bias = operator.operand(0), operator.operand(1), operator.optional(2)
    options, output = operator.options, operator.output
    scales = weights.parameters.scale.reshape(-1).astype(np.float64)
    real = np.float64(x.scale) * scales / np.float64(output.scale)
    # Reference kernels scale by a float64, but for INT16 weights (tflite/kernels/fully_connected.cc, EvalQuantized).
    pairs = weights.type == "INT16"
    if pairs and scales.size == 1:
        real = np.atleast_1d(np.float64(x.scale * weights.scale) / np.float64(output.scale))
    point = weights.zero_point if scales.size == 1 else 0
    largest, zero_point, wide = reach(x.parameters), x.zero_point, accumulates_int64(operator)

    def made(stored: Array, offsets: Array | None) -> tuple[Array, Requantizer]:
        exact = exact_weights(stored, largest, point)
        fused, to = options.fused_activation_function, output.parameters
        if pairs:
            return exact, fixed_point(real, to, activation=fused, bias=offsets, wide=True)
        return exact, floating_point(real, to, activation=fused, bias=offsets, wide=wide)

    ready = None
    if weights.value is not None and (bias is None or bias.value is not None):
        ready = made(weights.value, None if bias is None else bias.value)

    def run(call: Call) -> Sequence[Array]:
        exact, requantize = ready or made(call.operand(1), call.optional(2))
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
            IntegerKernel(takes(("INT8",), ("INT8",), to=("INT8",)), prepare_integers),
            IntegerKernel(takes(("INT16",), ("INT16", "INT8"), to=("INT16",)), prepare_integers),
            IntegerKernel(_is_hybrid_batch, prepare_hybrid),
        ),
        "FULLY_CONNECTED": (
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

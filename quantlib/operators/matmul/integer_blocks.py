"""Products of floats with integer weights that have a scale for each block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import from_bfloat16, to_bfloat16

from ..integer_hybrid import dynamic, quantize_rows
from ..integer_product import LARGEST_HYBRID, exact_type
from ..kernel_checks import FLOAT, INT8, checked
from .floating import fully_connected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..integer import QuantizedOperator
    from ..kernel import Array, Call, Kernel


#: Weights that XNNPACK's blocks are multiples of (``XNN_MIN_BLOCKSIZE`` in ``include/xnnpack.h``).
_VECTOR = 32


@checked(x=FLOAT, weights=INT8, scales=FLOAT, bias=FLOAT)
def fully_connected_blockwise(
    x: Array, weights: Array, scales: Array, bias: Array | None = None, *, keep_num_dims: bool = False
) -> Array:
    """Product of floats with integer weights that have scales for blocks of them; rows are quantized to int8 first.

    The sum of each block is scaled and added in float32, in the order of the blocks; then what the zero point
    contributes is subtracted, and all is scaled by the row's scale (``EvalBlockwise4Bit`` in
    ``tflite/kernels/fully_connected.cc``). LiteRT 2.3's reference resolver has no such kernel, and takes the weights
    for ones of scale 0; every float equals those of its other kernels, which take four units and 32 inputs or more.

    Parameters
    ----------
    x : ndarray
        float32, any shape whose size is a multiple of `depth`.
    weights : ndarray
        int8, shape ``[units, depth]``.
    scales : ndarray
        float32, shape ``[units, blocks]``; `depth` is a multiple of `blocks`.
    bias : ndarray, optional
        float32, shape ``[units]``.
    keep_num_dims : bool
        As in `fully_connected`.

    Returns
    -------
    ndarray
        float32, shape ``[rows, units]`` or ``[*x.shape[:-1], units]``.

    Raises
    ------
    InvalidValue
        If shapes don't fit.

    Examples
    --------
    >>> x, weights = np.array([[1.27, 0, 0, 2.54]], np.float32), np.array([[1, 2, 3, 4]], np.int8)
    >>> fully_connected_blockwise(x, weights, np.array([[1, 0.5]], np.float32)).round(2)
    array([[6.35]], dtype=float32)
    """
    units, depth = weights.shape
    blocks = scales.shape[-1]
    if scales.shape != (units, blocks) or depth == 0 or depth % blocks or x.size % depth:
        raise InvalidValue(
            f"FULLY_CONNECTED of {x.shape} with {weights.shape} and scales of {scales.shape}: don't fit"
        )
    rows = quantize_rows(x.reshape(-1, depth), asymmetric=True)
    width = depth // blocks
    dtype = exact_type(128 * 128 * width)
    out = np.zeros((len(rows.q), units), np.float32)
    offsets = np.zeros(units, np.float32)
    for i in range(blocks):
        part = slice(i * width, (i + 1) * width)
        out += (
            fully_connected(rows.q[:, part].astype(dtype), weights[:, part].astype(dtype)).astype(np.float32)
            * (scales[:, i])
        )
        offsets += scales[:, i] * weights[:, part].sum(axis=1, dtype=np.int64).astype(np.float32)
    out -= rows.zero_point.astype(np.float32) * offsets
    out *= rows.scale
    if bias is not None:
        out += bias
    return out.reshape(*x.shape[:-1], units) if keep_num_dims else out


def blockwise_even(
    x: Array, weights: Array, scales: Array, bias: Array | None = None, *, activation: int = 0
) -> Array:
    """The same as XNNPACK computes it: rows are quantized halves to even, see `quantize_groups_even`.

    Parameters
    ----------
    x : ndarray
        float32, shape ``[rows, depth]``.
    weights, scales, bias
        As in `fully_connected_blockwise`.
    activation : int
        ``ActivationFunctionType``.

    Returns
    -------
    ndarray
        float32, shape ``[rows, units]``.
    """
    width = weights.shape[1] // scales.shape[-1]
    dtype = exact_type(LARGEST_HYBRID * 128 * width)

    def product(values: Array, finish: Callable[[Array], Array]) -> Array:
        out = np.zeros((len(values), len(weights)), np.float32)
        for i in range(scales.shape[-1]):
            part = slice(i * width, (i + 1) * width)
            sums = fully_connected(values[:, part].astype(dtype), weights[:, part].astype(dtype))
            out += sums.astype(np.float32) * scales[:, i]
        return finish(out)

    return dynamic(x, 1, product, np.float32(1), bias, activation=activation)


def is_dynamic_blockwise(operator: QuantizedOperator) -> bool:
    """Whether XNNPACK computes it: blocks of whole vectors, constants."""
    weights, bias = operator.operand(1), operator.optional(2)
    if weights.value is None or (bias is not None and bias.value is None):
        return False
    width: int = weights.value.shape[1] // weights.parameters.scale.shape[-1]
    return width % _VECTOR == 0


def even_scales(operator: QuantizedOperator) -> Array:
    """Scales of blocks as XNNPACK keeps them."""
    return np.asarray(from_bfloat16(to_bfloat16(operator.operand(1).parameters.scale)))


def prepare_even(operator: QuantizedOperator) -> Kernel:
    """Make XNNPACK's kernel of float activations and weights with a scale for each block.

    It keeps scales as bfloat16 (``src/operators/fully-connected-nc.c`` in google/XNNPACK).
    """
    scales, options = even_scales(operator), operator.options

    def run(call: Call) -> Sequence[Array]:
        x, w = call.operand(0), call.operand(1)
        rows, fused = x.reshape(-1, w.shape[1]), options.fused_activation_function
        out = blockwise_even(rows, w, scales, call.optional(2), activation=fused)
        return (out.reshape(*x.shape[:-1], len(w)) if options.keep_num_dims else out,)

    return run


def prepare_blockwise(operator: QuantizedOperator) -> Kernel:
    """Make the kernel of float activations and weights with a scale for each block.

    Raises
    ------
    InvalidValue
        If weights have zero points, or there is a fused activation.
    """
    weights, options = operator.operand(1), operator.options
    scales = weights.parameters.scale
    if weights.parameters.zero_point.any():
        raise InvalidValue("FULLY_CONNECTED with weights in blocks that have zero points; 0 is required")
    if options.fused_activation_function:
        raise InvalidValue("FULLY_CONNECTED with weights in blocks and a fused activation, which LiteRT leaves out")

    def run(call: Call) -> Sequence[Array]:
        x, w, bias = call.operand(0), call.operand(1), call.optional(2)
        return (fully_connected_blockwise(x, w, scales, bias, keep_num_dims=options.keep_num_dims),)

    return run

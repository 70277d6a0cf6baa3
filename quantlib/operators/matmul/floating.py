"""Float kernels of matrix products."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..fused import RELU6, clip_fused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..kernel import Array, Call, Kernel


def fully_connected(
    x: Array, weights: Array, bias: Array | None = None, *, keep_num_dims: bool = False, activation: int = 0
) -> Array:
    """Product with a matrix of weights, as one matrix product of all rows.

    Parameters
    ----------
    x : ndarray
        float32, any shape whose size is a multiple of `depth`; its last axis is `depth` with `keep_num_dims`.
    weights : ndarray
        float32, shape ``[units, depth]``.
    bias : ndarray, optional
        float32, shape ``[units]``.
    keep_num_dims : bool
        The result keeps all axes but the last; otherwise it has two.
    activation : int
        ``ActivationFunctionType``, of which this operator has the ReLU family alone.

    Returns
    -------
    ndarray
        float32, shape ``[rows, units]`` or ``[*x.shape[:-1], units]``.

    Raises
    ------
    InvalidValue
        If shapes don't fit, or the activation isn't known.
    """
    if weights.ndim != 2 or x.ndim < 1:
        raise InvalidValue(f"FULLY_CONNECTED of {x.shape} with {weights.shape}: a weight matrix is required")
    units, depth = weights.shape
    if (keep_num_dims and x.shape[-1] != depth) or depth == 0 or x.size % depth:
        raise InvalidValue(f"FULLY_CONNECTED of {x.shape} with {weights.shape}: rows of {depth} are required")
    if bias is not None and bias.size != units:
        raise InvalidValue(f"FULLY_CONNECTED with a bias of {bias.size} for {units} units: one for each is required")
    if not 0 <= activation <= RELU6:
        raise InvalidValue(f"FULLY_CONNECTED with fused activation {activation}: 0 to {RELU6} are possible")
    out: Array = np.matmul(x.reshape(-1, depth), weights.T)
    if bias is not None:
        out += bias.reshape(-1)
    clip_fused(out, activation)
    return out.reshape(*x.shape[:-1], units) if keep_num_dims else out


def batch_matmul(x: Array, y: Array, *, adj_x: bool = False, adj_y: bool = False) -> Array:
    """Product of matrices in the last two axes; the axes before them broadcast.

    Parameters
    ----------
    x : ndarray
        float32 or int8, shape ``[..., rows, depth]``.
    y : ndarray
        Dtype of `x`, shape ``[..., depth, columns]``.
    adj_x, adj_y : bool
        The last two axes of `x`, of `y` are swapped.

    Returns
    -------
    ndarray
        float32, or int32 for int8; shape ``[..., rows, columns]``.

    Raises
    ------
    InvalidValue
        If shapes or dtypes don't fit.
    """
    if x.dtype != y.dtype or x.dtype.name not in ("float32", "int8"):
        raise InvalidValue(f"BATCH_MATMUL of {x.dtype} with {y.dtype}: both float32, or both int8, are required")
    if min(x.ndim, y.ndim) < 2:
        raise InvalidValue(f"BATCH_MATMUL of {x.shape} with {y.shape}: matrices are required")
    left = x.swapaxes(-1, -2) if adj_x else x
    right = y.swapaxes(-1, -2) if adj_y else y
    try:
        np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        raise InvalidValue(f"BATCH_MATMUL of {x.shape} with {y.shape}: the batches don't broadcast") from None
    if left.shape[-1] != right.shape[-2]:
        raise InvalidValue(f"BATCH_MATMUL of {left.shape} with {right.shape}: the inner sizes differ")
    if x.dtype.kind == "f":
        product: Array = np.matmul(left, right)
        return product
    # Products of int8 add up exactly in float64, which BLAS multiplies.
    exact: Array = np.matmul(left.astype(np.float64), right.astype(np.float64))
    return exact.astype(np.int32)


def _fully_connected(call: Call) -> Sequence[Array]:
    x, weights, bias = (*call.inputs, None)[:3]
    if x is None or weights is None:
        raise InvalidValue("FULLY_CONNECTED without its input or weights: both are required")
    if any(a is not None and a.dtype != np.float32 for a in (x, weights, bias)):
        raise InvalidValue(f"FULLY_CONNECTED of {x.dtype} with {weights.dtype}: float32 is required")
    options = call.options
    keep, activation = options.keep_num_dims, options.fused_activation_function
    return (fully_connected(x, weights, bias, keep_num_dims=keep, activation=activation),)


def _batch_matmul(call: Call) -> Sequence[Array]:
    x, y = call.inputs[:2]
    if x is None or y is None:
        raise InvalidValue("BATCH_MATMUL without one of its operands: both are required")
    if x.dtype == np.int8 and call.types != ("INT32",):
        raise InvalidValue("BATCH_MATMUL of int8 to a quantized type: INT32 or float operands are required")
    return (batch_matmul(x, y, adj_x=call.options.adj_x, adj_y=call.options.adj_y),)


KERNELS: Mapping[str, Kernel] = MappingProxyType({"BATCH_MATMUL": _batch_matmul, "FULLY_CONNECTED": _fully_connected})

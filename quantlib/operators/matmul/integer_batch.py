"""Integer kernels of products of stacked matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..integer import per_tensor
from ..integer_hybrid import dynamic, quantize_rows
from ..integer_product import LARGEST_HYBRID, centered, exact_type, reach, rounded_multiplier_of_product
from ..integer_requantize import fixed_point
from ..integer_xnnpack import of_bytes, product_requantizer
from ..kernel_checks import FLOAT, INT8, NARROW, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..integer import QuantizedOperator
    from ..integer_requantize import Requantizer
    from ..kernel import Array, Call, Kernel

#: Axes that operands can have.
_MOST = 5


@checked(x=NARROW, y=NARROW)
def batch_matmul_integers(
    x: Array,
    y: Array,
    requantize: Requantizer,
    *,
    zero_points: tuple[int, int],
    largest: int,
    adj_x: bool = False,
    adj_y: bool = False,
) -> Array:
    """Product of integer matrices in the last two axes; the axes before them broadcast.

    Parameters
    ----------
    x : ndarray
        int8 or int16, shape ``[..., rows, depth]``.
    y : ndarray
        int8 or int16, shape ``[..., depth, columns]``.
    requantize : Requantizer
        From sums to the output.
    zero_points : (int, int)
        Of `x` and of `y`.
    largest : int
        Size of the largest product of two integers less their zero points, see `reach`.
    adj_x, adj_y : bool
        The last two axes of `x`, of `y` are swapped.

    Returns
    -------
    ndarray
        Dtype of `requantize`, shape ``[..., rows, columns]``.

    Raises
    ------
    InvalidValue
        If shapes don't fit, or sums can reach 2**53.
    """
    left, right = _turned(x, adj_x), _turned(y, adj_y)
    dtype = exact_type(largest * left.shape[-1])
    return requantize(_product(centered(left, zero_points[0], dtype), centered(right, zero_points[1], dtype)))


@checked(x=FLOAT, y=INT8)
def batch_matmul_hybrid(
    x: Array, y: Array, scale: float, *, asymmetric: bool, adj_x: bool = False, adj_y: bool = False
) -> Array:
    """Product of float matrices with a matrix of integers; each row of floats is quantized to int8 first.

    As in LiteRT, what the zero points contribute is subtracted in float32, which rounds sums beyond 2**24. LiteRT 2.3
    goes wrong where it takes the scales of other rows (`x` with two or more axes of several matrices), the sums of
    other columns (`y` likewise, or a first of five axes that isn't 1), or sums of an earlier run (`y` that changes):
    such shapes are refused, and no kernel is made of such a `y`
    (``tflite/kernels/internal/reference/batch_matmul.h``). Nor is it followed where a column of `y` is so long, and
    of one sign, that its sum, which it takes in eight parts, leaves 16 bits.

    Parameters
    ----------
    x : ndarray
        float32, shape ``[..., rows, depth]``.
    y : ndarray
        int8, shape ``[..., depth, columns]``.
    scale : float
        Of `y`.
    asymmetric : bool
        See `quantize_rows`.
    adj_x, adj_y : bool
        The last two axes of `x`, of `y` are swapped.

    Returns
    -------
    ndarray
        float32, shape ``[..., rows, columns]``. Every float equals LiteRT's.

    Raises
    ------
    InvalidValue
        If shapes don't fit, or LiteRT 2.3 computes other numbers with them.
    """
    left, right = _turned(x, adj_x), _turned(y, adj_y)
    if any(sum(n > 1 for n in a.shape[:-2]) > 1 for a in (x, y)) or (y.ndim == _MOST and y.shape[0] > 1):
        raise InvalidValue(
            f"hybrid BATCH_MATMUL of {x.shape} with {y.shape}: one axis of several matrices in each, not the "
            f"first of {_MOST}, is required; with others LiteRT 2.3 takes the scales of other rows"
        )
    rows = quantize_rows(np.ascontiguousarray(left).reshape(-1, left.shape[-1]), asymmetric=asymmetric)
    dtype = exact_type(128 * 128 * left.shape[-1])
    sums = _product(rows.q.reshape(left.shape).astype(dtype), right.astype(dtype)).astype(np.float32)
    wide = (*left.shape[:-1], 1)
    columns = right.sum(axis=-2, keepdims=True, dtype=np.int64).astype(np.float32)
    sums -= rows.zero_point.astype(np.float32).reshape(wide) * columns
    sums *= (rows.scale * np.float32(scale)).reshape(wide)
    return sums


def _turned(x: Array, swapped: bool) -> Array:
    if not 1 < x.ndim <= _MOST:
        raise InvalidValue(f"BATCH_MATMUL of an operand of {x.shape}: two to {_MOST} axes are required")
    return x.swapaxes(-1, -2) if swapped else x


def _product(left: Array, right: Array) -> Array:
    try:
        return np.asarray(np.matmul(left, right))
    except ValueError:
        raise InvalidValue(f"BATCH_MATMUL of {left.shape} with {right.shape}: they don't fit") from None


def multiplier(operator: QuantizedOperator) -> np.float64:
    """Real multiplier of a BATCH_MATMUL."""
    return rounded_multiplier_of_product(*per_tensor(operator.operand(0), operator.operand(1), operator.output))


def requantizer(operator: QuantizedOperator) -> Requantizer:
    """From sums of a BATCH_MATMUL to its output."""
    if operator.runtime == "xnnpack":
        return product_requantizer(operator)
    wide = operator.operand(0).type == "INT16"
    return fixed_point(multiplier(operator), operator.output.parameters, wide=wide)


def is_taken_over(operator: QuantizedOperator) -> bool:
    """Whether XNNPACK computes a BATCH_MATMUL: of INT8 matrices, the second one with a zero point of 0."""
    return of_bytes(operator, (0, 1)) and operator.output.type == "INT8" and operator.operand(1).zero_point == 0


def prepare_integers(operator: QuantizedOperator) -> Kernel:
    """Make the kernel of integer activations."""
    x, y = operator.operand(0), operator.operand(1)
    requantize = requantizer(operator)
    zero_points, largest = (x.zero_point, y.zero_point), reach(x.parameters) * reach(y.parameters)
    adj_x, adj_y = operator.options.adj_x, operator.options.adj_y

    def run(call: Call) -> Sequence[Array]:
        left, right = call.operand(0), call.operand(1)
        given = {"zero_points": zero_points, "largest": largest, "adj_x": adj_x, "adj_y": adj_y}
        return (batch_matmul_integers(left, right, requantize, **given),)

    return run


def prepare_hybrid(operator: QuantizedOperator) -> Kernel:
    """Make the kernel of float activations."""
    y, options = operator.operand(1), operator.options
    scale = float(y.scale)

    def run(call: Call) -> Sequence[Array]:
        left, right = call.operand(0), call.operand(1)
        given = {"asymmetric": options.asymmetric_quantize_inputs, "adj_x": options.adj_x, "adj_y": options.adj_y}
        return (batch_matmul_hybrid(left, right, scale, **given),)

    return run


def is_dynamic_batch(operator: QuantizedOperator) -> bool:
    """Whether XNNPACK computes a BATCH_MATMUL of floats: by INT8 matrices of one scale, with a zero point of 0."""
    y = operator.operand(1)
    floats = operator.operand(0).type == operator.output.type == "FLOAT32" and y.type == "INT8"
    return floats and y.affine is not None and y.affine.scale.size == 1 and y.zero_point == 0


def prepare_dynamic(operator: QuantizedOperator) -> Kernel:
    """Make the kernel of float activations as XNNPACK computes it; each row is quantized over its own range."""
    y, options = operator.operand(1), operator.options
    scale = y.scale

    def run(call: Call) -> Sequence[Array]:
        left = np.ascontiguousarray(_turned(call.operand(0), options.adj_x))

        def product(values: Array, finish: Callable[[Array], Array]) -> Array:
            right = _turned(call.operand(1), options.adj_y)
            dtype = exact_type(LARGEST_HYBRID * 128 * left.shape[-1])
            return finish(_product(values.astype(dtype), right.astype(dtype)))

        return (dynamic(left, 1, product, scale),)

    return run

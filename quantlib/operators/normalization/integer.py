"""Integer kernels of normalizations."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import inverse_sqrt_multiplier, multiply_by_quantized_multiplier

from ..integer import alike
from ..kernel_checks import BYTES, checked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..integer import IntegerKernel, QuantizedOperator
    from ..kernel import Array, Call, Kernel

#: Bits of the result behind the point.
BITS = 7


@checked(x=BYTES)
def l2_normalize_integers(x: Array, zero_point: int) -> Array:
    """Divide 8-bit integers by the Euclidean norm along the last axis.

    ``tflite/kernels/internal/reference/integer_ops/l2normalization.h``; of UINT8, ``.../l2normalization.h``.

    Parameters
    ----------
    x : ndarray
        int8 or uint8, rank 1 or more.
    zero_point : int
        Of `x`, whose scale doesn't matter.

    Returns
    -------
    ndarray
        Dtype and shape of `x`: steps of 1/128 around 0, or for uint8 around 128. Of nothing but zeros it is zero.

    Examples
    --------
    >>> l2_normalize_integers(np.array([[3, -4], [0, 0]], np.int8), 0)
    array([[  77, -102],
           [   0,    0]], dtype=int8)
    """
    limits = np.iinfo(x.dtype)
    centered = x.astype(np.int64) - zero_point
    squares = np.asarray(np.square(centered).sum(axis=-1, keepdims=True))
    mantissa, shift = inverse_sqrt_multiplier(squares)
    if limits.min == 0:  # this kernel shifts first
        steps = multiply_by_quantized_multiplier(centered << BITS, mantissa, shift)
    else:
        steps = multiply_by_quantized_multiplier(centered, mantissa, shift + BITS)
    return np.clip(steps.astype(np.int64) + (limits.min + limits.max + 1) // 2, limits.min, limits.max).astype(
        x.dtype
    )


def _l2_normalization(operator: QuantizedOperator) -> Kernel:
    zero_point, output = operator.operand(0).zero_point, operator.output
    wanted = 128 if output.type == "UINT8" else 0
    if output.scale != np.float32(1 / 128) or output.zero_point != wanted:
        raise InvalidValue(
            f"an output of {output.type} with scale {output.scale} and zero point {output.zero_point}; 1/128 and "
            f"{wanted} are required"
        )
    if operator.options.fused_activation_function:
        raise InvalidValue("L2_NORMALIZATION of integers with a fused activation; none is required")

    def run(call: Call) -> Sequence[Array]:
        return (l2_normalize_integers(call.operand(0), zero_point),)

    return run


KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {"L2_NORMALIZATION": alike(_l2_normalization, ("INT8", "UINT8"))}
)

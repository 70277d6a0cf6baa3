"""Integer kernels of activations."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..elementwise._checks import check_shapes
from ..integer import IntegerKernel, alike, per_tensor, takes
from ..integer_table import tabulated_pairs
from ..integer_unary import by_floats, real_kernel, unary_kernel
from ..integer_values import scale_of
from ..integer_xnnpack import of_bytes, reference_kernel, xnnpack
from .integer_builtin import log_softmax_in_floats, logistic_by_scale, softmax_in_floats, tanh_by_scale
from .integer_rectified import (
    leaky_relu_integers,
    leaky_relu_xnnpack,
    leaky_xnnpack_multipliers,
    prelu_integers,
    rectify_integers,
)
from .integer_sigmoid import hard_swish_bytes, logistic_int16, tanh_int16
from .integer_softmax import log_softmax_bytes, softmax_bytes, softmax_int16
from .real_functions import elu, gelu, gelu_tanh, logistic, logistic_double, tanh

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..integer import QuantizedOperator
    from ..kernel import Array, Call, Kernel

__all__ = [
    "KERNELS",
    "by_floats",
    "hard_swish_bytes",
    "leaky_relu_integers",
    "log_softmax_bytes",
    "logistic_int16",
    "prelu_integers",
    "rectify_integers",
    "softmax_bytes",
    "softmax_int16",
    "tanh_int16",
]


def _fixed(operator: QuantizedOperator, scale: float, zero_points: Mapping[str, int], tolerance: float = 0.0) -> None:
    """Refuse an output that stands for other numbers than the kernel computes."""
    output = operator.output
    zero_point = zero_points[output.type]
    if abs(output.scale - scale) > tolerance * scale or output.zero_point != zero_point:
        raise InvalidValue(
            f"an output of {output.type} with scale {output.scale} and zero point {output.zero_point}; {scale} and "
            f"{zero_point} are required"
        )


_SHARES = MappingProxyType({"INT8": -128, "UINT8": 0, "INT16": 0})


def _int16_kernel(operator: QuantizedOperator, function: Callable[[Array, float], Array]) -> Kernel:
    """Make the kernel of a function of INT16 values and their scale, to 32,768 steps."""
    _fixed(operator, 1 / 32768, _SHARES)
    return unary_kernel(lambda x, before, after: function(x, float(scale_of(before))))(operator)


def _logistic_kernel(operator: QuantizedOperator) -> Kernel:
    if operator.output.type == "INT16":
        return _int16_kernel(operator, logistic_by_scale if operator.runtime == "builtin" else logistic_int16)
    # The zero point isn't looked at: other than that of 0 shifts the result.
    _fixed(operator, 1 / 256, {operator.output.type: operator.output.zero_point})
    return real_kernel(logistic)(operator)


def _tanh_kernel(operator: QuantizedOperator) -> Kernel:
    if operator.output.type == "INT16":
        return _int16_kernel(operator, tanh_by_scale if operator.runtime == "builtin" else tanh_int16)
    return real_kernel(tanh)(operator)


def _softmax_kernel(operator: QuantizedOperator) -> Kernel:
    scale, beta, kind = float(operator.operand(0).scale), operator.options.beta, operator.output.type
    dtype = operator.output.dtype
    if operator.operand(0).type == kind and kind != "UINT8":
        _fixed(operator, 1 / 256 if kind == "INT8" else 1 / 32768, _SHARES, 0.001)

    def run(call: Call) -> Sequence[Array]:
        x = call.operand(0)
        if x.dtype == np.int16:
            return (softmax_int16(x, scale, beta),)
        if operator.runtime == "builtin":
            to = operator.output
            return (softmax_in_floats(x, scale, beta, float(to.scale), to.zero_point, dtype=dtype),)
        return (softmax_bytes(x, scale, beta, dtype=dtype),)

    return run


def _log_softmax_kernel(operator: QuantizedOperator) -> Kernel:
    scale = float(operator.operand(0).scale)
    _fixed(operator, 16 / 256, {"INT8": 127, "UINT8": 255})
    log_softmax = log_softmax_in_floats if operator.runtime == "builtin" else log_softmax_bytes

    def run(call: Call) -> Sequence[Array]:
        return (log_softmax(call.operand(0), scale),)

    return run


def _gelu_kernel(operator: QuantizedOperator) -> Kernel:
    return real_kernel(gelu_of(operator))(operator)


def gelu_of(operator: QuantizedOperator) -> Callable[[Array], Array]:
    """What the tables of a GELU are made of."""
    return gelu_tanh if operator.options.approximate else gelu


def _leaky_relu_kernel(operator: QuantizedOperator) -> Kernel:
    alpha = operator.options.alpha
    leaky_relu = leaky_relu_xnnpack if operator.runtime == "xnnpack" else leaky_relu_integers
    return unary_kernel(lambda x, before, after: leaky_relu(x, before, after, alpha))(operator)


def _prelu_kernel(operator: QuantizedOperator) -> Kernel:
    x, alpha = operator.operand(0), operator.operand(1)
    before, slopes, after = per_tensor(x, alpha, operator.output)
    look_up = tabulated_pairs(lambda a, b: prelu_integers(a, b, before, slopes, after), x.dtype, alpha.dtype)

    def run(call: Call) -> Sequence[Array]:
        a, b = call.operand(0), call.operand(1)
        check_shapes("PRELU", a, b)
        result = look_up(a, b)
        if result.shape != a.shape:
            raise InvalidValue(f"PRELU of {a.shape} with slopes {b.shape}: they must broadcast to {a.shape}")
        return (result,)

    return run


def _rectified(low: float, high: float) -> Callable[[QuantizedOperator], Kernel]:
    return unary_kernel(lambda x, before, after: rectify_integers(x, before, after, low, high))


_BYTES = ("INT8", "UINT8")


def _leaky_is_taken_over(operator: QuantizedOperator) -> bool:
    """Whether XNNPACK computes a LEAKY_RELU: of bytes, multipliers within 2**-8..2**7."""
    if not of_bytes(operator):
        return False
    upper, lower = leaky_xnnpack_multipliers(
        operator.operand(0).parameters, operator.output.parameters, operator.options.alpha
    )
    return bool(2.0**-8 <= upper <= 2.0**7 and -(2.0**7) + 2.0**-8 <= lower <= 2.0**7 and abs(lower) >= 2.0**-8)


def _is_int8(operator: QuantizedOperator) -> bool:
    return of_bytes(operator) and operator.output.type == "INT8"


KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {
        "ELU": (xnnpack(_is_int8, reference_kernel(elu)), *alike(real_kernel(elu), ("INT8",))),
        "GELU": alike(_gelu_kernel),
        "HARD_SWISH": alike(unary_kernel(hard_swish_bytes), _BYTES),
        "LEAKY_RELU": (xnnpack(_leaky_is_taken_over, _leaky_relu_kernel), *alike(_leaky_relu_kernel)),
        "LOGISTIC": (xnnpack(of_bytes, reference_kernel(logistic_double)), *alike(_logistic_kernel)),
        "LOG_SOFTMAX": alike(_log_softmax_kernel, _BYTES),
        "PRELU": alike(_prelu_kernel, _BYTES),
        "RELU": alike(_rectified(0, np.inf)),
        "RELU6": alike(_rectified(0, 6)),
        "RELU_0_TO_1": alike(_rectified(0, 1), _BYTES),
        "RELU_N1_TO_1": alike(_rectified(-1, 1), _BYTES),
        "SOFTMAX": (
            *alike(_softmax_kernel),
            IntegerKernel(takes(("INT8",), to=("INT16",)), _softmax_kernel),
        ),
        "TANH": (xnnpack(of_bytes, reference_kernel(tanh)), *alike(_tanh_kernel)),
    }
)

"""Integer kernels of activations."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..elementwise._checks import check_shapes
from ..integer import IntegerKernel, alike, takes
from ..integer_table import tabulated_pairs
from ..integer_unary import by_floats, real_kernel, unary_kernel
from .integer_rectified import leaky_relu_integers, prelu_integers, rectify_integers
from .integer_sigmoid import hard_swish_bytes, logistic_int16, tanh_int16
from .integer_softmax import log_softmax_bytes, softmax_bytes, softmax_int16

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


def _logistic(x: Array) -> Array:
    with np.errstate(over="ignore"):
        power = np.exp(-x.astype(np.float64)).astype(np.float32)
    return np.asarray(np.float32(1) / (np.float32(1) + power))


def _tanh(x: Array) -> Array:
    return np.asarray(np.tanh(x.astype(np.float64)).astype(np.float32))


def _elu(x: Array) -> Array:
    return np.where(x < 0, np.expm1(np.minimum(x, 0).astype(np.float64)).astype(np.float32), x)


def _gelu(x: Array) -> Array:
    argument = (x * np.float32(-(0.5**0.5))).astype(np.float64).reshape(-1)
    tail = np.array([math.erfc(v) for v in argument], np.float32).reshape(x.shape)
    return np.asarray(np.float32(0.5) * x * tail)


def _gelu_tanh(x: Array) -> Array:
    inner = np.float32((2 / math.pi) ** 0.5) * (x + np.float32(0.044715) * x * x * x)
    return np.asarray(np.float32(0.5) * x * (np.float32(1) + _tanh(inner)))


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


def _logistic_kernel(operator: QuantizedOperator) -> Kernel:
    if operator.output.type == "INT16":
        _fixed(operator, 1 / 32768, _SHARES)
        return unary_kernel(lambda x, before, after: logistic_int16(x, float(before.scale.flat[0])))(operator)
    # The zero point isn't looked at: other than that of 0 shifts the result.
    _fixed(operator, 1 / 256, {operator.output.type: operator.output.zero_point})
    return unary_kernel(lambda x, before, after: by_floats(x, _logistic, before, after))(operator)


def _tanh_kernel(operator: QuantizedOperator) -> Kernel:
    if operator.output.type == "INT16":
        _fixed(operator, 1 / 32768, _SHARES)
        return unary_kernel(lambda x, before, after: tanh_int16(x, float(before.scale.flat[0])))(operator)
    return unary_kernel(lambda x, before, after: by_floats(x, _tanh, before, after))(operator)


def _softmax_kernel(operator: QuantizedOperator) -> Kernel:
    scale, beta, kind = float(operator.operand(0).scale), operator.options.beta, operator.output.type
    dtype = operator.output.dtype
    if operator.operand(0).type == kind and kind != "UINT8":
        _fixed(operator, 1 / 256 if kind == "INT8" else 1 / 32768, _SHARES, 0.001)

    def run(call: Call) -> Sequence[Array]:
        x = call.operand(0)
        if x.dtype == np.int16:
            return (softmax_int16(x, scale, beta),)
        return (softmax_bytes(x, scale, beta, dtype=dtype),)

    return run


def _log_softmax_kernel(operator: QuantizedOperator) -> Kernel:
    scale = float(operator.operand(0).scale)
    _fixed(operator, 16 / 256, {"INT8": 127, "UINT8": 255})

    def run(call: Call) -> Sequence[Array]:
        return (log_softmax_bytes(call.operand(0), scale),)

    return run


def _gelu_kernel(operator: QuantizedOperator) -> Kernel:
    return real_kernel(_gelu_tanh if operator.options.approximate else _gelu)(operator)


def _leaky_relu_kernel(operator: QuantizedOperator) -> Kernel:
    alpha = operator.options.alpha
    return unary_kernel(lambda x, before, after: leaky_relu_integers(x, before, after, alpha))(operator)


def _prelu_kernel(operator: QuantizedOperator) -> Kernel:
    x, alpha, output = operator.operand(0), operator.operand(1), operator.output
    _ = x.scale, alpha.scale, output.scale  # there is one
    before, slopes, after = x.parameters, alpha.parameters, output.parameters
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

KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {
        "ELU": alike(real_kernel(_elu), ("INT8",)),
        "GELU": alike(_gelu_kernel),
        "HARD_SWISH": alike(unary_kernel(hard_swish_bytes), _BYTES),
        "LEAKY_RELU": alike(_leaky_relu_kernel),
        "LOGISTIC": alike(_logistic_kernel),
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
        "TANH": alike(_tanh_kernel),
    }
)

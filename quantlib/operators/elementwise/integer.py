"""Integer kernels of functions of two elements."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    Affine,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
)

from ..integer import IntegerKernel, alike, per_tensor, takes
from ..integer_product import float_multiplier_of_product
from ..integer_requantize import activation_range
from ..integer_table import exponent_of, tabulated_pairs
from ..integer_values import less_zero_point, scale_of, stored
from ..integer_xnnpack import xnnpack
from ..kernel_checks import checked
from ._checks import check_shapes
from .integer_builtin import adder
from .integer_pairs import COMPARISONS, compare_integers, divide_integers, squared_difference_integers
from .integer_sums import add_integers, add_shifted
from .integer_unary import UNARY
from .integer_xnnpack import add_xnnpack, multiply_xnnpack, product_is_taken_over, sum_is_taken_over

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..integer import QuantizedOperator
    from ..kernel import Array, Call, Kernel

    Function = Callable[[Array, Array], Array]


@checked()
def multiply_integers(
    a: Array, b: Array, first: Affine, second: Affine, output: Affine, *, activation: int = 0
) -> Array:
    """Product of quantized arrays, scaled by ``float32(float32(s1 * s2) / s_out)`` (``tflite/kernels/mul.cc``).

    Parameters and result are those of `add_integers`.

    Raises
    ------
    InvalidValue
        If the multiplier isn't finite.
    """
    real = float_multiplier_of_product(first, second, output)
    product = less_zero_point(a, first) * less_zero_point(b, second)
    # INT16 zero points are 0, so that only the product of two least numbers is near the end of 32 bits
    steps = multiply_by_quantized_multiplier(product.astype(np.int32), *quantize_multiplier(real))
    return stored(steps, output, activation_range(activation, output))


def shifts_alone(operator: QuantizedOperator) -> bool:
    """Whether a sum is that of `add_shifted`: of INT16 values, its options say so, and scales are powers of two."""
    affines = (operator.operand(0).parameters, operator.operand(1).parameters, operator.output.parameters)
    asked = operator.output.type == "INT16" and operator.options.pot_scale_int16
    return bool(asked) and all(exponent_of(scale_of(a)) is not None for a in affines)


def _adder(subtract: bool) -> Callable[[QuantizedOperator], Kernel]:
    def prepare(operator: QuantizedOperator) -> Kernel:
        activation = operator.options.fused_activation_function
        first, second, output = _ends(operator)
        add = add_shifted if shifts_alone(operator) else add_integers
        if operator.runtime == "xnnpack":
            add = add_xnnpack

        def function(a: Array, b: Array) -> Array:
            return add(a, b, first, second, output, subtract=subtract, activation=activation)

        return _kernel(operator, function)

    return prepare


def _multiplier(operator: QuantizedOperator) -> Kernel:
    first, second, output = _ends(operator)
    activation = operator.options.fused_activation_function
    multiply = multiply_xnnpack if operator.runtime == "xnnpack" else multiply_integers
    return _kernel(operator, lambda a, b: multiply(a, b, first, second, output, activation=activation))


def _divider(operator: QuantizedOperator) -> Kernel:
    first, second, output = _ends(operator)
    activation, zero_point = operator.options.fused_activation_function, operator.operand(1).zero_point
    kernel = _kernel(operator, lambda a, b: divide_integers(a, b, first, second, output, activation=activation))

    def run(call: Call) -> Sequence[Array]:
        if (call.operand(1) == zero_point).any():
            raise InvalidValue(f"DIV by {zero_point}, which stands for zero; other divisors are required")
        return kernel(call)

    return run


def _squarer(operator: QuantizedOperator) -> Kernel:
    first, second, output = _ends(operator)
    return _kernel(operator, lambda a, b: squared_difference_integers(a, b, first, second, output))


def _comparer(operator: QuantizedOperator) -> Kernel:
    first, second = per_tensor(operator.operand(0), operator.operand(1))
    return _kernel(operator, lambda a, b: compare_integers(operator.name, a, b, first, second))


def _ends(operator: QuantizedOperator) -> tuple[Affine, ...]:
    """Of both operands and the output."""
    return per_tensor(operator.operand(0), operator.operand(1), operator.output)


def _kernel(operator: QuantizedOperator, function: Function) -> Kernel:
    """Make a kernel of a function of two arrays: a table for 8 bits, the function itself for more."""
    first, second = operator.operand(0), operator.operand(1)
    if first.type != "INT16":
        function = tabulated_pairs(function, first.dtype, second.dtype)

    def run(call: Call) -> Sequence[Array]:
        a, b = call.operand(0), call.operand(1)
        check_shapes(operator.name, a, b)
        return (function(a, b),)

    return run


def _is_scaled_sum(operator: QuantizedOperator) -> bool:
    """Whether a sum is one of INT16 values that are scaled, not shifted alone."""
    return takes(("INT16",), to=("INT16",))(operator) and not shifts_alone(operator)


_BYTES = ("INT8", "UINT8")

KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {
        **UNARY,
        **dict.fromkeys(
            COMPARISONS, tuple(IntegerKernel(takes((kind,), to=("BOOL",)), _comparer) for kind in _BYTES)
        ),
        "ADD": (
            xnnpack(sum_is_taken_over, _adder(False)),
            *alike(adder, _BYTES, runtimes=("builtin",)),
            IntegerKernel(_is_scaled_sum, adder, ("builtin",)),
            *alike(_adder(False)),
        ),
        "DIV": alike(_divider),
        "MUL": (xnnpack(product_is_taken_over, _multiplier), *alike(_multiplier)),
        "SQUARED_DIFFERENCE": alike(_squarer, ("INT8",)),
        "SUB": (xnnpack(sum_is_taken_over, _adder(True)), *alike(_adder(True))),
    }
)

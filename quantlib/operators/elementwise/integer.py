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
    rounding_divide_by_pot,
)

from ..integer import IntegerKernel, alike, takes
from ..integer_requantize import activation_range
from ..integer_table import exponent_of, tabulated_pairs
from ._checks import check_shapes
from .integer_pairs import COMPARISONS, compare_integers, divide_integers, squared_difference_integers
from .integer_unary import UNARY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..integer import QuantizedOperator
    from ..kernel import Array, Call, Kernel

    Function = Callable[[Array, Array], Array]


def _scale(affine: Affine) -> np.float32:
    return np.float32(affine.scale.flat[0])


def _point(affine: Affine) -> int:
    return int(affine.zero_point.flat[0])


def _wide(x: Array, affine: Affine) -> Array:
    return x.astype(np.int64) - _point(affine)


def _finish(values: Array, output: Affine, activation: int) -> Array:
    low, high = activation_range(activation, output)
    return np.asarray(np.clip(values.astype(np.int64) + _point(output), low, high).astype(output.type.storage))


def add_integers(
    a: Array, b: Array, first: Affine, second: Affine, output: Affine, *, subtract: bool = False, activation: int = 0
) -> Array:
    """Sum or difference of quantized arrays.

    Both are shifted to the left (20 bits, for INT16 15), scaled by ``scale / (2 * larger scale)``, added, and
    scaled to the output (``tflite/kernels/add.cc``, ``sub.cc``).

    Parameters
    ----------
    a, b : ndarray
        int8, uint8 or int16; they broadcast.
    first, second, output : Affine
        Of `a`, of `b`, of the result; one scale each.
    subtract : bool
    activation : int
        ``ActivationFunctionType``.

    Returns
    -------
    ndarray
        Of the storage dtype of `output`.

    Raises
    ------
    InvalidValue
        If the output's scale is so small that its multiplier would be 1 or more: ADD refuses it, SUB shifts by a
        negative number.
    """
    shift = 15 if output.type.bits == 16 else 20
    twice = np.float64(2 * max(_scale(first), _scale(second)))
    reals = np.array([_scale(first) / twice, _scale(second) / twice])
    last = float(twice / np.float64(np.float32(1 << shift) * _scale(output)))
    if not last < 1:
        raise InvalidValue(
            f"an output scale of {_scale(output):.6g}: more than {twice / (1 << shift):.6g} is required"
        )
    mantissas, shifts = quantize_multiplier(reals)
    one, other = (
        multiply_by_quantized_multiplier(_wide(x, affine) << shift, mantissas[i], shifts[i]).astype(np.int64)
        for i, (x, affine) in enumerate(((a, first), (b, second)))
    )
    total = one - other if subtract else one + other
    return _finish(multiply_by_quantized_multiplier(total, *quantize_multiplier(last)), output, activation)


def add_shifted(
    a: Array, b: Array, first: Affine, second: Affine, output: Affine, *, subtract: bool = False, activation: int = 0
) -> Array:
    """Sum or difference of INT16 arrays whose scales are powers of two, by shifts alone.

    One of them has the scale of the output, and the other one is divided by a power of two, rounded half away from
    zero. A sum beyond 16 bits saturates. Parameters and result are those of `add_integers`.

    Raises
    ------
    InvalidValue
        If no operand has the output's scale, or one has a larger one.
    """
    scales = [_scale(x) for x in (first, second, output)]
    exponents = [exponent_of(s) for s in scales]
    right = [exponents[2] - e for e in exponents[:2] if e is not None and exponents[2] is not None]
    if len(right) != 2 or 0 not in right or min(right) < 0:
        raise InvalidValue(
            f"scales {scales[0]} and {scales[1]} to {scales[2]}: powers of two, of which one equals the output's and "
            "none is above it, are required"
        )
    one, other = (rounding_divide_by_pot(x, r).astype(np.int64) for x, r in zip((a, b), right, strict=True))
    total = np.clip(one - other if subtract else one + other, -(1 << 15), (1 << 15) - 1)
    return _finish(total, output, activation)


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
    real = np.float32(np.float32(_scale(first) * _scale(second)) / _scale(output))
    product = _wide(a, first) * _wide(b, second)
    # INT16 zero points are 0, so that only the product of two least numbers is near the end of 32 bits
    scaled = multiply_by_quantized_multiplier(product.astype(np.int32), *quantize_multiplier(real))
    return _finish(scaled, output, activation)


def _adder(subtract: bool) -> Callable[[QuantizedOperator], Kernel]:
    def prepare(operator: QuantizedOperator) -> Kernel:
        activation = operator.options.fused_activation_function
        first, second = operator.operand(0).parameters, operator.operand(1).parameters
        output = operator.output.parameters
        shifts = operator.output.type == "INT16" and operator.options.pot_scale_int16
        shifts = shifts and all(exponent_of(_scale(a)) is not None for a in (first, second, output))
        add = add_shifted if shifts else add_integers

        def function(a: Array, b: Array) -> Array:
            return add(a, b, first, second, output, subtract=subtract, activation=activation)

        return _kernel(operator, function)

    return prepare


def _multiplier(operator: QuantizedOperator) -> Kernel:
    first, second, output = (o.parameters for o in (operator.operand(0), operator.operand(1), operator.output))
    activation = operator.options.fused_activation_function
    return _kernel(operator, lambda a, b: multiply_integers(a, b, first, second, output, activation=activation))


def _divider(operator: QuantizedOperator) -> Kernel:
    b = operator.operand(1)
    first, second, output = (o.parameters for o in (operator.operand(0), b, operator.output))
    activation, zero_point = operator.options.fused_activation_function, b.zero_point
    kernel = _kernel(operator, lambda a, b: divide_integers(a, b, first, second, output, activation=activation))

    def run(call: Call) -> Sequence[Array]:
        if (call.operand(1) == zero_point).any():
            raise InvalidValue(f"DIV by {zero_point}, which stands for zero; other divisors are required")
        return kernel(call)

    return run


def _squarer(operator: QuantizedOperator) -> Kernel:
    first, second, output = (o.parameters for o in (operator.operand(0), operator.operand(1), operator.output))
    return _kernel(operator, lambda a, b: squared_difference_integers(a, b, first, second, output))


def _comparer(operator: QuantizedOperator) -> Kernel:
    first, second = operator.operand(0).parameters, operator.operand(1).parameters
    return _kernel(operator, lambda a, b: compare_integers(operator.name, a, b, first, second), scaled=False)


def _kernel(operator: QuantizedOperator, function: Function, *, scaled: bool = True) -> Kernel:
    """Make a kernel of a function of two arrays: a table for 8 bits, the function itself for more."""
    first, second = operator.operand(0), operator.operand(1)
    for operand in (first, second, operator.output)[: 3 if scaled else 2]:
        _ = operand.scale  # there is one
    if first.type != "INT16":
        function = tabulated_pairs(function, first.dtype, second.dtype)

    def run(call: Call) -> Sequence[Array]:
        a, b = call.operand(0), call.operand(1)
        check_shapes(operator.name, a, b)
        return (function(a, b),)

    return run


KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {
        **UNARY,
        **dict.fromkeys(
            COMPARISONS, tuple(IntegerKernel(takes((kind,), to=("BOOL",)), _comparer) for kind in ("INT8", "UINT8"))
        ),
        "ADD": alike(_adder(False)),
        "DIV": alike(_divider),
        "MUL": alike(_multiplier),
        "SQUARED_DIFFERENCE": alike(_squarer, ("INT8",)),
        "SUB": alike(_adder(True)),
    }
)

"""What integer activations compute with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.numerics import exp_on_negative_values

from ..description import Arithmetic, Description, as_table, fixed, quantized, split, stepped
from ..integer_requantize import real_range
from ..integer_table import exponent_of
from ..integer_values import ratio
from .integer import gelu_of
from .integer_builtin import EXPONENTS, exponential_table, step_of
from .integer_rectified import leaky_multipliers, leaky_xnnpack_multipliers
from .integer_sigmoid import LOGISTIC_SHIFTS, TANH_SHIFTS, factor_of, sigmoid_table
from .integer_softmax import DIFFERENCE, exponentials, log_differences, softmax_multiplier, softmax_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..description import Multiplier, Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel


def _softmax(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    x, output, beta = operator.operand(0), operator.output, operator.options.beta
    if not quantized(x, output):
        return None
    affine = output.parameters
    clamp = (affine.qmin, affine.qmax)
    if x.type == "INT16":
        real = softmax_multiplier(float(x.scale), float(beta))
        tables = dict(zip(("exponentials", "reciprocals"), softmax_tables(), strict=True))
        return Arithmetic("softmax_int16", (fixed("difference", real),), (0, 32767), tables=tables)
    if operator.runtime == "builtin":
        tables = {"exponentials": exponential_table(step_of(float(x.scale), beta))}
        return Arithmetic("softmax_float", clamp=clamp, tables=tables)
    table, least = exponentials(float(x.scale), float(np.float32(beta)))
    settings = {"largest_difference": least, "output_bits": affine.type.bits}
    return Arithmetic("softmax", clamp=clamp, settings=settings, tables={"exponentials": table})


def _log_softmax(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    x, output = operator.operand(0), operator.output
    if not quantized(x, output):
        return None
    clamp = (output.parameters.qmin, output.parameters.qmax)
    if operator.runtime == "builtin":
        tables = {"exponentials": exponential_table(x.scale)}
        return Arithmetic("log_softmax_float", clamp=clamp, tables=tables)
    raw, least, reverse = log_differences(float(x.scale))
    tables = {"differences": raw, "exponentials": exp_on_negative_values(raw, DIFFERENCE)}
    settings = {"largest_difference": least}
    return Arithmetic("log_softmax", (split("reverse", *reverse),), clamp, settings, tables)


def _sigmoid(formula: str, shifts: tuple[int, ...], exponents: tuple[int, ...]) -> Description:
    """Logistic function and hyperbolic tangent of INT16 values, unless gemmlowp's stand in their place."""

    def describe(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
        x = operator.operand(0)
        if x.type != "INT16" or (operator.runtime == "builtin" and exponent_of(x.scale) in exponents):
            return None
        factor, shift = factor_of(float(x.scale), shifts)
        tables = {"sigmoid": np.array(sigmoid_table(), np.uint16)}
        return Arithmetic(formula, settings={"factor": factor, "right_shift": shift}, tables=tables)

    return Description(describe)


def _rectified(low: float, high: float) -> Description:
    """A rectifier of INT16 values; one of bytes has its table."""

    def describe(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
        if operator.operand(0).type != "INT16" or not quantized(operator.operand(0), operator.output):
            return None
        return Arithmetic("requantize", _rectifier(operator), real_range(operator.output.parameters, low, high))

    return Description(describe)


def _rectifier(operator: QuantizedOperator) -> tuple[Multiplier, ...]:
    before, after = operator.operand(0).parameters, operator.output.parameters
    return (fixed("output", ratio(before, after, np.float32)),)


def _leaky(operator: QuantizedOperator) -> tuple[Multiplier, ...]:
    before, after, alpha = operator.operand(0).parameters, operator.output.parameters, operator.options.alpha
    if operator.runtime == "xnnpack":
        above, below = leaky_xnnpack_multipliers(before, after, alpha)
        return fixed("output", above, "bits8"), fixed("below", below, "bits8")
    above, below = leaky_multipliers(before, after, alpha)
    return fixed("output", above), fixed("below", below)


def _leaky_int16(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    if operator.operand(0).type != "INT16":
        return None
    above, below = _leaky(operator)
    affine = operator.output.parameters
    return Arithmetic("leaky_relu", (above, below), (affine.qmin, affine.qmax))


def _prelu(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    x, alpha, output = operator.operand(0), operator.operand(1), operator.output
    if not quantized(x, alpha, output):
        return None
    affine = output.parameters
    above, below = leaky_multipliers(x.parameters, affine, float(alpha.scale))
    return Arithmetic("prelu", (fixed("output", above), fixed("below", below)), (affine.qmin, affine.qmax))


_ENDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"RELU": (0, np.inf), "RELU6": (0, 6), "RELU_0_TO_1": (0, 1), "RELU_N1_TO_1": (-1, 1)}
)
_TABLE = as_table()

KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {
        **dict.fromkeys(("ELU", "HARD_SWISH"), (_TABLE,)),
        **{name: (_rectified(*ends), as_table(_rectifier)) for name, ends in _ENDS.items()},
        "GELU": (stepped(gelu_of), _TABLE),
        "LEAKY_RELU": (Description(_leaky_int16), as_table(_leaky)),
        "LOGISTIC": (_sigmoid("logistic_int16", LOGISTIC_SHIFTS, EXPONENTS[:1]), _TABLE),
        "LOG_SOFTMAX": (Description(_log_softmax),),
        "PRELU": (Description(_prelu),),
        "SOFTMAX": (Description(_softmax),),
        "TANH": (_sigmoid("tanh_int16", TANH_SHIFTS, EXPONENTS), _TABLE),
    }
)

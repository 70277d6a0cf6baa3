"""What integer activations compute with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ..description import Arithmetic, Description, as_table, fixed, quantized
from .integer_rectified import leaky_multipliers, rectifier_multiplier
from .integer_softmax import exponentials, softmax_multiplier, softmax_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..description import Multiplier, Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel


def _softmax(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    x, output = operator.operand(0), operator.output
    if not quantized(x, output):
        return None
    if x.type == "INT16":
        real = softmax_multiplier(float(x.scale), float(operator.options.beta))
        names = ("exponentials", "reciprocals")
        tables = dict(zip(names, softmax_tables(), strict=True))
        return Arithmetic("softmax_int16", (fixed("difference", real),), (0, 32767), tables=tables)
    table, least = exponentials(float(x.scale), float(np.float32(operator.options.beta)))
    affine = output.parameters
    return Arithmetic(
        "softmax",
        clamp=(affine.qmin, affine.qmax),
        settings={"largest_difference": least, "output_bits": affine.type.bits},
        tables={"exponentials": table},
    )


def _rectifier(operator: QuantizedOperator) -> tuple[Multiplier, ...]:
    before, after = operator.operand(0).parameters, operator.output.parameters
    return (fixed("output", rectifier_multiplier(before, after)),)


def _leaky(operator: QuantizedOperator) -> tuple[Multiplier, ...]:
    before, after = operator.operand(0).parameters, operator.output.parameters
    above, below = leaky_multipliers(before, after, operator.options.alpha)
    return fixed("output", above), fixed("below", below)


def _prelu(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    x, alpha, output = operator.operand(0), operator.operand(1), operator.output
    if not quantized(x, alpha, output):
        return None
    affine = output.parameters
    above, below = leaky_multipliers(x.parameters, affine, float(alpha.scale))
    return Arithmetic("prelu", (fixed("output", above), fixed("below", below)), (affine.qmin, affine.qmax))


_TABLE = (as_table(),)

KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {
        **dict.fromkeys(("ELU", "GELU", "HARD_SWISH", "LOGISTIC", "TANH"), _TABLE),
        **dict.fromkeys(("RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1"), (as_table(_rectifier),)),
        "LEAKY_RELU": (as_table(_leaky),),
        "PRELU": (Description(_prelu),),
        "SOFTMAX": (Description(_softmax),),
    }
)

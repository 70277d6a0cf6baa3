"""What integer functions of one or two elements compute with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ..description import Arithmetic, Description, as_table, fixed, quantized
from ..integer_requantize import activation_range
from .integer import product_multiplier, shifts_alone
from .integer_sums import sum_multipliers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..description import Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel


def _clamp(operator: QuantizedOperator) -> tuple[int, int]:
    return activation_range(operator.options.fused_activation_function, operator.output.parameters)


def _sum(formula: str) -> Description:
    def describe(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
        first, second, output = operator.operand(0), operator.operand(1), operator.output
        if not quantized(first, second, output) or shifts_alone(operator):
            return None
        shift, reals, last = sum_multipliers(first.parameters, second.parameters, output.parameters)
        multipliers = (fixed("input_0", reals[0]), fixed("input_1", reals[1]), fixed("output", last))
        return Arithmetic(formula, multipliers, _clamp(operator), {"left_shift": shift})

    return Description(describe)


def _product(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    first, second, output = operator.operand(0), operator.operand(1), operator.output
    if not quantized(first, second, output):
        return None
    real = product_multiplier(first.parameters, second.parameters, output.parameters)
    return Arithmetic("multiply", (fixed("output", real),), _clamp(operator))


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {
        "ABS": (as_table(),),
        "ADD": (_sum("add"),),
        "EXP": (as_table(),),
        "LOG": (as_table(),),
        "MUL": (Description(_product),),
        "RSQRT": (as_table(positive=True),),
        "SQRT": (as_table(positive=True),),
        "SUB": (_sum("subtract"),),
    }
)

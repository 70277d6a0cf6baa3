"""What integer functions of one or two elements compute with."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..description import Arithmetic, Description, as_table, fixed, quantized, shape_of, stepped
from ..integer_product import float_multiplier_of_product
from ..integer_requantize import activation_range
from ..integer_xnnpack import float_range
from .integer import shifts_alone
from .integer_builtin import run_of_vectors
from .integer_pairs import COMPARED, COMPARISONS, SUBTRACTED, difference_multipliers, quotient_multiplier
from .integer_sums import right_shifts, sum_multipliers
from .integer_unary import exponential, inverse_root, natural_logarithm
from .integer_xnnpack import sum_multipliers_xnnpack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from quantlib.numerics import Affine

    from ..description import Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel


def _ends(operator: QuantizedOperator) -> tuple[Affine, Affine, Affine] | None:
    """Scales of both operands and the output, where these are quantized integers."""
    first, second, output = operator.operand(0), operator.operand(1), operator.output
    return (first.parameters, second.parameters, output.parameters) if quantized(first, second, output) else None


def _clamp(operator: QuantizedOperator) -> tuple[int, int]:
    ends = float_range if operator.runtime == "xnnpack" else activation_range
    return ends(operator.options.fused_activation_function, operator.output.parameters)


def _sum(formula: str) -> Description:
    def describe(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
        ends = _ends(operator)
        if ends is None:
            return None
        clamp, subtract = _clamp(operator), formula == "subtract"
        if operator.runtime == "xnnpack":
            one, other, right = sum_multipliers_xnnpack(*ends)
            weights = {"weights": [one, -other if subtract else other], "right_shift": right}
            return Arithmetic("weighted_sum", clamp=clamp, settings=weights)
        if shifts_alone(operator):
            settings = {"right_shifts": list(right_shifts(*ends)), "subtract": subtract}
            return Arithmetic("shifted_sum", clamp=clamp, settings=settings)
        shift, reals, last = sum_multipliers(*ends)
        multipliers = (fixed("input_0", reals[0]), fixed("input_1", reals[1]), fixed("output", last))
        plain = Arithmetic(formula, multipliers, clamp, {"left_shift": shift})
        if subtract or operator.runtime != "builtin":
            return plain
        run = run_of_vectors(shape_of(shapes, 0), shape_of(shapes, 1), operator.output.type)
        if run is None:
            return plain
        more = {"left_shift": shift, "length": run.length, "lanes": run.lanes, "cut": run.cut}
        return replace(plain, formula="add_vectors", settings=more)

    return Description(describe)


def _product(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    ends = _ends(operator)
    if ends is None:
        return None
    rounding = "float32" if operator.runtime == "xnnpack" else "double"
    output = fixed("output", float_multiplier_of_product(*ends), rounding)
    return Arithmetic("multiply", (output,), _clamp(operator))


def _quotient(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    ends = _ends(operator)
    if ends is None:
        return None
    return Arithmetic("divide", (fixed("output", quotient_multiplier(*ends)),), _clamp(operator))


def _difference(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    ends = _ends(operator)
    if ends is None:
        return None
    roles = zip(("input_0", "input_1", "output"), difference_multipliers(*ends), strict=True)
    multipliers = tuple(fixed(role, real) for role, real in roles)
    return Arithmetic("squared_difference", multipliers, (ends[2].qmin, ends[2].qmax), {"left_shift": SUBTRACTED})


def _comparison(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    given = operator.operand(0), operator.operand(1)
    if make() is None or not quantized(*given):
        return None
    multipliers = tuple(fixed(f"input_{i}", o.scale) for i, o in enumerate(given))
    settings = {"operation": operator.name, "left_shift": COMPARED}
    return Arithmetic("compare", multipliers, settings=settings)


def _chosen(formula: str) -> Description:
    def describe(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
        data = operator.operand(1), operator.output
        return Arithmetic(formula) if data[0].type == data[1].type != "FLOAT32" else None

    return Description(describe)


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {
        **dict.fromkeys(COMPARISONS, (Description(_comparison),)),
        **dict.fromkeys(("SELECT", "SELECT_V2"), (_chosen("select"),)),
        "ABS": (as_table(),),
        "ADD": (_sum("add"),),
        "DIV": (Description(_quotient),),
        "EXP": (stepped(lambda operator: exponential), as_table()),
        "LOG": (stepped(lambda operator: natural_logarithm(operator.output.parameters)), as_table()),
        "MAXIMUM": (_chosen("maximum"),),
        "MINIMUM": (_chosen("minimum"),),
        "MUL": (Description(_product),),
        "RSQRT": (stepped(lambda operator: inverse_root(operator.output.parameters)), as_table(positive=True)),
        "SQRT": (as_table(positive=True),),
        "SQUARED_DIFFERENCE": (Description(_difference),),
        "SUB": (_sum("subtract"),),
    }
)

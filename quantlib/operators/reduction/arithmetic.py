"""What integer reductions compute with."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ..description import Arithmetic, Description, fixed, quantized, requantized, shape_of, split
from .floating_axes import axes_of
from .integer import are_pixels, product_multiplier, sum_multiplier, xnnpack_scale
from .integer_builtin import pixels_requantizer, sum_scale

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from ..description import Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel


def _over(operator: QuantizedOperator, shapes: Shapes) -> dict[str, Any] | None:
    """Axes that are known beforehand, and how many elements they have."""
    axes = operator.operand(1).value
    if axes is None:
        return None
    shape = shape_of(shapes, 0)
    over = axes_of(axes.reshape(-1).tolist(), len(shape))
    count = math.prod(shape[axis] for axis in over)
    keep = bool(operator.options.keep_dims)
    return {"axes": sorted(int(a) for a in over), "keep_dims": keep, "count": count} if count else None


def _sum(formula: str) -> Description:
    mean = formula == "mean"

    def describe(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
        settings = _over(operator, shapes) if quantized(operator.operand(0), operator.output) else None
        if settings is None:
            return None
        before, after = operator.operand(0).parameters, operator.output.parameters
        count, clamp = settings["count"], (after.qmin, after.qmax)
        if operator.runtime == "xnnpack" or (operator.runtime == "builtin" and not mean):
            return _in_floats(operator, settings, mean)
        pixels = are_pixels(shape_of(shapes, 0), settings["axes"]) and settings["keep_dims"]
        if operator.runtime == "builtin" and pixels and after.type.bits == 8:
            way = pixels_requantizer(before, after, count)
            return requantized("mean_over_pixels", way, {**settings, "offset": way.vector.zero_point})
        pair = sum_multiplier(before, after, count if mean else 1)
        return Arithmetic(formula, (split("output", *pair),), clamp, settings)

    return Description(describe)


def _in_floats(operator: QuantizedOperator, settings: dict[str, Any], mean: bool) -> Arithmetic:
    before, after = operator.operand(0).parameters, operator.output.parameters
    count, clamp = settings["count"], (after.qmin, after.qmax)
    if operator.runtime == "xnnpack":
        formula, (scale, offset) = "sum_even", xnnpack_scale(before, after, count, average=mean)
    else:
        formula, (scale, offset) = "sum_float", sum_scale(before, after, count)
    output = fixed("output", scale, "float32")
    return Arithmetic(formula, (output,), clamp, settings, {"offset": np.array([offset], np.float32)})


def _product(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    settings = _over(operator, shapes) if quantized(operator.operand(0), operator.output) else None
    if settings is None:
        return None
    before, after = operator.operand(0).parameters, operator.output.parameters
    if operator.runtime == "builtin" and settings["count"] == 1:  # of one element each LiteRT makes a copy
        return Arithmetic("copy")
    multiplier = fixed("output", product_multiplier(before, after, settings["count"]), "int64")
    return Arithmetic("product", (multiplier,), (after.qmin, after.qmax), settings)


def _extreme(formula: str) -> Description:
    def describe(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
        x = operator.operand(0)
        settings = _over(operator, shapes) if x.type == operator.output.type != "FLOAT32" else None
        return None if settings is None else Arithmetic(formula, settings=settings)

    return Description(describe)


def _place(formula: str) -> Description:
    def describe(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
        axis = operator.operand(1).value
        if axis is None or axis.size != 1 or operator.operand(0).type == "FLOAT32":
            return None
        return Arithmetic(formula, settings={"axis": int(axis.flat[0]) % len(shape_of(shapes, 0))})

    return Description(describe)


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {
        "ARG_MAX": (_place("first_greatest"),),
        "ARG_MIN": (_place("first_least"),),
        "MEAN": (_sum("mean"),),
        "REDUCE_MAX": (_extreme("greatest"),),
        "REDUCE_MIN": (_extreme("least"),),
        "REDUCE_PROD": (Description(_product),),
        "SUM": (_sum("sum"),),
    }
)

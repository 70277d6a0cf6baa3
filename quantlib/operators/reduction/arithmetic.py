"""What integer reductions compute with."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.numerics import real_multiplier

from ..description import Arithmetic, Description, Multiplier, quantized, shape_of
from .floating_axes import axes_of
from .integer import sum_multiplier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..description import Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel


def _sum(formula: str) -> Description:
    def describe(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
        x, output, axes = operator.operand(0), operator.output, operator.operand(1).value
        if not quantized(x, output) or axes is None:
            return None
        shape = shape_of(shapes, 0)
        over = axes_of(axes.reshape(-1).tolist(), len(shape))
        count = math.prod(shape[axis] for axis in over)
        if not count:
            return None
        pair = sum_multiplier(x.parameters, output.parameters, count if formula == "mean" else 1)
        mantissa, shift = (np.array([v], np.int32) for v in pair)
        # that of a mean is cut off, so that its real value is what is left
        multiplier = Multiplier("output", "double", real_multiplier(mantissa, shift), mantissa, shift)
        affine = output.parameters
        settings = {"axes": sorted(int(a) for a in over), "keep_dims": operator.options.keep_dims, "count": count}
        return Arithmetic(formula, (multiplier,), (affine.qmin, affine.qmax), settings)

    return Description(describe)


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType({"MEAN": (_sum("mean"),), "SUM": (_sum("sum"),)})

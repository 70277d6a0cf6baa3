"""What integer pools compute with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ..description import Arithmetic, Description, quantized, shape_of, window
from ..integer_requantize import activation_range

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..description import Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel


def _pool(formula: str) -> Description:
    def describe(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
        if not quantized(operator.operand(0), operator.output):
            return None
        options = operator.options
        kernel = (options.filter_height, options.filter_width)
        clamp = activation_range(options.fused_activation_function, operator.output.parameters)
        settings = window(shape_of(shapes, 0)[1:3], kernel, options, dilated=False)
        return Arithmetic(formula, clamp=clamp, settings=settings)

    return Description(describe)


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {"AVERAGE_POOL_2D": (_pool("average_pool"),), "MAX_POOL_2D": (_pool("max_pool"),)}
)

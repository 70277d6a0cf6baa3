"""What integer convolutions compute with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ..description import Arithmetic, Description, quantized, requantized, shape_of, window
from .integer import multipliers, requantizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..description import Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel


def _convolution(formula: str, x: int = 0, bias: int = 2) -> Description:
    """Describe a convolution; `x` and `bias` say where these operands stand. Its filters are operand 1."""

    def describe(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
        if not quantized(operator.operand(x)):
            return None
        # windows of a transposed convolution lie on its output
        over = shape_of(shapes, -1 if x else 0)[1:3]
        settings = window(over, shape_of(shapes, 1)[1:3], operator.options, dilated=not x)
        given = requantizer(operator, x=x, bias=bias)
        return requantized(formula, multipliers(operator, x), given, settings)

    return Description(describe)


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {
        "CONV_2D": (_convolution("convolution"),),
        "DEPTHWISE_CONV_2D": (_convolution("depthwise_convolution"),),
        "TRANSPOSE_CONV": (_convolution("transposed_convolution", 2, 3),),
    }
)

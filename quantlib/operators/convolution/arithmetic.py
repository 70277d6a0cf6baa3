"""What integer convolutions compute with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ..description import Arithmetic, Description, quantized, requantized, shape_of, window
from .integer import FORMS
from .integer_hybrid import scales_by_channel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from ..description import Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Array, Kernel

#: How hybrid kernels multiply a sum by the scale of the sample and that of the channel.
TOGETHER, CHANNEL_FIRST, ROW_FIRST = "together", "channel_first", "row_first"


def _convolution(name: str, formula: str) -> Description:
    form = FORMS[name]

    def settings(operator: QuantizedOperator, shapes: Shapes) -> tuple[dict[str, Any], bool]:
        """Windows, and whether the inputs are in groups."""
        x, filters = shape_of(shapes, form.x), shape_of(shapes, 1)
        # windows of a transposed convolution lie on its output
        over = shape_of(shapes, -1)[1:3] if form.x else x[1:3]
        return window(over, filters[1:3], operator.options, dilated=not form.x), x[-1] != filters[-1]

    def describe(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
        if operator.operand(form.x).type == "FLOAT32" and make() is not None:
            windows, grouped = settings(operator, shapes)
            scales = operator.operand(1).parameters.scale
            activation = operator.options.fused_activation_function
            given = {**windows, **_manner(name, operator, scales, grouped), "activation": activation}
            return Arithmetic(f"hybrid_{formula}", settings=given)
        if not quantized(operator.operand(form.x), operator.output):
            return None
        windows, grouped = settings(operator, shapes)
        return requantized(formula, form.way(operator, grouped=grouped), windows)

    return Description(describe)


def _manner(name: str, operator: QuantizedOperator, scales: Array, grouped: bool) -> dict[str, str]:
    """How floats are quantized, and sums scaled."""
    if operator.runtime == "xnnpack":
        return {"quantization": "even", "scaling": ROW_FIRST}
    if name == "CONV_2D" and not scales_by_channel(scales.reshape(-1), grouped=grouped):
        return {"quantization": "symmetric", "scaling": TOGETHER}
    return {"quantization": "asymmetric", "scaling": TOGETHER if name == "DEPTHWISE_CONV_2D" else CHANNEL_FIRST}


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {
        "CONV_2D": (_convolution("CONV_2D", "convolution"),),
        "DEPTHWISE_CONV_2D": (_convolution("DEPTHWISE_CONV_2D", "depthwise_convolution"),),
        "TRANSPOSE_CONV": (_convolution("TRANSPOSE_CONV", "transposed_convolution"),),
    }
)

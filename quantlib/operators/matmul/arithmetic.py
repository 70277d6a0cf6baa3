"""What integer matrix products compute with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from quantlib.numerics import PerBlock

from ..description import Arithmetic, Description, quantized, requantized
from . import integer_batch
from .integer import is_asymmetric, requantizer
from .integer_blocks import even_scales

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..description import Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel


def _fully_connected(
    operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]
) -> Arithmetic | None:
    if operator.operand(0).type != "FLOAT32":
        fits = quantized(operator.operand(0), operator.output)
        return requantized("fully_connected", requantizer(operator)) if fits else None
    if make() is None:
        return None
    even, affine = operator.runtime == "xnnpack", operator.operand(1).parameters
    activation = operator.options.fused_activation_function
    if isinstance(affine.granularity, PerBlock):
        scales = even_scales(operator) if even else affine.scale
        settings = {"quantization": "even" if even else "asymmetric", "activation": activation}
        return Arithmetic("hybrid_blocks", settings=settings, tables={"block_scales": scales})
    rows = "asymmetric" if is_asymmetric(operator) else "symmetric"
    manner = ("even", "row_first") if even else (rows, "together")
    settings = dict(zip(("quantization", "scaling"), manner, strict=True)) | {"activation": activation}
    return Arithmetic("hybrid_fully_connected", settings=settings)


def _batch_matmul(
    operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]
) -> Arithmetic | None:
    options = operator.options
    settings = {"adj_x": options.adj_x, "adj_y": options.adj_y}
    if quantized(operator.operand(0), operator.operand(1), operator.output):
        return requantized("batch_matmul", integer_batch.requantizer(operator), settings)
    if make() is None or operator.operand(0).type != "FLOAT32":
        return None
    rows = "asymmetric" if options.asymmetric_quantize_inputs else "symmetric"
    quantization = "even" if operator.runtime == "xnnpack" else rows
    return Arithmetic("hybrid_batch_matmul", settings={**settings, "quantization": quantization})


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {"BATCH_MATMUL": (Description(_batch_matmul),), "FULLY_CONNECTED": (Description(_fully_connected),)}
)

"""What kernels between floats and integers, and between scales, compute with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from quantlib.numerics import PerTensor

from ..description import Arithmetic, Description, requantized
from .integer import multiplier, requantizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..description import Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel


def _quantize(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    x, after = operator.operand(0), operator.output.parameters
    if not isinstance(after.granularity, PerTensor):
        return None
    if x.type == "FLOAT32":
        return Arithmetic("quantize", clamp=(after.qmin, after.qmax))
    if x.affine is None:
        return None
    return requantized("requantize", multiplier(x.affine, after), requantizer(x.affine, after))


def _dequantize(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    affine = operator.operand(0).affine
    if affine is None or not isinstance(affine.granularity, PerTensor) or operator.output.type != "FLOAT32":
        return None
    return Arithmetic("dequantize")


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {"DEQUANTIZE": (Description(_dequantize),), "QUANTIZE": (Description(_quantize),)}
)

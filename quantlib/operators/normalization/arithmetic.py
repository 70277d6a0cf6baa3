"""What integer normalizations compute with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ..description import Arithmetic, Description, quantized
from .integer import BITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..description import Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel


def _l2(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    if not quantized(operator.operand(0), operator.output):
        return None
    affine = operator.output.parameters
    settings = {"bits": BITS, "shifts_first": operator.output.type == "UINT8"}
    return Arithmetic("l2_normalize", clamp=(affine.qmin, affine.qmax), settings=settings)


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType({"L2_NORMALIZATION": (Description(_l2),)})

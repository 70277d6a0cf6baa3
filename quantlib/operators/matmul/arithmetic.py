"""What integer matrix products compute with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ..description import Arithmetic, Description, quantized, requantized
from . import integer_batch
from .integer import multipliers, requantizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..description import Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel


def _fully_connected(
    operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]
) -> Arithmetic | None:
    if not quantized(operator.operand(0)):
        return None
    return requantized("fully_connected", multipliers(operator), requantizer(operator))


def _batch_matmul(
    operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]
) -> Arithmetic | None:
    if not quantized(operator.operand(0), operator.operand(1)):
        return None
    settings = {"adj_x": operator.options.adj_x, "adj_y": operator.options.adj_y}
    given = integer_batch.requantizer(operator)
    return requantized("batch_matmul", integer_batch.multiplier(operator), given, settings)


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {"BATCH_MATMUL": (Description(_batch_matmul),), "FULLY_CONNECTED": (Description(_fully_connected),)}
)

"""What operators do that move integers as they are."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ..description import Arithmetic, Description, shape_of
from ..integer import RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..description import Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel


def _copy(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    return Arithmetic("copy") if operator.operand(0).type == operator.output.type else None


def _concatenation(
    operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]
) -> Arithmetic | None:
    affines = [o.affine for o in (*operator.inputs, operator.output) if o is not None]
    if any(a is None or a != affines[0] for a in affines) or operator.options.fused_activation_function:
        return None
    return Arithmetic("concatenation", settings={"axis": operator.options.axis % len(shape_of(shapes, 0))})


def _pad(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    paddings, x = operator.operand(1).value, operator.operand(0)
    if paddings is None or x.affine is None or operator.optional(2) is not None:
        return None
    settings = {"padding": paddings.reshape(-1, 2).tolist(), "value": operator.output.zero_point}
    return Arithmetic("pad", settings=settings)


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {
        **dict.fromkeys(("EXPAND_DIMS", "RESHAPE", "SQUEEZE"), (Description(_copy, RUNTIMES),)),
        "CONCATENATION": (Description(_concatenation, RUNTIMES),),
        "PAD": (Description(_pad, RUNTIMES),),
    }
)

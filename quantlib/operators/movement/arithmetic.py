"""What operators do that move integers as they are."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ..description import Arithmetic, Description, moved, quantized, shape_of
from ..integer_table import all_values
from .floating import KERNELS as FLOATING
from .integer import rescale_uint8
from .rows import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..description import Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel

#: Operators whose outputs depend on what they move.
_BY_VALUE = ("TOPK_V2",)
_COPIES = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")
_OWN = ("CONCATENATION", "GATHER", "PAD", "PADV2", "SPACE_TO_BATCH_ND")


def _copy(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    return Arithmetic("copy") if operator.operand(0).type == operator.output.type else None


def _moved(data: tuple[int, ...] | None) -> Description:
    def describe(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
        which = tuple(range(len(operator.inputs))) if data is None else data
        return moved(operator, shapes, FLOATING[operator.name], which)

    return Description(describe)


def _concatenation(
    operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]
) -> Arithmetic | None:
    if operator.options.fused_activation_function:
        return None
    given, output, tables = [o for o in operator.inputs if o is not None], operator.output.affine, {}
    if operator.output.type == "UINT8" and output is not None:
        values = all_values(np.uint8)
        affines = {f"table_{i}": o.parameters for i, o in enumerate(given)}
        tables = {name: rescale_uint8(values, a, output) for name, a in affines.items() if a != output}
    axis = operator.options.axis % len(shape_of(shapes, 0))
    return Arithmetic("concatenation", settings={"axis": axis}, tables=tables)


def _pad(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    paddings, x, value = operator.operand(1).value, operator.operand(0), operator.optional(2)
    if paddings is None or not quantized(x, operator.output) or (value is not None and value.value is None):
        return None
    filling = operator.output.zero_point
    if value is not None and value.value is not None:
        filling = int(value.value.flat[0])
    return Arithmetic("pad", settings={"padding": paddings.reshape(-1, 2).tolist(), "value": filling})


def _blocks(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    if not quantized(operator.operand(0), operator.output):
        return None
    return moved(operator, shapes, FLOATING[operator.name], (0,), filling=operator.output.zero_point)


def _gather(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    if operator.operand(0).type != operator.output.type:
        return None
    rank = len(shape_of(shapes, 0))
    batch = operator.options.batch_dims
    batch += len(shape_of(shapes, 1)) if batch < 0 else 0
    return Arithmetic("gather", settings={"axis": operator.options.axis % rank, "batch_dims": batch})


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {
        **{
            row.name: (_moved(row.integer.data),)
            for row in ROWS
            if row.integer is not None and row.name in FLOATING and row.name not in (*_BY_VALUE, *_COPIES, *_OWN)
        },
        **dict.fromkeys(_COPIES, (Description(_copy),)),
        **dict.fromkeys(("PAD", "PADV2"), (Description(_pad),)),
        "CONCATENATION": (Description(_concatenation),),
        "GATHER": (Description(_gather),),
        "SPACE_TO_BATCH_ND": (Description(_blocks),),
    }
)

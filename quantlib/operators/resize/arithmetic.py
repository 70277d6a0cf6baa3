"""What resizing of integers computes with: neighbours and weights of each place."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ..description import Arithmetic, Description, moved, shape_of
from . import floating, integer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..description import Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Array, Kernel


def _bilinear(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    x, size = operator.operand(0), operator.operand(1).value
    if size is None or x.type not in ("INT8", "UINT8", "INT16"):
        return None
    corners, centers = operator.options.align_corners, operator.options.half_pixel_centers
    find, formula, bits = floating.between_integers, "bilinear", floating.BITS
    if operator.runtime == "xnnpack":
        find, formula, bits, centers = integer.between, "bilinear_upward", integer.BITS, centers and not corners
    elif x.type == "UINT8":
        find, bits = floating.between, 0
        formula = "bilinear_weights" if operator.runtime == "builtin" else "bilinear_float"
    tables: dict[str, Array] = {}
    for axis, length, wanted in zip(("rows", "columns"), shape_of(shapes, 0)[1:3], size.tolist(), strict=True):
        names = (f"{axis}_{part}" for part in ("lower", "upper", "weight"))
        tables.update(zip(names, find(length, wanted, corners, centers), strict=True))
    return Arithmetic(formula, settings={"bits": bits} if bits else {}, tables=tables)


def _nearest(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    return moved(operator, shapes, floating.KERNELS[operator.name], (0,))


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {"RESIZE_BILINEAR": (Description(_bilinear),), "RESIZE_NEAREST_NEIGHBOR": (Description(_nearest),)}
)

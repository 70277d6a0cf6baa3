"""What kernels between floats and integers, and between scales, compute with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.numerics import PerTensor

from ..description import Arithmetic, Description, fixed, requantized
from ..integer_values import ratio
from .integer import LANES, requantizer, requantizer_in_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from quantlib.numerics import Affine

    from ..description import Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel


def _quantize(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    x, after = operator.operand(0), operator.output.parameters
    if not isinstance(after.granularity, PerTensor) or make() is None:
        return None
    if x.type == "FLOAT32":
        return _of_floats(operator.runtime, after)
    if x.affine is None:
        return None
    if operator.runtime == "xnnpack":
        output = fixed("output", ratio(x.affine, after, np.float32), "bits8")
        return Arithmetic("requantize", (output,), (after.qmin, after.qmax))
    bytes_alone = {x.type, operator.output.type} <= {"INT8", "UINT8"}
    vectors = operator.runtime == "builtin" and bytes_alone
    return requantized("requantize", (requantizer_in_vectors if vectors else requantizer)(x.affine, after))


def _of_floats(runtime: str, after: Affine) -> Arithmetic:
    clamp = (after.qmin, after.qmax)
    if runtime == "xnnpack":
        return Arithmetic("quantize_even", clamp=clamp)
    if runtime == "builtin" and after.type.name in ("INT8", "UINT8", "INT16"):
        return Arithmetic("quantize_vectors", clamp=clamp, settings={"lanes": LANES})
    return Arithmetic("quantize", clamp=clamp)


def _dequantize(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    affine = operator.operand(0).affine
    if affine is None or not isinstance(affine.granularity, PerTensor) or operator.output.type != "FLOAT32":
        return None
    return Arithmetic("dequantize")


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {"DEQUANTIZE": (Description(_dequantize),), "QUANTIZE": (Description(_quantize),)}
)

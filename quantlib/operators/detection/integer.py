"""The detectors' last operator on quantized boxes and scores: it computes in floats."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from quantlib.numerics import dequantize

from ..integer import IntegerKernel, takes
from .floating import KERNELS as FLOATING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..integer import QuantizedOperator
    from ..kernel import Array, Call, Kernel

_NAME = "TFLite_Detection_PostProcess"


def _postprocess(operator: QuantizedOperator) -> Kernel:
    kernel = FLOATING[_NAME]
    affines = [None if operand is None else operand.affine for operand in operator.inputs]

    def run(call: Call) -> Sequence[Array]:
        real = [
            value if affine is None or value is None else dequantize(value, affine)
            for value, affine in zip(call.inputs, affines, strict=True)
        ]
        return kernel(replace(call, inputs=tuple(real)))

    return run


KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {_NAME: (IntegerKernel(takes(("UINT8", "FLOAT32"), to=("FLOAT32",)), _postprocess),)}
)

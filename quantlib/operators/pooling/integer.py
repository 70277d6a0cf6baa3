"""Integer kernels of pools: integers as they are, whatever the scales, within the output's range."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ..integer import alike
from ..integer_requantize import activation_range
from ..windows import PADDINGS
from .floating import average_pool, max_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..integer import IntegerKernel, QuantizedOperator
    from ..kernel import Array, Call, Kernel


def _pool(pool: Callable[..., Array]) -> Callable[[QuantizedOperator], Kernel]:
    def prepare(operator: QuantizedOperator) -> Kernel:
        options, output = operator.options, operator.output
        low, high = activation_range(options.fused_activation_function, output.parameters)
        kernel, strides = (options.filter_height, options.filter_width), (options.stride_h, options.stride_w)
        padding = PADDINGS[options.padding]

        def run(call: Call) -> Sequence[Array]:
            pooled = pool(call.operand(0), kernel=kernel, strides=strides, padding=padding)
            return (np.clip(pooled, low, high, out=pooled),)

        return run

    return prepare


KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {"AVERAGE_POOL_2D": alike(_pool(average_pool)), "MAX_POOL_2D": alike(_pool(max_pool))}
)

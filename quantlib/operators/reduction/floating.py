"""Kernels of reductions and running sums."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.tflite import tensor_type_code

from .floating_axes import REDUCERS, axes_of, mean, reduce
from .floating_places import arg_extreme, running_sum

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..kernel import Array, Call, Kernel

__all__ = ["KERNELS", "REDUCERS", "arg_extreme", "axes_of", "mean", "reduce", "running_sum"]


def axes_in(call: Call) -> list[int]:
    """Axes in an operator's second operand."""
    axes = call.operand(1)
    if axes.dtype.kind not in "iu" or axes.ndim > 1:
        raise InvalidValue(
            f"axes are {axes.dtype} of shape {axes.shape}: an integer, or a vector of them, is required"
        )
    return [int(axis) for axis in axes.reshape(-1)]


def _axis(call: Call) -> int:
    axes = axes_in(call)
    if len(axes) != 1:
        raise InvalidValue(f"axes {axes}: one is required")
    return axes[0]


def _mean(call: Call) -> Sequence[Array]:
    return (mean(call.operand(0), axes_in(call), keep_dims=call.options.keep_dims),)


def _reduce(operation: str, call: Call) -> Sequence[Array]:
    return (reduce(operation, call.operand(0), axes_in(call), keep_dims=call.options.keep_dims),)


def _arg_extreme(greatest: bool, call: Call) -> Sequence[Array]:
    places = arg_extreme(call.operand(0), _axis(call), greatest=greatest)
    wide = call.options.output_type == tensor_type_code("INT64")
    return (places if wide else places.astype(np.int32),)


def _cumsum(call: Call) -> Sequence[Array]:
    options = call.options
    return (running_sum(call.operand(0), _axis(call), exclusive=options.exclusive, reverse=options.reverse),)


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        **{name: partial(_reduce, name) for name in REDUCERS},
        "ARG_MAX": partial(_arg_extreme, True),
        "ARG_MIN": partial(_arg_extreme, False),
        "CUMSUM": _cumsum,
        "MEAN": _mean,
    }
)

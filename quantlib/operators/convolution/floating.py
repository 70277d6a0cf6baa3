"""Float kernels of convolutions."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..windows import PADDINGS
from .floating_dense import convolve
from .floating_depthwise import depthwise_convolve
from .floating_transposed import transposed_convolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ..kernel import Array, Call, Kernel

__all__ = ["KERNELS", "convolve", "depthwise_convolve", "transposed_convolve"]


def _operands(call: Call, first: int = 0) -> tuple[Array, Array, Array | None]:
    """Two operands and the bias, from a place on; all must be float32."""
    one, two, bias = (*call.inputs, None)[first : first + 3]
    if one is None or two is None:
        raise InvalidValue("a convolution without its input or filter: both are required")
    for array in (one, two, bias):
        if array is not None and array.dtype != np.float32:
            raise InvalidValue(f"a float convolution with an operand of {array.dtype}: float32 is required")
    return one, two, bias


def spatial_options(options: Any, spatial: str = "hw", dilated: bool = True) -> dict[str, Any]:
    """Strides, dilations, padding and activation in an operator's options."""
    return {
        "strides": tuple(getattr(options, f"stride_{axis}") for axis in spatial),
        "dilations": tuple(getattr(options, f"dilation_{axis}_factor") if dilated else 1 for axis in spatial),
        "padding": PADDINGS[options.padding],
        "activation": options.fused_activation_function,
    }


def _conv_2d(call: Call) -> Sequence[Array]:
    return (convolve(*_operands(call), **spatial_options(call.options)),)


def _conv_3d(call: Call) -> Sequence[Array]:
    x, filters, bias = _operands(call)
    if filters.ndim == 5 and filters.shape[3] != x.shape[-1]:
        raise InvalidValue(f"CONV_3D of {x.shape} with {filters.shape}: the channels differ")
    return (convolve(x, np.moveaxis(filters, -1, 0), bias, **spatial_options(call.options, "dhw")),)


def _depthwise_conv_2d(call: Call) -> Sequence[Array]:
    return (depthwise_convolve(*_operands(call), **spatial_options(call.options)),)


def _shape(call: Call) -> list[int]:
    shape = call.inputs[0]
    if shape is None or shape.dtype != np.int32 or shape.ndim != 1:
        raise InvalidValue("a transposed convolution without its output shape: an INT32 vector is required")
    return [int(n) for n in shape]


def _transpose_conv(call: Call) -> Sequence[Array]:
    filters, x, bias = _operands(call, 1)
    filters = np.moveaxis(filters, 0, -2) if filters.ndim == 4 else filters
    return (transposed_convolve(_shape(call), filters, x, bias, **spatial_options(call.options, dilated=False)),)


def _conv_3d_transpose(call: Call) -> Sequence[Array]:
    filters, x, bias = _operands(call, 1)
    return (transposed_convolve(_shape(call), filters, x, bias, **spatial_options(call.options, "dhw")),)


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "CONV_2D": _conv_2d,
        "CONV_3D": _conv_3d,
        "CONV_3D_TRANSPOSE": _conv_3d_transpose,
        "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
        "TRANSPOSE_CONV": _transpose_conv,
    }
)

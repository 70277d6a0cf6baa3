"""Integer kernels of operators that move elements: those that need more than the elements.

All others move integers as they are, whatever these stand for.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, round_half_away

from ..integer import IntegerKernel, alike, takes
from ..integer_table import tabulated
from ..integer_values import scale_of, zero_point_of
from ..kernel_checks import checked
from ._checks import integers, pairs
from ._join import concatenate
from ._space import pad, space_to_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..integer import QuantizedOperator
    from ..kernel import Array, Call, Kernel

_KINDS = ("INT8", "UINT8", "INT16")


@checked()
def rescale_uint8(x: Array, before: Affine, after: Affine) -> Array:
    """UINT8 values of one scale as those of another, in float32: ``half_away(x * scale + bias) + zero_point``.

    ``scale`` is ``s_in * (1 / s_out)``, ``bias`` is ``-zero_point * scale`` (``ConcatenationWithScaling`` in
    ``tflite/kernels/internal/reference/concatenation.h``).

    Parameters
    ----------
    x : ndarray
        uint8, any shape.
    before, after : Affine
        One scale each.

    Returns
    -------
    ndarray
        uint8, shape of `x`.

    Examples
    --------
    >>> rescale_uint8(np.array([7, 8, 200], np.uint8), Affine("UINT8", 0.5, 2), Affine("UINT8", 0.25, 128))
    array([138, 140, 255], dtype=uint8)
    """
    if before == after:
        return x
    scale = scale_of(before) * (np.float32(1) / scale_of(after))
    bias = np.float32(-zero_point_of(before)) * scale
    values = round_half_away(x.astype(np.float32) * scale + bias) + np.float32(zero_point_of(after))
    return np.clip(values, 0, 255).astype(np.uint8)


def _pad(operator: QuantizedOperator) -> Kernel:
    output, value = operator.output, operator.optional(2)
    zero_point = output.zero_point
    if value is not None and (value.scale != output.scale or value.zero_point != zero_point):
        raise InvalidValue("PADV2 with a value of another scale than the output; both must stand for the same")

    def run(call: Call) -> Sequence[Array]:
        x, filling = call.operand(0), call.optional(2)
        filling = np.array(zero_point, x.dtype) if filling is None else filling
        return (pad(x, pairs(call.operand(1), "paddings", x.ndim), filling),)

    return run


def _space_to_batch(operator: QuantizedOperator) -> Kernel:
    before, zero_point = operator.operand(0).zero_point, operator.output.zero_point
    if before != zero_point:
        raise InvalidValue(f"SPACE_TO_BATCH_ND from zero point {before} to {zero_point}; the same is required")

    def run(call: Call) -> Sequence[Array]:
        x, blocks = call.operand(0), integers(call.operand(1), "blocks")
        around = pairs(call.operand(2), "paddings", len(blocks))
        if x.ndim > len(blocks):
            x = pad(x, [(0, 0), *around, *[(0, 0)] * (x.ndim - len(blocks) - 1)], np.array(zero_point, x.dtype))
        return (space_to_batch(x, blocks, [(0, 0)] * len(blocks)),)

    return run


def _concatenate(operator: QuantizedOperator) -> Kernel:
    output = operator.output.parameters
    _ = operator.output.scale  # there is one
    affines = [operand.parameters for operand in operator.inputs if operand is not None]
    axis = operator.options.axis
    if operator.options.fused_activation_function:
        raise InvalidValue("CONCATENATION of integers with a fused activation; none is required")

    def table(affine: Affine) -> Callable[[Array], Array]:
        return tabulated(lambda x: rescale_uint8(x, affine, output), np.uint8)

    tables = [None if affine == output else table(affine) for affine in affines]

    def run(call: Call) -> Sequence[Array]:
        arrays = [call.operand(i) for i in range(len(call.inputs))]
        parts = [x if look_up is None else look_up(x) for x, look_up in zip(arrays, tables, strict=True)]
        return (concatenate(parts, axis),)

    return run


_PADS = tuple(IntegerKernel(takes((kind,), ("INT32", "INT64"), (kind, ""), to=(kind,)), _pad) for kind in _KINDS)

KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {
        "CONCATENATION": (IntegerKernel(takes(("UINT8",), to=("UINT8",)), _concatenate),),
        "PAD": _PADS,
        "PADV2": _PADS,
        "SPACE_TO_BATCH_ND": alike(_space_to_batch, _KINDS, (("INT32",),)),
    }
)

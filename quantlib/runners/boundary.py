"""Where float and integers meet: kernels that need scales, and which operators the NumPy runner must refuse."""

from __future__ import annotations

from collections.abc import Sequence

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    Affine,
    Granularity,
    PerAxis,
    PerBlock,
    PerTensor,
    dequantize,
    element_type,
    quantize,
    round_half_away,
)
from quantlib.operators import Call, Kernel
from quantlib.tflite import Model, Table, Tensor

from .protocol import Array, indices_of

#: Types whose values stand for others where a tensor has a scale. INT32 and INT64 are counted with.
_NARROW = ("INT2", "INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16")
#: Operators that do the same with integers whatever they stand for, as LiteRT's do.
_BLIND = frozenset(
    {
        "ARG_MAX", "ARG_MIN", "ASSIGN_VARIABLE", "BITCAST", "CALL_ONCE", "CAST", "DENSIFY", "DEQUANTIZE",
        "EXPAND_DIMS", "IF", "RANK", "READ_VARIABLE", "RESHAPE", "SHAPE", "SQUEEZE", "STABLEHLO_COMPOSITE",
        "TRANSPOSE", "WHILE",
    }
)  # fmt: skip
#: Operators that copy or choose values: right where all stand for the same.
_COPYING = frozenset(
    {
        "BROADCAST_TO", "CONCATENATION", "DEPTH_TO_SPACE", "DYNAMIC_UPDATE_SLICE", "EMBEDDING_LOOKUP", "GATHER",
        "GATHER_ND", "MAXIMUM", "MAX_POOL_2D", "MINIMUM", "MIRROR_PAD", "PACK", "REDUCE_MAX", "REDUCE_MIN",
        "RESIZE_NEAREST_NEIGHBOR", "REVERSE_SEQUENCE", "REVERSE_V2", "SELECT", "SELECT_V2", "SLICE",
        "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "STRIDED_SLICE", "TILE", "UNPACK",
    }
)  # fmt: skip


def boundary_kernel(model: Model, g: int, operator: Table, name: str) -> Kernel | None:
    """Kernel of a QUANTIZE, DEQUANTIZE or DENSIFY, with what it must know of its tensors; None for other operators.

    Rounding is that of LiteRT's reference kernels, half away from zero. A sparse constant is dense when it is read.
    """
    if name == "DENSIFY":
        return lambda call: [call.operand(0)]
    if name not in ("QUANTIZE", "DEQUANTIZE"):
        return None
    before, after = (_first_affine(model, g, indices_of(ends)) for ends in (operator.inputs, operator.outputs))
    if name == "QUANTIZE":
        return lambda call: [_quantized(call, before, after)]
    return None if before is None else lambda call: [dequantize(call.operand(0), before)]


def _first_affine(model: Model, g: int, indices: Sequence[int]) -> Affine | None:
    return affine_of(Tensor(model, g, indices[0])) if indices and indices[0] >= 0 else None


def _quantized(call: Call, before: Affine | None, after: Affine | None) -> Array:
    value = call.operand(0)
    if after is None:
        raise InvalidValue("QUANTIZE to a tensor without a scale: one is required")
    if before is None and value.dtype.kind != "f":
        raise InvalidValue(f"QUANTIZE of {value.dtype} without a scale: floats, or integers with one, are required")
    return quantize(value if before is None else dequantize(value, before), after, rounding=round_half_away)


def affine_of(tensor: Tensor) -> Affine | None:
    """Parameters of a tensor; None where it has none."""
    quantization = tensor.quantization
    if quantization is None or not element_type(tensor.type).is_integer:
        return None
    scale, zero_point = quantization.scale, quantization.zero_point
    granularity: Granularity = PerTensor()
    if quantization.block_size:
        granularity = PerBlock(len(tensor.shape) - 1, quantization.block_size)
        shape = (*tensor.shape[:-1], tensor.shape[-1] // quantization.block_size)
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    elif scale.size > 1:
        granularity = PerAxis(quantization.quantized_dimension)
    return Affine(element_type(tensor.type), scale, zero_point, granularity)


def refusal(model: Model, g: int, operator: Table, name: str) -> str | None:
    """Say why an operator can't be run without integer kernels; None where float kernels do.

    A float kernel that is given integers computes with those, not with what they stand for.
    """
    inputs, outputs = (
        [Tensor(model, g, i) for i in indices_of(vector) if i >= 0] for vector in (operator.inputs, operator.outputs)
    )
    quantized = [t for t in (*inputs, *outputs) if t.type in _NARROW and t.quantization is not None]
    if not quantized or name in _BLIND:
        return None
    if name in _COPYING and outputs and _all_same(quantized, outputs[0]):
        options = operator.builtin_options
        if not getattr(options, "fused_activation_function", 0):
            return None
    if name == "QUANTIZE" and (len(quantized) == 1 or _same_scale(quantized)):
        return None
    types = ", ".join(dict.fromkeys(t.type for t in quantized))
    return f"it computes on {types} values with scales, and NumPy has no integer kernels yet; run it with LiteRT"


def _all_same(quantized: Sequence[Tensor], output: Tensor) -> bool:
    """Whether an output and all others hold integers of one scale for the whole tensor."""
    meaning = output.quantization
    if meaning is None or meaning.scale.size != 1 or output.type not in _NARROW:
        return False
    return all(t.type == output.type and t.quantization == meaning for t in quantized)


def _same_scale(quantized: Sequence[Tensor]) -> bool:
    """Whether only zero points differ; between other scales LiteRT multiplies by an integer."""
    scales = [t.quantization.scale for t in quantized if t.quantization is not None]
    return all(s.size == 1 and s[0] == scales[0][0] for s in scales)

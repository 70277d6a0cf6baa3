"""Which kernel computes an operator: one of floats, or of integers with what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quantlib.errors import NotFound
from quantlib.numerics import Affine, Granularity, PerAxis, PerBlock, PerTensor, element_type
from quantlib.operators import Kernel, Operand, QuantizedOperator, integer_kernel, kernel, row
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
#: Operators that copy or choose values, and require that all stand for the same.
_COPYING = frozenset(
    {
        "BATCH_TO_SPACE_ND", "CONCATENATION", "EMBEDDING_LOOKUP", "MIRROR_PAD", "PACK", "REDUCE_MAX", "REDUCE_MIN",
        "REVERSE_SEQUENCE", "UNPACK",
    }
)  # fmt: skip
#: Operators that copy, choose or interpolate integers of one type, whatever they stand for, as LiteRT's do.
_RAW = frozenset(
    {
        "BROADCAST_TO", "DEPTH_TO_SPACE", "DYNAMIC_UPDATE_SLICE", "GATHER", "GATHER_ND", "MAXIMUM", "MINIMUM",
        "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SELECT", "SELECT_V2", "SLICE", "SPACE_TO_DEPTH",
        "SPLIT", "SPLIT_V", "STRIDED_SLICE", "TILE", "TOPK_V2",
    }
)  # fmt: skip


def kernel_of(
    model: Model,
    g: int,
    operator: Table,
    name: str,
    *,
    runtime: str,
    constant: Callable[[int], Array | None],
) -> Kernel | None:
    """Kernel of ours for an operator at its place; None where there is none.

    A float kernel that is given integers computes with those, not with what they stand for: operators on quantized
    values have integer kernels, those that only move them excepted. DENSIFY does nothing: a sparse constant is dense
    when it is read.

    Parameters
    ----------
    model : Model
    g : int
    operator : Table
    name : str
    runtime : str
        Whose integer arithmetic.
    constant : callable
        Value of a tensor, or None where it has none before a run.

    Raises
    ------
    NotFound
        If it computes on quantized values, and there is no integer kernel for it.
    InvalidValue
        If its scales, options or constants can't be computed with.
    """
    if name == "DENSIFY":
        return lambda call: [call.operand(0)]
    inputs, outputs = (
        [Tensor(model, g, i) if i >= 0 else None for i in indices_of(vector)]
        for vector in (operator.inputs, operator.outputs)
    )
    tensors = [t for t in (*inputs, *outputs) if t is not None]
    quantized = [t for t in tensors if t.type in _NARROW and t.quantization is not None]
    if not quantized and name not in ("QUANTIZE", "DEQUANTIZE"):
        return kernel(name)
    made_of = quantized_operator(model, g, operator, runtime=runtime, constant=constant)
    made = integer_kernel(made_of)
    if made is not None:
        return made
    reason = _refusal(name, operator, quantized, made_of.outputs)
    if reason is not None:
        raise NotFound(reason)
    return kernel(name)


def quantized_operator(
    model: Model, g: int, operator: Table, *, runtime: str, constant: Callable[[int], Array | None]
) -> QuantizedOperator:
    """Gather what an operator's integer kernel is made from.

    Parameters
    ----------
    model : Model
    g : int
        Its subgraph.
    operator : Table
    runtime : str
        Whose integer arithmetic.
    constant : callable
        Value of a tensor by its index, or None where it has none before a run.

    Returns
    -------
    QuantizedOperator

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> operator = model.subgraphs[0].operators[0]
    >>> found = quantized_operator(model, 0, operator, runtime="reference", constant=lambda index: None)
    >>> found.name, [operand.type for operand in found.inputs]
    ('CONV_2D', ['FLOAT32', 'FLOAT32', 'FLOAT32'])
    """
    inputs, outputs, inner = (
        [Tensor(model, g, i) if i >= 0 else None for i in indices_of(vector)]
        for vector in (operator.inputs, operator.outputs, operator.intermediates)
    )
    return QuantizedOperator(
        model.operator_name(operator),
        tuple(None if t is None else Operand(t.type, affine_of(t), constant(t.index)) for t in inputs),
        tuple(Operand(t.type, affine_of(t)) for t in outputs if t is not None),
        options_of(model, operator),
        runtime,
        tuple(None if t is None else _meaning(t) for t in inner),
    )


def options_of(model: Model, operator: Table) -> Table:
    """Options of an operator, with the schema's defaults where it has none.

    Parameters
    ----------
    model : Model
    operator : Table
    """
    stored: Table | None = operator.builtin_options or operator.builtin_options_2
    return Table(row(model.operator_name(operator)).options or "AddOptions") if stored is None else stored


def _meaning(tensor: Tensor) -> Operand | None:
    """What a tensor says of values that no tensor holds; None where it says nothing."""
    affine = affine_of(tensor)
    return None if affine is None else Operand(tensor.type, affine)


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


def _refusal(name: str, operator: Table, quantized: Sequence[Tensor], outputs: Sequence[Operand]) -> str | None:
    """Say why an operator can't be run without an integer kernel; None where a float kernel does."""
    if not quantized or name in _BLIND:
        return None
    fused = getattr(operator.builtin_options, "fused_activation_function", 0)
    one_type = bool(outputs) and all(t.type == outputs[0].type for t in quantized)
    if one_type and not fused and (name in _RAW or (name in _COPYING and _all_same(quantized))):
        return None
    types = ", ".join(dict.fromkeys(t.type for t in quantized))
    return f"it computes on {types} values with scales, and NumPy has no integer kernel for it; run it with LiteRT"


def _all_same(quantized: Sequence[Tensor]) -> bool:
    """Whether all have one scale and zero point, the same for the whole tensor."""
    meaning = quantized[0].quantization
    return meaning is not None and meaning.scale.size == 1 and all(t.quantization == meaning for t in quantized)

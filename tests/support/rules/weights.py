"""Rules of weights and biases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from .finding import Finding, Findings, parameters
from .operands import activations, floats, hybrid, integer, results, weights
from .reader import Array, Graph, Operator, Tensor
from .tables import LSTMS, WEIGHTED

#: Types of weights by the type of the activations.
_TYPES: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "CONV_2D": {"INT8": ("INT8", "INT4"), "INT16": ("INT8", "INT4"), "UINT8": ("UINT8",)},
        "DEPTHWISE_CONV_2D": {"INT8": ("INT8", "INT4"), "INT16": ("INT8", "INT4"), "UINT8": ("UINT8",)},
        "FULLY_CONNECTED": {"INT8": ("INT8", "INT4", "INT2"), "INT16": ("INT8", "INT4"), "UINT8": ("UINT8",)},
        "TRANSPOSE_CONV": {"INT8": ("INT8",), "INT16": ("INT8",), "UINT8": ("UINT8",)},
    }
)
_BIASED = tuple(_TYPES)
_INT32 = 2  # tflite/converter/schema/schema.fbs (TensorType)


def stored(tensor: Tensor) -> Array:
    """Values of an INT2, INT4 or INT8 constant: tflite/kernels/internal/portable_tensor_utils.h (packing)."""
    raw = np.zeros(0, np.uint8) if tensor.data is None else tensor.data
    if tensor.type == "INT8":
        return raw.view(np.int8)
    bits = {"INT4": 4, "INT2": 2}[tensor.type]
    parts = np.stack([raw >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)], axis=-1).astype(np.int8)
    signed = np.where(parts >= 1 << (bits - 1), parts - (1 << bits), parts)
    return signed.reshape(-1)[: int(np.prod(tensor.shape))]


def _narrow(operator: Operator, tensor: Tensor, is_hybrid: bool) -> bool:
    """Whether a constant is a symmetric weight; operand 1 of an integer BATCH_MATMUL is an activation."""
    if tensor.type not in ("INT8", "INT4", "INT2"):
        return False
    return operator.name != "BATCH_MATMUL" or is_hybrid


def weight_symmetry(graph: Graph, operator: Operator) -> Findings:
    """Weights have zero point 0: kernels don't subtract another one."""
    for tensor in weights(graph, operator):
        if _narrow(operator, tensor, hybrid(graph, operator)) and tensor.zero_point.any():
            yield Finding(parameters(tensor), "zero point 0", tensor)


def weight_range(graph: Graph, operator: Operator) -> Findings:
    """The lowest value isn't used; fast kernels negate weights or add products of two."""
    for tensor in weights(graph, operator):
        if not _narrow(operator, tensor, hybrid(graph, operator)) or tensor.sparse or tensor.type == "INT2":
            continue
        low = {"INT8": -128, "INT4": -8}[tensor.type]
        if tensor.scales_tensor is None and stored(tensor).min(initial=0) == low:
            yield Finding(f"a value of {low}", f"{low + 1} or more", tensor)


def weight_axis(graph: Graph, operator: Operator) -> Findings:
    """The axis that an operator has its channels on; UINT8 weights have one scale for all."""
    for tensor in weights(graph, operator):
        if tensor.type == "UINT8" and tensor.scale.size > 1:
            yield Finding(f"{tensor.scale.size} scales", "one, for UINT8", tensor)
        elif tensor.scale.size > 1 and tensor.axis != WEIGHTED[operator.name].axis:
            yield Finding(f"axis {tensor.axis}", f"axis {WEIGHTED[operator.name].axis}", tensor)
        elif tensor.scales_tensor is not None and tensor.axis != 0:
            yield Finding(f"blockwise along axis {tensor.axis}", "axis 0", tensor)


def weight_type(graph: Graph, operator: Operator) -> Findings:
    """Types of weights that an integer kernel takes; never float ones."""
    if operator.name not in _TYPES or not integer(graph, operator):
        return
    first = activations(graph, operator)[0]
    allowed = _TYPES[operator.name].get(first.type, ())
    tensor = graph.operand(operator, 1)
    if tensor is None or tensor.type not in allowed or not tensor.quantized:
        found = "nothing" if tensor is None else parameters(tensor)
        yield Finding(found, f"one of {', '.join(allowed)}, with {first.type}", tensor)


def _bias(graph: Graph, operator: Operator) -> tuple[Tensor, Tensor, Tensor] | None:
    """Activation, weights and bias of an integer operator that has them."""
    if operator.name not in _BIASED or not integer(graph, operator):
        return None
    known = WEIGHTED[operator.name]
    found = [graph.operand(operator, at) for at in (known.activation, 1, known.bias or 0)]
    x, w, b = found
    return None if x is None or w is None or b is None else (x, w, b)


def bias_present(graph: Graph, operator: Operator) -> Findings:
    """CONV_2D has a bias always, DEPTHWISE_CONV_2D as converters write it."""
    convolution = operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D")
    if convolution and integer(graph, operator) and graph.operand(operator, 2) is None:
        yield Finding("no bias", "a bias, of zeros where there was none")


def bias_type(graph: Graph, operator: Operator) -> Findings:
    """INT32; with INT16 activations INT64, or INT32 where `quantized_bias_type` says so; FLOAT32 if hybrid."""
    if hybrid(graph, operator) and operator.name in _BIASED:
        b = graph.operand(operator, WEIGHTED[operator.name].bias or 0)
        if b is not None and not floats(b):
            yield Finding(b.type, "FLOAT32 with float activations", b)
        return
    operands = _bias(graph, operator)
    if operands is None:
        return
    x, _, b = operands
    says_int32 = operator.name != "DEPTHWISE_CONV_2D" and operator.option("QuantizedBiasType") == _INT32
    required = "INT64" if x.type == "INT16" and not says_int32 else "INT32"
    if b.type != required:
        yield Finding(b.type, f"{required} with {x.type}, as quantized_bias_type says", b)


def bias_scale(graph: Graph, operator: Operator) -> Findings:
    """Scale of the products, as a product of float32."""
    operands = _bias(graph, operator)
    if operands is None:
        return
    x, w, b = operands
    if not x.scale.size:
        return
    required = (np.float32(x.scale[0]) * w.scale.astype(np.float32)).astype(np.float32)
    if b.scale.size != required.size:
        yield Finding(f"{b.scale.size} scales", f"{required.size}, as the weights", b)
    elif (b.scale != required).any():
        at = int(np.flatnonzero(b.scale != required)[0])
        yield Finding(f"scale {b.scale[at]:.9g} of channel {at}", f"{required[at]:.9g}, input times weights", b)


def svdf_layout(graph: Graph, operator: Operator) -> Findings:
    """tflite/kernels/svdf.cc (Prepare): INT16 time weights and state, a bias in their product's scale, RELU."""
    if operator.name != "SVDF" or not integer(graph, operator):
        return
    time, bias, state = (graph.operand(operator, at) for at in (2, 3, 4))
    for tensor in (time, state):
        if tensor is not None and tensor.type != "INT16":
            yield Finding(tensor.type, "INT16", tensor)
    if bias is not None and time is not None and state is not None and time.scale.size and state.scale.size:
        required = np.float32(time.scale[0]) * np.float32(state.scale[0])
        if bias.type != "INT32" or bias.scale.tolist() != [float(required)]:
            yield Finding(parameters(bias), f"INT32 scale {required:.9g}", bias)
    if operator.option("FusedActivationFunction") != 1:
        yield Finding(f"fused activation {operator.option('FusedActivationFunction')}", "RELU")


# ---- LSTM: tflite/kernels/lstm.cc, unidirectional_sequence_lstm.cc, tools/optimize/operator_property.cc ------------


def lstm_layout(graph: Graph, operator: Operator) -> Findings:
    """Types and parameters of an LSTM with INT8 activations."""
    if operator.name not in LSTMS or not integer(graph, operator):
        return
    yield from _lstm_types(graph, operator)
    yield from _lstm_states(graph, operator)
    yield from _lstm_biases(graph, operator)
    yield from _lstm_intermediates(graph, operator)


def _lstm_types(graph: Graph, operator: Operator) -> Findings:
    for slots, required in (((0, 18, *range(1, 9), 16), "INT8"), ((9, 10, 11, 19, 20, 21, 22, 23), "INT16")):
        for at in slots:
            tensor = graph.operand(operator, at)
            if tensor is not None and (tensor.type != required or tensor.scale.size != 1):
                yield Finding(f"{parameters(tensor)} as input {at}", f"{required} with one scale", tensor)


def _lstm_states(graph: Graph, operator: Operator) -> Findings:
    state, cell, out = graph.operand(operator, 18), graph.operand(operator, 19), results(graph, operator)[0]
    for at, tensor in ((18, state), (19, cell)):
        if tensor is None or not tensor.variable:
            yield Finding(f"input {at} is no variable", "a variable", tensor)
    if state is not None and state.parameters != out.parameters:
        yield Finding(parameters(state), f"{parameters(out)}, as the output", state)
    if cell is not None and cell.scale.size and np.frexp(cell.step)[0] != 0.5:
        yield Finding(parameters(cell), "a power of two as scale", cell)


def _lstm_biases(graph: Graph, operator: Operator) -> Findings:
    """Input times the gate's weights; with layer normalization 2^-10 times its coefficients; the projection's own."""
    x = graph.operand(operator, 0)
    intermediates = operator.intermediates
    hidden = graph.tensors[intermediates[4]] if len(intermediates) > 4 else None
    one = np.float32(2**-10)
    for at, weight_at, norm_at, by in (
        (12, 1, 20, x), (13, 2, 21, x), (14, 3, 22, x), (15, 4, 23, x), (17, 16, 16, hidden)
    ):  # fmt: skip
        bias, weight, norm = (graph.operand(operator, i) for i in (at, weight_at, norm_at))
        if bias is None or weight is None or by is None or not by.scale.size or not weight.scale.size:
            continue
        normed = norm is not None and at != 17
        factor = one if normed else np.float32(by.scale[0])
        required = float(factor * np.float32(norm.scale[0] if normed and norm is not None else weight.scale[0]))
        if bias.type != "INT32" or bias.scale.tolist() != [required]:
            yield Finding(parameters(bias), f"INT32 scale {required!r}", bias)


def _lstm_intermediates(graph: Graph, operator: Operator) -> Findings:
    """Five: INT16 before layer normalization, and the hidden state before projection."""
    if len(operator.intermediates) != 5:
        yield Finding(f"{len(operator.intermediates)} intermediates", 5)
        return
    tensors = [graph.tensors[i] for i in operator.intermediates]
    if graph.operand(operator, 21) is not None:
        for tensor in tensors[1:4]:
            if tensor.type != "INT16" or not tensor.quantized:
                yield Finding(parameters(tensor), "INT16 with a scale", tensor)
    hidden, out = tensors[4], results(graph, operator)[0]
    if hidden.type != "INT8" or not hidden.quantized:
        yield Finding(parameters(hidden), "INT8 with a scale", hidden)
    elif graph.operand(operator, 16) is None and hidden.parameters != out.parameters:
        yield Finding(parameters(hidden), f"{parameters(out)}, as the output", hidden)


RULES: Mapping[str, Callable[[Graph, Operator], Findings]] = MappingProxyType(
    {
        f.__name__: f
        for f in (
            weight_symmetry, weight_range, weight_axis, weight_type, bias_present, bias_type, bias_scale, svdf_layout,
            lstm_layout,
        )
    }
)  # fmt: skip

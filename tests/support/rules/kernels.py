"""Rules of the types that an operator's kernel takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from .finding import Finding, Findings, parameters
from .operands import activations, floats, hybrid, integer, results, weights
from .reader import Graph, Operator
from .tables import DEQUANTIZE, PASSING, REQUANTIZE, ROWS, SMALL, WEIGHTED


def kernel_exists(graph: Graph, operator: Operator) -> Findings:
    """Quantized operands where an integer kernel knows what scales are."""
    if not integer(graph, operator):
        return
    row = ROWS.get(operator.name)
    for tensor in activations(graph, operator):
        if tensor.quantized and (row is None or tensor.type not in row.types):
            known = "nothing" if row is None else ", ".join(row.types)
            yield Finding(tensor.type, f"{known} (there is no other integer kernel)", tensor)


def one_type(graph: Graph, operator: Operator) -> Findings:
    """An integer operator computes in one type; SOFTMAX alone widens its output."""
    if not integer(graph, operator):
        return
    first, *others = activations(graph, operator)
    for other in (*others, *results(graph, operator)):
        widened = operator.name == "SOFTMAX" and (first.type, other.type) == ("INT8", "INT16")
        if other.type != first.type and not widened:
            yield Finding(other.type, f"{first.type}, as tensor {first.index}", other)


def every_scale(graph: Graph, operator: Operator) -> Findings:
    """Operands of an integer kernel have parameters."""
    row = ROWS.get(operator.name)
    if operator.name in PASSING or hybrid(graph, operator) or row is None:
        return
    tensors = [*activations(graph, operator), *results(graph, operator)]
    raw = row.rule in ("same", "input") or all(t.type == "INT16" for t in tensors)
    if raw and not any(t.quantized for t in tensors):
        return  # plain integers
    for tensor in tensors:
        if tensor.type in SMALL and not tensor.quantized:
            yield Finding(f"{tensor.type} without scale", "a scale", tensor)


def stray_parameters(graph: Graph, operator: Operator) -> Findings:
    """Indices, axes, shapes and conditions are plain values."""
    row = ROWS.get(operator.name)
    if row is None or row.inputs is None:
        return
    known = WEIGHTED.get(operator.name)
    expected = {*row.inputs, *(() if known is None else (*known.weights, known.bias))}
    if operator.name in ("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "SVDF"):
        return  # nearly every operand is quantized
    for at in range(len(operator.inputs)):
        tensor = graph.operand(operator, at)
        if tensor is not None and at not in expected and tensor.quantized:
            yield Finding(f"{parameters(tensor)} as input {at}", "no parameters", tensor)


def quantize_pair(graph: Graph, operator: Operator) -> Findings:
    """Pairs of types that QUANTIZE knows; both ends have a scale."""
    if operator.name != "QUANTIZE":
        return
    x, y = graph.operand(operator, 0), graph.results(operator)[0]
    if x is None or y.type not in REQUANTIZE.get(x.type, ()):
        yield Finding(f"{'nothing' if x is None else x.type} to {y.type}", "a pair that the kernel has", y)
    for tensor in (x, y):
        if tensor is not None and not floats(tensor) and not tensor.scale.size:
            yield Finding(f"{tensor.type} without scale", "a scale", tensor)


def dequantize_type(graph: Graph, operator: Operator) -> Findings:
    """Types that DEQUANTIZE knows; its output is float."""
    if operator.name != "DEQUANTIZE":
        return
    x, y = graph.operand(operator, 0), graph.results(operator)[0]
    if x is None or x.type not in DEQUANTIZE:
        yield Finding("nothing" if x is None else x.type, ", ".join(DEQUANTIZE), x)
    elif not x.quantized and x.type != "FLOAT16":
        yield Finding(f"{x.type} without scale", "a scale", x)
    if y.type != "FLOAT32":
        yield Finding(y.type, "FLOAT32", y)


def hybrid_weights(graph: Graph, operator: Operator) -> Findings:
    """Integer weights with float activations, as the hybrid kernels take them."""
    if not hybrid(graph, operator):
        return
    for weight in weights(graph, operator):
        types = _HYBRID.get(operator.name, ("INT8",))
        if weight.type not in types:
            yield Finding(weight.type, ", ".join(types), weight)
        channels = operator.name == "DEPTHWISE_CONV_2D" and weight.scale.size != weight.shape[3]
        if channels:  # tflite/kernels/depthwise_conv.cc compares the number of scales with the channels
            yield Finding(f"{weight.scale.size} scales", f"{weight.shape[3]}, one a channel", weight)
    if operator.name in _ALL_OR_NONE and weights(graph, operator):
        for at in _ALL_OR_NONE[operator.name]:
            tensor = graph.operand(operator, at)
            if tensor is not None and floats(tensor):
                yield Finding(f"{tensor.type} beside integer weights", "all weights quantized", tensor)


_HYBRID: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "CONV_2D": ("INT8", "INT4"),
        "FULLY_CONNECTED": ("INT8", "INT4", "INT2"),
        "EMBEDDING_LOOKUP": ("INT8", "UINT8", "INT4", "INT2"),
    }
)
#: Kernels that look at one weight's type for all of them.
_ALL_OR_NONE: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "LSTM": (*range(1, 9), 16),
        "UNIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16),
        "BIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16, *range(18, 26), 33),
        "RNN": (1, 2),
        "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
        "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 4, 5),
    }
)

RULES: Mapping[str, Callable[[Graph, Operator], Findings]] = MappingProxyType(
    {
        f.__name__: f
        for f in (
            kernel_exists, one_type, every_scale, stray_parameters, quantize_pair, dequantize_type, hybrid_weights,
        )
    }
)  # fmt: skip

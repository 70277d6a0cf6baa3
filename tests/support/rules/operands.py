"""Which operands carry activations, and whether an operator computes with integers."""

from __future__ import annotations

from collections.abc import Iterable

from .reader import Graph, Operator, Tensor
from .tables import HYBRID, PASSING, ROWS, SMALL, WEIGHTED

#: Operators that turn one type into another, or pass tensors on, and have rules of their own.
APART = PASSING | {"QUANTIZE", "DEQUANTIZE"}


def activations(graph: Graph, operator: Operator) -> list[Tensor]:
    """Activation inputs; all of them for an operator that no integer kernel serves."""
    row = ROWS.get(operator.name)
    if row is None and operator.name in WEIGHTED:
        chosen: Iterable[int] = (WEIGHTED[operator.name].activation,)
    else:
        chosen = range(len(operator.inputs)) if row is None or row.inputs is None else row.inputs
    tensors = [graph.operand(operator, at) for at in chosen]
    return [t for t in tensors if t is not None]


def results(graph: Graph, operator: Operator) -> list[Tensor]:
    """Outputs that carry activations."""
    row, tensors = ROWS.get(operator.name), graph.results(operator)
    return tensors if row is None or row.outputs is None else [tensors[i] for i in row.outputs]


def floats(tensor: Tensor) -> bool:
    return tensor.type in ("FLOAT32", "FLOAT16", "FLOAT64", "BFLOAT16")


def hybrid(graph: Graph, operator: Operator) -> bool:
    """Whether integer weights meet float activations, in an operator that has a kernel for it."""
    if operator.name not in HYBRID or not all(floats(t) for t in graph.results(operator)):
        return False
    first = graph.operand(operator, WEIGHTED[operator.name].activation)
    return first is not None and (floats(first) or operator.name == "EMBEDDING_LOOKUP")


def integer(graph: Graph, operator: Operator) -> bool:
    """Whether an operator computes with quantized activations."""
    if operator.name in APART or hybrid(graph, operator):
        return False
    return any(t.quantized for t in (*activations(graph, operator), *results(graph, operator)))


def weights(graph: Graph, operator: Operator) -> list[Tensor]:
    """Quantized constants that an operator reads as weights."""
    if operator.name not in WEIGHTED:
        return []
    found = [graph.operand(operator, at) for at in WEIGHTED[operator.name].weights]
    return [t for t in found if t is not None and t.constant and t.type in SMALL]


def holds_quantized(graph: Graph, operator: Operator) -> bool:
    """Whether an operator reads or writes any quantized tensor, FLOAT16 constants of DEQUANTIZE included."""
    tensors = [*(graph.operand(operator, i) for i in range(len(operator.inputs))), *graph.results(operator)]
    half = operator.name == "DEQUANTIZE"
    return half or any(t is not None and t.quantized for t in tensors)

"""Activations that only the range of an integer output carries: found again, and told from mere ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from quantlib.operators import row
from quantlib.recipes import Graph
from quantlib.runners import indices_of

from .scales import SCALED, bounds

#: ActivationFunctionType of the schema.
_NONE, _RELU, _RELU_N1_TO_1, _RELU6 = range(4)
_NAMES: Mapping[int, str] = MappingProxyType({_RELU: "RELU", _RELU_N1_TO_1: "RELU_N1_TO_1", _RELU6: "RELU6"})

#: Operators whose sums are clipped to the range of the output; those of the second group only where an operand can
#: be negative.
_PRODUCTS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})
_PAIRS = frozenset({"ADD", "DIV", "MUL", "SUB"})
#: How far from a bound a range may end, in steps: zero points of -1..1 lie between two integers.
_SLACK = 0.501
#: What reads scores, which no rectifier stands before.
_OF_SCORES = frozenset({"ARG_MAX", "ARG_MIN", "LOGISTIC", "LOG_SOFTMAX", "SOFTMAX", "TANH"})


@dataclass(frozen=True, slots=True)
class Carried:
    """What the range of an operator's output says.

    Attributes
    ----------
    code : int
        ``ActivationFunctionType`` to give back; 0 for none.
    lo, hi : float
        The range.
    note : str
        What to say of it; empty where it says nothing.
    """

    code: int = 0
    lo: float = 0.0
    hi: float = 0.0
    note: str = ""


def carried(graph: Graph, o: int) -> Carried:
    """Find the activation that the range of an operator's output carries.

    A range of 8 bits that begins at exactly 0 is a RELU, and one that ends within half a step of 6 as well is a
    RELU6; one that ends within half a step of -1 and of 1, of a sum of products, is a RELU_N1_TO_1. Where the
    operands can't be negative, a range that begins at 0 says nothing. Before an operator on scores, such as SOFTMAX,
    none is taken for an activation.

    Parameters
    ----------
    graph : Graph
    o : int
        The operator; any.
    """
    name, outputs = graph.names[o], indices_of(graph.operators[o].outputs)
    if name not in _PRODUCTS | _PAIRS or len(outputs) != 1 or _is_fused(graph, o):
        return Carried()
    made = graph.tensor(outputs[0])
    found = bounds(made)
    if found is None or made.type not in ("INT8", "UINT8"):
        return Carried()
    lo, hi, step = found
    code = _NONE
    if lo == 0:
        code = _RELU6 if abs(hi - 6) <= _SLACK * step else _RELU if _negative(graph, o) else _NONE
    elif name in _PRODUCTS and max(abs(lo + 1), abs(hi - 1)) <= _SLACK * step:
        code = _RELU_N1_TO_1
    if code == _NONE:
        return Carried()
    reader = _reader_of_scores(graph, outputs[0])
    if code == _RELU_N1_TO_1 and outputs[0] in graph.ends:
        reader = "the model's output"
    extent = f"its range {lo:g}..{hi:.5g}"
    if reader:
        why = f"{extent} isn't taken for {_NAMES[code]}, since it is read by {reader}; integers were clipped to it"
        return Carried(_NONE, lo, hi, why)
    return Carried(code, lo, hi, f"{_NAMES[code]} given back, which {extent} carried")


def _is_fused(graph: Graph, o: int) -> bool:
    """Whether an operator has an activation, or options that are another's."""
    options, kind = graph.operators[o].builtin_options, row(graph.names[o]).options
    return options is not None and (options.kind != kind or options.fused_activation_function != _NONE)


def _negative(graph: Graph, o: int) -> bool:
    """Whether an operator could make something negative if its output's range let it."""
    if graph.names[o] in _PRODUCTS or graph.names[o] == "SUB":
        return True
    return any(_can_be_negative(graph, t) for t in indices_of(graph.operators[o].inputs) if t >= 0)


def _can_be_negative(graph: Graph, t: int) -> bool:
    tensor = graph.tensor(t)
    if tensor.is_constant and tensor.type in SCALED:
        return bool((tensor.real() < 0).any())
    found = bounds(tensor)
    return found is None or found[0] < 0


def _reader_of_scores(graph: Graph, t: int, depth: int = 16) -> str:
    """Name of an operator on scores that reads a tensor, or what others moved from it; empty where none does."""
    for use in graph.uses.get(t, ()):
        name = graph.names[use.operator]
        if name in _OF_SCORES:
            return name
        if depth and (graph.moves(use.operator) or name in ("QUANTIZE", "DEQUANTIZE")):
            for made in indices_of(graph.operators[use.operator].outputs):
                if found := _reader_of_scores(graph, made, depth - 1):
                    return found
    return ""

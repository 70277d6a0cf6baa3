"""What XNNPACK leaves to the builtin kernels because of a ratio of scales: valid, only slower."""

from __future__ import annotations

from .finding import Finding, Findings
from .operands import activations, integer, results
from .reader import Graph, Operator


def declined(graph: Graph, operator: Operator) -> Findings:
    """Ratios out of range: tflite/delegates/xnnpack/xnnpack_delegate.cc (CheckTensorsInputOutputScale)."""
    out = graph.results(operator)[0] if operator.outputs else None
    if operator.name == "QUANTIZE":
        x = graph.operand(operator, 0)
        ratios = [] if x is None or not x.scale.size or out is None or x.type != out.type else [x.step / out.step]
    elif operator.name in ("ADD", "SUB", "MUL", "LEAKY_RELU") and integer(graph, operator):
        steps, to = [t.step for t in activations(graph, operator)], results(graph, operator)[0].step
        if operator.name == "MUL":
            ratios = [steps[0] * steps[1] / to]
        elif operator.name == "LEAKY_RELU":
            ratios = [steps[0] / to, abs(steps[0] * operator.option("Alpha") / to) or 1]
        else:
            ratios = [step / to for step in steps]
    else:
        return
    low, high = _LIMITS[operator.name]
    for ratio in ratios:
        if not 2.0**low <= ratio < 2.0**high:
            yield Finding(f"a ratio of scales of {ratio:g}", f"2^{low} to 2^{high}", out)


_LIMITS = {"ADD": (-10, 8), "SUB": (-10, 8), "MUL": (-16, 8), "LEAKY_RELU": (-8, 7), "QUANTIZE": (-8, 7)}

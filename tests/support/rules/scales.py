"""Rules of an operator's scales and zero points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from .finding import Finding, Findings, parameters
from .operands import activations, integer, results
from .reader import Graph, Operator
from .tables import COMPARISONS, FIXED, ROWS


def same_scale(graph: Graph, operator: Operator) -> Findings:
    """Kernels that copy stored values, or compare them, need one scale and zero point for all operands."""
    row = ROWS.get(operator.name)
    if row is None or row.rule != "same" or not integer(graph, operator):
        return
    first, *others = activations(graph, operator)
    for other in (*others, *results(graph, operator)):
        # the uint8 kernel of CONCATENATION rescales its inputs
        free = operator.name == "CONCATENATION" and other.type == first.type == "UINT8"
        if other.parameters != first.parameters and not free:
            yield Finding(parameters(other), f"{parameters(first)}, as tensor {first.index}", other)


def fixed_output(graph: Graph, operator: Operator) -> Findings:
    """Kernels that write with a scale of their own."""
    if operator.name not in FIXED or not integer(graph, operator):
        return
    for out in results(graph, operator):
        scale, zero_point = FIXED[operator.name].get(out.type, (None, None))
        if (out.scale.tolist(), out.zero_point.tolist()) != ([scale], [zero_point]):
            yield Finding(parameters(out), f"scale {scale} zero point {zero_point} for {out.type}", out)


def zero_background(graph: Graph, operator: Operator) -> Findings:
    """What isn't written stays stored 0, which has to mean 0."""
    if operator.name in ("SCATTER_ND", "MATRIX_DIAG") and integer(graph, operator):
        for out in results(graph, operator):
            if out.zero_point.any():
                yield Finding(parameters(out), "zero point 0", out)


def compared_scales(graph: Graph, operator: Operator) -> Findings:
    """Comparisons of INT16 compare stored values: tflite/kernels/comparisons.cc."""
    if operator.name in COMPARISONS and integer(graph, operator):
        a, b = activations(graph, operator)
        if a.type == "INT16" and a.parameters != b.parameters:
            yield Finding(parameters(b), parameters(a), b)


def scale_ratio(graph: Graph, operator: Operator) -> Findings:
    """Ratios beyond which a kernel refuses or aborts.

    HARD_SWISH: tflite/kernels/activations.cc. ADD, SUB: the output multiplier, 2*max/(2^20*out), and 2^15 for INT16,
    must be below one (add.cc, sub.cc); SQUARED_DIFFERENCE: 4*max^2/(2^14*out).
    """
    if operator.name not in ("HARD_SWISH", "ADD", "SUB", "SQUARED_DIFFERENCE") or not integer(graph, operator):
        return
    out, inputs = results(graph, operator)[0], activations(graph, operator)
    if not out.scale.size or not out.step or not all(t.scale.size for t in inputs):
        return
    largest, step = max(t.step for t in inputs), out.step
    ratio = {
        "HARD_SWISH": largest / 128 / step,
        "SQUARED_DIFFERENCE": 4 * largest**2 / (2**14 * step),
    }.get(operator.name, 2 * largest / (2 ** (15 if out.type == "INT16" else 20) * step))
    if ratio >= 1:
        yield Finding(f"a multiplier of {ratio:g}", "below 1", out)


def general_scales(graph: Graph, operator: Operator) -> Findings:
    """INT16 sums of scales that aren't powers of two say so: tflite/kernels/add.cc."""
    if operator.name in ("ADD", "SUB") and integer(graph, operator):
        first = activations(graph, operator)[0]
        if first.type == "INT16" and operator.option("PotScaleInt16", True):
            yield Finding("pot_scale_int16 true", "false")


RULES: Mapping[str, Callable[[Graph, Operator], Findings]] = MappingProxyType(
    {f.__name__: f for f in (same_scale, fixed_output, zero_background, compared_scales, scale_ratio, general_scales)}
)

"""What of a model makes its statistics look odd: input ranges that it expects, concatenations of unlike ranges."""

from __future__ import annotations

import math

from quantlib.calibration import Finding, Statistics
from quantlib.numerics import element_type
from quantlib.tflite import Model, Tensor

from .boundary import affine_of
from .protocol import Interface

#: Inputs of one CONCATENATION share a scale in integer kernels; beyond that ratio the smaller ones lose four bits.
UNEVEN = 16.0

#: What old converters wrote beside the input of any image model, whatever it is scaled to: says nothing.
_PIXELS = (0.0, 255.0)


def expected_ranges(model: Model, interface: Interface) -> dict[str, tuple[float, float]]:
    """Range that the model expects of its float inputs, as far as it says so.

    It says so by the least and greatest value that its file has of the input, by a scale, or by a FAKE_QUANT or
    QUANTIZE that reads it.

    Parameters
    ----------
    model : Model
    interface : Interface

    Returns
    -------
    dict of str to (lo, hi)
        By tensor name, as `feed` gives them.
    """
    found = {}
    for port in interface.inputs:
        range = _stated(model, interface.subgraph, port.index) if port.type == "FLOAT32" else None
        if range is not None and all(map(math.isfinite, range)) and range[0] < range[1]:
            found[port.name] = range
    return found


def _stated(model: Model, g: int, index: int) -> tuple[float, float] | None:
    q = Tensor(model, g, index).table.quantization
    if q is not None and q.min is not None and q.max is not None and q.min.size == q.max.size == 1:
        stated = float(q.min[0]), float(q.max[0])
        return None if stated == _PIXELS else stated
    for operator in model.subgraphs[g].operators or ():
        if operator.inputs is None or index not in operator.inputs.tolist():
            continue
        name = model.operator_name(operator)
        if name == "FAKE_QUANT" and operator.builtin_options is not None:
            return float(operator.builtin_options.min), float(operator.builtin_options.max)
        affine = affine_of(Tensor(model, g, int(operator.outputs[0]))) if name == "QUANTIZE" else None
        if affine is not None and affine.scale.size == 1 and element_type(affine.type).is_integer:
            scale, zero = float(affine.scale.reshape(-1)[0]), int(affine.zero_point.reshape(-1)[0])
            return (affine.qmin - zero) * scale, (affine.qmax - zero) * scale
    return None


def uneven_concatenations(model: Model, statistics: Statistics) -> tuple[Finding, ...]:
    """List concatenations of tensors whose ranges differ more than 16-fold: boxes with scores in detectors, say.

    Parameters
    ----------
    model : Model
    statistics : Statistics
        Of that model.

    Returns
    -------
    tuple of Finding
        Named by the output.
    """
    found = []
    for g, graph in enumerate(model.subgraphs):
        for operator in graph.operators or ():
            if model.operator_name(operator) != "CONCATENATION":
                continue
            reach = {}
            for t in dict.fromkeys(operator.inputs.tolist()):
                state = statistics.tensors.get((g, t))
                if state is not None and state.count and max(-state.min, state.max) > 0:
                    reach[t] = max(-state.min, state.max)
            if not reach or max(reach.values()) <= UNEVEN * min(reach.values()):
                continue
            wide, narrow = max(reach, key=reach.__getitem__), min(reach, key=reach.__getitem__)
            output = g, int(operator.outputs[0])
            text = (
                f"CONCATENATION of {statistics.names[g, wide]!r} (up to {reach[wide]:.4g}) with "
                f"{statistics.names[g, narrow]!r} (up to {reach[narrow]:.4g}), which share a scale in integer "
                "kernels; keep it float, or use 16-bit activations"
            )
            found.append(Finding("uneven-concatenation", text, statistics.names.get(output, ""), output))
    return tuple(found)

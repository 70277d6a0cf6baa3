"""Where training left the parameters of a subgraph's tensors.

Three forms: FAKE_QUANT operators; pairs of QUANTIZE and DEQUANTIZE (or a DEQUANTIZE of stored integers); and tables
of float tensors that hold a scale, or a range alone. Of several, the operators count, since they change the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from quantlib.numerics import PerAxis, element_type
from quantlib.tflite import Model, Quantization, Tensor

from .grid import FakeQuant, Grid, affine_of

if TYPE_CHECKING:
    from .graph import Graph

_Floats = npt.NDArray[np.float32]


def trained_grids(graph: Graph) -> dict[int, Grid]:
    """Grid of each float tensor that training left one for."""
    found: dict[int, Grid] = {}
    unsigned, ambiguous = _zero_points_say(graph.model)
    for t in range(len(graph.table.tensors or ())):
        tensor = graph.tensor(t)
        if tensor.type == "FLOAT32" and tensor.table.quantization is not None:
            grid = _of_table(tensor, unsigned=unsigned, ambiguous=ambiguous)
            if grid is not None:
                found[t] = grid
    for o, name in enumerate(graph.names):
        if name in ("FAKE_QUANT", "DEQUANTIZE") and (grid := grid_behind(graph, o)) is not None:
            found[int(graph.operators[o].outputs[0])] = grid
    return found


def grid_behind(graph: Graph, o: int) -> Grid | None:
    """Grid of what a FAKE_QUANT, QUANTIZE or DEQUANTIZE hands on; None where there is none."""
    operator = graph.operators[o]
    if operator.inputs is None or operator.outputs is None or (operator.inputs.size, operator.outputs.size) != (1, 1):
        return None
    if graph.names[o] == "FAKE_QUANT":
        return FakeQuant.of(operator.builtin_options).grid()
    stored = graph.tensor(int((operator.outputs if graph.names[o] == "QUANTIZE" else operator.inputs)[0]))
    affine = affine_of(stored)
    if affine is None or affine.type.bits > 16 or not affine.scale.all():
        return None
    bits = affine.type.bits
    shift = 2 ** (bits - 1) if affine.type.kind == "uint" else 0
    axis = affine.granularity.axis if isinstance(affine.granularity, PerAxis) else None
    return Grid.of_steps(affine.scale, affine.zero_point - shift, bits, axis)


def _zero_points_say(model: Model) -> tuple[bool, bool]:
    """Whether scales of float tensors go with unsigned integers; whether they could go with INT16."""
    points = [
        np.asarray(table.quantization.zero_point).reshape(-1)
        for subgraph in model.subgraphs
        for table in subgraph.tensors or ()
        if table.type == 0 and table.quantization is not None and table.quantization.zero_point is not None
    ]
    every = np.concatenate(points) if points else np.zeros(0, np.int64)
    greatest = element_type("INT8").max or 0
    return bool((every > greatest).any() and not (every < 0).any()), not every.any()


def _of_table(tensor: Tensor, *, unsigned: bool, ambiguous: bool) -> Grid | None:
    """Grid that the table of a float tensor says; None where it says nothing of use."""
    table = tensor.table.quantization
    lo, hi = (np.zeros(0, np.float32) if v is None else np.asarray(v, np.float32) for v in (table.min, table.max))
    ranged = bool(lo.size and lo.size == hi.size and np.isfinite([lo, hi]).all() and (lo <= hi).all())
    ranged = ranged and bool((lo < hi).any())  # always 0 is what an observer says that saw nothing
    found = tensor.quantization
    axis = table.quantized_dimension if max(lo.size, 0 if found is None else found.scale.size) > 1 else None
    if axis is not None and not (axis < len(tensor.shape) and tensor.shape[axis] in (lo.size, _count(found))):
        return None
    if found is None or found.block_size or not found.scale.all() or not np.isfinite(found.scale).all():
        return Grid(lo, hi, axis=axis) if ranged else None
    if ranged and lo.size in (1, found.scale.size):
        return _with_range(found, lo, hi, axis)
    shift = 128 if unsigned and found.zero_point.any() else 0
    if ((found.zero_point - shift < -128) | (found.zero_point - shift > 127)).any():
        return None
    return Grid.of_steps(found.scale, found.zero_point - shift, 8, axis, ambiguous=ambiguous)


def _count(found: Quantization | None) -> int:
    return 0 if found is None else found.scale.size


def _with_range(found: Quantization, lo: _Floats, hi: _Floats, axis: int | None) -> Grid | None:
    """Grid of a scale and a range: together they tell the number of bits, and whether integers are unsigned."""
    levels = float(np.max((hi - lo) / found.scale))
    bits = next((b for b in (4, 8, 16) if levels < 2**b), None)
    if bits is None:
        return None
    half = 2 ** (bits - 1)

    def distance(shift: int) -> float:
        ends = (found.scale * (edge + shift - found.zero_point) for edge in (-half, half - 1))
        return float(sum(np.abs(end - given).sum() for end, given in zip(ends, (lo, hi), strict=True)))

    shift = min((0, half), key=distance)
    points = found.zero_point - shift
    if ((points < -half) | (points >= half)).any():
        return None
    return Grid.of_steps(found.scale, points, bits, axis)

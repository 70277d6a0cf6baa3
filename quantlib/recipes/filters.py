"""Scales of weights and biases of integer products.

A bias is added to the products' sums, so its scale is that of the input times that of the weight. Where a bias is
too large for its type, the weight's scale is raised (tflite/tools/optimize/quantize_model.cc,
AdjustWeightsForBiasScale; .../quantization_lib/quantization_driver.cc, kBiasMax).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.numerics import Affine, Granularity, PerAxis, PerTensor, element_type
from quantlib.operators import OperatorRow, Weight
from quantlib.tflite import Tensor

from .choices import operands
from .constants import constant_affine
from .graph import Graph
from .grid import stored_identity, trained_note
from .selectors import Selection

#: Type of a bias beside activations of a type, and the largest integer that it should hold: half of INT32's, so
#: that sums have room; of INT64 what Ethos-U takes (40 bits).
BIAS: Mapping[str, tuple[str, float]] = MappingProxyType(
    {"INT8": ("INT32", 2.0**30), "UINT8": ("INT32", 2.0**30), "INT16": ("INT64", 2.0**38)}
)
#: XNNPACK multiplies INT4 weights as the upper halves of bytes, and biases by as much: sums overflow earlier.
_SHIFTED = 16.0


@dataclass
class Filters:
    """Weights of one model; a constant that several operators share is looked at once."""

    selection: Selection
    _ranges: dict[Any, Affine] = field(default_factory=dict)

    def forms(self, graph: Graph, o: int, known: OperatorRow, data: Affine) -> tuple[dict[int, Affine], list[str]]:
        """Parameters of the weight and the bias of an operator, by operand, and what there is to say.

        Parameters
        ----------
        graph : Graph
        o : int
        known : OperatorRow
        data : Affine
            Those of the activation.
        """
        weight = next((w for w in known.weights if w.static), None)
        if weight is None:
            return {}, []
        inputs = operands(graph, o)
        affine, note = self._weight(graph, known, weight, inputs[weight.operand], data.type.name)
        notes = [note] if note else []
        kind, limit = BIAS[data.type.name]
        if known.bias is None:
            return {weight.operand: affine}, notes
        t = inputs[known.bias] if known.bias < len(inputs) else -1
        bias = graph.origin(t) if t >= 0 else None
        if bias is not None:
            limit = limit / _SHIFTED if affine.type.bits < 8 else limit
            affine, raised = with_room(affine, data, bias.real().reshape(-1), limit)
            if raised:
                notes.append(f"scale of {raised} channels raised, whose bias would not fit {kind}")
        elif known.name == "FULLY_CONNECTED":
            return {weight.operand: affine}, notes  # it needs none
        scale = (data.scale.astype(np.float32) * affine.scale).astype(np.float32)
        granularity: Granularity = PerAxis(0) if scale.size > 1 else PerTensor()
        points = np.zeros(scale.shape, np.int64)
        return {weight.operand: affine, known.bias: Affine(element_type(kind), scale, points, granularity)}, notes

    def constant(self, graph: Graph, t: int, origin: Tensor, kind: str, *, symmetric: bool) -> Affine:
        """Parameters of a constant that stands where an activation could."""
        grid, shape = graph.trained.get(t), graph.tensor(t).shape
        trained = None if grid is None else grid.constant(kind, symmetric=symmetric)
        return trained or self._affine(origin, shape, kind, PerTensor(), symmetric, "minmax")

    def _weight(
        self, graph: Graph, known: OperatorRow, weight: Weight, t: int, activations: str
    ) -> tuple[Affine, str]:
        tensor, origin, recipe = graph.tensor(t), graph.origin(t), self.selection.recipe
        if origin is None:
            raise ValueError(f"{tensor} is no constant")  # the choice has looked at it
        kind = "UINT8" if activations == "UINT8" else recipe.weights if recipe.weights in weight.static else "INT8"
        axis = weight.channel_axis(len(tensor.shape))
        one = activations == "UINT8" or self.selection.wants_one_scale(known.name) or axis is None
        note, grid = "", graph.trained.get(t)
        if grid is not None:
            others = () if kind == "UINT8" else tuple(k for k in weight.static if k not in (kind, "UINT8"))
            trained, why = grid.weight((kind, *others), axis, one=one)
            if trained is not None:
                return trained, trained_note(grid, trained, kind, origin, tensor.shape)
            note = f"weight quantized anew from its trained values: {why}"
        granularity: Granularity = PerTensor() if one or axis is None else PerAxis(axis)
        affine = self._affine(origin, tensor.shape, kind, granularity, activations != "UINT8", recipe.weight_range)
        return affine, note

    def _affine(
        self,
        origin: Tensor,
        shape: tuple[int, ...],
        kind: str,
        granularity: Granularity,
        symmetric: bool,
        choose: str,
    ) -> Affine:
        key = (*stored_identity(origin), shape, kind, granularity, symmetric, choose)
        if key not in self._ranges:
            self._ranges[key] = constant_affine(
                origin, shape, element_type(kind), granularity, symmetric=symmetric, choose=choose
            )
        return self._ranges[key]


def with_room(affine: Affine, data: Affine, bias: npt.NDArray[np.float32], limit: float) -> tuple[Affine, int]:
    """A weight's parameters, with scales raised where the bias would overflow; how many were."""
    if not bias.size:
        return affine, 0
    step = data.scale.astype(np.float64) * affine.scale.astype(np.float64)
    largest = np.abs(bias.astype(np.float64))
    largest = largest if step.size > 1 else largest.max(keepdims=True)
    over = largest > limit * step
    if not over.any():
        return affine, 0
    raised = np.where(over, largest / limit / data.scale.astype(np.float64), affine.scale).astype(np.float32)
    return Affine(affine.type, raised, affine.zero_point, affine.granularity, affine.narrow_range), int(over.sum())

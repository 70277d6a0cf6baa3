"""Scales of weights and biases of integer products.

A bias is added to the products' sums, so its scale is that of the input times that of the weight. Where a bias is
too large for its type, the weight's scale is raised (tflite/tools/optimize/quantize_model.cc,
AdjustWeightsForBiasScale; .../quantization_lib/quantization_driver.cc, kBiasMax).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, Granularity, PerAxis, PerTensor, affine_from_range, element_type
from quantlib.operators import OperatorRow, Weight
from quantlib.tflite import Tensor

from .choices import operands
from .constants import constant_affine, constant_range
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

_Extremes = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
Formed = tuple[Mapping[int, Affine], Sequence[str]]
"""Parameters of the weight and the bias of an operator, by operand, and what there is to say of them."""


@dataclass
class Filters:
    """Weights of one model; a constant that several operators share is looked at once."""

    selection: Selection
    _affines: dict[Any, Affine] = field(default_factory=dict)
    _extremes: dict[Any, _Extremes | None] = field(default_factory=dict)
    _formed: dict[tuple[int, int, Affine], Formed] = field(default_factory=dict)

    def is_finite(self, graph: Graph, known: OperatorRow, weight: Weight, t: int, activations: str) -> bool:
        """Whether all values of a weight are finite, found with the range that its scales come from."""
        origin, shape = graph.origin(t), graph.tensor(t).shape
        return (
            origin is None
            or self._range(origin, shape, self._granularity(known, weight, shape, activations)) is not None
        )

    def forms(self, graph: Graph, o: int, known: OperatorRow, data: Affine) -> Formed:
        """Parameters of the weight and the bias of an operator, by operand, and what there is to say.

        Parameters
        ----------
        graph : Graph
        o : int
        known : OperatorRow
        data : Affine
            Those of the activation.
        """
        key = graph.index, o, data
        if key not in self._formed:
            self._formed[key] = self._form(graph, o, known, data)
        return self._formed[key]

    def _form(self, graph: Graph, o: int, known: OperatorRow, data: Affine) -> Formed:
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
        takes = weight.beside(activations)
        kind = "UINT8" if activations == "UINT8" else recipe.weights if recipe.weights in takes else "INT8"
        granularity = self._granularity(known, weight, tensor.shape, activations)
        axis, one = weight.channel_axis(len(tensor.shape)), isinstance(granularity, PerTensor)
        note, grid = "", graph.trained.get(t)
        if grid is not None:
            others = () if kind == "UINT8" else tuple(k for k in takes if k != kind)
            trained, why = grid.weight((kind, *others), axis, one=one)
            if trained is not None:
                return trained, trained_note(grid, trained, kind, origin, tensor.shape)
            note = f"weight quantized anew from its trained values: {why}"
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
        if key not in self._affines:
            found = self._range(origin, shape, granularity) if choose == "minmax" else None
            if found is None:  # by another rule; or it isn't finite, which is said there
                self._affines[key] = constant_affine(
                    origin, shape, element_type(kind), granularity, symmetric=symmetric, choose=choose
                )
            else:
                self._affines[key] = affine_from_range(
                    *found, kind, granularity=granularity, symmetric=symmetric, narrow_range=symmetric
                )
        return self._affines[key]

    def _granularity(
        self, known: OperatorRow, weight: Weight, shape: tuple[int, ...], activations: str
    ) -> PerTensor | PerAxis:
        """Which elements of a weight share a scale."""
        axis = weight.channel_axis(len(shape))
        one = activations == "UINT8" or self.selection.wants_one_scale(known.name) or axis is None
        return PerTensor() if one or axis is None else PerAxis(axis)

    def _range(self, origin: Tensor, shape: tuple[int, ...], granularity: Granularity) -> _Extremes | None:
        """Least and greatest values of a constant, which is read once; None where they aren't all finite."""
        key = (*stored_identity(origin), shape, granularity)
        if key not in self._extremes:
            try:
                kind = element_type("INT8")  # matters to other rules alone
                found = constant_range(origin, shape, kind, granularity, symmetric=True, choose="minmax")
            except InvalidValue:
                self._extremes[key] = None
            else:
                self._extremes[key] = found
        return self._extremes[key]


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

"""Integer LSTM and SVDF: whether the kernel can be used, and what its weights, biases, states and intermediates hold.

The facts of each operator stand in its row (`quantlib.operators.Recurrent`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.numerics import Affine, element_type
from quantlib.operators import Recurrent
from quantlib.tflite import Tensor

from .filters import BIAS, Filters, with_room
from .graph import Graph
from .measured import Measured
from .recurrent_choice import operand, state_range

Floats = npt.NDArray[np.float64]

_INT16, _INT32 = element_type("INT16"), element_type("INT32")
#: Bits that the integer layer normalization adds to what it normalizes (portable_tensor_utils.cc, ApplyLayerNorm).
_NORM_STEP = np.float32(2.0**-10)
#: What a kernel's sums of products should stay within; the other half of INT32 is the bias's.
_ROOM = 2**30


@dataclass
class Layout:
    """What one integer operator with a state holds beside its activations.

    Attributes
    ----------
    graph : Graph
    operator : int
    known : Recurrent
    filters : Filters
    measured : Measured
    x, out : Affine
        Of its input and its output.
    forms : dict of int to Affine
        Of its other operands.
    between : tuple of (Affine or None)
        Of its intermediates; None for one that says nothing.
    notes : list of str
    """

    graph: Graph
    operator: int
    known: Recurrent
    filters: Filters
    measured: Measured
    x: Affine
    out: Affine
    forms: dict[int, Affine] = field(default_factory=dict)
    between: tuple[Affine | None, ...] = ()
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for k, kind in self.known.weights:
            self._weight(k, kind)
        self._states()
        self._intermediates()
        for bias, weight, norm in self.known.biases:
            if self._given(bias):
                self._bias(bias, weight, norm)

    @property
    def _options(self) -> Any:
        return self.graph.operators[self.operator].builtin_options

    def _given(self, k: int) -> bool:
        return operand(self.graph, self.operator, k) >= 0

    def _origin(self, k: int) -> Tensor:
        return _constant(self.graph, self.operator, k)

    def _weight(self, k: int, kind: str) -> None:
        if not self._given(k):
            return
        affine = self.filters.constant(
            self.graph, operand(self.graph, self.operator, k), self._origin(k), kind, symmetric=True
        )
        largest = dict(self.known.largest).get(k)
        if largest is not None:
            terms = self._origin(k).shape[-1] * max(getattr(self._options, "rank", 1), 1)
            largest = max(min(largest, _ROOM // (terms << 15)), 1)
            affine = Affine(affine.type, affine.scale * np.float32(affine.qmax / largest), narrow_range=True)
        self.forms[k] = affine

    def _states(self) -> None:
        known, found = self.known, state_range(self.graph, self.operator, self.known, self.measured)
        bound = 1.0 if found is None else max(abs(found.lo), abs(found.hi))
        if known.powers:
            least, most = known.powers
            bound = 2.0 ** min(max(math.ceil(math.log2(bound)), least), most)
            scale = bound / 2**15
        else:
            scale = bound / (2**15 - 1)
        self.forms[known.state] = Affine(_INT16, np.float32(scale).reshape(1))
        if known.output_state is not None:
            self.forms[known.output_state] = self.out
        source = "" if found is None else found.source
        self.notes.append(f"state {bound:.4g} ({source})")

    def _intermediates(self) -> None:
        """Values before each layer normalization, and the hidden state."""
        if not self.known.intermediates:
            return
        gates: list[Affine | None] = [None] * 4
        if any(self._given(norm) for _, _, norm in self.known.biases if norm >= 0):
            gates = [self._gate(max(g, 1 - self._given(1))) for g in range(4)]
        self.between = (*gates, self._hidden())

    def _gate(self, g: int) -> Affine:
        """Parameters of a gate before layer normalization: what it can't exceed, by the sizes of its weights."""
        bound = _reach(self._origin(1 + g), self.x) + _reach(self._origin(5 + g), self.out)
        peephole = {0: 9, 1: 10, 3: 11}.get(g, -1)
        if peephole >= 0 and self._given(peephole):
            bound = bound + np.abs(self._origin(peephole).real()) * self._cell_bound()
        return Affine(_INT16, np.float32(max(float(bound.max()), 2.0**-20) / (2**15 - 1)).reshape(1))

    def _cell_bound(self) -> float:
        return float(self.forms[self.known.state].scale[0]) * 2**15

    def _hidden(self) -> Affine:
        """Parameters of a sigmoid times TANH of the cell's state, before a projection.

        With zero point 0: the kernel has another one with the sign changed (tflite/kernels/lstm_eval.cc).
        """
        known = self.known
        if known.projection is None or not self._given(known.projection):
            return self.out
        return Affine(element_type("INT8"), np.float32(math.tanh(self._cell_bound()) / 127).reshape(1))

    def _bias(self, k: int, weight: int, norm: int) -> None:
        values = self._origin(k).real().reshape(-1)
        if norm >= 0 and self._given(norm):
            scale = _NORM_STEP * self.forms[norm].scale
        else:
            data = self._multiplied(weight)
            kind, limit = BIAS["INT8"]
            self.forms[weight], raised = with_room(self.forms[weight], data, values, limit)
            if raised:
                self.notes.append(f"scale of operand {weight} raised, whose bias would not fit {kind}")
            scale = data.scale * self.forms[weight].scale
        self.forms[k] = Affine(_INT32, scale.astype(np.float32))

    def _multiplied(self, weight: int) -> Affine:
        """Parameters of what a weight multiplies."""
        if weight == self.known.projection:
            hidden = self.between[4]
            return self.out if hidden is None else hidden
        if self.known.output_state is None:
            return self.forms[self.known.state]
        return self.x


def _constant(graph: Graph, o: int, k: int) -> Tensor:
    origin = graph.origin(operand(graph, o, k))
    if origin is None:
        raise ValueError(f"operand {k} is no constant")  # the choice has looked at it
    return origin


def _reach(weight: Tensor, data: Affine) -> Floats:
    """Greatest magnitude that each output of a product can have."""
    w = weight.real().astype(np.float64)
    first, last = (float(data.scale[0]) * (q - float(data.zero_point[0])) for q in (data.qmin, data.qmax))
    high: Floats = np.maximum(w * first, w * last).sum(axis=-1)
    low: Floats = np.minimum(w * first, w * last).sum(axis=-1)
    return np.maximum(high, -low)

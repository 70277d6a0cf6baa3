"""Error of every tensor that both models have: in the graph, and with each operator alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from quantlib.calibration import HistogramState
from quantlib.errors import QuantlibError
from quantlib.numerics import Affine
from quantlib.runners import Array, Runner, decode, encode, folded, indices_of, single_affine
from quantlib.tflite import Model, Table, Tensor

from .apart import Apart, at_hand, take_apart, twins
from .histograms import ends_of, histogram, weight_spread
from .ports import Pairing
from .sums import ErrorSums
from .values import LayerError, Spread

#: RMSE in steps beyond which a layer is flagged: 2.4 times the 1/sqrt(12) of rounding alone. TensorFlow suspects
#: layers from the same figure on (tensorflow/lite/g3doc/performance/quantization_debugger.ipynb).
FLAGGED = 0.7

#: Operators that depend on more than their operands.
_BOUND = frozenset(
    {"IF", "WHILE", "CALL_ONCE", "STABLEHLO_COMPOSITE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
)


@dataclass(slots=True)
class _Layer:
    """One tensor of B that an operator writes and A has, too."""

    index: int
    tensor: int
    twin: int
    affine: Affine | None
    graph: ErrorSums = field(default_factory=ErrorSums)
    alone: ErrorSums = field(default_factory=ErrorSums)
    beyond: int = 0
    state: HistogramState = field(default_factory=HistogramState)

    def see(self, reference: Array, stored: Array) -> None:
        """Add B's value, as stored, in the graph."""
        if reference.dtype.kind != "f" or reference.shape != stored.shape:
            return
        self.graph.add(reference, decode(stored, self.affine))
        self.state = self.state.observe(reference)
        if self.affine is not None:
            low, high = ends_of(self.affine)
            half = (high - low) / (self.affine.qmax - self.affine.qmin) / 2
            under = (stored == self.affine.qmin) & (reference < low - half)
            over = (stored == self.affine.qmax) & (reference > high + half)
            self.beyond += int(np.count_nonzero(under | over))


class LayerWatch:
    """Gathers the errors of all layers while samples are run.

    Parameters
    ----------
    a, b : Model
    pairing : Pairing
        Of their inputs and outputs.
    runner : str
        What runs operators alone.
    runners : (Runner, Runner)
        Those of both models.
    """

    def __init__(self, a: Model, b: Model, pairing: Pairing, runner: str, runners: tuple[Runner, Runner]) -> None:
        self._a, self._b = a, b
        self._ga, self._gb = (r.interface.subgraph for r in runners)
        self.same = twins(a, b, (self._ga, self._gb), pairing)
        self._affines_a = {t: single_affine(Tensor(a, self._ga, t)) for t in self.same.values()}
        self._writers = {t: o for o in a.subgraphs[self._ga].operators or () for t in indices_of(o.outputs)}
        self._constants = folded(b, self._gb)
        self._layers = dict(self._found())
        self._apart, self._notes = self._taken_apart(runner)
        self._values: dict[int, Array] = {}

    def _found(self) -> Iterator[tuple[int, _Layer]]:
        for o, operator in enumerate(self._b.subgraphs[self._gb].operators or ()):
            for t in indices_of(operator.outputs):
                if t in self.same and t not in self._constants:
                    yield t, _Layer(o, t, self.same[t], single_affine(Tensor(self._b, self._gb, t)))

    @property
    def unmatched(self) -> tuple[str, ...]:
        """Names of tensors that B computes and A doesn't have."""
        known = {-1, *self.same, *self._constants}
        outputs = (t for o in self._b.subgraphs[self._gb].operators or () for t in indices_of(o.outputs))
        return tuple(Tensor(self._b, self._gb, t).name for t in outputs if t not in known)

    def see_a(self, g: int, index: int, values: Array) -> None:
        """Tap of A: keep what B's tensors are compared with, until the sample ends."""
        if g == self._ga and index in self._affines_a:
            affine = self._affines_a[index]
            self._values[index] = np.array(values) if affine is None else decode(values, affine)

    def see_b(self, g: int, index: int, values: Array) -> None:
        """Tap of B, which runs after A."""
        if g == self._gb and index in self._layers:
            layer = self._layers[index]
            if layer.twin in self._values:
                layer.see(self._values[layer.twin], values)

    def end_sample(self, keep_state: bool) -> None:
        """Run B's operators alone on A's values."""
        if self._apart is not None:
            fed = {port: self._given(t) for port, t in self._apart.inputs.items()}
            for port, value in self._apart.runner.run(fed, keep_state=keep_state).items():
                layer = self._layers[self._apart.outputs[port]]
                reference = self._values.get(layer.twin)
                if reference is not None and reference.dtype.kind == "f" and reference.shape == value.shape:
                    layer.alone.add(reference, decode(value, layer.affine))
        self._values.clear()

    def _given(self, tensor: int) -> Array:
        return encode(self._values[self.same[tensor]], single_affine(Tensor(self._b, self._gb, tensor)))

    def _taken_apart(self, runner: str) -> tuple[Apart | None, dict[int, str]]:
        """B's operators, each with inputs of its own; and why some are left out."""
        notes: dict[int, str] = {}
        kept = []
        for o, operator in enumerate(self._b.subgraphs[self._gb].operators or ()):
            outputs = indices_of(operator.outputs)
            reason = "" if self._constants.issuperset(outputs) else self._reason(operator)
            if reason:
                notes[o] = reason
            else:
                kept.append(o)
        try:
            return take_apart(self._b, self._gb, kept, set(self._layers), runner), notes
        except QuantlibError as error:
            return None, dict.fromkeys((layer.index for layer in self._layers.values()), f"not run alone: {error}")

    def _reason(self, operator: Table) -> str:
        """Why an operator can't be run alone; empty where it can."""
        if self._b.operator_name(operator) in _BOUND:
            return "not run alone: it depends on variables or other subgraphs"
        for t in indices_of(operator.inputs):
            if t >= 0 and t not in self.same and not at_hand(self._b, self._gb, t, self._constants):
                return f"not run alone: A has no tensor for its input {Tensor(self._b, self._gb, t).name!r}"
        return ""

    def done(self) -> tuple[LayerError, ...]:
        """The layers, those that cost the most first."""
        seen = [layer for layer in self._layers.values() if layer.graph.count]
        ratios = {layer.tensor: layer.alone.noise_to_signal for layer in seen if layer.alone.count}
        total = sum(r for r in ratios.values() if math.isfinite(r))
        found = [(ratios.get(layer.tensor, -1.0), self._error(layer, total)) for layer in seen]
        found.sort(key=lambda pair: (-pair[0] if pair[0] == pair[0] else -math.inf, pair[1].sqnr_db))
        return tuple(error for _, error in found)

    def _weights(self, layer: _Layer) -> Spread | None:
        """Weights of the operators of both models that write a layer's tensor."""
        writer = self._writers.get(layer.twin)
        operator = self._b.subgraphs[self._gb].operators[layer.index]
        if writer is None or self._a.operator_name(writer) != self._b.operator_name(operator):
            return None
        return weight_spread((self._a, self._ga, writer), (self._b, self._gb, operator))

    def _error(self, layer: _Layer, total: float) -> LayerError:
        operator = self._b.subgraphs[self._gb].operators[layer.index]
        tensor, affine = Tensor(self._b, self._gb, layer.tensor), layer.affine
        error = LayerError(
            self._b.operator_name(operator),
            layer.index,
            Tensor(self._a, self._ga, layer.twin).name,
            tensor.name,
            tensor.type,
            None,
            None,
            layer.graph.sqnr_db,
            histogram=histogram(layer.state),
            weights=self._weights(layer),
            note=self._notes.get(layer.index, ""),
        )
        if layer.alone.count:
            ratio = layer.alone.noise_to_signal
            share = ratio / total if total and math.isfinite(ratio) else 0.0 if ratio == 0 else None
            error = replace(error, layer_sqnr_db=layer.alone.sqnr_db, share=share)
        if affine is None:
            return error
        scale, zero_point = float(affine.scale.reshape(-1)[0]), int(affine.zero_point.reshape(-1)[0])
        low, high = ends_of(affine)
        steps = layer.alone.rmse / scale if layer.alone.count else None
        return replace(
            error,
            scale=scale,
            zero_point=zero_point,
            low=low,
            high=high,
            saturation=layer.beyond / layer.graph.count,
            rmse_over_scale=steps,
            flagged=steps is not None and steps > FLAGGED,
        )

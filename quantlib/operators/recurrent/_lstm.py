"""Long short-term memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue

from ..fused import TANH, apply_fused
from ..kernel import Array
from ._steps import Floats, join, logistic, set_state, state_of

#: Keeps the layer normalization finite where all cells are equal (``MeanStddevNormalization`` of LiteRT).
_LEAST_VARIANCE = np.float32(1e-8)


@dataclass(frozen=True, slots=True)
class LstmWeights:
    """Constants of one LSTM cell with C units, O outputs and I inputs; float32.

    Gates stand in the order input, forget, cell, output. Where the input gate's weights are None, it is one minus
    the forget gate ("CIFG").

    Attributes
    ----------
    inputs : sequence of (ndarray or None)
        [C, I] per gate.
    recurrent : sequence of (ndarray or None)
        [C, O] per gate; or [C], a diagonal.
    bias : sequence of (ndarray or None)
        [C] per gate.
    peephole : sequence of (ndarray or None)
        [C] for the gates that see the cell's state: input, forget, output.
    norm : sequence of (ndarray or None)
        [C] per gate: layer normalization, before the bias is added.
    auxiliary : sequence of (ndarray or None)
        [C, J] per gate, for a second input.
    projection, projection_bias : ndarray or None
        [O, C] and [O]; without them O is C.
    """

    inputs: Sequence[Array | None]
    recurrent: Sequence[Array | None]
    bias: Sequence[Array | None]
    peephole: Sequence[Array | None] = (None, None, None)
    norm: Sequence[Array | None] = (None, None, None, None)
    auxiliary: Sequence[Array | None] = (None, None, None, None)
    projection: Array | None = None
    projection_bias: Array | None = None


def lstm(
    x: Array,
    weights: LstmWeights,
    output_state: Array,
    cell_state: Array,
    *,
    activation: int = TANH,
    cell_clip: float = 0.0,
    proj_clip: float = 0.0,
    backward: bool = False,
    auxiliary: Array | None = None,
) -> Floats:
    """Run an LSTM over a sequence.

    Parameters
    ----------
    x : ndarray
        float32 [T, B, I].
    weights : LstmWeights
    output_state, cell_state : ndarray
        float32, B * O and B * C elements; updated in place.
    activation : int
        ``ActivationFunctionType`` of the cell gate and of the cell's output.
    cell_clip, proj_clip : float
        Bounds of the cell's state and of the projection, on both sides of zero; 0 for none.
    backward : bool
        From the last step to the first.
    auxiliary : ndarray, optional
        float32 [T, B, J].

    Returns
    -------
    ndarray
        float32 [T, B, O].

    Raises
    ------
    InvalidValue
        If shapes don't fit one another, or a state can't be written.
    """
    steps, batch, _ = x.shape
    cell = _Cell(weights, activation, cell_clip, proj_clip)
    driven = cell.driven(x, auxiliary)
    h = state_of(output_state, batch, cell.outputs)
    c = state_of(cell_state, batch, cell.units)
    out = np.empty((steps, batch, cell.outputs), np.float32)
    for t in range(steps - 1, -1, -1) if backward else range(steps):
        h, c = cell.step(driven[t], h, c)
        out[t] = h
    set_state(output_state, h)
    set_state(cell_state, c)
    return out


class _Cell:
    """Weights joined so that a step is one product."""

    def __init__(self, weights: LstmWeights, activation: int, cell_clip: float, proj_clip: float) -> None:
        self.weights = weights
        self.activation = activation
        self.clips = np.float32(cell_clip), np.float32(proj_clip)
        self.gates = [g for g in range(4) if weights.inputs[g] is not None]
        if self.gates[-3:] != [1, 2, 3]:
            raise InvalidValue(
                "an LSTM without weights for the forget, cell or output gate: only the input gate's may lack"
            )
        last = weights.recurrent[3]
        if last is None:
            raise InvalidValue("an LSTM without recurrent weights: they are required")
        self.units, self.outputs = last.shape[0], last.shape[-1]
        self.diagonal = last.ndim == 1
        joined = self._joined(weights.recurrent, "recurrent weights")
        self.recurrent = joined.reshape(len(self.gates), self.units) if self.diagonal else joined
        self.normed = weights.norm[1] is not None

    def _joined(self, parts: Sequence[Array | None], what: str) -> Floats:
        return join([parts[g] for g in self.gates], self.units, what)

    def driven(self, x: Array, auxiliary: Array | None) -> Floats:
        """What the inputs contribute to the gates at all steps: [T, B, gates * C]."""
        driven: Floats = np.matmul(x, self._joined(self.weights.inputs, "input weights").T)
        if auxiliary is not None:
            driven += np.matmul(auxiliary, self._joined(self.weights.auxiliary, "auxiliary weights").T)
        if not self.normed:
            driven += self._joined(self.weights.bias, "biases")
        return driven

    def step(self, driven: Floats, h: Floats, c: Floats) -> tuple[Floats, Floats]:
        """Output and state after one step, both new: [B, O] and [B, C]."""
        batch = driven.shape[0]
        if self.diagonal:
            sums = driven.reshape(batch, len(self.gates), self.units) + h[:, np.newaxis] * self.recurrent
        else:
            sums = (driven + h @ self.recurrent.T).reshape(batch, len(self.gates), self.units)
        parts = dict(zip(self.gates, np.moveaxis(sums, 1, 0), strict=True))
        peep_input, peep_forget, peep_output = self.weights.peephole
        forget = logistic(self._gate(parts[1], 1, c, peep_forget))
        entry = 1 - forget if 0 not in parts else logistic(self._gate(parts[0], 0, c, peep_input))
        new = forget * c
        new += entry * apply_fused(self._gate(parts[2], 2, c, None), self.activation)
        cell_clip, proj_clip = self.clips
        if cell_clip > 0:
            np.clip(new, -cell_clip, cell_clip, out=new)
        out = logistic(self._gate(parts[3], 3, new, peep_output))
        out *= apply_fused(new.copy(), self.activation)
        if self.weights.projection is not None:
            out = out @ self.weights.projection.T
            if self.weights.projection_bias is not None:
                out += self.weights.projection_bias
            if proj_clip > 0:
                np.clip(out, -proj_clip, proj_clip, out=out)
        return out, new

    def _gate(self, sums: Floats, gate: int, c: Floats, peephole: Array | None) -> Floats:
        """Add what depends on the cell's state, and normalize."""
        if peephole is not None:
            sums = sums + c * peephole
        norm = self.weights.norm[gate]
        if not self.normed or norm is None:
            return sums
        centred = sums - sums.mean(-1, keepdims=True, dtype=np.float32)
        variance = np.mean(centred * centred, -1, keepdims=True, dtype=np.float32)
        scaled: npt.NDArray[np.float32] = centred / np.sqrt(variance + _LEAST_VARIANCE) * norm
        bias = self.weights.bias[gate]
        return scaled if bias is None else scaled + bias


def basic_lstm(
    x: Array, previous: Array, weights: Array, bias: Array, state: Array
) -> tuple[Floats, Floats, Floats, Floats]:
    """LSTM of the kernel type BASIC: one step, all gates in one matrix.

    Parameters
    ----------
    x : ndarray
        float32 [B, I].
    previous, state : ndarray
        float32 [B, C]: output and cell state of the step before.
    weights : ndarray
        float32 [4 * C, I + C]; gates in the order input, cell, forget, output.
    bias : ndarray
        float32 [4 * C].

    Returns
    -------
    tuple of ndarray
        float32: output [B, C], new state [B, C], the joined inputs [B, I + C], the gates' sums [B, 4 * C].
    """
    units = previous.shape[-1]
    if (
        weights.shape != (4 * units, x.shape[-1] + units)
        or bias.shape != (4 * units,)
        or state.shape != previous.shape
    ):
        raise InvalidValue(f"weights of shape {weights.shape} and bias of {bias.shape} don't fit {units} units")
    joined: Floats = np.concatenate((x, previous), -1)
    sums: Floats = joined @ join([weights], 4 * units, "weights").T
    sums += bias
    entry, cell, forget, out = (sums[..., g * units : (g + 1) * units] for g in range(4))
    new = logistic(entry) * np.tanh(cell) + logistic(forget) * state
    return logistic(out) * np.tanh(new), new, joined, sums

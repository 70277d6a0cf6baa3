"""Integer LSTM: INT8 activations and weights, INT16 gates and cell state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import multiply_by_quantized_multiplier, quantize_multiplier, rounding_divide_by_pot

from ..integer_product import exact_weights
from ..integer_table import exponent_of
from ..kernel_checks import INT8, WORD, checked
from .integer_gates import MOST_BITS, normalize_gate, sigmoid_of_gate, tanh_of_gate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..integer import Operand, QuantizedOperator
    from ..kernel import Array, Call, Kernel

#: Products that LiteRT scales at a time, see `_peephole`.
LANES = 16


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A matrix product within an LSTM, or one of elements.

    Attributes
    ----------
    weights : ndarray
        ``[C, N]`` in a float type in which sums are exact (`exact_weights`); of elements int64 ``[C]``.
    mantissa, shift : int
        From its sums to what they are added to.
    bias : ndarray, optional
        int32 ``[C]``, added to the sums.
    """

    weights: Array
    mantissa: Any
    shift: Any
    bias: Array | None = None

    def __call__(self, x: Array) -> Array:
        """Scaled sums of integers less their zero point; int64 ``[batch, C]``."""
        sums = (x.astype(self.weights.dtype) @ self.weights.T).astype(np.int64)
        if self.bias is not None:
            sums += self.bias
        return multiply_by_quantized_multiplier(sums.astype(np.int32), self.mantissa, self.shift).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """Layer normalization of a gate, see `normalize_gate`."""

    coefficients: Array
    bias: Array
    multiplier: tuple[Any, Any]
    variance_guard: int


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """One gate.

    Attributes
    ----------
    inputs, recurrent : Product
    peephole : Product or None
        Of the cell's state.
    norm : Norm or None
    """

    inputs: Product
    recurrent: Product
    peephole: Product | None = None
    norm: Norm | None = None


@dataclass(frozen=True, slots=True, eq=False)
class IntegerLstm:
    """Constants of an integer LSTM.

    Attributes
    ----------
    gates : tuple of (Gate or None)
        Input, forget, cell, output; without the first it is one minus the second.
    zero_points : (int, int)
        Of the input and of the output state.
    cell_exponent : int
        The cell state's scale is two to this.
    cell_clip : int
        Bound of the cell's state; 0 for none.
    hidden : (int, int)
        Mantissa and shift from the product of output gate and cell to the hidden state.
    hidden_zero_point : int
        Without a projection that of the output state.
    projection : Product or None
    projection_clip : int
        Bound of what is projected; 0 for none.
    """

    gates: tuple[Gate | None, Gate, Gate, Gate]
    zero_points: tuple[int, int]
    cell_exponent: int
    cell_clip: int
    hidden: tuple[Any, Any]
    hidden_zero_point: int
    projection: Product | None = None
    projection_clip: int = 0


@checked(x=INT8, output_state=INT8, cell_state=WORD)
def lstm_integers(x: Array, lstm: IntegerLstm, output_state: Array, cell_state: Array) -> Array:
    """Run an LSTM of integers over a sequence (``EvalInteger8x8_16`` in ``tflite/kernels/lstm_eval.cc``).

    Parameters
    ----------
    x : ndarray
        int8, shape ``[steps, batch, inputs]``.
    lstm : IntegerLstm
    output_state, cell_state : ndarray
        int8 ``[batch, outputs]`` and int16 ``[batch, cells]``; updated in place.

    Returns
    -------
    ndarray
        int8, shape ``[steps, batch, outputs]``.

    Raises
    ------
    InvalidValue
        If shapes don't fit.
    """
    cells, outputs = lstm.gates[1].recurrent.weights.shape
    inputs = lstm.gates[1].inputs.weights.shape[1]
    batch = x.shape[1] if x.ndim == 3 else 0
    if (
        x.ndim != 3
        or x.shape[2] != inputs
        or output_state.size != batch * outputs
        or cell_state.size != batch * cells
    ):
        raise InvalidValue(
            f"an LSTM of {inputs} inputs, {cells} cells and {outputs} outputs on {x.shape} with states of "
            f"{output_state.shape} and {cell_state.shape}: they don't fit"
        )
    last, cell = output_state.reshape(batch, outputs), cell_state.reshape(batch, cells)
    out = np.empty((len(x), batch, outputs), np.int8)
    for t, given in enumerate(x):
        last, cell = _step(given, lstm, last, cell)
        out[t] = last
    output_state[...] = last.reshape(output_state.shape)
    cell_state[...] = cell.reshape(cell_state.shape)
    return out


def _step(x: Array, lstm: IntegerLstm, last: Array, cell: Array) -> tuple[Array, Array]:
    """Output and cell state after one step."""
    centered = x.astype(np.int64) - lstm.zero_points[0], last.astype(np.int64) - lstm.zero_points[1]

    def gate(i: int, state: Array) -> Array:
        made = lstm.gates[i]
        return np.zeros(0) if made is None else _gate(made, *centered, state)

    forget = sigmoid_of_gate(gate(1, cell)).astype(np.int64)
    entering = 32767 - forget if lstm.gates[0] is None else sigmoid_of_gate(gate(0, cell)).astype(np.int64)
    update = tanh_of_gate(gate(2, cell)).astype(np.int64)
    kept = _narrow(rounding_divide_by_pot(forget * cell, 15))
    added = _narrow(rounding_divide_by_pot(entering * update, 30 + lstm.cell_exponent))
    state = np.clip(kept + added, -32768, 32767)
    if lstm.cell_clip > 0:
        state = np.clip(state, -lstm.cell_clip, lstm.cell_clip)
    state = state.astype(np.int16)
    leaving = sigmoid_of_gate(gate(3, state)).astype(np.int64)
    product = leaving * tanh_of_gate(state, 15 + lstm.cell_exponent)
    hidden = multiply_by_quantized_multiplier(product, *lstm.hidden).astype(np.int64)
    if lstm.projection is None:
        return np.clip(hidden + lstm.hidden_zero_point, -128, 127).astype(np.int8), state
    # the kernel subtracts the zero point here, and adds its products to the bias
    below = np.clip(hidden - lstm.hidden_zero_point, -128, 127) + lstm.hidden_zero_point
    projected = np.clip(lstm.projection(below) + lstm.zero_points[1], -128, 127)
    if lstm.projection_clip > 0:
        projected = np.clip(projected, -lstm.projection_clip, lstm.projection_clip)
    return projected.astype(np.int8), state


def _gate(gate: Gate, x: Array, last: Array, cell: Array) -> Array:
    """A gate before its function: int16 ``[batch, cells]``."""
    values = np.clip(gate.inputs(x), -32768, 32767)
    values = np.clip(values + gate.recurrent(last), -32768, 32767)
    if gate.peephole is not None:
        values = _peephole(gate.peephole, values, cell)
    if gate.norm is not None:
        norm = gate.norm
        values = normalize_gate(values, norm.coefficients, norm.bias, norm.multiplier, norm.variance_guard)
    return values.astype(np.int16)


def _peephole(seen: Product, values: Array, cell: Array) -> Array:
    """Add products with the cell's state.

    Sixteen at a time are rounded upwards at ties, and what remains of a row away from zero
    (``NeonVectorBatchVectorCwiseProductAccumulate``, which x86 builds have through NEON_2_SSE.h).
    """
    products, count = cell.astype(np.int64) * seen.weights, cell.shape[1]
    scaled = multiply_by_quantized_multiplier(products, seen.mantissa, seen.shift).astype(np.int64)
    right = max(-int(seen.shift), 0)
    if right:
        high = multiply_by_quantized_multiplier(products, seen.mantissa, 0).astype(np.int64)
        upwards = (high + (1 << (right - 1))) >> right
        scaled = np.where(np.arange(count) < count - count % LANES, upwards, scaled)
    return np.asarray(np.clip(values + scaled, -32768, 32767))


def _narrow(x: Array) -> Array:
    return x.astype(np.int16).astype(np.int64)


def prepare_lstm(operator: QuantizedOperator) -> Kernel:
    """Make the kernel of LSTM or UNIDIRECTIONAL_SEQUENCE_LSTM (``PopulateQuantizedLstmParams8x8_16``)."""
    lstm, ordered = lstm_constants(operator), is_ordered(operator)

    def run(call: Call) -> Sequence[Array]:
        x = call.operand(0)
        steps = x[None] if x.ndim == 2 else x if ordered else x.swapaxes(0, 1)
        out = lstm_integers(steps, lstm, call.operand(18), call.operand(19))
        return (out[0] if x.ndim == 2 else out if ordered else np.ascontiguousarray(out.swapaxes(0, 1)),)

    return run


def is_ordered(operator: QuantizedOperator) -> bool:
    """Whether the steps of a sequence are its first axis, not those of the batch."""
    sequence = operator.options.kind == "UnidirectionalSequenceLSTMOptions"
    return bool(not sequence or operator.options.time_major)


def is_integer_lstm(operator: QuantizedOperator) -> bool:
    """Whether its types are those of the kernel, all that it needs is there, and weights are constants."""
    given = [operator.optional(i) for i in range(24)]
    kinds = {0: "INT8", 18: "INT8", 19: "INT16"}
    weights = [i for i in (*range(1, 9), 16) if given[i] is not None]
    if any(o is None or o.type != kinds[i] or o.affine is None for i, o in enumerate(given) if i in kinds):
        return False
    constant = all(o is None or o.value is not None for i, o in enumerate(given) if i not in kinds)
    needed = all(given[i] is not None for i in (2, 3, 4, 6, 7, 8, 13, 14, 15))
    typed = all(o is not None and o.type == "INT8" for o in (given[i] for i in weights))
    scaled = len(operator.intermediates) == 5 and operator.intermediates[4] is not None
    return constant and needed and typed and scaled and operator.output.type == "INT8"


def lstm_constants(operator: QuantizedOperator) -> IntegerLstm:
    """What the kernel of LSTM or UNIDIRECTIONAL_SEQUENCE_LSTM is made of.

    Raises
    ------
    InvalidValue
        If a scale isn't one that the kernel takes, or something is left out.
    """
    x, state, cell = operator.operand(0), operator.operand(18), operator.operand(19)
    exponent = exponent_of(cell.scale)
    if exponent is None or not 0 <= 15 + exponent <= MOST_BITS:
        raise InvalidValue(f"a cell state with scale {cell.scale}; a power of two from 2**-15 to 2**-9 is required")
    norm = operator.optional(21) is not None
    gates = [_gate_of(operator, i, exponent, norm) for i in range(4)]
    forget, update, leaving = gates[1:]
    if forget is None or update is None or leaving is None:
        raise InvalidValue("an LSTM without one of its forget, cell and output gates; all are required")
    between = operator.intermediates[4]
    if between is None:
        raise InvalidValue("an LSTM without the scale of its hidden state, its fifth intermediate; it is required")
    hidden = np.float32(2.0**-15 / np.float64(between.scale) * 2.0**-15)
    options, projection, weights = operator.options, None, operator.optional(16)
    if weights is not None:
        real = np.float32(np.float32(weights.scale * between.scale) / state.scale)
        projection = _product(weights, real, operator.optional(17))
    return IntegerLstm(
        (gates[0], forget, update, leaving),
        (x.zero_point, state.zero_point),
        exponent,
        _clip(options.cell_clip, cell.scale, 32767),
        quantize_multiplier(hidden),
        between.zero_point,
        projection,
        _clip(options.proj_clip, operator.output.scale, 127),
    )


def _gate_of(operator: QuantizedOperator, i: int, exponent: int, norm: bool) -> Gate | None:
    """Gate `i` of input, forget, cell, output; None where it has no weights."""
    inputs, recurrent = operator.optional(1 + i), operator.optional(5 + i)
    if inputs is None or recurrent is None:
        return None
    unit = np.float32(2.0**-12)
    between = operator.intermediates[i] if norm else None
    if between is not None:
        unit = between.scale
    bias, coefficients = operator.optional(12 + i), operator.optional(20 + i)
    first = np.float32(np.float32(inputs.scale * operator.operand(0).scale) / unit)
    second = np.float32(np.float32(recurrent.scale * operator.operand(18).scale) / unit)
    peephole = None
    seen = operator.optional({0: 9, 1: 10, 3: 11}[i]) if i != 2 else None
    if seen is not None:
        real = np.float32(2.0**exponent * np.float64(seen.scale) / np.float64(unit))
        peephole = Product(_value(seen).astype(np.int64), *quantize_multiplier(real))
        if len(peephole.weights) != _value(recurrent).shape[1]:
            raise InvalidValue(
                "an LSTM with peepholes and other than as many outputs as cells; LiteRT multiplies others than these"
            )
    normal = None
    if norm and coefficients is not None and bias is not None:
        guard = max(1, int(np.float32(10000) * coefficients.scale))
        normal = Norm(_value(coefficients), _value(bias), quantize_multiplier(coefficients.scale), guard)
    return Gate(_product(inputs, first, None if norm else bias), _product(recurrent, second), peephole, normal)


def _product(weights: Operand, real: np.float32, bias: Operand | None = None) -> Product:
    exact = exact_weights(_value(weights), 255)
    return Product(exact, *quantize_multiplier(real), None if bias is None else _value(bias).astype(np.int64))


def _value(operand: Operand) -> Array:
    if operand.value is None:
        raise InvalidValue(f"an LSTM with weights of {operand.type} that aren't constants; constants are required")
    return operand.value


def _clip(bound: float, scale: np.float32, most: int) -> int:
    """Integer of a clip, truncated; 0 for none."""
    return int(min(np.float32(bound) / scale, np.float32(most))) if bound > 0 else 0

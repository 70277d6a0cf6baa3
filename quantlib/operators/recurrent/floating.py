"""Recurrent kernels with float32 weights. A sequence's steps are one product, each step's recurrence another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from quantlib.errors import InvalidValue

from ..kernel import Array, Call, Kernel
from ._lstm import LstmWeights, basic_lstm, lstm
from ._rnn import rnn, svdf
from ._steps import time_first

__all__ = ["KERNELS", "LstmWeights", "basic_lstm", "lstm", "rnn", "svdf"]

# LSTMKernelType of the schema.
_BASIC = 1


def _weights(call: Call, at: int, norm: int | None = None, auxiliary: int | None = None) -> LstmWeights:
    """Weights of a cell whose first operand is `at`: all LSTM operators have the same 17 in a row."""
    get = call.optional

    def four(first: int | None) -> list[Array | None]:
        return [None if first is None else get(first + gate) for gate in range(4)]

    return LstmWeights(
        inputs=four(at),
        recurrent=four(at + 4),
        peephole=[get(at + 8 + i) for i in range(3)],
        bias=four(at + 11),
        projection=get(at + 15),
        projection_bias=get(at + 16),
        norm=four(norm),
        auxiliary=four(auxiliary),
    )


def _sequence_lstm(call: Call) -> list[Array]:
    o, x = call.options, call.operand(0)
    # The operator LSTM has one step, and no such option.
    time_major = o.kind != "UnidirectionalSequenceLSTMOptions" or o.time_major
    out: Array = lstm(
        time_first(x, time_major),
        _weights(call, 1, norm=20),
        call.operand(18),
        call.operand(19),
        activation=o.fused_activation_function,
        cell_clip=o.cell_clip,
        proj_clip=o.proj_clip,
    )
    return [_like_input(out, x, time_major)]


def _lstm(call: Call) -> list[Array]:
    if call.options.kernel_type != _BASIC:
        return _sequence_lstm(call)
    x, previous, weights, bias, state = (call.operand(i) for i in range(5))
    outputs = basic_lstm(x, previous, weights, bias, state)
    # A model of this type may also carry its state from output to input itself.
    for kept, new in ((previous, outputs[0]), (state, outputs[1])):
        if kept.flags.writeable:
            kept[...] = new
    return list(outputs)


def _bidirectional(call: Call, auxiliary_at: int, weights_at: int, run: Callable[..., Array]) -> list[Array]:
    """Both directions; `run` takes (x, second input or None, whether backward)."""
    o = call.options
    x = time_first(call.operand(0), o.time_major)
    given = call.optional(auxiliary_at)
    second = None if given is None else time_first(given, o.time_major)
    # A second input without weights of its own is the input of the backward cell.
    shared = call.optional(weights_at) is not None
    forward = run(x, second if shared else None, False)
    backward = run(x if shared or second is None else second, second if shared else None, True)
    if o.merge_outputs:
        return [_like_input(np.concatenate((forward, backward), -1), call.operand(0), o.time_major)]
    return [_like_input(out, call.operand(0), o.time_major) for out in (forward, backward)]


def _bidirectional_lstm(call: Call) -> list[Array]:
    o = call.options

    def run(x: Array, auxiliary: Array | None, backward: bool) -> Array:
        out: Array = lstm(
            x,
            _weights(call, 18 if backward else 1, auxiliary=44 if backward else 40),
            call.operand(37 if backward else 35),
            call.operand(38 if backward else 36),
            activation=o.fused_activation_function,
            cell_clip=o.cell_clip,
            proj_clip=o.proj_clip,
            backward=backward,
            auxiliary=auxiliary,
        )
        return out

    return _bidirectional(call, 39, 41, run)


def _rnn(call: Call) -> list[Array]:
    o, x = call.options, call.operand(0)
    time_major = o.kind != "SequenceRNNOptions" or o.time_major
    weights = [call.operand(i) for i in range(1, 5)]
    out: Array = rnn(time_first(x, time_major), *weights, activation=o.fused_activation_function)
    return [_like_input(out, x, time_major)]


def _bidirectional_rnn(call: Call) -> list[Array]:
    def run(x: Array, auxiliary: Array | None, backward: bool) -> Array:
        weights = [call.operand(i) for i in (range(5, 9) if backward else range(1, 5))]
        out: Array = rnn(
            x,
            *weights,
            activation=call.options.fused_activation_function,
            backward=backward,
            auxiliary=auxiliary,
            auxiliary_weights=call.optional(11 if backward else 10),
        )
        return out

    return _bidirectional(call, 9, 10, run)


def _svdf(call: Call) -> list[Array]:
    o = call.options
    x, feature, time = (call.operand(i) for i in range(3))
    if x.ndim != 2 or x.dtype != np.float32:
        raise InvalidValue(f"an input of {x.dtype} {x.shape}: float32 of rank 2 is required")
    found: Array = svdf(
        x, feature, time, call.optional(3), call.operand(4), rank=o.rank, activation=o.fused_activation_function
    )
    return [found]


def _like_input(out: Array, x: Array, time_major: bool) -> Array:
    """[T, B, O] in the order of the input's axes."""
    ordered: Array = out if time_major else out.swapaxes(0, 1)
    if x.ndim == 2:
        ordered = out[0]
    return ordered


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "BIDIRECTIONAL_SEQUENCE_LSTM": _bidirectional_lstm,
        "BIDIRECTIONAL_SEQUENCE_RNN": _bidirectional_rnn,
        "LSTM": _lstm,
        "RNN": _rnn,
        "SVDF": _svdf,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": _sequence_lstm,
        "UNIDIRECTIONAL_SEQUENCE_RNN": _rnn,
    }
)

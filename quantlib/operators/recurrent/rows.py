"""Recurrent operators. Their hybrid kernels take one scale per weight, and all weights or none.

The converter's 1,024-element rule stands for them: an LSTM of 20 units on MNIST loses its accuracy in SQNR, and a
few hundred bytes are all that is won.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..row import OWN, Integer, OperatorRow, Recurrent, Weight


def _row(name: str, options: str, operands: Iterable[int], integer: Integer | None = None) -> OperatorRow:
    static = ("INT8",) if integer is not None else ()
    weights = tuple(Weight(i, 0, ("INT8",), hybrid_channels=False, least=1024, static=static) for i in operands)
    return OperatorRow(name, options, weights, together=True, asymmetric_inputs=True, integer=integer)


_LSTM = (*range(1, 9), 16)
_BIDIRECTIONAL_LSTM = (*range(1, 9), 16, *range(18, 26), 33, *range(40, 48))

_TANH, _RELU = 4, 1
_INTEGER_LSTM = Integer(
    OWN,
    ("INT8",),
    recurrent=Recurrent(
        _TANH,
        # gates of the input and of the last output, projection; peepholes; layer normalization
        weights=(*((i, "INT8") for i in _LSTM), *((i, "INT16") for i in (*range(9, 12), *range(20, 24)))),
        biases=(*((12 + gate, 1 + gate, 20 + gate) for gate in range(4)), (17, 16, -1)),
        state=19,
        output_state=18,
        powers=(0, 6),  # integer bits of its TANH, tflite/kernels/internal/reference/portable_tensor_utils.cc
        projection=16,
        intermediates=5,
    ),
)
_INTEGER_SVDF = Integer(
    OWN,
    ("INT8",),
    recurrent=Recurrent(
        _RELU,
        weights=((1, "INT8"), (2, "INT16")),
        biases=((3, 2, -1),),
        state=4,
        largest=((2, 511),),  # ten bits, so that sums over time stay within 32
    ),
)

ROWS = (
    _row("LSTM", "LSTMOptions", _LSTM, _INTEGER_LSTM),
    _row("UNIDIRECTIONAL_SEQUENCE_LSTM", "UnidirectionalSequenceLSTMOptions", _LSTM, _INTEGER_LSTM),
    _row("BIDIRECTIONAL_SEQUENCE_LSTM", "BidirectionalSequenceLSTMOptions", _BIDIRECTIONAL_LSTM),
    _row("RNN", "RNNOptions", (1, 2)),
    _row("UNIDIRECTIONAL_SEQUENCE_RNN", "SequenceRNNOptions", (1, 2)),
    _row("BIDIRECTIONAL_SEQUENCE_RNN", "BidirectionalSequenceRNNOptions", (1, 2, 5, 6, 10, 11)),
    _row("SVDF", "SVDFOptions", (1, 2), _INTEGER_SVDF),
)

"""Recurrent operators. Their hybrid kernels take one scale per weight, and all weights or none.

The converter's 1,024-element rule stands for them: an LSTM of 20 units on MNIST loses its accuracy in SQNR, and a
few hundred bytes are all that is won.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..row import OperatorRow, Weight


def _row(name: str, options: str, operands: Iterable[int]) -> OperatorRow:
    weights = tuple(Weight(i, 0, ("INT8",), hybrid_channels=False, least=1024) for i in operands)
    return OperatorRow(name, options, weights, together=True, asymmetric_inputs=True)


_LSTM = (*range(1, 9), 16)
_BIDIRECTIONAL_LSTM = (*range(1, 9), 16, *range(18, 26), 33, *range(40, 48))

ROWS = (
    _row("LSTM", "LSTMOptions", _LSTM),
    _row("UNIDIRECTIONAL_SEQUENCE_LSTM", "UnidirectionalSequenceLSTMOptions", _LSTM),
    _row("BIDIRECTIONAL_SEQUENCE_LSTM", "BidirectionalSequenceLSTMOptions", _BIDIRECTIONAL_LSTM),
    _row("RNN", "RNNOptions", (1, 2)),
    _row("UNIDIRECTIONAL_SEQUENCE_RNN", "SequenceRNNOptions", (1, 2)),
    _row("BIDIRECTIONAL_SEQUENCE_RNN", "BidirectionalSequenceRNNOptions", (1, 2, 5, 6, 10, 11)),
    _row("SVDF", "SVDFOptions", (1, 2)),
)

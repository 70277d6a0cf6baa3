"""Matrix products."""

from __future__ import annotations

from ..row import OperatorRow, Weight

# The hybrid BATCH_MATMUL takes one symmetric scale; with several LiteRT 2.3 computes zeros.
ROWS = (
    OperatorRow(
        "FULLY_CONNECTED",
        "FullyConnectedOptions",
        (Weight(1, 0, ("INT8", "INT4", "INT2"), rank=2),),
        blockwise=("INT4",),
        bias=2,
        asymmetric_inputs=True,
    ),
    OperatorRow(
        "BATCH_MATMUL",
        "BatchMatMulOptions",
        (Weight(1, -1, ("INT8",), hybrid_channels=False, transposed="adj_y"),),
        asymmetric_inputs=True,
    ),
)

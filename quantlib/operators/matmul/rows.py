"""Matrix products."""

from __future__ import annotations

from ..row import OWN, PRODUCTS, Integer, OperatorRow, Weight

# The hybrid BATCH_MATMUL takes one symmetric scale; with several LiteRT 2.3 computes zeros.
ROWS = (
    OperatorRow(
        "FULLY_CONNECTED",
        "FullyConnectedOptions",
        (Weight(1, 0, ("INT8", "INT4", "INT2"), rank=2, static=("INT8", "INT4", "UINT8")),),
        blockwise=("INT4",),
        bias=2,
        asymmetric_inputs=True,
        integer=Integer(OWN, least=PRODUCTS),
    ),
    OperatorRow(
        "BATCH_MATMUL",
        "BatchMatMulOptions",
        (Weight(1, -1, ("INT8",), hybrid_channels=False, transposed="adj_y"),),
        asymmetric_inputs=True,
        # a constant is an activation to it, with one scale; XNNPACK wants its zero point to be 0
        integer=Integer(OWN, types=("INT8", "INT16"), data=(0, 1), symmetric=(1,), least=PRODUCTS),
    ),
)

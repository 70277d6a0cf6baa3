"""Operators between float and integer types."""

from __future__ import annotations

from ..row import OperatorRow

ROWS = (
    OperatorRow("DENSIFY", "DensifyOptions"),
    OperatorRow("DEQUANTIZE", "DequantizeOptions"),
    OperatorRow("FAKE_QUANT", "FakeQuantOptions"),
    OperatorRow("QUANTIZE", "QuantizeOptions"),
)

"""Operators that move data."""

from __future__ import annotations

from ..row import OperatorRow, Weight

ROWS = (
    OperatorRow("GATHER", "GatherOptions", (Weight(0, 0, table=True),)),
    OperatorRow("EMBEDDING_LOOKUP", "", (Weight(1, 0, ("INT8", "INT4")),)),
    OperatorRow("RANGE", "RangeOptions", shapes=(0, 1, 2)),
)

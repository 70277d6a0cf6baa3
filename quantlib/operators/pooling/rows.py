"""Pools over windows of height and width."""

from __future__ import annotations

from ..row import SAME, Integer, OperatorRow

ROWS = (
    OperatorRow("AVERAGE_POOL_2D", "Pool2DOptions", integer=Integer(SAME)),
    OperatorRow("MAX_POOL_2D", "Pool2DOptions", integer=Integer(SAME)),
    OperatorRow("L2_POOL_2D", "Pool2DOptions"),
)

"""Pools over windows of height and width."""

from __future__ import annotations

from ..row import OperatorRow

ROWS = tuple(OperatorRow(name, "Pool2DOptions") for name in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"))

"""Reductions over axes, and running sums."""

from __future__ import annotations

from ..row import OperatorRow

_REDUCERS = ("MEAN", "REDUCE_ALL", "REDUCE_ANY", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SUM")

ROWS = (
    *(OperatorRow(name, "ReducerOptions") for name in _REDUCERS),
    OperatorRow("ARG_MAX", "ArgMaxOptions"),
    OperatorRow("ARG_MIN", "ArgMinOptions"),
    OperatorRow("CUMSUM", "CumsumOptions"),
)

"""Detection operators."""

from __future__ import annotations

from ..row import OperatorRow

ROWS = (OperatorRow("TFLite_Detection_PostProcess"),)

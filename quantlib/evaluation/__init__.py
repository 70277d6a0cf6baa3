"""Evaluation: what quantization cost, as figures, a page, and data for Model Explorer.

==========  ====================================================================================================
compare     `compare`, `Comparison`, `load`; its parts `ModelFacts`, `OutputError`, `Accuracy`, `Latency`
layers      `LayerError`, `Histogram`, `Spread`, `FLAGGED`
costs       `costs`, `Costs`, `OperatorCost`, `OperatorTotal`
tune        `tune`, `Tuned`, `Trial`
views       `report` (HTML), `require_report`, `node_data` (Model Explorer), `write_text`
==========  ====================================================================================================
"""

from __future__ import annotations

from .compare import compare
from .counts import Costs, OperatorCost, costs
from .layers import FLAGGED
from .node_data import node_data
from .report import report, require_report
from .storage import write_text
from .tune import Trial, Tuned, tune
from .values import (
    Accuracy,
    Comparison,
    Histogram,
    Latency,
    LayerError,
    ModelFacts,
    OperatorTotal,
    OutputError,
    Spread,
    load,
)

__all__ = [
    "FLAGGED",
    "Accuracy",
    "Comparison",
    "Costs",
    "Histogram",
    "Latency",
    "LayerError",
    "ModelFacts",
    "OperatorCost",
    "OperatorTotal",
    "OutputError",
    "Spread",
    "Trial",
    "Tuned",
    "compare",
    "costs",
    "load",
    "node_data",
    "report",
    "require_report",
    "tune",
    "write_text",
]

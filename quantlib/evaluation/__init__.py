"""Evaluation: what quantization cost, as figures, a page, and data for Model Explorer.

==========  ====================================================================================================
compare     `compare`, `Comparison`, `load`; its parts `ModelFacts`, `OutputError`, `Accuracy`, `Latency`
layers      `LayerError`, `Histogram`, `Spread`, `FLAGGED`
costs       `costs`, `Costs`, `OperatorCost`, `OperatorTotal`
tune        `tune`, `Tuned`, `Trial`
mix         `mix`, `Mixed`, `Raised`: 16 bits for the operators that need them
weights     `sensitivity`: what editing each alone costs; `gram`, `refit`: what samples say of those that go
biases      `correct_bias`: what layers are off by on average, taken off
vectors     `golden`, `Golden`: test vectors of single operators; `arithmetics`, `multiplier_rows`
views       `report` (HTML), `require_report`, `node_data` (Model Explorer), `write_text`
==========  ====================================================================================================
"""

from __future__ import annotations

from .bias import correct_bias
from .compare import compare
from .counts import Costs, OperatorCost, costs
from .golden import Golden, golden
from .layers import FLAGGED
from .mix import Mixed, Raised, mix
from .node_data import node_data
from .refit import gram, refit
from .report import report, require_report
from .sensitivity import sensitivity
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
from .vectors import arithmetics, multiplier_rows

__all__ = [
    "FLAGGED",
    "Accuracy",
    "Comparison",
    "Costs",
    "Golden",
    "Histogram",
    "Latency",
    "LayerError",
    "Mixed",
    "ModelFacts",
    "OperatorCost",
    "OperatorTotal",
    "OutputError",
    "Raised",
    "Spread",
    "Trial",
    "Tuned",
    "arithmetics",
    "compare",
    "correct_bias",
    "costs",
    "golden",
    "gram",
    "load",
    "mix",
    "multiplier_rows",
    "node_data",
    "refit",
    "report",
    "require_report",
    "sensitivity",
    "tune",
    "write_text",
]

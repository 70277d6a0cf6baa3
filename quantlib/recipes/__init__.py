"""What is wanted (`Recipe`), and what that means for one model (`Plan`)."""

from __future__ import annotations

from .check import Findings, Violation, check, operation
from .constants import Cut, constant_affine, constant_range, elements_of, stays_sparse, stored_bytes
from .graph import STORAGE, Graph, Use
from .grid import affine_of, stored_identity
from .integer import plan_integer
from .plan import BEHIND, DIRECT, KEEP, Decision, End, Moments, OperatorPlan, Plan
from .presets import (
    PRESETS,
    by_name,
    dynamic,
    dynamic_int4,
    float16,
    int8,
    int8_int4,
    int16x8,
    uint8,
    weight_only,
    weight_only_int4,
)
from .recipe import Recipe
from .selectors import Selection
from .toml import from_toml, load
from .weights import plan_weights

__all__ = [
    "BEHIND",
    "DIRECT",
    "KEEP",
    "PRESETS",
    "STORAGE",
    "Cut",
    "Decision",
    "End",
    "Findings",
    "Graph",
    "Moments",
    "OperatorPlan",
    "Plan",
    "Recipe",
    "Selection",
    "Use",
    "Violation",
    "affine_of",
    "by_name",
    "check",
    "constant_affine",
    "constant_range",
    "dynamic",
    "dynamic_int4",
    "elements_of",
    "float16",
    "from_toml",
    "int8",
    "int8_int4",
    "int16x8",
    "load",
    "operation",
    "plan_integer",
    "plan_weights",
    "stays_sparse",
    "stored_bytes",
    "stored_identity",
    "uint8",
    "weight_only",
    "weight_only_int4",
]

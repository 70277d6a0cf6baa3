"""What is wanted (`Recipe`), and what that means for one model (`Plan`)."""

from __future__ import annotations

from .graph import Graph, Use
from .plan import BEHIND, DIRECT, KEEP, Decision, Plan
from .presets import PRESETS, by_name, dynamic, dynamic_int4, float16, weight_only, weight_only_int4
from .recipe import Recipe, from_toml, load
from .weights import plan_weights

__all__ = [
    "BEHIND",
    "DIRECT",
    "KEEP",
    "PRESETS",
    "Decision",
    "Graph",
    "Plan",
    "Recipe",
    "Use",
    "by_name",
    "dynamic",
    "dynamic_int4",
    "float16",
    "from_toml",
    "load",
    "plan_weights",
    "weight_only",
    "weight_only_int4",
]

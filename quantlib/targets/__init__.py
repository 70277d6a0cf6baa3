"""What runtimes and devices take: profiles as data, and one evaluator for all of them."""

from __future__ import annotations

from .operation import Operand, Operation, Reason
from .profile import NAMES, load
from .target import Rule, Target

__all__ = ["NAMES", "Operand", "Operation", "Reason", "Rule", "Target", "load"]

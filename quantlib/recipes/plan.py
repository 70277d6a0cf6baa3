"""`Plan`: what will be done to each constant of a model, and why something is left alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quantlib.numerics import Granularity, PerAxis, PerBlock

from .recipe import Recipe

#: What can be done to a constant.
KEEP = "keep"  # nothing
DIRECT = "direct"  # its readers take the new type
BEHIND = "behind DEQUANTIZE"  # stored in the new type, and dequantized for its readers


@dataclass(frozen=True, slots=True)
class Decision:
    """What will be done to one constant.

    Attributes
    ----------
    subgraph, tensor : int
        The tensor that operators read.
    name : str
    readers : tuple of str
        Types of the operators that read it.
    action : str
        ``keep``, ``direct`` or ``behind DEQUANTIZE``.
    type : str
        Element type that it will be stored in.
    granularity : Granularity
    symmetric : bool
    plain : tuple of (int, int)
        Readers (operator, operand) that keep the float constant as it is.
    dequantized : tuple of (int, int)
        Readers that get it through DEQUANTIZE although others take it directly.
    before, after : int
        Bytes of the constant, with its scales and zero points.
    reason : str
        Why it is kept, or what else there is to know.
    left_out : bool
        It is kept because the recipe's selectors leave it out.
    wanted : bool
        A recipe of this mode means to take it: any constant for float16, the weights of products otherwise.
    """

    subgraph: int
    tensor: int
    name: str
    readers: tuple[str, ...]
    action: str
    type: str
    granularity: Granularity
    symmetric: bool = True
    plain: tuple[tuple[int, int], ...] = ()
    dequantized: tuple[tuple[int, int], ...] = ()
    before: int = 0
    after: int = 0
    reason: str = ""
    left_out: bool = False
    wanted: bool = False

    @property
    def how(self) -> str:
        """The granularity in words."""
        if self.action == KEEP or self.type == "FLOAT16":
            return ""
        if isinstance(self.granularity, PerBlock):
            return f"per block of {self.granularity.size}"
        return f"per channel {self.granularity.axis}" if isinstance(self.granularity, PerAxis) else "per tensor"


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What a recipe means for one model; nothing has been changed yet.

    Attributes
    ----------
    recipe : Recipe
    decisions : tuple of Decision
        One for every float constant and every constant that is quantized already.
    """

    recipe: Recipe
    decisions: tuple[Decision, ...]

    @property
    def quantized(self) -> tuple[Decision, ...]:
        """Decisions that change something."""
        return tuple(d for d in self.decisions if d.action != KEEP)

    @property
    def kept(self) -> tuple[Decision, ...]:
        """Decisions that leave a constant alone, each with its reason."""
        return tuple(d for d in self.decisions if d.action == KEEP)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as values that JSON knows."""
        return {
            "mode": self.recipe.mode,
            "constants": [
                {
                    "subgraph": d.subgraph,
                    "tensor": d.tensor,
                    "name": d.name,
                    "readers": list(d.readers),
                    "action": d.action,
                    "type": d.type,
                    "granularity": d.how,
                    "bytes_before": d.before,
                    "bytes_after": d.after,
                    "reason": d.reason,
                }
                for d in self.decisions
            ],
            "totals": self.totals(),
        }

    def totals(self) -> dict[str, int]:
        """Number of constants quantized and kept, and their bytes before and after."""
        return {
            "quantized": len(self.quantized),
            "kept": len(self.kept),
            "bytes_before": sum(d.before for d in self.decisions),
            "bytes_after": sum(d.after for d in self.decisions),
            "bytes_quantized": sum(d.before for d in self.quantized),
        }

    def __str__(self) -> str:
        rows = [_line(d) for d in self.decisions]
        t = self.totals()
        share = 100 * t["bytes_quantized"] / t["bytes_before"] if t["bytes_before"] else 0.0
        rows.append(
            f"{self.counts() or 'nothing changes'} ({share:.1f} % of {t['bytes_before']:,} bytes), "
            f"{t['kept']} kept; constants {t['bytes_before']:,} -> {t['bytes_after']:,} bytes"
        )
        return "\n".join(rows)

    def counts(self) -> str:
        """Return how many constants go to each type, in words."""
        types = [d.type for d in self.quantized]
        return ", ".join(f"{types.count(t)} to {t}" for t in sorted(set(types), key=types.count, reverse=True))

    def __repr__(self) -> str:
        return f"<Plan of {len(self.decisions)} constants: {self.counts() or 'nothing changes'}>"

    @property
    def leftovers(self) -> tuple[Decision, ...]:
        """Float constants that stay although the recipe means to take them and its selectors don't leave them out."""
        return tuple(d for d in self.kept if d.type == "FLOAT32" and d.wanted and not d.left_out)

    def nothing(self) -> str:
        """Why a plan changes nothing; empty where it does."""
        if self.quantized:
            return ""
        reasons = [d.reason for d in self.kept]
        why = max(set(reasons), key=reasons.count) if reasons else "the model has no float constants"
        return f"nothing was quantized: {why}; `quantlib plan` lists all"


def _line(decision: Decision) -> str:
    readers = ",".join(sorted(set(decision.readers))) or "-"
    name = decision.name or f"({decision.subgraph}, {decision.tensor})"
    if decision.action == KEEP:
        return f"{readers:<24} {name}: {decision.type} kept: {decision.reason}"
    how = " ".join(w for w in (decision.how, decision.action) if w)
    note = f" ({decision.reason})" if decision.reason else ""
    return f"{readers:<24} {name}: {decision.type} {how}, {decision.before:,} -> {decision.after:,} bytes{note}"

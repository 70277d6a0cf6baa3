"""`Plan`: what will be done to each constant of a model, and why something is left alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from quantlib.numerics import Affine, Granularity, PerAxis, PerBlock

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
    trained : Affine or None
        Scales and zero points from training; None where they are chosen when the plan is carried out.
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
    trained: Affine | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the decision as values that JSON knows."""
        return {
            "subgraph": self.subgraph,
            "tensor": self.tensor,
            "name": self.name,
            "readers": list(self.readers),
            "action": self.action,
            "type": self.type,
            "granularity": self.how,
            "bytes_before": self.before,
            "bytes_after": self.after,
            "reason": self.reason,
        }

    @property
    def how(self) -> str:
        """The granularity in words."""
        if self.action == KEEP or self.type == "FLOAT16":
            return ""
        if isinstance(self.granularity, PerBlock):
            return f"per block of {self.granularity.size}"
        return f"per channel {self.granularity.axis}" if isinstance(self.granularity, PerAxis) else "per tensor"


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and variance of an operator's input, as far as the rounding of its weights looks at them.

    Attributes
    ----------
    mean, variance : tuple of float
        One for each channel of the input, or one for all (see `quantlib.numerics.quantize_balanced`).
    """

    mean: tuple[float, ...]
    variance: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class OperatorPlan:
    """What will be done to one operator, in modes with integer activations.

    Attributes
    ----------
    subgraph, operator : int
    name : str
        Name of its first output, or its type and place.
    type : str
        Such as CONV_2D.
    mode : str
        Element type of its activations: INT8, INT16 or UINT8; FLOAT32 where it stays float; empty where it has no
        float operand or output.
    inputs, outputs : tuple of (Affine or None)
        What each operand and output will hold; None where it stays what it is.
    source : str
        Where the range of its output comes from.
    reason : str
        Why it stays float.
    notes : tuple of str
        What else there is to know.
    left_out : bool
        It stays float because the recipe's selectors leave it out.
    before, after : int
        Bytes of its constants; those that an operator before it has, too, in the same form, count there.
    moments : Moments or None
        Mean and variance of its input, for which its weights are balanced; None where they're rounded to nearest, or
        it has none.
    corrects_bias : bool
        What balancing leaves of the weights' rounding errors, times the mean of the input, is added to the bias.
    between : tuple of (Affine or None)
        What the intermediates of a recurrent operator hold; None for one that says nothing. Empty where it has none.
    """

    subgraph: int
    operator: int
    name: str
    type: str
    mode: str
    inputs: tuple[Affine | None, ...] = ()
    outputs: tuple[Affine | None, ...] = ()
    source: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()
    left_out: bool = False
    before: int = 0
    after: int = 0
    moments: Moments | None = None
    corrects_bias: bool = False
    between: tuple[Affine | None, ...] = ()

    @property
    def is_integer(self) -> bool:
        """Whether its activations become integers."""
        return self.mode not in ("", "FLOAT32")

    def to_dict(self) -> dict[str, Any]:
        """Return the plan of the operator as values that JSON knows."""
        return {
            "subgraph": self.subgraph,
            "operator": self.operator,
            "name": self.name,
            "type": self.type,
            "mode": self.mode,
            "inputs": [None if a is None else _affine(a) for a in self.inputs],
            "outputs": [None if a is None else _affine(a) for a in self.outputs],
            "source": self.source,
            "reason": self.reason,
            "notes": list(self.notes),
            "bytes_before": self.before,
            "bytes_after": self.after,
        }

    def __str__(self) -> str:
        notes = "".join(f"; {note}" for note in self.notes)
        if not self.is_integer:
            return f"{self.type:<24} {self.name}: {self.mode or 'unchanged'}: {self.reason}{notes}"
        inputs = " ".join(_short(a) for a in self.inputs if a is not None)
        outputs = " ".join(_short(a) for a in self.outputs if a is not None)
        source = f" ({self.source})" if self.source else ""
        return f"{self.type:<24} {self.name}: {inputs} -> {outputs or 'unchanged'}{source}{notes}"


def _affine(affine: Affine) -> dict[str, Any]:
    axis = affine.granularity.axis if isinstance(affine.granularity, PerAxis) else None
    values = {"scale": affine.scale.tolist(), "zero_point": affine.zero_point.tolist()}
    return {"type": affine.type.name, **values, "axis": axis}


def _short(affine: Affine) -> str:
    if affine.scale.size > 1:
        return f"{affine.type.name}[{affine.scale.size} scales]"
    point = int(affine.zero_point[0])
    return f"{affine.type.name}[{affine.scale[0]:.4g}" + (f", {point}]" if point else "]")


@dataclass(frozen=True, slots=True)
class End:
    """What an input or output of the model will hold.

    Attributes
    ----------
    subgraph, tensor : int
    affine : Affine
    """

    subgraph: int
    tensor: int
    affine: Affine

    def to_dict(self) -> dict[str, Any]:
        """Return the end as values that JSON knows."""
        return {"subgraph": self.subgraph, "tensor": self.tensor, **_affine(self.affine)}


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What a recipe means for one model; nothing has been changed yet.

    Attributes
    ----------
    recipe : Recipe
    decisions : tuple of Decision
        One for every float constant and every constant that is quantized already; in modes with integer
        activations the operators say it.
    operators : tuple of OperatorPlan
        One for every operator, in modes with integer activations.
    ends : tuple of End
        Inputs and outputs of the model that become integers.
    notes : tuple of str
        What concerns the whole model.
    """

    recipe: Recipe
    decisions: tuple[Decision, ...] = ()
    operators: tuple[OperatorPlan, ...] = ()
    ends: tuple[End, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def quantized(self) -> tuple[Decision, ...]:
        """Decisions that change something."""
        return tuple(d for d in self.decisions if d.action != KEEP)

    @property
    def kept(self) -> tuple[Decision, ...]:
        """Decisions that leave a constant alone, each with its reason."""
        return tuple(d for d in self.decisions if d.action == KEEP)

    @property
    def leftovers(self) -> tuple[Decision | OperatorPlan, ...]:
        """What stays float although the recipe means to take it and its selectors don't leave it out.

        Constants, or in modes with integer activations operators.
        """
        if self.recipe.activations:
            return tuple(p for p in self.operators if p.mode == "FLOAT32" and not p.left_out)
        return tuple(d for d in self.kept if d.type == "FLOAT32" and d.wanted and not d.left_out)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as values that JSON knows."""
        return {
            "mode": self.recipe.mode,
            "constants": [d.to_dict() for d in self.decisions],
            "operators": [p.to_dict() for p in self.operators],
            "ends": [e.to_dict() for e in self.ends],
            "notes": list(self.notes),
            "totals": self.totals(),
        }

    def totals(self) -> dict[str, int]:
        """Count what is quantized and what is kept, and the bytes of constants before and after.

        Of constants; in modes with integer activations of operators that have something float. What several of these
        read in one form counts once.
        """
        quantized: tuple[Decision | OperatorPlan, ...] = self.quantized
        kept: tuple[Decision | OperatorPlan, ...] = self.kept
        everything: tuple[Decision | OperatorPlan, ...] = self.decisions
        if self.recipe.activations:
            quantized = tuple(p for p in self.operators if p.is_integer)
            kept, everything = tuple(p for p in self.operators if p.mode == "FLOAT32"), self.operators
        return {
            "quantized": len(quantized),
            "kept": len(kept),
            "bytes_before": sum(d.before for d in everything),
            "bytes_after": sum(d.after for d in everything),
            "bytes_quantized": sum(d.before for d in quantized),
        }

    def __str__(self) -> str:
        t = self.totals()
        share = 100 * t["bytes_quantized"] / t["bytes_before"] if t["bytes_before"] else 0.0
        done = f"{self.counts() or 'nothing changes'} ({share:.1f} % of {t['bytes_before']:,} bytes)"
        size = f"constants {t['bytes_before']:,} -> {t['bytes_after']:,} bytes"
        if self.recipe.activations:
            rows, kept = [*map(str, self.operators)], "left float"
        else:
            rows, kept = [*map(_line, self.decisions)], "kept"
        notes = [f"note: {n}" for n in self.notes]
        return "\n".join([*rows, *notes, f"{done}, {t['kept']} {kept}; {size}"])

    def counts(self) -> str:
        """Return how many constants, or operators, go to each type, in words."""
        types = [p.mode for p in self.operators if p.is_integer]
        types = types if self.recipe.activations else [d.type for d in self.quantized]
        return ", ".join(f"{types.count(t)} to {t}" for t in sorted(set(types), key=lambda t: (-types.count(t), t)))

    def __repr__(self) -> str:
        what = f"{len(self.operators)} operators" if self.recipe.activations else f"{len(self.decisions)} constants"
        return f"<Plan of {what}: {self.counts() or 'nothing changes'}>"

    def nothing(self) -> str:
        """Why a plan changes nothing; empty where it does."""
        if self.counts():
            return ""
        reasons = Counter(p.reason for p in self.operators if p.mode == "FLOAT32")
        for decision in () if reasons else self.kept:
            reasons[decision.reason] += decision.before
        what = "operators with float operands" if self.recipe.activations else "float constants"
        why = reasons.most_common(1)[0][0] if reasons else f"the model has no {what}"
        return f"nothing was quantized: {why}; `quantlib plan` lists all"


def _line(decision: Decision) -> str:
    readers = ",".join(sorted(set(decision.readers))) or "-"
    name = decision.name or f"({decision.subgraph}, {decision.tensor})"
    if decision.action == KEEP:
        return f"{readers:<24} {name}: {decision.type} kept: {decision.reason}"
    how = " ".join(w for w in (decision.how, decision.action) if w)
    note = f" ({decision.reason})" if decision.reason else ""
    return f"{readers:<24} {name}: {decision.type} {how}, {decision.before:,} -> {decision.after:,} bytes{note}"

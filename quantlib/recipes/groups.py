"""Which tensors share a scale, and what scale each group gets.

A node is a tensor in an element type. Operators that move values tie what they read to what they write; conflicts
are left to a QUANTIZE on one edge, never settled by a scale that is wrong for somebody else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from quantlib.errors import InvalidRecipe
from quantlib.numerics import Affine, element_type
from quantlib.operators import FIXED, SAME
from quantlib.tflite import Tensor

from .choices import Choice, operands, results
from .graph import Graph
from .measured import AVERAGING, Measured, Range

Node = tuple[int, str]
"""A tensor's index, and the element type in which it is wanted."""

#: A scale may be so much coarser than needed before a QUANTIZE is better.
_TOLERANCE = 1.05


@dataclass
class _Group:
    """Nodes with one scale.

    Attributes
    ----------
    owner : Node
        The node whose range counts.
    fixed : Affine or None
        Parameters that can't be chosen.
    members : set of Node
    """

    owner: Node
    fixed: Affine | None = None
    fixed_by: str = ""
    members: set[Node] = field(default_factory=set)
    found: tuple[Affine, Range] | None = None


class Groups:
    """Groups of the nodes of one subgraph.

    Parameters
    ----------
    graph : Graph
    choices : list of Choice
    measured : Measured
    fixed : mapping of int to Affine
        Inputs whose parameters are given.
    least : callable
        Least scale that an operator's kernels of an element type take for what it writes.
    """

    def __init__(
        self,
        graph: Graph,
        choices: list[Choice],
        measured: Measured,
        fixed: Mapping[int, tuple[Affine, str]],
        least: Callable[[int, str], float],
    ) -> None:
        self._least = least
        self.graph, self.choices, self.measured = graph, choices, measured
        self._of: dict[Node, _Group] = {}
        for t, (affine, why) in fixed.items():
            self._fix((t, affine.type.name), affine, why)
        for o, choice in enumerate(choices):
            if choice.is_integer:
                self._fixed(o, choice.mode)
        for o, choice in enumerate(choices):
            if choice.is_integer and self._rule(o) == SAME:
                self._tie_moved(o, choice.mode)
        for o, choice in enumerate(choices):
            if choice.is_integer and self._rule(o) == SAME:
                self._tie_joined(o, choice.mode)

    def affine(self, node: Node) -> Affine:
        """Parameters of a node."""
        return self._resolve(node)[0]

    def source(self, node: Node) -> str:
        """Where a node's range comes from."""
        group = self._group(node)
        if group.fixed is not None:
            return group.fixed_by
        found = self._resolve(node)[1]
        if group.owner[0] == node[0]:
            return found.source
        return f"as {self.graph.tensor(group.owner[0]).name or group.owner[0]}"

    def outputs(self, o: int) -> list[int]:
        """Activations that an operator writes."""
        integer = self.graph.integer(o)
        made = results(self.graph, o)
        if integer is None or integer.rule == "none":
            return []
        return made if integer.outputs is None else [made[k] for k in integer.outputs if k < len(made)]

    # -- building the groups

    def _rule(self, o: int) -> str:
        integer = self.graph.integer(o)
        return "" if integer is None else integer.rule

    def _group(self, node: Node) -> _Group:
        if node not in self._of:
            self._of[node] = _Group(node, members={node})
        return self._of[node]

    def _fix(self, node: Node, affine: Affine, why: str) -> None:
        group = self._group(node)
        group.fixed, group.fixed_by = affine, why

    def _fixed(self, o: int, kind: str) -> None:
        integer = self.graph.integer(o)
        for t in self.outputs(o):
            if integer is not None and integer.rule == FIXED:
                scale, point = next((s, z) for name, s, z in integer.fixed if name == kind)
                self._fix((t, kind), _affine(kind, scale, point), f"required by {self.graph.names[o]}")
            elif (trained := self.measured.trained(self.graph, t, kind)) is not None:
                self._fix((t, kind), *trained)
        for t in self._variables(o):
            trained = self.measured.trained(self.graph, t, kind)
            if trained is not None and self._group((t, kind)).fixed is None:
                self._fix((t, kind), *trained)

    def _variables(self, o: int) -> list[int]:
        """Data operands that are no constants."""
        return [t for _, t in self.graph.data(o) if self.graph.origin(t) is None]

    def _constants(self, o: int) -> list[Tensor]:
        return [c for _, t in self.graph.data(o) if (c := self.graph.origin(t)) is not None]

    def _tie_moved(self, o: int, kind: str) -> None:
        """Tie what an operator moves to what it makes of it; the outputs to one another."""
        made, read = self.outputs(o), self._variables(o)
        for t in made[1:]:
            self._tie((made[0], kind), (t, kind))
        if len(set(read)) == 1 and not self._constants(o):
            self._tie((read[0], kind), (made[0], kind))

    def _tie(self, first: Node, second: Node) -> bool:
        """Give two groups one scale, that of the first, unless both are fixed to different ones."""
        a, b = self._group(first), self._group(second)
        if a is b:
            return True
        if a.fixed is not None and b.fixed is not None and a.fixed != b.fixed:
            return False
        if a.fixed is None and b.fixed is not None:
            a.fixed, a.fixed_by = b.fixed, b.fixed_by
        a.members |= b.members
        for node in b.members:
            self._of[node] = a
        return True

    def _tie_joined(self, o: int, kind: str) -> None:
        """Tie several operands that must be alike to the output, where nobody loses by it."""
        made, read = self.outputs(o), list(dict.fromkeys(self._variables(o)))
        if len(read) == 1 and not self._constants(o):
            return
        target = (made[0], kind)
        fixed = {g.fixed for t in read if (g := self._group((t, kind))).fixed is not None}
        if len(fixed) == 1 and self._group(target).fixed is None and self._suits(next(iter(fixed)), target, o, read):
            source = next(t for t in read if self._group((t, kind)).fixed is not None)
            self._tie((source, kind), target)
        for t in read:
            if self._may_follow((t, kind), target):
                self._tie(target, (t, kind))

    def _suits(self, affine: Affine | None, target: Node, o: int, read: list[int]) -> bool:
        """Whether a fixed scale serves a join as well as one of its own would."""
        found, seen = self._own_range(target), self.measured.seen(self.graph, *target)
        if affine is None or found is None or seen is None:
            return False
        step = float(affine.scale[0])
        lo = step * (affine.qmin - float(affine.zero_point[0])) - step
        hi = step * (affine.qmax - float(affine.zero_point[0])) + step
        own = float(self.measured.affine(found, target[1]).scale[0])
        return lo <= seen.lo and seen.hi <= hi and (step <= own * _TOLERANCE or len(read) == 1)

    def _may_follow(self, node: Node, target: Node) -> bool:
        """Whether an operand can have the scale of the output: nobody else reads it, or nobody would notice."""
        group, wanted = self._group(node), self._group(target)
        if group is wanted:
            return True
        if group.fixed is not None or wanted.fixed is not None:
            return False
        makers = {self.graph.producers.get(t) for t, _ in group.members}
        if any(m is None or not self.choices[m].is_integer for m in makers):
            return False  # an input, or made in float: it is quantized on the way in anyway
        if self._readers(group) <= self._ties(wanted) | self._ties(group):
            return not self._ends(group)
        mine, theirs = self._own_range(group.owner), self._own_range(wanted.owner)
        if mine is None or theirs is None:
            return False
        inside = theirs.lo <= mine.lo and mine.hi <= theirs.hi
        a, b = (float(self.measured.affine(r, node[1]).scale[0]) for r in (mine, theirs))
        return inside and b <= a * _TOLERANCE

    def _readers(self, group: _Group) -> set[int]:
        return {u.operator for t, _ in group.members for u in self.graph.uses.get(t, ())}

    def _ties(self, group: _Group) -> set[int]:
        """Operators that only hand on what the group holds."""
        makers = (self.graph.producers.get(t) for t, _ in group.members)
        return {m for m in makers if m is not None and self._rule(m) == SAME}

    def _ends(self, group: _Group) -> bool:
        return any(t in self.graph.ends for t, _ in group.members)

    # -- what scale each gets

    def _own_range(self, node: Node) -> Range | None:
        t, kind = node
        maker = self.graph.producers.get(t)
        integer = None if maker is None else self.graph.integer(maker)
        if maker is not None and integer is not None and integer.table is not None:
            origin = self.graph.origin(operands(self.graph, maker)[integer.table])
            if origin is not None:
                values = origin.numpy()
                return Range(float(values.min()), float(values.max()), f"all of {origin.name or 'the table'}")
        return self.measured.range_of(self.graph, t, kind)

    def _resolve(self, node: Node) -> tuple[Affine, Range]:
        group = self._group(node)
        if group.found is None:
            if group.fixed is not None:
                group.found = group.fixed, Range(0.0, 0.0, group.fixed_by)
            else:
                found = self._own_range(group.owner)
                if found is None:
                    raise InvalidRecipe(
                        f"no range of {self.graph.tensor(node[0])}; calibrate, or give default ranges"
                    )
                useful = self._useful(group, node[1])
                found = found if useful is None else found.within(*useful)
                group.found = self.measured.affine(found, node[1]), found  # what comes before may rest on it
                group.found = self._coarse_enough(group, node[1], *group.found)
        return group.found

    def _coarse_enough(self, group: _Group, kind: str, affine: Affine, found: Range) -> tuple[Affine, Range]:
        """What a group gets, in the steps that the kernels which write its members take."""
        makers = {self.graph.producers.get(t) for t, k in group.members if k == kind}
        steps = {o: self._least(o, kind) for o in makers if o is not None and self.choices[o].mode == kind}
        last = max(steps, key=lambda o: (steps[o], -o), default=None)
        step = float(affine.scale[0])
        if last is None or steps[last] <= step:
            return affine, found
        lo, hi = (steps[last] * (q - float(affine.zero_point[0])) for q in (affine.qmin, affine.qmax))
        why = (
            f"{found.source}, {steps[last] / step:.3g} times as wide, as the kernel of {self.graph.names[last]} needs"
        )
        wide = Affine(affine.type, np.float32(steps[last]).reshape(1), affine.zero_point)
        return wide, Range(lo, hi, why)

    def _useful(self, group: _Group, kind: str) -> tuple[float, float] | None:
        """Bounds beyond which no reader of a group sees a difference; None where some reader sees all."""
        if self._ends(group):
            return None
        lows, highs = [], []
        for t, _ in group.members:
            for use in self.graph.uses.get(t, ()):
                name, choice = self.graph.names[use.operator], self.choices[use.operator]
                if choice.mode != kind:
                    return None
                integer = self.graph.integer(use.operator)
                if self._rule(use.operator) == SAME and name not in AVERAGING:
                    made = results(self.graph, use.operator)  # an output that isn't moved tells values apart
                    if all(self._of.get((r, kind)) is group for r in made):
                        continue
                    return None
                bounds = None if integer is None else integer.useful16 if kind == "INT16" else integer.useful
                if bounds is None or use.operand != 0:
                    return None
                lows.append(bounds[0])
                highs.append(bounds[1])
        return (float(np.min(lows)), float(np.max(highs))) if lows else None


def _affine(kind: str, scale: float, point: int) -> Affine:
    return Affine(element_type(kind), np.array([scale], np.float32), np.array([point]))

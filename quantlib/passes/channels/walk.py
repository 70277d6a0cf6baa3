"""Channels followed through a subgraph: which tensors have them, which constants must be cut along with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from quantlib.recipes import STORAGE, Graph, Use
from quantlib.tflite import Table

from .cells import MOST, Axis, Cells, Labels, Shape

#: Which of some cells stay, as bool.
Kept = Callable[[Labels], npt.NDArray[np.bool_]]
Integers = npt.NDArray[np.int64]


class Refusal(Exception):
    """An operator can't have channels removed from what it reads; the message says why. It never leaves the walk."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """An operator with weights, and the channels that it writes.

    Attributes
    ----------
    operator : int
    operand, axis : int
        Its weights, and the axis of them that its output channels lie on.
    cells : int64 array
        One for each output channel.
    makes : bool
        Whether it makes these channels; a depthwise convolution hands on those that it reads.
    """

    operator: int
    operand: int
    axis: int
    cells: Labels
    makes: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Consumer:
    """Weights that channels are multiplied with and summed over.

    Attributes
    ----------
    operator : int
    read : int
        Operand with the channels.
    operand, axis : int
        The weights, and the axis of them along which they are multiplied with the channels.
    bias : int
        Operand of the bias.
    cells : int64 array
        Of each index of that axis.
    """

    operator: int
    read: int
    operand: int
    axis: int
    bias: int
    cells: Labels


@dataclass(frozen=True, slots=True, eq=False)
class Rewrite:
    """Integers of an operator that say sizes: a constant operand, or a field of its options.

    Attributes
    ----------
    operator : int
    place : int or str
        Operand, or field.
    edit : callable
        Given which cells stay, the new integers.
    """

    operator: int
    place: int | str
    edit: Callable[[Kept], Integers]


@dataclass
class Walk:
    """What was found on the way through a subgraph.

    Attributes
    ----------
    graph : Graph
    cells : Cells
    axes : dict of int to Axis
        Channels of each activation that has some.
    reads : dict of int to list
        For each constant to be cut, and what DEQUANTIZE or DENSIFY make of it: who reads it, with the cells of each
        axis.
    layers, consumers, rewrites : list
    refused : dict of int to str
        Operators with weights whose output channels aren't known, and why.
    """

    graph: Graph
    cells: Cells = field(default_factory=Cells)
    axes: dict[int, Axis] = field(default_factory=dict)
    reads: dict[int, list[tuple[Use, Mapping[int, Labels]]]] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    consumers: list[Consumer] = field(default_factory=list)
    rewrites: list[Rewrite] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)

    def refuse(self, at: At, reason: str) -> None:
        """Keep all channels that an operator reads, and take back what its rule had said already."""
        o = at.operator
        for operand in range(len(at.inputs)):
            at.pin(operand, reason)
        said = (spec for reads in self.reads.values() for use, spec in reads if use.operator == o)
        for cells in [cells for spec in said for cells in spec.values()]:
            self.cells.pin(cells, f"{self.label(o)} {reason}")
        for t in at.outputs:
            self.axes.pop(t, None)
        self.layers = [known for known in self.layers if known.operator != o]
        self.consumers = [known for known in self.consumers if known.operator != o]
        self.rewrites = [known for known in self.rewrites if known.operator != o]

    def settle(self) -> None:
        """Keep what leaves the subgraph, and make all readers of a constant agree."""
        for t in self.graph.ends & self.axes.keys():
            self.cells.pin(self.axes[t].cells, f"{self.graph.tensor(t).name or t} is an output of the model")
        for t, reads in self.reads.items():
            known = {use for use, _ in reads}
            others = [u for u in self.graph.uses.get(t, ()) if u not in known]
            name = self.graph.tensor(t).name or str(t)
            if t in self.graph.ends:
                self._pin_all(reads, f"{name} is an input or output of the model")
            if others:
                self._pin_all(reads, f"{name} is also read by {self.label(others[0].operator)}")
            for axis in {a for _, spec in reads for a in spec}:
                first = next(spec[axis] for _, spec in reads if axis in spec)
                for _, spec in reads:
                    if axis in spec:
                        self.cells.tie(first, spec[axis])
                    else:
                        self.cells.pin(first, f"{name} is shared with an operator that needs all of axis {axis}")

    def _pin_all(self, reads: list[tuple[Use, Mapping[int, Labels]]], reason: str) -> None:
        for _, spec in reads:
            for cells in spec.values():
                self.cells.pin(cells, reason)

    def label(self, o: int) -> str:
        """Type and name of an operator, for a reason."""
        return f"{self.graph.names[o]} {self.graph.operator_label(o)!r}"


@dataclass(frozen=True, slots=True)
class At:
    """One operator on the walk: what its rule looks at, and what it says."""

    walk: Walk
    operator: int

    @property
    def inputs(self) -> list[int]:
        """Tensor of each operand; -1 where one is left out."""
        found = self.walk.graph.operators[self.operator].inputs
        return [] if found is None else found.tolist()

    @property
    def outputs(self) -> list[int]:
        """Tensor of each output."""
        found = self.walk.graph.operators[self.operator].outputs
        return [] if found is None else found.tolist()

    def option(self, name: str, default: int = 0) -> int:
        """A number of the operator's options."""
        options: Table | None = self.walk.graph.operators[self.operator].builtin_options
        return default if options is None else int(getattr(options, name))

    def listed(self, name: str) -> list[int] | None:
        """A vector of the operator's options; None where there is none."""
        options = self.walk.graph.operators[self.operator].builtin_options
        found = None if options is None else getattr(options, name)
        return None if found is None else found.tolist()

    def has(self, operand: int) -> bool:
        """Whether there is such an operand."""
        return operand < len(self.inputs) and self.inputs[operand] >= 0

    def axis(self, operand: int) -> Axis | None:
        """Channels of an operand; None where none are followed."""
        return self.walk.axes.get(self.inputs[operand]) if self.has(operand) else None

    def shape(self, operand: int) -> Shape:
        """Shape of an operand."""
        return self.walk.graph.tensor(self.inputs[operand]).shape

    def made(self, output: int = 0) -> Shape:
        """Shape of an output."""
        return self.walk.graph.tensor(self.outputs[output]).shape

    def numbers(self, operand: int, what: str) -> Integers:
        """Values of an operand that must be a constant of integers."""
        tensor = self.walk.graph.tensor(self.inputs[operand]) if self.has(operand) else None
        if tensor is None or not tensor.is_constant:
            raise Refusal(f"computes {what} when it runs")
        values: Integers = tensor.numpy().astype(np.int64)
        return values

    def require_static(self, shape_of: int, first: int) -> None:
        """Refuse a tensor whose dimensions from `first` on aren't fixed."""
        signature = self.walk.graph.tensor(shape_of).table.shape_signature
        if signature is not None and -1 in signature[first:].tolist():
            raise Refusal("has a dimension of unknown size at or behind the channels")

    def fresh(self, count: int) -> Labels:
        """New cells."""
        if count > MOST:
            raise Refusal(f"has {count:,} channels, more than the {MOST:,} that are followed")
        return self.walk.cells.fresh(count)

    def tie(self, first: Labels, second: Labels) -> None:
        """Let two arrays of cells go together."""
        if first.size != second.size:
            raise Refusal(f"joins {first.size} channels with {second.size}")
        self.walk.cells.tie(first, second)

    def pin(self, operand: int, reason: str) -> None:
        """Keep the channels of an operand."""
        if (found := self.axis(operand)) is not None:
            self.walk.cells.pin(found.cells, f"{self.walk.label(self.operator)} {reason}")

    def carry(self, axis: int, cells: Labels, output: int = 0) -> None:
        """Say where an output has its channels."""
        shape = self.made(output)
        if not (0 <= axis < len(shape) and shape[axis] == cells.size):
            raise Refusal(f"writes a shape {list(shape)} that doesn't hold its channels")
        self.require_static(self.outputs[output], axis)
        self.walk.axes[self.outputs[output]] = Axis(axis, cells)

    def layer(self, operand: int, axis: int, cells: Labels, *, makes: bool = True) -> None:
        """Say that the operator writes channels which an axis of its weights makes."""
        self.walk.layers.append(Layer(self.operator, operand, axis, cells, makes))

    def consume(self, read: int, operand: int, axis: int, bias: int, cells: Labels) -> None:
        """Say that the operator sums over channels."""
        self.walk.consumers.append(Consumer(self.operator, read, operand, axis, bias, cells))

    def demand(self, operand: int, spec: Mapping[int, Labels]) -> None:
        """Say that a constant must be cut along with cells; nothing for one that is left out."""
        if not self.has(operand):
            return
        graph, use, t = self.walk.graph, Use(self.operator, operand), self.inputs[operand]
        chain = [(t, use)]
        while not graph.tensor(t).is_constant:
            maker = graph.producers.get(t)
            if maker is None or graph.names[maker] not in STORAGE or len(graph.operators[maker].inputs) != 1:
                raise Refusal(f"computes operand {operand}, {graph.tensor(t).name or t}, when it runs")
            t = int(graph.operators[maker].inputs[0])
            chain.append((t, Use(maker, 0)))
        origin = graph.tensor(t)
        quantization = origin.quantization
        if quantization is not None and quantization.block_size:
            raise Refusal(f"reads {origin.name or t}, whose scales are blockwise")
        if quantization is None and origin.type not in ("FLOAT32", "FLOAT16"):
            raise Refusal(f"reads {origin.name or t}, {origin.type} without a scale")
        shapes = [graph.tensor(tensor).shape or origin.shape for tensor, _ in chain]
        if any(axis >= len(s) or s[axis] != cells.size for s in shapes for axis, cells in spec.items()):
            raise Refusal(f"reads {origin.name or t}, whose shape {list(shapes[0])} doesn't hold the channels")
        for tensor, by in chain:
            self.walk.reads.setdefault(tensor, []).append((by, spec))

    def rewrite(self, place: int | str, edit: Callable[[Kept], Integers]) -> None:
        """Say how integers that name sizes are to change."""
        self.walk.rewrites.append(Rewrite(self.operator, place, edit))


def walked(graph: Graph, rules: Mapping[str, Callable[[At], None]], weighty: Mapping[str, int]) -> Walk:
    """Follow the channels of a subgraph through all operators.

    Parameters
    ----------
    graph : Graph
    rules : mapping of str to callable
        What each operator does to channels; all others keep them.
    weighty : mapping of str to int
        Operators with weights, whose refusal is noted.
    """
    walk = Walk(graph)
    for o, name in enumerate(graph.names):
        at, rule = At(walk, o), rules.get(name)
        reason = "isn't known to carry channels through"
        if rule is not None:
            try:
                rule(at)
                continue
            except Refusal as refusal:
                reason = str(refusal)
            except (AttributeError, IndexError, ValueError, ZeroDivisionError):
                reason = "has operands, shapes or options that its kernel wouldn't take"
        walk.refuse(at, reason)
        if name in weighty:
            walk.refused[o] = f"{walk.label(o)} {reason}"
    walk.settle()
    return walk

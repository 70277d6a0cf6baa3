"""Operators that do nothing: conversions there and back, RESHAPE to the same shape, results that nobody reads."""

from __future__ import annotations

from collections import Counter

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine
from quantlib.tflite import Draft, called_subgraphs, tensor_types

from ..edited import Line
from ..forms import ends_of, form_of, same_values
from ..versions import name_of

#: Operators that do more than compute what they write.
_EFFECTS = frozenset({"ASSIGN_VARIABLE", "CALL_ONCE", "CUSTOM", "DELEGATE", "HASHTABLE_IMPORT"})
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


class Operators:
    """The operators of one subgraph, of which some go.

    Parameters
    ----------
    draft : Draft
    g : int
        Index of the subgraph.
    done, kept : list of Line
        The account, which is added to.
    """

    def __init__(self, draft: Draft, g: int, done: list[Line], kept: list[Line]) -> None:
        self.draft, self.g, self.graph, self.done, self.kept = draft, g, draft.graphs[g], done, kept
        self.inputs = [_vector(o.inputs) for o in self.graph.operators]
        self.outputs = [_vector(o.outputs) for o in self.graph.operators]
        self.names = [name_of(draft.codes[o.opcode_index]) for o in self.graph.operators]
        self.removed: set[int] = set()
        self.ends = ends_of(draft, g)
        self.makers = {t: at for at, made in enumerate(self.outputs) for t in made}
        self.reads = Counter(t for read in (*self.inputs, self.ends) for t in read)

    def settle(self) -> None:
        """Let the draft follow."""
        for at, operator in enumerate(self.graph.operators):
            changes = {
                name: now
                for name, now in (("inputs", self.inputs[at]), ("outputs", self.outputs[at]))
                if now != _vector(getattr(operator, name))
            }
            if changes:
                self.graph.operators[at] = operator.replace(**changes)
        self.graph.rearrange([], self.removed)

    def remove_pairs(self) -> None:
        """Remove conversions that give back what was there."""
        for at in range(len(self.names)):
            if self.names[at] not in _CONVERSIONS or not self.inputs[at] or not self.outputs[at]:
                continue
            between, after = self.inputs[at][0], self.outputs[at][0]
            before, maker = between, self.makers.get(between)
            what = f"{self.names[at]} to the scale and type that are there already"
            if maker is not None and self.names[maker] in _CONVERSIONS:
                before = self.inputs[maker][0]
                what = f"{self.names[maker]} and {self.names[at]} cancel each other"
            first, middle, last = (self._form(t) for t in (before, between, after))
            if first is None or first != last:
                continue
            if self._is_float(between) if middle is None else same_values(middle, first):
                self._bypass(at, before, after, what)

    def remove_reshapes(self) -> None:
        """Remove RESHAPE that changes no shape; what is reshaped twice is reshaped once."""
        for at in range(len(self.names)):
            ends = self.inputs[at] and self.outputs[at]
            if self.names[at] != "RESHAPE" or not ends or not self._is_fixed(at):
                continue
            between, after = self.inputs[at][0], self.outputs[at][0]
            maker = self.makers.get(between)
            if maker is not None and self.names[maker] == "RESHAPE" and self._is_fixed(maker):
                source = self.inputs[maker][0]
                if self._plain(source) == self._plain(between):
                    self._note(at, "RESHAPE of a RESHAPE; the first is passed by")
                    self._read(at, [source, *self.inputs[at][1:]])
                    self._remove_if_unread(maker)
            if self._alike(self.inputs[at][0], after):
                self._bypass(at, self.inputs[at][0], after, "RESHAPE to the shape that is there already")

    def drop_unread(self) -> None:
        """Remove operators whose results nobody reads, the last first."""
        for at in reversed(range(len(self.names))):
            if at not in self.removed and self._may_go(at) and not any(self.reads[t] for t in self.outputs[at]):
                self._note(at, f"nobody reads what {self.names[at]} computes")
                self._remove(at)

    def _may_go(self, at: int) -> bool:
        operator = self.graph.operators[at]
        state = any(t >= 0 and self.graph.tensors[t].is_variable for t in (*self.inputs[at], *self.outputs[at]))
        calls = any(True for _ in called_subgraphs(operator))
        return len(self.outputs[at]) > 0 and not state and not calls and self.names[at] not in _EFFECTS

    def _bypass(self, at: int, before: int, after: int, what: str) -> None:
        """Let the readers of `after` read `before`, and remove the operator that made it."""
        between, makes_end = self.inputs[at][0], after in self.ends
        maker = self.makers.get(before)
        if makes_end and (before in self.ends or maker is None or self.graph.tensors[before].is_variable):
            self.kept.append(Line(self._name(after), f"{what}, but leads from one end of the model to another"))
            return
        self._note(at, what)
        self._remove(at)
        old, new = (before, after) if makes_end else (after, before)
        if makes_end and maker is not None:
            self.outputs[maker] = [new if t == old else t for t in self.outputs[maker]]
            self.makers[new] = self.makers.pop(old)
        for reader, read in enumerate(self.inputs):
            if old in read and reader not in self.removed:
                self._read(reader, [new if t == old else t for t in read])
        if between != before:
            self._remove_if_unread(self.makers[between])

    def _read(self, at: int, inputs: list[int]) -> None:
        """Let an operator read other tensors."""
        self.reads.subtract(self.inputs[at])
        self.reads.update(inputs)
        self.inputs[at] = inputs

    def _remove(self, at: int) -> None:
        self.removed.add(at)
        self.reads.subtract(self.inputs[at])
        for t in self.outputs[at]:
            self.makers.pop(t, None)

    def _remove_if_unread(self, at: int) -> None:
        """Remove the first of a pair where the second was its only reader."""
        if not any(self.reads[t] for t in self.outputs[at]):
            self._remove(at)

    def _form(self, t: int) -> Affine | None:
        try:
            return form_of(self.graph.tensors[t], t)
        except InvalidValue:  # per channel, or a type that isn't converted
            return None

    def _is_float(self, t: int) -> bool:
        return bool(tensor_types()[self.graph.tensors[t].type] == "FLOAT32")

    def _is_fixed(self, at: int) -> bool:
        """Whether a RESHAPE has the shape that the file says, whatever is fed."""
        if len(self.inputs[at]) > 1 and (shape := self.inputs[at][1]) >= 0:
            buffer = self.graph.tensors[shape].buffer
            data = self.draft.buffers[buffer].data if buffer < len(self.draft.buffers) else None
            return data is not None and bool(data.nbytes) and shape not in self.makers
        options = self.graph.operators[at].builtin_options
        return bool(options is not None and options.new_shape is not None)

    def _alike(self, before: int, after: int) -> bool:
        """Whether two tensors have one shape, dynamic dimensions included, and mean the same."""
        a, b = self.graph.tensors[before], self.graph.tensors[after]
        dynamic = [t.shape_signature for t in (a, b)]
        wild = [int((s < 0).sum()) if s is not None else 0 for s in dynamic]
        same = all(_vector(x) == _vector(y) for x, y in ((a.shape, b.shape), dynamic)) or (
            wild == [0, 0] and _vector(a.shape) == _vector(b.shape)
        )
        # with more than one dynamic dimension RESHAPE decides at run time
        return bool(same and max(wild) <= 1 and a.shape is not None and self._plain(before) == self._plain(after))

    def _plain(self, t: int) -> tuple[object, ...]:
        """What of a tensor doesn't depend on its shape."""
        table = self.graph.tensors[t]
        return table.type, table.quantization, table.is_variable

    def _note(self, at: int, what: str) -> None:
        self.done.append(Line(self._name(self.outputs[at][0]), what))

    def _name(self, t: int) -> str:
        return self.graph.tensors[t].name or f"({self.g}, {t})"


def _vector(vector: object) -> list[int]:
    return [] if vector is None else [int(t) for t in np.asarray(vector)]

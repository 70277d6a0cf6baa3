"""One subgraph given back in float32: tensors that become one, constants and their values, operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, PerAxis, PerTensor, element_type
from quantlib.operators import operator_version, row
from quantlib.recipes import Graph
from quantlib.runners import indices_of
from quantlib.tflite import Draft, Model, Table, Tensor, tensor_type_code

from ..activations import carried
from ..edited import Edited, Line
from ..scales import SCALED, bounds, require_channels, scales_of
from ..stored import stored_float32
from ..versions import signature_of
from .grids import range_table, ranges_of
from .values import HALVES, Values, biases, ends_of

_FLOAT = "FLOAT32"
#: Options that speak of integers; without them the schema's defaults hold.
_OF_INTEGERS = ("asymmetric_quantize_inputs", "pot_scale_int16", "quantized_bias_type")


@dataclass
class Report:
    """Lines in the making, and what they sum up to."""

    ends: list[Line] = field(default_factory=list)
    activations: list[Line] = field(default_factory=list)
    constants: list[Line] = field(default_factory=list)
    kept: list[Line] = field(default_factory=list)
    tensors: int = 0
    removed: int = 0

    def edited(self, model: Model) -> Edited:
        """Put it together."""
        totals = {
            "constants": len(self.constants),
            "tensors": self.tensors,
            "operators removed": self.removed,
            "activations given back": len(self.activations),
        }
        done = (*self.ends, *self.activations, *self.constants)
        return Edited(model, "dequantize", done, tuple(self.kept), totals)


@dataclass
class Shelf:
    """What is common to all subgraphs.

    Attributes
    ----------
    draft : Draft
    report : Report
    recover, ranges : bool
        Whether activations are given back, and ranges kept.
    grids : mapping of (subgraph, tensor) to Table
        What is noted beside weights; it counts more than their ranges.
    stored : dict
        Buffers of the constants stored so far: those with one buffer and one form keep one.
    """

    draft: Draft
    report: Report
    recover: bool
    ranges: bool
    grids: Mapping[tuple[int, int], Table]
    stored: dict[Any, int] = field(default_factory=dict)

    def buffer(self, tensor: Tensor, affine: Affine | None) -> int:
        """Index of the buffer that holds a constant's real values."""
        form: tuple[object, ...] = ()
        own = tensor.table.quantization
        if affine is not None:
            form = affine.scale.tobytes(), affine.zero_point.tobytes(), str(affine.granularity)
        elif own is not None and own.details is not None:
            form = (tensor.subgraph, own.details.scales, own.details.zero_points, own.details.block_size)
        key = (tensor.table.buffer, tensor.type, tensor.shape, form, tensor.table.sparsity is None)
        if key not in self.stored:
            if affine is not None:
                require_channels(tensor, affine)
            if tensor.table.sparsity is None:
                tensor.numpy()  # what can't be read is an error now, not when the file is written
            self.stored[key] = self.draft.add_buffer(stored_float32(tensor, affine).data)
        return self.stored[key]


class Job:
    """One subgraph.

    Tensors that only conversions stand between become one. It is called as the subgraph's input or output is, where
    one of them is an end, and otherwise as what the first was made from.
    """

    def __init__(self, shelf: Shelf, source: Graph, values: Values) -> None:
        self.shelf, self.source, self.values = shelf, source, values
        self.draft, self.graph, self.report = shelf.draft, shelf.draft.graphs[source.index], shelf.report
        self.called = source.index > 0 and not any(
            s.subgraph_index == source.index for s in source.model.root.signature_defs or ()
        )
        self.order: list[tuple[Table, int | None]] = []
        self.root: dict[int, int] = {}
        self.home: dict[int, int] = {}  # of each root, the tensor that stands for all
        self.copies: set[int] = set()  # tensors that must be there beside that
        self.whole: dict[int, Affine | None] = {}  # constants that are stored anew, by what
        self.integers: dict[int, int] = {}  # tensors as operators that stay read them
        self.biases = {
            t
            for o, operator in enumerate(source.operators)
            if o not in values.kept
            for k, t in enumerate(indices_of(operator.inputs))
            if t in values.real and k in biases(source, o) and source.tensor(t).type not in SCALED | HALVES
        }

    def run(self) -> None:
        """Do all of it."""
        self._join()
        for t in sorted(self.values.real):
            self._retype(t)
        for root, home in self.home.items():
            if (found := self._note(root)) is not None:
                self.graph.tensors[home] = self.graph.tensors[home].replace(quantization=found)
        for o, operator in enumerate(self.source.operators):
            if o in self.values.kept:
                self._keep(o, operator)
            elif o in self.values.gone:
                self._go(o, operator)
            else:
                self._change(o, operator)
        self.graph.outputs = [self._at(t) for t in self.graph.outputs]
        self.graph.operators, self.graph.origins = [o for o, _ in self.order], [i for _, i in self.order]

    def _join(self) -> None:
        """Find which tensors become one, and which of them stands for all."""
        members: dict[int, list[int]] = {}
        inputs = set(indices_of(self.source.table.inputs))
        for o in sorted(self.values.gone):
            before, after = ends_of(self.source.operators[o])
            if self.source.tensor(before).table.is_variable:  # it changes; what was read of it must not
                self.copies.add(after)
                continue
            self.root[after] = self._root(before)
            members.setdefault(self._root(before), []).append(after)
        for root, made in members.items():
            fixed = root in inputs or root in self.source.ends or self.source.tensor(root).is_constant
            ends = [t for t in made if t in self.source.ends]
            self.home[root] = ends[0] if ends and not fixed else root
            self.copies.update(t for t in ends if t != self.home[root])

    def _root(self, t: int) -> int:
        return self.root.get(t, t)

    def _at(self, t: int) -> int:
        """The tensor that holds another one's real values."""
        return t if t < 0 or t in self.copies else self.home.get(self._root(t), self._root(t))

    def _retype(self, t: int) -> None:
        """Let a tensor be FLOAT32; a constant with its values."""
        tensor = self.source.tensor(t)
        if t in self.biases:  # its operator knows the scale
            return
        self.report.tensors += not tensor.is_constant
        self._say_end(t)
        if tensor.is_constant:
            self._store(t, t, scales_of(tensor))
        else:
            self._set(t, t)

    def _set(self, t: int, source: int, **fields: Any) -> None:
        """Write a tensor's table, made from that of another."""
        table = self.source.tensor(source).table
        note = self._note(source)
        self.graph.tensors[t] = self.graph.tensors[t].replace(
            type=tensor_type_code(_FLOAT), quantization=note, shape=table.shape, sparsity=None, **fields
        )

    def _store(self, t: int, source: int, affine: Affine | None) -> None:
        tensor = self.source.tensor(source)
        self._set(t, source, buffer=self.shelf.buffer(tensor, affine), external_buffer=None)
        self.whole[t] = affine
        count = 1 if affine is None else affine.scale.size
        scales = "" if affine is None else f" with {count:,} scale{'s' * (count != 1)}"
        figures: dict[str, int | str] = {"type": tensor.type, "elements": int(np.prod(tensor.shape, dtype=np.int64))}
        noted = (self.source.index, source) in self.shelf.grids and not self._refuses_notes(source)
        grid = ", steps noted" if noted else ""
        what = f"{tensor.type}{scales} to {_FLOAT}{grid}"
        self.report.constants.append(Line(tensor.name or str(tensor), what, figures))

    def _note(self, t: int) -> Table | None:
        """What quantizing again takes as trained, of a tensor and those that became one with it."""
        if self._refuses_notes(t):
            return None
        grid = self.shelf.grids.get((self.source.index, t))
        return self._ranges(t) if grid is None and self.shelf.ranges else grid

    def _refuses_notes(self, t: int) -> bool:
        """Whether a kernel takes floats with scales for integers (tflite/kernels/embedding_lookup.cc)."""
        root = self._root(t)
        joined = {t, root, *(m for m, other in self.root.items() if other == root)}
        readers = (use.operator for one in joined for use in self.source.uses.get(one, ()))
        return any(self.source.names[o] == "EMBEDDING_LOOKUP" for o in readers)

    def _ranges(self, t: int) -> Table | None:
        joined = [t, *(m for m, root in self.root.items() if root == t)]
        known = [scales_of(self.source.tensor(m)) for m in joined if self.source.tensor(m).type in SCALED]
        found = next((ranges_of(a) for a in known if a is not None), None)
        if found is not None:
            return found
        grid = next((self.source.trained[m] for m in joined[1:] if m in self.source.trained), None)  # FAKE_QUANT
        return None if grid is None else range_table(grid.lo, grid.hi, grid.scale, grid.zero_point, grid.axis)

    def _say_end(self, t: int) -> None:
        """Say what is fed or read instead of integers, where that isn't within the model."""
        tensor, found = self.source.tensor(t), bounds(self.source.tensor(t))
        for what, vector in (("input", self.source.table.inputs), ("output", self.source.table.outputs)):
            if t not in indices_of(vector) or self.called:
                continue
            was = f"{what} {tensor.type} to {_FLOAT}"
            if found is not None and (form := tensor.quantization) is not None:
                stored = f"(integer {-int(form.zero_point[0]):+d})" if form.zero_point[0] else "integer"
                was += f"; real is {form.scale[0]!s} * {stored}, {found[0]:.6g}..{found[1]:.6g}"
            self.report.ends.append(Line(tensor.name or str(tensor), was))

    def _keep(self, o: int, operator: Table) -> None:
        """An operator that needs its integers: they are made before it, and what it makes becomes real behind it."""
        real = self.values.real
        if why := self.values.kept[o]:
            label = f"{self.source.names[o]} {self.source.operator_label(o)}"
            self.report.kept.append(Line(label, f"keeps its integers: {why}"))
        read = [self._integers(t) if t in real else self._at(t) for t in indices_of(operator.inputs)]
        made = {t: self._aside(t) for t in indices_of(operator.outputs) if t in real}
        written = [made.get(t, t) for t in indices_of(operator.outputs)]
        self.order.append((operator.replace(inputs=read, outputs=written), o))
        for t, inner in made.items():
            self._emit(self.draft.operator("DEQUANTIZE", [inner], [self._at(t)]), None)

    def _integers(self, t: int) -> int:
        """A tensor's stored integers: as they were where it is a constant, else made by QUANTIZE."""
        if t not in self.integers:
            self.integers[t] = self._aside(t)
            if not self.source.tensor(t).is_constant:
                self._emit(self.draft.operator("QUANTIZE", [self._at(t)], [self.integers[t]]), None)
        return self.integers[t]

    def _aside(self, t: int) -> int:
        table = self.source.tensor(t).table
        self.graph.tensors.append(table.replace(name=f"{table.name}_{self.source.tensor(t).type.lower()}"))
        return len(self.graph.tensors) - 1

    def _go(self, o: int, operator: Table) -> None:
        """An operator with nothing left to do; where its result must stand for itself, it is copied."""
        before, after = ends_of(operator)
        self._say_narrowed(o, before, after)
        if after in self.copies:
            self._emit(self.draft.operator("CAST", [self._at(before)], [after], Table("CastOptions")), o)
        else:
            self.report.removed += 1

    def _say_narrowed(self, o: int, before: int, after: int) -> None:
        old, new = bounds(self.source.tensor(before)), bounds(self.source.tensor(after))
        if old is None or new is None or (new[0] <= old[0] + new[2] / 2 and new[1] >= old[1] - new[2] / 2):
            return
        what = f"clipped {old[0]:g}..{old[1]:g} to {new[0]:g}..{new[1]:g}; floats aren't clipped"
        self.report.kept.append(Line(f"{self.source.names[o]} {self.source.operator_label(o)}", what))

    def _change(self, o: int, operator: Table) -> None:
        """An operator that computes with floats from now on."""
        touched = self.values.real.intersection(ends_of(operator))
        read, places = [self._at(t) for t in indices_of(operator.inputs)], biases(self.source, o)
        for k, t in enumerate(indices_of(operator.inputs)):
            if k in places and t in self.biases:
                read[k] = self._bias(o, t, places[k])
        written = [self._at(t) for t in indices_of(operator.outputs)]
        if (read, written) != (indices_of(operator.inputs), indices_of(operator.outputs)):
            operator = operator.replace(inputs=read, outputs=written)
        if not touched:
            self.order.append((operator, o))
            return
        if any(self.source.tensor(t).type in SCALED for t in indices_of(operator.intermediates)):
            operator = operator.replace(intermediates=None)
        self._emit(self._with_options(o, operator), o)

    def _bias(self, o: int, t: int, weights: int | None) -> int:
        """A bias with the scale that its operator gives it: another operator may give it another one."""
        affine = self._bias_affine(o, t, weights)
        if t not in self.whole:
            self._store(t, t, affine)
            return t
        if self.whole[t] == affine:
            return t
        beside = self._aside(t)
        self._store(beside, t, affine)
        return beside

    def _bias_affine(self, o: int, t: int, weights: int | None) -> Affine:
        """Scale of the input times that of the weights, which is what kernels compute with; else its own."""
        tensor, inputs = self.source.tensor(t), indices_of(self.source.operators[o].inputs)
        data = next((i for _, i in self.source.data(o)), -1)
        if weights is not None and min(data, weights) >= 0:
            x, w = (scales_of(self.source.tensor(i)) for i in (data, inputs[weights]))
            if x is not None and w is not None and x.scale.size == 1:
                scale = (x.scale.astype(np.float64) * w.scale).astype(np.float32).reshape(-1)
                granularity = PerAxis(0) if scale.size > 1 else PerTensor()
                return Affine(element_type(tensor.type), scale, np.zeros(scale.size, np.int64), granularity)
        own = scales_of(tensor)
        if own is None:
            raise InvalidValue(
                f"{tensor}: a bias of {tensor.type} without a scale, and {self.source.names[o]} has none for it; "
                "give it one by Model.replace"
            )
        return own

    def _with_options(self, o: int, operator: Table) -> Table:
        """What options say of integers goes; what integers had without an option comes."""
        options, known = operator.builtin_options, row(self.source.names[o])
        changes: dict[str, int | None] = {}
        if options is not None:
            changes = {f: None for f in _OF_INTEGERS if f in options.stored()}
        found = carried(self.source, o)
        label = f"{self.source.names[o]} {self.source.operator_label(o)}"
        if found.code and self.shelf.recover:
            changes["fused_activation_function"] = found.code
            self.report.activations.append(Line(label, found.note))
        elif found.note:
            what = (
                found.note if not found.code else "the activation that its range carried isn't given back, as asked"
            )
            self.report.kept.append(Line(label, what))
        recurrent = None if known.integer is None else known.integer.recurrent
        first = self.source.tensor(ends_of(operator)[0]).type
        if recurrent is not None and first in SCALED and options is not None:
            changes["fused_activation_function"] = recurrent.activation
        if not changes:
            return operator
        return operator.replace(builtin_options=(options or Table(known.options)).replace(**changes))

    def _emit(self, operator: Table, origin: int | None) -> None:
        """Add an operator in the version that its types ask for, which may be lower than that of its integers."""
        code = self.draft.codes[operator.opcode_index]
        if not code.custom_code:
            version = operator_version(signature_of(self.draft, self.graph, operator))
            if version != code.version:
                operator = operator.replace(opcode_index=self.draft.coded(code, version))
        self.order.append((operator, origin))

"""Carry out a plan with integer activations: `Model` and `Plan` to `Model`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine
from quantlib.operators import row
from quantlib.recipes import STORAGE, Graph, Moments, OperatorPlan, Plan, stored_identity
from quantlib.tflite import Draft, Model, Quantization, Table, quantization_table, tensor_type_code

from .balanced import Balanced
from .forms import NO_REQUANT, with_form
from .stored import stored_integer
from .versions import raise_version, update_runtime


def apply_integer(model: Model, plan: Plan) -> Model:
    """Turn activations and weights into the integers that a plan says.

    Parameters
    ----------
    model : Model
        The model that the plan was made for.
    plan : Plan

    Returns
    -------
    Model

    Raises
    ------
    InvalidValue
        If the plan doesn't fit the model.
    """
    shelf = _Shelf(Draft(model))
    for g in range(len(model.subgraphs)):
        graph = Graph(model, g)
        plans = [p for p in plan.operators if p.subgraph == g]
        _check_fit(graph, plans)
        _Job(shelf, graph, plans, {e.tensor: e.affine for e in plan.ends if e.subgraph == g}).run()
    update_runtime(shelf.draft)
    shelf.draft.share_empty_buffers()
    return shelf.draft.done()


def _check_fit(graph: Graph, plans: list[OperatorPlan]) -> None:
    if [p.type for p in plans] != list(graph.names):
        raise InvalidValue(
            f"the plan doesn't fit this model: subgraph {graph.index} has {len(graph.names)} operators, and the plan "
            f"{len(plans)} or others; make a plan from the model itself"
        )


@dataclass(frozen=True, slots=True)
class _Weight:
    """A weight that is to be balanced for an operator's input."""

    tensor: int
    affine: Affine
    axis: int
    moments: Moments


@dataclass
class _Shelf:
    """The draft, and the constants stored in it so far: those with one buffer and one form keep one."""

    draft: Draft
    stored: dict[Any, int] = field(default_factory=dict)
    balanced: dict[Any, Balanced] = field(default_factory=dict)

    def buffer(self, graph: Graph, t: int, affine: Affine, weight: _Weight | None) -> int:
        """Index of the buffer that holds a constant in a form; `weight` as `_Job._weight` has it."""
        origin = graph.origin(t)
        if origin is None:
            raise InvalidValue(f"{graph.tensor(t)}: not a constant, and the plan takes it for one; plan this model")
        shape = graph.tensor(t).shape
        key = (*stored_identity(origin), shape, affine)
        if weight is not None and weight.tensor != t:
            key = (*key, *self._key(graph, weight), weight.moments)
        if key not in self.stored:
            if weight is None:
                stored = stored_integer(origin, shape, affine)
            elif weight.tensor == t:
                stored = self._balanced(graph, weight).stored()
            else:
                stored = self._balanced(graph, weight).corrected(origin, affine, weight.moments)
            self.stored[key] = self.draft.add_buffer(stored.data)
        return self.stored[key]

    def _balanced(self, graph: Graph, weight: _Weight) -> Balanced:
        """A weight as it is stored: where operators share it, as the first of them wants it."""
        key, origin, shape = self._key(graph, weight), graph.origin(weight.tensor), graph.tensor(weight.tensor).shape
        if key not in self.balanced and origin is not None:
            self.balanced[key] = Balanced(origin, shape, weight.affine, weight.axis, weight.moments)
        return self.balanced[key]

    def _key(self, graph: Graph, weight: _Weight) -> tuple[object, ...]:
        origin = graph.origin(weight.tensor)
        identity = () if origin is None else stored_identity(origin)
        return *identity, graph.tensor(weight.tensor).shape, weight.affine


class _Job:
    """The operators of one subgraph, in order.

    Each tensor exists in one form where it is made; another form that somebody wants is made from it by QUANTIZE or
    DEQUANTIZE, once, before its first reader. What the subgraph's ends are called stays with the ends.
    """

    def __init__(self, shelf: _Shelf, source: Graph, plans: list[OperatorPlan], ends: dict[int, Affine]) -> None:
        self.source, self.plans, self.end_forms = source, plans, ends
        self.shelf, self.draft, self.graph = shelf, shelf.draft, shelf.draft.graphs[source.index]
        self.order: list[tuple[Table, int | None]] = []
        self.home: dict[int, Affine | None] = {}  # form in which each tensor is made
        self.made: dict[tuple[int, Affine | None], int] = {}  # tensors that exist: of which, in which form
        self.constants: dict[tuple[int, Affine, _Weight | None], int] = {}
        self.formed: set[int] = set()

    def run(self) -> None:
        """Do all of it."""
        table = self.source.table
        inputs = [] if table.inputs is None else table.inputs.tolist()
        outputs = [] if table.outputs is None else table.outputs.tolist()
        for t in inputs:
            self._begin(t, self.end_forms.get(t))
            if t in self.end_forms:
                self._set(t, self.end_forms[t])
        self.outer = set(outputs)
        for o, plan in enumerate(self.plans):
            self._operator(o, plan)
        for t in dict.fromkeys(outputs):
            self._finish(t)
        self._drop_idle()
        for t in {t for t, form in self.made if form is not None}:  # what training noted beside floats is used up
            if self.graph.tensors[t].type == tensor_type_code("FLOAT32"):
                self.graph.tensors[t] = self.graph.tensors[t].replace(quantization=None)
        self.graph.operators, self.graph.origins = [o for o, _ in self.order], [i for _, i in self.order]

    def _begin(self, t: int, form: Affine | None) -> None:
        self.home[t] = form
        self.made[t, form] = t

    def _set(self, t: int, affine: Affine) -> None:
        """Give a tensor of the graph an integer type."""
        self.graph.tensors[t] = with_form(self.graph.tensors[t], affine)

    def _operator(self, o: int, plan: OperatorPlan) -> None:
        operator = self.source.operators[o]
        inputs = [] if operator.inputs is None else operator.inputs.tolist()
        outputs = [] if operator.outputs is None else operator.outputs.tolist()
        if plan.mode in ("", "FLOAT32"):
            read = [self._form(t, None) if t >= 0 else t for t in inputs]
            written = [self._result(t, None) for t in outputs]
            same = (read, written) == (inputs, outputs)
            self._emit(operator if same else operator.replace(inputs=read, outputs=written), o)
            return
        if o in self.source.folds and (form := plan.outputs[0]) is not None:
            self.home[outputs[0]] = form
            self.made[outputs[0], form] = self._form(inputs[0], form)
            return
        wanted = plan.inputs + (None,) * (len(inputs) - len(plan.inputs))
        inputs += [-1] * (len(wanted) - len(inputs))
        read = [self._operand(k, t, form, plan) for k, (t, form) in enumerate(zip(inputs, wanted, strict=True))]
        written = [self._result(t, form) for t, form in zip(outputs, plan.outputs, strict=True)]
        changed = operator.replace(inputs=read, outputs=written)
        if plan.between:
            changed = changed.replace(intermediates=self._between(o, plan))
        self._emit(_with_options(changed, plan), o)

    def _operand(self, k: int, t: int, form: Affine | None, plan: OperatorPlan) -> int:
        if t < 0:
            return t if form is None else self._no_bias(plan, form)
        if form is None:
            return self._form(t, None)
        if self.source.tensor(t).table.is_variable:
            self._set(t, form)
            return t
        if self.source.origin(t) is None:
            return self._form(t, form)
        return self._constant(t, form, self._weight(k, plan))

    def _between(self, o: int, plan: OperatorPlan) -> list[int]:
        """Tensors that say the scales within a recurrent operator's kernel: the model's own, or new ones."""
        present = _indices(self.source.operators[o].intermediates)
        if len(present) != len(plan.between):
            present = [
                self.graph.add_tensor(f"{plan.name}/intermediate_{i}", "FLOAT32", (0,))
                for i in range(len(plan.between))
            ]
        for t, form in zip(present, plan.between, strict=True):
            if form is not None:
                self._set(t, form)
        return present

    def _weight(self, k: int, plan: OperatorPlan) -> _Weight | None:
        """The weight that is to be balanced, for itself and for the bias that takes up what is left."""
        known, inputs = row(plan.type), _indices(self.source.operators[plan.operator].inputs)
        bias = plan.corrects_bias and k == known.bias
        weight = next((w for w in known.weights if w.static), None) if bias else known.weight(k)
        if plan.moments is None or weight is None or not weight.static:
            return None
        t, form = inputs[weight.operand], plan.inputs[weight.operand]
        axis = weight.channel_axis(len(self.source.tensor(t).shape))
        return None if axis is None or form is None else _Weight(t, form, axis, plan.moments)

    def _no_bias(self, plan: OperatorPlan, form: Affine) -> int:
        """A bias of zeros, which integer kernels require."""
        count = form.scale.size
        weight = row(plan.type).weights[0]
        if count == 1:
            index = self.source.operators[plan.operator].inputs[weight.operand]
            axis = weight.channel_axis(len(self.source.tensor(index).shape)) or 0
            count = self.source.tensor(index).shape[axis]
        buffer = self.draft.add_buffer(np.zeros(count, form.type.storage))
        quantization = quantization_table(Quantization.of(form))
        return self.graph.add_tensor(
            f"{plan.name}/bias", form.type.name, (count,), buffer=buffer, quantization=quantization
        )

    def _constant(self, t: int, form: Affine, weight: _Weight | None) -> int:
        """The tensor that holds a constant in a form; `weight` as `_weight` has it."""
        key = (t, form, weight if weight is not None and weight.tensor != t else None)
        if key not in self.constants:
            table = self.source.tensor(t).table.replace(
                sparsity=None, buffer=self.shelf.buffer(self.source, t, form, weight)
            )
            table = with_form(table, form)
            alone = t not in self.formed and not self._read_in_float(t)
            self.formed.add(t)
            if not alone or t in self.source.ends:
                self.constants[key] = self._add(table, t, form)
            elif t in self.source.producers:  # what a DEQUANTIZE made, which goes
                self.graph.tensors.append(table)
                self.constants[key] = len(self.graph.tensors) - 1
            else:
                self.graph.tensors[t] = table
                self.constants[key] = t
        return self.constants[key]

    def _read_in_float(self, t: int) -> bool:
        """Whether somebody reads a constant as it is."""
        for use in self.source.uses.get(t, ()):
            plan = self.plans[use.operator]
            if use.operand >= len(plan.inputs) or plan.inputs[use.operand] is None:
                return True
        return False

    def _add(self, table: Table, t: int, form: Affine | None) -> int:
        """Add a tensor that stands for another one in a form."""
        kind = "float" if form is None else form.type.name.lower()
        self.graph.tensors.append(table.replace(name=f"{self.source.tensor(t).name}_{kind}"))
        return len(self.graph.tensors) - 1

    def _result(self, t: int, form: Affine | None) -> int:
        """Where an operator writes: the tensor, or one beside it where the tensor is an end of another form."""
        self.home[t] = form
        if t in self.outer and self.end_forms.get(t) != form:
            table = self.source.tensor(t).table
            inner = self._add(table if form is None else with_form(table, form), t, form)
            self.made[t, form] = inner
            return inner
        if form is not None:
            self._set(t, form)
        self.made[t, form] = t
        return t

    def _form(self, t: int, form: Affine | None) -> int:
        """The tensor that holds another one in a form; it is made where there is none yet."""
        if t not in self.home or (t, form) in self.made:  # a constant or a variable; or known already
            return self.made.get((t, form), t)
        home = self.home[t]
        if home is None and self.source.tensor(t).type != "FLOAT32":
            return t
        table = self.source.tensor(t).table
        new = self._add(table.replace(quantization=None) if form is None else with_form(table, form), t, form)
        self._convert(self._stepping_stone(t, home, form), new, form)
        self.made[t, form] = new
        return new

    def _stepping_stone(self, t: int, home: Affine | None, form: Affine | None) -> int:
        """The form to convert from: where there is no kernel from one integer type to another, the float one."""
        if home is not None and form is not None and (home.type.name, form.type.name) in NO_REQUANT:
            return self._form(t, None)
        return self.made[t, home]

    def _convert(self, before: int, after: int, form: Affine | None) -> None:
        name = "DEQUANTIZE" if form is None else "QUANTIZE"
        self._emit(self.draft.operator(name, [before], [after]), None)

    def _finish(self, t: int) -> None:
        """Let an output of the subgraph have the form that its end asks for."""
        if t not in self.home:
            return
        wanted, home = self.end_forms.get(t), self.home[t]
        inner = self.made.get((t, wanted))
        if inner == t:
            return
        if wanted is not None:
            self._set(t, wanted)  # first, since versions go by types
        if inner is not None and inner not in self.source.ends:  # somebody within reads it in that form already
            for at, (operator, origin) in enumerate(self.order):
                self.order[at] = (_renamed(operator, inner, t), origin)
            self.made.update({key: t for key, index in self.made.items() if index == inner})
        else:
            self._convert(self._stepping_stone(t, home, wanted), t, wanted)
        self.made[t, wanted] = t

    def _emit(self, operator: Table, origin: int | None) -> None:
        self.order.append((raise_version(self.draft, self.graph, operator), origin))

    def _drop_idle(self) -> None:
        """Drop operators between stored and real values of constants that nobody reads any more."""
        while True:
            read = {t for operator, _ in self.order for t in _indices(operator.inputs)} | self.source.ends
            idle = [
                at
                for at, (operator, origin) in enumerate(self.order)
                if origin is not None
                and self.source.names[origin] in STORAGE
                and not read.intersection(_indices(operator.outputs))
            ]
            if not idle:
                return
            self.order = [item for at, item in enumerate(self.order) if at not in idle]


def _indices(vector: Any) -> list[int]:
    return [] if vector is None else [int(t) for t in vector]


def _renamed(operator: Table, old: int, new: int) -> Table:
    """The same operator with another tensor in the place of one."""
    changes = {}
    for name in ("inputs", "outputs"):
        indices = _indices(getattr(operator, name))
        if old in indices:
            changes[name] = [new if t == old else t for t in indices]
    return operator.replace(**changes) if changes else operator


def _with_options(operator: Table, plan: OperatorPlan) -> Table:
    """Say in ADD and SUB of INT16 that scales are no powers of two (tflite/kernels/add.cc)."""
    if plan.mode != "INT16" or plan.type not in ("ADD", "SUB"):
        return operator
    options = operator.builtin_options or Table(row(plan.type).options)
    return operator.replace(builtin_options=options.replace(pot_scale_int16=False))

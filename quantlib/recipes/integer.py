"""Plans for integer activations: operators, scales, and what stands at the model's ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from quantlib.calibration import Statistics
from quantlib.numerics import Affine, element_type, retyped
from quantlib.operators import OperatorRow, row
from quantlib.targets import Target
from quantlib.tflite import Model, called_subgraphs

from .choices import Choice, choose, operands, results
from .filters import Filters
from .fitting import Refusals, changes, fitted, refusals
from .graph import STORAGE, Graph
from .grid import stored_identity
from .groups import Groups
from .measured import Measured, of_model
from .plan import End, Moments, OperatorPlan, Plan
from .recipe import Recipe
from .recurrent import Layout
from .selectors import Selection
from .steps import least_step
from .tails import spare_tails


def plan_integer(model: Model, recipe: Recipe, statistics: Statistics | None, target: Target | None = None) -> Plan:
    """Plan a recipe with integer activations.

    Parameters
    ----------
    model : Model
    recipe : Recipe
    statistics : Statistics or None
        What calibration found of this model; without them activations need default ranges, or trained ones.
    target : Target or None
        What is to run the result: operators that it doesn't take as integers stay float, where it has float kernels.

    Returns
    -------
    Plan

    Raises
    ------
    InvalidRecipe
        If a selector is no regular expression, or matches nothing; or the target doesn't take the mode.
    InvalidValue
        If the statistics are of another model, or the range can't be chosen from what was observed.
    """
    asked, recipe = recipe, recipe if target is None else fitted(recipe, target)
    selection = Selection(recipe, asked)
    measured, filters = Measured(model, recipe, statistics), Filters(selection)
    called, counted = _called(model), set[object]()
    operators: list[OperatorPlan] = []
    ends: list[End] = []
    notes = changes(asked, recipe, target)
    notes += [] if recipe.default_ranges is None else [_dummy(recipe)]
    notes += _without_floats(model, recipe, called)
    with of_model(statistics, model):
        for g in range(len(model.subgraphs)):
            graph = Graph(model, g)
            job, planned, refused = _fitting(graph, selection, measured, filters, g in called, target, counted)
            counted = job.counted
            operators.extend(planned)
            ends.extend(job.ends())
            notes.extend(f"{graph.names[o]} {graph.operator_label(o)}: {why}" for (_, o), why in refused.items())
        selection.check_all_used()
    notes.extend(measured.notes.values())
    return Plan(recipe, (), tuple(operators), tuple(ends), tuple(notes))


def _fitting(
    graph: Graph,
    selection: Selection,
    measured: Measured,
    filters: Filters,
    called: bool,
    target: Target | None,
    counted: set[object],
) -> tuple[_GraphPlan, list[OperatorPlan], dict[tuple[int, int], str]]:
    """Plan a subgraph, again and again while a target refuses operators; what it refuses in the end."""
    refused: dict[tuple[int, int], str] = {}
    while True:
        job = _GraphPlan(graph, selection, measured, filters, called, refused, counted)
        planned = list(job.operators())
        found = {} if target is None else refusals(graph, planned, target)
        if target is None or not target.float_ok or not found:
            return job, planned, found
        refused.update(found)  # at least one operator more stays float each time, so this ends


#: What happens to operators that only round to the grid that their tensor has.
_FOLDED = "goes, since its tensor has these parameters"


#: Type of the activations beside which the bias takes up what balancing leaves. With 8 bits, errors of activations
#: rule: it gained on half of the models measured, and lost on the other half.
_CORRECTED = "INT16"
#: Operators whose outputs each see a part of the filter only.
_PARTLY = frozenset({"TRANSPOSE_CONV"})


def _dummy(recipe: Recipe) -> str:
    lo, hi = recipe.default_ranges or (0.0, 0.0)
    return f"activations that nothing else is known of have the range {lo:g}..{hi:g}: for trials of speed only"


def _without_floats(model: Model, recipe: Recipe, called: set[int]) -> list[str]:
    """What to say where inputs or outputs are to have a type, and none is float."""
    notes = []
    for end, wanted in (("input", recipe.input_type), ("output", recipe.output_type)):
        vectors = [getattr(graph, f"{end}s") for g, graph in enumerate(model.subgraphs) if g not in called]
        found = [(g, t) for g, v in enumerate(vectors) if v is not None for t in v.tolist()]
        if wanted != "FLOAT32" and not any(model.tensor(place).type == "FLOAT32" for place in found):
            notes.append(f"no {end} is FLOAT32, so {end}_type {wanted} says nothing; retype changes finished models")
    return notes


def _called(model: Model) -> set[int]:
    """Subgraphs that control flow or composites run: their ends stay float, as the callers' do."""
    operators = (operator for graph in model.subgraphs for operator in graph.operators or ())
    return {g for operator in operators for g in called_subgraphs(operator)}


class _GraphPlan:
    """The plan of one subgraph."""

    def __init__(
        self,
        graph: Graph,
        selection: Selection,
        measured: Measured,
        filters: Filters,
        called: bool,
        refused: Refusals,
        counted: set[object],
    ) -> None:
        self.graph, self.selection, self.measured = graph, selection, measured
        self.filters, self.called = filters, called
        self.counted = counted.copy()  # constants whose bytes an operator has, here or in subgraphs before
        self.recipe = selection.recipe
        self.choices, self.notes = spare_tails(graph, choose(graph, selection, measured, filters, refused), measured)
        self.groups = Groups(graph, self.choices, measured, self._given(), self._least_step)

    def _given(self) -> dict[int, tuple[Affine, str]]:
        """Inputs whose parameters the recipe gives."""
        stats, kind = self.recipe.input_stats, self.recipe.activations
        if stats is None or self.called:
            return {}
        mean, deviation = stats
        point = round(mean) - (128 if kind == "INT8" else 0)
        affine = Affine(element_type(kind), np.float32(1 / deviation).reshape(1), np.array([point]))
        return dict.fromkeys(self._floats(self.graph.table.inputs), (affine, "mean and deviation given"))

    def _floats(self, vector: npt.NDArray[np.int32] | None) -> list[int]:
        indices: list[int] = [] if vector is None else vector.tolist()
        return [t for t in indices if t >= 0 and self.graph.tensor(t).type == "FLOAT32"]

    def operators(self) -> Iterator[OperatorPlan]:
        """What will be done to each operator."""
        for o, choice in enumerate(self.choices):
            yield self._integer(o, choice) if choice.is_integer else self._float(o, choice)

    def _float(self, o: int, choice: Choice) -> OperatorPlan:
        graph = self.graph
        read = () if graph.names[o] in STORAGE else operands(graph, o)  # whoever reads what these make counts it
        before, after = self._bytes(read, {}, {})
        label = graph.operator_label(o)
        return OperatorPlan(
            graph.index, o, label, graph.names[o], choice.mode,
            reason=choice.reason, left_out=choice.left_out, before=before, after=after,
        )  # fmt: skip

    def _integer(self, o: int, choice: Choice) -> OperatorPlan:
        graph, groups, name, kind = self.graph, self.groups, self.graph.names[o], choice.mode
        known, inputs, made = row(name), operands(graph, o), groups.outputs(o)
        forms: dict[int, Affine] = {}
        for k, t in graph.data(o):
            forms[k] = groups.affine((made[0], kind)) if graph.moves(o) else self._operand(known, k, t, kind)
        data = next(iter(forms.values()))
        outputs = {t: groups.affine((t, kind)) for t in made}
        constants, between, notes = self._constants(o, known, data, outputs)
        forms.update(constants)
        count = max([len(inputs), *(k + 1 for k in forms)])
        moments = self._moments(o)
        corrects = moments is not None and self._corrects_bias(o, kind)
        corrected = self._correction(known, inputs, forms, moments) if corrects else {}
        before, after = self._bytes(inputs, forms, corrected)
        done = () if moments is None else ("balanced, bias corrected" if corrects else "balanced",)
        return OperatorPlan(
            graph.index, o, graph.operator_label(o), name, kind,
            tuple(forms.get(k) for k in range(count)),
            tuple(outputs.get(t) for t in results(graph, o)),
            groups.source((made[0], kind)) if made else "",
            notes=(_FOLDED,) if o in graph.folds else (*notes, *self._remarks(o), *done), before=before, after=after,
            moments=moments, corrects_bias=corrects, between=between,
        )  # fmt: skip

    def _operand(self, known: OperatorRow, k: int, t: int, kind: str) -> Affine:
        """Parameters of an activation that an operator reads, or of the constant in its place."""
        origin = self.graph.origin(t)
        if origin is None:
            return self.groups.affine((t, kind))
        one_sign = known.integer is not None and k in known.integer.symmetric
        symmetric = one_sign or self.measured.symmetric(kind)
        return self.filters.constant(self.graph, t, origin, kind, symmetric=symmetric)

    def _least_step(self, o: int, kind: str) -> float:
        """Least scale that an operator's kernels take for what it writes."""
        known = row(self.graph.names[o])
        if known.integer is None or known.integer.least is None or o in self.graph.folds:
            return 0.0
        data = [self._operand(known, k, t, kind) for k, t in self.graph.data(o)]
        filters, _ = self.filters.forms(self.graph, o, known, data[0])
        weights = [float(filters[w.operand].scale.max()) for w in known.weights if w.operand in filters]
        return least_step(known.integer, kind, [float(a.scale[0]) for a in data], max(weights, default=0.0))

    def _constants(
        self, o: int, known: OperatorRow, data: Affine, outputs: dict[int, Affine]
    ) -> tuple[Mapping[int, Affine], tuple[Affine | None, ...], Sequence[str]]:
        """Parameters of what an operator has beside activations, of its intermediates, and what there is to say."""
        recurrent = None if known.integer is None else known.integer.recurrent
        if recurrent is None:
            filters, notes = self.filters.forms(self.graph, o, known, data)
            return filters, (), notes
        layout = Layout(self.graph, o, recurrent, self.filters, self.measured, data, next(iter(outputs.values())))
        return layout.forms, layout.between, layout.notes

    def _remarks(self, o: int) -> list[str]:
        """What there is to say of a choice."""
        return [text for text in (self.choices[o].reason, self.notes.get(o, "")) if text]

    def _moments(self, o: int) -> Moments | None:
        """Mean and variance of an operator's input, where its weights are to be balanced."""
        known, inputs = row(self.graph.names[o]), operands(self.graph, o)
        weight = next((w for w in known.weights if w.static), None)
        if not self.recipe.balanced or weight is None or known.integer is None or known.integer.recurrent is not None:
            return None  # what a recurrent operator's input has in common says nothing of its state
        if any(w.operand < len(inputs) and inputs[w.operand] in self.graph.trained for w in known.weights):
            return None
        shape = self.graph.tensor(inputs[weight.operand]).shape
        if not shape or weight.channel_axis(len(shape)) is None:
            return None
        return self.measured.moments(self.graph, inputs[(known.integer.data or (0,))[0]], shape[-1])

    def _corrects_bias(self, o: int, kind: str) -> bool:
        """Whether the bias of an operator takes up what balancing leaves."""
        name, inputs = self.graph.names[o], operands(self.graph, o)
        bias = row(name).bias
        if kind != _CORRECTED or name in _PARTLY or bias is None or bias >= len(inputs) or inputs[bias] < 0:
            return False
        return self.graph.origin(inputs[bias]) is not None

    def _correction(
        self, known: OperatorRow, inputs: Sequence[int], forms: Mapping[int, Affine], moments: Moments | None
    ) -> dict[int, object]:
        """What the values of a corrected bias depend on beside itself, by its operand."""
        weight = next(w.operand for w in known.weights if w.static)
        origin = self.graph.origin(inputs[weight])
        identity = () if origin is None else stored_identity(origin)
        found = (*identity, self.graph.tensor(inputs[weight]).shape, forms.get(weight), moments)
        return {} if known.bias is None else {known.bias: found}

    def _bytes(
        self, inputs: Sequence[int], forms: Mapping[int, Affine], corrected: Mapping[int, object]
    ) -> tuple[int, int]:
        """Bytes of an operator's constants before and after; those that one before it has in the same form aren't."""
        before = after = 0
        for k, t in enumerate(inputs):
            origin = self.graph.origin(t) if t >= 0 else None
            if origin is None or origin.data is None:
                continue
            form, shape, size = forms.get(k), self.graph.tensor(t).shape, origin.data.nbytes
            before += size * self._is_new(origin.table.buffer)
            if form is None:
                after += size * self._is_new((origin.table.buffer, None))
            elif self._is_new((*stored_identity(origin), shape, form, corrected.get(k))):
                after += form.type.nbytes(math.prod(shape)) + 4 * form.scale.size
        return before, after

    def _is_new(self, constant: object) -> bool:
        """Whether a constant isn't counted yet; it is from now on."""
        new = constant not in self.counted
        self.counted.add(constant)
        return new

    def ends(self) -> Iterator[End]:
        """What the model's inputs and outputs will hold."""
        if self.called:
            return
        table = self.graph.table
        made_by = self.graph.producers
        for vector, wanted in ((table.inputs, self.recipe.input_type), (table.outputs, self.recipe.output_type)):
            for t in self._floats(vector) if wanted != "FLOAT32" else ():
                maker = made_by.get(t)
                kind = self.choices[maker].mode if maker is not None else self.recipe.activations
                kind = kind if kind not in ("", "FLOAT32") else self.recipe.activations
                if maker is None and not any(self.choices[u.operator].is_integer for u in self.graph.uses.get(t, ())):
                    kind = wanted
                yield End(self.graph.index, t, self._end(t, kind, wanted))

    def _end(self, t: int, kind: str, wanted: str) -> Affine:
        """Parameters at an end: those within, in the type that is wanted."""
        inner = self.groups.affine((t, kind))
        if wanted == kind:
            return inner
        if {wanted, kind} == {"INT8", "UINT8"}:
            return retyped(inner, wanted)
        return self.groups.affine((t, wanted))

"""Plans for weights: which constants a recipe can take, in which form, and why not the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from quantlib.numerics import Affine, Granularity, PerAxis, PerBlock, PerTensor, element_type, parameter_shape
from quantlib.operators import OperatorRow, row
from quantlib.targets import Target
from quantlib.tflite import Model, Tensor

from .constants import blocks_unfit, stays_sparse, stored_bytes
from .fitting import fitted
from .graph import STORAGE, Graph, Use
from .grid import trained_note
from .plan import BEHIND, DIRECT, KEEP, Decision, Plan
from .recipe import Recipe
from .selectors import Selection

_FLOATS = ("FLOAT32", "FLOAT16")
#: A float32 scale; and an int64 zero point, but a vector of zeros is stored once for all tensors with as many.
_SCALE_COST, _ZERO_POINT_COST = 4, 8
#: From here a row of int8 with scale and zero point takes less than three quarters of one of float16.
_LONG_ROW = 2 * (_SCALE_COST + _ZERO_POINT_COST)
_WHOLE = PerTensor()


@dataclass(frozen=True, slots=True)
class _Form:
    """How one reader can have a constant: action, type and granularity; a reason where it can't.

    `plain` readers keep the float constant itself, others may read what it became through DEQUANTIZE. `selected`
    says that the recipe's selectors left the reader out. `affine` are parameters from training.
    """

    action: str
    type: str = "FLOAT32"
    granularity: Granularity = _WHOLE
    reason: str = ""
    plain: bool = False
    selected: bool = False
    affine: Affine | None = None


def plan_weights(model: Model, recipe: Recipe, target: Target | None = None) -> Plan:
    """Plan a recipe for weights.

    Parameters
    ----------
    model : Model
    recipe : Recipe
    target : Target or None
        What is to run the result.

    Returns
    -------
    Plan

    Raises
    ------
    InvalidRecipe
        If a selector is no regular expression, or matches nothing; or the target doesn't take the mode.
    """
    asked, recipe = recipe, recipe if target is None else fitted(recipe, target)
    selection = Selection(recipe, asked)
    decisions: list[Decision] = []
    graphs = [Graph(model, g) for g in range(len(model.subgraphs))]
    for graph in graphs:
        decisions.extend(_graph_decisions(graph, recipe, selection))
    selection.check_all_used()
    stay = sum(len([o for o in graph.folds if graph.names[o] == "FAKE_QUANT"]) for graph in graphs)
    note = f"{stay} FAKE_QUANT of activations stay: they go in modes with integer activations"
    return Plan(recipe, tuple(decisions), notes=(note,) if stay else ())


def _graph_decisions(graph: Graph, recipe: Recipe, selection: Selection) -> Iterator[Decision]:
    refused = _all_or_nothing(graph, recipe, selection)
    made = list(_constants(graph, recipe, selection, refused))
    yield from made
    hybrid = {o for d in made if d.action == DIRECT for o in _direct_readers(graph, d)}
    yield from _plain_biases(graph, hybrid, {d.tensor for d in made if d.action != KEEP})


def _direct_readers(graph: Graph, decision: Decision) -> Iterator[int]:
    apart = {*decision.plain, *decision.dequantized}
    yield from (u.operator for u in graph.uses[decision.tensor] if (u.operator, u.operand) not in apart)


def _plain_biases(graph: Graph, hybrid: set[int], changed: set[int]) -> Iterator[Decision]:
    """Biases behind DEQUANTIZE, of operators that become hybrid: XNNPACK takes them only as plain constants."""
    for o in sorted(hybrid):
        bias, inputs = row(graph.names[o]).bias, graph.operators[o].inputs.tolist()
        t = inputs[bias] if bias is not None and bias < len(inputs) else -1
        if t < 0 or t in changed or graph.tensor(t).is_constant or (origin := graph.origin(t)) is None:
            continue
        changed.add(t)
        keep = _keep(graph, graph.tensor(t), origin, "the hybrid kernel takes its bias as a plain constant")
        if origin.type in _FLOATS and t not in graph.ends:
            yield replace(keep, action=DIRECT, type="FLOAT32", after=4 * _count(graph.tensor(t)))


def _constants(graph: Graph, recipe: Recipe, selection: Selection, refused: dict[int, str]) -> Iterator[Decision]:
    for t in sorted(graph.uses):
        tensor = graph.tensor(t)
        origin = graph.origin(t)
        if origin is None or _is_storage_step(graph, t):
            continue
        if origin.type not in _FLOATS and origin.quantization is not None:
            yield _keep(graph, tensor, origin, f"already {origin.type}")
        elif tensor.type in _FLOATS and origin.type in _FLOATS:
            yield _decide(graph, tensor, origin, recipe, selection, refused)
        elif tensor.type in ("FLOAT64", "BFLOAT16"):
            yield _keep(graph, tensor, origin, f"{tensor.type} constants have no recipe")


def _is_storage_step(graph: Graph, t: int) -> bool:
    """Whether a tensor is only the stored form of a constant that stands further on."""
    readers = [graph.operators[u.operator] for u in graph.uses[t]]
    results = [int(o) for reader in readers if reader.outputs is not None for o in reader.outputs]
    return all(graph.names[u.operator] in STORAGE for u in graph.uses[t]) and any(graph.uses.get(o) for o in results)


def _keep(graph: Graph, tensor: Tensor, origin: Tensor, reason: str) -> Decision:
    size = stored_bytes(origin)
    readers = tuple(graph.names[u.operator] for u in graph.uses.get(tensor.index, ()))
    return Decision(
        graph.index,
        tensor.index,
        tensor.name,
        readers,
        KEEP,
        origin.type,
        PerTensor(),
        before=size,
        after=size,
        reason=reason,
    )


def _decide(
    graph: Graph,
    tensor: Tensor,
    origin: Tensor,
    recipe: Recipe,
    selection: Selection,
    refused: dict[int, str],
) -> Decision:
    reason = _unfit(graph, tensor, origin, recipe)
    uses = graph.uses[tensor.index]
    forms = {
        use: _Form(KEEP, reason=why, plain=True, selected=True)
        if (why := selection.refusal(graph.names[use.operator], (graph.operator_label(use.operator), tensor.name)))
        else _form(graph, use, tensor, selection.as_wanted(graph.names[use.operator]), refused)
        for use in uses
    }
    taken = [f for f in forms.values() if f.action != KEEP]
    if reason or not taken:
        first = next(iter(forms.values()))
        kept = _keep(graph, tensor, origin, first.reason if first.selected else reason or first.reason)
        wanted = recipe.mode == "float16" or any(row(graph.names[u.operator]).weight(u.operand) for u in uses)
        return replace(kept, left_out=all(f.selected for f in forms.values()), wanted=wanted)
    return _combine(graph, tensor, origin, recipe, forms)


def _unfit(graph: Graph, tensor: Tensor, origin: Tensor, recipe: Recipe) -> str:
    """Why a constant can't be quantized whoever reads it; empty where it can."""
    count = _count(tensor)
    if tensor.table.is_variable:
        return "the initial value of a variable"
    if tensor.index in graph.ends:
        return "an input or output of its subgraph"
    if recipe.mode == "float16":
        if origin.type == "FLOAT16":
            return "already FLOAT16"
        if origin.table.sparsity is not None and not stays_sparse(tensor, origin):
            return "stored sparse, and no DENSIFY alone stands before its readers"
        return _too_small(count, recipe.min_elements or 0) or _overflow(origin)
    return _too_small(count, recipe.min_elements or 0)


def _too_small(count: int, least: int) -> str:
    return f"{count:,} elements, fewer than {least:,}" if count < least else ""


def _count(tensor: Tensor) -> int:
    return math.prod(tensor.shape)


def _overflow(origin: Tensor) -> str:
    """Why a constant doesn't fit float16: values that would become infinite."""
    values = origin.numpy().reshape(-1)
    for start in range(0, values.size, 1 << 16):
        piece = values[start : start + (1 << 16)]
        if not (piece.max() < 65520.0 and piece.min() > -65520.0):
            with np.errstate(invalid="ignore"):
                beyond = int(np.count_nonzero(~(np.abs(values) < 65520.0)))
            return f"{beyond:,} of {values.size:,} values are beyond float16's 65504 or not finite"
    return ""


def _form(graph: Graph, use: Use, tensor: Tensor, recipe: Recipe, refused: dict[int, str]) -> _Form:
    """The form in which one reader can have the constant."""
    name = graph.names[use.operator]
    known = row(name)
    if use.operand in known.shapes:
        return _Form(KEEP, reason=f"{name} takes a shape from it", plain=True)
    if _has_quantized_operand(graph, use):
        return _Form(KEEP, reason=f"{name} is quantized already", plain=True)
    if recipe.mode == "float16":
        return _Form(BEHIND, "FLOAT16")
    weight = known.weight(use.operand)
    if weight is None and use.operand == known.bias:
        return _Form(KEEP, reason=f"the bias of {name}, which is added in float")
    if weight is None:
        return _Form(KEEP, reason=f"operand {use.operand} of {name} has no quantized form")
    options = graph.operators[use.operator].builtin_options
    transposed = bool(weight.transposed) and options is not None and bool(getattr(options, weight.transposed, False))
    axis = weight.channel_axis(len(tensor.shape), transposed)
    if weight.rank is not None and len(tensor.shape) != weight.rank:
        return _Form(KEEP, reason=f"{name} requires rank {weight.rank}, and it has {len(tensor.shape)}")
    small = "" if recipe.min_elements is not None else _too_small(_count(tensor), weight.least)
    if small:
        return _Form(KEEP, reason=small)
    if weight.table and (row_length := _count(tensor) // max(tensor.shape[0], 1)) < _LONG_ROW:
        return _float16_form(
            graph.origin(tensor.index) or tensor,
            f"rows of {row_length}: as integers with a scale each hardly smaller than FLOAT16",
        )
    if recipe.mode == "weight-only" or not weight.hybrid:
        form = _Form(BEHIND, recipe.weights, _granularity(recipe, axis, None))
        return _as_trained(graph, tensor, form, ("INT8", "INT4"), axis)
    if use.operator in refused:
        return _Form(KEEP, reason=refused[use.operator])
    form = _hybrid_form(graph, known, tensor, recipe, axis, use)
    return _as_trained(graph, tensor, form, weight.hybrid, axis, channels=weight.hybrid_channels)


def _as_trained(
    graph: Graph,
    tensor: Tensor,
    form: _Form,
    kinds: tuple[str, ...],
    axis: int | None,
    *,
    channels: bool | None = None,
) -> _Form:
    """A form with the parameters that training left for the weight, where the reader takes them."""
    grid = graph.trained.get(tensor.index)
    if grid is None or form.action == KEEP:
        return form
    direct = form.action == DIRECT
    several = (form.type, *(k for k in kinds if k != form.type))
    affine, why = grid.weight(several, axis, one=channels is False, symmetric=direct)
    if affine is None:
        note = f"quantized anew from its trained values: {why}"
        return replace(form, reason="; ".join(n for n in (form.reason, note) if n))
    note = trained_note(grid, affine, form.type, graph.origin(tensor.index) or tensor, tensor.shape)
    if channels and axis is not None and affine.scale.size == 1:  # the same scale for every channel
        count = tensor.shape[axis]
        scale, points = np.repeat(affine.scale, count), np.repeat(affine.zero_point, count)
        affine = Affine(affine.type, scale, points, PerAxis(axis), affine.narrow_range)
    return replace(form, type=affine.type.name, granularity=affine.granularity, reason=note, affine=affine)


def _hybrid_form(
    graph: Graph, known: OperatorRow, tensor: Tensor, recipe: Recipe, axis: int | None, use: Use
) -> _Form:
    weight = known.weight(use.operand)
    if weight is None or not weight.hybrid:
        return _Form(KEEP, reason=f"{known.name} has no kernel for float activations and integer weights")
    kind = recipe.weights if recipe.weights in weight.hybrid else "INT8"
    if recipe.granularity != "block":
        forced = recipe.granularity == "tensor" and weight.hybrid_channels and axis is not None
        note = f"the hybrid {known.name} requires a scale per channel" if forced else ""
        return _Form(DIRECT, kind, _granularity(recipe, axis, weight.hybrid_channels), note)
    why = _no_blocks(graph, known, tensor, recipe, use)
    if not why:
        blocks = PerBlock(len(tensor.shape) - 1, recipe.block_size)
        return _Form(DIRECT, kind, blocks, "LiteRT's reference resolver has no such kernel and computes nonsense")
    return _Form(DIRECT, kind, _granularity(recipe, axis, weight.hybrid_channels), why)


def _no_blocks(graph: Graph, known: OperatorRow, tensor: Tensor, recipe: Recipe, use: Use) -> str:
    """Why an operator's weight can't have a scale per block; empty where it can."""
    if recipe.weights not in known.blockwise:
        return f"{known.name} has no kernel with blocks"
    if tensor.shape[-1] % recipe.block_size:
        return f"its {tensor.shape[-1]} inputs aren't whole blocks of {recipe.block_size}"
    options = graph.operators[use.operator].builtin_options
    if getattr(options, "fused_activation_function", 0):
        return "LiteRT's builtin kernel with blocks forgets the fused activation"
    origin = graph.origin(tensor.index)
    return "" if origin is None else blocks_unfit(origin, tensor.shape, recipe.block_size, element_type("INT4"))


def _float16_form(origin: Tensor, why: str) -> _Form:
    """Half the bytes, for what integers suit badly."""
    beyond = _overflow(origin)
    return _Form(KEEP, reason=f"{why}; {beyond}") if beyond else _Form(BEHIND, "FLOAT16", reason=why)


def _granularity(recipe: Recipe, axis: int | None, channels: bool | None) -> Granularity:
    if axis is None or channels is False or (recipe.granularity == "tensor" and channels is None):
        return PerTensor()
    return PerAxis(axis)


def _has_quantized_operand(graph: Graph, use: Use) -> bool:
    """Whether another operand of the reader carries a scale: then its float operands are what its kernel wants."""
    for t in graph.operators[use.operator].inputs.tolist():
        tensor = graph.tensor(t) if t >= 0 else None
        if tensor is not None and tensor.type not in _FLOATS and tensor.quantization is not None:
            return True
    return False


def _all_or_nothing(graph: Graph, recipe: Recipe, selection: Selection) -> dict[int, str]:
    """Operators whose weights must all be quantized, and aren't all fit for it."""
    refused: dict[int, str] = {}
    if recipe.mode != "dynamic":
        return refused
    for o, operator in enumerate(graph.operators):
        known = row(graph.names[o])
        if not known.together or operator.inputs is None:
            continue
        inputs = operator.inputs.tolist()
        for weight in known.weights:
            t = inputs[weight.operand] if weight.operand < len(inputs) else -1
            if t < 0:
                continue
            tensor, origin = graph.tensor(t), graph.origin(t)
            shared = any(u.operator != o for u in graph.uses[t])
            least = weight.least if recipe.min_elements is None else 0
            why = "isn't a constant" if origin is None else _unfit(graph, tensor, origin, recipe)
            why = why or _too_small(_count(tensor), least)
            why = why or ("has other readers" if shared else "")
            why = why or selection.refusal(known.name, (graph.operator_label(o), tensor.name))
            if why:
                refused[o] = f"{known.name} takes all weights quantized or none: {tensor.name or t}: {why}"
                break
    return refused


def _combine(graph: Graph, tensor: Tensor, origin: Tensor, recipe: Recipe, forms: dict[Use, _Form]) -> Decision:
    """One stored form for all readers: the most frequent one; the others read it through DEQUANTIZE."""
    bare = [graph.names[u.operator] for u, f in forms.items() if f.action == KEEP and not f.plain]
    if bare:  # one stored form for all, and one that suits a reader who has no use for integers
        form = _float16_form(origin, f"also read by {bare[0]}, which takes no integers")
        forms = {u: f if f.plain else form for u, f in forms.items()}
        if form.action == KEEP:
            return _keep(graph, tensor, origin, form.reason)
    taken = Counter((f.action, f.type, f.granularity, f.affine) for f in forms.values() if f.action != KEEP)
    (action, kind, granularity, affine), _ = max(taken.items(), key=lambda item: (item[0][0] == DIRECT, item[1]))
    plain = tuple((u.operator, u.operand) for u, f in forms.items() if f.plain)
    through = tuple(
        (u.operator, u.operand)
        for u, f in forms.items()
        if (u.operator, u.operand) not in plain
        and (f.action, f.type, f.granularity, f.affine) != (action, kind, granularity, affine)
    )
    before = stored_bytes(origin)
    halves = kind in _FLOATS and stays_sparse(tensor, origin)
    size = stored_bytes(origin, kind) if halves else element_type(kind).nbytes(_count(tensor))
    if kind not in _FLOATS:
        scales = math.prod(parameter_shape(granularity, tensor.shape))
        size += scales * (2 if isinstance(granularity, PerBlock) else _SCALE_COST)
        symmetric = recipe.symmetric if affine is None else not affine.zero_point.any()
        size += 0 if symmetric else scales * _ZERO_POINT_COST
    # integers that a kernel computes with are worth it even where a sparse form is smaller
    most = element_type(origin.type).nbytes(_count(tensor)) if action == DIRECT else before
    if kind not in _FLOATS and size >= most:
        why = f"{kind} with its scales would take {size:,} bytes, no fewer than {most:,}"
        return _keep(graph, tensor, origin, why)
    notes = [f.reason for f in forms.values() if f.reason and f.action != KEEP]
    if plain:
        notes.append(f"stays float as well: {next(f.reason for f in forms.values() if f.plain)}")
        size += before
    return Decision(
        graph.index,
        tensor.index,
        tensor.name,
        tuple(graph.names[u.operator] for u in forms),
        action,
        kind,
        granularity,
        recipe.symmetric,
        plain,
        through,
        before,
        size,
        "; ".join(dict.fromkeys(notes)),
        trained=affine,
    )

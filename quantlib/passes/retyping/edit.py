"""`retype`: a finished model with other types at its ends, in its weights or throughout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from quantlib.errors import InvalidValue, NotFound
from quantlib.numerics import Affine, element_type
from quantlib.recipes import Graph, check
from quantlib.runners import indices_of, interface_of
from quantlib.targets import load
from quantlib.tflite import Draft, Model, called_subgraphs, require_models, tensor_types

from ..edited import Edited, Line
from ..forms import END_TYPES as TYPES
from ..metadata import follow_statistics
from ..versions import update_runtime
from .ends import Ends
from .shapes import Resized, Shape, choose
from .signed import Signed
from .weights import WEIGHTS
from .wide import Wide

#: What is wanted of inputs or outputs: one type for all, or types by name.
Wish = str | Mapping[str, str] | None


def retype(
    model: Model,
    *,
    input_type: Wish = None,
    output_type: Wish = None,
    input_stats: tuple[float, float] | None = None,
    weights: str | None = None,
    activations: str | None = None,
    batch: int | str | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    target: str | None = None,
) -> Edited:
    """Give a finished model other types.

    Parameters
    ----------
    model : Model
    input_type, output_type : str or mapping of str to str, optional
        FLOAT32, INT8, UINT8 or INT16: of all inputs or outputs, or by the name of a tensor or its alias in a
        signature. QUANTIZE and DEQUANTIZE are stripped, inserted or converted for it.
    input_stats : (float, float), optional
        Mean and standard deviation that training normalized values of 0..255 by: what integers at an input mean
        where a float model doesn't say it.
    weights : str, optional
        ``per-tensor``: those with a scale per channel get one, requantized, and their bias is rescaled; the account
        says what it cost. ``int8``: UINT8 weights of operators on floats, as old files have them, become INT8.
    activations : str, optional
        INT8: a UINT8 model as an INT8 one, every integer less 128, ends included; filters whose zero point INT8
        kernels don't take are shared out, so that sums stay the same. INT16: an INT8 model (a UINT8 one by way of
        that) with the same weights and INT16 between them, where operators have such kernels, and at its ends, where
        these aren't given a type; biases become INT64.
    batch : int or str, optional
        First dimension of all inputs; ``dynamic`` lets the caller choose it when the model runs.
    shapes : mapping of str to sequence of int, optional
        Shape of inputs by name; -1 is a dimension that the caller chooses.
    target : str, optional
        Refuse what this target doesn't take.

    Returns
    -------
    Edited

    Raises
    ------
    InvalidValue
        If nothing is asked for, a type is unknown, or an end can't have it; the message says what is missing.
    NotFound
        If there is no end of a name.
    """
    require_models(model=model)
    if all(wish is None for wish in (input_type, output_type, weights, activations, batch, shapes)):
        raise InvalidValue("nothing to retype; give a type of inputs, outputs, weights or activations, or a shape")
    lines = _Lines()
    made = model
    if weights is not None:
        made = _with_weights(made, weights, lines)
    if activations is not None:
        ends = {"input": _kinds(input_type), "output": _kinds(output_type)}
        made = _with_activations(made, activations, ends, lines)
    if input_type is not None or output_type is not None:
        made = _with_ends(made, _kinds(input_type), _kinds(output_type), _given(input_stats), lines)
    elif input_stats is not None:
        raise InvalidValue("input_stats says nothing without a type of inputs; name one, or leave it out")
    if batch is not None or shapes:
        made = _with_shapes(
            made, batch, {name: tuple(shape) for name, shape in (shapes or {}).items()}, target, lines
        )
    if target is not None:
        _require(made, target)
    return Edited(made, "retype", tuple(lines.done), tuple(lines.kept))


def _with_weights(model: Model, wish: str, lines: _Lines) -> Model:
    """The model with weights in another form."""
    if wish not in WEIGHTS:
        raise InvalidValue(f"weights {wish!r}: one of {', '.join(WEIGHTS)} is required")
    draft, before = Draft(model), len(lines.done)
    WEIGHTS[wish](draft, lines.done, lines.kept)
    if len(lines.done) == before:
        lines.kept.append(Line("weights", f"nothing to make {wish}"))
        return model
    update_runtime(draft)
    return draft.done()


def _with_shapes(
    model: Model, batch: int | str | None, shapes: Mapping[str, Shape], target: str | None, lines: _Lines
) -> Model:
    """The model with other shapes at its inputs."""
    keys = {s.subgraph_index: s.signature_key for s in model.root.signature_defs or ()}
    for key in keys.values() or (None,):
        interface = interface_of(model, key)
        wanted = choose(interface, batch, shapes)
        was = {port.index: port for port in interface.inputs}
        for t, shape in wanted.items():
            if target is not None and -1 in shape and load(target).static_shapes:
                raise InvalidValue(
                    f"input {was[t].alias!r}: shape {list(shape)}, and {target} takes no dimension that is known at "
                    "run time only; give a number"
                )
            if shape == was[t].shape:
                lines.kept.append(Line(f"input {was[t].name}", f"has shape {list(shape)} already"))
        wanted = {t: shape for t, shape in wanted.items() if shape != was[t].shape}
        if wanted:
            resized = Resized(model, key, wanted)
            try:
                model = resized.done()
            except MemoryError:
                raise InvalidValue(f"shapes {sorted(wanted.values())}: too little memory to try the model") from None
            lines.done += [
                Line(f"input {was[t].name}", f"{list(was[t].shape)} -> {list(s)}") for t, s in wanted.items()
            ]
            lines.done += [Line(*note) for note in resized.notes]
    return model


def _require(model: Model, target: str) -> None:
    """A target that takes the model."""
    findings = check(model, target)
    if not findings.ok:
        first = " ".join(str(findings.violations[0]).split())
        raise InvalidValue(f"{target} doesn't take the result: {len(findings.violations)} violations, first: {first}")


def _with_activations(model: Model, kind: str, ends: Mapping[str, Mapping[str, str] | None], lines: _Lines) -> Model:
    """The model with integers of another type throughout."""
    if kind.upper() not in ("INT8", "INT16"):
        raise InvalidValue(f"activations {kind!r}: INT8 and INT16 are known")
    draft = Draft(model)
    wide = kind.upper() == "INT16"
    changed = [Signed(draft, g, lines.done, lines.kept, exact=not wide).run() for g in range(len(draft.graphs))]
    if wide:
        return _widened(draft.done() if any(changed) else model, ends, lines)
    if not any(changed):
        raise InvalidValue("the model has no UINT8 activations with a scale; there is nothing to shift to INT8")
    update_runtime(draft)
    return follow_statistics(model, draft.done(), entries(model))


def _widened(model: Model, ends: Mapping[str, Mapping[str, str] | None], lines: _Lines) -> Model:
    """An INT8 model with INT16 activations; ends that are to have another type stay INT8 for now."""
    asked = [(side, kinds) for side, kinds in ends.items() if kinds is not None]
    named = [found for side, kinds in asked for found in _chosen(model, dict.fromkeys(entries(model)), side, kinds)]
    narrow = {(g, t) for g, t, kind, _ in named if kind != "INT16"}
    called = _called(model)
    draft, before = Draft(model), len(lines.kept)
    changed = []
    for at in range(len(model.subgraphs)):
        within = {t for g, t in narrow if g == at}
        job = Wide(draft, Graph(model, at), within, lines.done, lines.kept, called=at in called)
        changed.append(job.run())
    if not any(changed):
        why = f" ({lines.kept[before]})" if len(lines.kept) > before else ""
        raise InvalidValue(f"the model has no INT8 or UINT8 activations that can become INT16{why}")
    update_runtime(draft)
    return follow_statistics(model, draft.done(), entries(model))


class _Lines:
    """The account in the making."""

    def __init__(self) -> None:
        self.done: list[Line] = []
        self.kept: list[Line] = []


def _kinds(wish: Wish) -> Mapping[str, str] | None:
    """Types by name; "" stands for all."""
    if wish is None:
        return None
    kinds = {"": wish} if isinstance(wish, str) else dict(wish)
    for name, kind in kinds.items():
        if not isinstance(kind, str) or kind.upper() not in TYPES:
            place = f" for {name!r}" if name else ""
            raise InvalidValue(f"type {kind!r}{place}: an end has one of {', '.join(TYPES)}")
    return {name: kind.upper() for name, kind in kinds.items()}


def _given(stats: tuple[float, float] | None) -> Affine | None:
    """UINT8 that training's mean and deviation give: real = (stored - mean) / deviation."""
    if stats is None:
        return None
    mean, deviation = stats
    if not (np.isfinite(deviation) and deviation > 0):
        raise InvalidValue(f"input_stats has standard deviation {deviation}; more than 0 is required")
    if not 0 <= mean <= 255:
        raise InvalidValue(f"input_stats has mean {mean}; one of 0 to 255 is required, as a zero point of UINT8")
    return Affine(element_type("UINT8"), np.array([1 / deviation], np.float32), np.array([round(mean)]))


def _with_ends(
    model: Model,
    inputs: Mapping[str, str] | None,
    outputs: Mapping[str, str] | None,
    given: Affine | None,
    lines: _Lines,
) -> Model:
    draft, called = Draft(model), _called(model)
    graphs = {g: Ends(draft, g) for g in entries(model)}
    for kinds, side in ((inputs, "input"), (outputs, "output")):
        if kinds is None:
            continue
        found = list(_chosen(model, graphs, side, kinds))
        changed = 0
        for g, t, kind, named in found:
            if g in called and kind != _type(model, g, t):
                why = "stays, since another subgraph runs this one and hands over values as they are"
                lines.kept.append(Line(f"{side} {model.tensor((g, t)).name or (g, t)}", why))
                continue
            changed += _change(graphs[g], side, t, kind, given, lines, only=named or len(found) == 1)
        if found and not changed and not any(kind == _type(model, g, t) for g, t, kind, _ in found):
            raise InvalidValue(f"{lines.kept[-1]}; none of the {len(found)} {side}s can be changed")
    if given is not None and not any(ends.took_given for ends in graphs.values()):
        raise InvalidValue(
            "input_stats says nothing: no input that is to be integer lacks a scale; leave it out, or name an "
            "input_type"
        )
    for ends in graphs.values():
        ends.done()
    update_runtime(draft)
    return follow_statistics(model, draft.done(), list(graphs)) if lines.done else model


def _change(ends: Ends, side: str, t: int, kind: str, given: Affine | None, lines: _Lines, *, only: bool) -> bool:
    """Change one end, or say why it stays; a type that ends don't have is an error only where it was asked for."""
    before = tensor_types()[ends.graph.tensors[t].type]
    name = ends.graph.tensors[t].name or f"({ends.g}, {t})"
    where = f"{side} {name}"
    if before not in TYPES:
        reason = f"{before} values have no scale; only {', '.join(TYPES)} have another type"
        if only:
            raise InvalidValue(f"{where}: {reason}")
        lines.kept.append(Line(where, reason))
        return False
    what = ends.input(t, kind, given) if side == "input" else ends.output(t, kind)
    (lines.done if what else lines.kept).append(Line(where, what or f"is {kind} already"))
    return bool(what)


def _type(model: Model, g: int, t: int) -> str:
    return model.tensor((g, t)).type


def _called(model: Model) -> set[int]:
    """Subgraphs that operators run."""
    return {i for s in model.subgraphs for o in s.operators or () for i in called_subgraphs(o)}


def entries(model: Model) -> list[int]:
    """Subgraphs that a caller runs: those of signatures, or the first."""
    named = sorted({s.subgraph_index for s in model.root.signature_defs or ()})
    return named or list(range(min(1, len(model.subgraphs))))


def _chosen(
    model: Model, graphs: Mapping[int, object], side: str, kinds: Mapping[str, str]
) -> Iterator[tuple[int, int, str, bool]]:
    """Subgraph, tensor and type of each end that is asked for, and whether that was by name."""
    unused = {name for name in kinds if name}
    known = []
    for g in graphs:
        table = model.subgraphs[g]
        aliases: dict[int, set[str]] = {}
        for signature in model.root.signature_defs or ():
            if signature.subgraph_index == g:
                for entry in getattr(signature, f"{side}s") or ():
                    aliases.setdefault(entry.tensor_index, set()).add(entry.name or "")
        for t in dict.fromkeys(indices_of(getattr(table, f"{side}s"))):
            if t < 0:
                continue
            names = {model.tensor((g, t)).name, *aliases.get(t, ())} - {""}
            known += sorted(names)
            asked = sorted(names & set(kinds))
            unused -= names
            if asked or "" in kinds:
                yield g, t, kinds[asked[0] if asked else ""], bool(asked)
    if unused:
        raise NotFound(f"no {side} {min(unused)!r}; the model has {', '.join(dict.fromkeys(known)) or 'none'}")

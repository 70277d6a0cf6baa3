"""What nobody reaches, dropped: subgraphs, tensors, buffers and operator codes without a user; indices follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import dependencies
from .model import Model
from .renumber import buffers_in_use, compact, tensors_in_use, with_dependencies
from .table import Table

#: Fields of options that name one subgraph, and those that name several.
_ONE = (
    *("then_subgraph_index", "else_subgraph_index", "cond_subgraph_index", "body_subgraph_index", "subgraph"),
    *("init_subgraph_index", "decomposition_subgraph_index", "comparator_subgraph_index"),
    "update_computation_subgraph_index",
)
_SEVERAL = ("branch_subgraph_indices",)


@dataclass(frozen=True, slots=True)
class Unused:
    """What nobody reached, by its indices before it was dropped.

    Attributes
    ----------
    subgraphs : tuple of int
    tensors : tuple of (int, int)
        Subgraph and index; none of those that went with their subgraph.
    codes : tuple of int
    buffers : int
        How many.
    """

    subgraphs: tuple[int, ...]
    tensors: tuple[tuple[int, int], ...]
    codes: tuple[int, ...]
    buffers: int


def called_subgraphs(operator: Table) -> Iterator[int]:
    """Subgraphs that an operator runs."""
    for options in (operator.builtin_options, operator.builtin_options_2):
        for name in _ONE:
            if isinstance(index := getattr(options, name, None), int) and index >= 0:
                yield index
        for name in _SEVERAL:
            vector = getattr(options, name, None)
            yield from () if vector is None else vector.tolist()


def without_unused(model: Model) -> tuple[Model, Unused]:
    """Drop what nobody reaches.

    Reached is what the first subgraph, signatures and metadata lead to.

    Parameters
    ----------
    model : Model

    Returns
    -------
    Model
        The very same where all is reached.
    Unused
        What was dropped, by its indices in `model`.
    """
    root, kept = model.root, sorted(_reached(model))
    smaller = _with_subgraphs(root, kept) if len(kept) < len(model.subgraphs) else root
    tensors = tuple((g, i) for new, g in enumerate(kept) for i in _idle_tensors(smaller, new))
    codes = tuple(_idle_codes(smaller))
    if tensors or codes or _idle_buffers(smaller):
        smaller = compact(smaller, Table("Model", subgraphs=[], buffers=[], operator_codes=[]), [])
    gone = tuple(g for g in range(len(model.subgraphs)) if g not in kept)
    unused = Unused(gone, tensors, codes, len(root.buffers or ()) - len(smaller.buffers or ()))
    same = smaller is root
    return model if same else Model(smaller, model.trailing, model.source, model.source_root), unused


def _reached(model: Model) -> set[int]:
    """Subgraphs that a caller runs, and those that they run."""
    waiting = [0, *(s.subgraph_index for s in model.root.signature_defs or ())]
    reached: set[int] = set()
    while waiting:
        g = waiting.pop()
        if g in reached or not 0 <= g < len(model.subgraphs):
            continue
        reached.add(g)
        for operator in model.subgraphs[g].operators or ():
            waiting += called_subgraphs(operator)
    return reached


def _with_subgraphs(root: Table, kept: list[int]) -> Table:
    """The model with these subgraphs alone."""
    place = {old: new for new, old in enumerate(kept)}
    subgraphs = []
    for g in kept:
        operators = root.subgraphs[g].operators
        moved = None if operators is None else [_calling(o, place) for o in operators]
        subgraphs.append(root.subgraphs[g].replace(operators=moved))
    signatures = root.signature_defs
    if signatures is not None:
        signatures = [s.replace(subgraph_index=place.get(s.subgraph_index, s.subgraph_index)) for s in signatures]
    smaller = root.replace(subgraphs=subgraphs, signature_defs=signatures)
    return with_dependencies(smaller, lambda raw: dependencies.of_subgraphs(raw, kept))


def _calling(operator: Table, place: Mapping[int, int]) -> Table:
    """An operator that runs the same subgraphs under their new numbers."""
    changes = {}
    for side in ("builtin_options", "builtin_options_2"):
        options = getattr(operator, side)
        fields: dict[str, object] = {
            name: place.get(index, index) for name in _ONE if isinstance(index := getattr(options, name, None), int)
        }
        for name in _SEVERAL:
            if (vector := getattr(options, name, None)) is not None:
                fields[name] = [place.get(g, g) for g in vector.tolist()]
        if fields:
            changes[side] = options.replace(**fields)
    return operator.replace(**changes) if changes else operator


def _idle_tensors(root: Table, g: int) -> Iterator[int]:
    used = tensors_in_use(root, g)
    return (i for i in range(len(root.subgraphs[g].tensors or ())) if i not in used)


def _idle_codes(root: Table) -> Iterator[int]:
    used = {o.opcode_index for g in root.subgraphs or () for o in g.operators or ()}
    return (i for i in range(len(root.operator_codes or ())) if i not in used)


def _idle_buffers(root: Table) -> bool:
    return not buffers_in_use(root).issuperset(range(len(root.buffers or ())))

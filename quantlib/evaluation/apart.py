"""Which tensors of two models are the same, and a model whose operators don't see one another."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from quantlib.runners import Runner, folded, indices_of, make_runner
from quantlib.tflite import Draft, Model, Tensor

from .ports import Pairing

#: Operators that change how a value is stored, not what it is.
_BRIDGES = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True, slots=True)
class Apart:
    """A model whose operators don't see one another; ports by name, tensors by index in the whole model."""

    runner: Runner
    inputs: dict[str, int]
    outputs: dict[str, int]


def take_apart(model: Model, g: int, kept: list[int], wanted: set[int], runner: str) -> Apart | None:
    """Make a runner of a model in which every operator has inputs of its own.

    Parameters
    ----------
    model : Model
    g : int
        Subgraph.
    kept : list of int
        Its operators that are kept, in order.
    wanted : set of int
        Tensors that are to be outputs, as far as those operators write them.
    runner : str

    Returns
    -------
    Apart or None
        None where no operator is left.
    """
    draft, constants = Draft(model), folded(model, g)
    graph = draft.graphs[g]
    fresh: dict[int, int] = {}
    written: list[int] = []
    operators = []
    for o in kept:
        operator = graph.operators[o]
        inputs = indices_of(operator.inputs)
        for i in inputs:
            if i >= 0 and i not in fresh and not at_hand(model, g, i, constants):
                graph.tensors.append(graph.tensors[i].replace(name=f"given {i}"))
                fresh[i] = len(graph.tensors) - 1
        operators.append(operator.replace(inputs=[fresh.get(i, i) for i in inputs]))
        written += [i for i in indices_of(operator.outputs) if i in wanted]
    if not written:
        return None
    for i in written:
        graph.tensors[i] = graph.tensors[i].replace(name=f"found {i}")
    graph.operators, graph.origins = operators, list(kept)
    graph.inputs, graph.outputs = list(fresh.values()), written
    draft.graphs, draft.signatures, draft.metadata = [graph], [], []
    made = make_runner(draft.done(), runner, None)
    return Apart(made, {f"given {i}": i for i in fresh}, {f"found {i}": i for i in written})


def at_hand(model: Model, g: int, index: int, constants: frozenset[int]) -> bool:
    """Whether a tensor has a value without anything being computed from the inputs."""
    tensor = Tensor(model, g, index)
    return index in constants or tensor.is_constant or bool(tensor.table.is_variable) or 0 in tensor.shape


def twins(a: Model, b: Model, graphs: tuple[int, int], pairing: Pairing) -> dict[int, int]:
    """Tensors of B and what they are in A: by name and shape, by the order of like operators, through QUANTIZE.

    Parameters
    ----------
    a, b : Model
    graphs : (int, int)
        Subgraphs that run.
    pairing : Pairing

    Returns
    -------
    dict of int to int
        Index in B to index in A. What an operator writes over another value is left out.
    """
    ga, gb = graphs
    same = {q.port.index: p.port.index for p, q in (*pairing.inputs, *pairing.outputs)}
    names = _by_name(a, ga)
    for name, t in _by_name(b, gb).items():
        if name in names and _alike(Tensor(a, ga, names[name]), Tensor(b, gb, t)):
            same.setdefault(t, names[name])
    first, second = _plain_operators(a, ga), _plain_operators(b, gb)
    if [name for name, _ in first] == [name for name, _ in second]:
        for (_, outputs), (_, others) in zip(first, second, strict=True):
            for p, q in zip(outputs, others, strict=False):
                if _alike(Tensor(a, ga, p), Tensor(b, gb, q)):
                    same.setdefault(q, p)
    bridges = [
        (indices_of(o.inputs)[0], indices_of(o.outputs)[0])
        for o in b.subgraphs[gb].operators or ()
        if b.operator_name(o) in _BRIDGES and not Tensor(b, gb, indices_of(o.inputs)[0]).is_constant
    ]
    for source, target in bridges:
        if source in same:
            same.setdefault(target, same[source])
    for source, target in reversed(bridges):
        if target in same:
            same.setdefault(source, same[target])
    unclear, unclear_a = _rewritten(b, gb), _rewritten(a, ga)
    return {q: p for q, p in same.items() if q not in unclear and p not in unclear_a}


def _rewritten(model: Model, g: int) -> set[int]:
    """Tensors that are written more than once, so that they have no one value."""
    graph = model.subgraphs[g]
    times = Counter(indices_of(graph.inputs))
    for operator in graph.operators or ():
        times.update(indices_of(operator.outputs))
    return {t for t, count in times.items() if count > 1}


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape


def _by_name(model: Model, g: int) -> dict[str, int]:
    """Tensors that operators write, by names that occur once."""
    written = [t for o in model.subgraphs[g].operators or () for t in indices_of(o.outputs) if t >= 0]
    names = Counter(Tensor(model, g, t).name for t in written)
    constants = folded(model, g)
    return {
        Tensor(model, g, t).name: t
        for t in written
        if t not in constants and Tensor(model, g, t).name and names[Tensor(model, g, t).name] == 1
    }


def _plain_operators(model: Model, g: int) -> list[tuple[str, list[int]]]:
    operators = model.subgraphs[g].operators or ()
    named = [(model.operator_name(o), indices_of(o.outputs)) for o in operators]
    return [(name, outputs) for name, outputs in named if name not in (*_BRIDGES, "DENSIFY")]

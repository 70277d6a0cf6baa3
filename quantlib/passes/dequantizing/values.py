"""Which tensors of a subgraph stand for real values, and which operators need the integers that are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, element_type
from quantlib.operators import SAME, row, rows
from quantlib.recipes import STORAGE, Graph
from quantlib.runners import indices_of
from quantlib.tflite import Table, builtin_operators

from ..scales import SCALED, SUMS, scales_of

#: Floats that only store: kernels compute with FLOAT32.
HALVES = frozenset({"FLOAT16", "BFLOAT16"})
_FLOATS = HALVES | {"FLOAT32"}

#: Operators that do something to stored integers that isn't the same for what they stand for.
_RAW = frozenset({"BITCAST", "BITWISE_XOR", "CAST", "FLOOR_DIV", "FLOOR_MOD", "RIGHT_SHIFT"})
#: Those for which it is the same where all zero points are 0 and all scales alike.
_RAW_UNLESS_NEUTRAL = frozenset({"MATRIX_DIAG", "NEG", "SCATTER_ND"})
_COMPARISONS = frozenset({"EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL"})
#: The one operator of the rule "same" whose kernel rescales (UINT8) or refuses (tflite/kernels/concatenation.cc).
_RESCALES = "CONCATENATION"
#: Operators that run other subgraphs, with the same types on both sides.
_CALLS = (
    *("cond_subgraph_index", "body_subgraph_index", "then_subgraph_index", "else_subgraph_index"),
    *("subgraph", "decomposition_subgraph_index"),
)
#: Options that name what IF runs; its first operand is the decision.
_BRANCHES = ("then", "else")
_SHUFFLED, _BASIC = 1, 1  # FullyConnectedOptionsWeightsFormat, LSTMKernelType

_BLIND = "its kernel computes with the stored integers, whatever they stand for"
_COPIES = "its kernel copies stored integers from one scale to another"


@dataclass(frozen=True, slots=True)
class Values:
    """What becomes of the tensors and operators of a subgraph.

    Attributes
    ----------
    real : frozenset of int
        Tensors that become FLOAT32.
    kept : mapping of int to str
        Operators that stay as they are, and why; an empty reason for a QUANTIZE or DEQUANTIZE beside one.
    gone : frozenset of int
        Operators between stored and real values that have nothing left to do.
    """

    real: frozenset[int]
    kept: Mapping[int, str]
    gone: frozenset[int]


def ends_of(operator: Table) -> list[int]:
    """Tensors that an operator reads or writes."""
    return [t for v in (operator.inputs, operator.outputs) for t in indices_of(v) if t >= 0]


def values_of(graph: Graph, *, fold_fake_quant: bool, expand_sparse: bool) -> Values:
    """Decide for all tensors and operators of a subgraph.

    Parameters
    ----------
    graph : Graph
    fold_fake_quant : bool
        FAKE_QUANT goes.
    expand_sparse : bool
        Sparse constants that are FLOAT32 already become dense.
    """
    known = {t for o in graph.operators for t in ends_of(o)} | graph.ends
    scaled = {t for t in known if t >= 0 and _is_scaled(graph, t)}
    kept = {o: why for o in range(len(graph.operators)) if (why := _reason(graph, o, scaled))}
    bridges = _bridges(graph, scaled, kept)
    kept.update(dict.fromkeys(bridges, ""))
    real = {t for t in scaled if t in graph.ends or not _within(graph, t, kept)}
    real |= {t for t in known if t >= 0 and graph.tensor(t).type in HALVES}
    if expand_sparse:
        real |= {t for t in known if t >= 0 and graph.tensor(t).table.sparsity is not None}
    for o, operator in enumerate(graph.operators):
        if o not in kept:
            real |= {
                t for k, t in enumerate(indices_of(operator.inputs)) if k in biases(graph, o) and _is_sum(graph, t)
            }
    gone = {o for o in range(len(graph.operators)) if o not in kept and _is_idle(graph, o, real, fold_fake_quant)}
    return Values(frozenset(real), MappingProxyType(kept), frozenset(gone))


def biases(graph: Graph, o: int) -> dict[int, int | None]:
    """Operands that are added to sums of products, and that of the weights; None where a bias has a scale alone."""
    known, operator = row(graph.names[o]), graph.operators[o]
    found: dict[int, int | None] = {}
    if known.bias is not None:
        found[known.bias] = known.weights[0].operand if known.weights else None
    if known.integer is not None and known.integer.recurrent is not None:
        found.update(dict.fromkeys((bias for bias, _, _ in known.integer.recurrent.biases), None))
    options = operator.builtin_options
    if options is not None and options.kind == "LSTMOptions" and options.kernel_type == _BASIC:
        found = {3: None}
    return found


def _is_scaled(graph: Graph, t: int) -> bool:
    tensor = graph.tensor(t)
    if tensor.type in SCALED:
        return tensor.quantization is not None
    return tensor.type in SUMS and _is_rescaled_sum(graph, t)


def _is_rescaled_sum(graph: Graph, t: int) -> bool:
    """Whether a tensor of INT32 that is no bias stands for real values: QUANTIZE made it, or DEQUANTIZE reads it."""
    maker = graph.producers.get(t)
    made = maker is not None and graph.names[maker] == "QUANTIZE"
    read = any(graph.names[u.operator] == "DEQUANTIZE" for u in graph.uses.get(t, ()))
    return (made or read) and graph.tensor(t).quantization is not None


def _is_sum(graph: Graph, t: int) -> bool:
    return t >= 0 and graph.tensor(t).type in SUMS


def _reason(graph: Graph, o: int, scaled: set[int]) -> str:
    """Why an operator must keep the integers that it reads and writes; empty where it needn't."""
    name, operator = graph.names[o], graph.operators[o]
    touched = [t for t in ends_of(operator) if t in scaled]
    if not touched or name in STORAGE:
        return ""
    if name not in builtin_operators() and name not in rows():
        return "a custom operator, which may take these integers alone"
    options = operator.builtin_options
    if options is not None and options.kind == "FullyConnectedOptions" and options.weights_format == _SHUFFLED:
        return "its weights are stored in a shuffled order"
    if name in _RAW or (name in _RAW_UNLESS_NEUTRAL and not _neutral(graph, touched)):
        return _BLIND
    wide = all(graph.tensor(t).type == "INT16" for t in touched)
    if name in _COMPARISONS and wide and not _alike(graph, touched):
        return _BLIND
    integer = row(name).integer
    if integer is None or integer.rule != SAME or name == _RESCALES:
        return ""
    return "" if _alike(graph, _moved(graph, o, scaled)) else _COPIES


def _moved(graph: Graph, o: int, scaled: set[int]) -> list[int]:
    """Tensors between which an operator hands integers on."""
    integer, outputs = row(graph.names[o]).integer, indices_of(graph.operators[o].outputs)
    places = range(len(outputs)) if integer is None or integer.outputs is None else integer.outputs
    found = [t for _, t in graph.data(o)] + [outputs[k] for k in places if k < len(outputs)]
    return [t for t in found if t in scaled]


def _alike(graph: Graph, tensors: list[int]) -> bool:
    """Whether integers stand for the same in all of some tensors, within half a step."""
    forms = [scales_of(graph.tensor(t)) for t in tensors]
    known = [form for form in forms if form is not None and form.scale.size == 1]
    return all(_same(form, known[0]) for form in known[1:])


def _same(form: Affine, other: Affine) -> bool:
    levels = 2.0**form.type.bits - 1
    apart = abs(float(form.scale[0]) / float(other.scale[0]) - 1) if other.scale[0] else np.inf
    return form.zero_point[0] == other.zero_point[0] and apart * levels < 0.5


def _neutral(graph: Graph, tensors: list[int]) -> bool:
    forms = [scales_of(graph.tensor(t)) for t in tensors]
    return _alike(graph, tensors) and not any(form is None or form.zero_point.any() for form in forms)


def _bridges(graph: Graph, scaled: set[int], kept: Mapping[int, str]) -> Iterator[int]:
    """QUANTIZE of a float for kept operators alone, DEQUANTIZE of what they make: what an earlier edit left."""
    for o, name in enumerate(graph.names):
        if name not in ("QUANTIZE", "DEQUANTIZE") or not _converts(graph.operators[o]):
            continue
        before, after = ends_of(graph.operators[o])
        if name == "QUANTIZE" and graph.tensor(before).type == "FLOAT32" and after not in graph.ends:
            readers = [u.operator for u in graph.uses.get(after, ())]
            if readers and all(r in kept for r in readers):
                yield o
        elif name == "DEQUANTIZE" and before in scaled and graph.producers.get(before) in kept:
            readers = [u.operator for u in graph.uses.get(before, ())]
            if before not in graph.ends and all(r in kept or graph.names[r] == "DEQUANTIZE" for r in readers):
                yield o


def _within(graph: Graph, t: int, kept: Mapping[int, str]) -> bool:
    """Whether only operators that stay read and write a tensor."""
    maker = graph.producers.get(t)
    return (maker is None or maker in kept) and all(u.operator in kept for u in graph.uses.get(t, ()))


def _is_idle(graph: Graph, o: int, real: set[int], fold_fake_quant: bool) -> bool:
    """Whether an operator only converts between what become the same floats."""
    name, operator = graph.names[o], graph.operators[o]
    if not _converts(operator):
        return False
    ends = ends_of(operator)
    if name == "FAKE_QUANT":
        return fold_fake_quant
    if name == "CAST":
        return all(graph.tensor(t).type in _FLOATS for t in ends) and any(t in real for t in ends)
    return name in STORAGE and any(t in real for t in ends) and _all_floats(graph, ends, real)


def _converts(operator: Table) -> bool:
    """Whether an operator makes one tensor of one."""
    return len(indices_of(operator.inputs)) == len(indices_of(operator.outputs)) == 1 and len(ends_of(operator)) == 2


def _all_floats(graph: Graph, tensors: list[int], real: set[int]) -> bool:
    return all(t in real or element_type(graph.tensor(t).type).kind == "float" for t in tensors)


def check_calls(graph: Graph, graphs: list[Graph], found: list[Values]) -> None:
    """Refuse a call where one side of a tensor becomes real and the other doesn't.

    Raises
    ------
    InvalidValue
        If there is one.
    """
    for o, operator in enumerate(graph.operators):
        for name, called in _called(operator, graphs):
            pairs = [(indices_of(operator.inputs)[name.startswith(_BRANCHES) :], indices_of(called.table.inputs))]
            if not name.startswith("cond"):
                pairs.append((indices_of(operator.outputs), indices_of(called.table.outputs)))
            for ours, theirs in (pair for side in pairs for pair in zip(*side, strict=False)):
                if (ours in found[graph.index].real) != (theirs in found[called.index].real):
                    raise InvalidValue(
                        f"{graph.tensor(ours)}: {graph.names[o]} hands it to {called.tensor(theirs)}, and only one "
                        "of them has a scale; give both one by Model.replace"
                    )


def _called(operator: Table, graphs: list[Graph]) -> Iterator[tuple[str, Graph]]:
    """Subgraphs that an operator runs, each with the option that names it."""
    for options in (operator.builtin_options, operator.builtin_options_2):
        for name, index in () if options is None else options.stored().items():
            if name in _CALLS and 0 <= int(index) < len(graphs):
                yield name, graphs[int(index)]

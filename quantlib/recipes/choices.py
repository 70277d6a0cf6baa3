"""Which operators become integer, and why not the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.numerics import element_type
from quantlib.operators import FIXED, NONE, OperatorRow, row
from quantlib.tflite import Tensor

from .graph import STORAGE, Graph
from .grid import FakeQuant, Rounded
from .measured import Measured, Range
from .recurrent_choice import recurrent_unfit, recurrent_unwanted
from .selectors import Selection

if TYPE_CHECKING:
    from .filters import Filters

_FLOATS = ("FLOAT32", "FLOAT16")
#: Fused activations that integer kernels don't have (tflite/kernels/kernel_util.cc).
_UNFUSED: Mapping[int, str] = MappingProxyType({4: "TANH", 5: "SIGN_BIT"})
#: Steps that a divisor keeps from 0: the greatest quotient is wrong by half of one such part, 3 % or 0.2 %.
_DIVISOR_STEPS, _DIVISOR_STEPS16 = 16, 256
#: Least s1 / (s2 * s_out) with which DIV is right everywhere (tflite/kernels/div.cc shifts the quotient by the rest).
_QUOTIENT, _QUOTIENT16 = 2.0**6, 2.0**14


@dataclass(frozen=True, slots=True)
class Choice:
    """What one operator's activations become.

    Attributes
    ----------
    mode : str
        INT8, INT16 or UINT8; FLOAT32; or empty where it has nothing float.
    reason : str
        Why it isn't an integer type.
    left_out : bool
        The recipe's selectors leave it out.
    """

    mode: str
    reason: str = ""
    left_out: bool = False

    @property
    def is_integer(self) -> bool:
        """Whether activations become integers."""
        return self.mode not in ("", "FLOAT32")


def choose(
    graph: Graph,
    selection: Selection,
    measured: Measured,
    filters: Filters,
    refused: Mapping[tuple[int, int], str],
) -> list[Choice]:
    """Choose for every operator of a subgraph, each by itself and then by its neighbours.

    Parameters
    ----------
    graph : Graph
    selection : Selection
    measured : Measured
    filters : Filters
    refused : mapping of (int, int) to str
        Operators, by subgraph and place, that the target doesn't take as integers, and why.
    """
    choices = [_choice(graph, o, selection, measured, filters) for o in range(len(graph.operators))]
    for o, choice in enumerate(choices):
        if choice.is_integer and (graph.index, o) in refused:
            choices[o] = Choice("FLOAT32", refused[graph.index, o])
    return _following(graph, _without_islands(graph, choices))


def operands(graph: Graph, o: int) -> list[int]:
    """Tensors that an operator reads; -1 where one is left out."""
    inputs = graph.operators[o].inputs
    return [] if inputs is None else inputs.tolist()


def results(graph: Graph, o: int) -> list[int]:
    """Tensors that an operator writes."""
    outputs = graph.operators[o].outputs
    return [] if outputs is None else outputs.tolist()


def _choice(graph: Graph, o: int, selection: Selection, measured: Measured, filters: Filters) -> Choice:
    name, label = graph.names[o], graph.operator_label(o)
    tensors = [graph.tensor(t) for t in (*operands(graph, o), *results(graph, o)) if t >= 0]
    if not any(t.type in _FLOATS for t in tensors):
        return Choice("", "has no float operand or output")
    if o in graph.folds:
        skipped = selection.skips(name, (label,))
        return Choice("FLOAT32", skipped, left_out=True) if skipped else Choice(selection.recipe.activations)
    if name in STORAGE:
        return _storage(graph, o)
    refusal = selection.refusal(name, (label,))
    if refusal:
        return Choice("FLOAT32", refusal, left_out=True)
    known, kind = row(name), selection.recipe.activations
    if known.integer is None:
        return Choice("FLOAT32", known.refused or f"LiteRT has no integer kernel of {name}")
    if any(t.type not in _FLOATS and t.quantization is not None for t in tensors):
        return Choice("FLOAT32", "some of its operands are quantized already")
    if selection.wants_int16(name, (label,)):
        kind = "INT16"
    if kind not in known.integer.types:
        return Choice("FLOAT32", known.refused or f"LiteRT has no {kind} kernel of {name}")
    reason = _unfit(graph, o, known, kind, measured, filters)
    return Choice("FLOAT32", reason) if reason else Choice(kind)


def _storage(graph: Graph, o: int) -> Choice:
    if graph.names[o] != "FAKE_QUANT" or graph.origin(results(graph, o)[0]) is not None:
        return Choice("", "stands between stored and real values")
    options = FakeQuant.of(graph.operators[o].builtin_options)
    return Choice("FLOAT32", f"no grid of integers with 0 on it: {options}")


def _unfit(graph: Graph, o: int, known: OperatorRow, kind: str, measured: Measured, filters: Filters) -> str:
    """Why an operator with integer kernels can't use them here; empty where it can."""
    if known.integer is not None and known.integer.recurrent is not None:
        whys = (
            *recurrent_unfit(graph, o, known.integer.recurrent, measured),
            *_values_unfit(graph, o, known, kind, measured),
            *recurrent_unwanted(known.integer.recurrent, measured.recipe),
        )
        return next(iter(whys), "")
    inputs = operands(graph, o)
    options = graph.operators[o].builtin_options
    fused = _UNFUSED.get(int(getattr(options, "fused_activation_function", 0) or 0))
    if fused:
        return f"integer kernels have no fused {fused}"
    for why in (
        *_weights_unfit(graph, known, inputs, kind, filters),
        *_values_unfit(graph, o, known, kind, measured),
    ):
        return why
    return _divisor_unfit(graph, o, known, inputs, kind, measured) or _input_unfit(graph, o, known, kind, measured)


def _weights_unfit(graph: Graph, known: OperatorRow, inputs: list[int], kind: str, filters: Filters) -> Iterator[str]:
    for weight in known.weights:
        if not weight.static:
            continue
        t = inputs[weight.operand] if weight.operand < len(inputs) else -1
        origin = graph.origin(t) if t >= 0 else None
        if origin is None:
            yield f"its weight, operand {weight.operand}, is no constant"
        elif _is_stored(graph, t, origin):
            yield f"its weight is {origin.type} already"
        elif weight.rank is not None and len(graph.tensor(t).shape) != weight.rank:
            yield f"its weight has rank {len(graph.tensor(t).shape)}; {weight.rank} is required"
        elif not filters.is_finite(graph, known, weight, t, kind):
            yield f"{origin.name or 'its weight'} has values that aren't finite"
    bias = known.bias
    t = inputs[bias] if bias is not None and bias < len(inputs) else -1
    origin = graph.origin(t) if t >= 0 else None
    if t >= 0 and origin is None:
        yield "its bias is no constant"
    elif origin is not None and not np.isfinite(_extremes(origin)).all():
        yield f"{origin.name or 'its bias'} has values that aren't finite"


def _is_stored(graph: Graph, t: int, origin: Tensor) -> bool:
    """Whether a constant is integers already, and no grid says which for its readers."""
    integers = origin.type not in _FLOATS and origin.quantization is not None
    return integers and not (isinstance(origin, Rounded) and t in graph.trained)


def _extremes(origin: Tensor) -> tuple[float, float]:
    values = origin.numpy()
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def _values_unfit(graph: Graph, o: int, known: OperatorRow, kind: str, measured: Measured) -> Iterator[str]:
    integer = known.integer
    if integer is None:
        return
    missing = "calibration never wrote it" if measured.statistics is not None else "it was not calibrated"
    for k, t in graph.data(o):
        tensor, origin = graph.tensor(t), graph.origin(t)
        if tensor.type != "FLOAT32":
            yield f"operand {k} is {tensor.type}; FLOAT32 is required"
        elif origin is not None and _is_stored(graph, tensor.index, origin):
            yield f"constant {tensor.name or k} is {origin.type} already"
        elif origin is not None and not np.isfinite(_extremes(origin)).all():
            yield f"constant {tensor.name or k} has values that aren't finite"
        elif origin is None and measured.range_of(graph, tensor.index, kind) is None:
            yield f"no range of {tensor.name or tensor.index}: {missing}"
    needed = integer.rule not in (FIXED, NONE)
    for at, t in enumerate(results(graph, o)):
        if needed and (integer.outputs is None or at in integer.outputs):
            if graph.tensor(t).type != "FLOAT32":
                yield f"output {at} is {graph.tensor(t).type}; FLOAT32 is required"
            elif measured.range_of(graph, t, kind) is None:
                yield f"no range of {graph.tensor(t).name or t}: {missing}"


def _divisor_unfit(graph: Graph, o: int, known: OperatorRow, inputs: list[int], kind: str, measured: Measured) -> str:
    if known.integer is None or not known.integer.divides:
        return ""
    origin = graph.origin(inputs[1])
    if origin is not None:
        lo, hi = lowest, highest = _extremes(origin)
    else:
        seen = measured.statistics.tensors if measured.statistics is not None else {}
        found = seen.get((graph.index, inputs[1]))
        if found is None:
            return "the divisor's values are unknown, and the kernel fails on one that is rounded to 0"
        source = seen.get((graph.index, graph.moved_from(inputs[1])), found)  # it has the scale of that
        lo, hi, lowest, highest = found.min, found.max, source.min, source.max
    step = max(abs(lowest), abs(highest)) / (element_type(kind).max or 1)
    least = step * (_DIVISOR_STEPS16 if kind == "INT16" else _DIVISOR_STEPS)
    if lo < least and hi > -least:
        near = f"the divisor comes as near to 0 as {max(lo, -hi):.3g}"
        return f"{near}: in few steps, with which quotients are wrong, and rounded to 0 the kernel fails"
    return _quotient_unfit(graph, o, inputs, kind, measured)


def _quotient_unfit(graph: Graph, o: int, inputs: list[int], kind: str, measured: Measured) -> str:
    """Why LiteRT's kernel would get quotients wrong: it shifts by more bits than x86 can, where they are small."""
    steps = []
    for t in (*inputs[:2], results(graph, o)[0]):
        origin = graph.origin(t)
        found = measured.range_of(graph, t, kind) if origin is None else Range(*_extremes(origin), "constant")
        if found is None:
            return ""  # said elsewhere
        steps.append(float(measured.affine(found, kind).scale[0]))
    factor, least = steps[0] / (steps[1] * steps[2]), _QUOTIENT16 if kind == "INT16" else _QUOTIENT
    if factor >= least:
        return ""
    return (
        f"LiteRT's kernel on x86 gets small quotients wrong: s1 / (s2 * s_out) is {factor:.3g}, less than {least:g}"
    )


def _input_unfit(graph: Graph, o: int, known: OperatorRow, kind: str, measured: Measured) -> str:
    least, t = 0.0 if known.integer is None or kind == "INT16" else known.integer.least_input, operands(graph, o)[0]
    found = measured.range_of(graph, t, kind) if least and graph.origin(t) is None else None
    if found is None:
        return ""
    beta = float(getattr(graph.operators[o].builtin_options, "beta", 1.0))
    if beta * float(measured.affine(found, kind).scale[0]) > least:
        return ""
    times = f" times beta = {beta:g}" if beta != 1 else ""
    return f"its input, {found.lo:.3g} to {found.hi:.3g}{times}, is too near 0 for the kernel"


def _without_islands(graph: Graph, choices: list[Choice]) -> list[Choice]:
    """Leave operators that only move values float where all around them is float: they would gain nothing."""
    seen: set[int] = set()
    for o, choice in enumerate(choices):
        if o in seen or not choice.is_integer or not graph.moves(o):
            continue
        island, touches = _island(graph, o, choices)
        seen |= island
        if not touches:
            for i in island:
                choices[i] = Choice("FLOAT32", "moves values between float operators")
    return choices


def _following(graph: Graph, choices: list[Choice]) -> list[Choice]:
    """Let operators that only round to a trained grid have the type of what they stand behind, or else before."""
    for o in graph.folds:
        if not choices[o].is_integer:
            if graph.names[o] != "FAKE_QUANT":
                choices[o] = Choice("", "stands between stored and real values")
            continue
        maker = graph.producers.get(operands(graph, o)[0])
        near = [*([] if maker is None else [maker]), *_readers_behind(graph, o)]
        choices[o] = Choice(next((choices[n].mode for n in near if choices[n].is_integer), choices[o].mode))
    return choices


def _readers_behind(graph: Graph, o: int) -> list[int]:
    """Who reads what an operator makes, behind others that only round it."""
    found: list[int] = []
    for use in graph.uses.get(results(graph, o)[0], ()):
        found += _readers_behind(graph, use.operator) if use.operator in graph.folds else [use.operator]
    return found


def _island(graph: Graph, start: int, choices: list[Choice]) -> tuple[set[int], bool]:
    """Operators that hand values on to one another, and whether an integer operator of another kind touches them."""
    island, waiting, touches = {start}, [start], False
    while waiting:
        o = waiting.pop()
        near = {graph.producers[t] for t in operands(graph, o) if t in graph.producers}
        near |= {u.operator for t in results(graph, o) for u in graph.uses.get(t, ())}
        for n in near - island:
            if choices[n].is_integer and graph.moves(n):
                island.add(n)
                waiting.append(n)
            elif choices[n].is_integer:
                touches = True
    return island, touches

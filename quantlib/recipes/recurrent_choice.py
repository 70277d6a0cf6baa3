"""Whether an LSTM or SVDF can become integer, and what range its state has."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from quantlib.operators import Recurrent

from .graph import Graph
from .measured import Measured, Range
from .recipe import Recipe

#: Peepholes of an LSTM.
_PEEPHOLES = (9, 10, 11)
#: Greatest output that says something of the state behind it; float32 rounds greater ones to 1.
_NEAR_ONE = 1 - 2.0**-20
_BASIC = 1  # LSTMKernelType of the schema
_NAMES = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")  # ActivationFunctionType of the schema


def recurrent_unfit(graph: Graph, o: int, known: Recurrent, measured: Measured) -> Iterator[str]:
    """Say why the integer kernel can't be used for an operator; nothing where it can.

    Parameters
    ----------
    graph : Graph
    o : int
    known : Recurrent
    measured : Measured

    Yields
    ------
    str
    """
    name, options = graph.names[o], graph.operators[o].builtin_options
    if getattr(options, "kernel_type", 0) == _BASIC:
        yield "LiteRT has no INT8 kernel of its kernel type BASIC"
        return
    if getattr(options, "diagonal_recurrent_tensors", False):
        yield "integer kernels have no diagonal recurrent weights"
    fused = int(getattr(options, "fused_activation_function", 0) or 0)
    if fused != known.activation:
        yield f"the integer kernel of {name} has the fused activation {_NAMES[known.activation]} alone"
    yield from _constants_unfit(graph, o, known)
    yield from _states_unfit(graph, o, known, measured)
    cells, outputs = _units(graph, o, known)
    if cells != outputs and any(operand(graph, o, k) >= 0 for k in _PEEPHOLES):
        yield "the integer kernel takes peepholes for as many cells as outputs, and a projection changes that"


def _constants_unfit(graph: Graph, o: int, known: Recurrent) -> Iterator[str]:
    for k in (*(k for k, _ in known.weights), *(k for k, _, _ in known.biases)):
        t = operand(graph, o, k)
        if t < 0:
            continue
        origin = graph.origin(t)
        if origin is None:
            yield f"operand {k} is no constant"
        elif origin.type not in ("FLOAT32", "FLOAT16") and t not in graph.trained:
            yield f"operand {k} is {origin.type} already"
        elif not np.isfinite(origin.real()).all():
            yield f"{origin.name or f'operand {k}'} has values that aren't finite"


def _states_unfit(graph: Graph, o: int, known: Recurrent, measured: Measured) -> Iterator[str]:
    for k in (known.state, known.output_state):
        t = -1 if k is None else operand(graph, o, k)
        if k is None:
            continue
        if t < 0 or not graph.tensor(t).table.is_variable:
            yield f"its state, operand {k}, is no variable"
        elif len(graph.uses[t]) > 1 or t in graph.ends:
            yield f"others read its state, operand {k}"
        elif k == known.state and state_range(graph, o, known, measured) is None:
            yield f"no range of its state {graph.tensor(t).name or t}; calibrate this model"


def recurrent_unwanted(known: Recurrent, recipe: Recipe) -> Iterator[str]:
    """Say why an operator that could be integer stays float; nothing where the recipe wants it, or nothing is lost.

    What an LSTM writes is read again at the next step, with all its errors; SVDF only reads its last inputs.
    """
    if recipe.recurrent == "float" and known.output_state is not None:
        yield "its errors would add up over steps; recurrent = 'integer' (--recurrent integer) makes it INT8"


def _units(graph: Graph, o: int, known: Recurrent) -> tuple[int, int]:
    """Elements of the cell's state and of the output, for one sample; equal where there is no state of the output."""
    state, output = (known.state, known.state if known.output_state is None else known.output_state)
    cells, outputs = (operand(graph, o, k) for k in (state, output))
    return (graph.tensor(cells).shape[-1], graph.tensor(outputs).shape[-1]) if min(cells, outputs) >= 0 else (0, 0)


def operand(graph: Graph, o: int, k: int) -> int:
    """Tensor at an operand's place; -1 where it is left out."""
    inputs = graph.operators[o].inputs
    return int(inputs[k]) if inputs is not None and k < inputs.size else -1


def state_range(graph: Graph, o: int, known: Recurrent, measured: Measured) -> Range | None:
    """Range of the state that isn't the output; None where nothing is known of it.

    Calibration sees the state after the last step alone. Within a longer sequence it may have been greater, so its
    range is doubled, and at least what the outputs of all steps say: an LSTM's output is less than TANH of its state.
    """
    found = measured.seen(graph, operand(graph, o, known.state), "INT16")
    clip = float(getattr(graph.operators[o].builtin_options, "cell_clip", 0.0) or 0.0)
    if found is not None and known.output_state is not None and _steps(graph, o) != 1:
        made = measured.seen(graph, int(graph.operators[o].outputs[0]), "INT16")
        unprojected = made is not None and operand(graph, o, known.projection or 0) < 0
        least = math.atanh(min(max(-made.lo, made.hi), _NEAR_ONE)) if made is not None and unprojected else 0.0
        reach = 2 * max(-found.lo, found.hi, least)
        found = Range(-reach, reach, f"{found.source}, doubled for the steps between")
    if clip <= 0:
        return found
    return Range(-clip, clip, "its clip") if found is None else found.within(-clip, clip)


def _steps(graph: Graph, o: int) -> int:
    """Steps of the sequence that an operator reads; one where its input is no sequence."""
    shape, options = graph.tensor(operand(graph, o, 0)).shape, graph.operators[o].builtin_options
    if graph.names[o] != "UNIDIRECTIONAL_SEQUENCE_LSTM" or len(shape) < 3:
        return 1
    return shape[0] if getattr(options, "time_major", False) else shape[1]

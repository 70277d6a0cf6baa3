"""What removed channels would have added on average, put into the biases of the layers that read them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quantlib.calibration import Statistics
from quantlib.tflite import Draft, GraphDraft

from ..versions import raise_version
from .choice import real_rows, stored_behind
from .walk import Consumer, Kept, Walk

_Floats = npt.NDArray[np.float64]


def correct_biases(draft: Draft, walk: Walk, kept: Kept, statistics: Statistics) -> int:
    """Add the mean of what goes to biases, in a draft whose constants have been cut; return how many there are.

    Before the operators of the draft are rearranged. A layer whose input has no means by channel stays as it is, as
    does one that computes in integers, whose activations calibration doesn't see.
    """
    graph, count = draft.graphs[walk.graph.index], 0
    for consumer in walk.consumers:
        if kept(consumer.cells).all():
            continue
        means = _means(walk, consumer, statistics)
        if means is None:
            continue
        shift = _shift(walk, consumer, np.where(kept(consumer.cells), 0.0, means))
        made = next(known.cells for known in walk.layers if known.operator == consumer.operator)
        count += _add(draft, graph, walk, consumer, shift, kept(made))
    return count


def _means(walk: Walk, consumer: Consumer, statistics: Statistics) -> _Floats | None:
    """Mean of what each index of the weights is multiplied with; None where it isn't known."""
    t = int(walk.graph.operators[consumer.operator].inputs[consumer.read])
    state = statistics.tensors.get((walk.graph.index, t))
    channels = None if state is None else state.channels
    if channels is None or not channels.count.size or consumer.cells.size % channels.count.size:
        return None
    return np.tile(channels.mean, consumer.cells.size // channels.count.size)


def _shift(walk: Walk, consumer: Consumer, means: _Floats) -> _Floats:
    """What means add to each output; at the borders, where padding is read, it is less."""
    graph = walk.graph
    operator = graph.operators[consumer.operator]
    weights = stored_behind(graph, int(operator.inputs[consumer.operand]))
    sums = [
        rows.reshape(len(rows), -1, means.size).sum(axis=1, dtype=np.float64) @ means for rows in real_rows(weights)
    ]
    shift: _Floats = np.concatenate(sums)
    options = operator.builtin_options
    if graph.names[consumer.operator] == "TRANSPOSE_CONV" and options is not None:
        shift /= max(options.stride_h * options.stride_w, 1)  # an output meets one in so many places of the filter
    return shift


def _add(
    draft: Draft, graph: GraphDraft, walk: Walk, consumer: Consumer, shift: _Floats, left: npt.NDArray[np.bool_]
) -> int:
    """Give a layer a float bias of its own; 0 for one that computes in integers."""
    operator = graph.operators[consumer.operator]
    inputs = operator.inputs.tolist()
    made = walk.graph.tensor(int(operator.outputs[0]))
    if made.type != "FLOAT32":
        return 0
    inputs += [-1] * (consumer.bias + 1 - len(inputs))
    old = inputs[consumer.bias]
    values = shift if old < 0 else shift + stored_behind(walk.graph, old).real()
    name = f"{made.name}/bias" if old < 0 else walk.graph.tensor(old).name
    data = values[left].astype(np.float32)
    inputs[consumer.bias] = graph.add_tensor(name, "FLOAT32", data.shape, buffer=draft.add_buffer(data))
    graph.operators[consumer.operator] = raise_version(draft, graph, operator.replace(inputs=inputs))
    return 1

"""What each operator does to channels that are to be removed: the rules of operators with weights, and the table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from .cells import MOST, Axis, Labels, reshaped
from .moves import MOVES
from .walk import At, Refusal

Rule = Callable[[At], None]

#: Layout of the weights of FULLY_CONNECTED that isn't rows of inputs (schema: FullyConnectedOptionsWeightsFormat).
_SHUFFLED = 1


def _channels_last(at: At, operand: int, count: int) -> Axis | None:
    """Channels of an image, which has `count` of them; None where they aren't followed, and all stay."""
    shape, found = at.shape(operand), at.axis(operand)
    if len(shape) != 4 or shape[3] != count:
        raise Refusal(f"reads {list(shape)} with filters of {count} channels: grouped, or of unknown shape")
    if found is not None and found.axis != 3:
        raise Refusal(f"reads channels that lie along axis {found.axis}")
    return found


def _filters(at: At, operand: int, rank: int) -> tuple[int, ...]:
    shape = at.shape(operand)
    if len(shape) != rank:
        raise Refusal(f"has weights of shape {list(shape)}; rank {rank} is required")
    return shape


def _product(at: At, read: int, weights: int, inner: int, bias: int, incoming: Labels | None) -> Labels:
    """A layer whose weights have its output channels first and what it reads along `inner`."""
    made = at.fresh(at.shape(weights)[0])
    spec = {0: made} if incoming is None else {0: made, inner: incoming}
    at.demand(weights, spec)
    at.demand(bias, {0: made})
    at.layer(weights, 0, made)
    if incoming is not None:
        at.consume(read, weights, inner, bias, incoming)
    return made


def _convolution(at: At) -> None:
    found = _channels_last(at, 0, _filters(at, 1, 4)[3])
    at.carry(3, _product(at, 0, 1, 3, 2, None if found is None else found.cells))


def _transposed(at: At) -> None:
    found = _channels_last(at, 2, _filters(at, 1, 4)[3])
    sizes = at.numbers(0, "its output's shape")
    made = _product(at, 2, 1, 3, 3, None if found is None else found.cells)
    at.carry(3, made)
    at.rewrite(0, lambda kept: np.array([*sizes[:3], kept(made).sum()]))


def _dense(at: At) -> None:
    inputs = _filters(at, 1, 2)[1]
    if at.option("weights_format") == _SHUFFLED:
        raise Refusal("has its weights in shuffled order")
    shape, found = at.shape(0), at.axis(0)
    columns = None
    if found is not None:
        rows = reshaped(shape, found, (math.prod(shape) // max(inputs, 1), inputs))
        if rows is None or rows.axis != 1:
            raise Refusal(f"reads {list(shape)} with channels along axis {found.axis} as rows of {inputs}")
        at.require_static(at.inputs[0], found.axis)
        columns = rows.cells
    at.carry(len(at.made()) - 1, _product(at, 0, 1, 1, 2, columns))


def _depthwise(at: At) -> None:
    made, count = _filters(at, 1, 4)[3], (at.shape(0) or (0,))[-1]
    if not count or made % count or made > MOST:
        raise Refusal(f"has {made} filters for {count} channels")
    found = _channels_last(at, 0, count)
    if count == 1:  # an ordinary convolution of one channel, whose multiplier counts the output's
        at.pin(0, "reads a single channel")
        cells = at.fresh(made)
        at.rewrite("depth_multiplier", lambda kept: kept(cells).sum())
    elif found is None:
        raise Refusal("hands on channels that aren't followed")
    else:
        cells = np.repeat(found.cells, made // count)
    at.demand(1, {3: cells})
    at.demand(2, {0: cells})
    at.layer(1, 3, cells, makes=count == 1)
    at.carry(3, cells)


#: Operand of the weights of operators that make channels.
WEIGHTY: Mapping[str, int] = MappingProxyType(
    {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}
)

#: All operators that channels are followed through.
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **MOVES,
        "CONV_2D": _convolution,
        "DEPTHWISE_CONV_2D": _depthwise,
        "FULLY_CONNECTED": _dense,
        "TRANSPOSE_CONV": _transposed,
    }
)

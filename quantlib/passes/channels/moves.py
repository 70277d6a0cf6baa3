"""What operators without weights do to channels: join them elementwise, pool, reduce, pad, split, move them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from .cells import MOST, Axis, Labels, reshaped
from .walk import At, Integers, Kept, Refusal

Rule = Callable[[At], None]


def _same(at: At) -> None:
    """One operand, one output, value by value."""
    if (found := at.axis(0)) is not None:
        at.carry(found.axis, found.cells)


def _image(at: At) -> None:
    """Works on places, each channel alone."""
    if (found := at.axis(0)) is not None:
        if found.axis != 3 or len(at.shape(0)) != 4:
            raise Refusal(f"works along axis {found.axis}, where the channels lie")
        at.carry(3, found.cells)


def _elementwise(at: At) -> None:
    """All operands value by value, smaller ones repeated."""
    _join(at, range(len(at.inputs)))


def _join(at: At, operands: Sequence[int]) -> None:
    """Tie the channels of several operands that are laid over one another; constants are cut along."""
    shape = at.made()
    places: dict[int, Axis] = {}
    for k in operands:
        found = at.axis(k)
        place = 0 if found is None else found.axis + len(shape) - len(at.shape(k))
        if found is not None and found.cells.size == 1 != shape[place]:
            at.pin(k, "repeats its single channel")
        elif found is not None:
            places[k] = Axis(place, found.cells)
    if not places:
        return
    axes = {a.axis for a in places.values()}
    if len(axes) != 1:
        raise Refusal("joins channels that lie along different axes")
    place, cells = axes.pop(), next(iter(places.values())).cells
    for k in operands:
        if k in places:
            at.tie(cells, places[k].cells)
            continue
        own = at.shape(k)
        axis = place - (len(shape) - len(own))
        if axis >= 0 and own[axis] != 1:
            _demand_or_refuse(at, k, axis, cells)
    at.carry(place, cells)


def _demand_or_refuse(at: At, operand: int, axis: int, cells: Labels) -> None:
    """Cut a constant along with channels; other operands whose channels aren't followed keep them."""
    try:
        at.demand(operand, {axis: cells})
    except Refusal as refusal:
        name = at.walk.graph.tensor(at.inputs[operand]).name or operand
        raise Refusal(f"joins its channels with those of {name}, which all stay: it {refusal}") from None


def _reduced(at: At) -> None:
    found = at.axis(0)
    if found is None:
        return
    rank = len(at.shape(0))
    axes = {int(a) % rank for a in at.numbers(1, "its axes").reshape(-1)}
    if found.axis in axes:
        raise Refusal("reduces over the channels")
    gone = 0 if at.option("keep_dims") else sum(a < found.axis for a in axes)
    at.carry(found.axis - gone, found.cells)


def _padded(at: At, *, zeros: bool) -> None:
    found = at.axis(0)
    if found is None:
        return
    pads = at.numbers(1, "its paddings")
    before, after = pads[found.axis].tolist()
    if not (before or after):
        at.carry(found.axis, found.cells)
        return
    if not zeros:
        raise Refusal("adds channels that aren't zero")
    first, last = at.fresh(before), at.fresh(after)

    def edit(kept: Kept) -> Integers:
        changed = pads.copy()
        changed[found.axis] = kept(first).sum(), kept(last).sum()
        return changed

    at.rewrite(1, edit)
    at.carry(found.axis, np.concatenate([first, found.cells, last]))


def _concatenated(at: At) -> None:
    operands = range(len(at.inputs))
    tracked = [f for k in operands if (f := at.axis(k)) is not None]
    if not tracked:
        return
    along = at.option("axis") % len(at.made())
    if any(f.axis != along for f in tracked):
        _join(at, operands)
        return
    parts = []
    for k in operands:
        found = at.axis(k)
        if found is None:
            found = Axis(along, at.fresh(at.shape(k)[along]))
            name = at.walk.graph.tensor(at.inputs[k]).name or at.inputs[k]
            at.walk.cells.pin(found.cells, f"all channels of {name} stay")
        parts.append(found.cells)
    at.carry(along, np.concatenate(parts))


def _split(at: At) -> None:
    """Equal parts: along the channels as many must go from each."""
    found = at.axis(1)
    if found is None:
        return
    along, count = int(at.numbers(0, "its axis").reshape(-1)[0]) % len(at.shape(1)), len(at.outputs)
    parts = [found.cells] * count
    if along == found.axis:
        if found.cells.size % count:
            raise Refusal(f"splits {found.cells.size} channels into {count} parts")
        parts = np.split(found.cells, count)
        for part in parts[1:]:
            at.tie(parts[0], part)
    for output, part in enumerate(parts):
        at.carry(found.axis, part, output)


def _split_sizes(at: At) -> None:
    found = at.axis(0)
    if found is None:
        return
    along = int(at.numbers(2, "its axis").reshape(-1)[0]) % len(at.shape(0))
    parts = [found.cells] * len(at.outputs)
    if along == found.axis:
        given = at.numbers(1, "its sizes")
        sizes = [at.made(output)[along] for output in range(len(parts))]
        parts = np.split(found.cells, np.cumsum(sizes)[:-1])
        at.rewrite(
            1, lambda kept: np.array([g if g < 0 else kept(p).sum() for g, p in zip(given, parts, strict=True)])
        )
    for output, part in enumerate(parts):
        at.carry(found.axis, part, output)


def _slice(at: At) -> None:
    found = at.axis(0)
    if found is None:
        return
    starts, sizes = at.numbers(1, "where it begins"), at.numbers(2, "its size")
    start, size = int(starts[found.axis]), at.made()[found.axis]
    before, part = found.cells[:start], found.cells[start : start + size]

    def edit(values: Integers, cells: Labels) -> Callable[[Kept], Integers]:
        def changed(kept: Kept) -> Integers:
            new = values.copy()
            new[found.axis] = -1 if values[found.axis] == -1 else kept(cells).sum()
            return new

        return changed

    at.rewrite(1, edit(starts, before))
    at.rewrite(2, edit(sizes, part))
    at.carry(found.axis, part)


def _strided_slice(at: At) -> None:
    found = at.axis(0)
    if found is None:
        return
    if at.option("ellipsis_mask") or at.option("new_axis_mask"):
        raise Refusal("has an ellipsis or new axes")
    begin, end, stride = (at.numbers(k, "what it takes").tolist() for k in (1, 2, 3))
    axis, shrunk = found.axis, at.option("shrink_axis_mask")
    if axis < len(begin):
        bit = 1 << axis
        whole = bool(at.option("begin_mask") & bit) or begin[axis] == 0
        whole &= bool(at.option("end_mask") & bit) or end[axis] >= found.cells.size  # an end beyond is cut off
        if not whole or stride[axis] != 1 or shrunk & bit:
            raise Refusal("takes some of the channels")
    at.carry(axis - sum(bool(shrunk & (1 << a)) for a in range(axis)), found.cells)


def _reshape(at: At) -> None:
    found = at.axis(0)
    if found is None:
        return
    target = at.made()
    new = reshaped(at.shape(0), found, target)
    if new is None:
        raise Refusal(f"lays channels of {list(at.shape(0))} across axes of {list(target)}")
    at.require_static(at.inputs[0], found.axis)
    given: list[tuple[int | str, Integers]] = []
    if at.has(1):
        given.append((1, at.numbers(1, "its shape")))
    if listed := at.listed("new_shape"):
        given.append(("new_shape", np.array(listed, np.int64)))
    for place, sizes in given:
        if sizes.size == len(target):
            at.rewrite(place, _resized(sizes, new))
        elif place == 1:
            raise Refusal(f"has a shape of {sizes.size} numbers and writes {list(target)}")
    at.carry(new.axis, new.cells)


def _resized(sizes: Integers, channels: Axis) -> Callable[[Kept], Integers]:
    def edit(kept: Kept) -> Integers:
        changed = sizes.copy()
        if sizes[channels.axis] >= 0:
            changed[channels.axis] = kept(channels.cells).sum()
        return changed

    return edit


def _squeeze(at: At) -> None:
    found = at.axis(0)
    if found is None:
        return
    rank, dims = len(at.shape(0)), at.listed("squeeze_dims")
    if not dims:
        raise Refusal("names no axes, so it would take away that of a single channel")
    gone = {d % rank for d in dims}
    if found.axis in gone:
        raise Refusal("takes away the axis of the channels")
    at.carry(found.axis - sum(d < found.axis for d in gone), found.cells)


def _expand(at: At) -> None:
    if (found := at.axis(0)) is not None:
        new = int(at.numbers(1, "its axis").reshape(-1)[0]) % len(at.made())
        at.carry(found.axis + (new <= found.axis), found.cells)


def _transpose(at: At) -> None:
    if (found := at.axis(0)) is not None:
        rank = len(at.shape(0))
        order = [int(a) % rank for a in at.numbers(1, "its order").reshape(-1)]
        at.carry(order.index(found.axis), found.cells)


def _pack(at: At) -> None:
    tracked = [f for k in range(len(at.inputs)) if (f := at.axis(k)) is not None]
    if not tracked:
        return
    if len(tracked) < len(at.inputs) or len({f.axis for f in tracked}) != 1:
        raise Refusal("packs channels with values whose channels all stay")
    for other in tracked[1:]:
        at.tie(tracked[0].cells, other.cells)
    axis = tracked[0].axis
    at.carry(axis + (at.option("axis") % len(at.made()) <= axis), tracked[0].cells)


def _unpack(at: At) -> None:
    found = at.axis(0)
    if found is None:
        return
    along = at.option("axis") % len(at.shape(0))
    if along == found.axis:
        raise Refusal("unpacks the channels")
    for output in range(len(at.outputs)):
        at.carry(found.axis - (along < found.axis), found.cells, output)


def _batches(at: At) -> None:
    """SPACE_TO_BATCH_ND and its inverse: the axes that it divides come first."""
    found = at.axis(0)
    if found is not None:
        if found.axis <= at.numbers(1, "its blocks").size:
            raise Refusal("divides the axis of the channels")
        at.carry(found.axis, found.cells)


def _into_depth(at: At) -> None:
    """SPACE_TO_DEPTH: every place of a block has all channels."""
    found = at.axis(0)
    if found is not None:
        if found.axis != 3:
            raise Refusal(f"reads channels that lie along axis {found.axis}")
        blocks = at.option("block_size") ** 2
        if found.cells.size * blocks > MOST:
            raise Refusal(f"spreads {found.cells.size} channels over {blocks:,} places")
        at.carry(3, np.tile(found.cells, blocks))


def _out_of_depth(at: At) -> None:
    """DEPTH_TO_SPACE: as many channels must go for every place of a block."""
    found = at.axis(0)
    if found is not None:
        blocks = at.option("block_size") ** 2
        if found.axis != 3 or found.cells.size % blocks:
            raise Refusal(f"reads {found.cells.size} channels for blocks of {blocks}")
        parts = np.split(found.cells, blocks)
        for part in parts[1:]:
            at.tie(parts[0], part)
        at.carry(3, parts[0])


_UNARY = (
    *("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "ELU", "GELU", "HARD_SWISH", "LOGISTIC", "TANH"),
    *("ABS", "NEG", "SIGN", "EXP", "LOG", "SQRT", "RSQRT", "SQUARE", "SIN", "COS", "FLOOR", "CEIL", "ROUND"),
    *("CAST", "QUANTIZE", "DEQUANTIZE", "FAKE_QUANT", "LOGICAL_NOT", "ZEROS_LIKE"),
)
_VALUE_BY_VALUE = (
    *("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "POW", "SQUARED_DIFFERENCE", "FLOOR_DIV", "FLOOR_MOD"),
    *("ADD_N", "PRELU", "SELECT_V2", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "EQUAL", "NOT_EQUAL"),
    *("LOGICAL_AND", "LOGICAL_OR", "ATAN2"),
)
_PLACES = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
_REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")

#: What operators without weights do.
MOVES: Mapping[str, Rule] = MappingProxyType(
    {
        **dict.fromkeys(_UNARY, _same),
        **dict.fromkeys(_VALUE_BY_VALUE, _elementwise),
        **dict.fromkeys(_PLACES, _image),
        **dict.fromkeys(_REDUCTIONS, _reduced),
        "PAD": lambda at: _padded(at, zeros=True),
        "PADV2": lambda at: _padded(at, zeros=False),
        "MIRROR_PAD": lambda at: _padded(at, zeros=False),
        "CONCATENATION": _concatenated,
        "SPLIT": _split,
        "SPLIT_V": _split_sizes,
        "SLICE": _slice,
        "STRIDED_SLICE": _strided_slice,
        "RESHAPE": _reshape,
        "SQUEEZE": _squeeze,
        "EXPAND_DIMS": _expand,
        "TRANSPOSE": _transpose,
        "PACK": _pack,
        "UNPACK": _unpack,
        "SPACE_TO_BATCH_ND": _batches,
        "BATCH_TO_SPACE_ND": _batches,
        "SPACE_TO_DEPTH": _into_depth,
        "DEPTH_TO_SPACE": _out_of_depth,
    }
)

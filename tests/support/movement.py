"""Cases for the operators that move data: valid models of one operator, drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from tests.support.single import type_name

NUMERIC = ("float32", "int8", "uint8", "int16", "int32", "int64")
WITH_BOOL = (*NUMERIC, "bool")
Draw = Callable[[st.SearchStrategy[Any]], Any]


class Case(NamedTuple):
    inputs: list[Any]
    constants: tuple[int, ...] = ()
    options: Mapping[str, Any] = MappingProxyType({})
    types: tuple[str, ...] | None = None
    steps: float = 0.0


CASES: dict[str, Callable[[Draw], Case]] = {}


def case(*names: str):
    def register(make):
        for name in names:
            CASES[name] = make
        return make

    return register


def vector(values, dtype="int32"):
    return np.array(values, dtype).reshape(-1)


def values(draw: Draw, shape, dtype: str):
    """Any values of a type: bits for integers, so that extremes come up."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype == "float32":
        return rng.standard_normal(shape).astype(np.float32)
    span = np.iinfo(dtype)
    return rng.integers(span.min, span.max, shape, dtype, endpoint=True)


def tensor(draw: Draw, low=1, high=4, types=NUMERIC, most=4, least=1):
    shape = draw(st.lists(st.integers(least, most), min_size=low, max_size=high))
    return values(draw, shape, draw(st.sampled_from(types)))


def any_axis(draw: Draw, rank: int) -> int:
    return draw(st.integers(-rank, rank - 1))


def constant(draw: Draw, *operands: int) -> tuple[int, ...]:
    """Those operands, as constants or not: shapes are known early, or only when the operator runs."""
    return operands if draw(st.booleans()) else ()


@case("RESHAPE")
def _reshape(draw):
    x = tensor(draw, 0, 4, WITH_BOOL, least=0)
    shape = list(draw(st.permutations(x.shape)))
    if shape and draw(st.booleans()) and 0 not in shape:
        shape[draw(st.integers(0, len(shape) - 1))] = -1
    if len(shape) > 1 and draw(st.booleans()) and -1 not in shape:
        shape = [shape[0] * shape[1], *shape[2:]]
    if shape == [0] or draw(st.booleans()):
        return Case([x, vector(shape)], (1,), {"new_shape": [7]})
    return Case([x], (), {"new_shape": shape or [0]})


@case("TRANSPOSE")
def _transpose(draw):
    x = tensor(draw, 1, 6, WITH_BOOL, least=0)
    permutation = [a - x.ndim * draw(st.booleans()) for a in draw(st.permutations(range(x.ndim)))]
    return Case([x, vector(permutation)], constant(draw, 1))


@case("CONCATENATION")
def _concatenation(draw):
    x = tensor(draw, 1, 4, WITH_BOOL)
    axis = any_axis(draw, x.ndim)
    arrays = []
    for extent in draw(st.lists(st.integers(0, 3), min_size=1, max_size=4)):
        shape = list(x.shape)
        shape[axis] = extent
        arrays.append(values(draw, shape, x.dtype.name))
    return Case(arrays, (), {"axis": axis})


@case("SPLIT")
def _split(draw):
    x = tensor(draw, 1, 4)
    axis = any_axis(draw, x.ndim)
    parts = draw(st.sampled_from([n for n in range(1, 5) if x.shape[axis] % n == 0]))
    scalar = np.array(axis, np.int32)
    return Case([scalar, x], constant(draw, 0), {"num_splits": parts}, (type_name(x),) * parts)


@case("SPLIT_V")
def _split_v(draw):
    x = tensor(draw, 1, 4)
    axis = any_axis(draw, x.ndim)
    cuts = sorted(draw(st.lists(st.integers(0, x.shape[axis]), max_size=3)))
    sizes = np.diff([0, *cuts, x.shape[axis]]).tolist()
    if draw(st.booleans()):
        sizes[draw(st.integers(0, len(sizes) - 1))] = -1
    inputs = [x, vector(sizes, draw(st.sampled_from(["int32", "int64"]))), np.array(axis, np.int32)]
    return Case(inputs, (1, 2), {"num_splits": len(sizes)}, (type_name(x),) * len(sizes))


@case("PACK")
def _pack(draw):
    x = tensor(draw, 0, 4, least=0)
    count = draw(st.integers(1, 4))
    arrays = [values(draw, x.shape, x.dtype.name) for _ in range(count)]
    return Case(arrays, (), {"values_count": count, "axis": any_axis(draw, x.ndim + 1)})


@case("UNPACK")
def _unpack(draw):
    x = tensor(draw, 1, 4, ("float32", "int8", "uint8", "int16", "int32", "bool"))
    axis = any_axis(draw, x.ndim)
    return Case([x], (), {"num": x.shape[axis], "axis": axis}, (type_name(x),) * x.shape[axis])


def paddings(draw, x, most=lambda extent: 3):
    pairs = [[draw(st.integers(0, most(e))) for _ in range(2)] for e in x.shape]
    return np.array(pairs, draw(st.sampled_from(["int32", "int64"]))).reshape(-1, 2)


@case("PAD")
def _pad(draw):
    x = tensor(draw, 1, 5, ("float32", "int32", "int64", "bool"))
    return Case([x, paddings(draw, x)], constant(draw, 1))


@case("PADV2")
def _padv2(draw):
    x = tensor(draw, 1, 5, ("float32", "int32", "int64"))
    return Case([x, paddings(draw, x), values(draw, (), x.dtype.name)], constant(draw, 1))


@case("MIRROR_PAD")
def _mirror_pad(draw):
    x, mode = tensor(draw, 1, 4), draw(st.integers(0, 1))
    return Case([x, paddings(draw, x, lambda extent: extent - 1 + mode)], constant(draw, 1), {"mode": mode})


@case("SLICE")
def _slice(draw):
    x = tensor(draw, 1, 5, WITH_BOOL)
    begin = [draw(st.integers(0, e - 1)) for e in x.shape]
    size = [draw(st.integers(-1, e - b)) for e, b in zip(x.shape, begin, strict=True)]
    kind = draw(st.sampled_from(["int32", "int64"]))
    return Case([x, vector(begin, kind), vector(size, kind)], constant(draw, 1, 2))


@case("STRIDED_SLICE")
def _strided_slice(draw):
    x = tensor(draw, 1, 4, WITH_BOOL, most=5)
    count = draw(st.integers(1, x.ndim))
    masks = dict.fromkeys(("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0)
    # One ellipsis at most, and one new axis at most: LiteRT takes five axes.
    if draw(st.booleans()):
        masks["ellipsis_mask"] = 1 << draw(st.integers(0, count - 1))
    if draw(st.booleans()) and x.ndim < 4:
        count += 1
        masks["new_axis_mask"] = 1 << draw(st.integers(0, count - 1))
    begin, end, strides = [], [], []
    axis = 0
    for i in range(count):
        bit = 1 << i
        if bit & masks["ellipsis_mask"]:
            used = max(1, 1 + x.ndim + bool(masks["new_axis_mask"] & ~masks["ellipsis_mask"]) - count)
            axis, extent = axis + used, 1
        elif bit & masks["new_axis_mask"]:
            extent = 1
        else:
            extent = x.shape[axis] if axis < x.ndim else 1
            axis += 1
        stride = draw(st.sampled_from([1, 1, 2, -1, -2]))
        shrinks = draw(st.integers(0, 3)) == 0
        masks["shrink_axis_mask"] |= bit * shrinks
        begin.append(draw(st.integers(-extent, extent - 1)) if shrinks else draw(st.integers(-7, 7)))
        end.append(draw(st.integers(-7, 7)))
        strides.append(1 if shrinks else stride)
        masks["begin_mask"] |= bit * draw(st.booleans())
        masks["end_mask"] |= bit * draw(st.booleans())
    if axis > x.ndim:
        masks = {**masks, "ellipsis_mask": 0, "new_axis_mask": 0}
        return Case(
            [x, vector(begin[:1]), vector(end[:1]), vector(strides[:1])], (), {"end_mask": 1, "begin_mask": 1}
        )
    return Case([x, vector(begin), vector(end), vector(strides)], constant(draw, 1, 2, 3), masks)


@case("DYNAMIC_UPDATE_SLICE")
def _dynamic_update_slice(draw):
    x = tensor(draw, 1, 4, WITH_BOOL)
    update = values(draw, [draw(st.integers(1, e)) for e in x.shape], x.dtype.name)
    start = vector([draw(st.integers(-2, 5)) for _ in x.shape], draw(st.sampled_from(["int32", "int64"])))
    return Case([x, update, start])


@case("GATHER")
def _gather(draw):
    x = tensor(draw, 1, 4, WITH_BOOL)
    axis = draw(st.integers(0, x.ndim - 1))
    shared = draw(st.integers(0, axis))
    behind = draw(st.lists(st.integers(0, 3), max_size=2))
    shape = [*x.shape[:shared], *behind]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    indices = rng.integers(0, x.shape[axis], shape).astype(draw(st.sampled_from(["int16", "int32", "int64"])))
    counted = shared - len(shape) if shape and 0 < shared < len(shape) and draw(st.booleans()) else shared
    return Case([x, indices], (), {"axis": axis - x.ndim * draw(st.booleans()), "batch_dims": counted})


@case("GATHER_ND")
def _gather_nd(draw):
    x = tensor(draw, 1, 4, WITH_BOOL)
    return Case([x, coordinates(draw, x.shape, ["int16", "int32", "int64"])])


def coordinates(draw, shape, kinds, outer=None):
    depth = draw(st.integers(1, len(shape)))
    outer = draw(st.lists(st.integers(1, 4), max_size=2)) if outer is None else outer
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    found = [rng.integers(0, extent, outer) for extent in shape[:depth]]
    return np.stack(found, -1).astype(draw(st.sampled_from(kinds)))


@case("SCATTER_ND")
def _scatter_nd(draw):
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    outer = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
    indices = coordinates(draw, shape, ["int32"], outer)
    kind = draw(st.sampled_from(("float32", "int8", "uint8", "int32", "int64", "bool")))
    updates = values(draw, (*outer, *shape[indices.shape[-1] :]), kind)
    return Case([indices, updates, vector(shape)], constant(draw, 2), types=(type_name(updates),))


def blocks_of(draw, multiples):
    block = draw(st.integers(1, 3))
    n, h, w, c = (draw(st.integers(1, 3)) for _ in range(4))
    shape = multiples(block, n, h, w, c)
    return Case(
        [values(draw, shape, draw(st.sampled_from(("float32", "int8", "uint8", "int32", "int64"))))],
        (),
        {"block_size": block},
    )


@case("SPACE_TO_DEPTH")
def _space_to_depth(draw):
    return blocks_of(draw, lambda b, n, h, w, c: (n, h * b, w * b, c))


@case("DEPTH_TO_SPACE")
def _depth_to_space(draw):
    return blocks_of(draw, lambda b, n, h, w, c: (n, h, w, c * b * b))


@case("SPACE_TO_BATCH_ND")
def _space_to_batch(draw):
    spatial = draw(st.integers(1, 2))
    block = [draw(st.integers(1, 3)) for _ in range(spatial)]
    pads = [[draw(st.integers(0, 2)) for _ in range(2)] for _ in range(spatial)]
    extents = [b * draw(st.integers(1, 3)) for b in block]
    grown = [e + -sum(p) % b for e, p, b in zip(extents, pads, block, strict=True)]
    x = values(
        draw,
        (draw(st.integers(1, 3)), *grown, draw(st.integers(1, 3))),
        draw(st.sampled_from(["float32", "int32", "int64"])),
    )
    return Case([x, vector(block), np.array(pads, np.int32)], constant(draw, 1, 2))


@case("BATCH_TO_SPACE_ND")
def _batch_to_space(draw):
    spatial = draw(st.integers(1, 2))
    block = [draw(st.integers(1, 3)) for _ in range(spatial)]
    extents = [draw(st.integers(2, 3)) for _ in range(spatial)]
    crops = [[draw(st.integers(0, (e * b - 1) // 2)) for _ in range(2)] for e, b in zip(extents, block, strict=True)]
    shape = (int(np.prod(block)) * draw(st.integers(1, 2)), *extents, draw(st.integers(1, 3)))
    x = values(draw, shape, draw(st.sampled_from(["float32", "int8", "int32", "int64"])))
    return Case([x, vector(block), np.array(crops, np.int32)], constant(draw, 1, 2))


@case("TILE")
def _tile(draw):
    x = tensor(draw, 1, 4, ("float32", "int8", "uint8", "int32", "int64", "bool"))
    multiples = vector([draw(st.integers(1, 3)) for _ in x.shape], draw(st.sampled_from(["int32", "int64"])))
    return Case([x, multiples], constant(draw, 1))


@case("BROADCAST_TO")
def _broadcast_to(draw):
    x = tensor(draw, 0, 4, WITH_BOOL)
    extents = [draw(st.integers(1, 3)) if e == 1 else e for e in x.shape]
    ahead = draw(st.lists(st.integers(1, 3), min_size=not x.ndim, max_size=2))
    shape = vector([*ahead, *extents], draw(st.sampled_from(["int32", "int64"])))
    return Case([x, shape], constant(draw, 1))


@case("BROADCAST_ARGS")
def _broadcast_args(draw):
    shape = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    pair = [[1 if draw(st.booleans()) else e for e in shape] for _ in range(2)]
    kind = draw(st.sampled_from(["int32", "int64"]))
    return Case([vector(pair[0], kind), vector(pair[1][draw(st.integers(0, len(shape))) :], kind)])


@case("EXPAND_DIMS")
def _expand_dims(draw):
    x = tensor(draw, 0, 4, WITH_BOOL, least=0)
    axis = np.array(any_axis(draw, x.ndim + 1), draw(st.sampled_from(["int32", "int64"])))
    return Case([x, axis], constant(draw, 1))


@case("SQUEEZE")
def _squeeze(draw):
    x = tensor(draw, 0, 5, WITH_BOOL, most=2)
    ones = [a - x.ndim * draw(st.booleans()) for a, e in enumerate(x.shape) if e == 1 and draw(st.booleans())]
    return Case([x], (), {"squeeze_dims": ones})


@case("REVERSE_V2")
def _reverse(draw):
    x = tensor(draw, 1, 4, WITH_BOOL)
    first, last = sorted(draw(st.tuples(*[st.integers(0, x.ndim - 1)] * 2)))
    axes = draw(st.permutations(range(first, last + 1)))  # LiteRT takes neighbours only
    return Case([x, vector([a - x.ndim * draw(st.booleans()) for a in axes])])


@case("REVERSE_SEQUENCE")
def _reverse_sequence(draw):
    x = tensor(draw, 2, 4, ("float32", "uint8", "int16", "int32", "int64"))
    sequence, batch = draw(st.permutations(range(x.ndim)))[:2]
    lengths = [draw(st.integers(0, x.shape[sequence])) for _ in range(x.shape[batch])]
    lengths = vector(lengths, draw(st.sampled_from(["int32", "int64"])))
    return Case([x, lengths], (), {"seq_dim": sequence, "batch_dim": batch})


@case("WHERE")
def _where(draw):
    x = tensor(draw, 1, 4, ("float32", "int8", "uint8", "int32", "uint32", "int64", "bool"), least=0)
    zeroed = values(draw, x.shape, "bool")
    return Case([np.where(zeroed, x.dtype.type(0), x)], types=("INT64",))


@case("TOPK_V2")
def _top_k(draw):
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    kind = draw(st.sampled_from(NUMERIC))
    # Few different values, so that there are ties.
    x = values(draw, (8,), kind)[np.random.default_rng(draw(st.integers(0, 99))).integers(0, 8, shape)]
    k, counted = draw(st.integers(0, shape[-1])), draw(st.sampled_from(["int32", "int16"]))
    return Case(
        [x, np.array(k, counted)], constant(draw, 1), types=(type_name(x), draw(st.sampled_from(["INT32", "INT16"])))
    )


@case("ONE_HOT")
def _one_hot(draw):
    shape = draw(st.lists(st.integers(1, 3), max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    indices = rng.integers(-1, 5, shape).astype(draw(st.sampled_from(["int32", "int64"])))
    on, off = (
        values(draw, (), kind) for kind in [draw(st.sampled_from(("float32", "int8", "int32", "int64", "bool")))] * 2
    )
    depth = np.array(draw(st.integers(0, 4)), np.int32)
    return Case(
        [indices, depth, on, off], constant(draw, 1), {"axis": draw(st.integers(-1, len(shape)))}, (type_name(on),)
    )


@case("FILL")
def _fill(draw):
    shape = vector(
        draw(st.lists(st.integers(0, 3), min_size=1, max_size=4)), draw(st.sampled_from(["int32", "int64"]))
    )
    value = values(draw, (), draw(st.sampled_from(("float32", "int8", "int16", "int32", "int64", "bool"))))
    return Case([shape, value], constant(draw, 0), types=(type_name(value),))


@case("SHAPE")
def _shape(draw):
    code = draw(st.sampled_from([2, 4]))
    return Case([tensor(draw, 0, 5, WITH_BOOL, least=0)], (), {"out_type": code}, ({2: "INT32", 4: "INT64"}[code],))


@case("RANK")
def _rank(draw):
    return Case([tensor(draw, 0, 5, WITH_BOOL)], types=("INT32",))


@case("RANGE")
def _range(draw):
    kind = draw(st.sampled_from(["float32", "int32", "int64"]))
    step, count = draw(st.integers(1, 4)), draw(st.integers(0, 20))
    scale = draw(st.sampled_from([1, 0.3])) if kind == "float32" else 1
    start, sign = draw(st.integers(-9, 9)), draw(st.sampled_from([1, -1]))
    limit = start + sign * (step * count + draw(st.integers(0, 3)))
    inputs = [np.array(v * scale, kind) for v in (start, limit, sign * step)]
    return Case(inputs, constant(draw, 0, 1, 2), types=(type_name(inputs[0]),))


@case("EMBEDDING_LOOKUP")
def _embedding_lookup(draw):
    table = tensor(draw, 2, 4, ("float32", "int8", "int32"))
    ids = vector(draw(st.lists(st.integers(0, table.shape[0] - 1), min_size=1, max_size=5)))
    return Case([ids, table], (), types=(type_name(table),))


@case("UNIQUE")
def _unique(draw):
    kind = draw(st.sampled_from(NUMERIC))
    x = np.array(draw(st.lists(st.integers(0, 5), min_size=1, max_size=12)), kind)
    code = draw(st.sampled_from([2, 4]))
    return Case([x], (), {"idx_out_type": code}, (type_name(x), {2: "INT32", 4: "INT64"}[code]))


@case("BUCKETIZE")
def _bucketize(draw):
    boundaries = sorted(draw(st.lists(st.integers(-20, 20), min_size=1, max_size=6)))
    x = values(draw, (4, 3), draw(st.sampled_from(["float32", "int32", "int64"])))
    x = x if draw(st.booleans()) else (x % 20).astype(x.dtype)
    return Case([x], (), {"boundaries": np.array(boundaries, np.float32)}, ("INT32",))


@case("MATRIX_DIAG")
def _matrix_diag(draw):
    return Case([tensor(draw, 1, 3)])


@case("MATRIX_SET_DIAG")
def _matrix_set_diag(draw):
    x = tensor(draw, 2, 4)
    return Case([x, values(draw, (*x.shape[:-2], min(x.shape[-2:])), x.dtype.name)])


@case("SPARSE_TO_DENSE")
def _sparse_to_dense(draw):
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    kind = draw(st.sampled_from(("float32", "int8", "uint8", "int32", "int64")))
    count = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    indices = np.stack([rng.integers(0, e, count) for e in shape], -1).astype(
        draw(st.sampled_from(["int32", "int64"]))
    )
    if len(shape) == 1 and draw(st.booleans()):
        indices = indices[:, 0]
    found = values(draw, () if draw(st.booleans()) else (count,), kind)
    return Case([indices, vector(shape), found, values(draw, (), kind)], constant(draw, 1), types=(type_name(found),))


def uncancelled(x):
    """Floats of one sign: the rounding of their sum, in whatever order, is small beside it."""
    return np.abs(x) if x.dtype == np.float32 else x


@case("SEGMENT_SUM")
def _segment_sum(draw):
    x = uncancelled(tensor(draw, 1, 3, ("float32", "int32"), most=8))
    steps = [0] + [draw(st.integers(0, 1)) for _ in range(x.shape[0] - 1)]
    return Case([x, vector(np.cumsum(steps))], constant(draw, 1), steps=4)


@case("UNSORTED_SEGMENT_MAX", "UNSORTED_SEGMENT_MIN", "UNSORTED_SEGMENT_PROD", "UNSORTED_SEGMENT_SUM")
def _unsorted_segment(draw):
    x = tensor(draw, 1, 3, ("float32", "int32"), most=6)
    x = uncancelled(x) if x.dtype == np.float32 else x % 7
    ids = x.shape[: draw(st.integers(1, x.ndim))]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    count = draw(st.integers(1, 5))
    return Case(
        [x, rng.integers(-1, count, ids).astype(np.int32), np.array(count, np.int32)], constant(draw, 1, 2), steps=8
    )


@case("BITCAST")
def _bitcast(draw):
    x = tensor(draw, 1, 3, ("float32", "int8", "uint8", "int16", "int32", "int64"))
    to = draw(st.sampled_from(["FLOAT32", "INT8", "INT16", "INT32", "INT64"]))
    width = {"FLOAT32": 4, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8}[to]
    if width > x.itemsize:
        x = values(draw, (*x.shape[:-1], width // x.itemsize), x.dtype.name)
    return Case([x], types=(to,))

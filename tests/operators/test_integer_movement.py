"""Operators that move integers, whatever these stand for, against LiteRT's reference kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quantlib.errors import InvalidValue
from quantlib.runners import NumpyRunner
from quantlib.tflite import Draft, Model, Table
from tests.conformance.judge import End, assert_equal, drawn, indices, int8, operator

KINDS = ("INT8", "UINT8", "INT16")
X = (1, 4, 6, 8)
WIDER = indices([[0, 0], [1, 1], [2, 0], [0, 0]])
BLOCKS, AROUND = indices([2, 2]), indices([[1, 1], [0, 2]])


def scalar(value: int) -> End:
    return End("INT32", (), values=np.array(value, np.int32))


#: What each takes besides quantized operands (given by their shapes), the shape it gives, and its options.
CASES: dict[str, tuple[list[Any], tuple[int, ...], Table | None]] = {
    "BATCH_TO_SPACE_ND": ([(4, 3, 4, 8), BLOCKS, AROUND], X, None),
    "BROADCAST_TO": ([(1, 4, 6, 1), indices([2, 4, 6, 8])], (2, 4, 6, 8), None),
    "CONCATENATION": ([X, X], (1, 8, 6, 8), Table("ConcatenationOptions", axis=1)),
    "DEPTH_TO_SPACE": ([X], (1, 8, 12, 2), Table("DepthToSpaceOptions", block_size=2)),
    "DYNAMIC_UPDATE_SLICE": ([X, (1, 2, 2, 8), indices([0, 1, 1, 0])], X, None),
    "EXPAND_DIMS": ([X, indices([1])], (1, 1, 4, 6, 8), None),
    "GATHER": ([X, indices([3, 1])], (1, 2, 6, 8), Table("GatherOptions", axis=1)),
    "GATHER_ND": ([X, indices([[0, 1], [0, 3]])], (2, 6, 8), None),
    "MAXIMUM": ([X, X], X, None),
    "MINIMUM": ([X, (6, 1)], X, None),
    "MIRROR_PAD": ([X, WIDER], (1, 6, 8, 8), Table("MirrorPadOptions", mode=0)),
    "PACK": ([X, X], (2, *X), Table("PackOptions", values_count=2, axis=0)),
    "PAD": ([X, WIDER], (1, 6, 8, 8), None),
    "PADV2": ([X, WIDER, (1,)], (1, 6, 8, 8), None),
    "REDUCE_MAX": ([X, indices([1, 2])], (1, 8), Table("ReducerOptions")),
    "REDUCE_MIN": ([X, indices([3])], (1, 4, 6, 1), Table("ReducerOptions", keep_dims=True)),
    "RESHAPE": ([X, indices([1, 192])], (1, 192), None),
    "RESIZE_BILINEAR": ([X, indices([7, 9])], (1, 7, 9, 8), Table("ResizeBilinearOptions")),
    "RESIZE_NEAREST_NEIGHBOR": ([X, indices([7, 9])], (1, 7, 9, 8), Table("ResizeNearestNeighborOptions")),
    "REVERSE_V2": ([X, indices([2])], X, None),
    "SELECT": ([End("BOOL", X), X, X], X, None),
    "SELECT_V2": ([End("BOOL", X), X, (6, 1)], X, None),
    "SLICE": ([X, indices([0, 1, 2, 3]), indices([1, 2, 3, 4])], (1, 2, 3, 4), None),
    "SPACE_TO_BATCH_ND": ([X, BLOCKS, AROUND], (4, 3, 4, 8), None),
    "SPACE_TO_DEPTH": ([X], (1, 2, 3, 32), Table("SpaceToDepthOptions", block_size=2)),
    "SPLIT": ([scalar(1), X], X, Table("SplitOptions", num_splits=1)),
    "SPLIT_V": ([X, indices([4]), scalar(1)], X, Table("SplitVOptions", num_splits=1)),
    "SQUEEZE": ([X], X[1:], Table("SqueezeOptions", squeeze_dims=[0])),
    "STRIDED_SLICE": (
        [X, indices([0, 0, 1, 0]), indices([1, 4, 6, 8]), indices([1, 2, 2, 1])],
        (1, 2, 3, 8),
        Table("StridedSliceOptions"),
    ),
    "TILE": ([X, indices([1, 2, 1, 3])], (1, 8, 6, 24), None),
    "TRANSPOSE": ([X, indices([0, 2, 1, 3])], (1, 6, 4, 8), None),
    "UNPACK": ([X], X[1:], Table("UnpackOptions", num=1, axis=0)),
}
#: Those that the reference resolver has for no type, or not for INT8.
ELSEWHERE = {"DEPTH_TO_SPACE": ("INT8",), "TILE": ("INT8",)}
#: Those without a kernel for INT16.
BYTES = ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")


def end(kind: str, shape: tuple[int, ...]) -> End:
    return End(kind, shape, 0.1, {"INT8": -7, "UINT8": 130, "INT16": 0}[kind])


def given(model: Model) -> list[list[Any]]:
    rng = np.random.default_rng(0)
    ports = NumpyRunner(model).interface.inputs
    return [
        [rng.random(p.shape) < 0.5 if p.type == "BOOL" else drawn(p.type, p.shape, rng) for p in ports]
        for _ in range(2)
    ]


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n in CASES for k in (KINDS[:2] if n in BYTES else KINDS)])
def test_moved(name: str, kind: str) -> None:
    operands, shape, options = CASES[name]
    ends = [o if isinstance(o, End) else end(kind, o) for o in operands]
    made = operator(name, ends, end(kind, shape), options)
    resolver = "builtin" if kind in ELSEWHERE.get(name, ()) else "reference"
    assert_equal(made, given(made), resolver=resolver)


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
@pytest.mark.parametrize("name", ["ARG_MAX", "ARG_MIN"])
def test_places(name: str, kind: str) -> None:
    options = Table(f"{'ArgMax' if name == 'ARG_MAX' else 'ArgMin'}Options", output_type=2)
    made = operator(name, [end(kind, X), indices([3])], End("INT32", X[:3]), options)
    assert_equal(made, given(made))


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
def test_greatest(kind: str) -> None:
    """TOPK_V2 has two outputs."""
    one = operator("TOPK_V2", [end(kind, (4, 9)), scalar(3)], end(kind, (4, 3)))
    draft = Draft(one)
    graph = draft.graphs[0]
    places = graph.add_tensor("places", "INT32", (4, 3))
    graph.operators[0] = graph.operators[0].replace(outputs=[*graph.operators[0].outputs, places])
    graph.outputs.append(places)
    made = draft.done()
    assert_equal(made, given(made))


def test_blocks_between_zero_points() -> None:
    made = operator("SPACE_TO_BATCH_ND", [int8(X, 0.1, 3), BLOCKS, AROUND], int8((4, 3, 4, 8), 0.1, 4))
    with pytest.raises(InvalidValue, match="SPACE_TO_BATCH_ND from zero point 3 to 4; the same is required"):
        NumpyRunner(made)

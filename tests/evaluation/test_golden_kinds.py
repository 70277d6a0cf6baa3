"""Test vectors say all, of random models of every kind of operator, exact copies, ties and rare arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.operators import RUNTIMES
from quantlib.tflite import Draft, Model, Table
from tests.conformance.cases import CASES as RANDOM_CASES
from tests.conformance.cases import case as random_case
from tests.conformance.judge import End, drawn, indices, int8, operator, samples
from tests.evaluation.golden_folder import assert_replayed, write
from tests.support import replay


def end(kind: str, shape: tuple[int, ...], scale: float, point: int = 0, **fields: Any) -> End:
    scale = scale / 128 if kind == "INT16" else scale
    return End(kind, shape, scale, {"INT8": point, "UINT8": point + 128, "INT16": 0}[kind], **fields)


#: Types that random models of `tests.conformance.cases` have, one model each for each runtime.
RANDOM = [(name, kind) for name, (_, kinds) in RANDOM_CASES.items() for kind in kinds]


@pytest.mark.parametrize(("name", "kind"), RANDOM, ids="-".join)
def test_random_models(name: str, kind: str, tmp_path: Path) -> None:
    model = random_case(name, kind, 5)
    for runtime in RUNTIMES:
        found = write(model, samples(model, 1), tmp_path / runtime, 1, runtime)
        assert_replayed(found, {formula for _, formula in found})
        assert "" not in {formula for _, formula in found}


def moved(name: str, operands: list[Any], shape: tuple[int, ...], options: Table | None) -> Model:
    ends = [end("INT8", o, 0.1, -7) if isinstance(o, tuple) else o for o in operands]
    return operator(name, ends, end("INT8", shape, 0.1, -7), options)


X = (1, 4, 6, 8)
AXIS = End("INT32", (), values=np.array(1, np.int32))
MOVED: dict[str, tuple[str, list[Any], tuple[int, ...], Table | None]] = {
    "BATCH_TO_SPACE_ND": ("move", [(4, 3, 4, 8), indices([2, 2]), indices([[1, 1], [0, 2]])], X, None),
    "GATHER": ("gather", [X, indices([3, 1])], (1, 2, 6, 8), Table("GatherOptions", axis=1)),
    "MAXIMUM": ("maximum", [X, (6, 1)], X, None),
    "MIRROR_PAD": ("move", [(4, 6), indices([[1, 2], [0, 3]])], (7, 9), Table("MirrorPadOptions", mode=0)),
    "PACK": ("move", [X, X], (2, *X), Table("PackOptions", values_count=2, axis=0)),
    "SELECT": ("select", [End("BOOL", X), X, X], X, None),
    "SLICE": ("move", [X, indices([0, 1, 2, 3]), indices([1, 2, 3, 4])], (1, 2, 3, 4), None),
    "SPACE_TO_BATCH_ND": ("move", [X, indices([2, 2]), indices([[1, 1], [0, 2]])], (4, 3, 4, 8), None),
    "SPLIT": ("move", [AXIS, X], X, Table("SplitOptions", num_splits=1)),
    "TRANSPOSE": ("move", [X, indices([0, 2, 1, 3])], (1, 6, 4, 8), None),
}


@pytest.mark.parametrize("name", MOVED)
def test_exact_copies(name: str, tmp_path: Path) -> None:
    formula, *made = MOVED[name]
    model = moved(name, *made)
    rng = np.random.default_rng(0)
    ports = ql.runners.NumpyRunner(model).interface.inputs
    given = [[rng.random(p.shape) < 0.5 if p.type == "BOOL" else drawn(p.type, p.shape, rng) for p in ports]]
    for runtime in RUNTIMES:
        assert_replayed(write(model, given, tmp_path / runtime, 1, runtime), {formula})


def test_all_outputs_of_a_copy(tmp_path: Path) -> None:
    draft = Draft(moved("SPLIT", [AXIS, X], (1, 2, 6, 8), Table("SplitOptions", num_splits=2)))
    graph = draft.graphs[0]
    fields = {"quantization": graph.tensors[graph.outputs[0]].quantization}
    other = graph.add_tensor("other", "INT8", (1, 2, 6, 8), **fields)
    graph.operators[0] = graph.operators[0].replace(outputs=[*graph.operators[0].outputs, other])
    graph.outputs.append(other)
    model = draft.done()
    ((count, wrong),) = write(model, samples(model, 1), tmp_path).values()
    assert (count, wrong) == (4 * 6 * 8, 0)


def test_a_copy_by_places_that_are_computed_is_not_described(tmp_path: Path) -> None:
    where = End("INT32", (4,))
    model = moved("SLICE", [X, where, indices([1, 2, 3, 4])], (1, 2, 3, 4), None)
    given = [[drawn("INT8", X, np.random.default_rng(0)), np.array([0, 1, 2, 3], np.int32)]]
    assert set(write(model, given, tmp_path)) == {("SLICE", "")}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_shifted_sums_and_quotients(runtime: str, tmp_path: Path) -> None:
    ends = [End("INT16", (3, 40), 2.0**-12), End("INT16", (3, 40), 2.0**-11)]
    options = Table("AddOptions", pot_scale_int16=True, fused_activation_function=1)
    model = operator("ADD", ends, End("INT16", (3, 40), 2.0**-11), options, version=2)
    assert_replayed(write(model, samples(model, 1), tmp_path / "add", 1, runtime), {"shifted_sum"})
    model = operator("DIV", [int8((3, 40), 0.1, 5), int8((40,), 0.01, -128)], int8((3, 40), 0.7), Table("DivOptions"))
    divisors = np.arange(-127, 128, dtype=np.int8)[::6][:40]
    given = [[drawn("INT8", (3, 40), np.random.default_rng(0)), divisors]]
    assert_replayed(write(model, given, tmp_path / "div", 1, runtime), {"divide"})


def test_16_bit_functions_have_the_tables_of_their_kernels(tmp_path: Path) -> None:
    shape = (1, 65536)
    every = [[np.arange(-32768, 32768).astype(np.int16)[None]]]
    for name, formula, size in (("LOGISTIC", "logistic_int16", 256), ("TANH", "tanh_int16", 256), ("EXP", "", 513)):
        for scale in (0.0005, 2.0**-12):
            to = 0.01 if name == "EXP" else 1 / 32768
            model = operator(name, [End("INT16", shape, scale)], End("INT16", shape, to), Table("AddOptions"))
            folder = tmp_path / f"{name}{scale}"
            assert_replayed(write(model, every, folder), {formula or "interpolated"})
            (record,) = replay.read(folder / "vectors")["operators"]
            with np.load(folder / "vectors" / record["file"]) as arrays:
                assert [arrays[t].size for t in record["arithmetic"]["tables"]] == [size]


def tied(name: str, filters: tuple[int, ...], axis: int, groups: int) -> Model:
    """A convolution of 1 x 1 whose sums are multiplied by 1/4: half of its results are ties."""
    outputs = filters[axis]
    values = np.random.default_rng(1).integers(-9, 10, filters).astype(np.int8)
    weights = End("INT8", filters, np.full(outputs, 0.5, np.float32), 0, axis, values)
    bias = End("INT32", (outputs,), 0.25, values=np.zeros(outputs, np.int32))
    options = Table("DepthwiseConv2DOptions", depth_multiplier=1) if axis else Table("Conv2DOptions")
    options = options.replace(padding=1, stride_w=1, stride_h=1)
    x = int8((1, 9, 9, filters[3] * groups), 0.5)
    return operator(name, [x, weights, bias], int8((1, 9, 9, outputs), 1.0), options)


#: Vectors take 8 of 12 channels; groups have no kernel but the reference one.
TIED = {
    "vectors": ("DEPTHWISE_CONV_2D", (1, 1, 1, 12), 3, 1, {"lanes": 8, "flat": False, "rest": "double"}, "upward"),
    "ruy": ("CONV_2D", (6, 1, 1, 4), 0, 1, {}, "upward"),
    "groups": ("CONV_2D", (6, 1, 1, 2), 0, 2, {}, "double"),
}


@pytest.mark.parametrize("name", TIED)
def test_ties_of_the_optimized_kernels(name: str, tmp_path: Path) -> None:
    *made, vectors, rounding = TIED[name]
    model = tied(*made)
    (counts,) = write(model, samples(model, 1), tmp_path, 1, "builtin").values()
    assert counts[1] == 0
    (record,) = replay.read(tmp_path / "vectors")["operators"]
    settings = record["arithmetic"]["settings"]
    assert {key: settings[key] for key in ("lanes", "flat", "rest") if key in settings} == vectors
    assert [m["rounding"] for m in record["arithmetic"]["multipliers"]] == [rounding]

"""Biases corrected: by hand where the error is known, what is left alone and why, and that outputs come nearer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue
from quantlib.evaluation import correct_bias
from quantlib.evaluation.bias import _Layer, _shifted, _sure
from quantlib.evaluation.sums import mean_sqnr
from quantlib.tflite import Draft, Model, Quantization, Table, quantization_table
from tests.evaluation import built
from tests.evaluation.biased import DATA, bias, dynamic, reasons, shifted
from tests.support import pruned
from tests.support.network import Network, gaussian
from tests.support.planned import calibrated, samples
from tests.support.shared import SHARED, needs_shared

HELD_BACK = built.samples(60, 9)
IMAGES = np.load(ql.demo.CALIBRATION)["image"]
INT8 = ql.recipes.int8(default_ranges=(-8, 8))


def sqnr(model: Model, small: Model, data: Any = HELD_BACK) -> float:
    return ql.compare(model, small, data, runner="numpy").outputs[0].sqnr_db


# ---- by hand ---------------------------------------------------------------------------------------------


def grid(offset: Any, *, type: str = "INT8", point: int = 0) -> tuple[Model, Model]:
    """A product by 1 and a RELU behind it, float and of integers whose bias is off: 4 in, 4 out, in steps of 1/4."""
    net = Network()
    y = net.fully_connected("y", net.input("x", (1, 4)), np.eye(4, dtype="f4"), np.zeros(4, "f4"))
    real, draft = net.done(net.op("RELU", [y], "z", (1, 4))), Draft()
    graph = draft.graphs[0]

    def tensor(name: str, kind: str, shape: tuple[int, ...], scale: float, values: Any = None, point: int = 0) -> int:
        buffer = {} if values is None else {"buffer": draft.add_buffer(values)}
        table = quantization_table(Quantization(np.full(1, scale, "f4"), np.full(1, point)))
        return graph.add_tensor(name, kind, shape, quantization=table, **buffer)

    x = tensor("x", type, (1, 4), 0.25)
    w = tensor("w", "INT8", (4, 4), 1 / 64, 64 * np.eye(4, dtype="i1"))
    wide = ("INT64", "i8") if type == "INT16" else ("INT32", "i4")
    b = tensor("b", wide[0], np.shape(offset), 1 / 256, np.asarray(offset, wide[1]))
    inner, out = (tensor(name, type, (1, 4), 0.25, point=point) for name in "yz")
    graph.append(draft.operator("FULLY_CONNECTED", [x, w, b], [inner], Table("FullyConnectedOptions"), version=4))
    graph.append(draft.operator("RELU", [inner], [out], version=2))
    graph.inputs, graph.outputs = [x], [out]
    return real, draft.done()


#: On that grid, within what it reaches.
EVEN = np.clip(np.round(gaussian((30, 4)) * 4) / 4, -5, 5)


@pytest.mark.parametrize(("type", "shape"), [("INT8", (4,)), ("INT16", (4,)), ("INT8", (1, 4)), ("INT8", (4, 1))])
def test_a_bias_that_is_off_comes_back(type: str, shape: tuple[int, ...]) -> None:
    """Whole steps of 64 units: what integers give is off by exactly so much in every sample."""
    model, small = grid(np.reshape([0, 64, -128, 192], shape), type=type)
    edited = correct_bias(model, small, EVEN, runner="numpy")
    np.testing.assert_array_equal(edited.model.tensor("b").numpy(), np.zeros(shape))
    (line,) = edited.done
    assert str(line) == "y: 3 of 4 elements of its bias, by 0.75 at most, 3.00 steps of its output"
    assert line.figures == {"elements": 3, "largest": 0.75}
    assert (edited.totals["sqnr_db"], edited.totals["farther"], edited.totals["samples"]) == (200, 0, 30)
    assert edited.totals["nearer"] > 20  # RELU hides it from the others
    assert (edited.notes, edited.kept, edited.verb) == ((), (), "correct-bias")


@pytest.mark.parametrize(("type", "most"), [("INT8", 2**31 - 1), ("INT16", 2**62)])
def test_a_bias_stays_within_its_type(type: str, most: int) -> None:
    small = grid(np.zeros(4), type=type)[1]
    layer = _Layer("y", small.tensor("b"), np.full(1, 1 / 256), 3, 2, None)
    changed, _ = _shifted(small, layer, np.array([1e300, -1e300, 1, 0]))
    assert changed.tensor("b").numpy().tolist() == [-most, most, -256, 0]


def test_a_float_bias_may_have_any_shape() -> None:
    net = Network()
    column = net.constant("b", np.zeros((4, 1), "f4"))
    model = net.done(net.op("ADD", [net.input("x", (4, 1)), column], "y", (4, 1), Table("AddOptions")))
    layer = _Layer("y", model.tensor("b"), np.ones(1), 2, 2, None)
    changed, _ = _shifted(model, layer, np.array([1.0, -2.0, 0.0, 0.0]))
    assert changed.tensor("b").numpy().tolist() == [[-1.0], [2.0], [0.0], [0.0]]


def test_what_the_integers_can_not_hold_is_no_error() -> None:
    """A range that starts at 0, for the RELU behind it: what is below there is left out on purpose."""
    model, small = grid(np.zeros(4), point=-128)
    edited = correct_bias(model, small, EVEN, runner="numpy")
    assert edited.model is small
    assert reasons(edited) == {"y": "no channel has a mean error that is more than chance"}


def test_chance_alone_corrects_nothing() -> None:
    """The share of a mean that its variance over the samples explains stays: all of it, or none where all agree."""
    assert _sure(np.array([[1.0, 2.0], [-1.0, 2.0]])).tolist() == [0.0, 2.0]
    drift = np.array([[3.0], [1.0]])  # mean 2, variance 2 over 2 samples: chance 1 of 4
    assert _sure(drift).tolist() == [1.5]
    assert _sure(np.zeros((4, 1))).tolist() == [0.0]
    assert _sure(np.full((3, 1), 1e-200)).tolist() == [0.0]  # whose square is 0
    noise = gaussian((50, 2000), 3)
    assert np.abs(_sure(noise)).mean() < 0.5 * np.abs(noise.mean(axis=0)).mean()


def test_a_layer_is_corrected_on_what_corrected_ones_give_it() -> None:
    """The second layer is right; behind an uncorrected first one it looks wrong."""
    net = Network()
    x = net.fully_connected("hidden", net.input("x", (1, 8)), gaussian((16, 8), 1, 0.5))
    model = net.done(net.fully_connected("scores", x, gaussian((12, 16), 2, 0.5)))
    small = dynamic(model)
    edited = correct_bias(model, shifted(small, "hidden/bias", 1), DATA, runner="numpy")
    for name in ("hidden/bias", "scores/bias"):
        np.testing.assert_allclose(bias(edited.model, name), bias(small, name), atol=0.05)


def test_the_mean_error_of_each_channel_is_gone() -> None:
    model = built.dense()
    off = shifted(dynamic(model), "scores/bias", np.linspace(-2, 2, 12))
    edited = correct_bias(model, off, DATA, runner="numpy")
    wanted, found = (ql.run(m, DATA)["scores"].astype(np.float64) for m in (model, edited.model))
    spread = (found - wanted).std(axis=0) / np.sqrt(len(DATA))
    assert (np.abs((found - wanted).mean(axis=0)) <= 1.05 * spread + 1e-6).all()


# ---- outputs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "runner", "gain"),
    [
        ("dynamic-int4", "numpy", 3),
        ("dynamic-int4", "litert", 3),
        ("weight-only-int4", "litert", 5),
        ("int8-int4", "litert", 2),
        ("int16x8", "litert", 0.5),
        ("uint8", "litert", 1),
    ],
)
def test_outputs_of_the_demo_are_nearer(mode: str, runner: str, gain: float) -> None:
    if runner == "litert":
        pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra 'litert')")
    model, recipe = ql.read(ql.demo.MODEL), ql.recipes.by_name(mode)
    small = ql.quantize(model, recipe, ql.calibrate(model, ql.demo.CALIBRATION) if recipe.activations else None)
    data, other = IMAGES[:40], IMAGES[40:]
    edited = correct_bias(model, small, data, runner=runner)
    before, after = (
        [ql.compare(model, m, d, runner=runner).outputs[0].sqnr_db for d in (data, other)]
        for m in (small, edited.model)
    )
    assert edited.totals["sqnr_db_before"] == before[0]
    assert edited.totals["sqnr_db"] == pytest.approx(after[0])
    assert after[1] > before[1] + gain
    changed = [t.name for t in small.tensors() if not same(t, edited.model.tensor(t.name))]
    assert (len(edited.done), len(changed)) == (7, 7)
    assert all(name.endswith("/bias") for name in changed)


def same(a: ql.Tensor, b: ql.Tensor) -> bool:
    alike = (a.type, a.shape, a.quantization) == (b.type, b.shape, b.quantization)
    return alike and (not a.is_constant or np.array_equal(a.numpy(), b.numpy()))


def test_what_makes_outputs_worse_is_taken_back() -> None:
    """Rare samples make all of the error, and RELU6 hides it: outputs are right as they are."""
    net = Network()
    y = net.fully_connected("y", net.input("x", (1, 8)), np.eye(8, dtype="f4"), np.zeros(8, "f4"))
    model = net.done(net.op("RELU6", [y], "out", (1, 8)))
    small = dynamic(model)
    small = small.replace("y/kernel", data=(small.tensor("y/kernel").numpy() * 0.8).astype(np.int8))
    data = np.concatenate([np.zeros((36, 8), "f4"), np.full((4, 8), 10, "f4")])
    edited = correct_bias(model, small, data, runner="numpy")
    assert edited.model is small
    assert edited.done == ()
    assert (edited.totals["nearer"], edited.totals["farther"]) == (0, 36)
    assert edited.totals["sqnr_db"] == edited.totals["sqnr_db_before"] == 200
    assert "0 nearer and 36 farther off" in edited.notes[0]
    assert "the model is as it was" in edited.notes[0]
    assert reasons(edited) == {"y": "corrected as the others were, outputs come out worse"}


@pytest.mark.parametrize(
    ("gained", "nearer", "farther", "kept"),
    [(1, 9, 1, True), (1, 1, 9, True), (-1, 5, 5, True), (-1, 1, 9, False), (-2.9, 9, 1, True), (-3.1, 9, 1, False)],
)
def test_a_lower_figure_alone_takes_nothing_back(
    monkeypatch: pytest.MonkeyPatch, gained: float, nearer: int, farther: int, kept: bool
) -> None:
    model = built.dense()
    small = shifted(dynamic(model), "scores/bias", 1)
    found = {"sqnr_db": sqnr(model, small, DATA) + gained, "nearer": nearer, "farther": farther}
    monkeypatch.setattr("quantlib.evaluation.bias._Runs.verdict", lambda *models: found)
    assert bool(correct_bias(model, small, DATA, runner="numpy").done) == kept


def test_integer_outputs_have_no_voice_beside_float_ones() -> None:
    net = Network()
    y = net.fully_connected("y", net.input("x", (1, 8)), gaussian((6, 8), 1))
    last = net.constant("last", np.array(1, np.int32))
    best = net.op("ARG_MAX", [y, last], "best", (1,), Table("ArgMaxOptions", output_type=2), type="INT32")
    model = net.done(best, y)
    edited = correct_bias(model, shifted(dynamic(model), "y/bias", np.arange(6)), DATA, runner="numpy")
    assert edited.totals["nearer"] + edited.totals["farther"] == len(DATA)
    found = ql.compare(model, edited.model, DATA, runner="numpy").outputs[1].sqnr_db
    assert edited.totals["sqnr_db"] == pytest.approx(found)


@pytest.mark.parametrize(
    ("values", "mean"),
    [([10.0, 20.0], 15.0), ([np.inf, 0.0], 100.0), ([-np.inf], -100.0), ([np.nan, 100.0], 0.0), ([-120.0], -100.0)],
)
def test_the_mean_over_outputs_is_a_number(values: list[float], mean: float) -> None:
    assert mean_sqnr(values) == mean


# ---- models of all kinds ---------------------------------------------------------------------------------


def test_sparse_weights_are_read_through_two_operators() -> None:
    model = pruned.model()
    data = samples(pruned.layers(), 12)
    small = ql.prune(ql.quantize(model, "weight-only"), 0.8, encode=True).model
    operators = [small.operator_name(o) for o in small.subgraphs[0].operators or ()]
    assert {"DENSIFY", "DEQUANTIZE"} <= set(operators)
    edited = correct_bias(model, small, data, runner="numpy")
    assert len([*edited.done, *edited.kept]) == 6


def test_twins_of_other_makers_are_matched_by_their_order() -> None:
    model = built.dense()
    off = shifted(built.dense_int8(rename=True), "scores/bias", 3000)
    edited = correct_bias(model, off, DATA, runner="numpy")
    assert {line.where for line in edited.done} == {"hidden_renamed", "scores_renamed"}
    assert sqnr(model, edited.model) > sqnr(model, off) + 6


@needs_shared
def test_a_file_of_the_converter() -> None:
    model, small = (ql.read(SHARED / "models" / f"mlperf_ad_toycar_{kind}.tflite") for kind in ("float", "int8"))
    edited = correct_bias(model, small, gaussian((24, 640), 1, 2.0), runner="numpy")
    assert len(edited.done) == 10
    assert edited.totals["sqnr_db"] > edited.totals["sqnr_db_before"] + 1


@pytest.mark.parametrize("mode", ["int8", "dynamic"])
def test_transposed_convolutions_have_their_bias_elsewhere(mode: str) -> None:
    net = Network()
    x = net.input("x", (1, 4, 4, 3))
    shape = net.constant("shape", np.array([1, 8, 8, 5], np.int32))
    w, b = net.constant("w", gaussian((5, 3, 3, 3), 1)), net.constant("b", gaussian((5,), 2))
    options = Table("TransposeConvOptions", stride_w=2, stride_h=2)
    model = net.done(net.op("TRANSPOSE_CONV", [shape, w, x, b], "y", (1, 8, 8, 5), options, version=3))
    data = gaussian((20, 4, 4, 3), 5)
    small = ql.quantize(model, mode, calibrated(model, {"x": data}) if mode == "int8" else None)
    off = 3000 if mode == "int8" else 1
    edited = correct_bias(model, shifted(small, "b", off), data, runner="numpy")
    assert np.abs(bias(edited.model, "b") - bias(small, "b")).max() < off / 3
    assert len(edited.done) == 1


def test_samples_may_be_batches_and_come_in_any_form(tmp_path: Path) -> None:
    model = built.dense()
    small = shifted(dynamic(model), "scores/bias", 0.5)
    np.save(tmp_path / "x.npy", DATA)
    forms = [DATA, iter(DATA), {"x": DATA}, tmp_path / "x.npy", lambda: ([row] for row in DATA)]
    found = [bias(correct_bias(model, small, data, runner="numpy").model, "scores/bias") for data in forms]
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    batches = correct_bias(model, small, DATA.reshape(5, 8, 8), runner="numpy")
    assert batches.totals["samples"] == 5
    np.testing.assert_allclose(bias(batches.model, "scores/bias"), found[0], atol=0.05)


@pytest.mark.parametrize(
    ("a", "b", "data", "message"),
    [
        ("model", "small", DATA[:1], "the data has one sample; two at least are required"),
        ("model", "small", DATA[:0], "no samples"),
        ("model", "small", np.full((3, 8), np.nan, "f4"), "NaN"),
        ("file.tflite", "small", DATA, "model is a str, and a Model is required"),
        ("model", "file.tflite", DATA, "quantized is a str, and a Model is required"),
    ],
)
def test_mistakes_are_said(a: str, b: str, data: Any, message: str) -> None:
    known: dict[str, Any] = {"model": built.dense(), "small": ql.quantize(built.dense(), INT8)}
    with pytest.raises(InvalidValue, match=message):
        correct_bias(known.get(a, a), known.get(b, b), data, runner="numpy")


def test_progress_counts_layers() -> None:
    seen: list[int] = []
    correct_bias(built.dense(), built.dense_int8(), DATA, runner="numpy", progress=seen.append)
    assert seen == [1, 1]

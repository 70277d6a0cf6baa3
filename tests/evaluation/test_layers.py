"""Errors of layers: in the graph and alone, ranked, with what a too narrow range does."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import quantlib as ql
from quantlib.evaluation import FLAGGED, LayerError
from quantlib.numerics import sqnr_db
from tests.support.network import Network
from tests.support.shared import SHARED, needs_shared

from .built import RANGES, dense, dense_int8, samples

pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra 'litert')")


def layers(a: ql.Model, b: ql.Model, data: object, runner: str = "litert") -> dict[str, LayerError]:
    found = ql.compare(a, b, data, layers=True, runner=runner).layers
    assert found is not None
    return {layer.name_b: layer for layer in found}


@pytest.mark.parametrize("rename", [False, True])
def test_every_tensor_of_a_twin_is_found(rename: bool) -> None:
    found = ql.compare(dense(), dense_int8(rename=rename), samples(), layers=True)
    assert found.unmatched == ()
    assert found.layers is not None
    suffix = "_renamed" * rename
    names = {(layer.operator, layer.tensor, layer.name_b) for layer in found.layers}
    assert names == {
        ("QUANTIZE", "x", "x_int8"),
        ("FULLY_CONNECTED", "hidden", f"hidden{suffix}"),
        ("FULLY_CONNECTED", "scores", f"scores{suffix}"),
        ("DEQUANTIZE", "scores", "scores_float"),
    }
    assert sum(layer.share or 0 for layer in found.layers) == pytest.approx(1)
    assert [layer.share for layer in found.layers] == sorted((layer.share for layer in found.layers), reverse=True)


def test_the_graph_wise_figure_is_that_of_the_tensors() -> None:
    a, b, data = dense(), dense_int8(), samples()
    first, second = (ql.run(m, data, runner="litert", all_tensors=True) for m in (a, b))
    found = layers(a, b, data)
    for name in ("hidden", "scores"):
        q = b.tensor(name).quantization
        assert q is not None
        real = (second[name].astype(np.float64) - q.zero_point[0]) * q.scale[0]
        assert found[name].sqnr_db == pytest.approx(sqnr_db(first[name], real), abs=1e-4)
        assert (found[name].scale, found[name].zero_point) == (q.scale[0], q.zero_point[0])
    assert found["x_int8"].sqnr_db == found["x_int8"].layer_sqnr_db


def test_a_layer_alone_has_only_its_own_error() -> None:
    """The second layer's error in the graph comes from the first, whose range is far too wide."""
    wide = {**RANGES, "hidden": (0.0, 600.0)}
    found = layers(dense(), dense_int8(wide), samples())
    scores, hidden = found["scores"], found["hidden"]
    assert hidden.layer_sqnr_db is not None
    assert hidden.layer_sqnr_db < 25
    # alone, it is fed A's values as B's input stores them: on the coarse grid, which nobody can undo
    assert scores.layer_sqnr_db is not None
    assert found["scores_float"].layer_sqnr_db is not None
    assert found["scores_float"].layer_sqnr_db > 28 > 20 > scores.sqnr_db


def test_alone_means_fed_with_the_float_models_values() -> None:
    """The first layer is broken; the second, given A's values, is not."""
    a = dense()
    b = a.replace("hidden/bias", data=a.tensor("hidden/bias").numpy() + np.float32(3))
    for runner in ("litert", "numpy"):
        found = layers(a, b, samples(), runner)
        assert found["scores"].layer_sqnr_db is not None
        assert found["scores"].layer_sqnr_db > 100
        assert found["scores"].sqnr_db < 20
        assert found["hidden"].layer_sqnr_db == found["hidden"].sqnr_db < 20
        assert found["hidden"].share == pytest.approx(1)


def test_a_narrow_range_saturates_and_is_flagged() -> None:
    narrow = {**RANGES, "hidden": (0.0, 1.0)}
    good, bad = layers(dense(), dense_int8(), samples()), layers(dense(), dense_int8(narrow), samples())
    assert good["hidden"].saturation == 0
    assert not good["hidden"].flagged
    assert bad["hidden"].flagged
    real, stored = (
        ql.run(m, samples(), runner="litert", all_tensors=True)["hidden"] for m in (dense(), dense_int8(narrow))
    )
    assert bad["hidden"].saturation == np.mean((stored == 127) & (real > 1 + 0.5 / 255)) > 0.1
    # who reads it alone is given it on that grid, too, and comes next
    assert list(bad)[:2] == ["hidden", "scores"]
    assert bad["x_int8"].share is not None
    assert bad["x_int8"].share < 0.01
    assert (bad["hidden"].low, bad["hidden"].high) == pytest.approx((0, 1))


def test_only_what_rounds_beyond_the_grid_is_saturated() -> None:
    affine = dense_int8().tensor("x_int8").quantization
    assert affine is not None
    high, step = (127 - affine.zero_point[0]) * affine.scale[0], affine.scale[0]
    for offset, share in ((0.0, 0.0), (0.4, 0.0), (0.6, 1.0)):
        data = np.full((1, 8), high + offset * step, np.float32)
        assert layers(dense(), dense_int8(), data)["x_int8"].saturation == share


def test_a_tensor_is_found_through_what_only_changes_its_type() -> None:
    """The names differ and B has an operator more, so only the output is known to be the same."""
    net = Network()
    a = net.done(net.op("RELU", [net.input("x", (1, 8))], "y", (1, 8)))
    affine = ql.tflite.quantization_table(ql.Quantization(np.float32(0.05), np.int64(0)))
    net = Network()
    x = net.op("ABS", [net.op("NEG", [net.input("x", (1, 8))], "minus", (1, 8))], "plus", (1, 8))
    inner = net.op("QUANTIZE", [x], "inner", (1, 8), type="INT8")
    net.graph.tensors[inner] = net.graph.tensors[inner].replace(quantization=affine)
    b = net.done(net.op("DEQUANTIZE", [inner], "y", (1, 8), version=2))
    found = ql.compare(a, b, np.abs(samples(3)), layers=True)
    assert found.layers is not None
    assert {(layer.tensor, layer.name_b) for layer in found.layers} == {("y", "inner"), ("y", "y"), ("y", "plus")}
    assert found.unmatched == ("minus",)


def test_rounding_alone_has_the_rmse_of_rounding() -> None:
    found = layers(dense(), dense_int8(), samples(500))
    assert found["x_int8"].rmse_over_scale == pytest.approx(1 / math.sqrt(12), rel=0.03)
    assert 1 / math.sqrt(12) < FLAGGED


def test_histograms_count_every_value() -> None:
    found = layers(dense(), dense_int8(), samples())
    hidden = ql.run(dense(), samples(), all_tensors=True)["hidden"]
    histogram, weights = found["hidden"].histogram, found["hidden"].weights
    assert histogram is not None
    assert sum(histogram.counts) == hidden.size
    assert histogram.counts[0] >= np.count_nonzero(hidden == 0)
    assert (histogram.low, histogram.high) == (0.0, pytest.approx(hidden.max()))
    assert weights is not None
    assert (weights.name, weights.type, weights.scales) == ("hidden/kernel", "INT8", 1)
    assert sum(weights.histogram.counts) == 8 * 16
    assert weights.high == pytest.approx(np.abs(dense().tensor("hidden/kernel").numpy()).max())


@pytest.mark.parametrize("recipe", ["float16", "dynamic", "weight-only"])
def test_models_of_our_own(recipe: str) -> None:
    model = ql.read(ql.demo.MODEL)
    found = ql.compare(model, ql.quantize(model, recipe), np.load(ql.demo.SAMPLES)["image"][:5], layers=True)
    assert found.layers is not None
    assert found.unmatched == ()
    assert {layer.tensor for layer in found.layers} >= {"conv1", "depthwise", "residual", "probabilities"}
    assert all(layer.layer_sqnr_db is not None for layer in found.layers)
    assert all(layer.weights is not None for layer in found.layers if layer.operator == "CONV_2D")


def test_what_can_not_be_run_alone_says_so() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    model = net.done(
        net.op(
            "RELU",
            [
                net.op("NEG", [x], "minus", (1, 8)),
            ],
            "y",
            (1, 8),
        )
    )
    net = Network()
    x = net.input("x", (1, 8))
    x = net.op("ABS", [x], "other", (1, 8))
    other = net.done(net.op("RELU", [x], "y", (1, 8)))
    found = ql.compare(model, other, samples(3), layers=True, runner="numpy")
    assert found.unmatched == ("other",)
    assert "1 tensors of B have no match in A: other" in str(found)
    assert found.layers is not None
    (layer,) = found.layers
    assert layer.layer_sqnr_db is None
    assert layer.share is None
    assert layer.note == "not run alone: A has no tensor for its input 'other'"


def test_variables_and_recurrent_state() -> None:
    from tests.support.models import BUILT, built

    for name in BUILT:
        model = ql.read(built(name))
        try:
            ports = ql.runners.interface_of(model).inputs
        except ql.QuantlibError:
            continue  # several signatures
        if not ports or any(p.type not in ("FLOAT32", "INT32") for p in ports):
            continue
        data = [[np.ones(np.abs(p.shape), np.float32 if p.type == "FLOAT32" else np.int32) for p in ports]]
        try:
            ql.run(model, data)
        except ql.QuantlibError:
            continue
        found = ql.compare(model, model, data, layers=True, runner="numpy")
        assert found.layers is not None
        assert all(layer.layer_sqnr_db in (None, math.inf) for layer in found.layers), name


def portrait() -> tuple[ql.Model, np.ndarray]:
    """A segmentation model and four photographs."""
    coded = np.load(SHARED / "data" / "photos_256.npz")["x_eval"][:4]
    pixels = np.cumsum(np.cumsum(coded, axis=2, dtype=np.uint8), axis=3, dtype=np.uint8)
    pixels[:, 0] += pixels[:, 1]
    pixels[:, 2] += pixels[:, 1]
    data = (pixels.transpose(0, 2, 3, 1).astype(np.float32) - 127.5) / 127.5
    return ql.read(SHARED / "models" / "mnv3_portrait_seg_float.tflite"), data


@needs_shared
def test_it_names_the_costly_layers_of_a_converters_model() -> None:
    model, data = portrait()
    found = ql.compare(model, ql.read(SHARED / "models" / "mnv3_portrait_seg_ptq_uint8io.tflite"), data, layers=True)
    assert found.layers is not None
    assert found.unmatched == ()
    assert len(found.layers) == 79
    # the error of operator 7 is seven times that of rounding; operator 70 stands near the output
    worst = {layer.index: layer for layer in found.layers[:4]}
    assert worst[7].flagged
    assert 70 in worst


@needs_shared
def test_leaving_the_costliest_layers_float_helps_more_than_leaving_the_cheapest() -> None:
    model, data = portrait()

    def found(*skip: str) -> ql.Comparison:
        recipe = ql.recipes.dynamic(skip=tuple(f"^{re.escape(name)}$" for name in skip))
        return ql.compare(model, ql.quantize(model, recipe), data, layers=not skip)

    whole = found()
    assert whole.layers is not None
    ranked = [layer.tensor for layer in whole.layers if layer.weights is not None and layer.weights.scales]
    before, best, worst = (c.outputs[0].sqnr_db for c in (whole, found(*ranked[:3]), found(*ranked[-3:])))
    assert best > before + 1
    assert best > worst + 1

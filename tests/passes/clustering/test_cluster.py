"""Clustering: as many values as asked for, zeros kept, and nothing lost by quantizing what is on the grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quantlib as ql
from quantlib.errors import InvalidRecipe, InvalidValue
from quantlib.numerics import PerAxis, affine_from_range
from quantlib.passes import Edited, deflated_size
from quantlib.tflite import Draft, Model, Table
from tests.support.examples import examples
from tests.support.litert import RESOLVERS, run
from tests.support.network import Network, classifier, gaussian
from tests.support.shared import MODELS, needs_shared

KERNELS = ("conv/kernel", "depthwise/kernel", "dense/kernel")
#: Recipes whose weights are int8 with a scale for each channel.
PER_CHANNEL = ("int8", "int16x8", "dynamic", "weight-only")


def stored(model: Model, name: str) -> npt.NDArray[Any]:
    return model.tensor(name).numpy()


def counts(model: Model, names: tuple[str, ...] = KERNELS) -> list[int]:
    """Different stored values of each weight."""
    # NumPy 2.4 sorts some arrays of float16 wrongly
    return [np.unique(stored(model, name).astype(np.float64)).size for name in names]


def quantized(model: Model, recipe: ql.Recipe) -> Model:
    if not recipe.activations:
        return ql.quantize(model, recipe)
    shape = model.tensor((0, int(model.subgraphs[0].inputs[0]))).shape
    samples = np.random.default_rng(5).standard_normal((12, *shape)).astype(np.float32)
    return ql.quantize(model, recipe, ql.calibrate(model, samples))


def assert_runs(model: Model) -> None:
    """LiteRT takes it, with all its kernels."""
    for resolver in RESOLVERS:
        assert all(np.isfinite(y).all() for y in run(model, resolver))


def dense(weights: npt.NDArray[Any], **fields: Any) -> Model:
    """One FULLY_CONNECTED."""
    net = Network()
    x = net.input("x", (1, weights.shape[1]))
    w = net.constant("fc/kernel", weights, **fields)
    return net.done(net.fully_connected("fc", x, w))


@pytest.mark.parametrize("clusters", [2, 16, 100])
@pytest.mark.parametrize("start", ["density", "linear", "k-means++"])
def test_each_weight_has_as_many_values_as_asked_for(clusters: int, start: str) -> None:
    edited = ql.cluster(classifier(), clusters, start=start)
    assert counts(edited.model) == [clusters] * 3
    assert [(line.where, line.figures["values"]) for line in edited.done] == [(name, clusters) for name in KERNELS]
    assert not edited.kept
    np.testing.assert_array_equal(stored(edited.model, "conv/bias"), stored(classifier(), "conv/bias"))
    assert_runs(edited.model)


def test_the_account_is_what_happened() -> None:
    model = classifier()
    edited = ql.cluster(model, 16)
    square = 0.0
    for line in edited.done:
        before, after = stored(model, line.where).astype(float), stored(edited.model, line.where)
        assert line.figures["elements"] == before.size
        assert line.figures["rmse"] == pytest.approx(np.sqrt(np.square(after - before).mean()))
        square += np.square(after - before).sum()
    totals = edited.totals
    assert totals["deflated"] == deflated_size(edited.model)
    assert totals["elements"] == 432 + 144 + 40960
    assert totals["rmse"] == pytest.approx(np.sqrt(square / totals["elements"]))
    assert totals["deflated"] < 0.3 * totals["deflated_before"]


def test_each_channel_has_as_many_values_as_asked_for() -> None:
    edited = ql.cluster(classifier(), 5, per="channel")
    for name, axis in zip(KERNELS, (0, 3, 0), strict=True):
        rows = np.moveaxis(stored(edited.model, name), axis, 0)
        assert [np.unique(row).size for row in rows] == [5] * len(rows)
    assert edited.done[0].figures["values"] == 5 * 16
    assert_runs(edited.model)


@pytest.mark.parametrize("mode", PER_CHANNEL)
@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_quantizing_what_is_on_the_grid_loses_nothing(mode: str, per: str) -> None:
    edited = ql.cluster(classifier(), 9, grid="int8", per=per)
    recipes = [ql.recipes.by_name(mode)]
    if recipes[0].activations:
        recipes.append(recipes[0].replace(rounding="nearest"))
    for recipe in recipes:
        small = quantized(edited.model, recipe)
        for name, axis in zip(KERNELS, (0, 3, 0), strict=True):
            tensor = small.tensor(name)
            assert tensor.type == "INT8"
            np.testing.assert_array_equal(tensor.real(), stored(edited.model, name))
            if per == "tensor":
                assert np.unique(tensor.numpy()).size == 9
            else:
                assert max(np.unique(row).size for row in np.moveaxis(tensor.numpy(), axis, 0)) == 9


def test_a_scale_is_found_again_in_127_steps_of_it() -> None:
    # every float32 number of a binade: what holds here holds for any power of two times it
    greatest = (np.arange(1 << 23, dtype=np.uint32) + np.float32(1).view(np.uint32)).view(np.float32)
    for start in range(0, greatest.size, 1 << 20):
        scale = affine_from_range(
            -greatest[start : start + (1 << 20)],
            greatest[start : start + (1 << 20)],
            "INT8",
            granularity=PerAxis(0),
            symmetric=True,
        ).scale
        top = scale * np.float32(127)
        again = affine_from_range(-top, top, "INT8", granularity=PerAxis(0), symmetric=True).scale
        assert np.array_equal(scale, again)


def test_errors_count_as_real_numbers() -> None:
    few = np.tile([127.0, 60.0, 11.0, -31.0], 16) * 100
    many = np.concatenate([[127.0], np.linspace(-120, 126, 63)])
    before = np.array([few, many], np.float32)
    after = stored(ql.cluster(dense(before), 4, grid="int8").model, "fc/kernel")
    np.testing.assert_array_equal(after[0], before[0])


def test_one_scale_for_the_tensor() -> None:
    edited = ql.cluster(classifier(), 16, grid="int8-tensor")
    assert counts(edited.model) == [16] * 3
    small = ql.quantize(edited.model, ql.recipes.weight_only(granularity="tensor"))
    assert counts(small) == [16] * 3
    for name in KERNELS:
        np.testing.assert_array_equal(small.tensor(name).real(), stored(edited.model, name))
    by_channel = ql.cluster(classifier(), 4, grid="int8-tensor", per="channel").model
    small = ql.quantize(by_channel, ql.recipes.weight_only(granularity="tensor"))
    for name in KERNELS:
        np.testing.assert_array_equal(small.tensor(name).real(), stored(by_channel, name))


rows = st.lists(
    st.tuples(st.sampled_from([0.0, 1e-9, 4e-7, 1e-3, 0.7, 1.0, 3.3, 250.0]), st.integers(0, 3)),
    min_size=1,
    max_size=5,
)


@given(rows, st.integers(3, 20), st.booleans(), st.sampled_from(["tensor", "channel"]), st.integers(0, 99))
@examples(150)
def test_any_weight_on_the_grid_is_quantized_without_loss(
    channels: list[tuple[float, int]], clusters: int, preserve: bool, per: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    kinds = (
        rng.standard_normal,
        rng.random,
        lambda n: -rng.random(n),
        lambda n: rng.integers(-1, 2, n).astype(float),
    )
    weights = np.array([scale * kinds[kind](24) for scale, kind in channels], np.float32)
    edited = ql.cluster(dense(weights), clusters, grid="int8", per=per, preserve_zeros=preserve)
    small = ql.quantize(edited.model, ql.recipes.weight_only(min_elements=0))
    tensor, after = small.tensor("fc/kernel"), stored(edited.model, "fc/kernel")
    if not edited.done:
        return
    if tensor.type == "INT8":  # of few rows the scales take more than is saved
        np.testing.assert_array_equal(tensor.real(), after)
        there = tensor.numpy()
        assert max(np.unique(there if per == "tensor" else row).size for row in there) <= clusters
    if preserve:
        assert not after[weights == 0].any()
    assert not after[~weights.any(axis=1)].any()  # a channel of zeros has no scale that could make it another


@pytest.mark.parametrize(("recipe", "type"), [("float16", "FLOAT16"), ("weight-only-int4", "INT4")])
def test_constants_behind_dequantize(recipe: str, type: str) -> None:
    edited = ql.cluster(ql.quantize(classifier(), recipe), 7)
    assert edited.model.tensor(KERNELS[0]).type == type
    assert counts(edited.model) == [7] * 3
    assert_runs(edited.model)
    assert edited.totals["rmse"] > 0


@pytest.mark.parametrize("recipe", ["int8", "dynamic", "uint8"])
@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_integers_become_few(recipe: str, per: str) -> None:
    small = quantized(classifier(), ql.recipes.by_name(recipe))
    edited = ql.cluster(small, 6, per=per)
    for name, axis in zip(KERNELS, (0, 3, 0), strict=True):
        before, after = small.tensor(name), edited.model.tensor(name)
        assert after.quantization == before.quantization
        parts = [after.numpy()] if per == "tensor" else np.moveaxis(after.numpy(), axis, 0)
        assert {np.unique(part).size for part in parts} == {6}
        points = before.quantization.zero_point[0]
        assert (after.numpy()[before.numpy() == points] == points).all()
        figures = next(line.figures for line in edited.done if line.where == name)
        error = np.square(after.real().astype(float) - before.real()).mean()
        assert figures["rmse"] == pytest.approx(np.sqrt(error), rel=1e-5)
    assert_runs(edited.model)


def pruned(encode: bool, sparsity: float = 0.9) -> Model:
    return ql.prune(classifier(), sparsity, first_last=True, min_elements=0, encode=encode).model


@pytest.mark.parametrize("options", [{}, {"per": "channel"}, {"grid": "int8"}, {"grid": "int8", "per": "channel"}])
@pytest.mark.parametrize("encode", [False, True])
@pytest.mark.parametrize("preserve", [False, True])
def test_sparsity_is_kept(options: dict[str, str], encode: bool, preserve: bool) -> None:
    model = pruned(encode)
    edited = ql.cluster(model, 8, preserve_zeros=preserve, **options)
    assert "dense/kernel" in {line.where for line in edited.done}
    sparse = 0
    for tensor in model.tensors():
        if tensor.is_constant and tensor.type == "FLOAT32" and "kernel" in tensor.name:
            after = edited.model.tensor((0, tensor.index))
            assert (after.table.sparsity is None) == (tensor.table.sparsity is None)
            if preserve or tensor.table.sparsity is not None:
                assert not after.numpy()[tensor.numpy() == 0].any()
            assert after.data.nbytes == tensor.data.nbytes
            sparse += tensor.table.sparsity is not None
    assert bool(sparse) == encode
    assert_runs(edited.model)


def test_encoded_weights_are_clustered_as_dense_ones() -> None:
    ours, reference = (ql.cluster(pruned(encode), 8) for encode in (True, False))
    assert [line.figures["rmse"] for line in ours.done] == [line.figures["rmse"] for line in reference.done]
    for a, b in zip(run(ours.model, "reference"), run(reference.model, "reference"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_zeros_of_what_is_stored_sparse_count() -> None:
    weights = gaussian((64, 64))
    weights[:, 20:40] = 0
    model = ql.prune(dense(weights), 0.32, first_last=True, encode=True).model
    assert model.tensor("fc/kernel").table.sparsity is not None or any(t.table.sparsity for t in model.tensors())
    edited = ql.cluster(model, 2, preserve_zeros=False)
    sparse = next(t for t in edited.model.tensors() if t.table.sparsity is not None)
    assert np.unique(sparse.numpy()).size == 2
    assert edited.done[0].figures["values"] == 2


def test_prune_cluster_quantize_keeps_zeros_and_integers() -> None:
    model = pruned(False, 0.5)
    small = quantized(ql.cluster(model, 12, grid="int8").model, ql.recipes.int8())
    for name in KERNELS:
        assert np.unique(stored(small, name)).size == 12
        assert not stored(small, name)[stored(model, name) == 0].any()


def test_zeros_are_values_like_others_when_they_are_free() -> None:
    weights = np.repeat(np.array([[0.0, 0.1, 0.2, 5.0]], np.float32), 3, axis=0)
    assert 0 in stored(ql.cluster(dense(weights), 2).model, "fc/kernel")
    assert 0 not in stored(ql.cluster(dense(weights), 2, preserve_zeros=False).model, "fc/kernel")


def test_what_has_few_values_is_left_alone() -> None:
    weights = np.arange(12, dtype=np.float32).reshape(3, 4) % 5
    edited = ql.cluster(dense(weights), 5)
    assert edited.model.unchanged or edited.model == dense(weights)
    assert [str(line) for line in edited.kept] == ["fc/kernel: 5 different values in all, no more than 5"]
    edited = ql.cluster(dense(weights), 4, per="channel")
    assert [str(line) for line in edited.kept] == ["fc/kernel: 4 different values in a channel, no more than 4"]
    again = ql.cluster(ql.cluster(classifier(), 16).model, 16)
    assert len(again.kept) == 3


def test_a_grid_wants_room_for_its_ends() -> None:
    weights = np.array([[1.0, -0.3, 0.2, 0.0], [-2.0, 0.3, 0.2, 1.1]], np.float32)
    edited = ql.cluster(dense(weights), 2, grid="int8")
    assert str(edited.kept[0]) == "fc/kernel: 2 clusters are too few: of the integers -127, 0, 127 have to stay"
    assert ql.cluster(dense(weights), 2, grid="int8", per="channel").done


@pytest.mark.parametrize("noted", ["keep_ranges", "keep_weights"])
def test_steps_that_were_noted_of_other_values_go(noted: str) -> None:
    """Quantizing would take them as trained, and the clusters would be lost."""
    small = quantized(classifier(), ql.recipes.by_name("uint8"))
    floats = ql.dequantize(small, **{noted: True}).model
    assert any(floats.tensor(name).quantization is not None for name in KERNELS)
    grid = ql.cluster(floats, 16, grid="int8").model
    again = ql.quantize(grid, "weight-only")
    assert max(counts(again)) <= 16
    for name in KERNELS:
        np.testing.assert_array_equal(again.tensor(name).real(), stored(grid, name))


def test_selectors_and_thresholds() -> None:
    edited = ql.cluster(classifier(), 16, skip="^dense", only_types=("CONV_2D", "FULLY_CONNECTED"))
    assert [line.where for line in edited.done] == ["conv/kernel"]
    assert {line.where: line.what for line in edited.kept} == {
        "depthwise/kernel": "not among those asked for",
        "dense/kernel": "left out by skip",
    }
    edited = ql.cluster(classifier(), 16, min_elements=200)
    assert [str(line) for line in edited.kept] == ["depthwise/kernel: 144 elements, fewer than 200"]


def test_what_rounds_on_the_way_is_left_alone() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    w = net.constant("w", gaussian((4, 8)))
    options = Table("FakeQuantOptions", min=-3.0, max=3.0, num_bits=8)
    edited = ql.cluster(net.done(net.fully_connected("fc", x, net.op("FAKE_QUANT", [w], "q", (4, 8), options))), 4)
    assert [str(line) for line in edited.kept] == ["w: FAKE_QUANT changes its values before they are read"]


def test_a_shared_buffer_stays_shared() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    buffer = net.draft.add_buffer(gaussian((8, 8)))
    first, second = (net.constant(f"w{i}", gaussian((8, 8)), buffer=buffer) for i in range(2))
    x = net.fully_connected("one", x, first)
    x = net.fully_connected("two", x, second)
    edited = ql.cluster(net.done(net.fully_connected("three", x, second)), 4)
    assert [line.where for line in edited.done] == ["w0", "w1"]
    tables = [edited.model.tensor(name).table for name in ("w0", "w1")]
    assert tables[0].buffer == tables[1].buffer
    assert edited.totals["elements"] == 64


def test_a_buffer_that_somebody_else_reads_is_kept_for_them() -> None:
    net = Network()
    x = net.input("x", (4, 8))
    buffer = net.draft.add_buffer(gaussian((4, 8)))
    weight, operand = (net.constant(name, gaussian((4, 8)), buffer=buffer) for name in ("w", "c"))
    outputs = [net.fully_connected("fc", x, weight), net.op("ADD", [x, operand], "sum", (4, 8), Table("AddOptions"))]
    edited = ql.cluster(net.done(*outputs), 4)
    assert counts(edited.model, ("w", "c")) == [4, 32]


def test_the_same_input_gives_the_same_bytes_in_any_pieces(tmp_path: Path) -> None:
    for options in ({"start": "k-means++", "seed": 3}, {"grid": "int8"}, {"per": "channel"}):
        first, second = (ql.cluster(classifier(), 16, **options).model for _ in range(2))
        assert first.to_bytes() == second.to_bytes()
        first.write(tmp_path / "m.tflite")
        assert (tmp_path / "m.tflite").read_bytes() == second.to_bytes()
        for name in KERNELS:
            data = second.tensor(name).data
            pieces = [data.read(i, min(i + data.granule, data.nbytes)) for i in range(0, data.nbytes, data.granule)]
            assert np.array_equal(np.concatenate(pieces), data.numpy())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 0}, "0 clusters asked for; a whole number from 2 to 4,096 is required"),
        ({"clusters": 1}, "1 clusters asked for"),
        ({"clusters": -3}, "-3 clusters asked for"),
        ({"clusters": 10**9}, "1000000000 clusters asked for"),
        ({"clusters": 16.5}, "16.5 clusters asked for"),
        ({"clusters": True}, "True clusters asked for"),
        ({"per": "row"}, "per is 'row'; one of tensor, channel is required"),
        ({"start": "best"}, "start is 'best'; one of density, linear, k-means"),
        ({"grid": "int4"}, "grid is 'int4'; one of int8, int8-tensor is required"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0}, "seed says nothing to start 'density'; leave it out, or start with k-means"),
        ({"seed": 3, "start": "linear"}, "seed says nothing to start 'linear'"),
        ({"start": "density", "grid": "int8"}, "start says nothing beside grid 'int8'.*leave it out"),
        ({"seed": 3, "start": "k-means++", "grid": "int8"}, "start says nothing beside grid 'int8'"),
        ({"min_elements": 1.5}, "min_elements is 1.5"),
        ({"only": "nothing"}, "only 'nothing' matches no operator or constant"),
        ({"skip_types": "RELU"}, "skip_types 'RELU' matches no operator type"),
    ],
)
def test_bad_requests_are_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message) as caught:
        ql.cluster(classifier(), **options)
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_will_do() -> None:
    given = {"start": "k-means++", "seed": np.int32(3), "min_elements": np.int16(1)}
    wanted = ql.cluster(classifier(), 16, start="k-means++", seed=3, min_elements=1)
    assert ql.cluster(classifier(), np.int64(16), **given).to_dict() == wanted.to_dict()


def test_a_model_without_weights_is_said_to_be_one() -> None:
    net = Network()
    model = net.done(net.op("ABS", [net.input("x", (1, 4))], "y", (1, 4), Table("AbsOptions")))
    edited = ql.cluster(model)
    assert [str(line) for line in edited.kept] == ["model: no operator in it has weights; it is given back as it is"]
    assert edited.model is model


@pytest.mark.parametrize("shape", [(0, 4), (1 << 24, 0)])
def test_a_weight_without_elements_costs_nothing(shape: tuple[int, int]) -> None:
    """However many channels a damaged file claims."""
    draft = Draft(dense(np.ones((4, 8), np.float32)))
    draft.graphs[0].tensors[1] = draft.graphs[0].tensors[1].replace(shape=np.array(shape, np.int32))
    edited = ql.cluster(draft.done(), 8, per="channel", grid="int8")
    assert [line.what for line in edited.kept] == ["it has no elements"]


def test_scales_that_do_not_fit_are_refused() -> None:
    table = Table("QuantizationParameters", scale=[0.1] * 3, zero_point=[0] * 3)
    model = dense(np.arange(32, dtype=np.int8).reshape(4, 8), quantization=table)
    with pytest.raises(InvalidValue, match=r"'fc/kernel' \(0, 1\): 3 scales don't fit dimension 0 of shape \[4, 8\]"):
        ql.cluster(model, 4)


def test_a_broken_pattern_is_named() -> None:
    with pytest.raises(InvalidRecipe, match="only '\\(' is no regular expression"):
        ql.cluster(classifier(), only="(")


@pytest.mark.parametrize("options", [{}, {"grid": "int8"}, {"per": "channel"}])
def test_a_weight_that_is_not_finite_is_named(options: dict[str, str]) -> None:
    weights = gaussian((4, 8))
    weights[1, 2] = np.nan
    with pytest.raises(InvalidValue, match=r"fc/kernel.*finite.*leave it out by skip"):
        ql.cluster(dense(weights), 4, **options)


def test_more_clusters_than_there_are_values() -> None:
    edited: Edited = ql.cluster(classifier(), 4096)
    assert [line.where for line in edited.done] == ["dense/kernel"]
    assert [line.what for line in edited.kept] == [
        "432 different values in all, no more than 4,096",
        "144 different values in all, no more than 4,096",
    ]


@needs_shared
@pytest.mark.parametrize("name", ["mlperf_kws_dscnn_float", "mnist_lstm_float", "mlperf_kws_dscnn_int8"])
def test_real_models(name: str) -> None:
    model = ql.read(next(p for p in MODELS if p.stem == name))
    edited = ql.cluster(model, 16)
    assert edited.done
    assert all(line.figures["most"] == 16 for line in edited.done)
    assert edited.totals["deflated"] < edited.totals["deflated_before"]
    assert_runs(edited.model)

"""Clustering by what samples say: as many values as without, outputs that are nearer, biases, and what is refused."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quantlib as ql
from quantlib.errors import InvalidValue
from quantlib.evaluation import gram
from quantlib.numerics import Gram, PerAxis, PerTensor, Refitted, affine_from_range, dequantize, quantize
from quantlib.passes import Reading, readings
from quantlib.tflite import Model, Table
from tests.support import pruned
from tests.support.examples import examples
from tests.support.litert import RESOLVERS, run
from tests.support.network import Network, classifier, gaussian
from tests.support.planned import samples

NAMES = ("first/kernel", *pruned.INNER, "last/kernel")
DATA = samples(pruned.layers(), 24)
WIDE = "wide/kernel"
HELD_BACK = {"image": gaussian((12, 8, 8, 3), 99)}
WAYS: list[dict[str, Any]] = [
    {},
    {"grid": "int8"},
    {"grid": "int8-tensor"},
    {"per": "channel"},
    {"per": "channel", "grid": "int8"},
]


def stored(model: Model, name: str) -> npt.NDArray[Any]:
    found = model.tensor(name).numpy()
    return found.astype(np.float32) if found.dtype == np.float16 else found  # which NumPy 2.4 sorts wrongly


@cache
def measured(form: str) -> dict[str, Gram]:
    """Products of all layers of `pruned.model`."""
    return gram(pruned.model(form), DATA, runner="numpy")


def integers(weights: npt.NDArray[np.float32], way: dict[str, Any]) -> npt.NDArray[Any]:
    """What quantizing makes of the weights of a product, which must lose nothing by it."""
    several = way["grid"] == "int8"
    top = np.abs(weights).max(axis=1) if several else np.abs(weights).max()
    affine = affine_from_range(-top, top, "INT8", granularity=PerAxis(0) if several else PerTensor(), symmetric=True)
    found = quantize(weights, affine)
    np.testing.assert_array_equal(dequantize(found, affine), weights)
    return found


def product(weights: npt.NDArray[Any], bias: int | None = None) -> tuple[Network, int]:
    """One FULLY_CONNECTED, without a bias or with that of a tensor."""
    net = Network()
    x = net.input("x", (1, weights.shape[1]))
    operands = [x, net.constant("fc/kernel", weights), -1 if bias is None else bias]
    return net, net.op("FULLY_CONNECTED", operands, "fc", (1, len(weights)), Table("FullyConnectedOptions"))


def products(d: int, groups: int = 1, seed: int = 0, rows: int = 40) -> Gram:
    """Of inputs that depend on each other."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((groups, rows, d)) @ rng.standard_normal((groups, d, d)) + 1
    x = np.concatenate([x, np.ones((groups, rows, 1))], axis=2)
    return Gram(x.swapaxes(1, 2) @ x)


# ---- how many values ---------------------------------------------------------------------------------------------

rows = st.lists(
    st.tuples(st.sampled_from([0.0, 4e-7, 1e-3, 0.7, 1.0, 3.3, 250.0]), st.integers(0, 4)), min_size=1, max_size=5
)


@given(rows, st.integers(3, 20), st.booleans(), st.sampled_from(WAYS), st.booleans(), st.integers(0, 99))
@examples(150)
def test_any_weight_has_as_many_values_as_without(
    channels: list[tuple[float, int]], clusters: int, preserve: bool, way: dict[str, Any], moved: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    kinds = (
        rng.standard_normal,
        rng.random,
        lambda n: -rng.random(n),
        lambda n: rng.integers(-1, 2, n).astype(float),
        lambda n: np.append(-1.0, 0.999 - 0.1 * rng.random(n - 1)),
    )
    weights = np.array([scale * kinds[kind](24) for scale, kind in channels], np.float32)
    model = (lambda net, y: net.done(y))(*product(weights))
    known = products(24, seed=seed)
    if moved:
        known = Gram(known.values, known.values + 0.1 * rng.standard_normal(known.values.shape))
    options: dict[str, Any] = {**way, "preserve_zeros": preserve, "deflated": False}
    simple, fitted = (ql.cluster(model, clusters, refit=r, **options) for r in (None, {"fc/kernel": known}))
    assert len(simple.done) == len(fitted.done)
    if not fitted.done:
        return
    after = stored(fitted.model, "fc/kernel")
    assert fitted.totals["refitted"] == 1
    assert not preserve or not after[weights == 0].any()
    there = [stored(e.model, "fc/kernel") for e in (simple, fitted)]
    if "grid" in way:
        there = [integers(t, way) for t in there]
    if "per" in way:  # a channel may do without some of its values
        assert all(np.isin(row, old).all() for old, row in zip(*there, strict=True))
        assert fitted.done[0].figures["most"] == max(np.unique(row).size for row in there[1]) <= clusters
    else:
        np.testing.assert_array_equal(*(np.unique(t) for t in there))
        assert fitted.done[0].figures["most"] == np.unique(there[1]).size


@pytest.mark.parametrize("form", ["", "float16"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("clusters", [5, 16, 60])
def test_all_weights_of_a_network(form: str, way: dict[str, Any], clusters: int) -> None:
    model = pruned.model(form)
    edited = ql.cluster(model, clusters, refit=measured(form), **way)
    assert {line.where for line in edited.done} | {line.where for line in edited.kept} == set(NAMES)
    assert all(line.what.endswith("refitted") for line in edited.done)
    assert edited.totals["refitted"] == len(edited.done) >= 2
    for line in edited.done:
        after = stored(edited.model, line.where)
        assert line.figures["values"] == np.unique(after).size
        assert int(line.figures["most"]) <= clusters
        if not way:
            assert line.figures["values"] == clusters
        elif "per" not in way:
            assert line.figures["integers"] == clusters
    for resolver in RESOLVERS:
        assert all(np.isfinite(y).all() for y in run(edited.model, resolver))


@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_the_greatest_of_a_channel_stays_though_the_other_end_is_greater(per: str) -> None:
    """-127 belongs to a cluster whose centroid isn't, so that one 127 alone says what the scale is."""
    options: dict[str, Any] = {"grid": "int8", "per": per}
    for seed in range(8):  # what others miss is wanted of that one, whose inputs are like theirs and small
        rng = np.random.default_rng(seed)
        row = np.concatenate([[-1.0, 0.999], np.linspace(-0.99, -0.9, 14), rng.uniform(-0.3, 0.3, 16)])
        weights = np.array([row, 3 * row], np.float32)
        model = (lambda net, y: net.done(y))(*product(weights))
        simple = integers(stored(ql.cluster(model, 4, **options).model, "fc/kernel"), options)
        assert np.count_nonzero(simple == 127) == 2
        assert simple.min() > -127
        x = np.append(rng.standard_normal((40, 1)) + 0.2 * rng.standard_normal((40, 32)), np.ones((40, 1)), axis=1)
        x[:, 1] *= 0.05
        edited = ql.cluster(model, 4, refit={"fc/kernel": Gram((x.T @ x)[None])}, **options)
        found = integers(stored(edited.model, "fc/kernel"), options)
        assert (found[:, 1] == 127).all()
        assert set(np.unique(found)) <= set(np.unique(simple))


# ---- outputs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["", "float16"])
@pytest.mark.parametrize("way", WAYS)
def test_outputs_are_nearer_than_by_nearest_values(form: str, way: dict[str, Any]) -> None:
    model = pruned.model(form)
    edits = [ql.cluster(model, 6, refit=r, **way) for r in (None, measured(form))]
    before, after = (ql.compare(model, e.model, HELD_BACK, runner="numpy").outputs[0].sqnr_db for e in edits)
    assert after > before + 2
    again = ql.cluster(model, 6, refit=gram(model, DATA, runner="numpy"), **way)
    assert again.model.to_bytes() == edits[1].model.to_bytes()


@pytest.mark.parametrize("multiplier", [1, 3])
def test_each_filter_of_a_depthwise_convolution_goes_by_its_own_input(multiplier: int) -> None:
    net = Network()
    x, channels = net.input("x", (1, 9, 9, 4)), 4 * multiplier
    w = net.constant("w", gaussian((1, 3, 3, channels), 1))
    options = Table("DepthwiseConv2DOptions", stride_w=1, stride_h=1, padding=1, depth_multiplier=multiplier)
    model = net.done(net.op("DEPTHWISE_CONV_2D", [x, w, -1], "y", (1, 7, 7, channels), options))
    mixed = np.repeat(np.repeat(gaussian((20, 3, 3, 4), 2), 3, axis=1), 3, axis=2) + 0.2 * gaussian((20, 9, 9, 4), 3)
    data = {"x": (mixed * np.array([1, 2, 0, 4]) + np.array([0, 1, 0, 3])).astype(np.float32)}
    known = gram(model, data, runner="numpy")
    assert known["w"].values.shape == (4, 10, 10)
    edits = [ql.cluster(model, 4, refit=r) for r in (None, known)]
    made = [ql.run(m, data)["y"].astype(np.float64) for m in (model, *(e.model for e in edits))]
    errors = [np.square(y - made[0]).sum(axis=(0, 1, 2, 3)) for y in made[1:]]
    by_channel = [np.square(y - made[0]).reshape(-1, channels).sum(axis=0) for y in made[1:]]
    assert errors[1] < 0.5 * errors[0]
    assert (by_channel[1][: 2 * multiplier] < by_channel[0][: 2 * multiplier]).all()
    assert np.unique(stored(edits[1].model, "w")).size == 4


@pytest.mark.parametrize("form", ["", "float16"])
@pytest.mark.parametrize("way", WAYS)
def test_the_bias_keeps_the_mean(form: str, way: dict[str, Any]) -> None:
    model = pruned.model(form)
    edited = ql.cluster(model, 3, only="first", refit=measured(form), **way)
    means = []
    for m in (model, edited.model, ql.cluster(model, 3, only="first", **way).model):
        reading = readings(m)["first/kernel"]
        assert isinstance(reading, Reading)
        weights, bias = reading.values(m)
        assert bias is not None
        padded = np.pad(DATA["image"].reshape(-1, 8, 8, 3), ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
        means.append((windows.reshape(-1, 27) @ weights.T + bias).mean(axis=0))
    np.testing.assert_allclose(means[1], means[0], atol=1e-5)
    assert np.abs(means[2] - means[0]).max() > 1e-3


def test_a_layer_without_a_bias_gets_one() -> None:
    net, y = product(gaussian((4, 12)))
    model, x = net.done(y), gaussian((30, 12), 2) + 1
    edited = ql.cluster(model, 3, refit=gram(model, x, runner="numpy"))
    added = edited.model.tensor("fc/bias").numpy()
    assert added.shape == (4,)
    old, new = (ql.run(m, x)["fc"].mean(axis=0) for m in (model, edited.model))
    np.testing.assert_allclose(new, old, atol=1e-5)
    for resolver in RESOLVERS:
        assert np.isfinite(run(edited.model, resolver)[0]).all()


def test_a_bias_that_another_operator_reads_stays_for_it() -> None:
    net = Network()
    x = net.input("x", (1, 16))
    b = net.constant("b", gaussian((16,)))
    for i in range(2):
        w = net.constant(f"w{i}", gaussian((16, 16), i))
        x = net.op("FULLY_CONNECTED", [x, w, b], f"y{i}", (1, 16), Table("FullyConnectedOptions"))
    model = net.done(x)
    known = gram(model, gaussian((40, 16), 9), ["w1"], runner="numpy")
    edited = ql.cluster(model, 4, refit=known)
    used = [edited.model.tensor((0, int(o.inputs[2]))).numpy() for o in edited.model.subgraphs[0].operators]
    np.testing.assert_array_equal(used[0], gaussian((16,)))
    assert not np.array_equal(used[1], used[0])
    assert [line.what.rpartition(", ")[2] for line in edited.done] == [
        "not refitted: nothing is given of what it reads",
        "refitted",
    ]


def test_a_bias_that_is_computed_stays() -> None:
    net = Network()
    x, c = net.input("x", (1, 12)), net.input("c", (4,))
    w = net.constant("fc/kernel", gaussian((4, 12)))
    model = net.done(net.op("FULLY_CONNECTED", [x, w, c], "fc", (1, 4), Table("FullyConnectedOptions")))
    data = {"x": gaussian((30, 12), 2) @ gaussian((12, 12), 3) + 10, "c": np.zeros((30, 4), np.float32)}
    edits = [ql.cluster(model, 3, refit=r) for r in (None, gram(model, data, runner="numpy"))]
    assert [o.inputs.tolist() for o in edits[1].model.subgraphs[0].operators] == [[x, w, c]]
    wanted, simple, fitted = (ql.run(m, data)["fc"] for m in (model, *(e.model for e in edits)))
    assert np.square(fitted - wanted).sum() < 0.5 * np.square(simple - wanted).sum()


def test_what_is_always_zero_says_nothing() -> None:
    net, y = product(gaussian((4, 12)))
    model = net.done(y)
    known = gram(model, np.zeros((5, 12), np.float32), runner="numpy")
    edits = [ql.cluster(model, 5, refit=r).model for r in (None, known)]
    np.testing.assert_array_equal(*(stored(m, "fc/kernel") for m in edits))
    assert not stored(edits[1], "fc/bias").any()


# ---- with other edits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("preserve", [True, False])
@pytest.mark.parametrize("recipe", ["", "float16"])
def test_what_is_stored_sparse_stays_so(way: dict[str, Any], preserve: bool, recipe: str) -> None:
    models = [
        ql.prune(classifier(), 0.9, first_last=True, min_elements=0, encode=encode).model for encode in (True, False)
    ]
    if recipe:
        models = [ql.quantize(m, recipe) for m in models]
    data = gaussian((20, 16, 16, 3), 4)
    names = [n for n in readings(models[0]) if "dense" not in n]
    made = []
    for model in models:
        known = gram(model, data, names, runner="numpy")
        assert len(known) == 2
        made.append(ql.cluster(model, 8, refit=known, preserve_zeros=preserve, **way))
    assert any(t.table.sparsity is not None for t in models[0].tensors())
    for tensor in models[0].tensors():
        after = made[0].model.tensor((0, tensor.index))
        assert (after.table.sparsity is None) == (tensor.table.sparsity is None)
        if tensor.table.sparsity is not None or (preserve and "kernel" in tensor.name and tensor.is_constant):
            assert not after.numpy()[tensor.numpy() == 0].any()
    if preserve:
        figures = [[line.figures["rmse"] for line in e.done] for e in made]
        np.testing.assert_allclose(*figures, rtol=1e-6)
        for a, b in zip(run(made[0].model, "reference"), run(made[1].model, "reference"), strict=True):
            np.testing.assert_array_equal(a, b)


def test_prune_cluster_quantize_keeps_zeros_and_integers() -> None:
    model = pruned.model()
    thin = ql.prune(model, 0.5, refit=measured(""), first_last=True, min_elements=0).model
    grid = ql.cluster(thin, 12, grid="int8", refit=gram(thin, DATA, runner="numpy")).model
    small = ql.quantize(grid, ql.recipes.int8(), ql.calibrate(grid, DATA))
    for name in NAMES:
        assert np.unique(stored(small, name)).size == 12
        assert not stored(small, name)[stored(thin, name) == 0].any()
        np.testing.assert_array_equal(small.tensor(name).real(), stored(grid, name))


def test_nothing_known_is_as_without_but_for_words() -> None:
    simple, empty = (ql.cluster(pruned.model(), 7, refit=r) for r in (None, {}))
    assert simple.model.to_bytes() == empty.model.to_bytes()
    assert empty.totals == {**simple.totals, "refitted": 0}
    assert {line.what.rpartition(", ")[2] for line in empty.done} == {
        "not refitted: nothing is given of what it reads"
    }


def test_what_is_left_out_is_not_refitted() -> None:
    edited = ql.cluster(pruned.model(), 4, refit={WIDE: products(32)}, skip="wide")
    assert (edited.totals["refitted"], [str(line) for line in edited.kept]) == (0, [f"{WIDE}: left out by skip"])


def test_what_has_few_values_is_left_alone() -> None:
    net, y = product((np.arange(48) % 5).astype(np.float32).reshape(4, 12))
    moved = Gram(products(12).values, 0.6 * products(12).values)  # of a layer whose inputs have changed
    edited = ql.cluster(net.done(y), 5, refit={"fc/kernel": moved})
    assert not edited.done
    assert [str(line) for line in edited.kept] == ["fc/kernel: 5 different values in all, no more than 5"]


def test_weights_that_can_not_be_refitted_say_why() -> None:
    edited = ql.cluster(pruned.shared(), 5, refit={})
    assert {line.what.rpartition(", ")[2] for line in edited.done} == {"not refitted: several operators read it"}


# ---- what is given refitted --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["", "float16"])
@pytest.mark.parametrize("way", WAYS)
def test_what_was_found_before_is_stored(form: str, way: dict[str, Any]) -> None:
    model = pruned.model(form)
    first = ql.cluster(model, 6, refit=measured(form), **way)
    fits = {}
    for line in first.done:
        reading = readings(first.model)[line.where]
        assert isinstance(reading, Reading)
        weights, bias = reading.values(first.model)
        fits[line.where] = Refitted(reading.weights(weights), bias)
    again = ql.cluster(model, 6, refit=fits, **way)
    assert again.model.to_bytes() == first.model.to_bytes()
    assert again.to_dict() == first.to_dict()


def few(shape: tuple[int, ...] = (64, 1, 1, 32), values: int = 4, **changes: Any) -> Refitted:
    weights = (np.arange(np.prod(shape)) % values).astype(np.float32).reshape(shape)
    return Refitted(**{"weights": weights, "bias": None, **changes})


@pytest.mark.parametrize(
    ("refit", "options", "message"),
    [
        ({WIDE: 1.0}, {}, "refit isn't a mapping of weights' names to Gram or Refitted"),
        ([products(3)], {}, "refit isn't a mapping"),
        ({"nowhere": products(3)}, {}, "refit names 'nowhere', and the model has no such weight; refit this model"),
        ({WIDE: products(7)}, {}, f"{WIDE}: products of 1 groups of 7, and it has 32 inputs"),
        ({WIDE: products(32, 2)}, {}, f"{WIDE}: products of 2 groups of 32"),
        (
            {WIDE: Gram(1 - np.eye(33)[None])},
            {},
            f"{WIDE}: products that no samples have: they aren't positive definite",
        ),
        ({WIDE: few((3, 3))}, {}, rf"{WIDE}: refitted values of shape \(3, 3\); finite float32 \(64, 1, 1, 32\)"),
        ({WIDE: few(weights=np.zeros((64, 1, 1, 32)))}, {}, "finite float32"),
        ({WIDE: few(weights=np.full((64, 1, 1, 32), np.nan, np.float32))}, {}, "finite float32"),
        ({WIDE: few(bias=np.zeros(3, np.float32))}, {}, "a bias for each of 64 outputs or none"),
        ({WIDE: few(bias=np.full(64, np.inf, np.float32))}, {}, "finite float32"),
        ({WIDE: few(values=5)}, {}, f"{WIDE}: 5 different refitted values, and 4 are asked for; refit for so many"),
        ({WIDE: few(values=5)}, {"per": "channel"}, "5 different refitted values, and 4 are asked for"),
        (
            {WIDE: few()},
            {"grid": "int8"},
            f"{WIDE}: refitted values that aren't on the grid; refit with the same grid",
        ),
    ],
)
def test_bad_requests(refit: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message) as found:
        ql.cluster(pruned.model(), 4, refit=refit, **options)
    assert "\n" not in str(found.value)


def test_zeros_that_have_to_stay_are_refused_other_values() -> None:
    thin = ql.prune(pruned.model(), 0.5).model
    with pytest.raises(InvalidValue, match=f"{WIDE}: refitted values where zeros have to stay"):
        ql.cluster(thin, 4, refit={WIDE: few()})
    assert ql.cluster(thin, 4, refit={WIDE: few()}, preserve_zeros=False).done


def test_what_can_not_be_refitted_is_refused_by_name() -> None:
    for mode in ("weight-only", "int8"):
        with pytest.raises(
            InvalidValue, match="conv/kernel can't be refitted: INT8 weights stay on their grid; leave"
        ):
            ql.cluster(pruned.model(mode), 4, refit={"conv/kernel": products(144)})
    net = Network()
    x, buffer = net.input("x", (1, 8)), net.draft.add_buffer(gaussian((8, 8)))
    for name in ("one", "other"):
        x = net.fully_connected(name, x, net.constant(f"{name}/kernel", gaussian((8, 8)), buffer=buffer))
    model = net.done(x)
    for name in ("one/kernel", "other/kernel"):
        with pytest.raises(InvalidValue, match=f"{name} can't be refitted: several operators read it; leave it out"):
            ql.cluster(model, 4, refit={name: products(8)})

"""Pruning by what samples say: refitted weights, corrected biases, which layers can be, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue
from quantlib.evaluation import gram
from quantlib.numerics import Gram, Refitted, magnitude_mask, zeros_of
from quantlib.passes import Reading, readings
from quantlib.runners import run as run_samples
from quantlib.tflite import Model, Table
from tests.support import pruned
from tests.support.litert import RESOLVERS, run
from tests.support.network import Network, gaussian
from tests.support.planned import calibrated, samples
from tests.support.pruned import INNER, zeros

ALL: dict[str, Any] = {"min_elements": 0}


def said(edited: Any) -> dict[str, Any]:
    return {line.where: line.figures.get("samples") for line in edited.done}


def dense(bias: bool = True, **options: Any) -> Network:
    """One product: 12 in, 8 out."""
    net = Network()
    x = net.input("x", (1, 12))
    if bias:
        net.fully_connected("y", x, gaussian((8, 12), 1), **options)
    else:
        w = net.constant("y/kernel", gaussian((8, 12), 1))
        net.op("FULLY_CONNECTED", [x, w, -1], "y", (1, 8), Table("FullyConnectedOptions", **options))
    return net


def model_of(net: Network) -> Model:
    return net.done(len(net.graph.tensors) - 1)


# ---- refitted ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "1x4"])
def test_a_product_is_least_squares_on_the_columns_that_stay(bias: bool, pattern: str) -> None:
    model = model_of(dense(bias))
    x = gaussian((64, 12), 2) @ gaussian((12, 12), 3) + 1
    edited = ql.prune(model, pattern=pattern, refit=gram(model, x, runner="numpy"), first_last=True, **ALL)
    assert said(edited) == {"y/kernel": "refitted"}
    assert edited.totals["refitted"] == 1
    old, new = model.tensor("y/kernel").numpy(), edited.model.tensor("y/kernel").numpy()
    made = edited.model.tensor("y/bias").numpy()
    wanted = x @ old.T + (model.tensor("y/bias").numpy() if bias else 0)
    assert zeros(edited.model.tensor("y/kernel")) == 48
    for r in range(8):
        keep = np.flatnonzero(new[r])
        columns = np.concatenate([x[:, keep], np.ones((64, 1))], axis=1)
        found = np.linalg.lstsq(columns, wanted[:, r], rcond=None)[0]
        least, got = (np.square(columns @ c - wanted[:, r]).mean() for c in (found, np.append(new[r, keep], made[r])))
        assert got == pytest.approx(least, rel=0.01, abs=1e-3)  # but for what damps it
    for resolver in RESOLVERS:
        assert np.isfinite(run(edited.model, resolver)[0]).all()


@pytest.mark.parametrize("ranking", ["tensor", "global"])
def test_outputs_are_nearer_than_by_magnitude(ranking: str) -> None:
    model, data = pruned.model(), samples(pruned.layers(), 24)
    found = gram(model, data, runner="numpy")
    plain = ql.prune(model, 0.6, ranking=ranking, **ALL)
    fitted = ql.prune(model, 0.6, ranking=ranking, refit=found, **ALL)
    assert set(said(fitted).values()) == {"refitted"}
    assert fitted.totals["zeros"] == plain.totals["zeros"]
    if ranking == "tensor":
        assert all(zeros(fitted.model.tensor(n)) == zeros_of(model.tensor(n).numpy().size, 0.6) for n in INNER)
    held_back = {"image": gaussian((12, 8, 8, 3), 99)}
    less, more = (ql.compare(model, e.model, held_back, runner="numpy").outputs[0].sqnr_db for e in (plain, fitted))
    assert more > less + 3
    again = ql.prune(model, 0.6, ranking=ranking, refit=gram(model, data, runner="numpy"), **ALL)
    assert again.model.to_bytes() == fitted.model.to_bytes()


def test_it_composes_with_float16_and_encoding() -> None:
    model = pruned.model("float16")
    data = samples(pruned.layers(), 12)
    found = gram(model, data, runner="numpy")
    edited, encoded = (ql.prune(model, 0.75, refit=found, encode=e) for e in (False, True))
    assert set(said(edited).values()) == {"refitted"}
    assert edited.model.tensor("conv/kernel").type == "FLOAT16"
    assert zeros(edited.model.tensor("conv/kernel")) >= 3456
    assert len(encoded.model.to_bytes()) < len(edited.model.to_bytes())
    for resolver in RESOLVERS:
        a, b = run(edited.model, resolver)[0], run(encoded.model, resolver)[0]
        assert np.array_equal(a, b)


def test_a_weight_of_which_nothing_is_given_goes_by_magnitude() -> None:
    model, data = pruned.model(), samples(pruned.layers(), 8)
    found = gram(model, data, ["conv/kernel"], runner="numpy")
    assert set(found) == {"conv/kernel"}
    edited = ql.prune(model, 0.6, ranking="global", refit=found)
    assert said(edited)["conv/kernel"] == "refitted"
    assert said(edited)["wide/kernel"] == "not refitted: nothing is given of what it reads"
    before, after = (m.tensor("wide/kernel").numpy() for m in (model, edited.model))
    assert np.array_equal(after, np.where(magnitude_mask(before, 0.6), before, 0))


def test_what_is_given_refitted_is_stored() -> None:
    model = pruned.model()
    weights = np.where(magnitude_mask(model.tensor("conv/kernel").numpy(), 0.5), np.float32(0.25), np.float32(0))
    bias = np.arange(32, dtype=np.float32)
    edited = ql.prune(model, 0.5, refit={"conv/kernel": Refitted(weights, bias)}, only="conv$|conv/")
    assert np.array_equal(edited.model.tensor("conv/kernel").numpy(), weights)
    assert np.array_equal(edited.model.tensor("conv/bias").numpy(), bias)
    assert [t.name for t in edited.model.tensors()] == [t.name for t in model.tensors()]


# ---- which layers ------------------------------------------------------------------------------------------------


def test_readings_say_why_not() -> None:
    net = Network()
    x = net.input("x", (1, 5000))
    y = net.fully_connected("long", x, gaussian((64, 5000)))
    w = net.constant("twice", gaussian((64, 64)))
    for i in range(2):
        y = net.fully_connected(f"t{i}", y, w)
    y = net.op("RESHAPE", [y, net.constant("s", np.array([1, 1, 1, 64], np.int32))], "r", (1, 1, 1, 64))
    filters = net.constant("groups", gaussian((8, 1, 1, 16)))
    y = net.op("CONV_2D", [y, filters, -1], "g", (1, 1, 1, 8), Table("Conv2DOptions", stride_w=1, stride_h=1))
    found = readings(net.done(y))
    assert found["long/kernel"] == "each output is a sum of 5,000 products, more than 4,096"
    assert found["twice"] == "several operators read it"
    assert found["groups"] == "a grouped convolution"
    assert all(isinstance(v, Reading) for v in readings(pruned.model()).values())
    assert set(readings(pruned.model("weight-only")).values()) == {"INT8 weights stay on their grid"}
    assert set(readings(pruned.model("int8")).values()) == {"INT8 weights stay on their grid"}


@pytest.mark.parametrize("bias", [True, False])
def test_a_bias_that_another_operator_reads_stays(bias: bool) -> None:
    net = Network()
    x = net.input("x", (1, 16))
    b = net.constant("b", gaussian((16,))) if bias else -1
    options = Table("FullyConnectedOptions")
    for i in range(3):
        x = net.op("FULLY_CONNECTED", [x, net.constant(f"w{i}", gaussian((16, 16), i)), b], f"y{i}", (1, 16), options)
    model = net.done(x)
    edited = ql.prune(model, 0.5, refit=gram(model, gaussian((40, 16), 9), runner="numpy"), **ALL)
    assert said(edited) == {"w1": "refitted"}
    old, new = model.subgraphs[0].operators, edited.model.subgraphs[0].operators
    used = [edited.model.tensor((0, int(o.inputs[2]))) if o.inputs[2] >= 0 else None for o in new]
    assert used[1] is not None
    assert used[1].name == ("b" if bias else "y1/bias")
    if bias:
        before = model.tensor((0, int(old[1].inputs[2]))).numpy()
        assert used[0] is not None
        assert np.array_equal(used[0].numpy(), before)
        assert not np.array_equal(used[1].numpy(), before)
    else:
        assert used[0] is used[2] is None
    for resolver in RESOLVERS:
        assert np.isfinite(run(edited.model, resolver)[0]).all()


# ---- biases alone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_biases_are_exact_on_constant_inputs(bias: bool) -> None:
    model = model_of(dense(bias))
    x = np.tile(np.linspace(-2, 3, 12, dtype=np.float32), (4, 1))
    edited = ql.prune(model, 0.5, statistics=calibrated(model, {"x": x}), first_last=True, **ALL)
    assert said(edited) == {"y/kernel": "bias corrected"}
    assert edited.totals["biases_corrected"] == 1
    a, b = (run_samples(m, x)["y"] for m in (model, edited.model))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    plain = run_samples(ql.prune(model, 0.5, first_last=True, **ALL).model, x)["y"]
    assert np.abs(plain - a).max() > 0.1


@pytest.mark.parametrize("mode", ["", "float16", "dynamic", "weight-only"])
def test_biases_of_every_kind_of_layer(mode: str) -> None:
    """A flat image: means by channel say all, but at the borders."""
    plain, model = pruned.model(), pruned.model(mode)
    flat = np.broadcast_to(np.array([1.0, -2.0, 0.5], np.float32), (2, 8, 8, 3)).copy()
    for name in INNER:
        found = calibrated(model, {"image": flat})
        edited = ql.prune(model, 0.5, statistics=found, only=f"^{name}$", **ALL)
        if mode == "dynamic" and name == "conv/kernel":
            assert said(edited) == {name: "bias corrected"}
        layer = name.removesuffix("/kernel")
        means = []
        for m in (model, edited.model, ql.prune(model, 0.5, only=f"^{name}$", **ALL).model):
            values = run_samples(m, {"image": flat}, all_tensors=True)
            means.append(values[layer].reshape(-1, values[layer].shape[-1]).mean(axis=0))
        assert np.abs(means[1] - means[0]).mean() < 0.5 * np.abs(means[2] - means[0]).mean(), name
    assert plain.tensor("conv/bias").shape == (32,)


def test_biases_where_a_channel_has_several_filters() -> None:
    net = Network()
    x, w = net.input("x", (1, 1, 1, 4)), net.constant("y/kernel", gaussian((1, 1, 1, 12), 1))
    options = Table("DepthwiseConv2DOptions", stride_w=1, stride_h=1, depth_multiplier=3)
    b = net.constant("b", gaussian((12,)))
    model = net.done(net.op("DEPTHWISE_CONV_2D", [x, w, b], "y", (1, 1, 1, 12), options))
    x = np.tile(np.array([1.0, -2.0, 3.0, 0.5], np.float32), (2, 1, 1, 1))
    edited = ql.prune(model, 0.5, statistics=calibrated(model, {"x": x}), first_last=True, **ALL)
    found = [run_samples(m, x)["y"] for m in (model, edited.model)]
    np.testing.assert_allclose(*found, rtol=1e-6)
    assert zeros(edited.model.tensor("y/kernel")) == 6


def test_biases_that_stay_say_why() -> None:
    model = pruned.model()
    other = calibrated(model_of(dense()), {"x": gaussian((4, 12))})
    with pytest.raises(InvalidValue, match="the statistics are of a model with SHA-256"):
        ql.prune(model, statistics=other)
    small = pruned.model("int8")
    found = said(ql.prune(small, statistics=calibrated(small, samples(pruned.layers(), 2))))
    assert set(found.values()) == {"bias not corrected: it computes with INT8 activations"}


# ---- bad requests ------------------------------------------------------------------------------------------------


def product(inputs: int) -> Gram:
    return Gram(np.eye(inputs + 1)[None])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refit": {"conv/kernel": 1.0}}, "refit isn't a mapping of weights' names to Gram or Refitted"),
        ({"refit": [product(3)]}, "refit isn't a mapping"),
        ({"refit": {}, "sensitivity": {}}, "a sensitivity says nothing beside refit"),
        ({"refit": {"conv/kernel": product(7)}}, "conv/kernel: products of 1 groups of 7, and it has 144 inputs"),
        ({"refit": {"nowhere": product(7)}}, "refit names 'nowhere' and none of the weights that are pruned"),
        (
            {"refit": {"wide/kernel": Refitted(np.zeros((3, 3), np.float32))}},
            r"wide/kernel: refitted values of shape \(3, 3\)",
        ),
        (
            {"refit": {"wide/kernel": Refitted(np.ones((64, 1, 1, 32), np.float32))}},
            "0 of 2,048 refitted values are zero, and a sparsity of 0.5 asks for more",
        ),
        (
            {"refit": {"wide/kernel": Refitted(np.full((64, 1, 1, 32), np.nan, np.float32))}},
            "finite float32",
        ),
    ],
)
def test_bad_requests(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message) as found:
        ql.prune(pruned.model(), **options)
    assert "\n" not in str(found.value)


def test_what_can_not_be_refitted_is_refused_by_name() -> None:
    with pytest.raises(InvalidValue, match="conv/kernel can't be refitted: INT8 weights stay on their grid"):
        ql.prune(pruned.model("weight-only"), refit={"conv/kernel": product(144)})
    model = pruned.model()
    broken = model.tensor("conv/kernel").numpy().copy()
    broken[0, 0, 0, 0] = np.inf
    with pytest.raises(InvalidValue, match="conv/kernel: its values aren't all finite"):
        ql.prune(model.replace("conv/kernel", data=broken), refit={"conv/kernel": product(144)})

"""Scales of weights and biases of integer products."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import quantlib as ql
from quantlib.numerics import Affine, PerAxis, PerTensor
from quantlib.recipes import OperatorPlan, Plan
from quantlib.tflite import Model, Table
from tests.support.network import Network, gaussian
from tests.support.networks import example
from tests.support.planned import decibels, of_example, operator, planned, recipe, run, samples, valid

Array = npt.NDArray[Any]
BIAS = {"int8": "INT32", "int16x8": "INT64", "uint8": "INT32", "int8-int4": "INT32"}


def forms(found: OperatorPlan) -> tuple[Affine, Affine, Affine]:
    """Of data, weight and bias."""
    data, weight, bias = (2, 1, 3) if found.type == "TRANSPOSE_CONV" else (0, 1, 2)
    chosen = tuple(found.inputs[k] for k in (data, weight, bias))
    assert None not in chosen
    return chosen  # type: ignore[return-value]  # none of them is None


def check_bias(plan: Plan) -> int:
    """The scale of every bias is the product of those of what it is added to; how many there are."""
    count = 0
    for found in plan.operators:
        if found.type not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
            continue
        data, weight, bias = forms(found)
        np.testing.assert_array_equal(bias.scale, (data.scale * weight.scale).astype(np.float32))
        assert not bias.zero_point.any()
        count += 1
    return count


def layers(**options: Any) -> tuple[Network, Model]:
    net = Network()
    x = net.input("x", (1, 4, 4, 3))
    conv = net.convolution("conv", x, gaussian((5, 3, 3, 3), 1, 0.2), **options)
    deep = net.convolution("deep", conv, gaussian((1, 3, 3, 5), 2, 0.3), depthwise=True)
    size = net.constant("size", np.array([1, 8, 8, 2], "i4"))
    w, b = net.constant("up/kernel", gaussian((2, 2, 2, 5), 3, 0.3)), net.constant("up/bias", gaussian((2,), 4))
    stride = Table("TransposeConvOptions", stride_w=2, stride_h=2)
    up = net.op("TRANSPOSE_CONV", [size, w, deep, b], "up", (1, 8, 8, 2), stride, version=3)
    shape = net.constant("shape", np.array([1, 128], "i4"))
    flat = net.op("RESHAPE", [up, shape], "flat", (1, 128), Table("ReshapeOptions", new_shape=[1, 128]))
    return net, net.done(net.fully_connected("dense", flat, gaussian((7, 128), 5, 0.1)))


AXES = {"conv": 0, "deep": 3, "up": 0, "dense": 0}


@pytest.mark.parametrize("mode", ["int8", "int16x8", "int8-int4"])
def test_weights_have_a_scale_by_output_channel_and_zero_point_0(mode: str) -> None:
    net, model = layers()
    plan = planned(model, samples(net), mode)
    for name, axis in AXES.items():
        _, weight, bias = forms(operator(plan, name))
        assert weight.granularity == PerAxis(axis)
        assert (weight.narrow_range, bool(weight.zero_point.any())) == (True, False)
        assert weight.type.name == ("INT4" if mode == "int8-int4" and name != "up" else "INT8")
        assert bias.type.name == BIAS[mode]
        assert bias.granularity == PerAxis(0)
        kernel = model.tensor(f"{name}/kernel").numpy()
        others = tuple(a for a in range(kernel.ndim) if a != axis)
        greatest = 7 if weight.type.name == "INT4" else 127
        np.testing.assert_allclose(weight.scale, np.abs(kernel).max(axis=others) / greatest, rtol=1e-6)
    assert check_bias(plan) == 4
    valid(ql.quantize(model, plan), model)


@pytest.mark.parametrize(
    ("changes", "single"),
    [
        ({"granularity": "tensor"}, set(AXES)),
        ({"per_tensor_types": ("FULLY_CONNECTED",)}, {"dense"}),
        ({"per_tensor_types": ("CONV_2D", "DEPTHWISE_CONV_2D")}, {"conv", "deep"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["int8", "int16x8"])
def test_one_scale_for_the_types_that_the_recipe_names(mode: str, changes: dict[str, Any], single: set[str]) -> None:
    net, model = layers()
    plan = planned(model, samples(net), mode, **changes)
    for name in AXES:
        _, weight, bias = forms(operator(plan, name))
        assert (weight.scale.size == bias.scale.size == 1) == (name in single)
        assert (weight.granularity == PerTensor()) == (name in single)
    assert check_bias(plan) == 4
    valid(ql.quantize(model, plan), model)


def test_uint8_weights_have_one_scale_and_a_zero_point() -> None:
    net, model = layers()
    plan = planned(model, samples(net), "uint8")
    for name in AXES:
        _, weight, bias = forms(operator(plan, name))
        kernel = model.tensor(f"{name}/kernel").numpy()
        assert (weight.type.name, weight.narrow_range, weight.scale.size) == ("UINT8", False, 1)
        assert float(weight.scale[0]) == pytest.approx((kernel.max() - kernel.min()) / 255, rel=1e-6)
        assert 0 < weight.zero_point[0] < 255
        assert bias.scale.size == 1
    assert check_bias(plan) == 4
    valid(ql.quantize(model, plan), model)


# ---- biases too large for their type -------------------------------------------------------------------------


def heavy(bias: Array) -> tuple[Network, Model]:
    net = Network()
    return net, net.done(net.fully_connected("y", net.input("x", (1, 8)), gaussian((4, 8), 1), bias))


@pytest.mark.parametrize(
    ("mode", "limit", "size"), [("int8", 30, 1e7), ("uint8", 30, 1e7), ("int16x8", 38, 1e7), ("int8-int4", 26, 1e7)]
)
def test_a_bias_that_would_not_fit_raises_its_channels_scale(mode: str, limit: int, size: float) -> None:
    """Half of INT32; of that a sixteenth beside INT4 weights, which XNNPACK multiplies by 16 with all sums."""
    bias = np.array([1, -size, 0.5, 2], "f4")
    _, model = heavy(bias)
    data = {"x": gaussian((8, 1, 8), 1)}
    plan, light = planned(model, data, mode), planned(heavy(bias / np.float32(size))[1], data, mode)
    found = operator(plan, "y")
    given, weight, scales = forms(found)
    before = forms(operator(light, "y"))[1]
    raised = [True] if mode == "uint8" else [False, True, False, False]
    np.testing.assert_array_equal(weight.scale > before.scale, raised)
    np.testing.assert_array_equal(weight.scale[~np.array(raised)], before.scale[~np.array(raised)])
    note = f"scale of 1 channels raised, whose bias would not fit {BIAS[mode]}"
    assert note in found.notes
    assert not any("raised" in text for text in operator(light, "y").notes)
    stored = np.abs(bias / (given.scale.astype("f8") * weight.scale.astype("f8")))
    assert stored.max() == pytest.approx(2.0**limit, rel=1e-6)
    np.testing.assert_array_equal(scales.scale, (given.scale * weight.scale).astype("f4"))
    made = valid(ql.quantize(model, plan), model)
    for resolver in ("default", "builtin", "reference"):
        (y,) = run(made, {"x": data["x"][0]}, resolver)
        np.testing.assert_allclose(y[0, 1], -size, rtol=1 / 200)


# ---- constants of several readers --------------------------------------------------------------------------


def test_a_shared_weight_has_one_scale_and_its_biases_two() -> None:
    made = example("shared_weights")
    plan = ql.plan(made.model, "int8", of_example(made))
    first, second, third = (forms(operator(plan, name)) for name in ("first", "second", "third"))
    assert first[1] == second[1] == third[1]
    assert first[0] != second[0]
    assert (first[2].scale > 5 * second[2].scale).all()
    assert check_bias(plan) == 3
    small = valid(ql.quantize(made.model, plan), made.model)
    kernels = [t for t in small.tensors() if t.is_constant and t.type == "INT8" and t.shape == (8, 8)]
    assert len({t.table.buffer for t in kernels}) == len({t.numpy().tobytes() for t in kernels})


def test_a_shared_weight_of_which_one_reader_raises_the_scale() -> None:
    net = Network()
    x, other = net.input("x", (1, 8)), net.input("other", (1, 8))
    w = net.constant("kernel", gaussian((4, 8), 1, 1e-3))
    heavy = np.array([0, 1e5, 0, 0], "f4")
    a = net.fully_connected("a", x, w, heavy)
    model = net.done(a, net.fully_connected("b", other, w, np.zeros(4, "f4")))
    data = {"x": gaussian((8, 1, 8), 1, 1e-3), "other": gaussian((8, 1, 8), 2)}
    plan = planned(model, data)
    raised, plain = (forms(operator(plan, name))[1] for name in "ab")
    np.testing.assert_array_equal(raised.scale > plain.scale, [False, True, False, False])
    made = valid(ql.quantize(model, plan), model)
    assert min(decibels(model, made, data)) > 30


@pytest.mark.parametrize("mode", ["int8", "int16x8", "uint8"])
@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"])
@pytest.mark.parametrize("given", [2, 3], ids=["absent", "empty"])
def test_a_layer_without_a_bias(name: str, mode: str, given: int) -> None:
    """All kernels but FULLY_CONNECTED's need one; the plan says its scale, and zeros stand there."""
    net = Network()
    shape = (1, 8) if name == "FULLY_CONNECTED" else (1, 4, 4, 3)
    x = net.input("x", shape)
    filters = {"CONV_2D": (5, 1, 1, 3), "DEPTHWISE_CONV_2D": (1, 3, 3, 3), "TRANSPOSE_CONV": (5, 1, 1, 3)}
    w = net.constant("w", gaussian(filters.get(name, (5, 8)), 1))
    channels = 3 if name.startswith("DEPTH") else 5
    options = {
        "CONV_2D": Table("Conv2DOptions", stride_w=1, stride_h=1),
        "DEPTHWISE_CONV_2D": Table("DepthwiseConv2DOptions", stride_w=1, stride_h=1, depth_multiplier=1),
        "TRANSPOSE_CONV": Table("TransposeConvOptions", stride_w=1, stride_h=1),
        "FULLY_CONNECTED": Table("FullyConnectedOptions"),
    }[name]
    size = net.constant("size", np.array([1, 4, 4, 5], "i4"))
    inputs = [size, w, x] if name == "TRANSPOSE_CONV" else [x, w]
    inputs += [-1] * (given - 2)
    model = net.done(net.op(name, inputs, "y", (*shape[:-1], channels), options))
    data = samples(net)
    plan = planned(model, data, mode)
    made = valid(ql.quantize(model, plan), model)
    if name != "FULLY_CONNECTED":
        assert check_bias(plan) == 1
        bias = next(t for t in made.tensors() if t.name == "y/bias")
        assert (bias.type, bias.shape, bias.numpy().any()) == (BIAS[mode], (channels,), False)
    for resolver in ("default", "builtin", "reference"):
        assert min(decibels(model, made, data, resolver)) > 30


@pytest.mark.parametrize("weight_range", ["minmax", "mse"])
def test_weights_may_be_clipped_where_that_errs_less(weight_range: str) -> None:
    net = Network()
    w = gaussian((4, 256), 1)
    model = net.done(net.fully_connected("y", net.input("x", (1, 256)), w))
    plan = planned(model, samples(net), "int8-int4", weight_range=weight_range)
    _, weight, _ = forms(operator(plan, "y"))
    whole = np.abs(w).max(axis=1) / 7
    assert ((weight.scale < 0.95 * whole) == (weight_range == "mse")).all()
    valid(ql.quantize(model, plan), model)


def test_a_weight_of_zeros_has_a_scale() -> None:
    made = example("degenerate")
    for mode in ("int8", "int16x8", "uint8", "int8-int4"):
        plan = ql.plan(made.model, recipe(mode), of_example(made))
        for name in ("dense", "dead"):
            _, weight, _ = forms(operator(plan, name))
            assert (weight.scale > 0).all()


def test_int4_beside_int16_is_not_for_depthwise_filters() -> None:
    """LiteRT's kernel reads the packed weights as bytes."""
    net, model = layers()
    data = samples(net)
    plan = planned(model, data, "int16x8", weights="INT4")
    types = {name: forms(operator(plan, name))[1].type.name for name in AXES}
    assert types == {"conv": "INT4", "deep": "INT8", "up": "INT8", "dense": "INT4"}
    small = ql.quantize(model, plan)
    assert min(decibels(model, small, data)) > 10
    assert ql.check(small, "litert").ok
    mixed = planned(model, data, weights="INT4", int16_types=("DEPTHWISE_CONV_2D",))
    assert forms(operator(mixed, "deep"))[1].type.name == "INT8"

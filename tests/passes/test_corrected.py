"""Biases that take up what balancing leaves, in whole models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.tflite import Model, Table
from tests.support.network import Array, Network, gaussian
from tests.support.planned import recipe, run


def depthwise(scale: float = 0.3) -> Model:
    """Few weights to each output, so that no choice of integers has the right sum."""
    net = Network()
    x = net.input("x", (1, 8, 8, 6))
    return net.done(net.convolution("depthwise", x, gaussian((1, 3, 3, 6), 2, scale), depthwise=True))


def samples() -> Array:
    return gaussian((30, 8, 8, 6), 4, 0.2) + np.linspace(1, 3, 6, dtype=np.float32)


def quantized(model: Model, mode: str, **changes: Any) -> Model:
    return ql.quantize(model, recipe(mode, **changes), ql.calibrate(model, samples()))


def biases(model: Model) -> dict[str, Array]:
    return {t.name: t.real() for t in model.tensors() if "bias" in t.name}


def drift(model: Model, made: Model) -> float:
    """How far outputs are off on average over all samples, within the image, where windows are whole."""
    found = [np.concatenate([run(m, {"x": x[None]})[0][:, 1:-1, 1:-1] for x in samples()]) for m in (model, made)]
    return float(np.abs((found[0].astype(np.float64) - found[1]).mean(axis=(0, 1, 2))).max())


def test_outputs_are_right_on_average() -> None:
    model = depthwise()
    nearest, balanced = quantized(model, "int16x8", rounding="nearest"), quantized(model, "int16x8")
    assert drift(model, balanced) < 0.006 * drift(model, nearest)


@pytest.mark.parametrize(("mode", "changed"), [("int8", False), ("uint8", False), ("int16x8", True)])
def test_beside_8_bits_the_bias_stays(mode: str, changed: bool) -> None:
    model = depthwise()
    nearest, balanced = (biases(quantized(model, mode, rounding=r)) for r in ("nearest", "balanced"))
    assert nearest.keys() == balanced.keys()
    for name, values in nearest.items():
        assert (values != balanced[name]).any() == changed


def test_a_bias_that_two_operators_share_is_two() -> None:
    """Each has the rest of its own weight."""
    net = Network()
    x = net.input("x", (1, 8))
    bias, options = net.constant("bias", np.linspace(-1, 1, 6, dtype=np.float32)), Table("FullyConnectedOptions")
    # of the same scales, so that the biases' scales are the same too
    weights = [net.constant(f"{k}/kernel", np.roll(gaussian((6, 8), 1), k, axis=1)) for k in range(2)]
    a, b = (net.op("FULLY_CONNECTED", [x, w, bias], f"out{w}", (1, 6), options) for w in weights)
    model = net.done(a, b)
    data = gaussian((30, 8), 4) + np.float32(2)
    made = ql.quantize(model, recipe("int16x8"), ql.calibrate(model, data))
    operators = made.subgraphs[0].operators
    one, two = (made.tensor((0, int(o.inputs[2]))) for o in operators if o.inputs is not None and len(o.inputs) == 3)
    assert one.index != two.index
    np.testing.assert_array_equal(one.quantization.scale, two.quantization.scale)
    for found in (one, two):
        assert 0 < np.abs(found.real() - np.linspace(-1, 1, 6)).max() < 0.2
    assert (one.real() != two.real()).any()


def test_a_model_comes_out_the_same_each_time_and_in_any_order() -> None:
    """What the weight found is what the bias would find alone."""
    made = quantized(depthwise(), "int16x8")
    first = made.to_bytes()
    assert first == made.to_bytes()
    alone = biases(quantized(depthwise(), "int16x8"))  # read without the weights
    for name, values in biases(ql.read(first)).items():
        np.testing.assert_array_equal(values, alone[name])

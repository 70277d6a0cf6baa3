"""Means of removed channels in the biases of the layers that read them."""

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue
from quantlib.passes import prune_channels
from quantlib.tflite import Table
from tests.support.channels import DEAD, chain, samples
from tests.support.litert import RESOLVERS, run
from tests.support.network import Network, gaussian


def constant_channels():
    """Layers whose channels 1 and 6 are always 2 and 0.5, so that their mean is all there is to them."""
    net = Network()
    x = net.input("x", (1, 6, 6, 3))
    filters = gaussian((8, 3, 3, 3), 1, 0.3)
    filters[list(DEAD)] = 0
    x = net.convolution("made", x, filters)
    bias = np.linspace(-1, 1, 8, dtype=np.float32)
    bias[list(DEAD)] = 2, 0.5
    at = net.graph.operators[-1].inputs[2]
    net.graph.tensors[at] = net.graph.tensors[at].replace(buffer=net.draft.add_buffer(bias))
    return net, x


def tail(net, x, how):
    if how == "TRANSPOSE_CONV":  # a stride of the filter's size: each output meets one place of it
        shape, w = net.constant("shape", np.array([1, 12, 12, 4], np.int32)), net.constant("w", np.repeat(
            np.repeat(gaussian((4, 1, 1, 8), 2), 2, 1), 2, 2))  # fmt: skip
        options = Table("TransposeConvOptions", stride_w=2, stride_h=2, padding=1)
        return net.op("TRANSPOSE_CONV", [shape, w, x], "last", (1, 12, 12, 4), options)
    if how == "CONV_2D":
        w, b = net.constant("w", gaussian((4, 3, 3, 8), 2)), net.constant("b", gaussian((4,), 3))
        options = Table("Conv2DOptions", stride_w=1, stride_h=1, padding=1)
        return net.op("CONV_2D", [x, w, b], "last", (1, 4, 4, 4), options)
    shape = net.constant("shape", np.array([1, 288], np.int32))
    flat = net.op("RESHAPE", [x, shape], "flat", (1, 288), Table("ReshapeOptions"))
    w = net.constant("w", gaussian((4, 288), 2))
    return net.op("FULLY_CONNECTED", [flat, w, -1], "last", (1, 4), Table("FullyConnectedOptions"))


@pytest.mark.parametrize("how", ["TRANSPOSE_CONV", "CONV_2D", "FULLY_CONNECTED"])
def test_what_is_constant_goes_into_biases_and_nothing_is_lost(how):
    net, x = constant_channels()
    model = net.done(tail(net, x, how))
    statistics = ql.calibrate(model, samples())
    edited = prune_channels(model, 0.25, first_last=True, statistics=statistics)
    plain = prune_channels(model, 0.25, first_last=True)
    assert edited.totals["biases_corrected"] == 1
    versions = {
        n: c.version for n, c in zip(edited.model.operator_names, edited.model.root.operator_codes, strict=True)
    }
    assert versions.get("TRANSPOSE_CONV", 3) == 3  # the first that takes a bias
    assert edited.model.tensor("made/kernel").shape[0] == 6
    for resolver in RESOLVERS:
        before, after, without = (run(m, resolver)[0] for m in (model, edited.model, plain.model))
        np.testing.assert_allclose(after, before, rtol=0, atol=2e-6 * np.abs(before).max())
        assert np.abs(without - before).max() > 0.1


def test_biases_of_integers_stay():
    """Calibration sees float activations alone; the float model is what to prune with statistics."""
    small = ql.quantize(chain(), "int8", ql.calibrate(chain(), samples()))
    edited = prune_channels(small, 0.5, statistics=ql.calibrate(small, samples()))
    assert edited.totals["biases_corrected"] == 0
    assert edited.model.to_bytes() == prune_channels(small, 0.5).model.to_bytes()


def test_statistics_of_another_model_are_refused():
    with pytest.raises(InvalidValue, match="statistics are of a model with SHA-256"):
        prune_channels(chain(), 0.5, statistics=ql.calibrate(chain(seed=3), samples()))

"""What stays INT8 where `retype` gives a model INT16 activations, and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue
from quantlib.passes import retype
from quantlib.tflite import GraphDraft, Model, Table
from tests.support.litert import RESOLVERS
from tests.support.models import constant, parameters
from tests.support.network import Network, gaussian
from tests.support.networks_integer import Integer
from tests.support.planned import decibels, names, planned, samples
from tests.support.widened import beside, both, widened

Array = npt.NDArray[Any]


# ---- what stays ---------------------------------------------------------------------------------------------------


def kept(model: Model) -> list[str]:
    return [str(line) for line in widened(model).kept]


def test_operators_without_a_kernel_stay_int8_and_say_so() -> None:
    net = Integer()
    x = net.input("x", (1, 8), 0.1)
    y = net.activation("y", (1, 8), 0.07, 4)
    net.op("HARD_SWISH", [x], [y])
    model = net.done(beside(net, y))
    edited = widened(model)
    assert [str(line) for line in edited.kept] == ["y: LiteRT has no INT16 kernel of HARD_SWISH; stays INT8"]
    assert names(edited.model) == ["QUANTIZE", "HARD_SWISH", "QUANTIZE", "ADD"]
    assert edited.model.tensor("y").quantization == model.tensor("y").quantization


def test_what_only_moves_their_values_stays_with_them() -> None:
    net = Integer()
    x = net.input("x", (1, 8), 0.1)
    y, flat, last = (
        net.activation(name, shape, 0.07, 4) for name, shape in (("y", (1, 8)), ("f", (8,)), ("l", (8,)))
    )
    net.op("HARD_SWISH", [x], [y])
    net.op("RESHAPE", [y, net.indices("s", [8])], [flat], 1, Table("ReshapeOptions", new_shape=[8]))
    net.op("HARD_SWISH", [flat], [last])
    edited = widened(net.done(beside(net, last)))
    assert names(edited.model) == ["QUANTIZE", "HARD_SWISH", "RESHAPE", "HARD_SWISH", "QUANTIZE", "ADD"]


def test_what_joins_them_with_others_does_not() -> None:
    net = Integer()
    x = net.input("x", (1, 8), 0.1)
    y, z, both = (net.activation(name, (1, n), 0.07, 4) for name, n in (("y", 8), ("z", 8), ("both", 16)))
    net.op("HARD_SWISH", [x], [y])
    net.op("ADD", [x, x], [z], 2, "AddOptions")
    net.op("CONCATENATION", [y, z], [both], 2, Table("ConcatenationOptions", axis=1))
    assert widened(net.done(both)).model.tensor("both").type == "INT16"


def test_floats_for_them_alone_are_quantized_once() -> None:
    net = Integer()
    x = net.plain("x", (1, 8))
    net.graph.inputs = [x]
    q, y = net.activation("q", (1, 8)), net.activation("y", (1, 8), 0.07, 4)
    net.op("QUANTIZE", [x], [q])
    net.op("HARD_SWISH", [q], [y])
    made = widened(net.done(beside(net, y))).model
    assert names(made) == ["QUANTIZE", "HARD_SWISH", "QUANTIZE", "ADD"]
    assert made.tensor("q").type == "INT8"


def test_quotients_stay_int8() -> None:
    net = Integer()
    x = net.input("x", (1, 8), 0.1)
    y = net.activation("y", (1, 8), 0.1, 0)
    net.op("DIV", [x, x], [y], 1, "DivOptions")
    net.graph.operators.pop()  # DIV of INT8 has no kernel of version 1; what counts is that it isn't widened
    net.op("DIV", [x, x], [y], 2, "DivOptions")
    assert kept(net.done(beside(net, y)))[0].startswith("y: LiteRT's INT16 kernel of DIV gets small quotients wrong")


def test_integers_copied_from_one_scale_to_another_stay() -> None:
    net = Integer()
    x = net.input("x", (1, 8), 0.1)
    y = net.activation("y", (8, 1), 0.1, 0)
    net.op("RESHAPE", [x, net.indices("s", [8, 1])], [y], 1, Table("ReshapeOptions", new_shape=[8, 1]))
    line = retype(net.done(beside(net, y)), activations="int16").kept[0]
    assert str(line) == "y: RESHAPE between different scales, whose kernel copies integers; stays INT8"


def test_weights_that_are_computed_stay() -> None:
    net = Integer()
    x, w = net.input("x", (1, 8), 0.1, 0), net.input("w", (6, 8), 0.01, 0)
    y = net.activation("y", (1, 6), 0.5)
    net.op("FULLY_CONNECTED", [x, w, -1], [y], 4, "FullyConnectedOptions")
    assert "whose weight is no constant of INT8" in kept(net.done(beside(net, y)))[0]


def test_a_bias_that_is_computed_stays() -> None:
    net = Integer()
    b = net.plain("b", (6,), "INT32")  # tensor 0
    x = net.input("x", (1, 8))
    net.graph.inputs.append(b)
    y = net.activation("y", (1, 6), 0.5)
    net.op("FULLY_CONNECTED", [x, net.weights("w", (6, 8)), b], [y], 4, "FullyConnectedOptions")
    assert kept(net.done(beside(net, y)))[0].startswith("y: FULLY_CONNECTED whose bias is no constant of INT32")


def test_two_operands_are_no_bias_and_a_sum_looks_at_its_coarsest() -> None:
    net = Integer()
    x = net.input("x", (1, 8))
    y = net.activation("y", (1, 6), 0.5)
    net.op("FULLY_CONNECTED", [x, net.weights("w", (6, 8))], [y], 4, "FullyConnectedOptions")
    assert not kept(net.done(beside(net, y)))
    net = Integer()
    x, k = net.input("x", (1, 8), 1.0), net.input("k", (1, 8), 2.0**-18)
    y = net.activation("y", (1, 8), 2.0**-18, 3)
    net.op("ADD", [x, k], [y], 2, "AddOptions")
    assert "too fine for its INT16 kernel" in kept(net.done(beside(net, y)))[0]


def test_a_constant_that_is_too_short_is_an_error() -> None:
    net = Integer()
    x = net.input("x", (1, 8))
    k = constant(net.draft, net.graph, "k", "INT8", np.zeros(8, np.int8), quantization=parameters(0.1))
    net.graph.tensors[k] = net.graph.tensors[k].replace(shape=[9, 8])
    y = net.activation("y", (9, 8), 0.5)
    net.op("ADD", [x, k], [y], 2, "AddOptions")
    with pytest.raises(InvalidValue, match="8 bytes of data where INT8"):
        retype(net.done(y), activations="int16")


def test_integers_without_a_scale_stay() -> None:
    net = Integer()
    x = net.plain("x", (1, 8), "INT8")  # tensor 0
    net.graph.inputs = [x]
    y = net.activation("y", (1, 8), 0.1)
    net.op("ADD", [x, x], [y], 2, "AddOptions")
    line = retype(net.done(beside(net, y)), activations="int16").kept[0]
    assert str(line) == "y: ADD with INT8 tensor 'x', which has not one scale of INT8; stays INT8"


def test_scales_too_fine_for_a_sum_stay() -> None:
    net = Integer()
    x = net.input("x", (1, 8), 1.0)
    y = net.activation("y", (1, 8), 2.0**-18, 3)
    net.op("ADD", [x, x], [y], 2, "AddOptions")
    assert "too fine for its INT16 kernel" in kept(net.done(beside(net, y)))[0]


def test_another_scale_than_kernels_write_stays() -> None:
    net = Integer()
    x = net.input("x", (1, 8), 0.1)
    y = net.activation("y", (1, 8), 1 / 128, -128)
    net.op("LOGISTIC", [x], [y], 2)
    assert "LOGISTIC with another scale" in retype(net.done(beside(net, y)), activations="int16").kept[0].what


@pytest.mark.parametrize(
    ("name", "scale", "point"), [("LOGISTIC", 1 / 256, -128), ("TANH", 1 / 128, 0), ("SOFTMAX", 1 / 256, -128)]
)
def test_scales_that_kernels_insist_on(name: str, scale: float, point: int) -> None:
    net = Integer()
    x = net.input("x", (1, 8), 0.03)
    y = net.activation("y", (1, 8), scale, point)
    net.op(name, [x], [y], 2, Table("SoftmaxOptions", beta=1.0) if name == "SOFTMAX" else None)
    model = net.done(y)
    made = widened(model).model
    assert float(made.tensor("y").quantization.scale[0]) == 2.0**-15
    fed = np.linspace(-128, 127, 8).astype(np.int8).reshape(1, 8)
    for resolver in RESOLVERS:
        (old,), (new,) = both(model, made, fed, resolver)
        assert np.abs(old - new).max() <= 1.5 * scale


def test_called_subgraphs_that_are_handed_int8_stay() -> None:
    net = Integer("INT8", "body")
    x = net.input("x", (1, 8))
    y = net.activation("y", (1, 8))
    net.op(
        "STABLEHLO_COMPOSITE",
        [x],
        [y],
        1,
        None,
        builtin_options_2=Table("StableHLOCompositeOptions", name="odd", decomposition_subgraph_index=1),
    )
    z = beside(net, y)
    outer, net.graph = net.graph, net.draft.graphs[1]
    assert isinstance(net.graph, GraphDraft)
    inner = net.input("inner", (1, 8))
    net.graph.outputs = [beside(net, inner)]
    net.graph = outer
    edited = retype(net.done(z), activations="int16")
    assert [str(line) for line in edited.kept] == [
        "y: STABLEHLO_COMPOSITE and the subgraphs that it runs; stays INT8",
        "subgraph 1: operators hand it INT8; stays INT8",
    ]
    assert {t.type for t in edited.model.tensors() if t.subgraph == 1} == {"INT8"}


def test_depthwise_filters_of_int4_stay_beside_int8() -> None:
    """LiteRT's INT16 kernel reads the packed weights as bytes."""
    net = Network()
    conv = net.convolution("conv", net.input("x", (1, 4, 4, 3)), gaussian((5, 3, 3, 3), 1, 0.2))
    model = net.done(net.convolution("deep", conv, gaussian((1, 3, 3, 5), 2, 0.3), depthwise=True))
    data = samples(net)
    small = ql.quantize(model, planned(model, data, "int8-int4"))
    edited = widened(small)
    assert [str(line) for line in edited.kept] == [
        "deep_int8: DEPTHWISE_CONV_2D whose weight is no constant of INT8; stays INT8"
    ]
    assert edited.model.tensor("deep_int8").type == "INT8"
    before, after = (min(decibels(model, m, data)) for m in (small, edited.model))
    assert after > before - 0.5

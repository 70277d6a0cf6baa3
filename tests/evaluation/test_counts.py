"""Multiply-accumulates, parameters, bytes and memory, against figures by hand and published ones."""

from __future__ import annotations

import numpy as np
import pytest

import quantlib as ql
from quantlib.evaluation import costs
from tests.support.network import Network, classifier, gaussian
from tests.support.shared import SHARED, needs_shared


def single(name: str, shapes: list[tuple[int, ...]], output: tuple[int, ...], options: str, **fields: object) -> int:
    net = Network()
    inputs = [net.input(f"x{i}", shape) for i, shape in enumerate(shapes)]
    model = net.done(net.op(name, inputs, "y", output, ql.tflite.Table(options, **fields)))
    return costs(model).multiply_accumulates


@pytest.mark.parametrize(
    ("name", "shapes", "output", "options", "expected"),
    [
        ("CONV_2D", [(1, 8, 8, 3), (5, 3, 2, 3)], (2, 4, 6, 5), "Conv2DOptions", 2 * 4 * 6 * 5 * 3 * 2 * 3),
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 3), (1, 3, 2, 6)], (1, 4, 6, 6), "DepthwiseConv2DOptions", 4 * 6 * 6 * 6),
        (
            "TRANSPOSE_CONV",
            [(4,), (5, 3, 2, 7), (1, 4, 4, 7)],
            (1, 8, 8, 5),
            "TransposeConvOptions",
            4 * 4 * 7 * 5 * 3 * 2,
        ),
        ("CONV_3D", [(1, 4, 4, 4, 2), (3, 3, 3, 2, 5)], (1, 2, 2, 2, 5), "Conv3DOptions", 8 * 5 * 27 * 2),
        ("FULLY_CONNECTED", [(3, 8), (16, 8)], (3, 16), "FullyConnectedOptions", 3 * 16 * 8),
        ("BATCH_MATMUL", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), "BatchMatMulOptions", 2 * 3 * 5 * 4),
        ("ADD", [(1, 8), (1, 8)], (1, 8), "AddOptions", 0),
        ("CONV_2D", [(1, 8, 8, 3)], (1, 4, 6, 5), "Conv2DOptions", 0),
    ],
)
def test_multiply_accumulates(
    name: str, shapes: list[tuple[int, ...]], output: tuple[int, ...], options: str, expected: int
) -> None:
    assert single(name, shapes, output, options) == expected


def test_an_adjoint_matrix_is_summed_along_its_other_axis() -> None:
    assert single("BATCH_MATMUL", [(4, 3), (4, 5)], (3, 5), "BatchMatMulOptions", adj_x=True) == 3 * 5 * 4


def test_recurrent_weights_count_at_every_step() -> None:
    net = Network()
    x = net.input("x", (2, 7, 3))  # batch, time, features
    weights = [net.constant(str(shape), gaussian(shape)) for shape in ((4, 3), (4, 4), (4,))]
    state = net.graph.add_tensor("state", "FLOAT32", (2, 4), is_variable=True)
    options = ql.tflite.Table("SequenceRNNOptions")
    y = net.op("UNIDIRECTIONAL_SEQUENCE_RNN", [x, *weights, state], "y", (2, 7, 4), options)
    found = costs(net.done(y))
    assert found.multiply_accumulates == 2 * 7 * (4 * 3 + 4 * 4)
    assert found.parameters == 4 * 3 + 4 * 4 + 4
    assert found.peak_activation_bytes == 4 * (2 * 7 * 3 + 2 * 7 * 4 + 2 * 4)


def test_shapes_and_indices_are_no_parameters_but_have_bytes() -> None:
    found = costs(classifier())
    reshape = next(o for o in found.operators if o.type == "RESHAPE")
    assert (reshape.parameters, reshape.bytes) == (0, 8)
    assert found.parameters == 16 * 3 * 3 * 3 + 16 + 9 * 16 + 16 + 10 * 4096 + 10


@pytest.mark.parametrize("recipe", ["float16", "dynamic", "weight-only", "weight-only-int4"])
def test_quantizing_changes_bytes_and_nothing_else(recipe: str) -> None:
    model = ql.read(ql.demo.MODEL)
    before, after = costs(model), costs(ql.quantize(model, recipe))
    assert (after.parameters, after.multiply_accumulates) == (before.parameters, before.multiply_accumulates)
    assert after.peak_activation_bytes == before.peak_activation_bytes
    assert sum(o.bytes for o in after.operators) < 0.6 * sum(o.bytes for o in before.operators)
    if recipe != "dynamic":
        assert all(o.bytes == 0 for o in after.operators if o.type == "DEQUANTIZE")


def test_a_shared_constant_counts_once() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    w = net.constant("w", gaussian((8, 8)))
    found = costs(net.done(net.fully_connected("b", net.fully_connected("a", x, w), w)))
    assert found.parameters == 64 + 8 + 8
    assert found.multiply_accumulates == 2 * 64


def test_the_peak_follows_lifetimes() -> None:
    """x is needed until the end by ADD; the larger tensor in the middle lives for one operator."""
    net = Network()
    x = net.input("x", (1, 100))
    wide = net.fully_connected("wide", x, gaussian((400, 100)))
    narrow = net.fully_connected("narrow", wide, gaussian((100, 400)))
    y = net.op("ADD", [x, narrow], "y", (1, 100), ql.tflite.Table("AddOptions"))
    assert costs(net.done(y)).peak_activation_bytes == 4 * (100 + 400 + 100)
    net = Network()
    x = net.input("x", (1, 100))
    wide = net.fully_connected("wide", x, gaussian((400, 100)))
    model = net.done(net.fully_connected("narrow", wide, gaussian((50, 400))))
    assert costs(model).peak_activation_bytes == 4 * (100 + 400)


def test_dynamic_shapes_are_told() -> None:
    net = Network()
    x = net.graph.add_tensor("x", "FLOAT32", (1, 8), shape_signature=np.array([-1, 8], np.int32))
    net.graph.inputs.append(x)
    model = net.done(net.fully_connected("y", x, gaussian((4, 8))))
    assert costs(model).dynamic
    assert not costs(classifier()).dynamic


@needs_shared
@pytest.mark.parametrize(
    ("name", "macs", "parameters"),
    [
        ("mobilenet_v1_0.25_224_float", 41e6, 0.47e6),  # the MobileNet paper's table 7 has 41 million and 0.5 million
        ("mobilenet_v2_1.0_224_float_reconstructed", 300e6, 3.4e6),  # the MobileNetV2 paper's table 4: 300M, 3.4M
    ],
)
def test_published_figures(name: str, macs: float, parameters: float) -> None:
    found = costs(ql.read(SHARED / "models" / f"{name}.tflite"))
    assert found.multiply_accumulates == pytest.approx(macs, rel=0.01)
    assert found.parameters == pytest.approx(parameters, rel=0.03)

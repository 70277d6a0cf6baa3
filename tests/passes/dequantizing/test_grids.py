"""`dequantize(keep_weights=True)`: weights become INT8 again without being rounded a second time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import quantlib as ql
from quantlib.tflite import Draft, Model, Table
from tests.support.litert import RESOLVERS, interpreter
from tests.support.models import parameters
from tests.support.networks_integer import VALID, rarer
from tests.support.rules import unknown_to_reference, violations

Array = npt.NDArray[Any]

SCALE, POINT = np.float32(0.013), 120
#: Operators with weights: their shape, the axis of their channels, the output's shape, and their options.
LAYERS = {
    "CONV_2D": ((4, 3, 3, 2), 0, (1, 2, 2, 4), Table("Conv2DOptions", padding=1, stride_h=1, stride_w=1)),
    "DEPTHWISE_CONV_2D": (
        (1, 3, 3, 4),
        3,
        (1, 2, 2, 4),
        Table("DepthwiseConv2DOptions", padding=1, stride_h=1, stride_w=1, depth_multiplier=2),
    ),
    "FULLY_CONNECTED": ((4, 32), 0, (1, 4), Table("FullyConnectedOptions")),
}


def layer(operator: str, values: Array, scale: Any = SCALE, point: Any = POINT, axis: int = 0) -> Model:
    """One operator whose weights have these integers."""
    _, _, shape, options = LAYERS[operator]
    kind = values.dtype.name.upper()
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", kind, (1, 4, 4, 2), quantization=parameters(0.02, 0))
    buffer = draft.add_buffer(values)
    w = graph.add_tensor("w", kind, values.shape, buffer=buffer, quantization=parameters(scale, point, axis))
    y = graph.add_tensor("y", kind, shape, quantization=parameters(0.1, 0))
    graph.append(draft.operator(operator, [x, w, -1], [y], options))
    graph.inputs, graph.outputs = [x], [y]
    return draft.done()


def unsigned(operator: str) -> Array:
    """Integers of which only the second channel reaches further than 127 steps from the zero point."""
    shape, axis, _, _ = LAYERS[operator]
    values = np.random.default_rng(3).integers(0, 240, shape).astype(np.uint8)
    np.moveaxis(values, axis, 0)[1].flat[3] = 255
    return values


def requantized(model: Model, recipe: str = "weight-only", **options: bool) -> ql.tflite.Tensor:
    return ql.quantize(ql.dequantize(model, **options).model, recipe).tensor("w")


@pytest.mark.parametrize("operator", LAYERS)
def test_channels_that_int8_holds_have_the_integers_and_the_scale_that_they_had(operator: str) -> None:
    values, axis = unsigned(operator), LAYERS[operator][1]
    made = requantized(layer(operator, values), keep_weights=True)
    steps = values.astype(int) - POINT
    fits = [0, 2, 3]
    assert (made.type, made.quantization.quantized_dimension) == ("INT8", axis)
    np.testing.assert_array_equal(made.numpy().take(fits, axis), steps.take(fits, axis))
    np.testing.assert_array_equal(made.quantization.scale[fits], SCALE)
    # the other one has its greatest value as 127, and the rest within half a step
    step = made.quantization.scale[1]
    assert made.numpy().take(1, axis).max() == 127
    assert step == pytest.approx(SCALE * (255 - POINT) / 127, rel=1e-6)
    error = made.real().take(1, axis) - SCALE * steps.take(1, axis)
    assert np.abs(error).max() <= step / 2 * (1 + 1e-4)


def test_otherwise_they_are_rounded_a_second_time() -> None:
    model = layer("CONV_2D", unsigned("CONV_2D"))
    assert all(t.table.quantization is None for t in ql.dequantize(model).model.tensors())
    exact = (unsigned("CONV_2D").astype(int) - POINT) * SCALE
    errors = [np.abs(requantized(model, keep_weights=keep).real() - exact).sum() for keep in (False, True)]
    assert errors[1] < errors[0] / 2


def test_one_scale_of_int8_stays_one() -> None:
    values = np.random.default_rng(1).integers(-100, 100, (4, 32)).astype(np.int8)
    made = requantized(layer("FULLY_CONNECTED", values, point=0), keep_weights=True)
    np.testing.assert_array_equal(made.numpy(), values)
    np.testing.assert_array_equal(made.quantization.scale, SCALE)


def test_scales_of_other_channels_than_kernels_have_are_not_noted() -> None:
    values = np.random.default_rng(1).integers(-100, 100, (4, 32)).astype(np.int8)
    model = layer("FULLY_CONNECTED", values, np.linspace(0.01, 0.02, 32, dtype=np.float32), np.zeros(32, int), 1)
    assert ql.dequantize(model, keep_weights=True).model == ql.dequantize(model).model


@pytest.mark.parametrize("mode", ["weight-only", "dynamic"])
def test_nothing_is_noted_where_the_values_say_it(mode: str) -> None:
    small = ql.quantize(ql.read(ql.demo.MODEL), mode)
    edited = ql.dequantize(small, keep_weights=True)
    assert edited.model == ql.dequantize(small).model
    assert not any("noted" in line.what for line in edited.done)


def test_the_report_says_of_which_weights_it_is_noted() -> None:
    edited = ql.dequantize(layer("CONV_2D", unsigned("CONV_2D")), keep_weights=True)
    assert [line.what for line in edited.done if line.where == "w"] == ["UINT8 with 1 scale to FLOAT32, steps noted"]


def test_with_ranges_both_are_noted() -> None:
    edited = ql.dequantize(layer("CONV_2D", unsigned("CONV_2D")), keep_weights=True, keep_ranges=True)
    again = ql.quantize(edited.model, "int8")
    assert [a.zero_point[0] for t in ("x", "y") if (a := edited.model.tensor(t).quantization) is not None] == [0, 0]
    assert again.tensor("y").type == "FLOAT32"
    assert np.isin(again.tensor("w").quantization.scale[[0, 2, 3]], SCALE).all()


def test_weights_of_four_bits_may_become_eight() -> None:
    """Their steps aren't noted: with them, a model that is to be INT8 would be INT4."""
    small = ql.quantize(ql.read(ql.demo.MODEL), "weight-only-int4")
    assert "INT4" in {t.type for t in small.tensors()}
    found = ql.dequantize(small, keep_weights=True).model
    assert {t.table.quantization for t in found.tensors() if small.tensor(t.name).type == "INT4"} == {None}


@pytest.mark.parametrize("name", VALID)
def test_any_network_is_quantized_again(name: str) -> None:
    model = VALID[name]()
    again = ql.quantize(ql.dequantize(model, keep_weights=True).model, "weight-only")
    data = again.to_bytes()
    noted = "required no scale on FLOAT32"  # weights that this recipe leaves alone
    assert [v for v in violations(data) if not v.endswith(noted)] == []
    for resolver in RESOLVERS:
        if resolver != "reference" or not unknown_to_reference(data):
            interpreter(data, resolver)


@pytest.mark.parametrize("options", [{}, {"keep_ranges": True}, {"keep_weights": True}])
def test_tables_of_embeddings_carry_no_scale(options: dict[str, Any]) -> None:
    """LiteRT's EMBEDDING_LOOKUP takes floats with scales for integers, and refuses the file."""
    made = ql.dequantize(rarer(), **options).model
    assert made.tensor("table").type == "FLOAT32"
    assert made.tensor("table").quantization is None
    for resolver in RESOLVERS:
        interpreter(made.to_bytes(), resolver)

"""What plans make of the parameters that training left."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quantlib as ql
from quantlib.numerics import Affine, PerAxis, dequantize, nudged_range, quantize
from quantlib.recipes import Graph, Recipe, elements_of, int8
from quantlib.tflite import Model, Quantization, Table, quantization_table
from tests.support.network import gaussian
from tests.support.networks_trained import COMPLETE, KERNEL, Trained, operators, samples

Array = npt.NDArray[Any]


pytestmark = pytest.mark.filterwarnings("ignore::quantlib.errors.CalibrationWarning")  # few samples, beyond ranges


def by_name(model: Model, recipe: Recipe | str, statistics: Any = None) -> dict[str, Any]:
    """Plans of operators by name."""
    return {p.name: p for p in ql.plan(model, recipe, statistics).operators}


def dense(*, x: Any = None, y: Any = None, fake: Any = None, **table: Any) -> Model:
    """A matrix product with what is given of its input, its output, and what stands behind it."""
    net = Trained()
    inputs = net.input("x", (1, 8))
    if x is not None:
        net.annotate(inputs, **x)
    w = net.constant("w", gaussian((4, 8), 1))
    if table:
        net.annotate(w, **table)
    made = net.fully_connected("y", inputs, w)
    if y is not None:
        net.annotate(made, **y)
    other = net.annotate(net.input("other", (1, 8)), **RANGE)
    complete = net.annotate(net.fully_connected("complete", other, gaussian((4, 8), 2)), **RANGE)
    return net.done(made if fake is None else net.fake_quant("fake", made, *fake), complete)


RANGE = {"min": [-1.0], "max": [1.0]}


@given(
    st.floats(-100, 0, width=32), st.floats(0.0625, 100, width=32), st.sampled_from(["INT8", "UINT8"]), st.booleans()
)
def test_zero_points_are_nudged(lo: float, hi: float, kind: str, narrow: bool) -> None:
    net = Trained()
    x = net.fake_quant("x/fq", net.input("x", (1, 8)), lo, hi, narrow=narrow)
    y = net.fully_connected("y", x, gaussian((4, 8), 1))
    plan = by_name(net.done(net.annotate(y, **RANGE)), "int8" if kind == "INT8" else "uint8")
    _, _, scale, point = nudged_range(lo, hi, 8, narrow)
    assert plan["y"].inputs[0] == Affine(kind, scale, point - (128 if kind == "INT8" else 0))
    assert plan["x/fq"].source == "as trained"


@pytest.mark.parametrize("name", COMPLETE)
def test_complete_ranges_need_no_statistics(name: str) -> None:
    plan = ql.plan(COMPLETE[name](), "int8")
    assert not plan.leftovers
    assert all("trained" in p.source for p in plan.operators if p.is_integer and p.outputs)


def test_what_moves_values_has_the_scale_of_what_it_moves() -> None:
    plans = by_name(operators(), "int8")
    assert plans["pool"].outputs == plans["flat"].outputs == plans["conv/fq"].outputs
    assert plans["pool"].source == "as trained"


def test_what_is_moved_before_it_is_rounded_has_the_range_behind() -> None:
    net = Trained()
    x = net.fake_quant("x/fq", net.input("x", (1, 4, 4, 3)), -1.0, 1.0)
    flat = net.flat("flat", net.conv("conv", x, net.constant("w", KERNEL)))
    plans = by_name(net.done(net.fake_quant("y", flat, -2.0, 3.0)), "int8")
    assert plans["conv"].outputs == plans["flat"].outputs == plans["y"].outputs
    assert plans["conv"].mode == "INT8"


def test_inputs_have_exactly_the_scale_of_their_table() -> None:
    scale = np.float32(0.0123457)
    for point in range(-128, 128, 5):
        model = dense(x={"scale": [scale], "zero_point": [point]}, y=RANGE)
        assert by_name(model, "int8")["y"].inputs[0] == Affine("INT8", scale, point)


def test_weights_whose_shape_is_not_stored() -> None:
    """TensorFlow writes none for what it transposed after it had read the shapes."""
    net = Trained()
    x = net.annotate(net.input("x", (1, 8)), **RANGE)
    values = gaussian((4, 8), 1)
    w = net.rounded("w/q", net.constant("w", values, has_rank=True), Affine("INT8", 0.02))
    y = net.annotate(net.fully_connected("y", x, w), **RANGE)
    for i, table in enumerate(net.graph.tensors):
        if table.name in ("w/q", "w/q/stored"):
            net.graph.tensors[i] = table.replace(shape=None, has_rank=False)
    made = ql.quantize(net.done(y), "int8")
    assert made.tensor("w/q").shape == (4, 8)
    np.testing.assert_array_equal(
        made.tensor("w/q").numpy(), quantize(values, Affine("INT8", 0.02, narrow_range=True))
    )


def test_missing_ranges_come_from_statistics() -> None:
    model = dense(x=RANGE)
    assert by_name(model, "int8")["y"].reason == "no range of y: it was not calibrated"
    data = samples(model)
    statistics = ql.calibrate(model, data, observer="minmax")
    plan = by_name(model, "int8", statistics)["y"]
    assert plan.inputs[0].scale[0] == np.float32(2 / 255)
    lo, hi = statistics["y"].range
    assert plan.outputs[0].scale[0] == pytest.approx((hi - lo) / 255, rel=1e-6)
    assert plan.source == "minmax"


def test_what_was_trained_goes_before_statistics() -> None:
    model = operators()
    statistics = ql.calibrate(model, samples(model), observer="minmax")
    for name, plan in by_name(model, "int8").items():
        assert by_name(model, "int8", statistics)[name].outputs == plan.outputs


def test_a_mere_range_that_the_samples_contradict_does_not_count() -> None:
    """Converters leave 0..255 on inputs that are fed with -1..1."""
    model = dense(x={"min": [0.0], "max": [255.0]}, y={"min": [-8.0], "max": [8.0]})
    draw = np.random.default_rng(0).uniform(-1, 1, (2, 20, 1, 8)).astype(np.float32)
    data = {"x": draw[0], "other": draw[1]}
    plan = ql.plan(model, "int8", ql.calibrate(model, data, observer="minmax"))
    assert plan.operators[0].inputs[0].scale[0] == pytest.approx(2 / 255, rel=0.1)
    assert any("x: the file notes a range of 0..255, and the samples have -0.9" in note for note in plan.notes)
    assert ql.plan(model, "int8").operators[0].inputs[0].scale[0] == 1.0  # there is nothing else to go by


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        ({"scale": [0.5], "zero_point": [7]}, ("INT8", 0.5, 7)),
        ({"scale": [0.5], "zero_point": [200]}, ("INT8", 0.5, 72)),  # beyond 127: unsigned
        (
            {"scale": [0.5], "zero_point": [100], "min": [-50.0], "max": [77.5]},
            ("INT8", 0.5, -28),
        ),  # the range says so
        ({"scale": [0.5], "zero_point": [100], "min": [-114.0], "max": [13.5]}, ("INT8", 0.5, 100)),
        ({"min": [-1.0], "max": [1.55]}, ("INT8", 0.01, -28)),
        ({"scale": [0.25], "zero_point": [0], "min": [-2.0], "max": [1.75]}, ("INT8", 3.75 / 255, 8)),  # 4 bits
    ],
)
def test_tables_of_activations(table: dict[str, Any], wanted: tuple[str, float, int]) -> None:
    plan = by_name(dense(x=RANGE, y=table), "int8")["y"]
    kind, scale, point = wanted
    assert plan.outputs[0].type.name == kind
    assert plan.outputs[0].scale[0] == np.float32(scale)
    assert plan.outputs[0].zero_point[0] == point


def test_sixteen_bits_of_tables() -> None:
    """A scale alone says no number of bits; one with a range does."""
    table = {"scale": [1e-4], "zero_point": [0]}
    assert by_name(dense(x=table, y=table), "int16x8")["y"].outputs[0] == Affine("INT16", 1e-4)
    assert by_name(dense(x=table, y=table), "int8")["y"].outputs[0] == Affine("INT8", 1e-4)
    wide = {**table, "min": [-3.2767], "max": [3.2767]}
    narrow = by_name(dense(x=wide, y=wide), "int8")["y"]
    assert narrow.outputs[0].scale[0] == pytest.approx(6.5535 / 255)
    assert narrow.source == "range as trained with 16 bits"


@pytest.mark.parametrize(
    "table",
    [
        {"min": [0.0], "max": [0.0]},
        {"min": [np.nan], "max": [1.0]},
        {"min": [2.0], "max": [1.0]},
        {"min": [-1.0, -1.0], "max": [1.0, 1.0]},  # for no axis
        {"scale": [0.0], "zero_point": [0]},
        {"scale": [np.inf], "zero_point": [0]},
        {"scale": [0.1], "zero_point": [1000]},
        {},
    ],
)
def test_tables_without_sense_say_nothing(table: dict[str, Any]) -> None:
    assert "no range of y" in by_name(dense(x=RANGE, y=table), "int8")["y"].reason


def test_ranges_of_weights_per_channel() -> None:
    bound = np.array([1, 2, 3, 4], np.float32)
    model = dense(x=RANGE, y=RANGE, min=-bound / 2, max=bound, quantized_dimension=0)
    plan = by_name(model, "int8")["y"]
    assert plan.inputs[1] == Affine("INT8", bound / 127, 0, PerAxis(0), narrow_range=True)
    assert plan.notes == ("weight as trained",)
    assert by_name(model, "int8-int4")["y"].inputs[1].type.name == "INT4"


@pytest.mark.parametrize(
    ("table", "recipe", "why"),
    [
        ({"scale": [0.1] * 8, "zero_point": [0] * 8, "quantized_dimension": 1}, int8(), "axis 0 is required"),
        ({"scale": [0.1] * 4, "zero_point": [0] * 4}, int8(granularity="tensor"), "one scale is required"),
        ({"scale": [0.1], "zero_point": [5]}, int8(), "kernels require zero point 0"),
        ({"scale": [1e-4], "zero_point": [0], "min": [-3.0], "max": [3.0]}, int8(), "trained with 16 bits"),
    ],
)
def test_weights_that_kernels_do_not_take_as_trained(table: dict[str, Any], recipe: Recipe, why: str) -> None:
    plan = by_name(dense(x=RANGE, y=RANGE, **table), recipe)["y"]
    assert why in plan.notes[0]
    assert not plan.inputs[1].zero_point.any()


def test_values_that_kernels_do_not_take_are_noted() -> None:
    net = Trained()
    x = net.annotate(net.input("x", (1, 8)), **RANGE)
    w = net.fake_quant("w/fq", net.constant("w", np.full((4, 8), 9, np.float32)), -1.0, 1.0)  # its zero point is -1
    plan = by_name(net.done(net.annotate(net.fully_connected("y", x, w), **RANGE)), "int8")["y"]
    assert plan.notes == ("weight as trained, 32 of 32 values clipped to -127..127, as kernels require",)
    assert plan.inputs[1] == Affine("INT8", nudged_range(-1.0, 1.0)[2], 0, narrow_range=True)


@pytest.mark.parametrize("options", [(0.5, 1.0), (0.0, 0.0), (-1.0, 1.0, 1), (1.0, -1.0)])
def test_an_operator_without_a_grid_stays(options: tuple[Any, ...]) -> None:
    model = dense(x=RANGE, y=RANGE, fake=options)
    plan = by_name(model, "int8")["fake"]
    assert plan.mode == "FLOAT32"
    assert plan.reason.startswith("no grid of integers with 0 on it: range")
    made = ql.quantize(model, "int8")
    assert "FAKE_QUANT" in [made.operator_name(o) for o in made.subgraphs[0].operators]


def test_selectors() -> None:
    """What names the neighbours means these operators too, and they can be skipped by themselves."""
    plans = by_name(operators(), int8(only="^(conv|dense)$"))
    assert plans["conv/fq"].mode == "INT8"
    plans = by_name(operators(), int8(skip_types="FAKE_QUANT"))
    assert plans["conv/fq"].mode == "FLOAT32"
    assert plans["conv/fq"].left_out


def test_between_float_operators_they_stay() -> None:
    net = Trained()
    x = net.op("SIN", [net.input("x", (1, 8))], "sine", (1, 8))
    x = net.fake_quant("fake", x, -1.0, 1.0)
    sine = net.op("SIN", [net.rounded("pair", x, Affine("INT8", 0.01))], "y", (1, 8))
    other = net.annotate(net.input("other", (1, 8)), **RANGE)
    end = net.annotate(net.fully_connected("complete", other, gaussian((4, 8), 2)), **RANGE)
    plan = ql.plan(net.done(sine, end), "int8")
    assert [p.name for p in plan.operators if p.is_integer] == ["complete"]
    assert [p.mode for p in plan.operators if p.type in ("QUANTIZE", "DEQUANTIZE")] == ["", ""]


def test_integers_that_others_read_are_no_pair() -> None:
    net = Trained()
    x = net.rounded("x/q", net.input("x", (1, 8)), Affine("INT8", 0.01))
    y = net.fully_connected("y", x, gaussian((4, 8), 1))
    stored = next(i for i, t in enumerate(net.graph.tensors) if t.name == "x/q/stored")
    model = net.done(net.annotate(y, **RANGE), stored)
    plans = by_name(model, "int8")
    assert plans["x/q"].mode == ""
    assert plans["y"].inputs[0] == Affine("INT8", 0.01)
    assert ql.run(ql.quantize(model, "int8"), samples(model))["x/q/stored"].dtype == np.int8


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("stored", [False, True])
def test_pieces_of_a_constant_are_the_whole(axis: int, stored: bool) -> None:
    values = gaussian((3, 4, 5), 1)
    affine = Affine("INT8", np.linspace(0.01, 0.02, values.shape[axis]), 3, PerAxis(axis))
    wanted = dequantize(quantize(values, affine), affine)
    net = Trained()
    if stored:
        table = quantization_table(Quantization.of(affine))
        w = net.constant("w", quantize(values, affine), quantization=table)
        w = net.op("DEQUANTIZE", [w], "w/real", values.shape)
    else:
        w = net.rounded("w/real", net.constant("w", values), affine)
    model = net.done(net.op("ADD", [net.input("x", values.shape), w], "y", values.shape, Table("AddOptions")))
    origin = Graph(model, 0).origin(w)
    assert origin is not None
    np.testing.assert_array_equal(origin.numpy(), wanted)
    elements = elements_of(origin)
    pieces = [elements(start, min(start + 7, values.size)) for start in range(0, values.size, 7)]
    np.testing.assert_array_equal(np.concatenate(pieces), wanted.reshape(-1))

"""Inputs and outputs: each of the type that the recipe asks for, under the names and numbers that they had."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import quantlib as ql
from quantlib.errors import InvalidRecipe
from quantlib.recipes import Plan, plan_integer
from quantlib.tflite import Model, Table
from tests.support.network import Network, gaussian, served
from tests.support.networks import EXAMPLES, example
from tests.support.planned import (
    calibrated,
    decibels,
    names,
    of_example,
    operator,
    planned,
    recipe,
    run,
    samples,
    valid,
)

Array = npt.NDArray[Any]
TYPES = ("FLOAT32", "INT8", "UINT8", "INT16")
MODES = ("int8", "int16x8", "uint8")
KINDS = {"int8": "INT8", "int16x8": "INT16", "uint8": "UINT8"}


def ends(model: Model) -> tuple[list[str], list[str]]:
    graph = model.subgraphs[0]
    return tuple([model.tensor((0, int(t))).type for t in v] for v in (graph.inputs, graph.outputs))  # type: ignore[return-value]  # of two


def conversions(before: str, after: str) -> int:
    """Operators from one type to another; from INT16 to UINT8 there is no kernel, so it goes by way of float."""
    return 0 if before == after else 2 if (before, after) == ("INT16", "UINT8") else 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("given", "asked"), list(product(TYPES, TYPES)))
def test_inputs_and_outputs_have_the_types_asked_for(mode: str, given: str, asked: str) -> None:
    net, model = served()
    data = samples(net)
    made = valid(ql.quantize(model, planned(model, data, mode, input_type=given, output_type=asked)), model)
    assert ends(made) == ([given], [asked])
    inner = ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    found = names(made)
    start = found.index("CONV_2D")
    assert found[start : start + 3] == inner
    assert start == conversions(given, KINDS[mode])
    assert len(found) - start - 3 == conversions(KINDS[mode], asked)
    assert min(decibels(model, made, data)) > 38
    old, new = (m.root.signature_defs[0] for m in (model, made))
    assert [(e.name, e.tensor_index) for e in (*new.inputs, *new.outputs)] == [
        ("pixels", int(made.subgraphs[0].inputs[0])), ("points", int(made.subgraphs[0].outputs[0])),
    ]  # fmt: skip
    assert new.signature_key == old.signature_key
    assert [made.tensor((0, e.tensor_index)).name for e in (*new.inputs, *new.outputs)] == ["image", "scores"]
    (y,) = run(made, {"image": data["image"][0]}, signature="serve")
    assert np.array_equal(y, run(made, {"image": data["image"][0]})[0])


@pytest.mark.parametrize(("first", "second"), [("INT8", "UINT8"), ("UINT8", "INT8")])
def test_int8_and_uint8_ends_differ_by_128(first: str, second: str) -> None:
    net, model = served()
    a, b = (planned(model, samples(net), "int8", input_type=kind, output_type=kind) for kind in (first, second))
    shift = 128 if second == "UINT8" else -128
    for one, other in zip(a.ends, b.ends, strict=True):
        np.testing.assert_array_equal(one.affine.scale, other.affine.scale)
        np.testing.assert_array_equal(one.affine.zero_point + shift, other.affine.zero_point)


# ---- ends in unusual places ----------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", TYPES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("last", ["SIN", "CAST"])
def test_an_output_that_a_float_operator_makes(last: str, mode: str, asked: str) -> None:
    net = Network()
    dense = net.fully_connected("dense", net.input("x", (1, 8)), gaussian((8, 8), 1, 0.2))
    if last == "SIN":
        model = net.done(net.op("SIN", [dense], "y", (1, 8)), dense)
    else:  # what isn't float has no scale
        options = Table("CastOptions", in_data_type=0, out_data_type=2)
        model = net.done(net.op("CAST", [dense], "y", (1, 8), options, type="INT32"), dense)
    data = samples(net)
    made = valid(ql.quantize(model, planned(model, data, mode, output_type=asked)), model)
    assert ends(made)[1] == [asked if last == "SIN" else "INT32", asked]
    assert min(decibels(model, made, data)) > 38


@pytest.mark.parametrize("given", TYPES)
@pytest.mark.parametrize("mode", MODES)
def test_an_input_that_a_float_operator_reads(mode: str, given: str) -> None:
    net = Network()
    wave = net.op("SIN", [net.input("x", (1, 8))], "wave", (1, 8))
    model = net.done(net.fully_connected("y", wave, gaussian((8, 8), 1, 0.2)))
    data = samples(net)
    made = valid(ql.quantize(model, planned(model, data, mode, input_type=given)), model)
    assert ends(made)[0] == [given]
    assert names(made)[: 2 if given != "FLOAT32" else 1] == (["DEQUANTIZE", "SIN"] if given != "FLOAT32" else ["SIN"])
    assert min(decibels(model, made, data)) > 38


@pytest.mark.parametrize(("given", "asked"), list(product(TYPES, TYPES)))
def test_an_output_that_is_read_within_too(given: str, asked: str) -> None:
    made_of = example("upsampling")
    plan = ql.plan(made_of.model, recipe("int8", input_type=given, output_type=asked), of_example(made_of))
    made = valid(ql.quantize(made_of.model, plan), made_of.model)
    assert ends(made) == ([given], [asked] * 2)
    assert min(decibels(made_of.model, made, made_of.data[None])) > 36


@pytest.mark.parametrize("asked", TYPES)
@pytest.mark.parametrize("mode", MODES)
def test_an_output_that_float_and_integer_operators_read(mode: str, asked: str) -> None:
    net = Network()
    dense = net.fully_connected("dense", net.input("x", (1, 8)), gaussian((8, 8), 1, 0.2))
    wave = net.op("SIN", [dense], "wave", (1, 8))
    again = net.fully_connected("again", dense, gaussian((8, 8), 2, 0.2))
    model = net.done(dense, wave, again)
    data = samples(net)
    made = valid(ql.quantize(model, planned(model, data, mode, output_type=asked)), model)
    assert ends(made)[1] == [asked] * 3
    assert min(decibels(model, made, data)) > 38
    if asked == "FLOAT32":  # what SIN reads is the output itself
        assert names(made).count("DEQUANTIZE") == 2


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("mode", MODES)
def test_an_input_that_is_an_output_and_an_output_given_twice(mode: str, kind: str) -> None:
    net = Network()
    x = net.input("x", (1, 8))
    y = net.fully_connected("y", x, gaussian((8, 8), 1, 0.2))
    model = net.done(y, x, y)
    data = samples(net)
    made = valid(ql.quantize(model, planned(model, data, mode, input_type=kind, output_type=kind)), model)
    assert ends(made) == ([kind], [kind] * 3)
    outputs = made.subgraphs[0].outputs.tolist()
    assert outputs[0] == outputs[2]
    assert outputs[1] == int(made.subgraphs[0].inputs[0])
    sample = {"x": data["x"][0]}
    first, through, again = run(made, sample)
    assert np.array_equal(first, again)
    form = made.tensor((0, outputs[1])).quantization
    half = 0 if form is None else form.scale[0] / 2
    assert np.abs(through - sample["x"]).max() <= half * 1.0001


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_small_network_takes_every_type(name: str, kind: str) -> None:
    made_of = example(name)
    plan = ql.plan(made_of.model, recipe("int8", input_type=kind, output_type=kind), of_example(made_of))
    made = valid(ql.quantize(made_of.model, plan), made_of.model)
    called = {"loop": (1, 2), "memory": (1,)}.get(name, ())
    for g in range(len(made.subgraphs)):
        for vector in ("inputs", "outputs"):
            indices = [getattr(m.subgraphs[g], vector) for m in (made_of.model, made)]
            for before, after in zip(*([] if v is None else v.tolist() for v in indices), strict=True):
                old, new = made_of.model.tensor((g, before)), made.tensor((g, after))
                assert new.name == old.name
                assert new.type == (kind if old.type == "FLOAT32" and g not in called else old.type)


# ---- scales from training images -----------------------------------------------------------------------------


def given_scale(plan: Plan) -> tuple[float, int]:
    affine = operator(plan, "y").inputs[0]
    assert affine is not None
    return float(affine.scale[0]), int(affine.zero_point[0])


@pytest.mark.parametrize(
    ("mode", "stats", "expected"),
    [
        ("int8", (127.5, 127.5), (1 / 127.5, 0)),
        ("int8", (0, 255), (1 / 255, -128)),
        ("int8", (128, 2), (0.5, 0)),
        ("uint8", (127, 128), (1 / 128, 127)),
        ("uint8", (0, 1), (1, 0)),
        ("uint8", (255, 3), (1 / 3, 255)),
    ],
)
@pytest.mark.parametrize("kind", TYPES)
def test_statistics_of_the_images_give_the_inputs_scale(
    mode: str, stats: tuple[float, float], expected: tuple[float, int], kind: str
) -> None:
    net = Network()
    model = net.done(net.fully_connected("y", net.input("x", (1, 8)), gaussian((8, 8), 1)))
    plan = planned(model, samples(net), mode, input_stats=stats, input_type=kind)
    scale, point = given_scale(plan)
    assert (scale, point) == (pytest.approx(expected[0], rel=1e-7), expected[1])
    valid(ql.quantize(model, plan), model)
    if kind == KINDS[mode]:
        assert plan.ends[0].affine == operator(plan, "y").inputs[0]


def test_an_inputs_scale_moves_with_it() -> None:
    net = Network()
    x, shape = net.input("x", (1, 8)), net.constant("shape", np.array([2, 4], "i4"))
    folded = net.op("RESHAPE", [x, shape], "folded", (2, 4), Table("ReshapeOptions", new_shape=[2, 4]))
    model = net.done(net.fully_connected("y", folded, gaussian((3, 4), 1)))
    plan = planned(model, samples(net), input_stats=(128, 64))
    assert given_scale(plan) == (1 / 64, 0)
    assert operator(plan, "folded").source == "mean and deviation given"


def test_what_control_flow_runs_has_float_ends() -> None:
    made_of = example("loop")
    changes = {"input_type": "INT8", "output_type": "INT8", "input_stats": (128.0, 40.0)}
    plan = ql.plan(made_of.model, recipe(**changes), of_example(made_of))
    assert {e.subgraph for e in plan.ends} == {0}
    layers = {p.subgraph: p.inputs[0] for p in plan.operators if p.type == "FULLY_CONNECTED"}
    assert {g: float(a.scale[0]) == pytest.approx(1 / 40) for g, a in layers.items() if a is not None} == {
        0: True,
        2: False,
    }
    made = valid(ql.quantize(made_of.model, plan), made_of.model)
    assert names(made, 2) == ["ADD", "QUANTIZE", "FULLY_CONNECTED", "TANH", "DEQUANTIZE"]


def test_an_end_of_which_nothing_is_known_is_an_error() -> None:
    net = Network()
    model = net.done(net.op("SIN", [net.input("x", (1, 8))], "y", (1, 8)))
    with pytest.raises(InvalidRecipe, match=r"no range of .*y.*calibrate, or give default ranges"):
        plan_integer(model, recipe(output_type="INT8"), None)
    assert calibrated(model, samples(net)).tensors

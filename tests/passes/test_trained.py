"""Models from quantization-aware training as integers: the trained scales, and what LiteRT computes with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import quantlib as ql
from quantlib.numerics import fake_quantize_nudged, nudged_range, sqnr_db
from quantlib.recipes import Recipe, dynamic, int8
from quantlib.tflite import Model
from tests.support.litert import RESOLVERS, interpreter
from tests.support.network import gaussian
from tests.support.networks_trained import COMPLETE, KERNEL, Trained, conflicts, four_bits, operators, pairs, samples
from tests.support.rules import violations

Array = npt.NDArray[Any]


def names(model: Model) -> list[str]:
    return [model.operator_name(o) for o in model.subgraphs[0].operators]


def scale(model: Model, name: str) -> tuple[str, list[float], list[int]]:
    """Type, scales and zero points of a tensor."""
    tensor = model.tensor(name)
    assert tensor.quantization is not None
    return tensor.type, tensor.quantization.scale.tolist(), tensor.quantization.zero_point.tolist()


def outputs(model: Model, data: dict[str, Array], resolver: str) -> list[Array]:
    """Real values of each output, first axis samples."""
    made = interpreter(model.to_bytes(), resolver)
    (values,) = data.values()
    details = sorted(made.get_output_details(), key=lambda d: d["name"])
    found: list[list[Array]] = [[] for _ in details]
    for value in values:
        made.set_tensor(made.get_input_details()[0]["index"], value.reshape(made.get_input_details()[0]["shape"]))
        made.invoke()
        for into, detail in zip(found, details, strict=True):
            into.append(made.get_tensor(detail["index"])[0])
    return [np.array(f) for f in found]


def nudged(lo: float, hi: float, bits: int = 8, *, narrow: bool = False) -> tuple[float, int]:
    """Scale and signed zero point of a FAKE_QUANT."""
    _, _, step, point = nudged_range(lo, hi, bits, narrow)
    return float(step[0]), int(point[0]) - 2 ** (bits - 1)


def step_of(model: Model, plan: ql.Plan, name: str) -> float:
    """Scale in which an output is computed."""
    index = model.tensor(name).index
    made = next(p for p in plan.operators if index in model.subgraphs[0].operators[p.operator].outputs)
    return float(made.outputs[0].scale[0])  # type: ignore[union-attr]  # an output of an integer operator


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("name", COMPLETE)
def test_integers_compute_what_was_trained(name: str, resolver: str) -> None:
    model = COMPLETE[name]()
    data, plan = samples(model), ql.plan(model, "int8")
    made = ql.quantize(model, plan)
    exact = ql.run(model, data)
    for wanted, ours in zip(sorted(exact), outputs(made, data, resolver), strict=True):
        # nothing rounds by tables of float tensors in float: the reference is exact
        steps = 4.0 if name == "annotated" else 1.001
        assert np.abs(ours - exact[wanted]).max() <= steps * step_of(model, plan, wanted)
        assert sqnr_db(exact[wanted], ours) > 33


@pytest.mark.parametrize("mode", ["int8", "int16x8", "uint8", "int8-int4"])
@pytest.mark.parametrize("name", COMPLETE)
def test_files_are_valid_and_nothing_stays_float(name: str, mode: str) -> None:
    model = COMPLETE[name]()
    made = ql.quantize(model, mode)
    assert violations(made.to_bytes(), model.to_bytes()) == []
    if (name, mode) != ("four_bits", "uint8"):
        assert not [p for p in ql.plan(model, mode).operators if p.mode == "FLOAT32"]
    assert "FAKE_QUANT" not in names(made)
    for resolver in RESOLVERS:
        interpreter(made.to_bytes(), resolver)


def test_scales_are_those_of_the_operators() -> None:
    made = ql.quantize(operators(), "int8")
    assert names(made) == ["QUANTIZE", "CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "DEQUANTIZE"]
    for name, lo, hi in (("x_int8", -1.03, 0.97), ("conv", 0.0, 3.9), ("flat", 0.0, 3.9), ("dense", -2.2, 2.9)):
        step, point = nudged(lo, hi)
        assert scale(made, name) == ("INT8", [step], [point])
    for name, bound in (("w1/fq", 0.5), ("w2/fq", 0.3)):
        assert scale(made, name) == ("INT8", [nudged(-bound, bound, narrow=True)[0]], [0])


def test_weights_are_the_integers_of_the_trained_model() -> None:
    made, model = ql.quantize(operators(), "int8"), operators()
    step, _ = nudged(-0.5, 0.5, narrow=True)
    rounded = fake_quantize_nudged(model.tensor("w1").numpy(), -0.5, 0.5, 8, True)
    np.testing.assert_array_equal(made.tensor("w1/fq").numpy(), np.rint(rounded / np.float32(step)))
    assert abs(made.tensor("w1/fq").numpy()).max() == 127  # some are beyond the range


def test_four_bits_where_a_kernel_takes_them() -> None:
    made = ql.quantize(four_bits(), "int8")
    step, _ = nudged(-0.4, 0.4, 4, narrow=True)
    assert scale(made, "w1/fq") == ("INT4", [step], [0])
    assert scale(made, "w2/fq") == ("INT8", [step], [0])  # no kernel of TRANSPOSE_CONV takes INT4
    assert abs(made.tensor("w2/fq").numpy()).max() == 7


def test_pairs_give_signed_integers() -> None:
    model = pairs()
    made = ql.quantize(model, "int8")
    assert names(made) == ["QUANTIZE", "CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "DEQUANTIZE"]
    assert scale(made, "x_int8") == ("INT8", [float(np.float32(2 / 255))], [3])
    before = model.tensor("w1/q/stored").quantization
    assert scale(made, "w1/q") == ("INT8", before.scale.tolist(), [0] * 4)  # type: ignore[union-attr]  # it has scales
    assert scale(made, "dense") == ("INT8", [float(np.float32(0.02))], [-18])


def test_unsigned_integers_keep_their_zero_points() -> None:
    made = ql.quantize(operators(), "uint8")
    step, point = nudged(-1.03, 0.97)
    assert scale(made, "x_uint8") == ("UINT8", [step], [point + 128])
    assert scale(made, "w1/fq") == ("UINT8", [nudged(-0.5, 0.5, narrow=True)[0]], [128])


def test_sixteen_bits() -> None:
    net = Trained()
    x = net.fake_quant("x/fq", net.input("x", (1, 64)), -3.0, 3.0, 16)
    w = net.fake_quant("w/fq", net.constant("w", gaussian((5, 64), 2, 0.1)), -0.3, 0.3, narrow=True)
    model = net.done(net.fake_quant("y", net.fully_connected("dense", x, w), -4.0, 4.0, 16, narrow=True))
    made = ql.quantize(model, "int16x8")
    assert scale(made, "x_int16") == ("INT16", [nudged(-3.0, 3.0, 16)[0]], [0])
    assert scale(made, "dense") == ("INT16", [nudged(-4.0, 4.0, 16, narrow=True)[0]], [0])
    data = samples(model)
    for resolver in RESOLVERS:
        assert sqnr_db(ql.run(model, data)["y"], outputs(made, data, resolver)[0]) > 80


def test_conflicts_are_left_to_a_quantize() -> None:
    made = ql.quantize(conflicts(), "int8")
    # x is read in two forms; both operands of the join, and what the pool reads or makes, are converted
    assert names(made).count("QUANTIZE") == 2 + 2 + 1
    step, point = nudged(-1.8, 2.4)
    assert scale(made, "joined") == ("INT8", [step], [point])
    assert scale(made, "small") == ("INT8", [nudged(0.0, 1.5)[0]], [-128])


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8", "UINT8"])
def test_outputs_that_are_rounded_keep_their_names(kind: str) -> None:
    """What stands before a FAKE_QUANT and what stands behind it are outputs both, and one of them twice."""
    net = Trained()
    x = net.fake_quant("x/fq", net.input("x", (1, 64)), -1.0, 1.0)
    raw = net.fully_connected("raw", x, gaussian((5, 64), 2, 0.1))
    one, two = net.fake_quant("one", raw, -2.0, 2.0), net.fake_quant("two", raw, -2.0, 2.0)
    end = net.op("RELU", [one], "end", (1, 5))
    model = net.done(raw, one, two, net.fake_quant("end/fq", end, 0.0, 2.0))
    made = ql.quantize(model, int8(input_type=kind, output_type=kind))
    assert [made.tensor((0, int(i))).name for i in made.subgraphs[0].outputs] == ["raw", "one", "two", "end/fq"]
    assert violations(made.to_bytes(), model.to_bytes()) == []
    for resolver in RESOLVERS:
        interpreter(made.to_bytes(), resolver).invoke()
    data = samples(model)
    if kind == "FLOAT32":
        exact = ql.run(model, data)
        for name, ours in zip(sorted(exact), outputs(made, data, "reference"), strict=True):
            if name != "raw":  # which nothing rounds in float
                assert np.abs(ours - exact[name]).max() <= 1.001 * 4 / 255


def test_two_outputs_of_one_integer_tensor() -> None:
    net = Trained()
    x = net.fake_quant("x/fq", net.input("x", (1, 64)), -1.0, 1.0)
    raw = net.fully_connected("raw", x, gaussian((5, 64), 2, 0.1))
    model = net.done(net.fake_quant("one", raw, -2.0, 2.0), net.fake_quant("two", raw, -2.0, 2.0))
    made = ql.quantize(model, int8(output_type="INT8"))
    one, two = outputs(made, samples(model), "reference")
    assert one.any()
    np.testing.assert_array_equal(one, two)


def test_an_input_that_is_rounded_is_an_integer() -> None:
    made = ql.quantize(operators(), int8(input_type="INT8", output_type="INT8"))
    assert names(made) == ["CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED"]
    assert scale(made, "x") == ("INT8", *([v] for v in nudged(-1.03, 0.97)))
    assert scale(made, "y") == ("INT8", *([v] for v in nudged(-2.2, 2.9)))


@pytest.mark.parametrize("mode", ["dynamic", "dynamic-int4", "weight-only", "weight-only-int4"])
@pytest.mark.parametrize("name", ["operators", "four_bits", "pairs", "annotated"])
def test_weights_alone_have_the_trained_scales(name: str, mode: str) -> None:
    model = COMPLETE[name]()
    full, made = ql.quantize(model, "int8"), ql.quantize(model, mode)
    found = [d for d in ql.plan(model, mode).quantized if d.name.startswith("w")]
    assert len(found) == 2
    for decision in found:
        ours, wanted = made.tensor(decision.name), full.tensor(decision.name)
        if (name, mode) == ("annotated", f"{mode.removesuffix('-int4')}-int4") and decision.name == "w2":
            assert ours.type == "INT4"  # a range alone says nothing of bits
            continue
        if decision.name == "w2/fq" and name == "four_bits":  # behind DEQUANTIZE any type will do
            assert ours.quantization == wanted.quantization or "dynamic" in mode
            continue
        assert (ours.type, ours.quantization) == (wanted.type, wanted.quantization)
        np.testing.assert_array_equal(ours.numpy(), wanted.numpy())


@pytest.mark.parametrize("mode", ["float16", "weight-only", "dynamic"])
def test_weights_alone_leave_activations_their_operators(mode: str) -> None:
    model = operators()
    plan = ql.plan(model, mode)
    made, data = ql.quantize(model, plan), samples(model)
    assert names(made).count("FAKE_QUANT") == 3
    assert "3 FAKE_QUANT of activations stay" in str(plan)
    exact = ql.run(model, data)["y"]
    for resolver in RESOLVERS:
        assert np.abs(outputs(made, data, resolver)[0] - exact).max() <= 2.001 * 5.1 / 255


def test_a_depthwise_filter_with_one_scale_has_it_for_each_channel_where_the_kernel_asks() -> None:
    net = Trained()
    x = net.input("x", (1, 4, 4, 8))
    w = net.fake_quant("w/fq", net.constant("w", gaussian((1, 3, 3, 8), 1, 0.2)), -0.5, 0.5, narrow=True)
    y = net.convolution("depthwise", x, gaussian((1, 3, 3, 8), 1), depthwise=True)
    operator = net.graph.operators[-1]
    net.graph.operators[-1] = operator.replace(inputs=[x, w, int(operator.inputs[2])])
    made = ql.quantize(net.done(y), dynamic(min_elements=0))
    assert scale(made, "w/fq") == ("INT8", [nudged(-0.5, 0.5, narrow=True)[0]] * 8, [0] * 8)
    interpreter(made.to_bytes()).invoke()


@pytest.mark.parametrize("recipe", [int8(), Recipe("weight-only")])
def test_weights_with_a_zero_point(recipe: Recipe) -> None:
    """Kernels of integers take none; behind a DEQUANTIZE it stays."""
    net = Trained()
    x = net.fake_quant("x/fq", net.input("x", (1, 8, 8, 3)), -1.0, 1.0)
    w = net.fake_quant("w/fq", net.constant("w", KERNEL), -0.1, 0.6)
    model = net.done(net.fake_quant("y", net.conv("conv", x, w), -2.0, 3.0))
    made, data = ql.quantize(model, recipe), samples(model)
    kind, scales, points = scale(made, "w/fq")
    exact = ql.run(model, data)["y"]
    if recipe.mode == "int8":
        assert (kind, len(scales), points) == ("INT8", 4, [0] * 4)
        assert "kernels require zero point 0" in str(ql.plan(model, recipe))
        assert made.tensor("w/fq").real().min() >= -0.101  # clipped as in training
    else:
        step, point = nudged(-0.1, 0.6)
        assert (kind, scales, points) == ("INT8", [step], [point])
        assert [d.after for d in ql.plan(model, recipe).quantized] == [KERNEL.size + 4 + 8]
    for resolver in RESOLVERS:
        assert np.abs(outputs(made, data, resolver)[0] - exact).max() <= 2.001 * 5 / 255


def test_large_weights_are_rounded_piece_by_piece() -> None:
    net = Trained()
    x, values = net.input("x", (1, 1500)), gaussian((1501, 1500), 3)
    w = net.fake_quant("w/fq", net.constant("w", values), -2.0, 2.0, narrow=True)
    made = ql.quantize(net.done(net.fully_connected("dense", x, w)), "dynamic")
    step, _ = nudged(-2.0, 2.0, narrow=True)
    wanted = np.rint(fake_quantize_nudged(values, -2.0, 2.0, 8, True) / np.float32(step))
    read = ql.read(made.to_bytes())
    np.testing.assert_array_equal(read.tensor("w/fq").numpy(), wanted)

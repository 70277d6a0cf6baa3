"""Which operators become integer, and the reason for each that doesn't."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import quantlib as ql
from quantlib.errors import InvalidModel, InvalidRecipe, InvalidValue
from quantlib.recipes import plan_integer
from quantlib.tflite import Model, Table
from tests.support import models
from tests.support.network import Network, gaussian
from tests.support.networks import example
from tests.support.planned import calibrated, decibels, names, operator, planned, recipe, run, samples, valid

Array = npt.NDArray[Any]
Built = tuple[Network, int]


def dense(weights: Array | None = None, bias: Array | None = None, **options: Any) -> Built:
    net = Network()
    w = gaussian((6, 8), 1) if weights is None else weights
    return net, net.fully_connected("y", net.input("x", (1, 8)), w, bias, **options)


def one(name: str, options: str = "", shape: tuple[int, ...] = (1, 8), **fields: Any) -> Built:
    net = Network()
    x = net.input("x", shape)
    return net, net.op(name, [x], "y", shape, Table(options, **fields) if options else None)


def with_values(size: int, index: int, value: float) -> Array:
    values = gaussian((size, 8) if size else (6,), 1)
    values.reshape(-1)[index] = value
    return values


def with_constant(values: Array) -> Built:
    net = Network()
    x = net.input("x", (1, 8))
    return net, net.op("ADD", [x, net.constant("k", values)], "y", (1, 8), Table("AddOptions"))


def weight_of_the_model() -> Built:
    net = Network()
    x, w = net.input("x", (1, 8)), net.input("w", (6, 8))
    bias = net.constant("b", np.zeros(6, "f4"))
    return net, net.op("FULLY_CONNECTED", [x, w, bias], "y", (1, 6), Table("FullyConnectedOptions"))


def bias_of_the_model() -> Built:
    net = Network()
    x, b = net.input("x", (1, 8)), net.input("b", (6,))
    w = net.constant("w", gaussian((6, 8), 1))
    return net, net.op("FULLY_CONNECTED", [x, w, b], "y", (1, 6), Table("FullyConnectedOptions"))


NOT_A_NUMBER, NO_END = float("nan"), float("inf")
REASONS: dict[str, tuple[Callable[[], Built], str, str]] = {
    "no kernel": (lambda: one("SIN"), "int8", "LiteRT has no integer kernel of SIN"),
    "a blind kernel": (lambda: one("NEG", "NegOptions"), "int8", "its integer kernel computes with the stored"),
    "no INT16 kernel": (
        lambda: one("HARD_SWISH", "HardSwishOptions"),
        "int16x8",
        "LiteRT has no INT16 kernel of HARD",
    ),
    "no INT8 kernel": (lambda: one("ABS", "AbsOptions"), "uint8", "LiteRT has no UINT8 kernel of ABS"),
    "a weight that changes": (weight_of_the_model, "int8", "its weight, operand 1, is no constant"),
    "a bias that changes": (bias_of_the_model, "int8", "its bias is no constant"),
    "NaN in the weight": (lambda: dense(with_values(6, 3, NOT_A_NUMBER)), "int8", "y/kernel has values that aren't"),
    "inf in the weight": (
        lambda: dense(with_values(6, 0, -NO_END)),
        "int8",
        "y/kernel has values that aren't finite",
    ),
    "NaN in the bias": (lambda: dense(bias=with_values(0, 2, NOT_A_NUMBER)), "int8", "y/bias has values that aren't"),
    "inf in the bias": (
        lambda: dense(bias=with_values(0, 5, NO_END)),
        "uint8",
        "y/bias has values that aren't finite",
    ),
    "NaN in an operand": (lambda: with_constant(np.full(8, np.nan, "f4")), "int16x8", "constant k has values that"),
}


@pytest.mark.parametrize("case", REASONS)
def test_what_stays_float_says_why(case: str) -> None:
    build, mode, reason = REASONS[case]
    net, y = build()
    model, data = net.done(y), samples(net)
    plan = planned(model, data, mode)
    found = operator(plan, "y")
    assert (found.mode, found.left_out, found in plan.leftovers) == ("FLOAT32", False, True)
    assert found.reason.startswith(reason)
    assert plan.nothing().startswith("nothing was quantized: ")
    made = ql.quantize(model, plan)
    assert names(made) == names(model)
    assert made.tensor("x").type == "FLOAT32"


@pytest.mark.parametrize(("code", "name"), [(4, "TANH"), (5, "SIGN_BIT")])
def test_a_fused_activation_that_integer_kernels_lack(code: int, name: str) -> None:
    net, y = dense(fused_activation_function=code)
    plan = plan_integer(net.done(y), recipe(default_ranges=(-4, 4)), None)
    assert operator(plan, "y").reason == f"integer kernels have no fused {name}"


def test_a_custom_operator_stays_float_between_integers() -> None:
    model = models.custom_operator()
    plan = plan_integer(model, recipe(default_ranges=(-4, 4)), None)
    custom = next(p for p in plan.operators if p.operator == 0)
    assert custom.mode == "FLOAT32"
    assert custom.reason == f"LiteRT has no integer kernel of {custom.type}"


def test_what_has_nothing_float_is_no_leftover() -> None:
    net = Network()
    x = net.input("x", (1, 4), "INT32")
    y = net.op("ADD", [x, net.constant("k", np.ones(4, "i4"))], "y", (1, 4), Table("AddOptions"), type="INT32")
    plan = plan_integer(net.done(y), recipe(default_ranges=(-1, 1)), None)
    assert (operator(plan, "y").mode, plan.leftovers) == ("", ())
    assert operator(plan, "y").reason == "has no float operand or output"
    assert plan.counts() == ""


@pytest.mark.parametrize(("beta", "size", "fits"), [(1, 1, True), (1, 1e-7, False), (0, 1, False), (1e-7, 1, False)])
@pytest.mark.parametrize("mode", ["int8", "int16x8", "uint8"])
def test_a_softmax_whose_kernel_would_end_the_process(mode: str, beta: float, size: float, fits: bool) -> None:
    """Its 8-bit multiplier has to be more than 1."""
    net, y = one("SOFTMAX", "SoftmaxOptions", beta=beta)
    model = net.done(y)
    plan = planned(model, {"x": gaussian((8, 1, 8), 1, size)}, mode)
    found = operator(plan, "y")
    assert found.is_integer == (fits or mode == "int16x8")
    assert found.is_integer or "is too near 0 for the kernel" in found.reason
    valid(ql.quantize(model, plan), model)


def test_a_log_softmax_whose_kernel_would_end_the_process() -> None:
    net, y = one("LOG_SOFTMAX", "LogSoftmaxOptions")
    model = net.done(y)
    plan = planned(model, {"x": gaussian((8, 1, 8), 1, 1e-7)})
    assert operator(plan, "y").reason.startswith("its input, ")
    valid(ql.quantize(model, plan), model)


def test_int32_beside_float_operands_is_no_obstacle() -> None:
    plan = planned(example("one_scale").model, example("one_scale").data[None])
    assert not plan.leftovers


# ---- ranges that nobody knows ------------------------------------------------------------------------------


def two_steps() -> tuple[Network, Model]:
    net = Network()
    h = net.fully_connected("h", net.input("x", (1, 8)), gaussian((6, 8), 1))
    return net, net.done(net.op("LOGISTIC", [h], "y", (1, 6)))


def test_never_calibrated_is_said_by_name() -> None:
    net, model = two_steps()
    statistics = calibrated(model, samples(net))
    known = {key: name for key, name in statistics.names.items() if name != "h"}
    tensors = {key: statistics.tensors[key] for key in known}
    plan = ql.plan(model, recipe(), replace(statistics, tensors=tensors, names=known))
    assert operator(plan, "h").reason == operator(plan, "y").reason == "no range of h: calibration never wrote it"


def test_without_statistics_nothing_is_known() -> None:
    _, model = two_steps()
    with pytest.raises(InvalidValue, match=r"mode 'int8' needs the ranges of activations.*calibrate the model"):
        ql.plan(model, "int8")
    plan = plan_integer(model, recipe(), None)
    assert operator(plan, "h").reason == "no range of x: it was not calibrated"


def test_statistics_of_another_model_are_refused() -> None:
    net, model = two_steps()
    other, y = dense()
    with pytest.raises(InvalidValue, match=r"the statistics are of a model with SHA-256.*calibrate this model"):
        ql.plan(other.done(y), "int8", calibrated(model, samples(net)))
    # that is what is wrong, whatever planning stumbled over because of it
    with pytest.raises(InvalidValue, match="the statistics are of a model with SHA-256"):
        ql.plan(other.done(y), recipe(int16=("nowhere",)), calibrated(model, samples(net)))


def test_what_hinders_hashing_is_raised_where_planning_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    net, model = two_steps()
    statistics = calibrated(model, samples(net))

    def broken(self: Model) -> str:
        raise InvalidModel("the file became shorter")

    monkeypatch.setattr(Model, "sha256", property(broken))
    with pytest.raises(InvalidModel, match="became shorter"):
        ql.plan(model, "int8", statistics)


# ---- division ----------------------------------------------------------------------------------------------


def quotient(divisor: str) -> tuple[Model, dict[str, Array]]:
    """x / d; d is an input, what was sliced from an input of greater range, or a constant."""
    net = Network()
    x, d = net.input("x", (1, 4)), net.input("d", (1, 8))
    begin, size = net.constant("begin", np.array([0, 0], "i4")), net.constant("size", np.array([1, 4], "i4"))
    part = net.op("SLICE", [d, begin, size], "part", (1, 4), Table("SliceOptions"))
    constant = net.constant("k", np.array([1, 2, 3, 40], "f4"))
    by = {"sliced": part, "constant": constant}[divisor]
    return net.done(net.op("DIV", [x, by], "y", (1, 4), Table("DivOptions"))), samples(net)


_NEAR, _SMALL = "the divisor comes as near to 0 as", "LiteRT's kernel on x86 gets small quotients wrong"


@pytest.mark.parametrize(
    ("divisors", "mode", "why"),
    [
        ((1, 2, 3, 4), "int8", ""),
        ((-2, -3, -4, -4), "int8", ""),
        ((2, 2, 3, 3.5), "uint8", ""),
        ((2, 2, 3, 3), "int16x8", ""),
        ((-1, -2, -7, -4), "int8", _SMALL),
        ((1, 2, 3, 7.9), "uint8", _SMALL),  # 1 is 16.1 of 127 steps
        ((1, 2, 3, 127), "int16x8", _SMALL),
        ((1, 2, 3, 8), "int8", _NEAR),
        ((0.01, 2, 3, 40), "int8", _NEAR),
        ((1, 2, 3, 129), "int16x8", _NEAR),
        ((-1, 2, 3, 4), "int8", _NEAR),
        ((0, 2, 3, 4), "int16x8", _NEAR),
    ],
)
def test_a_divisor_stays_away_from_zero(divisors: tuple[float, ...], mode: str, why: str) -> None:
    net = Network()
    x, d = net.input("x", (1, 4)), net.input("d", (1, 4))
    model = net.done(net.op("DIV", [x, d], "y", (1, 4), Table("DivOptions")))
    data = samples(net, d=np.tile(np.array(divisors, "f4"), (8, 1, 1)))
    with np.errstate(divide="ignore", invalid="ignore"):
        plan = planned(model, data, mode)
    found = operator(plan, "y")
    assert found.is_integer == (not why)
    assert why in found.reason
    if not why:
        least = {"int8": 28, "uint8": 28, "int16x8": 50}[mode]  # one element of four has the whole error
        for resolver in ("reference", "builtin"):
            assert min(decibels(model, ql.quantize(model, plan), data, resolver)) > least


def test_a_divisor_has_the_scale_of_what_it_was_moved_from() -> None:
    """0.5 to 1, cut out of 0 to 1,000, is 0 in steps of 4."""
    model, data = quotient("sliced")
    data["d"] = np.tile(np.array([0.5, 1, 0.7, 0.8, 1000, 500, 0, 1], "f4"), (8, 1, 1))
    plan = planned(model, data)
    assert "the divisor comes as near to 0 as 0.5" in operator(plan, "y").reason
    run(ql.quantize(model, plan), {k: v[0] for k, v in data.items()}, "reference")
    data["d"][:] = 1
    assert operator(planned(model, data), "y").is_integer


def test_a_constant_divisor_speaks_for_itself() -> None:
    model, data = quotient("constant")
    assert "as near to 0 as 1" in operator(planned(model, data), "y").reason
    assert _SMALL in operator(planned(model, data, "int16x8"), "y").reason  # 40 times as much is too much for it


def test_a_divisor_of_unknown_values_is_refused() -> None:
    net = Network()
    x, d = net.input("x", (1, 4)), net.input("d", (1, 4))
    model = net.done(net.op("DIV", [x, d], "y", (1, 4), Table("DivOptions")))
    plan = plan_integer(model, recipe(default_ranges=(1, 4)), None)
    assert "the divisor's values are unknown" in operator(plan, "y").reason


# ---- neighbours and selectors --------------------------------------------------------------------------------


def test_what_only_moves_between_float_operators_stays_float() -> None:
    net = Network()
    wave = net.op("SIN", [net.input("x", (1, 8))], "wave", (1, 8))
    shape = net.constant("shape", np.array([2, 4], "i4"))
    folded = net.op("RESHAPE", [wave, shape], "folded", (2, 4), Table("ReshapeOptions", new_shape=[2, 4]))
    order = net.constant("order", np.array([1, 0], "i4"))
    turned = net.op("TRANSPOSE", [folded, order], "turned", (4, 2), Table("TransposeOptions"))
    model = net.done(net.op("COS", [turned], "y", (4, 2)))
    plan = planned(model, samples(net))
    assert (
        operator(plan, "folded").reason == operator(plan, "turned").reason == "moves values between float operators"
    )
    assert names(ql.quantize(model, plan)) == ["SIN", "RESHAPE", "TRANSPOSE", "COS"]


def test_what_moves_beside_an_integer_operator_is_integer() -> None:
    net = Network()
    wave = net.op("SIN", [net.input("x", (1, 8))], "wave", (1, 8))
    shape = net.constant("shape", np.array([1, 8], "i4"))
    folded = net.op("RESHAPE", [wave, shape], "folded", (1, 8), Table("ReshapeOptions", new_shape=[1, 8]))
    model = net.done(net.fully_connected("y", folded, gaussian((4, 8), 1)))
    plan = planned(model, samples(net))
    assert [p.mode for p in plan.operators] == ["FLOAT32", "INT8", "INT8"]
    made = valid(ql.quantize(model, plan), model)
    assert names(made) == ["SIN", "QUANTIZE", "RESHAPE", "FULLY_CONNECTED", "DEQUANTIZE"]


SELECTORS: list[tuple[Mapping[str, Any], list[str]]] = [
    ({"skip": ("^dense$",)}, ["INT8", "INT8", "FLOAT32", "INT8"]),
    ({"skip_types": ("LOGISTIC",)}, ["INT8", "INT8", "INT8", "FLOAT32"]),
    ({"only": ("conv",)}, ["INT8", "FLOAT32", "FLOAT32", "FLOAT32"]),
    ({"only_types": ("FULLY_CONNECTED", "LOGISTIC")}, ["FLOAT32", "FLOAT32", "INT8", "INT8"]),
    ({"int16": ("^dense$",)}, ["INT8", "INT8", "INT16", "INT8"]),
    ({"int16_types": ("LOGISTIC",), "skip": ("conv",)}, ["FLOAT32", "INT8", "INT8", "INT16"]),
]


def layers() -> tuple[Model, dict[str, Array]]:
    net = Network()
    conv = net.convolution("conv", net.input("x", (1, 2, 2, 3)), gaussian((3, 1, 1, 3), 1))
    shape = net.constant("shape", np.array([1, 12], "i4"))
    flat = net.op("RESHAPE", [conv, shape], "flat", (1, 12), Table("ReshapeOptions", new_shape=[1, 12]))
    y = net.op("LOGISTIC", [net.fully_connected("dense", flat, gaussian((4, 12), 2))], "y", (1, 4))
    return net.done(y), samples(net)


@pytest.mark.parametrize(("changes", "expected"), SELECTORS, ids=str)
def test_selectors_decide(changes: Mapping[str, Any], expected: list[str]) -> None:
    model, data = layers()
    plan = planned(model, data, **changes)
    assert [p.mode for p in plan.operators] == expected
    left_out = [p for p in plan.operators if p.mode == "FLOAT32"]
    assert all(p.left_out for p in left_out)
    assert not plan.leftovers
    assert {p.reason for p in left_out} <= {"skipped by the recipe", "not among those the recipe asks for"}
    valid(ql.quantize(model, plan), model)


@pytest.mark.parametrize(
    "changes", [{"skip": ("nowhere",)}, {"int16_types": ("SOFTMAX",)}, {"per_tensor_types": ("SIN",)}]
)
def test_a_selector_that_matches_nothing_is_an_error(changes: Mapping[str, Any]) -> None:
    model, data = layers()
    with pytest.raises(InvalidRecipe, match="matches no operator"):
        planned(model, data, **changes)


def test_int16_where_there_is_no_kernel_is_said() -> None:
    net, y = one("HARD_SWISH", "HardSwishOptions")
    plan = planned(net.done(y), samples(net), int16=("y",))
    assert operator(plan, "y").reason == "LiteRT has no INT16 kernel of HARD_SWISH"


def test_a_quantized_layer_in_a_float_model_is_left_alone() -> None:
    net = Network()
    parameters = Table("QuantizationParameters", scale=np.array([0.1], "f4"), zero_point=np.array([0], np.int64))
    w = net.constant("w", np.ones((4, 8), np.int8), quantization=parameters)
    bias = net.constant("b", np.zeros(4, "f4"))
    x = net.input("x", (1, 8))
    y = net.op("FULLY_CONNECTED", [x, w, bias], "y", (1, 4), Table("FullyConnectedOptions"))
    plan = plan_integer(net.done(y), recipe(default_ranges=(-4, 4)), None)
    assert operator(plan, "y").reason == "some of its operands are quantized already"


def test_types_of_ends_that_are_integers_already_are_not_passed_over() -> None:
    net, model = two_steps()
    small = ql.quantize(model, recipe(input_type="INT8", output_type="INT8"), calibrated(model, samples(net)))
    plan = plan_integer(small, recipe(input_type="UINT8", output_type="UINT8"), None)
    assert [n.split(",")[0] for n in plan.notes] == ["no input is FLOAT32", "no output is FLOAT32"]
    assert not [
        n
        for n in plan_integer(model, recipe(input_type="UINT8", default_ranges=(-1.0, 1.0)), None).notes
        if "FLOAT32" in n
    ]


@pytest.mark.parametrize("skip", [(), ("^first$",), ("^second$",)])
def test_bytes_of_a_shared_constant_count_once_for_each_form(skip: tuple[str, ...]) -> None:
    """So the totals are those of the two files: weights of 8 x 8, as float, as INT8, or both; and two biases of 8."""
    net = Network()
    w, h = net.constant("w", gaussian((8, 8), 1)), net.input("x", (1, 8))
    for name in ("first", "second"):
        h = net.fully_connected(name, h, w)
    model = net.done(h)
    plan = plan_integer(model, recipe(default_ranges=(-4.0, 4.0), skip=skip), None)
    scales = 4 * 8
    integers, bias = 64 + scales, 32 + scales
    totals = plan.totals()
    assert totals["bytes_before"] == 4 * 64 + 2 * 32
    assert totals["bytes_after"] == integers + (2 * bias if not skip else 4 * 64 + 32 + bias)
    made = ql.quantize(model, plan)
    assert sum(b.data.nbytes for b in made.root.buffers if b.data) == totals["bytes_after"] - (3 - len(skip)) * scales


def test_bytes_of_a_shared_bias_that_is_corrected_for_each_weight_count_for_each() -> None:
    net = Network()
    w, x, bias = gaussian((8, 8), 1), net.input("x", (1, 8)), np.linspace(-1, 1, 8, dtype="f4")
    y = [net.fully_connected(name, x, values, bias) for name, values in (("first", w), ("second", -w))]
    tensors = net.graph.tensors
    first, second = (int(o.inputs[2]) for o in net.graph.operators)
    tensors[second] = tensors[second].replace(buffer=tensors[first].buffer)
    model = net.done(*y)
    data = np.random.default_rng(0).normal(1, 1, (20, 1, 8)).astype("f4")
    statistics = ql.calibrate(model, data, runner="numpy")
    for mode, biases, size in (("int16x8", 2, 64), ("int8", 1, 32)):
        plan = ql.plan(model, mode, statistics)
        made, totals = ql.quantize(model, plan), plan.totals()
        assert totals["bytes_before"] == 2 * 256 + 32
        assert sum(b.data.nbytes for b in made.root.buffers if b.data) == 2 * 64 + biases * size
        assert totals["bytes_after"] == 2 * (64 + 32) + biases * (size + 32)

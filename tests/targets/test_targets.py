"""Profiles, and the parts that they are made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quantlib import targets
from quantlib.errors import InvalidValue, NotFound
from quantlib.operators import rows
from quantlib.targets import Operand, Operation
from quantlib.targets.conditions import OPERAND_TESTS, OPERATION_TESTS, Condition
from quantlib.targets.forms import Form
from quantlib.targets.profile import laid_over, made
from quantlib.tflite import Quantization, builtin_operators

BASE: dict[str, Any] = {
    "title": "A device",
    **dict.fromkeys(("float_ok", "hybrid_ok", "int16_ok", "uint8_ok", "external_buffers", "sparsity"), True),
    **dict.fromkeys(("dense_per_tensor", "static_shapes", "other_operators"), False),
    "remedies": dict.fromkeys(
        ("operator", "version", "element_type", "float", "sparse", "dynamic", "rank", "constant", "hybrid", "types"),
        "do {operator} otherwise",
    ),
    "accept": [{"operators": ["RELU"], "version": 2, "forms": ["T -> T"], "letters": {"T": ["INT8", "FLOAT32"]}}],
}


def operand(type: str = "INT8", shape: tuple[int, ...] = (1, 4), scale: Any = 0.5, **fields: Any) -> Operand:
    quantization = None if scale is None else Quantization(scale, np.zeros(np.size(scale)))
    return Operand(type, shape, quantization=quantization, **fields)


def relu(x: Operand, y: Operand | None = None, version: int = 1) -> Operation:
    return Operation("RELU", version, (x,), (y or x,))


def reasons(values: dict[str, Any], operation: Operation) -> list[str]:
    return [r.reason for r in made("device", values).violations(operation)]


# ---- the evaluator


def test_an_operator_of_the_profile_passes() -> None:
    assert reasons(BASE, relu(operand())) == []
    assert reasons(BASE, relu(operand(), version=2)) == []


@pytest.mark.parametrize(
    ("changes", "operation", "words"),
    [
        ({}, Operation("GELU", 1, (operand(),), (operand(),)), "device has no kernel of GELU"),
        ({}, relu(operand(), version=3), "version 3, and device takes it up to version 2"),
        ({}, relu(operand("INT16")), "has types INT16 -> INT16, and device takes T -> T, T INT8|FLOAT32"),
        ({}, relu(operand(), operand("FLOAT32")), "has types INT8 -> FLOAT32"),
        ({"float_ok": False}, relu(operand("FLOAT32", scale=None)), "computes in integers"),
        ({"element_types": ["FLOAT32"]}, relu(operand()), "is INT8, which the target doesn't read"),
        ({"sparsity": False}, relu(operand(sparse=True)), "stored sparse"),
        ({"static_shapes": True}, relu(operand(dynamic=True)), "known at run time only"),
        ({"max_rank": 1}, relu(operand()), "has shape (1, 4), and at most 1 dimensions"),
    ],
)
def test_general_requirements(changes: dict[str, Any], operation: Operation, words: str) -> None:
    assert words in reasons({**BASE, **changes}, operation)[0]
    assert made("device", {**BASE, **changes}).violations(operation)[0].remedy == f"do {operation.operator} otherwise"


def test_unknown_operators_run_where_litert_knows_their_version() -> None:
    other = {**BASE, "other_operators": True}
    gelu = Operation("GELU", 2, (operand(),), (operand(),), accepted=range(1, 3))
    assert reasons(other, gelu) == []
    assert reasons(other, replace(gelu, version=3)) == ["GELU has version 3, and device takes versions 1 to 2"]
    assert reasons(other, replace(gelu, accepted=None)) == ["device has no kernel of GELU"]
    assert reasons({**BASE, "custom": ["Mine"]}, Operation("Mine", 1, (), ())) == []


def test_a_constant_is_required() -> None:
    accept = [{"operators": ["RESHAPE"], "constants": [1]}]
    shape = operand("INT32", scale=None)
    operation = Operation("RESHAPE", 1, (operand(), shape), (operand(),))
    assert "computed at run time" in reasons({**BASE, "accept": accept}, operation)[0]
    constant = replace(operation, inputs=(operand(), replace(shape, constant=True)))
    assert reasons({**BASE, "accept": accept}, constant) == []


def test_hybrid_operators() -> None:
    weights = operand("INT8", (4, 4), [0.1] * 4, constant=True)
    dense = Operation("FULLY_CONNECTED", 12, (operand("FLOAT32", scale=None), weights), (operand("FLOAT32"),))
    values = {**BASE, "accept": [{"operators": ["FULLY_CONNECTED"]}]}
    assert reasons(values, dense) == []
    found = made("device", {**values, "hybrid_ok": False}).violations(dense)
    assert [(r.place, r.reason[:21]) for r in found] == [(("input", 1), "holds integer weights")]


def rule(**fields: Any) -> dict[str, Any]:
    return {**BASE, "rule": [{"id": "r", "reason": "no {type} {scale}", "remedy": "go", **fields}]}


def test_a_rule_holds_where_its_conditions_do() -> None:
    values = rule(
        operators=["RELU"], when=[{"at": "in0", "type": ["INT8"]}], require=[{"at": "out0", "rank": [2, 2]}]
    )
    assert reasons(values, relu(operand())) == []
    assert reasons(values, relu(operand(), operand(shape=(4,)))) == ["no INT8 0.5"]
    assert reasons(values, relu(operand("FLOAT32"), operand("FLOAT32", (4,)))) == []
    assert (
        reasons({**values, "rule": [{**values["rule"][0], "operators": ["GELU"]}]}, relu(operand(), operand())) == []
    )


@pytest.mark.parametrize(
    ("condition", "good", "bad"),
    [
        ({"type": ["INT8"]}, operand(), operand("INT16")),
        ({"not_type": ["INT8"]}, operand("INT16"), operand()),
        ({"constant": True}, operand(constant=True), operand()),
        ({"quantized": True}, operand(), operand(scale=None)),
        ({"small_quantized": False}, operand("INT32"), operand()),
        ({"small_unquantized": False}, operand("INT32", scale=None), operand(scale=None)),
        ({"per_channel": False}, operand(), operand(scale=[1.0, 2.0])),
        ({"activation_per_channel": False}, operand(scale=[1, 2], constant=True), operand(scale=[1, 2])),
        ({"axis": 0}, operand(scale=[1, 2]), Operand("INT8", (2, 2), quantization=Quantization([1, 2], [0, 0], 1))),
        ({"channels_fit": True}, operand(shape=(2, 3), scale=[1, 2]), operand(shape=(3, 2), scale=[1, 2])),
        ({"one_scale_a_channel": 1}, operand(shape=(1, 2), scale=[1, 2]), operand(shape=(1, 2))),
        ({"rank": [1, 2]}, operand(), operand(shape=(1, 2, 3))),
        ({"dimensions": [1, 4]}, operand(), operand(shape=(1, 5))),
        ({"batch": 1}, operand(), operand(shape=(2, 4))),
        ({"inner": 1}, operand(), operand(shape=(2, 4))),
        ({"scale": [0.1, 1.0]}, operand(), operand(scale=2.0)),
        ({"activation_scale": [0.1, 1.0]}, operand(scale=2.0, constant=True), operand(scale=2.0)),
        ({"zero_point": [0]}, operand(), Operand("INT8", (1,), quantization=Quantization([1], [3]))),
        ({"int8_zero_point": 0}, operand(), Operand("INT8", (1,), quantization=Quantization([1], [3]))),
        ({"int16_zero_point": 0}, operand(), Operand("INT16", (1,), quantization=Quantization([1], [3]))),
        ({"fixed": {"INT8": [0.5, 0]}}, operand(), operand(scale=0.25)),
        ({"fixed": {"INT8": [0.5, 0, 0.01]}}, operand(scale=0.501), operand(scale=0.51)),
        ({"blockwise": False}, operand(), Operand("INT4", (1, 64), quantization=Quantization([1, 1], [0, 0], 0, 32))),
        (
            {"block_multiple": 32},
            Operand("INT4", (1, 64), quantization=Quantization([1, 1], [0, 0], 0, 32)),
            Operand("INT4", (1, 64), quantization=Quantization([1] * 4, [0] * 4, 0, 16)),
        ),
        *(
            (condition, operand(constant=True, values=lambda: np.array([[1, -4]])),
             operand(constant=True, values=lambda: np.array([[1, -5]])))
            for condition in ({"largest": 4}, {"channel_sum": [1, 4]}, {"channel_sum": [0, 5]}, {"values": [1, -4]})
        ),
    ],
)  # fmt: skip
def test_operand_conditions(condition: dict[str, Any], good: Operand, bad: Operand) -> None:
    made_of = Condition.of({"at": "in0", **condition})
    assert made_of.verdict(relu(good))[0] in (True, None)
    assert made_of.verdict(relu(bad, good)) == (False, ("input", 0))


def test_every_condition_is_used_by_a_profile() -> None:
    conditions = [c for n in targets.NAMES for r in targets.load(n).rules for c in (*r.when, *r.require)]
    assert {name for c in conditions for name, _ in c.tests} == {*OPERAND_TESTS, *OPERATION_TESTS}


def add(*scales: Any, options: dict[str, Any] | None = None) -> Operation:
    *inputs, output = [operand(scale=s) for s in scales]
    return Operation("ADD", 2, tuple(inputs), (output,), options or {})


@pytest.mark.parametrize(
    ("condition", "good", "bad", "place"),
    [
        ({"same": {"at": ["inputs", "out0"]}}, add(1, 1, 1), add(1, 1, 2), ("output", 0)),
        ({"same": {"at": ["inputs", "out0"], "to": "last"}}, add(1, 1, 1), add(1, 2, 2), ("input", 0)),
        ({"same": {"at": ["in0", "out0"], "tolerance": 0.1}}, add(1, 5, 1.05), add(1, 1, 1.2), ("output", 0)),
        (
            {"ratio": {"of": ["in0", "in1"], "by": ["out0"], "range": [0, 4]}},
            add(1, 4, 1),
            add(3, 3, 1),
            ("output", 0),
        ),
        ({"option": {"name": "n", "in": [1, 2]}}, add(1, 1, options={"n": 1}), add(1, 1, options={"n": 3}), None),
        ({"option": {"name": "n", "default": 1, "range": [1, 2]}}, add(1, 1), add(1, 1, options={"n": 3}), None),
        (
            {"activation": ["NONE", "RELU"]},
            add(1, 1, options={"fused_activation_function": 1}),
            add(1, 1, options={"fused_activation_function": 4}),
            None,
        ),
        (
            {"same_type": ["in0", "out0"]},
            add(1, 1),
            Operation("ADD", 1, (operand("INT16"),), (operand(),)),
            None,
        ),
    ],
)
def test_operation_conditions(condition: dict[str, Any], good: Operation, bad: Operation, place: Any) -> None:
    assert Condition.of(condition).verdict(good)[0] is True
    assert Condition.of(condition).verdict(bad) == (False, place)


def test_scales_per_channel_are_compared_one_by_one() -> None:
    bias = Condition.of({"ratio": {"by": ["in2"], "of": ["in0", "in1"], "range": [0.98, 1.02]}})
    assert bias.verdict(add(0.5, [2, 4], [1, 2], 1))[0] is True
    assert bias.verdict(add(0.5, [2, 4], [1, 1], 1)) == (False, ("input", 2))
    assert bias.verdict(add(0.5, [2, 4], [1, 2, 3], 1))[0] is False
    assert bias.verdict(add(0.5, None, [1, 2], 1))[0] is None


@pytest.mark.parametrize(
    ("text", "types", "good"),
    [
        ("T T -> T", "INT8 INT8 -> INT8", True),
        ("T T -> T", "INT8 INT8 -> INT16", False),
        ("T T -> T", "INT8 -> INT8", False),
        ("T -> T", "INT8 INT8 -> INT8", False),
        ("T... -> T", "INT8 INT8 INT8 -> INT8", True),
        ("T... -> T", "INT8 INT16 -> INT8", False),
        ("T INT32? -> *", "INT8 -> BOOL", True),
        ("T INT32? -> *", "INT8 - -> BOOL", True),
        ("T INT32? -> *", "INT8 INT64 -> BOOL", False),
        ("INT8|INT4 -> INT8", "INT4 -> INT8", True),
        ("T -> T", "FLOAT32 -> FLOAT32", False),
    ],
)
def test_forms(text: str, types: str, good: bool) -> None:
    left, _, right = types.partition("->")
    inputs = tuple(None if t == "-" else Operand(t) for t in left.split())
    operation = Operation("ADD", 1, inputs, tuple(Operand(t) for t in right.split()))
    assert Form(text, {"T": ("INT8", "INT16")}).matches(operation) is good


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": 1}, "unknown key 'colour'"),
        ({"accept": [{"operators": ["RELU"], "forms": ["INT8 -> int8"]}]}, "'int8' is no element type"),
        ({"accept": [{"operators": ["RELU"], "forms": ["INT8"]}]}, "an arrow is required"),
        ({"accept": [{"operator": "RELU"}]}, "unknown key 'operator'"),
        (
            {"rule": [{"id": "r", "require": [{"at": "in0", "colour": 1}], "reason": "", "remedy": ""}]},
            "test 'colour'",
        ),
        ({"rule": [{"id": "r", "require": [], "reason": ""}]}, "'remedy' is missing"),
    ],
)
def test_a_wrong_profile_is_an_error(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        made("device", {**BASE, **changes})


def test_a_profile_over_another() -> None:
    base = {**BASE, "sources": ["a"], "rule": [{"id": "one", "n": 1}, {"id": "two"}, {"id": "three"}]}
    over = laid_over(base, {"sources": ["b"], "rule": [{"id": "one", "n": 2}], "without": ["two"], "max_rank": 3})
    assert over["sources"] == ["b", "a"]
    assert over["rule"] == [{"id": "three"}, {"id": "one", "n": 2}]
    assert (over["title"], over["max_rank"]) == ("A device", 3)


# ---- the profiles


@pytest.mark.parametrize("name", targets.NAMES)
def test_profiles_are_sound(name: str) -> None:
    target = targets.load(name)
    known = {*builtin_operators(), *rows(), *target.custom}
    assert target.title
    assert target.sources
    assert set(target.operators) <= known
    assert all({*r.operators, *r.other_than} <= known for r in target.rules)
    assert len({r.id for r in target.rules}) == len(target.rules)
    assert all(r.reason and r.remedy and r.require for r in target.rules)
    assert all(target.remedies.values())
    words = {"operator": "ADD", "version": 1, "type": "", "shape": "", "scale": "", "zero_point": "", "axis": 0}
    assert all((r.reason + r.remedy).format_map(words) for r in target.rules)


def test_unknown_targets_are_named() -> None:
    with pytest.raises(NotFound, match="no target 'micro'; known are litert, xnnpack, tflite-micro"):
        targets.load("micro")


def test_hints_of_the_planner() -> None:
    def those(field: str) -> set[str]:
        return {n for n in targets.NAMES if getattr(targets.load(n), field)}

    everywhere = set(targets.NAMES)
    assert everywhere - those("float_ok") == {"ethos-u", "edgetpu"}
    assert those("hybrid_ok") == {"litert", "xnnpack", "gpu"}
    assert those("dense_per_tensor") == {"ethos-u", "gpu"}
    assert those("external_buffers") == {"litert", "xnnpack", "gpu"}
    assert everywhere - those("int16_ok") == {"edgetpu", "gpu"}
    assert everywhere - those("static_shapes") == {"litert", "xnnpack"}
    assert those("io_types") == {"ethos-u", "edgetpu"}
    assert "unverified" in targets.load("edgetpu").notes[0]


@pytest.mark.parametrize(
    ("name", "operands"), [("SELECT", ("BOOL", "INT8", "INT8")), ("GELU", ("INT8",)), ("TILE", ("INT8", "INT32"))]
)
def test_what_converters_write_and_micro_lacks(name: str, operands: tuple[str, ...]) -> None:
    operation = Operation(name, 1, tuple(operand(t) for t in operands), (operand(),), accepted=range(1, 4))
    found = [r.reason for r in targets.load("tflite-micro").violations(operation)]
    assert found == [f"tflite-micro has no kernel of {name}"]
    assert targets.load("litert").violations(operation) == ()


def dense(weights: Operand, activation: str = "INT8", version: int = 4) -> Operation:
    x = operand(activation)
    return Operation("FULLY_CONNECTED", version, (x, weights, None), (x,))


CHANNELS = operand("INT8", (4, 4), [0.1] * 4, constant=True)
TENSOR = operand("INT8", (4, 4), 0.1, constant=True)


@pytest.mark.parametrize(
    ("target", "operation", "words"),
    [
        ("tflite-micro", dense(CHANNELS), ""),
        ("tflite-micro", dense(replace(TENSOR, type="INT4")), ""),
        ("tflite-micro", dense(replace(CHANNELS, type="INT4")), "INT4 per tensor only"),
        ("tflite-micro", dense(CHANNELS, "INT16"), ""),
        ("cmsis-nn", dense(CHANNELS, "INT16"), "takes one scale"),
        ("cmsis-nn", dense(CHANNELS), ""),
        ("ethos-u", dense(CHANNELS), "FULLY_CONNECTED takes one scale"),
        ("ethos-u", dense(TENSOR), ""),
        ("ethos-u", dense(replace(TENSOR, type="INT4")), "which the target doesn't read"),
        ("edgetpu", dense(CHANNELS), ""),
        ("gpu", dense(CHANNELS, version=12), "up to version 9"),
        ("gpu", dense(TENSOR, version=9), ""),
        ("gpu", dense(TENSOR, "INT16"), "which the target doesn't read"),
    ],
)
def test_dense_layers(target: str, operation: Operation, words: str) -> None:
    found = [r.reason for r in targets.load(target).violations(operation)]
    assert any(words in r for r in found) if words else found == []


def test_only_integers_are_summed() -> None:
    nan = operand("FLOAT32", constant=True, values=lambda: np.float32([np.nan]))
    assert Condition.of({"at": "in0", "channel_sum": [0, 1]}).verdict(relu(nan)) == (None, None)
    zero = Condition.of({"ratio": {"of": ["in0"], "by": ["in1"], "range": [0, 1]}})
    assert zero.verdict(add(0, 0, 1)) == (False, ("input", 1))


def test_without_a_kernel_nothing_else_is_said() -> None:
    strange = Operation("BATCH_MATMUL", 1, (operand("FLOAT64", (1,) * 9), None), (operand("FLOAT64"),))
    assert [r.reason for r in targets.load("ethos-u").violations(strange)] == [
        "ethos-u has no kernel of BATCH_MATMUL"
    ]
    assert "BATCH_MATMUL" in targets.load("tflite-micro").operators

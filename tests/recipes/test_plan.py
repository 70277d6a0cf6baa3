"""Plans: which constants are taken, in which form, and why the others are left alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidRecipe
from quantlib.numerics import PerAxis, PerBlock, PerTensor
from quantlib.recipes import BEHIND, DIRECT, KEEP, Decision, Plan, Recipe, dynamic, weight_only
from quantlib.tflite import Model, Table
from tests.support.network import Network, classifier, gaussian
from tests.support.presets import WEIGHT_PRESETS
from tests.support.shared import MODELS, needs_shared


def decision(model: Model, recipe: Recipe | str, name: str) -> Decision:
    """The decision about the constant of a name."""
    return next(d for d in ql.plan(model, recipe).decisions if d.name == name)


def dense(weights: np.ndarray, **options: object) -> Model:
    net = Network()
    x = net.input("x", (1, weights.shape[1]))
    return net.done(net.fully_connected("fc", x, weights, **options))


@pytest.mark.parametrize(("name", "axis"), [("conv/kernel", 0), ("depthwise/kernel", 3), ("dense/kernel", 0)])
def test_dynamic_takes_weights_per_channel(name: str, axis: int) -> None:
    found = decision(classifier(), "dynamic", name)
    assert (found.action, found.type, found.granularity) == (DIRECT, "INT8", PerAxis(axis))


def test_int4_only_where_the_hybrid_kernel_takes_it() -> None:
    types = {d.name: d.type for d in ql.plan(classifier(), "dynamic-int4").quantized}
    assert types == {"conv/kernel": "INT4", "depthwise/kernel": "INT8", "dense/kernel": "INT4"}


def test_biases_stay_with_a_reason() -> None:
    for recipe in ("dynamic", "weight-only"):
        found = decision(classifier(), recipe, "conv/bias")
        assert found.action == KEEP
        assert "bias of CONV_2D" in found.reason


def test_float16_takes_every_float_constant() -> None:
    plan = ql.plan(classifier(), "float16")
    assert {d.action for d in plan.decisions} == {BEHIND}
    assert len(plan.decisions) == 6


@pytest.mark.parametrize("value", [65520.0, -65520.0, np.inf, np.nan])
def test_float16_names_what_would_overflow(value: float) -> None:
    weights = gaussian((8, 8))
    weights[3, 4] = value
    found = decision(dense(weights), "float16", "fc/kernel")
    assert found.action == KEEP
    assert "1 of 64 values are beyond float16's 65504" in found.reason
    weights[3, 4] = 65519.996
    assert decision(dense(weights), "float16", "fc/kernel").action == BEHIND


def test_granularity_on_request_where_the_kernel_lets_one_choose() -> None:
    plan = {d.name: d for d in ql.plan(classifier(), dynamic(granularity="tensor")).quantized}
    assert plan["conv/kernel"].granularity == PerTensor()
    assert plan["depthwise/kernel"].granularity == PerAxis(3)  # its hybrid kernel refuses a single scale
    plan = {d.name: d for d in ql.plan(classifier(), weight_only(granularity="tensor")).quantized}
    assert {d.granularity for d in plan.values()} == {PerTensor()}


def test_blocks_where_shape_and_activation_allow() -> None:
    blocks = Recipe("dynamic", weights="INT4", granularity="block", block_size=32)
    assert decision(dense(gaussian((16, 64))), blocks, "fc/kernel").granularity == PerBlock(1, 32)
    fused = decision(dense(gaussian((16, 64)), fused_activation_function=1), blocks, "fc/kernel")
    assert fused.granularity == PerAxis(0)
    assert "fused activation" in fused.reason
    odd = decision(dense(gaussian((16, 40))), blocks, "fc/kernel")
    assert odd.granularity == PerAxis(0)
    assert "40 inputs aren't whole blocks of 32" in odd.reason


def test_small_constants() -> None:
    assert decision(dense(gaussian((1, 15))), "dynamic", "fc/kernel").reason == "15 elements, fewer than 16"
    assert decision(dense(gaussian((1, 16))), "dynamic", "fc/kernel").action == DIRECT
    assert decision(dense(gaussian((16, 63))), dynamic(min_elements=1024), "fc/kernel").action == KEEP
    assert decision(dense(gaussian((16, 64))), dynamic(min_elements=1024), "fc/kernel").action == DIRECT
    assert "no fewer than" in decision(dense(gaussian((64, 1))), "dynamic", "fc/kernel").reason


def test_selectors_by_name_and_type() -> None:
    model = classifier()
    assert [d.name for d in ql.plan(model, dynamic(only="conv")).quantized] == ["conv/kernel"]
    assert [d.name for d in ql.plan(model, dynamic(skip=("conv$", "depth"))).quantized] == ["dense/kernel"]
    assert [d.name for d in ql.plan(model, dynamic(only_types=("FULLY_CONNECTED",))).quantized] == ["dense/kernel"]
    both = ql.plan(model, dynamic(only="kernel", skip_types=("CONV_2D",)))
    assert [d.name for d in both.quantized] == ["depthwise/kernel", "dense/kernel"]
    assert decision(model, dynamic(skip="dense"), "dense/kernel").reason == "skipped by the recipe"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"only": ("(",)}, "no regular expression"),
        ({"only": ("nosuch",)}, "only 'nosuch' matches no operator or constant with a float constant"),
        ({"skip": ("conv", "nosuch")}, "skip 'nosuch'"),
        ({"skip_types": ("CONV_3D",)}, "skip_types 'CONV_3D' matches no operator type"),
    ],
)
def test_a_selector_that_selects_nothing_is_an_error(changes: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message.replace("(", r"\(")):
        ql.plan(classifier(), dynamic(**changes))


def shared_weight() -> Model:
    """One tensor read by two products and by an ADD, which takes no integers."""
    net = Network()
    x = net.input("x", (8, 8))
    w = net.constant("w", gaussian((8, 8)))
    a = net.fully_connected("a", x, w)
    b = net.fully_connected("b", a, w)
    return net.done(net.op("ADD", [b, w], "sum", (8, 8), Table("AddOptions")))


def test_a_reader_that_takes_no_integers_makes_it_float16() -> None:
    found = decision(shared_weight(), "dynamic", "w")
    assert (found.action, found.type) == (BEHIND, "FLOAT16")
    assert "also read by ADD" in found.reason


def test_a_skipped_reader_keeps_the_float_constant() -> None:
    found = decision(shared_weight(), dynamic(skip="^sum$"), "w")
    assert (found.action, found.type) == (DIRECT, "INT8")
    assert found.plain == ((2, 1),)
    assert found.after == 64 + 8 * 4 + 256


def test_tables_with_short_rows_become_float16() -> None:
    for width, kind in ((16, "FLOAT16"), (24, "INT8")):
        net = Network()
        ids = net.input("ids", (3,), "INT32")
        table = net.constant("table", gaussian((100, width)))
        model = net.done(net.op("GATHER", [table, ids], "rows", (3, width), Table("GatherOptions")))
        for recipe in ("dynamic", "weight-only"):
            found = decision(model, recipe, "table")
            assert (found.action, found.type) == (BEHIND, kind)


def lstm(units: int, **changes: object) -> Model:
    net = Network()
    x = net.input("x", (1, 4, units))
    weights = [net.constant(f"w{i}", gaussian((units, units), i, 0.3)) for i in range(8)]
    biases = [net.constant(f"b{i}", np.zeros(units, "f4")) for i in range(4)]
    states = [net.graph.add_tensor(f"s{i}", "FLOAT32", (1, units), is_variable=True) for i in range(2)]
    inputs = [x, *weights, -1, -1, -1, *biases, -1, -1, *states, -1, -1, -1, -1]
    options = Table("UnidirectionalSequenceLSTMOptions", fused_activation_function=4)
    return net.done(net.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, "y", (1, 4, units), options))


def test_recurrent_weights_go_together_or_not_at_all() -> None:
    small = ql.plan(lstm(31), "dynamic")
    assert not small.quantized
    assert "fewer than 1,024" in small.decisions[0].reason
    large = ql.plan(lstm(32), "dynamic")
    assert [d.granularity for d in large.quantized] == [PerTensor()] * 8
    one_out = ql.plan(lstm(32), dynamic(skip="w3"))
    assert not one_out.quantized
    assert "all weights quantized or none: w3" in next(d for d in one_out.decisions if d.name == "w0").reason
    assert len(ql.plan(lstm(31), dynamic(min_elements=0)).quantized) == 8


def test_ends_and_variables_stay() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    w = net.constant("w", gaussian((8, 8)))
    assert "input or output" in decision(net.done(net.fully_connected("fc", x, w), w), "float16", "w").reason
    net = Network()
    x = net.input("x", (1, 8))
    w = net.constant("w", gaussian((8, 8)), is_variable=True)
    assert "variable" in decision(net.done(net.fully_connected("fc", x, w)), "dynamic", "w").reason


@pytest.mark.parametrize("first", WEIGHT_PRESETS)
@pytest.mark.parametrize("second", WEIGHT_PRESETS)
def test_what_is_quantized_passes_through(first: str, second: str) -> None:
    once = ql.quantize(classifier(), first)
    if first == "float16":
        return  # float16 constants are a source like any other
    plan = ql.plan(once, second)
    done = {d.name for d in ql.plan(classifier(), first).quantized}
    for d in plan.decisions:
        if d.name in done:
            assert d.action == KEEP
            assert "already" in d.reason


def test_strict_counts_only_weights_that_stay_against_the_recipe() -> None:
    assert not ql.plan(classifier(), "dynamic").leftovers
    assert not ql.plan(classifier(), dynamic(skip="conv")).leftovers
    assert [d.name for d in ql.plan(dense(gaussian((1, 15))), "dynamic").leftovers] == ["fc/kernel"]


def test_a_plan_prints_and_serializes() -> None:
    plan: Plan = ql.plan(classifier(), "dynamic")
    text = str(plan)
    assert "conv/kernel: INT8 per channel 0 direct, 1,728 -> 496 bytes" in text
    assert "3 to INT8" in text.splitlines()[-1]
    data = json.loads(json.dumps(plan.to_dict()))
    assert data["totals"]["quantized"] == 3
    assert all(c["reason"] for c in data["constants"] if c["action"] == "keep")


@needs_shared
@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
@pytest.mark.parametrize("recipe", WEIGHT_PRESETS)
def test_every_float_constant_of_real_models_is_named_with_a_reason(path: object, recipe: str) -> None:
    model = ql.read(path)
    plan = ql.plan(model, recipe)
    named = {(d.subgraph, d.tensor) for d in plan.decisions}
    for g, graph in enumerate(model.subgraphs):
        read_by: dict[int, set[str]] = {}
        for operator in graph.operators or ():
            for t in operator.inputs.tolist() if operator.inputs is not None else []:
                read_by.setdefault(t, set()).add(model.operator_name(operator))
        for t, names in read_by.items():
            tensor = model.tensor((g, t)) if t >= 0 else None
            storage = names <= {"DEQUANTIZE", "DENSIFY"}
            if tensor is not None and tensor.is_constant and tensor.type == "FLOAT32" and not storage:
                assert (g, t) in named, tensor
    assert all(d.reason for d in plan.kept)

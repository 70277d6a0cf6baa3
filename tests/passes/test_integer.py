"""Plans with integer activations carried out: files that LiteRT runs, near the float model, with nothing to spare."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from flatbuffers.flexbuffers import Dumps

import quantlib as ql
from quantlib.errors import InvalidValue
from quantlib.numerics import sqnr_db
from quantlib.runners import LiteRTRunner
from quantlib.tflite import Draft, GraphDraft, Model, Table, read
from tests.support.litert import RESOLVERS
from tests.support.models import constant, csr, signature
from tests.support.network import Network, classifier, gaussian
from tests.support.networks import EXAMPLES, Example, example
from tests.support.planned import calibrated, decibels, names, of_example, planned, recipe, run, samples, valid
from tests.support.rules import unknown_to_reference

Array = npt.NDArray[Any]
MODES = ("int8", "int16x8", "uint8", "int8-int4")
#: Decibels that every output keeps. One tensor of 255 levels over 7 standard deviations keeps 42; of 3 to 8 layers of
#: as many levels one after the other 9 less are left, and 3 less where a sum cancels. INT16 leaves what the weights'
#: 8 bits keep. INT4 weights of 15 levels over 5 standard deviations keep 20, several layers of them 13.
LEAST = {"int8": 30.0, "int16x8": 39.0, "uint8": 29.0, "int8-int4": 13.0}
#: The reference kernel of SUM takes INT8 and INT16 for UINT8 (tflite/kernels/reduce.cc, QuantizedMeanOrSum).
WRONG = {("arithmetic", "reference", mode) for mode in ("int8", "int16x8", "int8-int4")}
ONE_RUN = sorted(set(EXAMPLES) - {"two_signatures", "memory"})


def quantized(made_of: Example, mode: str = "int8", **changes: Any) -> Model:
    return valid(ql.quantize(made_of.model, recipe(mode, **changes), of_example(made_of)), made_of.model)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ONE_RUN)
def test_outputs_are_near_those_of_the_float_model(name: str, mode: str) -> None:
    made_of = example(name)
    made = quantized(made_of, mode)
    for resolver in RESOLVERS:
        if resolver == "reference" and (unknown_to_reference(made.to_bytes()) or (name, resolver, mode) in WRONG):
            continue
        assert min(decibels(made_of.model, made, made_of.data[None], resolver), default=99.0) > LEAST[mode], resolver


def test_integer_outputs_are_nearly_always_the_same() -> None:
    made_of = example("integer_outputs")
    made = quantized(made_of, "int16x8")
    for x in made_of.data[None]["x"]:
        whole, small = (run(model, {"x": x}) for model in (made_of.model, made))
        for a, b in zip(whole, small, strict=True):
            assert a.dtype == b.dtype
            if a.dtype != np.float32:
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_no_conversion_is_undone_and_none_is_made_twice(name: str, mode: str) -> None:
    made = quantized(example(name), mode)
    for graph in range(len(made.subgraphs)):
        check_conversions(made, graph)


def check_conversions(made: Model, graph: int) -> None:
    """Of what QUANTIZE and DEQUANTIZE make, nothing is made twice, read by nobody, or made back at once."""
    operators = made.subgraphs[graph].operators or ()
    ends = set(() if made.subgraphs[graph].outputs is None else made.subgraphs[graph].outputs.tolist())
    readers = Counter(int(t) for o in operators for t in (() if o.inputs is None else o.inputs))
    conversions = [o for o in operators if made.operator_name(o) in ("QUANTIZE", "DEQUANTIZE")]
    makers = {int(o.outputs[0]): o for o in conversions}
    seen = set()
    for o in conversions:
        before, after = (made.tensor((graph, int(v[0]))) for v in (o.inputs, o.outputs))
        assert readers[after.index] or after.index in ends
        form = (before.index, after.type, str(after.quantization))
        assert form not in seen or after.index in ends
        seen.add(form)
        if before.index in makers:
            first = made.tensor((graph, int(makers[before.index].inputs[0])))
            assert (first.type, str(first.quantization)) != (after.type, str(after.quantization))


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_is_left_lying_about(name: str) -> None:
    """Every tensor and buffer of the result is used."""
    made = quantized(example(name))
    buffers = set()
    for graph in made.subgraphs:
        used = {int(t) for v in (graph.inputs, graph.outputs) if v is not None for t in v}
        for o in graph.operators or ():
            used.update(int(t) for v in (o.inputs, o.outputs) if v is not None for t in v if t >= 0)
        assert used == set(range(len(graph.tensors)))
        buffers.update(t.buffer for t in graph.tensors)
    assert buffers | {0} == set(range(len(made.root.buffers)))


@pytest.mark.parametrize("mode", MODES)
def test_bytes_depend_on_nothing_else(mode: str) -> None:
    made_of = example("branches")
    first, second = (ql.quantize(made_of.model, mode, of_example(made_of)).to_bytes() for _ in range(2))
    assert first == second
    again = ql.quantize(read(made_of.model.to_bytes()), mode, of_example(made_of))
    assert again.to_bytes() == first


# ---- constants ---------------------------------------------------------------------------------------------


def behind(kind: str) -> tuple[Network, Model, list[str]]:
    """A layer whose weight is stored as float16, or sparse, and what makes it real again."""
    net = Network()
    x = net.input("x", (1, 8))
    values = gaussian((6, 8), 1)
    steps = []
    if kind == "sparse":
        values[:, ::2] = 0
        dense, table = csr(values)
        w = net.constant("w/stored", dense)
        net.graph.tensors[w] = net.graph.tensors[w].replace(shape=np.array([6, 8], "i4"), sparsity=table)
        w = net.op("DENSIFY", [w], "w", (6, 8), Table("DensifyOptions"))
        steps = ["DENSIFY"]
    else:
        w = net.op("DEQUANTIZE", [net.constant("w/stored", values.astype("f2"))], "w", (6, 8))
        steps = ["DEQUANTIZE"]
    half = net.constant("b/stored", np.linspace(-1, 1, 6).astype("f2"))
    b = net.op("DEQUANTIZE", [half], "b", (6,))
    y = net.op("FULLY_CONNECTED", [x, w, b], "y", (1, 6), Table("FullyConnectedOptions"))
    return net, net.done(y), [*steps, "DEQUANTIZE", "FULLY_CONNECTED"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["float16", "sparse"])
def test_what_made_constants_real_goes(kind: str, mode: str) -> None:
    net, model, before = behind(kind)
    assert names(model) == before
    data = samples(net)
    plan = planned(model, data, mode)
    assert not plan.leftovers
    made = valid(ql.quantize(model, plan), model)
    assert names(made) == ["QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE"]
    assert {t.type for t in made.tensors() if t.is_constant}.isdisjoint({"FLOAT16", "FLOAT32"})
    assert min(decibels(model, made, data)) > LEAST[mode]


def test_what_a_float_operator_still_reads_stays() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    w = net.op("DEQUANTIZE", [net.constant("w/stored", gaussian((8,), 1).astype("f2"))], "w", (8,))
    total = net.op("ADD", [x, w], "sum", (1, 8), Table("AddOptions"))
    power = net.op(
        "POW", [net.op("RELU", [total], "positive", (1, 8)), net.op("ABS", [w], "size", (8,))], "y", (1, 8)
    )
    model = net.done(power)
    plan = planned(model, samples(net), skip=("^size$",))
    made = valid(ql.quantize(model, plan), model)
    assert names(made).count("ABS") == 1
    assert "FLOAT16" in {t.type for t in made.tensors() if t.is_constant}
    assert min(decibels(model, made, samples(net))) > 44


def test_a_constant_that_integers_and_floats_read_is_there_in_both_forms() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    k = net.constant("k", gaussian((1, 8), 1))
    total = net.op("ADD", [x, k], "sum", (1, 8), Table("AddOptions"))
    model = net.done(net.op("ATAN2", [total, k], "y", (1, 8), Table("ATan2Options")))
    made = valid(ql.quantize(model, planned(model, samples(net))), model)
    assert sorted(t.type for t in made.tensors() if t.is_constant) == ["FLOAT32", "INT8"]
    assert made.tensor("k").type == "FLOAT32"


def test_equal_forms_of_one_buffer_are_stored_once() -> None:
    made = quantized(example("two_signatures"))
    kernels = [t for t in made.tensors() if t.name == "w"]
    assert len(kernels) == 2
    assert len({t.table.buffer for t in kernels}) == 1
    assert made.to_bytes().count(kernels[0].numpy().tobytes()) == 1


# ---- signatures, control flow, memory, composites ------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["FLOAT32", "INT8", "INT16"])
def test_each_signature_runs(mode: str, kind: str) -> None:
    made_of = example("two_signatures")
    made = quantized(made_of, mode, input_type=kind, output_type=kind)
    for key, data in made_of.data.items():
        for x in next(iter(data.values())):
            sample = {f"{key}/x": x}
            whole, small = (run(m, sample, signature=str(key)) for m in (made_of.model, made))
            np.testing.assert_allclose(small[0], whole[0], atol=0.15 * np.abs(whole[0]).max() + 0.1)


@pytest.mark.parametrize("mode", MODES)
def test_the_body_of_a_loop_is_quantized_between_float_ends(mode: str) -> None:
    made = quantized(example("loop"), mode)
    assert names(made) == ["QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE", "WHILE", "QUANTIZE", "RELU", "DEQUANTIZE"]
    assert names(made, 1) == ["LESS"]
    assert names(made, 2) == ["ADD", "QUANTIZE", "FULLY_CONNECTED", "TANH", "DEQUANTIZE"]


@pytest.mark.parametrize("mode", MODES)
def test_a_variable_stays_float_between_integers(mode: str) -> None:
    """Its kernels would take integers, but READ_VARIABLE says no scale."""
    model, data = example("memory").model, example("memory").data[None]
    made = valid(ql.quantize(model, mode, calibrated(model, data, sequence=True)), model)
    assert "READ_VARIABLE" in names(made)
    assert [t.type for t in made.tensors(1) if t.is_constant] == ["FLOAT32"]
    whole, small = (
        np.stack([next(iter(runner.run([x], keep_state=True).values())) for x in data["x"]])
        for runner in (LiteRTRunner(model), LiteRTRunner(made))
    )
    assert sqnr_db(whole, small) > LEAST[mode]
    assert np.abs(whole[-1] - run(model, {"x": data["x"][-1]})[0]).max() > 1  # it has added up


def branching(kind: str) -> Model:
    """IF with a layer in one branch, or a composite with a layer in its decomposition."""
    draft = Draft()
    main = draft.graphs[0]
    inner = ("then", "else") if kind == "IF" else ("decomposition",)
    for name in inner:
        graph = GraphDraft.of(Table("SubGraph", name=name))
        draft.graphs.append(graph)
        graph.inputs = [graph.add_tensor(f"{name}/x", "FLOAT32", (1, 4))]
        graph.outputs = [graph.add_tensor(f"{name}/y", "FLOAT32", (1, 4))]
        if name == "else":
            graph.append(draft.operator("LOGISTIC", graph.inputs, graph.outputs))
            continue
        w, b = (
            constant(draft, graph, f"{name}/{n}", "FLOAT32", gaussian(s, 2)) for n, s in (("w", (4, 4)), ("b", (4,)))
        )
        operands = [*graph.inputs, w, b]
        graph.append(draft.operator("FULLY_CONNECTED", operands, graph.outputs, Table("FullyConnectedOptions")))
    x = main.add_tensor("x", "FLOAT32", (1, 4))
    w, b = (constant(draft, main, n, "FLOAT32", gaussian(s, 1)) for n, s in (("w", (4, 4)), ("b", (4,))))
    dense, found, y = (main.add_tensor(n, "FLOAT32", (1, 4)) for n in ("dense", "found", "y"))
    main.append(draft.operator("FULLY_CONNECTED", [x, w, b], [dense], Table("FullyConnectedOptions")))
    if kind == "IF":
        bound = constant(draft, main, "bound", "FLOAT32", np.zeros(1, "f4"))
        axes = constant(draft, main, "axes", "INT32", np.array([0, 1], "i4"))
        total, above = main.add_tensor("total", "FLOAT32", (1,)), main.add_tensor("above", "BOOL", (1,))
        main.append(draft.operator("SUM", [x, axes], [total], Table("ReducerOptions")))
        main.append(draft.operator("GREATER", [total, bound], [above], Table("GreaterOptions")))
        options = Table("IfOptions", then_subgraph_index=1, else_subgraph_index=2)
        main.append(draft.operator("IF", [above, dense], [found], options))
    else:
        options = Table(
            "StableHLOCompositeOptions",
            name="test.layer",
            decomposition_subgraph_index=1,
            composite_attributes=np.frombuffer(Dumps({}), np.uint8),
        )
        composite = draft.operator("STABLEHLO_COMPOSITE", [dense], [found])
        main.append(composite.replace(builtin_options_2=options))
    main.append(draft.operator("RELU", [found], [y]))
    main.inputs, main.outputs = [x], [y]
    return draft.done()


@pytest.mark.parametrize("ends", ["FLOAT32", "INT8"])
@pytest.mark.parametrize("mode", ["int8", "int16x8"])
@pytest.mark.parametrize("kind", ["IF", "STABLEHLO_COMPOSITE"])
def test_what_an_operator_runs_is_quantized_between_float_ends(kind: str, mode: str, ends: str) -> None:
    model = branching(kind)
    data = {"x": gaussian((12, 1, 4), 3)}
    plan = planned(model, data, mode, input_type=ends, output_type=ends)
    assert {e.subgraph for e in plan.ends} == ({0} if ends != "FLOAT32" else set())
    made = valid(ql.quantize(model, plan), model)
    assert names(made, 1) == ["QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE"]
    at = names(made).index(kind)
    assert (names(made)[at - 1], names(made)[at + 1]) == ("DEQUANTIZE", "QUANTIZE")
    for x in data["x"]:
        whole, small = (run(m, {"x": x})[0] for m in (model, made))
        if kind != "IF" or abs(float(x.sum())) > 0.2:  # which branch is taken may differ near the bound
            np.testing.assert_allclose(small, whole, atol=0.06 * max(np.abs(whole).max(), 3))


# ---- mixed models --------------------------------------------------------------------------------------------


def tower(depth: int = 4) -> tuple[Model, dict[str, Array]]:
    net = Network()
    x = net.input("x", (1, 8))
    for i in range(depth):
        x = net.fully_connected(f"layer{i}", x, gaussian((8, 8), i + 1, 0.4), fused_activation_function=1)
    return net.done(x), samples(net)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "Q F F F F D"),
        ({"skip": ("layer1",)}, "Q F D F Q F F D"),
        ({"skip": ("layer0",)}, "F Q F F F D"),
        ({"skip": ("layer3",)}, "Q F F F D F"),
        ({"skip": ("layer1", "layer2")}, "Q F D F F Q F D"),
        ({"int16": ("layer1",)}, "Q F Q F Q F F D"),
        ({"int16": ("layer[12]",)}, "Q F Q F F Q F D"),
        ({"int16": ("layer0",)}, "Q F Q F F F D"),
        ({"int16": ("layer0",), "skip": ("layer1",)}, "Q F D F Q F F D"),
        ({"input_type": "INT8", "output_type": "INT8"}, "F F F F"),
        ({"input_type": "INT16", "int16": ("layer0",), "output_type": "INT8"}, "F Q F F F"),
    ],
    ids=str,
)
def test_conversions_stand_only_where_types_change(changes: dict[str, Any], expected: str) -> None:
    model, data = tower()
    made = valid(ql.quantize(model, planned(model, data, **changes)), model)
    short = {"QUANTIZE": "Q", "FULLY_CONNECTED": "F", "DEQUANTIZE": "D"}
    assert " ".join(short[n] for n in names(made)) == expected
    assert min(decibels(model, made, data)) > 42


def test_several_readers_in_several_types_share_conversions() -> None:
    net = Network()
    x = net.fully_connected("x2", net.input("x", (1, 8)), gaussian((8, 8), 9, 0.4))
    made_by = [
        net.fully_connected(f"{kind}{i}", x, gaussian((4, 8), i)) for i in range(2) for kind in ("a", "b", "c")
    ]
    model = net.done(*made_by)
    plan = planned(model, samples(net), skip=("^a",), int16=("^b",), output_type="INT8")
    made = valid(ql.quantize(model, plan), model)
    count = Counter(names(made))
    # x in; x2 once as floats and once as INT16; outputs of a and of b to INT8
    assert (count["DEQUANTIZE"], count["QUANTIZE"]) == (1, 1 + 1 + 2 + 2)
    check_conversions(made, 0)


def test_sums_of_int16_say_that_scales_are_no_powers_of_two() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    total = net.op("ADD", [x, net.constant("k", gaussian((8,), 1))], "sum", (1, 8), Table("AddOptions"))
    model = net.done(net.op("SUB", [total, x], "y", (1, 8)))  # without options
    made = valid(ql.quantize(model, planned(model, samples(net), "int16x8")), model)
    for o in made.subgraphs[0].operators:
        if made.operator_name(o) in ("ADD", "SUB"):
            assert o.builtin_options.pot_scale_int16 is False
    small = ql.quantize(model, planned(model, samples(net), "int8"))
    assert not any(
        "pot_scale_int16" in o.builtin_options.stored() for o in small.subgraphs[0].operators if o.builtin_options
    )
    assert min(decibels(model, made, samples(net))) > 84


# ---- plans -------------------------------------------------------------------------------------------------


def test_a_plan_of_another_model_is_refused() -> None:
    model, data = tower(3)
    other, _ = tower(4)
    with pytest.raises(InvalidValue, match="the plan doesn't fit this model"):
        ql.quantize(other, planned(model, data))


def test_a_plan_can_be_changed_by_hand() -> None:
    model, data = tower(2)
    plan = planned(model, data)
    rounded = replace(plan, operators=tuple(replace(p, moments=None) for p in plan.operators))
    made = [ql.quantize(model, p).tensor("layer0/kernel").numpy() for p in (plan, rounded)]
    nearest = ql.quantize(model, planned(model, data, rounding="nearest")).tensor("layer0/kernel").numpy()
    np.testing.assert_array_equal(made[1], nearest)
    assert np.abs(made[0].astype(int) - nearest).max() <= 1


def test_names_of_tensors_stay_and_new_ones_tell_what_they_are() -> None:
    model = classifier()
    statistics = calibrated(model, {"image": gaussian((8, 1, 16, 16, 3), 0)})
    made = ql.quantize(model, "int8", statistics)
    before, after = ({t.name for t in m.tensors()} for m in (model, made))
    assert after - before == {"image_int8", "dense_int8"}
    assert before <= after
    assert [t.name for t in made.tensors()] == [*dict.fromkeys(t.name for t in made.tensors())]


def test_metadata_and_signatures_are_kept() -> None:
    draft = Draft()
    graph = draft.graphs[0]
    x, y = (graph.add_tensor(n, "FLOAT32", (1, 4)) for n in ("x", "y"))
    graph.append(draft.operator("RELU", [x], [y]))
    graph.inputs, graph.outputs = [x], [y]
    draft.signatures.append(signature("serve", {"in": x}, {"out": y}))
    model = draft.done()
    made = ql.quantize(model, "int8", calibrated(model, {"x": gaussian((8, 1, 4), 1)}))
    (kept,) = made.root.signature_defs
    assert (kept.signature_key, kept.inputs[0].name, kept.outputs[0].name) == ("serve", "in", "out")
    assert made.tensor((0, kept.outputs[0].tensor_index)).name == "y"

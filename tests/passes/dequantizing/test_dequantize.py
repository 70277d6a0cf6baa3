"""`dequantize`: what becomes float, what stays, and that LiteRT computes with it what the integers stood for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, PerAxis, dequantize, sqnr_db
from quantlib.operators import Call, kernel
from quantlib.passes import Edited
from quantlib.passes.stored import stored_float32
from quantlib.recipes import by_name
from quantlib.runners import LiteRTRunner
from quantlib.tflite import GraphDraft, Model, Table, Tensor, read
from tests.hostile.exercise import outcome
from tests.hostile.mutate import bent
from tests.support.litert import RESOLVERS, interpreter
from tests.support.models import constant, csr, parameters, signature, sparse
from tests.support.network import Network, gaussian
from tests.support.networks import EXAMPLES, example
from tests.support.networks_integer import VALID, Integer
from tests.support.networks_trained import COMPLETE
from tests.support.planned import names, of_example
from tests.support.planned import run as run_real
from tests.support.presets import INTEGER_PRESETS, WEIGHT_PRESETS
from tests.support.rules import unknown_to_reference, violations

Array = npt.NDArray[Any]
BRIDGES = ("QUANTIZE", "DEQUANTIZE")
#: Decibels to reach where outputs are a few steps of their grid.
LEAST = {"lstm": 42.0, "lstm_normalized": 14.0}


def checked(edited: Edited, *, judged: bool = True) -> Model:
    """The model, which breaks no rule of quantized files, loads everywhere, and stays as it is a second time."""
    data = edited.model.to_bytes()
    assert not judged or violations(data) == []
    for resolver in RESOLVERS:
        if resolver != "reference" or not unknown_to_reference(data):
            interpreter(data, resolver)
    again = ql.dequantize(read(data))
    assert again.model.to_bytes() == data
    assert again.done == ()
    return edited.model


def types(model: Model) -> set[str]:
    return {t.type for t in model.tensors()}


def tables(model: Model, subgraph: int = 0) -> list[Table]:
    return [o for o in model.subgraphs[subgraph].operators or () if model.operator_name(o) not in BRIDGES]


def on_grid(model: Model, seed: int, *, stored: bool = False) -> dict[str, Array]:
    """Values that a model's inputs can hold; real, or as they are stored."""
    found, rng = {}, np.random.default_rng(seed)
    for t in (model.tensor((0, int(i))) for i in model.subgraphs[0].inputs):
        if t.quantization is None:
            drawn = rng.integers(0, 3, t.shape).astype("i4") if t.type == "INT32" else rng.standard_normal(t.shape)
            found[t.name] = drawn if t.type == "INT32" else drawn.astype("f4")
            continue
        limits = np.iinfo(t.dtype)
        raw = rng.integers(max(limits.min, -2000), min(limits.max, 2000), t.shape)
        found[t.name] = raw.astype(t.dtype) if stored else real(t, raw)
    return found


@pytest.mark.parametrize("name", VALID)
def test_no_integer_is_left(name: str) -> None:
    made = checked(ql.dequantize(VALID[name]()))
    assert types(made) <= {"FLOAT32", "INT32", "INT64", "BOOL", "RESOURCE"}
    assert not set(BRIDGES) & {made.operator_name(o) for g in made.subgraphs for o in g.operators or ()}
    assert not any(t.quantization for t in made.tensors())


def real(tensor: Tensor, values: Array) -> Array:
    form = tensor.quantization
    return values if form is None else (form.scale * (values - form.zero_point.astype("f8"))).astype("f4")


@pytest.mark.parametrize("name", ["layers", "singles", "rarer", "wide", "legacy"])
def test_each_operator_gives_what_its_integers_stood_for(name: str) -> None:
    """Each alone, on what the integer model hands it: within a step and a half, clipped to the output's range."""
    model = VALID[name]()
    made = ql.dequantize(model).model
    seen: dict[int, Array] = {}
    LiteRTRunner(model, resolver="builtin").run(
        list(on_grid(model, 0, stored=True).values()), tap=lambda g, i, v: seen.update({i: v.copy()})
    )
    compared = 0
    for before, after in zip(tables(model), tables(made), strict=True):
        inputs: list[Array | None] = []
        for t, u in zip(before.inputs.tolist(), after.inputs.tolist(), strict=True):
            tensor = model.tensor((0, t)) if t >= 0 else None
            fixed = tensor is not None and tensor.is_constant
            inputs.append(None if tensor is None else made.tensor((0, u)).numpy() if fixed else real(tensor, seen[t]))
        options = after.builtin_options if after.builtin_options is not None else Table("AddOptions")
        ends = [made.tensor((0, t)) for t in after.outputs.tolist()]
        found = kernel(made.operator_name(after))(Call(tuple(inputs), options, tuple(e.type for e in ends)))  # type: ignore[misc]  # there is one
        for t, ours in zip(before.outputs.tolist(), found, strict=True):
            end = model.tensor((0, t))
            if end.quantization is None:
                continue
            limits, step = np.iinfo(end.dtype), float(end.quantization.scale[0])  # type: ignore[type-var]  # not None
            lo, hi = (real(end, np.array(v)) for v in (limits.min, limits.max))
            np.testing.assert_allclose(np.clip(ours, lo, hi), real(end, seen[t]), rtol=0, atol=1.5 * step)
            compared += 1
    assert compared > 1


@pytest.mark.parametrize("name", ["hybrid", "blockwise", "loop", "variable", "lstm", "lstm_normalized", "svdf"])
def test_a_network_gives_what_its_integers_stood_for(name: str) -> None:
    model = VALID[name]()
    made = ql.dequantize(model).model
    for seed in range(4):
        sample = on_grid(model, seed)
        for ours, theirs in zip(run_real(made, sample, "builtin"), run_real(model, sample, "builtin"), strict=True):
            assert ours.shape == theirs.shape
            if theirs.dtype == np.float32 and theirs.any():
                clipped = np.clip(ours, theirs.min(), theirs.max())  # integers were
                assert float(sqnr_db(theirs, clipped)) > LEAST.get(name, 32.0)


@pytest.mark.parametrize("mode", [*WEIGHT_PRESETS, *INTEGER_PRESETS])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_float_graph_comes_back(name: str, mode: str) -> None:
    case = example(name)
    recipe = by_name(mode)
    if recipe.activations:
        recipe = recipe.replace(rounding="nearest")
    small = ql.quantize(case.model, recipe, of_example(case) if recipe.activations else None)
    checked(ql.dequantize(small, recover_activations=False))
    same_graph(case.model, small)


def _ends(model: Model, subgraph: int, kind: str) -> Array:
    found = getattr(model.subgraphs[subgraph], kind)
    return np.zeros(0, int) if found is None else found


def same_graph(model: Model, small: Model) -> None:
    """The same operators in the same order, ends by name and type, and constants within half a step."""
    made = ql.dequantize(small, recover_activations=False, keep_ranges=True).model
    for g in range(len(model.subgraphs)):
        assert names(made, g) == names(model, g)
        for kind in ("inputs", "outputs"):
            ours, theirs = (
                [(m.tensor((g, int(t))).name, m.tensor((g, int(t))).type) for t in _ends(m, g, kind)]
                for m in (made, model)
            )
            assert ours == theirs
        for before, between, after in zip(*(tables(m, g) for m in (model, small, made)), strict=True):
            plain = [{} if o.builtin_options is None else o.builtin_options.stored() for o in (before, after)]
            assert {k: v for k, v in plain[1].items() if k in plain[0] or v} == plain[0]
            for k, t in enumerate(before.inputs.tolist()):
                constants = [m.tensor((g, int(o.inputs[k]))) for m, o in ((small, between), (made, after)) if t >= 0]
                if constants and model.tensor((g, t)).is_constant and model.tensor((g, t)).type == "FLOAT32":
                    near_constant(model.tensor((g, t)).numpy(), *constants)


def near_constant(wanted: Array, stored: Tensor, made: Tensor) -> None:
    """Within half a step; what is clipped to a range that others have is compared with that."""
    found = made.numpy()
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    table = made.table.quantization or stored.table.quantization  # a bias has no range
    if table is None:  # halves
        np.testing.assert_allclose(found, wanted, rtol=2.0**-11, atol=2.0**-24)
        return
    shape = [1] * wanted.ndim
    if table.scale.size > 1:
        shape[table.quantized_dimension] = -1
    half = table.scale.astype("f8").reshape(shape) / 2 if wanted.ndim else float(table.scale[0]) / 2
    if table.min is not None:
        lo, hi = (v.reshape(shape) if wanted.ndim else v[0] for v in (table.min, table.max))
        wanted = np.clip(wanted, lo, hi)
    assert (np.abs(wanted - found) <= half * (1 + 1e-4) + 1e-6 * np.abs(wanted)).all()


@pytest.mark.parametrize("name", ["branches", "one_scale", "upsampling", "shared_weights"])
@pytest.mark.parametrize("mode", INTEGER_PRESETS)
def test_quantizing_again_with_kept_ranges_gives_the_same_integers(name: str, mode: str) -> None:
    case = example(name)
    recipe = by_name(mode).replace(rounding="nearest")
    small = ql.quantize(case.model, recipe, of_example(case))
    kept = ql.dequantize(small, keep_ranges=True, recover_activations=False)
    again = ql.quantize(kept.model, recipe)
    for key, data in case.data.items():
        for i in range(3):
            sample = {n: v[i] for n, v in data.items()}
            ours, theirs = (run_real(m, sample, "builtin", signature=key or "") for m in (again, small))
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(a, b)


def test_a_float_model_is_left_as_it_is_and_that_is_said() -> None:
    model = example("branches").model
    edited = ql.dequantize(model)
    assert edited.model is model
    assert edited.done == ()
    assert [str(line) for line in edited.kept] == ["model: nothing in it is quantized; it is given back as it is"]


# --- activations that only a range carried -----------------------------------------------------------------------


def clipped(
    lo: float, hi: float, operator: str = "CONV_2D", *, type: str = "UINT8", fused: int = 0, then: str = ""
) -> Model:
    """One operator whose output has a range; `then` reads it."""
    net = Integer(type)
    bits = 16 if type == "INT16" else 8
    first = -(2 ** (bits - 1)) if type != "UINT8" else 0
    scale = (hi - lo) / (2**bits - 1)
    point = 0 if type == "INT16" else first - round(lo / scale)
    x = net.input("x", (1, 4, 4, 4), 0.05, 0 if type == "INT16" else first + 100)
    y = net.activation("y", (1, 4, 4, 4), scale, point)
    if operator == "CONV_2D":
        w = net.weights("w", (4, 1, 1, 4), None, "INT8")
        if type == "UINT8":
            values = np.random.default_rng(0).integers(0, 256, (4, 1, 1, 4)).astype("u1")
            w = constant(net.draft, net.graph, "wu", "UINT8", values, quantization=parameters(0.02, 120))
        bias = net.bias("b", x, w, 4, "INT64" if type == "INT16" else "INT32")
        options = Table("Conv2DOptions", stride_w=1, stride_h=1, fused_activation_function=fused)
        net.op(operator, [x, w, bias], [y], 1, options)
    else:
        kind = f"{operator.title()}Options"
        other = net.activation("positive", (1, 4, 4, 4), 0.05, first)
        net.graph.inputs.append(other)
        net.op(
            operator, [other, other if operator == "ADD" else x], [y], 1, Table(kind, fused_activation_function=fused)
        )
    if not then:
        return net.done(y)
    z = net.activation("z", (1, 4, 4, 4), 1 / 256, first)
    shape = net.indices("shape", [1, 4, 4, 4])
    moved = net.activation("moved", (1, 4, 4, 4), scale, point)
    net.op("RESHAPE", [y, shape], [moved], 1, Table("ReshapeOptions", new_shape=[1, 4, 4, 4]))
    net.op(then, [moved], [z], 1, Table("SoftmaxOptions", beta=1.0) if then == "SOFTMAX" else None)
    return net.done(z)


def fused(model: Model) -> int:
    return int(tables(model)[0].builtin_options.fused_activation_function)


STEP = 6 / 255


@pytest.mark.parametrize(
    ("model", "code"),
    [
        (clipped(0, 6), 3),
        (clipped(0, 6, type="INT8"), 3),
        (clipped(0, 6 + 0.49 * STEP), 3),
        (clipped(0, 6 - 0.49 * STEP), 3),
        (clipped(0, 6 + 0.52 * STEP), 1),
        (clipped(0, 6 - 0.52 * STEP), 1),
        (clipped(0, 30), 1),
        (clipped(-0.03, 6), 0),
        (clipped(-1, 1), 0),  # the model's output
        (clipped(-1, 1, type="INT8", then="ABS"), 2),
        (clipped(-1.02, 1, type="INT8", then="ABS"), 0),
        (clipped(-1, 1, "SUB"), 0),
        (clipped(0, 6, fused=1), 1),
        (clipped(-3, 6), 0),
        (clipped(0, 6, "ADD"), 3),
        (clipped(0, 9, "ADD"), 0),  # of what can't be negative
        (clipped(0, 9, "MUL"), 1),
        (clipped(-6, 6, type="INT16"), 0),
    ],
)
def test_a_range_gives_its_activation_back(model: Model, code: int) -> None:
    edited = ql.dequantize(model)
    made = checked(edited)
    assert fused(made) == code
    assert edited.totals["activations given back"] == (code != fused(model))
    if names(model) != ["CONV_2D"]:
        return
    sample = on_grid(model, 1)
    (ours,), (theirs,) = run_real(made, sample, "reference"), run_real(model, sample, "reference")
    step = float(model.tensor("y").quantization.scale[0])  # type: ignore[union-attr]  # it has one
    ours = ours if code == 3 else np.minimum(ours, theirs.max())  # what the range cut off above, and no activation
    np.testing.assert_allclose(ours if code else np.maximum(ours, theirs.min()), theirs, rtol=0, atol=1.01 * step)


def test_the_report_names_what_was_given_back() -> None:
    lines = [str(line) for line in ql.dequantize(clipped(0, 6)).done]
    assert "CONV_2D y: RELU6 given back, which its range 0..6 carried" in lines
    assert "x: input UINT8 to FLOAT32; real is 0.05 * (integer -100), -5..7.75" in lines


@pytest.mark.parametrize("reader", ["SOFTMAX", "LOGISTIC"])
def test_scores_are_no_activation(reader: str) -> None:
    edited = ql.dequantize(clipped(0, 6, then=reader))
    assert fused(checked(edited)) == 0
    why = f"its range 0..6 isn't taken for RELU6, since it is read by {reader}; integers were clipped to it"
    assert [str(line) for line in edited.kept] == [f"CONV_2D y: {why}"]


def test_activations_are_not_given_back_where_that_is_not_wanted() -> None:
    edited = ql.dequantize(clipped(0, 6), recover_activations=False)
    assert fused(edited.model) == 0
    assert [line.where for line in edited.kept] == ["CONV_2D y"]


# --- what keeps its integers -------------------------------------------------------------------------------------


def raw(
    operator: str, options: Table | None, shape: Sequence[int], type: str, *, point: int = 3, **out: Any
) -> Model:
    """An operator between two integer ones; `out` is the form of what it makes, in `type`."""
    net = Integer()
    x = net.input("x", (1, 4), 0.1, point)
    before, made = (
        net.activation("before", (1, 4), 0.1, point),
        net.graph.add_tensor("made", type, tuple(shape), **out),
    )
    net.op("ABS", [x], [before], 2, "AbsOptions")
    net.op(operator, [before], [made], 1, options)
    if type != "INT8":
        return net.done(made, before)
    after = net.activation("after", shape, 0.2, 1)
    net.op("ABS", [made], [after], 2, "AbsOptions")
    return net.done(after)


KEPT = {
    "cast": raw("CAST", Table("CastOptions", in_data_type=9, out_data_type=0), (1, 4), "FLOAT32"),
    "negated": raw("NEG", Table("NegOptions"), (1, 4), "INT8", quantization=parameters(0.1, 3)),
    "copied": raw(
        "RESHAPE", Table("ReshapeOptions", new_shape=[1, 4]), (1, 4), "INT8", quantization=parameters(0.3, 3)
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_an_operator_on_stored_integers_keeps_them(name: str) -> None:
    model = KEPT[name]
    edited = ql.dequantize(model)
    made = checked(edited, judged=False)
    (line,) = edited.kept
    assert "keeps its integers: its kernel " in line.what
    assert made.tensor("x").type == "FLOAT32"
    assert names(made)[:3] == ["ABS", "QUANTIZE", names(model)[1]]
    for seed in range(3):
        sample = on_grid(model, seed)
        for ours, theirs in zip(run_real(made, sample, "builtin"), run_real(model, sample, "builtin"), strict=True):
            clipped = np.clip(ours, theirs.min(), theirs.max())  # integers were
            np.testing.assert_allclose(clipped, theirs, rtol=0, atol=1e-5 if name == "cast" else 0.11)


def test_what_is_the_same_for_stored_and_real_becomes_float() -> None:
    model = raw("NEG", Table("NegOptions"), (1, 4), "INT8", point=0, quantization=parameters(0.1, 0))
    assert names(checked(ql.dequantize(model))) == ["ABS", "NEG", "ABS"]


def test_unknown_custom_operators_keep_their_integers() -> None:
    net = Integer()
    x, y = net.input("x", (1, 4)), net.activation("y", (1, 4))
    net.op("CUSTOM", [x], [y])
    net.draft.codes[-1] = net.draft.codes[-1].replace(custom_code="Mine")
    edited = ql.dequantize(net.done(y))
    assert names(edited.model) == ["QUANTIZE", "Mine", "DEQUANTIZE"]
    assert edited.model.tensor("x").type == edited.model.tensor("y").type == "FLOAT32"
    assert [str(line) for line in edited.kept] == [
        "Mine y: keeps its integers: a custom operator, which may take these integers alone"
    ]
    assert ql.dequantize(edited.model).model is edited.model


def test_shuffled_weights_keep_their_integers() -> None:
    net = Integer("UINT8")
    x, y = net.input("x", (1, 16), 0.1, 100), net.activation("y", (1, 4), 0.1, type="INT16")
    w = constant(net.draft, net.graph, "w", "UINT8", np.zeros((4, 16), "u1"), quantization=parameters(0.02, 120))
    options = Table("FullyConnectedOptions", weights_format=1)
    net.op("FULLY_CONNECTED", [x, w, net.bias("b", x, w, 4)], [y], 2, options)
    (line,) = ql.dequantize(net.done(y)).kept
    assert line.what == "keeps its integers: its weights are stored in a shuffled order"


# --- ends --------------------------------------------------------------------------------------------------------


def test_a_conversion_from_end_to_end_is_a_copy() -> None:
    net = Integer()
    x = net.plain("x", (2, 3))
    net.graph.inputs = [x]
    y, z = net.activation("y", (2, 3)), net.plain("z", (2, 3))
    net.op("QUANTIZE", [x], [y])
    net.op("DEQUANTIZE", [y], [z])
    made = checked(ql.dequantize(net.done(y, z)))
    assert names(made) == ["CAST", "CAST"]
    values = gaussian((2, 3))
    for found in run_real(made, {"x": values}, "reference"):
        np.testing.assert_array_equal(found, values)


def test_outputs_keep_their_names_and_signature() -> None:
    net = Integer()
    x = net.input("x", (1, 4))
    inner, y = net.activation("inner", (1, 4)), net.plain("y", (1, 4))
    net.op("ABS", [x], [inner], 2, "AbsOptions")
    net.op("DEQUANTIZE", [inner], [y], 2)
    net.draft.signatures.append(signature("serving_default", {"in": x}, {"real": y, "stored": inner}))
    made = checked(ql.dequantize(net.done(y, inner)))
    assert [made.tensor((0, int(t))).name for t in made.subgraphs[0].outputs] == ["y", "inner"]
    ends = made.root.signature_defs[0]
    assert [made.tensor((0, e.tensor_index)).name for e in (*ends.inputs, *ends.outputs)] == ["x", "y", "inner"]
    for found in run_real(made, {"x": np.float32([[-1, 2, -3, 4]])}, "builtin"):
        np.testing.assert_array_equal(found, np.float32([[1, 2, 3, 4]]))


def test_what_was_read_of_a_variable_does_not_change_with_it() -> None:
    """SVDF updates its state after it was copied for the sum."""
    model = VALID["svdf"]()
    draft = ql.tflite.Draft(model)
    graph = draft.graphs[0]
    state = next(i for i, t in enumerate(graph.tensors) if t.is_variable)
    old = graph.add_tensor("old", "FLOAT32", (1, 30))
    graph.outputs.append(old)
    graph.operators.insert(0, draft.operator("DEQUANTIZE", [state], [old], version=3))
    graph.origins.insert(0, None)
    made = checked(ql.dequantize(draft.done()))
    assert names(made) == ["CAST", "SVDF"]
    first, _ = run_real(made, {"x": np.float32([[1, 2, 3, 4]])}, "builtin")[::-1]
    assert not first.any()


def test_a_narrowing_conversion_is_stated() -> None:
    net = Integer()
    x = net.input("x", (1, 4), 0.1, 0)
    narrow, y = net.activation("narrow", (1, 4), 0.05, -128), net.activation("y", (1, 4), 0.05, -128)
    net.op("QUANTIZE", [x], [narrow])
    net.op("ABS", [narrow], [y], 2, "AbsOptions")
    (line,) = ql.dequantize(net.done(y)).kept
    assert str(line) == "QUANTIZE narrow: clipped -12.8..12.7 to 0..12.75; floats aren't clipped"


# --- constants ---------------------------------------------------------------------------------------------------


def dense(net: Integer, name: str, x: int, w: int, b: int) -> int:
    y = net.activation(name, (1, 4), 0.5, 0)
    net.op("FULLY_CONNECTED", [x, w, b], [y], 4, "FullyConnectedOptions")
    return y


def test_one_bias_of_two_inputs_becomes_two() -> None:
    net = Integer()
    x, z = net.input("x", (1, 8), 0.1), net.input("z", (1, 8), 0.2)
    w = net.weights("w", (4, 8))
    b = net.bias("b", x, w, 4)
    outputs = [dense(net, n, i, w, b) for n, i in (("one", x), ("same", x), ("other", z))]
    made = checked(ql.dequantize(net.done(*outputs)))
    found = [made.tensor((0, int(o.inputs[2]))).numpy() for o in tables(made)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[2], 2 * found[0], rtol=1e-6)
    assert tables(made)[0].inputs[2] == tables(made)[1].inputs[2]


@pytest.mark.parametrize("has_scale", [True, False])
def test_a_bias_has_the_scale_of_its_product(has_scale: bool) -> None:
    net = Integer()
    x = net.input("x", (1, 8), 0.1)
    w = net.weights("w", (4, 8))
    b = net.bias("b", x, w, 4)
    if not has_scale:
        net.graph.tensors[b] = net.graph.tensors[b].replace(quantization=None)
    made = checked(ql.dequantize(net.done(dense(net, "y", x, w, b))))
    wanted = np.arange(4) * np.float64(np.float32(0.1)) * np.float32(0.01 * (1 + np.arange(4)))
    np.testing.assert_allclose(made.tensor("b").numpy(), wanted, rtol=1e-6)


def test_a_bias_without_any_scale_is_refused() -> None:
    model = VALID["svdf"]()
    draft = ql.tflite.Draft(model)
    t = model.tensor("bias")
    draft.graphs[0].tensors[t.index] = t.table.replace(quantization=None)
    with pytest.raises(InvalidValue, match=r"^tensor 'bias' .*: a bias of INT32 without a scale, and SVDF has none"):
        ql.dequantize(draft.done())


def test_one_buffer_with_two_scales_becomes_two_buffers() -> None:
    net = Integer()
    x = net.input("x", (1, 8))
    w = net.weights("w", (4, 8))
    buffer = net.graph.tensors[w].buffer
    fields = {"buffer": buffer, "quantization": parameters(0.5)}
    others = [net.graph.add_tensor(n, "INT8", (4, 8), **fields) for n in ("v", "v2")]
    made = checked(ql.dequantize(net.done(*(dense(net, f"y{k}", x, k, -1) for k in (w, *others)))))
    buffers = [made.tensor(n).table.buffer for n in ("w", "v", "v2")]
    assert buffers[0] != buffers[1] == buffers[2]
    np.testing.assert_array_equal(made.tensor("v").numpy(), 0.5 * net.done().tensor("w").numpy().astype("f4"))


def sparse_integers() -> Model:
    net = Network()
    x = net.input("x", (1, 16))
    values = np.random.default_rng(0).integers(-9, 10, (8, 16)) * (np.random.default_rng(1).random((8, 16)) < 0.3)
    stored, table = csr(values.astype(np.int8))
    form = {"quantization": parameters(0.25)}
    packed = net.graph.add_tensor(
        "packed", "INT8", (8, 16), buffer=net.draft.add_buffer(stored), sparsity=table, **form
    )
    whole = net.op("DENSIFY", [packed], "whole", (8, 16), Table("DensifyOptions"), type="INT8")
    net.graph.tensors[whole] = net.graph.tensors[whole].replace(**form)
    real = net.op("DEQUANTIZE", [whole], "real", (8, 16))
    return net.done(net.fully_connected("y", x, real))


def test_sparse_integers_become_dense_floats() -> None:
    model = sparse_integers()
    made = checked(ql.dequantize(model))
    assert names(made) == ["FULLY_CONNECTED"]
    np.testing.assert_array_equal(made.tensor("packed").numpy(), 0.25 * model.tensor("packed").numpy().astype("f4"))
    assert made.tensor("packed").table.sparsity is None


def test_sparse_floats_stay_or_become_dense_as_is_asked() -> None:
    model = sparse()
    assert ql.dequantize(model).model is model
    made = checked(ql.dequantize(model, expand_sparse=True))
    assert names(made) == ["FULLY_CONNECTED"]
    np.testing.assert_array_equal(made.tensor("w_sparse").numpy(), model.tensor("w_sparse").numpy())


def test_what_training_left() -> None:
    made = ql.dequantize(COMPLETE["pairs"]()).model
    assert names(made) == ["CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED"]
    model = COMPLETE["operators"]()
    assert ql.dequantize(model).model is model
    folded = checked(ql.dequantize(model, fold_fake_quant=True, keep_ranges=True), judged=False)
    assert names(folded) == ["CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED"]
    ours, theirs = (ql.quantize(m, by_name("int8").replace(rounding="nearest")) for m in (folded, model))
    sample = {"x": np.clip(gaussian((1, 8, 8, 3)), -1, 1)}
    np.testing.assert_array_equal(run_real(ours, sample), run_real(theirs, sample))


def test_versions_fall_with_what_needed_them() -> None:
    small = ql.quantize(example("branches").model, "dynamic")
    assert max(c.version for c in small.root.operator_codes) > 1
    made = ql.dequantize(small).model
    assert {c.version for c in made.root.operator_codes} == {1}
    assert not any(
        o.builtin_options.asymmetric_quantize_inputs
        for o in tables(made)
        if made.operator_name(o) == "FULLY_CONNECTED"
    )


def test_a_recurrent_cell_computes_the_activation_that_its_integers_did() -> None:
    """Integer kernels compute TANH whatever the options say."""
    model = VALID["lstm"]()
    draft = ql.tflite.Draft(model)
    (cell,) = draft.graphs[0].operators
    options = cell.builtin_options.replace(fused_activation_function=None)
    draft.graphs[0].operators[0] = cell.replace(builtin_options=options)
    assert fused(ql.dequantize(draft.done()).model) == 4


# --- subgraphs, pieces, damage -----------------------------------------------------------------------------------


def test_a_call_with_a_scale_on_one_side_is_refused() -> None:
    model = VALID["loop"]()
    draft = ql.tflite.Draft(model)
    body: GraphDraft = draft.graphs[2]
    t = body.inputs[1]
    body.tensors[t] = body.tensors[t].replace(quantization=None)
    with pytest.raises(
        InvalidValue, match=r"WHILE hands it to tensor 'x' \(2, 1\), and only one of them has a scale"
    ):
        ql.dequantize(draft.done())


@pytest.mark.parametrize("type", ["INT8", "UINT8", "INT16", "INT32", "INT64"])
@pytest.mark.parametrize(("shape", "axis"), [((6, 5, 7), None), ((6, 5, 7), 0), ((1, 5, 7), 2), ((3, 5, 2), 1)])
def test_pieces_make_the_whole(type: str, shape: tuple[int, ...], axis: int | None) -> None:
    net = Network()
    values = np.random.default_rng(0).integers(0, 100, shape).astype(type.lower())
    count = 1 if axis is None else shape[axis]
    scale = (0.1 * (1 + np.arange(count))).astype("f4")
    points = np.arange(count) * (type != "INT64")
    fields = {"quantization": parameters(scale, points, axis or 0)}
    w = net.graph.add_tensor("w", type, shape, buffer=net.draft.add_buffer(values), **fields)
    data = stored_float32(net.done(w).tensor("w")).data
    granularity = {} if axis is None else {"granularity": PerAxis(axis)}
    wanted = dequantize(values, Affine(type, scale, points, **granularity))  # type: ignore[arg-type]  # by name
    assert data.granule < data.nbytes or axis in (1, 2)
    for step in (data.granule, 3 * data.granule, data.nbytes):
        parts = [data.read(i, min(i + step, data.nbytes)) for i in range(0, data.nbytes, step)]
        np.testing.assert_array_equal(np.concatenate(parts).view("f4").reshape(shape), wanted)


def test_scales_that_do_not_fit_are_refused() -> None:
    net = Integer()
    x = net.input("x", (1, 8))
    w = net.weights("w", (4, 8))
    net.graph.tensors[w] = net.graph.tensors[w].replace(quantization=parameters(np.full(3, 0.1)))
    with pytest.raises(InvalidValue, match=r"^tensor 'w' \(0, 1\): 3 scales don't fit dimension 0 of shape \[4, 8\]"):
        ql.dequantize(net.done(dense(net, "y", x, w, -1)))


@pytest.mark.parametrize("name", VALID)
def test_damage_ends_in_a_named_error_or_a_model(name: str) -> None:
    model = VALID[name]()
    for seed in random.Random(name).sample(range(10**6), 40):
        found = outcome(lambda s=seed: read(bent(model, str(s))))
        if isinstance(found, Model):
            options = {"keep_ranges": seed % 2 == 0, "keep_weights": True, "fold_fake_quant": True}
            made = outcome(lambda m=found, o=options: ql.dequantize(m, **o).model.to_bytes())
            assert isinstance(made, Exception) or read(made)

"""`tidy`: what does nothing goes, each named; what the model answers stays; twice changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.passes import tidy
from quantlib.tflite import Draft, GraphDraft, Model, Quantization, Table, quantization_table
from quantlib.tflite.encode import Encoder
from tests.support import models
from tests.support.litert import RESOLVERS, run
from tests.support.network import Network, gaussian
from tests.support.shared import each_model

ON = ("merge_constants", "drop_unreachable", "remove_pairs", "remove_reshapes", "pack_tables")


def only(name: str) -> dict[str, bool]:
    return {option: option == name for option in ON}


def names(model: Model) -> list[str]:
    return [model.operator_name(o) for o in model.subgraphs[0].operators or ()]


def same_answers(before: Model, after: Model, resolver: str = "default") -> None:
    for a, b in zip(run(before, resolver), run(after, resolver), strict=True):
        np.testing.assert_array_equal(a, b)


def scaled(net: Network, name: str, x: int, scale: float, point: int = 0, type: str = "INT8") -> int:
    """QUANTIZE to a scale."""
    y = net.op("QUANTIZE", [x], name, net.shape(x), type=type)
    table = quantization_table(Quantization(np.float32(scale), np.int64(point)))
    net.graph.tensors[y] = net.graph.tensors[y].replace(quantization=table)
    return y


def dequantized(net: Network, name: str, x: int) -> int:
    return net.op("DEQUANTIZE", [x], name, net.shape(x), version=2)


def reshaped(net: Network, name: str, x: int, shape: tuple[int, ...]) -> int:
    to = net.constant(f"{name}/shape", np.array(shape, "i4"))
    return net.op("RESHAPE", [x, to], name, shape)


def pairs(*, ends: bool = False) -> Model:
    """x -> q -> f -> again: the second QUANTIZE gives back what the first one made."""
    net = Network()
    x = net.input("x", (1, 8))
    q = scaled(net, "q", x, 0.05, 3)
    again = scaled(net, "again", dequantized(net, "f", q), 0.05, 3)
    last = again if ends else dequantized(net, "y", again)
    return net.done(last)


def test_conversions_there_and_back_go() -> None:
    edited = tidy(pairs(), **only("remove_pairs"))
    assert names(edited.model) == ["QUANTIZE", "DEQUANTIZE"]
    assert [str(line) for line in edited.done] == ["again: DEQUANTIZE and QUANTIZE cancel each other"]
    assert edited.totals["operators removed"] == 1
    same_answers(pairs(), edited.model)


def test_an_output_keeps_its_tensor() -> None:
    edited = tidy(pairs(ends=True), **only("remove_pairs"))
    assert names(edited.model) == ["QUANTIZE"]
    assert [t.name for t in edited.model.tensors()] == ["x", "again"]
    same_answers(pairs(ends=True), edited.model)


def test_a_float_tensor_that_others_read_stays() -> None:
    net = Network()
    q = scaled(net, "q", net.input("x", (1, 8)), 0.05, 3)
    f = dequantized(net, "f", q)
    y = dequantized(net, "y", scaled(net, "again", f, 0.05, 3))
    model = net.done(net.op("ADD", [f, y], "sum", (1, 8), Table("AddOptions")))
    edited = tidy(model, **only("remove_pairs"))
    assert names(edited.model) == ["QUANTIZE", "DEQUANTIZE", "DEQUANTIZE", "ADD"]
    same_answers(model, edited.model)


@pytest.mark.parametrize(("scale", "point"), [(0.0501, 3), (0.05, 4)])
def test_another_scale_or_zero_point_is_no_pair(scale: float, point: int) -> None:
    net = Network()
    q = scaled(net, "q", net.input("x", (1, 8)), 0.05, 3)
    model = net.done(scaled(net, "y", dequantized(net, "f", q), scale, point))
    assert tidy(model).model is model


def test_uint8_and_back_goes_and_rounding_stays() -> None:
    net = Network()
    q = scaled(net, "q", net.input("x", (1, 8)), 0.05, 3)
    u = scaled(net, "u", q, 0.05, 131, "UINT8")
    i = scaled(net, "i", u, 0.05, 3)
    clipped = scaled(net, "clipped", i, 0.01)
    model = net.done(scaled(net, "y", clipped, 0.05, 3))
    edited = tidy(model, **only("remove_pairs"))
    assert [t.name for t in edited.model.tensors()] == ["x", "q", "clipped", "y"]
    for resolver in RESOLVERS:
        same_answers(model, edited.model, resolver)


def test_what_leads_from_an_input_to_an_output_stays_and_is_named() -> None:
    net = Network()
    x = net.input("x", (1, 8), "INT8")
    table = quantization_table(Quantization(np.float32(0.05), np.int64(3)))
    net.graph.tensors[x] = net.graph.tensors[x].replace(quantization=table)
    model = net.done(scaled(net, "y", x, 0.05, 3))
    edited = tidy(model)
    assert edited.model is model
    assert "from one end of the model to another" in str(edited.kept[0])


def test_reshapes_that_change_nothing_go() -> None:
    net = Network()
    x = net.input("x", (2, 8))
    same = reshaped(net, "same", x, (2, 8))
    first = reshaped(net, "first", same, (4, 4))
    second = reshaped(net, "second", first, (16, 1))
    model = net.done(net.op("RELU", [second], "y", (16, 1)))
    edited = tidy(model)
    assert names(edited.model) == ["RESHAPE", "RELU"]
    assert [line.where for line in edited.done[:2]] == ["same", "second"]
    same_answers(model, edited.model)


def test_reshapes_there_and_back_go() -> None:
    net = Network()
    x = net.op("RELU", [net.input("x", (2, 8))], "relu", (2, 8))
    model = net.done(reshaped(net, "y", reshaped(net, "flat", x, (16,)), (2, 8)))
    edited = tidy(model)
    assert names(edited.model) == ["RELU"]
    assert edited.model.tensor((0, 1)).name == "y"
    same_answers(model, edited.model)


def test_a_reshape_that_fixes_a_dynamic_dimension_stays() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    net.graph.tensors[x] = net.graph.tensors[x].replace(shape_signature=[-1, 8])
    model = net.done(net.op("RELU", [reshaped(net, "r", x, (1, 8))], "y", (1, 8)))
    assert names(tidy(model).model) == ["RESHAPE", "RELU"]


@pytest.mark.parametrize(
    ("before", "after", "goes"),
    [
        ([-1, 8], [-1, 8], True),
        ([-1, -1], [-1, -1], False),  # which is which is decided when the model runs
        ([-1, 8], [2, 8], False),
        ([2, 8], None, True),  # nothing in it is dynamic
        ([2, 8], [-1, 8], False),
    ],
    ids=str,
)
def test_a_reshape_goes_where_dynamic_dimensions_are_the_same(
    before: list[int], after: list[int] | None, goes: bool
) -> None:
    net = Network()
    x = net.input("x", (2, 8))
    shape = net.constant("shape", np.array([-1, 8], "i4"))
    r = net.op("RESHAPE", [x, shape], "r", (2, 8))
    for t, signature in ((x, before), (r, after)):
        net.graph.tensors[t] = net.graph.tensors[t].replace(shape_signature=signature)
    model = net.done(net.op("RELU", [r], "y", (2, 8)))
    assert names(tidy(model).model) == (["RELU"] if goes else ["RESHAPE", "RELU"])


@pytest.mark.parametrize(
    ("options", "goes"),
    [(None, False), (Table("ReshapeOptions"), False), (Table("ReshapeOptions", new_shape=[2, 8]), True)],
    ids=["none", "without a shape", "with a shape"],
)
def test_a_reshape_without_an_operand_goes_by_its_options(options: Table | None, goes: bool) -> None:
    net = Network()
    r = net.op("RESHAPE", [net.input("x", (2, 8))], "r", (2, 8), options)
    model = net.done(net.op("RELU", [r], "y", (2, 8)))
    assert names(tidy(model).model) == (["RELU"] if goes else ["RESHAPE", "RELU"])


def test_an_output_that_is_a_reshaped_constant_stays() -> None:
    net = Network()
    model = net.done(reshaped(net, "y", net.constant("k", gaussian((2, 8))), (2, 8)))
    edited = tidy(model)
    assert edited.model is model
    assert "from one end of the model to another" in str(edited.kept[0])


@pytest.mark.parametrize("operator", ["QUANTIZE", "RESHAPE"])
def test_an_operator_without_operands_stays(operator: str) -> None:
    net = Network()
    model = net.done(net.op(operator, [], "y", (2, 8)))
    assert tidy(model).model is model


def test_what_has_no_name_is_called_by_its_place() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    w = gaussian((8, 8))
    r = reshaped(net, "r", net.fully_connected("b", net.fully_connected("a", x, w), w), (1, 8))
    for t, table in enumerate(net.graph.tensors):
        net.graph.tensors[t] = table.replace(name=None)
    lines = [str(line) for line in tidy(net.done(net.op("RELU", [r], "y", (1, 8)))).done]
    assert lines[0] == f"(0, {r}): RESHAPE to the shape that is there already"
    assert lines[1] == ": constant equal to ''; 256 bytes saved"


def test_a_reshape_to_what_is_computed_stays() -> None:
    net = Network()
    x = net.input("x", (2, 8))
    shape = net.op("SHAPE", [x], "shape", (2,), Table("ShapeOptions", out_type=2), type="INT32")
    model = net.done(net.op("RESHAPE", [x, shape], "y", (2, 8)))
    assert tidy(model).model is model


def test_what_nobody_reads_goes_from_the_end() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    dead = net.fully_connected("dead", x, gaussian((4, 8)))
    net.op("RELU", [dead], "deader", (1, 4))
    model = net.done(net.op("RELU", [x], "y", (1, 8)))
    edited = tidy(model)
    assert names(edited.model) == ["RELU"]
    assert edited.totals["operators removed"] == 2
    assert len(edited.model.buffers) == 1
    assert [line.where for line in edited.done[:2]] == ["deader", "dead"]
    assert tidy(model, drop_unreachable=False).model is model


@pytest.mark.parametrize("build", [models.variables, models.custom_operator])
def test_effects_stay(build: Any) -> None:
    model = build()
    draft = Draft(model)
    draft.graphs[0].outputs = list(draft.graphs[0].inputs)  # nobody reads what they compute
    unread = draft.done()
    assert len(names(unread)) == len(names(model))
    assert tidy(unread).model is unread


def test_equal_constants_are_one() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    w, b = gaussian((8, 8)), np.zeros(8, "f4")
    x = net.fully_connected("a", x, w, b)
    x = net.fully_connected("b", x, w, b)
    model = net.done(net.fully_connected("c", x, -w, b))
    edited = tidy(model, **only("merge_constants"))
    assert edited.totals == {"operators removed": 0, "constants merged": 6}
    assert str(edited.done[0]) == "b/kernel: constant equal to 'a/kernel'; 256 bytes saved"
    assert len(edited.model.to_bytes()) < len(model.to_bytes()) - 320
    same_answers(model, edited.model)


def test_equal_bytes_of_another_meaning_share_the_buffer_alone() -> None:
    net = Network()
    x = net.input("x", (1, 2, 8))
    flat = net.constant("flat", np.array([2, 8], "i4"))
    axis = net.constant("axes", np.array([2, 8], "i4").reshape(1, 2))
    y = net.op("RESHAPE", [x, flat], "y", (2, 8))
    z = net.op("ADD", [axis, axis], "z", (1, 2), Table("AddOptions"), type="INT32")
    edited = tidy(net.done(y, z))
    assert len({t.table.buffer for t in edited.model.tensors() if t.is_constant}) == 1
    assert {t.name for t in edited.model.tensors() if t.is_constant} == {"flat", "axes"}


def test_buffers_of_variables_and_metadata_are_nobody_elses() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    y = net.fully_connected("y", x, gaussian((8, 8)), np.zeros(8, "f4"))
    net.draft.set_metadata("zeros", bytes(32))
    state = net.constant("state", np.zeros(8, "f4"), is_variable=True)
    z = net.op("ADD", [y, state], "z", (1, 8), Table("AddOptions"))
    model = net.done(z)
    assert tidy(model).model is model


def test_variables_that_begin_alike_are_two() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    one = net.constant("one", np.zeros(8, "f4"), is_variable=True)
    # on one buffer, and the same in all but the name
    two = net.constant("two", np.zeros(8, "f4"), buffer=net.graph.tensors[one].buffer, is_variable=True)
    y = net.op("ADD", [x, one], "y", (1, 8), Table("AddOptions"))
    model = net.done(net.op("ADD", [y, two], "z", (1, 8), Table("AddOptions")))
    assert tidy(model).model is model


def test_texts_keep_their_buffers() -> None:
    net = Network()
    data = np.frombuffer(b"\x01\0\0\0\x0c\0\0\0\x0d\0\0\0a", np.uint8)
    texts = [net.graph.add_tensor(name, "STRING", (1,), buffer=net.draft.add_buffer(data)) for name in ("a", "b")]
    model = net.done(net.op("EQUAL", texts, "y", (1,), Table("EqualOptions"), type="BOOL"))
    assert tidy(model).model is model


def conditional() -> Model:
    """IF between two subgraphs, and one before them that nobody runs."""
    draft = Draft()
    draft.graphs += [GraphDraft.of(Table("SubGraph", name=name)) for name in ("tanh", "relu", "neg")]
    main, *bodies = draft.graphs
    choice = main.add_tensor("choice", "BOOL", (1,))
    x, y = (main.add_tensor(name, "FLOAT32", (1, 4)) for name in "xy")
    options = Table("IfOptions", then_subgraph_index=2, else_subgraph_index=3)
    main.append(draft.operator("IF", [choice, x], [y], options))
    main.inputs, main.outputs = [choice, x], [y]
    for body in bodies:
        a, b = (body.add_tensor(name, "FLOAT32", (1, 4)) for name in "ab")
        body.append(draft.operator(body.table.name.upper(), [a], [b]))
        body.inputs, body.outputs = [a], [b]
    draft = Draft(draft.done())  # dependencies name operators that stand already
    draft.set_metadata("model_control_dependencies", bytes([1, 4, 0, 0, 1, 0, 0, 0]))
    return draft.done()


def test_subgraphs_that_nobody_runs_go_and_the_others_are_renumbered() -> None:
    model = conditional()
    edited = tidy(model)
    assert [g.name for g in edited.model.subgraphs] == [None, "relu", "neg"]
    options = edited.model.subgraphs[0].operators[0].builtin_options
    assert (options.then_subgraph_index, options.else_subgraph_index) == (1, 2)
    assert edited.totals["subgraphs dropped"] == 1
    assert [str(line) for line in edited.done] == [
        "subgraph tanh: nobody runs it; dropped",
        "operator code TANH: no operator has it; dropped",
    ]
    entry = edited.model.root.metadata[0]
    assert edited.model.data(entry.buffer).numpy().tobytes() == bytes([1, 3, 0, 1, 0, 0, 0])
    same_answers(model, edited.model)


@pytest.mark.parametrize("name", models.BUILT)
def test_twice_changes_nothing(name: str) -> None:
    model = ql.read(models.built(name))
    once = tidy(model).model
    twice = tidy(once)
    assert not twice.done
    assert twice.model is once
    written = ql.read(once.to_bytes())
    assert written == once
    assert tidy(written).model is written


class Forgetful(dict[Any, Any]):
    """Knows nothing of what was put into it."""

    def get(self, key: Any, default: Any = None) -> Any:
        return default


def roomy(model: Model, monkeypatch: pytest.MonkeyPatch) -> Model:
    """The same model from a file in which each table has a layout of its own, as no converter would share any."""
    made = Encoder.__init__

    def init(self: Encoder) -> None:
        made(self)
        self._vtables = Forgetful()

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "__init__", init)
        return ql.read(model.to_bytes(rebuild=True))


@pytest.mark.parametrize("name", ["sparse", "with_archive", "conditional"])
def test_a_file_that_shrinks_was_changed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built = conditional() if name == "conditional" else ql.read(models.built(name))
    model = roomy(tidy(built).model, monkeypatch)
    least = len(model.to_bytes(rebuild=True))
    edited = tidy(model)
    saved = model.source.size - least
    assert saved > 0
    assert [str(line) for line in edited.done] == [
        f"tables: equal vectors, names and options stand once, gaps closed; {saved:,} bytes saved"
    ]
    assert edited.totals["bytes of tables saved"] == saved
    assert edited.model == model
    assert len(edited.model.to_bytes()) == least
    assert not tidy(edited.model).done
    assert tidy(model, pack_tables=False).model is model


def test_what_tables_lose_is_told_apart_from_what_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = roomy(conditional(), monkeypatch)
    edited = tidy(model)
    assert edited.totals["subgraphs dropped"] == 1
    assert edited.totals["bytes of tables saved"] == model.source.size - len(model.to_bytes(rebuild=True))
    assert tidy(conditional()).totals["bytes of tables saved"] == 0


@each_model(most=400_000)
def test_no_shared_model_shrinks_in_silence(path: Path) -> None:
    model = ql.read(path)
    edited = tidy(model)
    assert bool(edited.done) == (len(edited.model.to_bytes()) < model.source.size)
    assert edited.totals["bytes of tables saved"] == max(model.source.size - len(model.to_bytes(rebuild=True)), 0)


@each_model(most=400_000)
def test_shared_models_answer_the_same(path: Path) -> None:
    model = ql.read(path)
    edited = tidy(model)
    assert not tidy(edited.model).done
    assert len(edited.model.to_bytes()) <= model.source.size
    try:
        before = run(model)
    except (RuntimeError, ValueError) as error:
        pytest.skip(f"LiteRT doesn't run it: {error}")
    for a, b in zip(before, run(edited.model), strict=True):
        np.testing.assert_array_equal(a, b)

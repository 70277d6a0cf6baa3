"""Edits: what lost its last user goes, and every index follows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlib.errors import InvalidModel, InvalidValue
from quantlib.tflite import Draft, GraphDraft, Inline, Model, Table, read
from quantlib.tflite.dependencies import remapped
from tests.support import litert
from tests.support.models import BUILT, built, constant, relu, signature, weights
from tests.support.shared import each_model


@pytest.mark.parametrize("name", BUILT)
def test_a_draft_without_a_change_is_the_model(name: str) -> None:
    model = read(built(name))
    assert Draft(model).done() == model


@each_model()
def test_a_draft_without_a_change_is_the_real_model(path: object) -> None:
    model = read(str(path))
    assert Draft(model).done() == model


def three() -> Draft:
    """Three additions in a row, each with a constant; the second constant is shared by metadata."""
    draft = Draft()
    graph = draft.graphs[0]
    draft.buffers.append(Table("Buffer"))  # without a user from the beginning
    unused = graph.add_tensor("unused", "FLOAT32", (1, 4))
    assert unused == 0
    x = graph.add_tensor("x", "FLOAT32", (1, 4))
    graph.inputs = [x]
    for i, name in enumerate(("ADD", "MUL", "SUB")):
        c = constant(draft, graph, f"c{i}", "FLOAT32", weights(1, 4, seed=i))
        y = graph.add_tensor(f"y{i}", "FLOAT32", (1, 4))
        graph.append(draft.operator(name, [x, c], [y], Table(f"{name.title()}Options")))
        x = y
    graph.outputs = [x]
    draft.signatures.append(signature("s", {"x": graph.inputs[0]}, {"y": x}))
    root = draft.model.root.replace(
        subgraphs=[draft.graphs[0].done()],
        buffers=draft.buffers,
        operator_codes=draft.codes,
        signature_defs=draft.signatures,
    )
    return Draft(read(Model(root).to_bytes()))


def names(model: Model, subgraph: int = 0) -> list[str]:
    return [t.name for t in model.tensors(subgraph)]


def without_second() -> Model:
    """The middle operator taken out."""
    draft = three()
    graph = draft.graphs[0]
    graph.operators[2] = graph.operators[2].replace(inputs=[3, 6])
    graph.rearrange([], {1})
    return read(draft.done().to_bytes())


def test_what_lost_its_last_user_is_dropped() -> None:
    before, model = three().model, without_second()
    assert names(before) == ["unused", "x", "c0", "y0", "c1", "y1", "c2", "y2"]
    assert names(model) == ["unused", "x", "c0", "y0", "c2", "y2"]
    assert len(model.buffers) == len(before.buffers) - 1
    assert model.operator_names == ("ADD", "SUB")
    # what had no user before is not the edit's business
    assert model.buffers[1].data is None


def test_every_index_follows() -> None:
    model = without_second()
    graph = model.subgraphs[0]
    assert [o.inputs.tolist() for o in graph.operators] == [[1, 2], [3, 4]]
    assert [o.outputs.tolist() for o in graph.operators] == [[3], [5]]
    assert [model.operator_name(o) for o in graph.operators] == ["ADD", "SUB"]
    assert (graph.inputs.tolist(), graph.outputs.tolist()) == ([1], [5])
    entry = model.root.signature_defs[0]
    assert (entry.inputs[0].tensor_index, entry.outputs[0].tensor_index) == (1, 5)
    assert np.array_equal(model.tensor("c2").numpy(), weights(1, 4, seed=2))


def test_litert_runs_what_is_left() -> None:
    x = np.random.default_rng(0).standard_normal((1, 4)).astype(np.float32)
    (y,) = litert.run(without_second(), seed=0)
    np.testing.assert_allclose(y, x + weights(1, 4, seed=0) - weights(1, 4, seed=2), rtol=1e-6)


def test_new_tensors_and_buffers_without_a_user_are_dropped() -> None:
    draft = three()
    constant(draft, draft.graphs[0], "new", "FLOAT32", weights(4))
    draft.code("TANH")
    model = draft.done()
    assert "new" not in names(model)
    assert len(model.buffers) == len(draft.model.buffers)
    assert "TANH" not in model.operator_names


def test_buffers_that_metadata_holds_stay() -> None:
    draft = three()
    draft.metadata.append(Table("Metadata", name="m", buffer=draft.graphs[0].tensors[4].buffer))
    graph = draft.graphs[0]
    graph.operators[2] = graph.operators[2].replace(inputs=[3, 6])
    graph.rearrange([], {1})
    model = read(draft.done().to_bytes())
    held = model.data(model.root.metadata[0].buffer)
    assert held is not None
    assert held.numpy().tobytes() == weights(1, 4, seed=1).tobytes()


def test_metadata_and_signatures_can_be_removed() -> None:
    draft = Draft(read(built("dense")))
    draft.metadata.clear()
    draft.signatures.clear()
    model = draft.done()
    assert model.root.metadata is None
    assert model.root.signature_defs is None
    assert len(model.buffers) == len(draft.model.buffers) - 1


def test_metadata_is_set_without_touching_what_shares_its_buffer() -> None:
    draft = Draft(read(built("annotated")))
    draft.set_metadata("opaque", b"new")
    draft.set_metadata("brand_new", b"too")
    model = read(draft.done().to_bytes())
    found = {e.name: model.data(e.buffer) for e in model.root.metadata}
    assert {k: None if v is None else v.numpy().tobytes() for k, v in found.items()} == {
        "model_control_dependencies": bytes([1, 1, 1, 0, 2]),
        "opaque": b"new",
        "opaque_too": bytes(range(200)),
        "brand_new": b"too",
    }


def test_tensors_that_hold_blockwise_scales_follow() -> None:
    draft = Draft(read(built("blockwise")))
    graph = draft.graphs[0]
    assert [t.name for t in graph.tensors] == ["x", "scales", "w", "y"]
    x = graph.add_tensor("other", "FLOAT32", (1, 64))  # takes the place of x, which goes
    graph.inputs = [x]
    graph.operators[0] = graph.operators[0].replace(inputs=[x, 2, -1])
    model = read(draft.done().to_bytes())
    assert names(model) == ["scales", "w", "y", "other"]
    details = model.tensor("w").table.quantization.details
    assert (details.scales, details.zero_points) == (0, -1)
    assert np.array_equal(model.tensor("w").real(), draft.model.tensor("w").real())
    assert model.subgraphs[0].operators[0].inputs.tolist() == [3, 1, -1]


def test_scales_go_with_their_tensor() -> None:
    draft = Draft(read(built("blockwise")))
    graph = draft.graphs[0]
    w = constant(draft, graph, "float", "FLOAT32", weights(8, 64))
    graph.operators[0] = graph.operators[0].replace(inputs=[0, w, -1])
    assert names(draft.done()) == ["x", "y", "float"]


def test_other_subgraphs_are_left_alone() -> None:
    draft = Draft(read(built("branches")))
    graph = draft.graphs[1]
    k = constant(draft, graph, "k2", "FLOAT32", weights(1, 4, seed=9))
    graph.operators[0] = graph.operators[0].replace(inputs=[0, k])
    model = read(draft.done().to_bytes())
    assert names(model, 1) == ["x", "y", "k2"]
    assert names(model, 2) == ["x", "k", "y"]
    assert np.array_equal(model.tensor((2, 1)).numpy(), weights(1, 4, seed=5))
    ends = {s.signature_key: s.outputs[0].tensor_index for s in model.root.signature_defs}
    assert ends == {"main": 2, "then": 1, "then_again": 1}


# ---- making operators --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "field"),
    [
        ("SOFTMAX", Table("SoftmaxOptions", beta=1.0), "builtin_options"),
        ("DILATE", Table("DilateOptions"), "builtin_options_2"),
        ("REDUCE_WINDOW", Table("ReduceWindowOptions"), "builtin_options_2"),
        ("STABLEHLO_COMPOSITE", Table("StableHLOCompositeOptions", name="c"), "builtin_options_2"),
        ("TANH", None, None),
    ],
)
def test_options_stand_in_the_union_that_has_them(name: str, options: Table | None, field: str | None) -> None:
    operator = Draft().operator(name, [0], [0], options)
    assert operator.builtin_options == (options if field == "builtin_options" else None)
    assert operator.builtin_options_2 == (options if field == "builtin_options_2" else None)


def test_codes_are_shared_and_old_readers_are_told() -> None:
    draft = Draft()
    assert [draft.code("ADD"), draft.code("ADD"), draft.code("ADD", 2), draft.code("GELU")] == [0, 0, 1, 2]
    assert [(c.builtin_code, c.deprecated_builtin_code, c.version) for c in draft.codes] == [
        (0, 0, 1), (0, 0, 2), (150, 127, 1),
    ]  # fmt: skip


def test_codes_that_only_have_the_old_field_are_found() -> None:
    draft = Draft(read(built("old_codes")))
    count = len(draft.codes)
    assert draft.code("FULLY_CONNECTED") == 0
    assert len(draft.codes) == count


def test_custom_codes_are_told_apart() -> None:
    draft = Draft(read(built("custom_operator")))
    same = Table("OperatorCode", builtin_code=32, custom_code="Unheard-of")
    assert draft.coded(same, 2) == 0
    assert draft.coded(same.replace(custom_code="Other"), 2) == 1


def test_unknown_types_are_refused() -> None:
    with pytest.raises((InvalidValue, ValueError)):
        Draft().graphs[0].add_tensor("x", "INT5", (1,))


def test_a_draft_can_begin_without_buffers() -> None:
    draft = Draft(read(built("no_buffers")))
    graph = draft.graphs[0]
    w = constant(draft, graph, "w", "FLOAT32", weights(1, 4))
    graph.append(draft.operator("ADD", [1, w], [0], Table("AddOptions")))
    model = read(draft.done().to_bytes())
    assert [b.data is None for b in model.buffers] == [True, False]
    assert model.tensor("w").numpy().shape == (1, 4)
    assert not model.tensor("x").is_constant


def test_empty_buffers_can_be_shared() -> None:
    draft = Draft(read(built("empty_vectors")))
    before = len(draft.buffers)
    draft.share_empty_buffers()
    model = draft.done()
    assert {t.table.buffer for t in model.tensors()} == {0}
    assert len(model.buffers) == before - 1


# ---- control dependencies ----------------------------------------------------------------------------------------


def test_control_dependencies_follow_the_operators() -> None:
    draft = Draft(read(built("annotated")))
    graph = draft.graphs[0]
    z = graph.add_tensor("z", "FLOAT32", (1, 4))
    graph.rearrange([draft.operator("ABS", [0], [z])], set())
    graph.operators[1] = graph.operators[1].replace(inputs=[z])
    model = read(draft.done().to_bytes())
    entry = next(e for e in model.root.metadata if e.name == "model_control_dependencies")
    data = model.data(entry.buffer)
    assert data is not None
    assert data.numpy().tolist() == [1, 1, 1, 2, 4]  # operators 1 and 2 now; zigzag doubles them


def test_control_dependencies_that_share_a_buffer_leave_it_to_others() -> None:
    draft = Draft(read(built("annotated")))
    entry = draft.metadata[0]
    draft.metadata.append(Table("Metadata", name="copy", buffer=entry.buffer))
    graph = draft.graphs[0]
    z = graph.add_tensor("z", "FLOAT32", (1, 4))
    graph.rearrange([draft.operator("ABS", [0], [z])], set())
    graph.operators[1] = graph.operators[1].replace(inputs=[z])
    model = read(draft.done().to_bytes())
    found = {e.name: model.data(e.buffer) for e in model.root.metadata}
    assert found["copy"] == Inline(bytes([1, 1, 1, 0, 2]))
    assert found["model_control_dependencies"] == Inline(bytes([1, 1, 1, 2, 4]))


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def entry_of(graphs: list[list[tuple[int, int]]]) -> bytes:
    """The metadata entry, as LiteRT's serialization has it; written here a second time, from its description."""
    out = varint(1) + varint(len(graphs))
    for pairs in graphs:
        out += varint(len(pairs))
        for pair in pairs:
            for value in pair:
                out += varint((value << 1) ^ (value >> 31))
    return out


PAIRS = st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 40_000)), max_size=5)


@settings(max_examples=100, deadline=None)
@given(st.lists(PAIRS, max_size=4), st.integers(1, 9))
def test_pairs_are_moved_and_those_of_removed_operators_dropped(
    graphs: list[list[tuple[int, int]]], shift: int
) -> None:
    places = [{i: i + shift for pair in pairs for i in pair if i % 3} for pairs in graphs]
    expected = [[(a + shift, b + shift) for a, b in pairs if a % 3 and b % 3] for pairs in graphs]
    assert remapped(entry_of(graphs), list(places)) == entry_of(expected)


@pytest.mark.parametrize(
    "raw", [b"", b"\1", b"\1\1", b"\1\1\1\0", b"\1\1\xff", b"\1\xff\xff\xff\xff\xff\xff", b"\1\x7f"]
)
def test_broken_entries_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidModel, match="breaks off at byte"):
        remapped(raw, [])


def test_entries_of_another_version_are_refused() -> None:
    with pytest.raises(InvalidModel, match="version 2"):
        remapped(b"\2\0", [])


def test_a_new_subgraph() -> None:
    draft = Draft(read(built("dense")))
    draft.graphs.append(GraphDraft.of(Table("SubGraph", name="more")))
    relu(draft, draft.graphs[1])
    model = read(draft.done().to_bytes())
    assert len(model.subgraphs) == 2
    assert names(model, 1) == ["x", "y"]

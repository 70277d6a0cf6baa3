"""What nobody reaches; and statistics in TFLite Metadata, changed in place."""

from __future__ import annotations

import flatbuffers
import pytest

from quantlib.errors import InvalidModel
from quantlib.tflite import (
    Draft,
    GraphDraft,
    Model,
    Table,
    called_subgraphs,
    metadata_with_statistics,
    without_unused,
)
from tests.support import models


def statistics() -> bytes:
    """ModelMetadata with one subgraph, two inputs, the second with statistics of two channels."""
    build = flatbuffers.Builder(0)

    def floats(values: list[float]) -> int:
        build.StartVector(4, len(values), 4)
        for value in reversed(values):
            build.PrependFloat32(value)
        return int(build.EndVector())

    def table(size: int, fields: dict[int, int]) -> int:
        build.StartObject(size)
        for slot, offset in fields.items():
            build.PrependUOffsetTRelativeSlot(slot, offset, 0)
        return int(build.EndObject())

    def tables(offsets: list[int]) -> int:
        build.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            build.PrependUOffsetTRelative(offset)
        return int(build.EndVector())

    greatest, least = floats([255.0, 254.0]), floats([0.0, 1.0])
    stats = table(2, {0: greatest, 1: least})
    ends = tables([table(7, {}), table(7, {5: stats})])
    build.Finish(table(8, {3: tables([table(6, {2: ends})])}), b"M001")
    return bytes(build.Output())


def test_statistics_are_changed_in_place() -> None:
    raw, seen = statistics(), []

    def change(greatest: tuple[float, ...], least: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        seen.append((greatest, least))
        return tuple(v - 128 for v in greatest), tuple(v - 128 for v in least)

    changed = metadata_with_statistics(raw, {(0, "input", 1): change})
    assert seen == [((255.0, 254.0), (0.0, 1.0))]
    assert len(changed) == len(raw)
    assert sum(a != b for a, b in zip(raw, changed, strict=True)) <= 16
    metadata_with_statistics(changed, {(0, "input", 1): change})
    assert seen[1] == ((127.0, 126.0), (-128.0, -127.0))


@pytest.mark.parametrize("place", [(0, "input", 0), (0, "input", 2), (0, "output", 0), (1, "input", 0)])
def test_ends_without_statistics_are_left(place: tuple[int, str, int]) -> None:
    raw = statistics()
    assert metadata_with_statistics(raw, {place: lambda greatest, least: (greatest, least)}) == raw
    assert metadata_with_statistics(raw, {(0, "input", 1): lambda _greatest, _least: None}) == raw


def test_any_bytes_end_in_an_error_or_in_as_many() -> None:
    raw = statistics()
    for cut in range(len(raw)):
        for damaged in (raw[:cut], raw[:cut] + b"\xff" + raw[cut + 1 :], raw[:cut] + b"\0" + raw[cut + 1 :]):
            try:
                found = metadata_with_statistics(
                    damaged, {(0, "input", 1): lambda greatest, least: (greatest, least)}
                )
            except InvalidModel:
                continue
            assert len(found) == len(damaged)


@pytest.mark.parametrize("name", models.BUILT)
def test_all_of_a_model_in_use_stays(name: str) -> None:
    made = models.BUILT[name]()
    if isinstance(made, Model):
        found, unused = without_unused(made)
        again, nothing = without_unused(found)
        assert again is found
        assert (nothing.subgraphs, nothing.tensors, nothing.codes, nothing.buffers) == ((), (), (), 0)
        assert not unused.subgraphs


def test_leftovers_go() -> None:
    draft = Draft()
    models.relu(draft, draft.graphs[0])
    draft.graphs.append(GraphDraft.of(Table("SubGraph", name="idle")))
    root = draft.done().root
    tensors = [*root.subgraphs[0].tensors, Table("Tensor", name="left", buffer=1)]
    subgraphs = [root.subgraphs[0].replace(tensors=tensors), root.subgraphs[1]]
    buffers = [Table("Buffer"), Table("Buffer", data=b"abcd"), Table("Buffer", data=b"abcd")]
    codes = [Table("OperatorCode", builtin_code=1), *root.operator_codes]
    operators = [o.replace(opcode_index=1) for o in root.subgraphs[0].operators]
    subgraphs[0] = subgraphs[0].replace(operators=operators)
    found, unused = without_unused(Model(root.replace(subgraphs=subgraphs, buffers=buffers, operator_codes=codes)))
    assert (unused.subgraphs, unused.tensors, unused.codes, unused.buffers) == ((1,), ((0, 2),), (0,), 2)
    assert [len(v) for v in (found.subgraphs, found.buffers, found.root.operator_codes)] == [1, 1, 1]
    assert found.operator_name(found.subgraphs[0].operators[0]) == "RELU"


def test_subgraphs_of_every_kind_of_call() -> None:
    case = Table("Operator", builtin_options_2=Table("StablehloCaseOptions", branch_subgraph_indices=[3, 4]))
    loop = Table("Operator", builtin_options=Table("WhileOptions", cond_subgraph_index=1, body_subgraph_index=2))
    assert sorted(called_subgraphs(case)) == [3, 4]
    assert sorted(called_subgraphs(loop)) == [1, 2]
    assert list(called_subgraphs(Table("Operator"))) == []

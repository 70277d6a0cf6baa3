"""One malformation each: what was found, what is required, and where, in one line."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantlib.errors import InvalidModel, NotFound, UnsupportedSchema
from quantlib.tflite import Model, Table, read
from quantlib.tflite.schema import layout
from tests.support.models import built, signature
from tests.support.shared import each_model

DENSE = built("dense")


def refused(raw: bytes, message: str, kind: type[InvalidModel] = InvalidModel) -> None:
    with pytest.raises(kind, match=message) as caught:
        read(raw)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is kind


# ---- the container -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [b"", b"TFL3", b"\0" * 100, b"\x1c\0\0\0TFL2" + bytes(100), b"PK\3\4" * 50])
def test_other_files(raw: bytes) -> None:
    refused(raw, "bytes: .* bytes that don't carry the identifier TFL3; a .tflite file is required")


def test_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8" * 50)
    with pytest.raises(InvalidModel, match=r"photo.jpg: 100 bytes that don't carry the identifier"):
        read(path)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.touch()
    with pytest.raises(InvalidModel, match=r"^[^:]*m.tflite: the file is empty; a .tflite file is required$"):
        read(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"m.tflite: no such file; give the path of a .tflite file"):
        read(tmp_path / "m.tflite")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"readable .tflite file is required"):
        read(tmp_path)


def test_a_path_that_cannot_be() -> None:
    with pytest.raises(InvalidModel, match=r"a readable .tflite file is required"):
        read("a\0b")


def test_bytes_and_file_objects(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(DENSE)
    model = read(DENSE)
    assert read(bytearray(DENSE)) == read(memoryview(DENSE)) == read(str(path)) == read(path) == model
    with open(path, "rb") as file:
        assert read(file) == model


@pytest.mark.parametrize("length", [*range(0, 200, 7), *range(200, len(DENSE) - 20, 501)])
def test_files_cut_short(length: int) -> None:
    with pytest.raises(InvalidModel):
        read(DENSE[:length])


@each_model(most=100_000)
def test_real_files_cut_short(path: Path) -> None:
    raw = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        try:
            model = read(raw[: int(len(raw) * share)])
        except InvalidModel:
            continue
        assert model.root == read(raw).root  # what was cut off followed the FlatBuffer


# ---- the tables --------------------------------------------------------------------------------------------------


def test_a_root_outside_the_file() -> None:
    refused(struct.pack("<I", 1 << 31) + DENSE[4:], "Model at byte 2147483648: a table can't stand there")


def test_a_vtable_outside_the_file() -> None:
    raw = bytearray(DENSE)
    at = struct.unpack_from("<I", raw)[0]
    for distance, message in ((1 << 30, "its vtable would be at"), (-(1 << 30), "its vtable would be at")):
        struct.pack_into("<i", raw, at, distance)
        refused(bytes(raw), message)


def vtable_of_root(raw: bytes) -> int:
    at = struct.unpack_from("<I", raw)[0]
    return int(at - struct.unpack_from("<i", raw, at)[0])


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, 3, "claims 3 bytes"),
        (0, 7, "claims 7 bytes"),
        (0, 65534, "claims 65534 bytes"),
        (2, 3, "it claims 3 bytes"),
        (2, 65535, "it claims 65535 bytes of"),
        (4, 2, "slot 0 at offset 2 lies outside"),
        (4, 60000, "slot 0 at offset 60000 lies outside"),
    ],
)
def test_a_broken_vtable(offset: int, value: int, message: str) -> None:
    raw = bytearray(DENSE)
    struct.pack_into("<H", raw, vtable_of_root(DENSE) + offset, value)
    refused(bytes(raw), message)


def future(kind: str) -> bytes:
    """A file in which the root has one slot more than the schema knows."""
    slots = len(layout(kind).slots)
    table = struct.pack("<iI", 4 + 2 * slots + 2, 77)
    vtable = struct.pack(f"<{slots + 3}H", 4 + 2 * slots + 2, 8, *[0] * slots, 4)
    return struct.pack("<I", 8 + len(vtable)) + b"TFL3" + vtable + table


def test_a_slot_of_a_later_schema() -> None:
    slots = len(layout("Model").slots)
    refused(future("Model"), f"sets slot {slots}, which this version's schema .* doesn't know", UnsupportedSchema)


def test_a_union_member_of_a_later_schema() -> None:
    table = Table("Operator", opcode_index=0, inputs=[0], outputs=[1], builtin_options=Table("SoftmaxOptions"))
    for changed, kind in ((250, UnsupportedSchema), (0, InvalidModel)):
        raw = bytearray(one_operator(table))
        spots = [i for i, b in enumerate(raw) if b == 9]
        hits = 0
        for spot in spots:
            trial = bytearray(raw)
            trial[spot] = changed
            try:
                read(bytes(trial))
            except InvalidModel as error:
                found = "has the type 250" if changed else "a union has a value without a type"
                hits += found in str(error) and type(error) is kind
        assert hits == 1


def one_operator(operator: Table) -> bytes:
    tensors = [Table("Tensor", shape=[1]), Table("Tensor", shape=[1])]
    graph = Table("SubGraph", tensors=tensors, operators=[operator], inputs=[0], outputs=[1])
    codes = [Table("OperatorCode", builtin_code=25, deprecated_builtin_code=25)]
    buffers = [Table("Buffer")]
    return Model(Table("Model", version=3, subgraphs=[graph], operator_codes=codes, buffers=buffers)).to_bytes()


# ---- values that lead nowhere --------------------------------------------------------------------------------------


def changed(name: str, **fields: Any) -> bytes:
    return Model(read(built(name)).root.replace(**fields)).to_bytes()


def with_graph(name: str = "dense", **fields: Any) -> bytes:
    graph = read(built(name)).subgraphs[0]
    return changed(name, subgraphs=[graph.replace(**fields)])


def with_tensor(name: str = "dense", index: int = 0, **fields: Any) -> bytes:
    tensors = list(read(built(name)).subgraphs[0].tensors)
    tensors[index] = tensors[index].replace(**fields)
    return with_graph(name, tensors=tensors)


def with_operator(name: str = "dense", **fields: Any) -> bytes:
    operators = list(read(built(name)).subgraphs[0].operators)
    operators[0] = operators[0].replace(**fields)
    return with_graph(name, operators=operators)


def blockwise(**fields: Any) -> bytes:
    details = Table("BlockwiseQuantization", **{"scales": 1, "zero_points": -1, "block_size": 32, **fields})
    return with_tensor("blockwise", 2, quantization=Table("QuantizationParameters", details=details))


CASES: dict[str, tuple[bytes, str]] = {
    "version": (changed("dense", version=2), "Model.version is 2, and 3 is required"),
    "no subgraph": (changed("dense", subgraphs=None), "no subgraph"),
    "code": (
        changed("dense", operator_codes=[Table("OperatorCode", builtin_code=5000)]),
        r"Model.operator_codes\[0\]: there is no builtin operator 5000",
    ),
    "metadata": (changed("dense", metadata=[Table("Metadata", buffer=99)]), r"Model.metadata\[0\].buffer is 99"),
    "metadata buffer": (changed("dense", metadata_buffer=[-1]), r"Model.metadata_buffer\[0\] is -1"),
    "signature's subgraph": (
        changed("dense", signature_defs=[signature("s", {}, {}, 4)]),
        r"signature_defs\[0\].subgraph_index is 4, and there are 1 subgraphs",
    ),
    "signature's tensor": (
        changed("dense", signature_defs=[signature("s", {"x": 77}, {})]),
        r"signature_defs\[0\].tensor_index is 77",
    ),
    "subgraph's input": (with_graph(inputs=[0, 9]), r"subgraphs\[0\].inputs\[1\] is 9, and there are"),
    "subgraph's output": (with_graph(outputs=[-1]), r"subgraphs\[0\].outputs\[0\] is -1"),
    "tensor's buffer": (with_tensor(buffer=99), r"tensors\[0\].buffer is 99, and there are 5 buffers"),
    "tensor's type": (with_tensor(type=99), r"tensors\[0\].type is 99"),
    "negative type": (with_tensor(type=-1), r"tensors\[0\].type is -1"),
    "negative shape": (with_tensor(shape=[2, -1]), r"tensors\[0\].shape is \[2, -1\]; no dimension may be negative"),
    "operator's code": (with_operator(opcode_index=7), r"operators\[0\].opcode_index is 7"),
    "operator's input": (with_operator(inputs=[0, -2]), r"operators\[0\].inputs\[1\] is -2"),
    "operator's output": (with_operator(outputs=[1 << 20]), r"operators\[0\].outputs\[0\] is 1048576"),
    "operator's state": (with_operator(intermediates=[50]), r"operators\[0\].intermediates\[0\] is 50"),
    "scales": (blockwise(scales=44), r"tensors\[2\].quantization.details.scales is 44, and there are 4 tensors"),
    "zero points": (blockwise(zero_points=-2), r"tensors\[2\].quantization.details.zero_points is -2"),
    "data outside": (
        changed("dense", buffers=[Table("Buffer"), *[Table("Buffer", offset=500, size=1 << 40)] * 4]),
        r"Model.buffers\[1\]: 1,099,511,627,776 bytes at 500 reach beyond the file's",
    ),
    "far outside": (
        changed("dense", buffers=[Table("Buffer"), *[Table("Buffer", offset=(1 << 64) - 1, size=2)] * 4]),
        "reach beyond the file's",
    ),
    "options outside": (
        with_operator("custom_operator", large_custom_options_offset=1 << 30, large_custom_options_size=4),
        r"operators\[0\]: 4 bytes at 1,073,741,824 reach beyond",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values_that_lead_nowhere(name: str) -> None:
    refused(*CASES[name])


# ---- lengths -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1 << 20, (1 << 32) - 1, 1 << 30])
def test_lengths_beyond_the_file(length: int) -> None:
    for content in (weights_of("w1"), np.array([48, 32], np.int32).tobytes(), b"two layers\0"):
        raw = bytearray(DENSE)
        at = raw.index(content) - 4
        struct.pack_into("<I", raw, at, length)
        refused(bytes(raw), f"of {length:,} .*reaches beyond the file's")


def weights_of(name: str) -> bytes:
    data = read(DENSE).tensor(name).data
    assert data is not None
    return data.numpy().tobytes()


def test_names_that_are_no_text_are_kept() -> None:
    raw = DENSE.replace(b"two layers\0", b"tw\xff\xfe\x80ayers\0")
    model = read(raw)
    assert b"tw\xff\xfe\x80ayers\0" in model.to_bytes(rebuild=True)
    assert read(model.to_bytes(rebuild=True)).root == model.root


@pytest.mark.skipif(os.name == "nt", reason="a pipe by name")
def test_reading_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(DENSE)
    path.chmod(0o444)
    before = path.stat()
    model = read(path)
    [t.numpy() for t in model.tensors() if t.is_constant]
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.read_bytes() == DENSE

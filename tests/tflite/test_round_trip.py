"""Reading and writing files: the shared real models, the models built in code, the demo model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantlib import demo
from quantlib.tflite import Model, plan_layout, read
from tests.support import litert
from tests.support.archives import members, stands_exactly
from tests.support.models import BUILT, assemble, built, dense
from tests.support.readers import differences, namespace, object_differences, open_with
from tests.support.shared import MODELS, each_model, needs_shared

EACH_BUILT = pytest.mark.parametrize("name", BUILT)

#: LiteRT doesn't run these, for the reason given; everything else about them is tested all the same.
NOT_RUN = {
    "custom_operator": "a custom operator that nobody has",
    "large_options": "a custom operator that nobody has",
    "no_buffers": "LiteRT requires buffer 0",
    "two_axes": "a tensor in another file, which isn't there",
}


def same_outputs(raw: bytes, other: bytes) -> None:
    for a, b in zip(litert.run(raw), litert.run(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def same_model(one: Model, other: Model) -> None:
    """Tables equal, one by one, and what follows the FlatBuffer the same but for offsets."""
    assert other.root == one.root
    assert other.trailing.nbytes == one.trailing.nbytes


# ---- unchanged -------------------------------------------------------------------------------------------------


@each_model()
def test_an_unchanged_file_is_written_byte_for_byte(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tflite"
    size = read(path).write(out)
    assert out.read_bytes() == path.read_bytes()
    assert size == path.stat().st_size


@EACH_BUILT
def test_an_unchanged_built_file_is_written_byte_for_byte(name: str) -> None:
    raw = built(name)
    assert read(raw).to_bytes() == raw


def test_the_demo_model_is_written_byte_for_byte(tmp_path: Path) -> None:
    read(demo.MODEL).write(tmp_path / "demo.tflite")
    assert (tmp_path / "demo.tflite").read_bytes() == Path(demo.MODEL).read_bytes()


# ---- rebuilt ---------------------------------------------------------------------------------------------------


@each_model()
def test_a_rebuilt_file_reads_back_equal(path: Path) -> None:
    model = read(path)
    rebuilt = model.to_bytes(rebuild=True)
    same_model(model, read(rebuilt))
    raw = path.read_bytes()
    assert members(rebuilt) == members(raw)
    if members(raw):
        assert stands_exactly(rebuilt)
    assert read(rebuilt).to_bytes(rebuild=True) == rebuilt


@EACH_BUILT
def test_a_rebuilt_built_file_reads_back_equal(name: str) -> None:
    model = read(built(name))
    rebuilt = model.to_bytes(rebuild=True)
    same_model(model, read(rebuilt))
    assert members(rebuilt) == members(built(name))
    assert read(rebuilt).to_bytes(rebuild=True) == rebuilt


@EACH_BUILT
def test_what_was_built_is_what_is_read(name: str) -> None:
    made = BUILT[name]()
    if isinstance(made, Model):
        assert read(made.to_bytes()).root == made.root


@each_model()
def test_a_rebuilt_file_computes_the_same(path: Path) -> None:
    same_outputs(path.read_bytes(), read(path).to_bytes(rebuild=True))


@EACH_BUILT
@pytest.mark.parametrize("form", ["inline", "external"])
def test_a_rebuilt_built_file_computes_the_same(name: str, form: str) -> None:
    if name in NOT_RUN:
        pytest.skip(f"LiteRT doesn't run {name}: {NOT_RUN[name]}")
    model = read(built(name))
    other = assemble(plan_layout(model, rebuild=True, limit=64)) if form == "external" else None
    same_outputs(built(name), other or model.to_bytes(rebuild=True))


def test_models_that_are_not_run_are_not_run_for_a_reason() -> None:
    for name in ("custom_operator", "large_options", "no_buffers"):
        with pytest.raises((RuntimeError, ValueError)):
            litert.run(built(name))


# ---- data outside the FlatBuffer ---------------------------------------------------------------------------------


@EACH_BUILT
def test_the_external_form_reads_back_equal(name: str) -> None:
    model = read(built(name))
    layout = plan_layout(model, rebuild=True, limit=64)
    assert layout.external
    raw = assemble(layout)
    same_model(model, read(raw))
    assert members(raw) == members(built(name))
    inside = any(b.data is not None and b.data.nbytes for b in model.buffers)
    fields = [b for b in namespace_buffers(raw) if b.Offset() > 1]
    assert bool(fields) == inside


def namespace_buffers(raw: bytes) -> list[Any]:
    """Buffers as PyPI's reader sees them."""
    model = open_with(namespace("tflite"), "Model", raw)
    return [model.Buffers(i) for i in range(model.BuffersLength())]


@each_model(most=1_000_000, sub="m")
def test_the_external_form_of_real_files_computes_the_same(path: Path) -> None:
    model = read(path)
    raw = assemble(plan_layout(model, rebuild=True, limit=1000))
    same_model(model, read(raw))
    same_outputs(path.read_bytes(), raw)


def test_the_limit_decides_the_form() -> None:
    model = dense()
    size = plan_layout(model).size
    assert not plan_layout(model, limit=size).external
    assert plan_layout(model, limit=size - 1).external


def test_data_from_outside_goes_inside_where_it_fits() -> None:
    model = read(built("outside"))
    assert all(b.offset == 0 and b.size == 0 for b in model.buffers)
    assert all(b.Offset() == 0 for b in namespace_buffers(model.to_bytes(rebuild=True)))
    assert model.to_bytes(rebuild=True) == built("dense")


# ---- other people's readers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", ["tflite", "litert"])
@each_model()
def test_independent_readers_see_the_same_in_real_files(path: Path, reader: str) -> None:
    readers, model = namespace(reader), read(path)
    for raw in (path.read_bytes(), model.to_bytes(rebuild=True)):
        assert not list(differences(model.root, open_with(readers, "Model", raw), readers))


@each_model()
def test_the_object_interface_of_litert_sees_the_same_in_real_files(path: Path) -> None:
    readers, model = namespace("litert"), read(path)
    for raw in (path.read_bytes(), model.to_bytes(rebuild=True)):
        assert not list(object_differences(model.root, readers.ModelT.InitFromPackedBuf(raw)))


@pytest.mark.parametrize("reader", ["tflite", "litert"])
@EACH_BUILT
def test_independent_readers_see_the_same_in_built_files(name: str, reader: str) -> None:
    readers, model = namespace(reader), read(built(name))
    raw = model.to_bytes(rebuild=True)
    assert not list(differences(model.root, open_with(readers, "Model", raw), readers))


@EACH_BUILT
def test_the_object_interface_of_litert_sees_the_same_in_built_files(name: str) -> None:
    model = read(built(name))
    raw = model.to_bytes(rebuild=True)
    assert not list(object_differences(model.root, namespace("litert").ModelT.InitFromPackedBuf(raw)))


@EACH_BUILT
def test_what_others_pack_is_read_the_same(name: str) -> None:
    """LiteRT's object interface writes the model anew, in its own order and with its own vtables."""
    flatbuffers = pytest.importorskip("flatbuffers")
    model = read(read(built(name)).to_bytes(rebuild=True))
    if name == "large_options":
        model = read(model.to_bytes(rebuild=True))
    builder = flatbuffers.Builder(1024)
    packed = namespace("litert").ModelT.InitFromPackedBuf(model.to_bytes()).Pack(builder)
    builder.Finish(packed, b"TFL3")
    assert read(bytes(builder.Output())).root == model.root


# ---- the collection itself ---------------------------------------------------------------------------------------


@needs_shared
def test_all_shared_models_are_here() -> None:
    assert len(MODELS) >= 70

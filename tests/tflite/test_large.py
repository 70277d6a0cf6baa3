"""A model of 2.5 GiB: beyond what a FlatBuffer can hold inline, and what it shrinks to is inline again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import quantlib as ql
from quantlib.tflite import INLINE_LIMIT, Deferred, Draft, Model, Table, plan_layout
from tests.support.litert import interpreter

SIDE, LAYERS = 8192, 10
LAYER = 4 * SIDE * SIDE


def chain() -> Model:
    """Fully connected layers of zeros; the data is never made, since the file is sparse."""
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", "FLOAT32", (1, SIDE))
    graph.inputs = [x]
    for i in range(LAYERS):
        hole = Deferred(LAYER, lambda start, stop: np.zeros(stop - start, np.uint8))
        w = graph.add_tensor(f"w{i}", "FLOAT32", (SIDE, SIDE), buffer=draft.add_buffer(hole))
        y = graph.add_tensor(f"y{i}", "FLOAT32", (1, SIDE))
        graph.append(draft.operator("FULLY_CONNECTED", [x, w, -1], [y], Table("FullyConnectedOptions")))
        x = y
    graph.outputs = [x]
    return draft.done()


def write_sparse(model: Model, path: Path) -> None:
    """Write a laid-out file without its zeros, and an identity matrix, scaled, as each weight."""
    layout = plan_layout(model)
    with open(path, "wb") as file:
        file.truncate(layout.size)
        for placement in layout.placements:
            file.seek(placement.start)
            if placement.data.nbytes < LAYER:
                file.write(placement.data.numpy().data)
            else:
                for row in range(0, SIDE, 64):  # some rows are enough to see them again
                    file.seek(placement.start + 4 * row * (SIDE + 1))
                    file.write(np.float32(0.5).tobytes())


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("large")
    if shutil.disk_usage(folder).free < 6 << 30:
        pytest.skip("less than 6 GiB free where temporary files go")
    path = folder / "large.tflite"
    write_sparse(chain(), path)
    yield path
    shutil.rmtree(folder)


def test_it_needs_buffers_outside_the_flatbuffer(large: Path) -> None:
    assert large.stat().st_size > 5 << 29
    assert plan_layout(ql.read(large), rebuild=True).external


def test_it_survives_a_rebuild(large: Path) -> None:
    model = ql.read(large)
    again = large.with_name("again.tflite")
    model.write(again, rebuild=True)
    second = ql.read(again)
    assert second.root.subgraphs == model.root.subgraphs
    for i in (0, LAYERS - 1):
        weights = second.tensor(f"w{i}").numpy()
        assert weights[64, 64] == 0.5
        np.testing.assert_array_equal(weights[:128], model.tensor(f"w{i}").numpy()[:128])
    again.unlink()


@pytest.mark.parametrize("recipe", ["dynamic", "float16"])
def test_it_shrinks_to_an_inline_file_that_litert_loads(large: Path, recipe: str) -> None:
    out = large.with_name(f"{recipe}.tflite")
    small = ql.quantize(ql.read(large), recipe)
    assert not plan_layout(small).external
    assert small.write(out) < INLINE_LIMIT
    assert all(b.offset == 0 for b in ql.read(out).buffers)
    if recipe == "dynamic":
        made = interpreter(str(out))
        made.set_tensor(made.get_input_details()[0]["index"], np.ones((1, SIDE), np.float32))
        made.invoke()
        y = made.get_tensor(made.get_output_details()[0]["index"])[0]
        np.testing.assert_allclose(y[::64], 0.5**LAYERS, rtol=0.05)
        assert not y[1:64].any()
    out.unlink()

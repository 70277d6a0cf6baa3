"""Running a model over a data set: names, shapes, and what makes no array."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue, NotFound
from quantlib.runners import NumpyRunner
from quantlib.tflite import Draft, Table
from tests.support.models import branches, dynamic_shape
from tests.support.network import Network

X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def test_outputs_are_what_a_runner_gives_sample_by_sample() -> None:
    model, images = ql.read(ql.demo.MODEL), np.load(ql.demo.SAMPLES)["image"][:20]
    runner = NumpyRunner(model)
    expected = np.concatenate([runner.run(image)["probabilities"] for image in images])
    for data in (images, images[:, None], {"image": images}, lambda: ([image] for image in images)):
        found = ql.run(model, data)
        assert list(found) == ["probabilities"]
        np.testing.assert_array_equal(found["probabilities"], expected)


def test_litert_gives_the_same_outputs() -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra 'litert')")
    model, images = ql.read(ql.demo.MODEL), np.load(ql.demo.SAMPLES)["image"][:20]
    found = ql.run(model, images, runner="litert")["probabilities"]
    np.testing.assert_allclose(found, ql.run(model, images)["probabilities"], rtol=0, atol=1e-6)


def named(*names: str) -> ql.Model:
    """A chain of RELUs whose tensors have these names; the last two are the outputs."""
    draft = Draft()
    graph = draft.graphs[0]
    tensors = [graph.add_tensor(name, "FLOAT32", (1, 4)) for name in names]
    for a, b in pairwise(tensors):
        graph.append(draft.operator("RELU", [a], [b]))
    graph.inputs, graph.outputs = tensors[:1], tensors[-2:]
    return draft.done()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a", "b", "c", "d"), {"c", "d", "a", "b"}),
        (("a", "same", "same", "c", "d"), {"c", "d", "a", "same#0/1", "same#0/2"}),
        (("a", "b", "same", "same"), {"same#2", "same#3", "a", "b"}),
        (("a", "c", "c", "d"), {"c", "d", "a", "c#0/1"}),
    ],
)
def test_names(names: tuple[str, ...], expected: set[str]) -> None:
    found = ql.run(named(*names), X, all_tensors=True)
    assert set(found) == expected
    assert {a.shape for a in found.values()} == {(5, 4)}
    assert set(ql.run(named(*names), X)) == set(list(found)[:2])


def test_tensors_that_are_not_written_in_each_sample_are_left_out_with_a_warning() -> None:
    data = {"c": np.array([1, 0, 1, 1, 0], bool), "x": X}
    with pytest.warns(UserWarning, match="^4 tensors are left out, as they were not written in each sample") as seen:
        found = ql.run(branches(), data, signature="main", all_tensors=True)
    assert seen[0].filename == __file__
    assert set(found) == {"y", "condition", "x#0/1"}  # the name is also that of tensors in the branches
    np.testing.assert_array_equal(found["condition"], data["c"])


def test_an_output_of_changing_shape_is_an_error() -> None:
    samples = [np.ones((n, 4), np.float32) for n in (2, 2, 3)]
    with pytest.raises(InvalidValue, match=r"^output 'y': shape \[2, 4\] in sample 0 and \[3, 4\] in sample 2"):
        ql.run(dynamic_shape(), samples)
    assert ql.run(dynamic_shape(), samples[:2])["y"].shape == (2, 2, 4)


def test_nothing_is_shared_with_the_runner_or_the_data() -> None:
    net = Network()
    x = net.input("x", (1, 4))
    model = net.done(net.op("RESHAPE", [x], "y", (1, 4), Table("ReshapeOptions", new_shape=[1, 4])))
    data = X.copy()
    found = ql.run(model, data, all_tensors=True)
    data[:] = 0
    np.testing.assert_array_equal(found["y"], X)
    assert found["y"].flags.writeable


@pytest.mark.parametrize(
    ("data", "options", "kind", "message"),
    [
        (X[:, :3], {}, InvalidValue, "sample 0: input 'a': shape"),
        ([*X, X[:, :3]], {}, InvalidValue, "sample 5: input 'a'"),
        (iter(()), {}, InvalidValue, "the data has no samples"),
        (X, {"runner": "tpu"}, NotFound, "there is no runner 'tpu'"),
        (X, {"signature": "s"}, NotFound, "there is no signature 's'"),
    ],
)
def test_failures(data: Any, options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^{message}"):
        ql.run(named("a", "b", "c"), data, **options)


def test_a_model_is_required() -> None:
    with pytest.raises(InvalidValue, match=r"^model is a str, and a Model is required"):
        ql.run("m.tflite", X)  # type: ignore[arg-type]  # on purpose


def test_progress_counts_samples() -> None:
    done: list[int] = []
    ql.run(named("a", "b", "c"), X, progress=done.append)
    assert sum(done) == 5


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64"])
def test_an_integer_input_is_never_told_to_cast(dtype: str) -> None:
    model = ql.read(ql.demo.MODEL)
    recipe = ql.recipes.int8(input_type="INT8", default_ranges=(-6, 6))
    with pytest.raises(InvalidValue, match=f"{dtype} values where INT8 .*; bring them to its scale and zero point"):
        ql.run(ql.quantize(model, recipe), np.zeros((2, 8, 8, 1), dtype))

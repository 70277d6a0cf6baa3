"""Layers whose biases aren't corrected, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.evaluation import correct_bias
from quantlib.evaluation.bias import _Layer, _odd, _Runs
from quantlib.evaluation.ports import pair
from quantlib.tflite import Draft, GraphDraft, Model, Quantization, Table
from tests.evaluation import built
from tests.evaluation.biased import DATA, bias, dynamic, reasons, shifted
from tests.support.network import Network, gaussian
from tests.support.networks import example


def reason(model: Model, small: Model, name: str = "scores", data: Any = DATA) -> str:
    """Why a layer is left alone."""
    edited = correct_bias(model, small, data, runner="numpy")
    assert name not in {line.where for line in edited.done}
    return reasons(edited)[name]


def rewired(model: Model, change: Callable[[Draft, GraphDraft], None]) -> Model:
    draft = Draft(model)
    change(draft, draft.graphs[0])
    return draft.done()


def index(graph: GraphDraft, name: str) -> int:
    return next(i for i, t in enumerate(graph.tensors) if t.name == name)


def test_a_layer_without_a_bias() -> None:
    def without(draft: Draft, graph: GraphDraft) -> None:
        last = graph.operators[-1]
        graph.operators[-1] = last.replace(inputs=[*last.inputs[:2], -1])

    model = built.dense()
    assert reason(model, rewired(dynamic(model), without)) == "it has no bias that is a constant"


def test_a_bias_that_serves_others() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    b = net.constant("bias", gaussian((8,), 3))
    for i in range(2):
        w = net.constant(f"w{i}", gaussian((8, 8), i))
        x = net.op("FULLY_CONNECTED", [x, w, b], f"y{i}", (1, 8), Table("FullyConnectedOptions"))
    model = net.done(x)
    assert reason(model, dynamic(model), "y1") == "its bias serves other operators, too"


def test_a_bias_that_is_an_output_stays() -> None:
    def shown(draft: Draft, graph: GraphDraft) -> None:
        graph.outputs = [*graph.outputs, index(graph, "scores/bias")]

    model = rewired(built.dense(), shown)
    assert reason(model, shifted(dynamic(model), "scores/bias", 1)) == "its bias serves other operators, too"


def test_a_bias_whose_buffer_another_one_has_is_changed_alone() -> None:
    net = Network()
    x = net.fully_connected("first", net.input("x", (1, 8)), gaussian((8, 8), 1), np.zeros(8, "f4"))
    w = net.constant("w", gaussian((8, 8), 2))
    b = net.constant("b", np.zeros(8, "f4"), buffer=net.graph.tensors[index(net.graph, "first/bias")].buffer)
    model = net.done(net.op("FULLY_CONNECTED", [x, w, b], "y", (1, 8), Table("FullyConnectedOptions")))
    small = dynamic(model).replace("w", data=np.clip(dynamic(model).tensor("w").numpy(), -100, 100))
    edited = correct_bias(model, small, DATA + np.float32(1), runner="numpy")
    assert "y" in {line.where for line in edited.done}
    assert not np.array_equal(bias(edited.model, "first/bias"), bias(edited.model, "b"))


def test_a_layer_that_the_float_model_does_not_have() -> None:
    def renamed(draft: Draft, graph: GraphDraft) -> None:
        graph.tensors[index(graph, "hidden")] = graph.tensors[index(graph, "hidden")].replace(name="other")
        end = graph.add_tensor("end", "FLOAT32", (1, 12))
        graph.append(draft.operator("ABS", [graph.outputs[0]], [end], Table("AbsOptions")))
        graph.outputs = [end]

    model = built.dense()
    small = rewired(dynamic(model), renamed)
    assert reason(model, small, "other") == "the float model has no such tensor to compare with"


def test_a_model_that_is_no_float_model() -> None:
    small = built.dense_int8()
    assert reason(small, small) == "the float model has no such tensor to compare with"


def test_a_bias_without_a_scale() -> None:
    model, none = built.dense(), Quantization(np.zeros(0, "f4"), np.zeros(0, "i8"))
    assert reason(model, built.dense_int8().replace("scores/bias", quantization=none)) == "its bias has no scale"


def test_odd_biases_and_outputs() -> None:
    """What no runner of ours takes, and other files might hold."""
    small = built.dense_int8()
    made, right = small.tensor("scores"), small.tensor("scores/bias")
    assert _odd(right, made) == ""
    assert _odd(small.tensor("hidden/bias"), made) == "its bias is INT32 [16], for 12 channels"
    wide = built.dense()
    assert (
        _odd(wide.tensor("scores/kernel"), wide.tensor("hidden")) == "its bias is FLOAT32 [12, 16], for 16 channels"
    )
    assert _odd(small.tensor("scores/kernel"), made) == "its bias is INT8 [12, 16], for 12 channels"
    bare = small.replace("scores", quantization=Quantization(np.zeros(0, "f4"), np.zeros(0, "i8")))
    assert _odd(right, bare.tensor("scores")) == "it writes INT8 that no one scale says the meaning of"


def test_values_that_are_not_finite() -> None:
    """Logarithms of 0 in front of one layer, which MINIMUM takes out again behind it."""
    net = Network()
    x = net.input("x", (1, 8))
    root = net.op("LOG", [x], "root", (1, 8))
    y = net.fully_connected("y", root, np.eye(8, dtype="f4"), np.zeros(8, "f4"))
    low = net.op(
        "MAXIMUM", [y, net.constant("floor", np.zeros(8, "f4"))], "low", (1, 8), Table("MaximumMinimumOptions")
    )
    model = net.done(net.fully_connected("z", low, gaussian((4, 8))))
    data = np.abs(gaussian((20, 8), 4)) + np.float32(0.5)
    data[3, 2] = 0
    small = ql.quantize(model, ql.recipes.weight_only(min_elements=0))
    assert reason(model, small, "y", data) == "its values, or the float model's, aren't all finite"


def test_a_model_without_integer_weights_says_so() -> None:
    model = built.dense()
    edited = correct_bias(model, ql.quantize(model, "float16"), DATA, runner="numpy")
    assert edited.notes == ("no operator has an integer weight and takes a bias: there is nothing to correct",)
    assert (edited.done, edited.kept) == ((), ())


def test_of_several_signatures_the_one_that_runs_is_corrected() -> None:
    twice = example("two_signatures")
    small = dynamic(twice.model)
    for g, (key, data) in enumerate(twice.data.items()):
        off = small.replace((g, 2), data=small.tensor((g, 2)).numpy() + np.float32(1))
        edited = correct_bias(twice.model, off, data, runner="numpy", signature=key)
        assert [line.where for line in edited.done] == ["hidden"]
        assert edited.notes == (f"1 layers of other subgraphs than the one that runs, {g}, are left alone",)
        moved = [
            not np.array_equal(edited.model.tensor((i, 2)).numpy(), off.tensor((i, 2)).numpy()) for i in range(2)
        ]
        assert moved == [g == 0, g == 1]


def test_the_body_of_a_loop_is_left_alone() -> None:
    looped = example("loop")
    small = shifted(dynamic(looped.model), "b", 1)
    edited = correct_bias(looped.model, small, looped.data[None], runner="numpy")
    assert [line.where for line in edited.done] == ["dense"]
    assert edited.notes == ("1 layers of other subgraphs than the one that runs, 0, are left alone",)


def test_what_runs_in_the_body_is_not_taken_for_what_has_its_index() -> None:
    """Tensor 7 is the output, and within the body a layer that runs three times for each sample."""
    looped = example("loop")
    pairing, data = pair(looped.model, looped.model), [{"x": row} for row in looped.data[None]["x"]]
    layer = _Layer("y", looped.model.tensor("b"), np.ones(1), 7, 7, None)
    assert looped.model.tensor((2, 7)).name == "layer"
    means = _Runs("numpy", None, data, pairing, False).means(looped.model, [layer])
    np.testing.assert_allclose(means[7], ql.run(looped.model, looped.data[None])["y"], rtol=1e-6)


def test_state_is_kept_in_a_sequence_alone() -> None:
    stateful = example("memory")
    small = dynamic(stateful.model)
    data = {"x": np.abs(stateful.data[None]["x"])}
    found = [
        correct_bias(stateful.model, small, data, runner="numpy", sequence=sequence) for sequence in (False, True)
    ]
    assert not np.array_equal(bias(found[0].model, "b"), bias(found[1].model, "b"))
    kept = ql.compare(stateful.model, found[1].model, data, runner="numpy", sequence=True).outputs[0].sqnr_db
    assert found[1].totals["sqnr_db"] == pytest.approx(kept, abs=1e-9)


def test_what_no_run_shows_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteRT may leave out what nobody reads."""
    seen = _Runs.means

    def without(self: Any, model: Model, layers: Any, *, first: bool = False) -> Any:
        return {k: v for k, v in seen(self, model, layers, first=first).items() if first or len(layers) > 1}

    model = built.dense()
    small = shifted(dynamic(model), "scores/bias", 1)
    monkeypatch.setattr(_Runs, "means", without)
    edited = correct_bias(model, small, DATA, runner="numpy")
    expected = "its values can't be seen while samples are run"
    assert (edited.done, reasons(edited)) == ((), {"hidden": expected, "scores": expected})

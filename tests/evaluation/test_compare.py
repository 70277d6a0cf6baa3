"""Two models on the same data: figures by hand, every pair of types, errors in one line."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.evaluation import Comparison, load
from quantlib.evaluation.compare import Reference
from quantlib.numerics import cosine, sqnr_db
from quantlib.runners import make_runner
from tests.support.network import Network, gaussian
from tests.support.shared import SHARED, needs_shared

from .built import dense, dense_int8, samples

needs_litert = pytest.mark.usefixtures("litert")


@pytest.fixture
def litert() -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra 'litert')")


def test_figures_are_those_of_the_metrics_over_all_samples() -> None:
    a, data = dense(), samples()
    b = ql.quantize(a, ql.recipes.weight_only(min_elements=1))
    found = ql.compare(a, b, data, runner="numpy")
    x, y = (ql.run(m, data)["scores"] for m in (a, b))
    (output,) = found.outputs
    assert output.name == "scores"
    assert output.shape == (1, 12)
    assert output.sqnr_db == pytest.approx(sqnr_db(x, y), abs=1e-9)
    assert output.cosine == pytest.approx(cosine(x, y), abs=1e-12)
    assert output.rmse == pytest.approx(math.sqrt(np.square(x.astype(float) - y).mean()), rel=1e-9)
    assert output.max_error == np.abs(x.astype(float) - y).max()
    assert output.max_error_steps is None
    assert output.top1_agreement == np.mean(x.argmax(-1) == y.argmax(-1))
    five = [len({*np.argsort(-p)[:5]} & {*np.argsort(-q)[:5]}) / 5 for p, q in zip(x, y, strict=True)]
    assert output.top5_agreement == pytest.approx(np.mean(five))
    assert (found.samples, found.runner, found.matched) == (20, "numpy", "name")


def test_a_model_is_equal_to_itself() -> None:
    found = ql.compare(dense(), dense(), samples(3), runner="numpy", layers=True)
    assert found.outputs[0].sqnr_db == math.inf
    assert (found.outputs[0].max_error, found.outputs[0].top1_agreement) == (0.0, 1.0)
    assert found.layers is not None
    assert [layer.share for layer in found.layers] == [0.0, 0.0]
    assert found.unmatched == ()


def test_accuracy_of_the_demo() -> None:
    model = ql.read(ql.demo.MODEL)
    found = ql.compare(model, ql.quantize(model, "float16"), ql.demo.SAMPLES, labels=ql.demo.LABELS, runner="numpy")
    right = ql.run(model, ql.demo.SAMPLES)["probabilities"].argmax(-1) == np.load(ql.demo.LABELS)["labels"]
    assert found.accuracy is not None
    assert (found.accuracy.output, found.accuracy.labels) == ("probabilities", 450)
    assert found.accuracy.top1_a == np.mean(right)
    assert found.accuracy.top5_a is not None
    assert found.accuracy.top1_a < found.accuracy.top5_a <= 1


def test_labels_of_each_pixel() -> None:
    net = Network()
    image = net.input("image", (1, 4, 4, 3))
    model = net.done(net.convolution("mask", image, gaussian((2, 1, 1, 3))))
    data = gaussian((5, 4, 4, 3), 1)
    labels = ql.run(model, data)["mask"].argmax(-1)
    labels[0, 0, 0] ^= 1
    found = ql.compare(model, model, data, labels=labels, runner="numpy")
    assert found.accuracy is not None
    assert found.accuracy.top1_b == 1 - 1 / labels.size
    assert found.accuracy.top5_b is None
    assert found.outputs[0].top1_agreement is None  # a map, not one row of classes


def test_a_reconstruction_does_not_look_like_classes() -> None:
    net = Network()
    model = net.done(net.fully_connected("again", net.input("x", (1, 8)), gaussian((8, 8))))
    assert ql.compare(model, model, samples(2), runner="numpy").outputs[0].top1_agreement is None


@pytest.mark.parametrize("suffix", ["npy", "npz", "txt"])
def test_labels_from_files(tmp_path: Path, suffix: str) -> None:
    labels = ql.run(dense(), samples(4))["scores"].argmax(-1)
    path = tmp_path / f"labels.{suffix}"
    if suffix == "npy":
        np.save(path, labels)
    elif suffix == "npz":
        np.savez(path, labels)
    else:
        path.write_text("\n".join(map(str, labels)) + "\n")
    found = ql.compare(dense(), dense(), samples(4), labels=path, runner="numpy").accuracy
    assert found is not None
    assert found.top1_a == 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0] * 3, "3 labels, and more samples"),
        ([0] * 5, "5 labels for 4 samples"),
        ([0, 1, 12, 0], "sample 2: label 12 where classes are 0 to 11"),
        ([0, -1, 0, 0], "sample 1: label -1 where"),
        ([0.5] * 4, "labels are float64"),
        ([[0, 1]] * 4, "2 labels a sample fit no output"),
        ("absent.npy", "absent.npy: no such file"),
    ],
)
def test_labels_that_do_not_fit(labels: object, message: str) -> None:
    with pytest.raises(ql.QuantlibError, match=message):
        ql.compare(dense(), dense(), samples(4), labels=labels, runner="numpy")


@needs_litert
@pytest.mark.parametrize("rename", [False, True])
def test_an_integer_twin_is_near_and_its_ends_are_found(rename: bool) -> None:
    found = ql.compare(dense(), dense_int8(rename=rename), samples(), runner="litert")
    assert found.matched == "position"
    assert 25 < found.outputs[0].sqnr_db < 50
    assert found.b.bytes < found.a.bytes + 2000


@needs_litert
def test_real_values_go_into_integer_inputs_and_come_out_of_integer_outputs() -> None:
    a, whole = dense(), dense_int8()
    draft = ql.tflite.Draft(whole)
    graph = draft.graphs[0]
    graph.inputs, graph.outputs = ([int(o.outputs[0]) for o in graph.operators[i : i + 1]] for i in (0, 2))
    graph.rearrange([], {0, 3})
    b = draft.done()
    assert b.tensor((0, int(b.subgraphs[0].inputs[0]))).type == "INT8"
    found, inner = ql.compare(a, b, samples(), runner="litert"), ql.compare(a, whole, samples(), runner="litert")
    assert found.outputs[0].sqnr_db == inner.outputs[0].sqnr_db
    assert (found.outputs[0].type_b, found.outputs[0].max_error_steps) == (
        "INT8",
        pytest.approx(found.outputs[0].max_error / (40 / 255)),
    )
    # and the other way round: the samples are still those of the float model, and named as it has them
    turned = ql.compare(b, a, {"x": samples()}, runner="litert")
    assert turned.outputs[0].max_error == found.outputs[0].max_error


@needs_litert
def test_litert_is_the_runner_where_it_is_installed() -> None:
    assert ql.compare(dense(), dense(), samples(2)).runner == "litert"


def test_numpy_is_the_runner_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    assert ql.compare(dense(), dense(), samples(2)).runner == "numpy"
    with pytest.raises(ql.errors.MissingExtra, match=r"tflite-quantlib\[litert\]"):
        ql.compare(dense(), dense(), samples(2), runner="litert")
    with pytest.raises(ql.errors.MissingExtra, match=r"tflite-quantlib\[litert\]"):
        ql.compare(dense(), dense(), samples(2), latency=True)


@needs_litert
def test_latency() -> None:
    found = ql.compare(dense(), dense_int8(), samples(2), latency=True, threads=2).latency
    assert found is not None
    assert (found.threads, found.rounds >= 10) == (2, True)
    assert 0 < found.least_ms_a <= found.median_ms_a
    with pytest.raises(ql.errors.InvalidValue, match="0 threads"):
        ql.compare(dense(), dense(), samples(2), latency=True, threads=0)


def test_models_that_do_not_belong_together() -> None:
    net = Network()
    other = net.done(net.fully_connected("scores", net.input("x", (1, 9)), gaussian((12, 9))))
    with pytest.raises(ql.errors.InvalidValue, match=r"input 'x' has shape \[1, 8\] and 'x' \[1, 9\]"):
        ql.compare(dense(), other, samples(2), runner="numpy")
    net = Network()
    x, y = net.input("x", (1, 8)), net.input("y", (1, 8))
    two = net.done(net.op("ADD", [x, y], "z", (1, 8), ql.tflite.Table("AddOptions")))
    with pytest.raises(ql.errors.InvalidValue, match="1 inputs in A and 2 in B"):
        ql.compare(dense(), two, samples(2), runner="numpy")


def test_data_without_samples_and_a_sample_that_does_not_fit() -> None:
    with pytest.raises(ql.errors.InvalidValue, match="the data has no samples"):
        ql.compare(dense(), dense(), iter(()), runner="numpy")
    with pytest.raises(ql.errors.InvalidValue, match="sample 1: input 'x': shape"):
        ql.compare(dense(), dense(), [samples(1)[0], np.zeros(7, np.float32)], runner="numpy")
    with pytest.raises(ql.errors.NotFound, match="no runner 'gpu'"):
        ql.compare(dense(), dense(), samples(1), runner="gpu")


@pytest.mark.parametrize("sequence", [False, True])
def test_a_reference_is_run_once_however_many_are_compared_with_it(
    monkeypatch: pytest.MonkeyPatch, sequence: bool
) -> None:
    module, ran = sys.modules["quantlib.evaluation.compare"], []

    def counted(model: ql.Model, *how: Any) -> Any:
        runner = make_runner(model, *how)
        real = runner.run
        monkeypatch.setattr(runner, "run", lambda *x, **options: ran.append(model) or real(*x, **options))
        return runner

    model, x = ql.read(ql.demo.MODEL), np.load(ql.demo.CALIBRATION)["image"][:4]
    others = [ql.quantize(model, mode) for mode in ("dynamic", "float16", "weight-only")]
    run = {"runner": "numpy", "sequence": sequence}
    expected = [ql.compare(model, other, x, **run) for other in others]
    monkeypatch.setattr(module, "make_runner", counted)
    reference = Reference(model, list(x), **run)
    assert [reference.compare(other) for other in others] == expected
    assert [sum(m is one for m in ran) for one in (model, *others)] == [4, 4, 4, 4]


def test_values_that_are_not_finite_are_said_to_come_from_which_samples() -> None:
    model, data = ql.read(ql.demo.MODEL), np.load(ql.demo.CALIBRATION)
    x = data[data.files[0]][:5].copy()
    assert ql.compare(model, model, x, runner="numpy").notes == ()
    x[[1, 3]] = np.nan
    found = ql.compare(model, ql.quantize(model, "weight-only"), x, runner="numpy")
    assert np.isnan(found.outputs[0].sqnr_db)
    (note,) = found.notes
    assert note.startswith(
        "output 'probabilities': of 5 samples, NaN or infinite values come out of A in 2 (the first is 1)"
    )
    assert "and of B in 2 (the first is 1)" in note
    assert note in str(found)


def test_inputs_are_matched_by_signature_whatever_their_tensors_are_called() -> None:
    def model(first: str, second: str) -> ql.Model:
        net = Network()
        x, y = net.input(first, (1, 2)), net.input(second, (1, 2))
        z = net.op("SUB", [x, y], f"{first}-{second}", (1, 2), ql.tflite.Table("SubOptions"))
        ends = {"inputs": (("left", x), ("right", y)), "outputs": (("difference", z),)}
        tables = {
            key: [ql.tflite.Table("TensorMap", name=name, tensor_index=t) for name, t in pairs]
            for key, pairs in ends.items()
        }
        net.draft.signatures = [ql.tflite.Table("SignatureDef", signature_key="serve", subgraph_index=0, **tables)]
        return net.done(z)

    data = {"left": gaussian((3, 2)), "right": gaussian((3, 2), 1)}
    found = ql.compare(model("a", "b"), model("b", "a"), data, runner="numpy", signature="serve")
    assert (found.matched, found.outputs[0].max_error) == ("signature", 0.0)
    with pytest.raises(ql.errors.NotFound, match="no signature 'other'"):
        ql.compare(model("a", "b"), model("b", "a"), data, runner="numpy", signature="other")


def test_it_prints_saves_and_loads(tmp_path: Path) -> None:
    a = dense()
    found = ql.compare(a, a, samples(12), runner="numpy", layers=True, labels=[0] * 12)
    found.save(tmp_path / "c.json")
    again = load(tmp_path / "c.json")
    assert again == found
    assert again.to_dict() == json.loads(json.dumps(found.to_dict()))
    assert found.to_dict()["outputs"][0]["sqnr_db"] == "inf"
    text = str(found)
    assert max(map(len, text.splitlines())) <= 120
    assert len(text.splitlines()) <= 40
    assert "accuracy over 12 labels" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no comparison"),
        ("[]", "no comparison"),
        ('{"format": "quantlib comparison", "version": 2}', "version 2"),
        ('{"format": "quantlib comparison", "version": 1}', "damaged comparison"),
        ('{"format": "quantlib comparison", "version": 1, "samples": "many"}', "damaged comparison: 'many'"),
        ('{"format": "quantlib comparison", "version": 1, "extra": 1}', "has no 'extra'"),
    ],
)
def test_files_that_are_no_comparison(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(ql.errors.InvalidValue, match=message):
        load(tmp_path / "c.json")
    with pytest.raises(ql.errors.NotFound, match="absent"):
        load(tmp_path / "absent.json")


def test_nothing_is_left_where_saving_fails(tmp_path: Path) -> None:
    found: Comparison = ql.compare(dense(), dense(), samples(1), runner="numpy")
    with pytest.raises(ql.errors.WriteFailed, match="No such file"):
        found.save(tmp_path / "absent" / "c.json")
    with pytest.raises(ql.errors.WriteFailed, match="not a regular file"):
        found.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_that_of_a_sample() -> None:
    import tracemalloc

    def endless(count: int) -> object:
        return (samples(1)[0] for _ in range(count))

    peaks = []
    for count in (5, 200):
        tracemalloc.start()
        ql.compare(dense(), dense(), endless(count), runner="numpy", layers=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


@needs_shared
@needs_litert
@pytest.mark.parametrize(
    ("a", "b", "low"),
    [
        ("mnist_lstm_float", "mnist_lstm_int8", 10),
        ("mlperf_ad_toycar_float", "mlperf_ad_toycar_dynamic", 20),
        ("dtln_1_float", "dtln_1_dynamic", 25),
        ("hello_world_float", "hello_world_int8", 25),
    ],
)
def test_models_of_converters(a: str, b: str, low: float) -> None:
    first, second = (ql.read(SHARED / "models" / f"{name}.tflite") for name in (a, b))
    rng = np.random.default_rng(0)
    interface = ql.runners.interface_of(first)
    data = [[rng.uniform(0, 1, np.abs(p.shape)).astype(np.float32) for p in interface.inputs] for _ in range(4)]
    found = ql.compare(first, second, data, layers=True)
    assert found.outputs[0].sqnr_db > low
    if "toycar" in a:  # which reconstructs its input
        assert found.outputs[0].top1_agreement is None
    assert found.layers
    assert found.unmatched == ()

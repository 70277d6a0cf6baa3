"""Statistics don't depend on how samples are divided, given or run."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.calibration import load, merge
from quantlib.errors import CalibrationWarning
from quantlib.runners import NumpyRunner, sample_count
from quantlib.runners.blas import one_blas_thread
from quantlib.runners.collect import Settings, channel_axes, collect, forget, observed
from quantlib.tflite import Table
from tests.support.models import branches, dense, variables
from tests.support.network import Network, gaussian
from tests.support.recurrent import lstm, svdf
from tests.support.shared import SHARED
from tests.support.workers import dask_cluster, processes

Statistics = ql.Statistics
ODD = pytest.mark.filterwarnings("ignore::quantlib.errors.CalibrationWarning")


def demo_case() -> tuple[ql.Model, np.ndarray]:
    return ql.read(ql.demo.MODEL), np.load(ql.demo.CALIBRATION)["image"][:23]


def photos(name: str, count: int) -> np.ndarray:
    """Photographs that stand beside the repository, decoded as their README says; -1 to 1 or 0 to 1."""
    with np.load(SHARED / "data" / name) as file:
        coded = file["x_calib"][:count]
    c = np.cumsum(np.cumsum(coded, axis=2, dtype=np.uint8), axis=3, dtype=np.uint8)
    c[:, 0] += c[:, 1]
    c[:, 2] += c[:, 1]
    return c.transpose(0, 2, 3, 1).astype(np.float32) / 255


def shared_case(name: str, data: str, count: int) -> tuple[ql.Model, np.ndarray]:
    path = SHARED / "models" / name
    if not path.exists():
        pytest.skip("the shared models aren't here; set QUANTLIB_SHARED")
    return ql.read(path), photos(data, count)


CASES = {
    "demo": demo_case,
    "vww": lambda: shared_case("mlperf_vww_mobilenet_96_float.tflite", "vww_96.npz", 13),
    "mobilenet_v1": lambda: shared_case("mobilenet_v1_0.25_224_float.tflite", "imagenet_224.npz", 11),
}


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with processes(2) as executor:
        yield executor


@pytest.fixture(scope="module")
def cluster() -> Iterator[Executor]:
    with dask_cluster(2) as executor:
        yield executor


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[ql.Model, np.ndarray, Statistics]:
    """A model, samples, and the statistics by one thread."""
    model, data = CASES[request.param]()
    with ThreadPoolExecutor(1) as one:
        return model, data, ql.calibrate(model, data, executor=one)


def same(tmp_path: Path, found: Statistics, expected: Statistics) -> None:
    """Equal by value, and to the byte as files."""
    assert found == expected
    found.save(tmp_path / "found.npz")
    expected.save(tmp_path / "expected.npz")
    assert (tmp_path / "found.npz").read_bytes() == (tmp_path / "expected.npz").read_bytes()


Case = tuple[ql.Model, np.ndarray, Statistics]


def test_threads(case: Case, tmp_path: Path) -> None:
    model, data, expected = case
    assert expected.samples == len(data)
    with ThreadPoolExecutor(2) as two:
        same(tmp_path, ql.calibrate(model, data, executor=two), expected)
    same(tmp_path, ql.calibrate(model, data), expected)


def test_a_bare_map(case: Case, tmp_path: Path) -> None:
    model, data, expected = case
    same(tmp_path, ql.calibrate(model, data, map=map), expected)


def test_two_processes(case: Case, tmp_path: Path, pool: ProcessPoolExecutor) -> None:
    model, data, expected = case
    same(tmp_path, ql.calibrate(model, data, executor=pool), expected)


def test_a_dask_cluster_of_two_processes(case: Case, tmp_path: Path, cluster: Executor) -> None:
    model, data, expected = case
    same(tmp_path, ql.calibrate(model, data, executor=cluster), expected)


@ODD  # a shard has few samples
def test_shards_merged_in_any_order(case: Case, tmp_path: Path) -> None:
    model, data, expected = case
    for i in (1, 2, 3):
        ql.calibrate(model, data, shard=(i, 3)).save(tmp_path / f"{i}.npz")
    shards = [load(tmp_path / f"{i}.npz") for i in (1, 2, 3)]
    assert [s.samples for s in shards] == [len(data[i::3]) for i in range(3)]
    for order in permutations(shards):
        same(tmp_path, merge(*order), expected)
    same(tmp_path, merge(shards[2], merge(shards[0], shards[1])), expected)


def test_shuffled_samples(case: Case, tmp_path: Path) -> None:
    model, data, expected = case
    same(tmp_path, ql.calibrate(model, data[np.random.default_rng(5).permutation(len(data))]), expected)


def test_another_sample_makes_another_result(case: Case) -> None:
    model, data, expected = case
    changed = data.copy()
    changed[-1] = changed[-1][::-1]
    assert ql.calibrate(model, changed) != expected


def test_what_is_observed_is_what_a_run_writes(case: Case) -> None:
    model, data, expected = case
    runner, seen = NumpyRunner(model), {}
    with one_blas_thread():  # two may end in other bits
        for sample in data:
            runner.run(sample, tap=lambda g, i, x: seen.setdefault((g, i), []).append((x.min(), x.max(), x.size)))
    floats = {key: rows for key, rows in seen.items() if model.tensor(key).type == "FLOAT32"}
    assert set(expected.tensors) == set(floats)
    for key, state in expected.tensors.items():
        low, high, size = zip(*floats[key], strict=True)
        assert (state.min, state.max, state.count) == (min(low), max(high), sum(size))


# ---- forms of data ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo() -> tuple[ql.Model, np.ndarray, Statistics]:
    model, data = demo_case()
    return model, data, ql.calibrate(model, data)


def files(folder: Path, data: np.ndarray) -> dict[str, Any]:
    np.save(folder / "a.npy", data)
    np.savez(folder / "a.npz", image=data)
    np.savez_compressed(folder / "unnamed.npz", data)
    (folder / "several").mkdir()
    np.save(folder / "several" / "1.npy", data[:5])
    np.savez(folder / "several" / "2.npz", image=data[5:])
    (folder / "several" / "notes.txt").write_text("not a sample")
    return {name: folder / name for name in ("a.npy", "a.npz", "unnamed.npz", "several")}


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "mapping": lambda x: {"image": x},
    "mapping-with-1": lambda x: {"image": x[:, None]},
    "array-with-1": lambda x: x[:, None],
    "list": list,
    "generator": lambda x: (sample for sample in x),
    "generator-of-mappings": lambda x: ({"image": sample[None]} for sample in x),
    "representative-dataset": lambda x: lambda: ([sample[None]] for sample in x),
    "representative-dataset-of-mappings": lambda x: lambda: ({"image": sample} for sample in x),
    "callable-giving-an-array": lambda x: lambda: x,
    "float64": lambda x: x.astype(np.float64),
    "float16": lambda x: x.astype(np.float16),  # pixels are sixteenths, so nothing is lost
    "not-contiguous": lambda x: np.asfortranarray(x),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_in_memory(demo: Case, form: str) -> None:
    model, data, expected = demo
    assert ql.calibrate(model, FORMS[form](data)) == expected


def test_files(demo: Case, tmp_path: Path) -> None:
    model, data, expected = demo
    for path in files(tmp_path, data).values():
        assert ql.calibrate(model, path) == expected
        assert ql.calibrate(model, str(path)) == expected
        assert sample_count(path) == len(data)


def test_counts_that_are_known(tmp_path: Path) -> None:
    assert sample_count(np.zeros((3, 2))) == sample_count({"a": np.zeros((3, 2))}) == sample_count([1, 2, 3]) == 3
    assert sample_count(iter([1])) is sample_count(lambda: []) is sample_count(tmp_path / "none.npy") is None


def test_progress_counts_samples(demo: Case) -> None:
    model, data, _ = demo
    for way in ({}, {"map": map}, {"observer": "moving-average"}):
        done: list[int] = []
        ql.calibrate(model, data, progress=done.append, **way)
        assert sum(done) == len(data)


def test_a_generator_is_not_read_far_ahead(demo: Case) -> None:
    model, data, _ = demo
    read, done, most = 0, 0, 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal read, most
        for i in range(200):
            read, most = read + 1, max(most, read - done)
            yield data[i % len(data)]

    def progress(count: int) -> None:
        nonlocal done
        done += count

    with ThreadPoolExecutor(2) as two:
        ql.calibrate(model, endless(), executor=two, progress=progress)
    assert done == 200
    assert most <= 24


# ---- models ----------------------------------------------------------------------------------------------


def test_a_model_in_memory_on_processes(demo: Case, pool: ProcessPoolExecutor) -> None:
    model, data, before = demo
    kernel = model.tensor("conv1/kernel").numpy()
    edited = model.replace("conv1/kernel", data=2 * kernel)
    found = ql.calibrate(edited, data, executor=pool)
    assert found == ql.calibrate(edited, data)
    assert found.model == edited.sha256 != before.model
    assert ql.calibrate(ql.read(model.to_bytes()), data, executor=pool) == before


@ODD  # `else` isn't reached
def test_signatures_and_subgraphs() -> None:
    x = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    main = ql.calibrate(branches(), {"c": np.ones(12, bool), "x": x}, signature="main")
    assert {g for g, _ in main.tensors} == {0, 1, 2}
    assert [key for key, state in main.tensors.items() if not state.seen] == [(2, 0), (2, 2)]
    then = ql.calibrate(branches(), {"x": x}, signature="then")
    assert set(then.tensors) == {(1, 0), (1, 2)}
    assert then.tensors[1, 2] == main.tensors[1, 2]
    assert merge(main, then).samples == 24


@ODD
def test_positions_and_aliases() -> None:
    x = np.random.default_rng(0).normal(size=(12, 32)).astype(np.float32)
    expected = ql.calibrate(dense(), x)
    assert ql.calibrate(dense(), {"input": x}) == ql.calibrate(dense(), {"x": x}) == expected
    pairs = list(zip(np.ones(12, bool), x[:, :4], strict=True))
    assert ql.calibrate(branches(), pairs, signature="main").samples == 12


def test_state_is_reset_before_each_sample_or_kept() -> None:
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    apart, kept = ql.calibrate(variables(), x), ql.calibrate(variables(), x, sequence=True)
    assert ql.calibrate(variables(), x[::-1]) == apart != kept
    assert ql.calibrate(variables(), x, sequence=True) == kept  # nothing is left over from the first time
    runner = NumpyRunner(variables())
    outputs = [runner.run(s, keep_state=i > 0)["y"] for i, s in enumerate(x)]
    assert kept["y"].range == (np.min(outputs), np.max(outputs))
    assert kept["state"].range == kept["y"].range


def test_a_worker_that_kept_its_runner_begins_without_state(tmp_path: Path) -> None:
    model = variables()
    model.write(tmp_path / "m.tflite")
    settings = Settings(str(tmp_path / "m.tflite"), model.sha256, sequence=True)
    numbered = list(enumerate(np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)))
    assert collect(settings, numbered) == collect(settings, numbered)
    forget()


@pytest.mark.parametrize("recipe", ["float16", "weight-only"])
def test_constants_behind_dequantize_are_not_observed(demo: Case, recipe: str) -> None:
    model, data, expected = demo
    found = ql.calibrate(ql.quantize(model, recipe), data)
    assert set(found.names.values()) == set(expected.names.values())


@pytest.mark.parametrize("observer", ["histogram", "minmax", "moving-average"])
def test_observers(demo: Case, observer: str) -> None:
    model, data, histogram = demo
    found = ql.calibrate(model, data, observer=observer)
    assert found.observer == observer
    assert {key: (s.min, s.max, s.total) for key, s in found.tensors.items()} == {
        key: (s.min, s.max, s.total) for key, s in histogram.tensors.items()
    }
    assert (found["conv1"].range == histogram["conv1"].range) == (observer != "moving-average")


def test_litert_sees_the_same_tensors(demo: Case) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra 'litert')")
    model, data, expected = demo
    found = ql.calibrate(model, data, runner="litert")
    assert set(found.tensors) == set(expected.tensors)
    assert found.names == expected.names
    for key, state in expected.tensors.items():
        tolerance = 1e-6 * max(-state.min, state.max)
        np.testing.assert_allclose(found.tensors[key].range, state.range, rtol=0, atol=tolerance)
        assert found.tensors[key].count == state.count
    with ThreadPoolExecutor(1) as one:
        assert ql.calibrate(model, data, runner="litert", executor=one) == found


@pytest.mark.parametrize("observer", ["histogram", "minmax", "moving-average"])
@pytest.mark.parametrize("runner", ["numpy", "litert"])
def test_what_weights_are_multiplied_with_is_observed_by_channel(runner: str, observer: str) -> None:
    """And nothing else: not what an operator adds or moves."""
    if runner == "litert":
        pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra 'litert')")
    net = Network()
    x = net.input("x", (1, 4, 4, 3))
    y = net.convolution("conv", x, gaussian((5, 3, 3, 3), 1))
    z = net.convolution("depthwise", y, gaussian((1, 3, 3, 5), 2), depthwise=True)
    z = net.op("ADD", [y, z], "sum", (1, 4, 4, 5), Table("AddOptions"))
    shape = net.constant("shape", np.array([1, 80], np.int32))
    flat = net.op("RESHAPE", [z, shape], "flat", (1, 80), Table("ReshapeOptions", new_shape=[1, 80]))
    model = net.done(net.fully_connected("dense", flat, gaussian((2, 80), 3)))
    data = gaussian((30, 4, 4, 3), 4) + np.arange(3, dtype=np.float32)
    found = ql.calibrate(model, data, runner=runner, observer=observer)
    split = {found.names[key]: state.channels for key, state in found.tensors.items() if state.channels is not None}
    assert set(split) == {"x", "conv", "flat"}
    np.testing.assert_allclose(split["x"].mean, data.astype(np.float64).mean(axis=(0, 1, 2)), rtol=1e-12)
    assert [channels.axis for channels in split.values()] == [3, 3, 1]
    for name, channels in split.items():
        assert np.average(channels.mean) == pytest.approx(found[name].mean, rel=1e-12)


@pytest.mark.parametrize("model", [lstm(), svdf()], ids=["LSTM", "SVDF"])
def test_a_recurrent_operator_needs_no_channels(model: ql.Model) -> None:
    """What its input has in common says nothing of its state."""
    assert channel_axes(model, observed(model, 0)) == {}


def test_threads_are_left_as_they_were(demo: Case) -> None:
    model, data, _ = demo
    before = threading.active_count()
    ql.calibrate(model, data)
    assert threading.active_count() == before


# ---- warnings --------------------------------------------------------------------------------------------


def warned(model: ql.Model, data: Any, **options: Any) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ql.calibrate(model, data, **options)
    assert {w.category for w in caught} <= {CalibrationWarning}
    assert {Path(w.filename).name for w in caught} <= {Path(__file__).name}
    return "\n".join(str(w.message) for w in caught)


def test_suspicious_data_is_warned_about(demo: Case) -> None:
    model, data, _ = demo
    assert warned(model, data) == ""
    assert "9 samples are few" in warned(model, data[:9])
    assert "all 12 samples are identical" in warned(model, [data[0]] * 12)
    assert "image: each sample has one value throughout" in warned(
        model, [np.full_like(data[0], i) for i in range(12)]
    )
    chosen = {"c": np.zeros(12, bool), "x": np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)}
    assert "x: never written in calibration" in warned(branches(), chosen, signature="main")


def test_unlike_ranges_in_a_concatenation_are_warned_about() -> None:
    def model(factor: float) -> ql.Model:
        net = Network()
        x = net.input("x", (1, 4))
        boxes = net.fully_connected("boxes", x, np.float32(factor) * np.eye(4, dtype="f4"), np.zeros(4, "f4"))
        return net.done(
            net.op("CONCATENATION", [x, boxes], "joined", (1, 8), ql.tflite.Table("ConcatenationOptions", axis=1))
        )

    x = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    assert warned(model(15), x) == ""
    assert "joined: CONCATENATION of 'boxes' (up to" in warned(model(17), x)


@pytest.mark.parametrize("kind", ["fake-quant", "stated"])
def test_an_input_of_another_range_than_the_model_says_is_warned_about(kind: str) -> None:
    net = Network()
    x = net.input("x", (1, 4))
    if kind == "stated":
        stated = ql.tflite.Table("QuantizationParameters", min=np.float32([-1]), max=np.float32([1]))
        net.graph.tensors[x] = net.graph.tensors[x].replace(quantization=stated)
        y = net.op("RELU", [x], "y", (1, 4))
    else:
        y = net.op("FAKE_QUANT", [x], "y", (1, 4), ql.tflite.Table("FakeQuantOptions", min=-1, max=1, num_bits=8))
    model, data = net.done(y), np.random.default_rng(0).uniform(-1, 1, size=(12, 4)).astype(np.float32)
    assert warned(model, data) == ""
    assert "x: values from" in warned(model, 128 * data + 128)


def test_pixels_that_a_converter_stated_are_no_expectation() -> None:
    net = Network()
    x = net.input("x", (1, 4))
    stated = ql.tflite.Table("QuantizationParameters", min=np.float32([0]), max=np.float32([255]))
    net.graph.tensors[x] = net.graph.tensors[x].replace(quantization=stated)
    data = np.random.default_rng(0).uniform(-1, 1, size=(12, 4)).astype(np.float32)
    assert warned(net.done(net.op("RELU", [x], "y", (1, 4))), data) == ""

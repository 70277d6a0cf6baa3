"""What goes wrong in a calibration is said in one line that names the sample, and can be gone on from."""

from __future__ import annotations

import os
import pickle
import signal
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.calibration import load, merge
from quantlib.errors import InvalidValue, NotFound, QuantlibError, WorkerFailed, WriteFailed
from tests.support.models import branches, custom_operator, dense, variables
from tests.support.workers import processes

pytestmark = pytest.mark.filterwarnings("ignore::quantlib.errors.CalibrationWarning")


@pytest.fixture(scope="module")
def model() -> ql.Model:
    return ql.read(ql.demo.MODEL)


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    return np.load(ql.demo.CALIBRATION)["image"][:40]


@pytest.fixture(scope="module")
def whole(model: ql.Model, data: np.ndarray) -> ql.Statistics:
    return ql.calibrate(model, data)


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with processes(2) as executor:
        yield executor


def message(kind: type[QuantlibError], model: ql.Model, data: Any, **options: Any) -> str:
    """The one line with which a calibration ends."""
    with pytest.raises(kind) as caught:
        ql.calibrate(model, data, **options)
    assert type(caught.value) is kind
    text = str(caught.value)
    assert "\n" not in text
    assert str(pickle.loads(pickle.dumps(caught.value))) == text
    return text


def spoiled(data: np.ndarray, at: int, value: Any) -> list[Any]:
    samples = list(data)
    samples[at] = value
    return samples


# ---- samples ---------------------------------------------------------------------------------------------


def with_value(sample: np.ndarray, value: float) -> np.ndarray:
    sample = sample.copy()
    sample[2, 3, 0] = value
    return sample


SPOILED: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "nan": (
        lambda s: with_value(s, np.nan),
        "sample 7: input 'image': 1 of 64 values are NaN or infinite; repair or drop the sample",
    ),
    "inf": (lambda s: with_value(s, -np.inf), "sample 7: input 'image': 1 of 64 values are NaN or infinite"),
    "shape": (lambda s: s[:4], "sample 7: input 'image': shape [1, 4, 8, 1] where [1, 8, 8, 1] is required"),
    "rank": (lambda s: s[None, None], "sample 7: input 'image': shape [1, 1, 8, 8, 1] where"),
    "type": (lambda s: (255 * s).astype(np.uint8), "sample 7: input 'image': uint8 values where FLOAT32 is required"),
    "text": (lambda s: "seven", "sample 7: input 'image': <U5 values"),
    "name": (lambda s: {"picture": s}, "sample 7: no array for the input 'image'; the sample has picture"),
    "names": (lambda s: {"image": s, "label": 3}, "sample 7: the sample has an array 'label' too many"),
    "count": (lambda s: [s, s], "sample 7: a sample of 2 arrays, and the model has 1 input: image"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_bad_sample_is_named(model: ql.Model, data: np.ndarray, pool: Executor, what: str) -> None:
    spoil, expected = SPOILED[what]
    bad = spoiled(data, 7, spoil(data[7]))
    for options in ({}, {"executor": pool}, {"map": map}, {"sequence": True}):
        assert message(InvalidValue, model, iter(bad), **options).startswith(expected)


def test_an_input_of_several_is_named() -> None:
    samples = [{"c": np.bool_(True), "x": np.zeros(4, np.float32)} for _ in range(3)]
    samples[2]["x"] = np.full(4, np.nan, np.float32)
    text = message(InvalidValue, branches(), samples, signature="main")
    assert text.startswith("sample 2: input 'x': 4 of 4 values are NaN")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda x: iter(()), "the data has no samples; a generator can be read only once, so pass a new one"),
        (lambda x: x[:0], "the data has no samples"),
        (lambda x: {"image": x[:0]}, "the data has no samples"),
        (lambda x: lambda: iter(()), "the data has no samples"),
        (lambda x: np.float32(1), "a float32 holds no samples; give arrays, a file, or an iterable"),
        (lambda x: np.array(1.0), "the data is a single number; its first axis must count samples"),
        (lambda x: {"image": 1.0}, "array 'image' is a single number"),
        (lambda x: None, "a NoneType holds no samples"),
        (lambda x: {"image": x, "more": x[:3]}, "the inputs have different numbers of samples: image 40, more 3"),
    ],
)
def test_data_without_samples(
    model: ql.Model, data: np.ndarray, make: Callable[[np.ndarray], Any], expected: str
) -> None:
    assert message(InvalidValue, model, make(data)).startswith(expected)


def test_a_generator_is_read_once(model: ql.Model, data: np.ndarray) -> None:
    generator = (sample for sample in data)
    ql.calibrate(model, generator)
    assert message(InvalidValue, model, generator).startswith("the data has no samples; a generator")


def test_bad_files(model: ql.Model, data: np.ndarray, tmp_path: Path) -> None:
    assert "no such file" in message(NotFound, model, tmp_path / "none.npz")
    (tmp_path / "empty").mkdir()
    assert "no .npy or .npz file in the folder" in message(NotFound, model, tmp_path / "empty")
    np.savez(tmp_path / "none.npz", image=data[:0])
    text = message(InvalidValue, model, tmp_path / "none.npz")
    assert text == f"{tmp_path / 'none.npz'}: no samples in it; the first axis of each array counts them"
    for name, content in (("text.npy", b"not an array"), ("empty.npz", b""), ("cut.npz", None)):
        np.savez(tmp_path / name, image=data) if content is None else (tmp_path / name).write_bytes(content)
        if content is None:
            (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:3000])
        text = message(InvalidValue, model, tmp_path / name)
        assert text.startswith(f"{tmp_path / name}: not an .npy or .npz file of plain arrays: ")
    np.savez(tmp_path / "objects.npz", image=np.array([None, "x"], object))
    assert "not an .npy or .npz file of plain arrays" in message(InvalidValue, model, tmp_path / "objects.npz")
    np.savez(tmp_path / "unlike.npz", image=data, other=data[:1])
    text = message(InvalidValue, model, tmp_path / "unlike.npz")
    assert text.startswith(f"{tmp_path / 'unlike.npz'}: the inputs have different numbers of samples")
    np.save(tmp_path / "single.npy", data[0, 0, 0, 0])
    assert "is a single number" in message(InvalidValue, model, tmp_path / "single.npy")


def test_an_array_for_several_inputs() -> None:
    text = message(InvalidValue, branches(), np.zeros((3, 4), np.float32), signature="main")
    assert text == "one array for a model with 2 inputs; give a mapping of c, x"


def test_an_error_of_the_callers_own_generator_is_left_alone(model: ql.Model, data: np.ndarray) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield data[0]
        raise ZeroDivisionError("mine")

    for options in ({}, {"map": map}):
        with pytest.raises(ZeroDivisionError, match="mine"):
            ql.calibrate(model, broken(), **options)


# ---- options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"observer": "mode"}, "observer 'mode' is unknown; use one of histogram, minmax, moving-average"),
        ({"runner": "tpu"}, "there is no runner 'tpu'; known are numpy, litert"),
        ({"signature": "encode"}, "there is no signature 'encode'; the model has serving_default"),
    ],
)
def test_unknown_names(model: ql.Model, data: np.ndarray, options: dict[str, Any], expected: str) -> None:
    assert message(NotFound, model, data, **options) == expected


@pytest.mark.parametrize("order", [{"sequence": True}, {"observer": "moving-average"}])
def test_what_depends_on_the_order_is_not_divided(order: dict[str, Any], tmp_path: Path) -> None:
    x = np.ones((12, 6), np.float32)
    with ThreadPoolExecutor(1) as one:
        for way in ({"executor": one}, {"map": map}, {"shard": (1, 2)}, {"checkpoint": tmp_path / "c"}):
            assert "depends on the order of the samples" in message(InvalidValue, variables(), x, **order, **way)
    assert ql.calibrate(variables(), x, shard=(1, 1), **order).samples == 12


def test_impossible_options(model: ql.Model, data: np.ndarray, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as one:
        assert "give one of them" in message(InvalidValue, model, data, executor=one, map=map)
    for shard in ((0, 3), (4, 3)):
        assert "the first number must lie in 1..3" in message(InvalidValue, model, data, shard=shard)
    assert "the shard has none" in message(InvalidValue, model, data[:2], shard=(3, 3))
    assert "a Model is required" in message(InvalidValue, "m.tflite", data)


def test_a_model_that_cannot_run_is_refused_before_samples_are_read() -> None:
    def never() -> Iterator[np.ndarray]:
        pytest.fail("samples were read")
        yield

    assert "Unheard-of" in message(NotFound, custom_operator(), never())


def test_statistics_of_another_model(model: ql.Model, whole: ql.Statistics) -> None:
    other = ql.calibrate(dense(), np.ones((12, 32), np.float32))
    with pytest.raises(InvalidValue, match=f"SHA-256 {model.sha256[:12]}.* and {dense().sha256[:12]}"):
        merge(whole, other)


def test_a_model_file_that_changes_meanwhile(
    model: ql.Model, data: np.ndarray, tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    """A worker reads another file than the one that is calibrated."""
    path = tmp_path / "m.tflite"
    path.write_bytes(ql.demo.MODEL.read_bytes())
    mine = ql.read(path)

    def replaced() -> Iterator[np.ndarray]:
        yield data[0]
        ql.quantize(model, "dynamic").write(path)
        yield from data[1:]

    assert "another model than the one that is calibrated" in message(InvalidValue, mine, replaced(), executor=pool)


# ---- interruption and checkpoints ------------------------------------------------------------------------


def killing(executor: ProcessPoolExecutor, data: np.ndarray, at: int) -> Iterator[np.ndarray]:
    """Samples, before one of which a process of the pool is killed."""
    for number, sample in enumerate(data):
        if number == at:
            os.kill(next(iter(executor._processes)), signal.SIGKILL)
        yield sample


def test_a_killed_worker_and_going_on(
    model: ql.Model, data: np.ndarray, whole: ql.Statistics, tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    path = tmp_path / "stats.npz.partial"
    with processes(2) as executor:
        text = message(WorkerFailed, model, killing(executor, data, 30), executor=executor, checkpoint=path)
    assert text.startswith("samples ")
    assert "a worker failed: BrokenProcessPool: " in text
    assert text.endswith(f"go on with checkpoint={str(path)!r} (--resume)")
    done = load(path).samples
    assert 0 < done < len(data)
    progress: list[int] = []
    found = ql.calibrate(model, data, executor=pool, checkpoint=path, progress=progress.append)
    assert found == whole
    assert sum(progress) == len(data)
    assert list(tmp_path.iterdir()) == []
    found.save(tmp_path / "a")
    whole.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_killed_worker_without_a_checkpoint(model: ql.Model, data: np.ndarray) -> None:
    with processes(1) as executor:
        executor.submit(int).result()
        text = message(WorkerFailed, model, killing(executor, data, 0), executor=executor)
    assert text.endswith("; begin anew")


class Exits(ThreadPoolExecutor):
    """Runs one task, then sends `os._exit` to a process instead of the work."""

    def __init__(self, broken: ProcessPoolExecutor, good: int) -> None:
        super().__init__(1)
        self.broken, self.good = broken, good

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.good -= 1
        return super().submit(fn, *args, **kwargs) if self.good >= 0 else self.broken.submit(os._exit, 3)


def test_a_worker_that_exits_and_going_on(
    model: ql.Model, data: np.ndarray, whole: ql.Statistics, tmp_path: Path
) -> None:
    path = tmp_path / "c"
    with processes(1) as broken, Exits(broken, 3) as executor:
        text = message(WorkerFailed, model, data, executor=executor, checkpoint=path)
    assert text.startswith("samples 12 to 15: a worker failed: BrokenProcessPool")
    assert load(path).samples == 12
    for observer in ("minmax", "histogram"):
        if observer == "minmax":
            assert "a checkpoint with another observer ('histogram' where 'minmax' is asked for)" in message(
                InvalidValue, model, data, observer=observer, checkpoint=path
            )
        else:
            assert ql.calibrate(model, data, checkpoint=path) == whole


def broken_off(model: ql.Model, data: np.ndarray, path: Path, at: int = 21, **options: Any) -> None:
    """Leave a checkpoint of the samples before one that has NaN."""
    bad = spoiled(data, at, np.full_like(data[at], np.nan))
    with ThreadPoolExecutor(1) as one, pytest.raises(InvalidValue, match=f"^sample {at}: input 'image': 64 of 64"):
        ql.calibrate(model, bad, checkpoint=path, executor=one, **options)


def test_a_repaired_sample(model: ql.Model, data: np.ndarray, whole: ql.Statistics, tmp_path: Path) -> None:
    path = tmp_path / "c"
    broken_off(model, data, path)
    assert load(path).samples == 20
    for way in ({"map": map}, {}):
        kept = path.read_bytes()
        assert ql.calibrate(model, data, checkpoint=path, **way) == whole
        assert not path.exists()
        path.write_bytes(kept)


def test_a_shard_goes_on(model: ql.Model, data: np.ndarray, whole: ql.Statistics, tmp_path: Path) -> None:
    path = tmp_path / "c"
    broken_off(model, data, path, 32, shard=(1, 2))
    assert "another shard ([1, 2] where [2, 2]" in message(InvalidValue, model, data, checkpoint=path, shard=(2, 2))
    halves = [ql.calibrate(model, data, shard=(1, 2), checkpoint=path), ql.calibrate(model, data, shard=(2, 2))]
    assert merge(*halves) == whole


def test_a_checkpoint_of_something_else(model: ql.Model, data: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "c"
    broken_off(model, data, path)
    other = model.replace("conv1/bias", data=np.zeros(16, np.float32))
    assert "a checkpoint with another sha256" in message(InvalidValue, other, data, checkpoint=path)
    assert "sample 0: other values than when" in message(InvalidValue, model, data[::-1], checkpoint=path)
    assert "the data has no sample 12, which" in message(InvalidValue, model, data[:12], checkpoint=path)
    assert load(path).samples == 20  # still there
    whole_file = path.read_bytes()
    for content in (b"", b"text", whole_file[: len(whole_file) // 2]):
        path.write_bytes(content)
        assert "not a checkpoint of a calibration" in message(InvalidValue, model, data, checkpoint=path)
    ql.calibrate(model, data).save(path)
    assert "not a checkpoint of a calibration" in message(InvalidValue, model, data, checkpoint=path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("checkpoint.json", "[1]")
    assert "not a checkpoint of a calibration" in message(InvalidValue, model, data, checkpoint=path)


def test_a_checkpoint_that_cannot_be_written(model: ql.Model, data: np.ndarray, tmp_path: Path) -> None:
    bad = spoiled(data, 30, np.full_like(data[0], np.nan))
    text = message(WriteFailed, model, bad, checkpoint=tmp_path / "none" / "c")
    assert "no" in text


def test_what_is_complete_is_saved_from_time_to_time(
    model: ql.Model, data: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where nobody gets to clean up: here, as samples are read."""
    monkeypatch.setattr("quantlib.runners.checkpoint._INTERVAL", 0.0)
    path, counts = tmp_path / "c", []

    def watched() -> Iterator[np.ndarray]:
        for sample in data:
            counts.append(load(path).samples if path.exists() else 0)
            yield sample

    ql.calibrate(model, watched(), map=map, checkpoint=path)
    assert counts[-1] == 36
    assert sorted(set(counts)) == list(range(0, 40, 4))


def test_an_interrupt_keeps_what_is_done(
    model: ql.Model, data: np.ndarray, whole: ql.Statistics, tmp_path: Path
) -> None:
    def interrupted() -> Iterator[np.ndarray]:
        yield from data[:25]
        raise KeyboardInterrupt

    path = tmp_path / "c"
    with ThreadPoolExecutor(1) as one, pytest.raises(KeyboardInterrupt):
        ql.calibrate(model, interrupted(), executor=one, checkpoint=path)
    assert load(path).samples >= 16
    assert ql.calibrate(model, data, checkpoint=path) == whole


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "samples.npz"
    os.mkfifo(pipe)
    with pytest.raises(InvalidValue, match="a pipe or device, and data are read more than once"):
        ql.calibrate(ql.read(ql.demo.MODEL), pipe)

"""`quantlib calibrate` and `quantlib run`: files in, files out, one line for each mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.calibration import load
from quantlib.cli import calibrate as command
from quantlib.cli import main
from tests.support.command import run
from tests.support.models import branches, dense, variables
from tests.support.workers import processes

DEMO, DATA = str(ql.demo.MODEL), str(ql.demo.CALIBRATION)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Statistics of the demo model, by threads."""
    path = tmp_path_factory.mktemp("whole") / "all.npz"
    ql.calibrate(ql.read(DEMO), DATA).save(path)
    return path


# ---- calibrate -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--jobs", "2"), ("--runner", "numpy", "--observer", "histogram")])
def test_it_writes_what_the_api_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: Path, options: tuple[str, ...]
) -> None:
    before = dict(os.environ)
    out = tmp_path / "stats.npz"
    status, text, error = run(capsys, "calibrate", DEMO, "--data", DATA, "-o", out, *options)
    assert (status, error) == (0, "")
    assert out.read_bytes() == whole.read_bytes()
    assert text == f"{load(whole)}\n"
    assert text.startswith("100 samples, 12 tensors, observer histogram, model ")
    assert dict(os.environ) == before
    assert [p.name for p in tmp_path.iterdir()] == ["stats.npz"]


def test_shards_merge_in_any_order(tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: Path) -> None:
    parts = [tmp_path / f"{i}.npz" for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):
        assert run(capsys, "calibrate", DEMO, "--data", DATA, "-o", part, "--shard", f"{i}/3")[0] == 0
    for order in permutations(parts):
        status, text, error = run(capsys, "calibrate", "--merge", *order, "-o", tmp_path / "all.npz")
        assert (status, error) == (0, "")
        assert text.startswith("100 samples, 12 tensors")
        assert (tmp_path / "all.npz").read_bytes() == whole.read_bytes()


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: Path) -> None:
    out = tmp_path / "s.npz"
    found = json.loads(run(capsys, "calibrate", DEMO, "--data", DATA, "-o", out, "--json")[1])
    assert found == {"output": str(out), **load(whole).to_dict()}
    again = json.loads(run(capsys, "calibrate", "--merge", out, "-o", tmp_path / "t.npz", "--json")[1])
    assert again == {**found, "output": str(tmp_path / "t.npz")}


@pytest.mark.parametrize("observer", ["minmax", "moving-average"])
def test_observers(tmp_path: Path, capsys: pytest.CaptureFixture[str], observer: str) -> None:
    words = ("--data", DATA, "-o", tmp_path / "s", "--observer", observer)
    assert run(capsys, "calibrate", DEMO, *words)[0] == 0
    assert load(tmp_path / "s") == ql.calibrate(ql.read(DEMO), DATA, observer=observer)


def test_signature_and_sequence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    for model, name in ((variables(), "v"), (branches(), "b")):
        model.write(tmp_path / f"{name}.tflite")
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "x4.npy", x[:, :4])
    words = ("calibrate", tmp_path / "v.tflite", "--data", tmp_path / "x.npy", "-o", tmp_path / "s")
    run(capsys, *words, "--sequence")
    assert load(tmp_path / "s") == ql.calibrate(ql.read(tmp_path / "v.tflite"), x, sequence=True)
    words = ("calibrate", tmp_path / "b.tflite", "--data", tmp_path / "x4.npy", "-o", tmp_path / "s")
    assert run(capsys, *words, "--signature", "then")[0] == 0
    assert set(load(tmp_path / "s").tensors) == {(1, 0), (1, 2)}
    status, _, error = run(capsys, *words)
    assert (status, error.count("\n")) == (2, 1)
    assert "the model has the signatures main, then, then_again; name one" in error


def test_warnings_are_lines_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "few.npz", image=np.ones((3, 8, 8, 1), np.float32))
    status, _, error = run(capsys, "calibrate", DEMO, "--data", tmp_path / "few.npz", "-o", tmp_path / "s")
    assert status == 0
    lines = error.splitlines()
    assert all(line.startswith("quantlib calibrate: warning: ") for line in lines)
    for text in ("all 3 samples are identical", "image: each sample has one value throughout", "3 samples are few"):
        assert sum(text in line for line in lines) == 1


@pytest.fixture
def bad(tmp_path: Path, whole: Path) -> Path:
    """A folder of data that doesn't fit, and of statistics that don't belong together."""
    image = np.load(DATA)["image"][:12]
    spoiled = image.copy()
    spoiled[5, 0, 0] = np.nan
    for name, arrays in {
        "nan": {"image": spoiled},
        "shape": {"image": image[:, :4]},
        "type": {"image": (image * 255).astype(np.uint8)},
        "name": {"picture": image},
        "none": {"image": image[:0]},
    }.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
    (tmp_path / "text.npz").write_text("not an archive")
    (tmp_path / "folder").mkdir()
    (tmp_path / "all.npz").write_bytes(whole.read_bytes())
    with pytest.warns(ql.errors.CalibrationWarning):
        ql.calibrate(dense(), np.ones((12, 32), np.float32)).save(tmp_path / "other.npz")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("calibrate {demo} --data {bad}/nan.npz -o {bad}/o", "sample 5: input 'image': 1 of 64 values are NaN"),
        ("calibrate {demo} --data {bad}/nan.npz -o {bad}/o --jobs 1", "sample 5: input 'image': 1 of 64 values"),
        ("calibrate {demo} --data {bad}/shape.npz -o {bad}/o", "sample 0: input 'image': shape [1, 4, 8, 1]"),
        ("calibrate {demo} --data {bad}/type.npz -o {bad}/o", "sample 0: input 'image': uint8 values"),
        ("calibrate {demo} --data {bad}/name.npz -o {bad}/o", "sample 0: no array for the input 'image'"),
        ("calibrate {demo} --data {bad}/none.npz -o {bad}/o", "none.npz: no samples in it"),
        ("calibrate {demo} --data {bad}/text.npz -o {bad}/o", "not an .npy or .npz file of plain arrays"),
        ("calibrate {demo} --data {bad}/missing.npz -o {bad}/o", "no such file"),
        ("calibrate {demo} --data {bad}/folder -o {bad}/o", "no .npy or .npz file in the folder"),
        ("calibrate {demo} --data {data} -o {bad}/o --signature encode", "there is no signature 'encode'"),
        ("calibrate {demo} --data {data} -o {bad}/nowhere/o", "nowhere: no such folder"),
        ("calibrate {demo} --data {data} -o {bad}/folder", "not a regular file"),
        ("calibrate {bad}/text.npz --data {data} -o {bad}/o", "TFL3"),
        ("calibrate {demo} -o {bad}/o", "--data missing"),
        ("calibrate -o {bad}/o", "MODEL and --data missing"),
        ("calibrate {demo} --data {data}", "-o/--output"),
        ("calibrate {demo} --data {data} -o {bad}/o --observer mode", "invalid choice: 'mode'"),
        ("calibrate {demo} --data {data} -o {bad}/o --shard 4/3", "I/N is required"),
        ("calibrate {demo} --data {data} -o {bad}/o --jobs 0", "a number of processes is required"),
        ("calibrate {demo} --data {data} -o {bad}/o --sequence --jobs 2", "depends on the order"),
        ("calibrate {demo} --data {data} -o {bad}/o --sequence --resume", "depends on the order"),
        ("calibrate {demo} --data {data} -o {bad}/o --observer moving-average --shard 1/2", "depends on the order"),
        ("calibrate --merge {bad}/all.npz {bad}/other.npz -o {bad}/o", "other.npz beside"),
        ("calibrate --merge {bad}/all.npz {bad}/other.npz -o {bad}/o", "statistics of models with SHA-256"),
        ("calibrate --merge {bad}/all.npz {bad}/all.npz -o {bad}/o", "named twice"),
        ("calibrate --merge {bad}/text.npz -o {bad}/o", "text.npz: no archive"),
        ("calibrate --merge {bad}/missing.npz -o {bad}/o", "missing.npz: No such file"),
        ("calibrate {demo} --merge {bad}/all.npz -o {bad}/o", "MODEL says nothing beside --merge"),
        ("calibrate --merge {bad}/all.npz -o {bad}/o --jobs 2", "--jobs says nothing beside --merge"),
        ("run {demo} --data {bad}/shape.npz -o {bad}/o", "sample 0: input 'image': shape [1, 4, 8, 1]"),
        ("run {demo} --data {bad}/none.npz -o {bad}/o", "none.npz: no samples in it"),
        ("run {demo} --data {data} -o {bad}/nowhere/o", "nowhere: no such folder"),
        ("run {demo} -o {bad}/o", "--data"),
    ],
)
def test_bad_requests_are_one_line_and_exit_2(
    bad: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    status, out, error = run(capsys, *(w.format(bad=bad, demo=DEMO, data=DATA) for w in words.split()))
    assert (status, out) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert not (bad / "o").exists()


# ---- interruption ----------------------------------------------------------------------------------------


def killing(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Have a process of `--jobs` killed when a piece of work is submitted."""

    @contextmanager
    def pool(jobs: int | None) -> Iterator[ProcessPoolExecutor]:
        with processes(jobs or 1) as executor:
            count, submit = 0, executor.submit

            def counted(*words: Any) -> Any:
                nonlocal count
                count += 1
                if count == at:
                    os.kill(next(iter(executor._processes)), signal.SIGKILL)
                return submit(*words)

            monkeypatch.setattr(executor, "submit", counted)
            yield executor

    monkeypatch.setattr(command, "processes", pool)


def test_a_killed_process_and_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, partial = tmp_path / "s.npz", tmp_path / "s.npz.partial"
    words = ("calibrate", DEMO, "--data", DATA, "-o", out, "--jobs", "2")
    with monkeypatch.context() as patch:
        killing(patch, 9)
        status, text, error = run(capsys, *words)
    assert (status, text, error.count("\n")) == (2, "", 1)
    assert "a worker failed: BrokenProcessPool" in error
    assert error.endswith(f"go on with checkpoint={str(partial)!r} (--resume)\n")
    assert not out.exists()
    assert 0 < load(partial).samples < 100
    status, text, error = run(capsys, *words)
    assert (status, text) == (2, "")
    assert error == (
        f"quantlib calibrate: {partial}: an earlier calibration was broken off; go on from it with --resume, "
        "or remove it\n"
    )
    status, _, error = run(capsys, *words, "--resume")
    assert (status, error) == (0, "")
    assert out.read_bytes() == whole.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["s.npz"]


def test_resume_begins_where_there_is_nothing_to_go_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: Path
) -> None:
    assert run(capsys, "calibrate", DEMO, "--data", DATA, "-o", tmp_path / "s", "--resume")[0] == 0
    assert (tmp_path / "s").read_bytes() == whole.read_bytes()


def test_an_interrupt_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*words: Any, checkpoint: str | None, **options: Any) -> None:
        if checkpoint:
            Path(checkpoint).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("quantlib.api.calibrate", interrupted)
    words = ("calibrate", DEMO, "--data", DATA, "-o", tmp_path / "s")
    status, _, error = run(capsys, *words)
    assert (status, error) == (
        130,
        f"quantlib calibrate: interrupted; go on from {tmp_path / 's'}.partial with --resume\n",
    )
    status, _, error = run(capsys, *words, "--sequence")
    assert (status, error) == (130, "quantlib calibrate: interrupted; nothing is kept\n")


def test_as_a_process_with_processes_of_its_own(tmp_path: Path, whole: Path) -> None:
    words = ["calibrate", DEMO, "--data", DATA, "-o", str(tmp_path / "s"), "--jobs", "2"]
    done = subprocess.run([sys.executable, "-m", "quantlib", *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert (tmp_path / "s").read_bytes() == whole.read_bytes()


# ---- run -------------------------------------------------------------------------------------------------


def test_run_writes_outputs_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.npz"
    status, text, error = run(capsys, "run", DEMO, "--data", ql.demo.SAMPLES, "-o", out)
    assert (status, text, error) == (0, "probabilities float32 [450, 10]\n", "")
    with np.load(out) as arrays:
        assert arrays.files == ["probabilities"]
        answers = arrays["probabilities"].argmax(axis=1)
    assert (answers == np.load(ql.demo.LABELS)["labels"]).mean() > 0.99
    assert [p.name for p in tmp_path.iterdir()] == ["out.npz"]


def test_run_with_a_runtime(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "run",
        str(ql.demo.MODEL),
        "--data",
        str(ql.demo.SAMPLES),
        "-o",
        str(tmp_path / "out.npz"),
        "--runtime",
    ]
    for runtime in ("reference", "builtin", "xnnpack"):
        assert main([*command, runtime]) == 0
    assert main([*command, "other"]) == 2
    known = "NumPy has no runtime 'other'; it has reference, builtin, xnnpack"
    assert capsys.readouterr().err.splitlines()[-1].endswith(known)


def test_run_with_all_tensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.npz"
    words = ("run", DEMO, "--data", DATA, "-o", out, "--all-tensors", "--json")
    shown = json.loads(run(capsys, *words)[1])["arrays"]
    with np.load(out) as arrays:
        assert set(arrays.files) == set(shown) >= {"image", "conv1", "probabilities"}
        np.testing.assert_array_equal(arrays["image"], np.load(DATA)["image"])
        assert shown["conv1"] == {"dtype": "float32", "shape": list(arrays["conv1"].shape)}
        assert float(arrays["conv1"].max()) == pytest.approx(ql.calibrate(ql.read(DEMO), DATA)["conv1"].max, rel=1e-5)


def test_run_writes_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"x": "file", "hidden": "a/b:0;c", "y": "é ü"}
    model = dense()
    graph = model.root.subgraphs[0]
    tensors = [t.replace(name=names.get(t.name, t.name)) for t in graph.tensors]
    ql.Model(model.root.replace(subgraphs=[graph.replace(tensors=tensors)])).write(tmp_path / "m.tflite")
    np.savez(tmp_path / "x.npz", input=np.ones((3, 32), np.float32))
    words = ("run", tmp_path / "m.tflite", "--data", tmp_path / "x.npz", "-o", tmp_path / "o", "--all-tensors")
    assert run(capsys, *words)[0] == 0
    with np.load(tmp_path / "o") as arrays:
        assert set(arrays.files) == set(names.values())


def test_run_keeps_or_resets_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    variables().write(tmp_path / "m.tflite")
    np.save(tmp_path / "x.npy", np.ones((3, 6), np.float32))
    found = {}
    for words in ((), ("--sequence",)):
        run(capsys, "run", tmp_path / "m.tflite", "--data", tmp_path / "x.npy", "-o", tmp_path / "o", *words)
        with np.load(tmp_path / "o") as arrays:
            found[words] = arrays["y"]
    np.testing.assert_array_equal(found[()][0], found[()][2])
    np.testing.assert_array_equal(found["--sequence",][0], found[()][0])
    assert (found["--sequence",][2] != found[()][2]).any()

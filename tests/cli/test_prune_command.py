"""`quantlib prune`: every flag, every mistake."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

import quantlib as ql
from quantlib.evaluation import refit, sensitivity
from quantlib.passes import edited
from tests.support import pruned
from tests.support.command import run
from tests.support.litert import RESOLVERS
from tests.support.litert import run as run_litert

DEMO, DATA = str(ql.demo.MODEL), str(ql.demo.CALIBRATION)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("", {}),
        ("--sparsity 0.75", {"sparsity": 0.75}),
        ("--sparsity 0.75 --encode", {"sparsity": 0.75, "encode": True}),
        ("--pattern 2:4", {"pattern": "2:4"}),
        ("--pattern 1x4 --first-last --encode", {"pattern": "1x4", "first_last": True, "encode": True}),
        ("--ranking global --min-elements 100", {"ranking": "global", "min_elements": 100}),
        ("--only conv2 --only conv3 --skip conv3", {"only": ("conv2", "conv3"), "skip": "conv3"}),
        ("--only-type CONV_2D", {"only_types": "CONV_2D"}),
        ("--skip-type CONV_2D --sparsity 0", {"skip_types": "CONV_2D", "sparsity": 0.0}),
    ],
)
def test_it_writes_what_the_api_makes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, options: dict[str, Any]
) -> None:
    out = tmp_path / "pruned.tflite"
    status, text, error = run(capsys, "prune", DEMO, "-o", out, *words.split())
    edited = ql.prune(ql.read(DEMO), **options)
    assert (status, error) == (0, "")
    assert out.read_bytes() == edited.model.to_bytes()
    size = out.stat().st_size
    assert text == f"{out}: 196,416 -> {size:,} bytes ({size / 196_416:.3f})\n{edited}\n"
    for resolver in RESOLVERS:
        run_litert(out.read_bytes(), resolver)


def test_by_sensitivity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pruned.tflite"
    words = ("--sparsity", "0.75", "--sensitivity", "--data", DATA, "--runner", "numpy", "--encode")
    status, _, error = run(capsys, "prune", DEMO, "-o", out, *words)
    assert (status, error) == (0, "")
    model, edit = ql.read(DEMO), functools.partial(ql.prune, sparsity=0.75)
    errors = sensitivity(model, DATA, edit, runner="numpy")
    assert out.read_bytes() == edit(model, sensitivity=errors, encode=True).model.to_bytes()
    assert out.read_bytes() != edit(model, encode=True).model.to_bytes()


def test_refitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pruned.tflite"
    words = ("--sparsity", "0.75", "--ranking", "global", "--refit", "--data", DATA, "--runner", "numpy", "--encode")
    status, text, error = run(capsys, "prune", DEMO, "-o", out, *words)
    assert (status, error) == (0, "")
    model, edit = ql.read(DEMO), functools.partial(ql.prune, sparsity=0.75, ranking="global")
    made = edit(model, refit=refit(model, DATA, edit, runner="numpy"), encode=True)
    assert out.read_bytes() == made.model.to_bytes()
    assert "refitted 3" in text
    for resolver in RESOLVERS:
        run_litert(out.read_bytes(), resolver)


def test_channels_ranked_all_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, model = tmp_path / "pruned.tflite", ql.read(DEMO)
    assert run(capsys, "prune", DEMO, "-o", out, "--channels", "0.25", "--ranking", "global")[0] == 0
    assert out.read_bytes() == ql.prune_channels(model, 0.25, ranking="global").model.to_bytes()
    assert out.read_bytes() != ql.prune_channels(model, 0.25).model.to_bytes()


@pytest.mark.parametrize("words", [(), ("--channels", "0.25")])
def test_statistics_correct_biases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    out, stats, model = tmp_path / "pruned.tflite", tmp_path / "stats.npz", ql.read(DEMO)
    found = ql.calibrate(model, DATA)
    found.save(stats)
    assert run(capsys, "prune", DEMO, "-o", out, "--stats", stats, *words)[0] == 0
    made = ql.prune_channels(model, 0.25, statistics=found) if words else ql.prune(model, statistics=found)
    assert made.totals["biases_corrected"] > 0
    assert out.read_bytes() == made.model.to_bytes()


def test_large_files_are_packed_where_that_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "pruned.tflite"
    monkeypatch.setattr(edited, "_LARGE", 100_000)
    status, text, _ = run(capsys, "prune", DEMO, "-o", out)
    assert status == 0
    assert text.endswith(
        "note: 196,416 bytes weren't deflated to see their size then; deflated=True (--deflated) does\n"
    )
    assert "deflated_before" not in text
    assert "deflated_before 1" in run(capsys, "prune", DEMO, "-o", out, "--deflated")[1]
    found = json.loads(run(capsys, "prune", DEMO, "-o", out, "--json")[1])
    assert found["notes"][0].startswith("196,416 bytes weren't deflated")


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pruned.tflite"
    status, text, _ = run(capsys, "prune", DEMO, "-o", out, "--sparsity", "0.75", "--encode", "--json")
    found = json.loads(text)
    assert status == 0
    assert (found["verb"], found["bytes_before"], found["bytes_after"]) == ("prune", 196_416, out.stat().st_size)
    assert found["totals"]["sparsity"] == 0.75
    assert found["done"][0]["where"] == "conv2/kernel"
    assert found["done"][0]["form"] == "stored sparse behind DENSIFY"
    assert {line["where"] for line in found["kept"]} >= {"conv1/kernel", "logits/kernel"}


def test_the_input_may_be_the_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.tflite"
    pruned.model().write(path)
    assert run(capsys, "prune", path, "-o", path)[0] == 0
    assert path.read_bytes() == ql.prune(pruned.model()).model.to_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--sparsity 1.5", "sparsity is 1.5; a number of 0 or more and less than 1 is required"),
        ("--sparsity 1", "sparsity is 1.0"),
        ("--sparsity -0.5", "sparsity is -0.5"),
        ("--sparsity nan", "sparsity is nan"),
        ("--sparsity half", "invalid float value: 'half'"),
        ("--pattern 4:2", "pattern is '4:2'"),
        ("--pattern 2:4 --sparsity 0.9", "sparsity 0.9 beside pattern '2:4'"),
        ("--pattern 2:4 --ranking global", "says nothing beside pattern"),
        ("--ranking layer", "ranking is 'layer'"),
        ("--min-elements -1", "min_elements is -1"),
        ("--min-elements x", "invalid int value"),
        ("--only nowhere", "only 'nowhere' matches no operator or constant"),
        ("--only (", "no regular expression"),
        ("--sensitivity", "--data missing"),
        (f"--data {DATA}", "--data says nothing beside pruning without --sensitivity or --refit; leave it out"),
        ("--runner numpy", "--runner says nothing"),
        ("--sensitivity --data nowhere.npz", "nowhere.npz"),
        ("--channels 0.25 --sparsity 0", "--sparsity says nothing beside --channels"),
        ("--channels 0.25 --encode --pattern 1x4", "--pattern, --encode says nothing beside --channels"),
        ("--channels 0.25 --sensitivity", "--sensitivity says nothing beside --channels"),
        ("--channels 0.25 --refit", "--refit says nothing beside --channels"),
        ("--refit", "--data missing"),
        (f"--refit --sensitivity --data {DATA}", "--sensitivity says nothing beside --refit; leave it out"),
        (f"--refit --stats s.npz --data {DATA}", "--stats says nothing beside --refit; leave it out"),
        ("--stats nowhere.npz", "nowhere.npz"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, message: str) -> None:
    out = tmp_path / "pruned.tflite"
    status, text, error = run(capsys, "prune", DEMO, "-o", out, *words.split())
    assert (status, text) == (2, "")
    assert error.count("\n") == 1
    assert error.startswith("quantlib prune: ")
    assert message in error
    assert not out.exists()


@pytest.mark.parametrize("path", ["nowhere.tflite", "."])
def test_a_model_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str) -> None:
    status, _, error = run(capsys, "prune", path, "-o", tmp_path / "x.tflite")
    assert status == 2
    assert error.count("\n") == 1

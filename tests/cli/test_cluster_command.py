"""`quantlib cluster`: the file, the report, and one line for each bad request."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.cli import main
from quantlib.evaluation import refit

DEMO = str(ql.demo.MODEL)


def test_it_writes_what_the_function_gives(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "out.tflite"
    words = "--clusters 8 --per channel --start k-means++ --seed 2 --skip-type FULLY_CONNECTED --min-elements 200"
    assert main(["cluster", DEMO, "-o", str(out), *words.split()]) == 0
    edited = ql.cluster(
        ql.read(DEMO), 8, per="channel", start="k-means++", seed=2, skip_types="FULLY_CONNECTED", min_elements=200
    )
    assert out.read_bytes() == edited.model.to_bytes()
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"{out}: 196,416 -> {out.stat().st_size:,} bytes (1.000)"
    assert "\n".join(rest) == str(edited)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("", {}),
        (
            "--grid int8 --clusters 8 --per channel --skip-type FULLY_CONNECTED",
            {"grid": "int8", "clusters": 8, "per": "channel", "skip_types": "FULLY_CONNECTED"},
        ),
    ],
)
def test_refitted(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: str, options: dict[str, Any]) -> None:
    out, some = tmp_path / "out.tflite", tmp_path / "some.npz"
    with np.load(ql.demo.CALIBRATION) as data:
        np.savez(some, **{name: data[name][:12] for name in data.files})
    samples = ["--refit", "--data", str(some), "--runner", "numpy"]
    assert main(["cluster", DEMO, "-o", str(out), *samples, *words.split()]) == 0
    model, edit = ql.read(DEMO), partial(ql.cluster, **options)
    edited = edit(model, refit=refit(model, some, edit, runner="numpy"))
    assert out.read_bytes() == edited.model.to_bytes()
    assert capsys.readouterr().out.partition("\n")[2] == f"{edited}\n"
    assert edited.totals["refitted"] == len(edited.done) == (5 if options else 7)


def test_zeros_are_free_when_that_is_asked_for(tmp_path: Path) -> None:
    pruned, out = tmp_path / "pruned.tflite", tmp_path / "out.tflite"
    ql.prune(ql.read(DEMO), 0.3).model.write(pruned)
    for flags, kept in (([], True), (["--free-zeros"], False)):
        assert main(["cluster", str(pruned), "-o", str(out), "--clusters", "3", *flags]) == 0
        before, after = (ql.read(path).tensor("conv2/kernel").numpy() for path in (pruned, out))
        assert bool((after[before == 0] == 0).all()) == kept


def test_json_and_a_file_in_its_own_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "m.tflite"
    ql.read(DEMO).write(out)
    assert main(["cluster", str(out), "-o", str(out), "--grid", "int8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verb"] == "cluster"
    assert found["bytes_before"] == 196416
    line = found["done"][0]
    assert (line["where"], line["elements"], line["integers"]) == ("conv1/kernel", 144, 16)
    small = ql.quantize(ql.read(out), "weight-only")
    assert np.unique(small.tensor("conv2/kernel").numpy()).size == 16


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--clusters 0", "0 clusters asked for; a whole number from 2 to 4,096 is required"),
        ("--clusters 1000000000", "1000000000 clusters asked for"),
        ("--clusters few", "invalid int value: 'few'"),
        ("--per row", "per is 'row'; one of tensor, channel is required"),
        ("--start best", "start is 'best'"),
        ("--grid int4", "grid is 'int4'; one of int8, int8-tensor is required"),
        ("--seed -1", "seed is -1"),
        ("--only nothing", "only 'nothing' matches no operator or constant"),
        ("--only (", "is no regular expression"),
        ("--refit", "--data missing; see quantlib cluster --help"),
        (f"--data {ql.demo.CALIBRATION}", "--data says nothing beside clustering without --refit; leave it out"),
        ("--runner numpy --sequence", "--runner, --sequence says nothing beside clustering without --refit"),
        (f"--refit --data {ql.demo.CALIBRATION} --clusters 5000", "5000 clusters asked for"),
        ("--refit --data nowhere.npz", "nowhere.npz"),
    ],
)
def test_misuse_is_one_line_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: str, message: str
) -> None:
    out = tmp_path / "out.tflite"
    assert main(["cluster", DEMO, "-o", str(out), *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_more_clusters_than_values_is_no_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["cluster", DEMO, "-o", str(tmp_path / "out.tflite"), "--clusters", "1000"]) == 0
    assert "conv1/kernel: 144 different values in all, no more than 1,000" in capsys.readouterr().out

"""`quantlib quantize --at-least`: what it writes and says, and what it is refused beside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import quantlib as ql
from quantlib.evaluation import mix
from tests.support.command import run

DEMO, DATA = str(ql.demo.MODEL), str(ql.demo.CALIBRATION)
IMAGES = np.load(DATA)["image"]


def test_it_writes_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--recipe", "int8", "--data", DATA, "--at-least", "44", "--runner", "numpy")
    status, text, error = run(capsys, "quantize", DEMO, "-o", tmp_path / "o", *words)
    assert (status, error) == (0, "")
    model = ql.read(DEMO)
    found = mix(model, "int8", IMAGES, 44, runner="numpy")
    assert text.splitlines()[:-1] == str(found).splitlines()
    small = ql.quantize(model, found.recipe, found.statistics)
    assert (tmp_path / "o").read_bytes() == small.to_bytes()
    status, text, _ = run(capsys, "plan", DEMO, *words, "--json")
    assert (status, json.loads(text)["mixed"]) == (0, json.loads(json.dumps(found.to_dict())))


def test_statistics_have_the_ranges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ql.read(DEMO)
    statistics = ql.calibrate(model, IMAGES[:80])
    statistics.save(tmp_path / "s.npz")
    np.save(tmp_path / "new.npy", IMAGES[80:])
    words = ("--recipe", "int8", "--stats", tmp_path / "s.npz", "--data", tmp_path / "new.npy", "--at-least", "47")
    status, text, _ = run(capsys, "quantize", DEMO, "-o", tmp_path / "o", *words, "--runner", "numpy", "--json")
    found = mix(model, "int8", IMAGES[80:], 47, statistics=statistics, runner="numpy")
    assert (status, json.loads(text)["mixed"]["sqnr_db"]) == (0, found.sqnr_db)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--recipe int8 --at-least 40", "--data missing"),
        ("--recipe int8 --at-least 40 --tune --data {data}", "--tune and --at-least"),
        ("--recipe dynamic --at-least 40", "--at-least says nothing beside mode 'dynamic'"),
        ("--recipe int16x8 --at-least 40 --data {data}", "mode 'int16x8' can't be mixed with 16 bits"),
        ("--recipe int8 --at-least 99 --data {data}", "no mix of 8 and 16 bits gives outputs of 99 dB"),
        ("--recipe int8 --at-least nan --data {data}", "at_least is nan; a number of decibels is required"),
    ],
)
def test_bad_requests_are_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    given = [w.format(data=DATA) for w in words.split()]
    status, out, error = run(capsys, "quantize", DEMO, "-o", tmp_path / "o", *given)
    assert (status, out) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()

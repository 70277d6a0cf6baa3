"""`quantlib quantize --correct-bias`: what it writes and says, and what it is refused beside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import quantlib as ql
from quantlib.evaluation import correct_bias
from tests.support.command import run

DEMO, DATA = str(ql.demo.MODEL), str(ql.demo.CALIBRATION)
IMAGES = np.load(DATA)["image"]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough samples for the work, and for no warning of calibration."""
    path = tmp_path_factory.mktemp("data") / "few.npy"
    np.save(path, IMAGES[:12])
    return path


def test_the_first_64_samples_correct_what_all_calibrate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "o"
    words = ("quantize", DEMO, "-o", out, "--recipe", "int8-int4", "--data", DATA, "--correct-bias")
    status, text, error = run(capsys, *words, "--runner", "litert")
    assert (status, error) == (0, "")
    model = ql.read(DEMO)
    small = ql.quantize(model, "int8-int4", ql.calibrate(model, DATA, runner="litert"))
    edited = correct_bias(model, small, IMAGES[:64], runner="litert")
    assert out.read_bytes() == edited.model.to_bytes()
    t = edited.totals
    assert text.splitlines()[-1] == (
        f"biases of 7 layers corrected: {t['sqnr_db_before']:.2f} -> {t['sqnr_db']:.2f} dB on 64 samples, "
        f"{t['nearer']} outputs nearer and {t['farther']} farther off"
    )


def test_statistics_have_the_ranges_and_data_the_biases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], few: Path
) -> None:
    model = ql.read(DEMO)
    statistics = ql.calibrate(model, DATA)
    statistics.save(tmp_path / "s.npz")
    words = ("quantize", DEMO, "-o", tmp_path / "o", "--recipe", "int8", "--stats", tmp_path / "s.npz")
    status, text, _ = run(capsys, *words, "--data", few, "--runner", "numpy", "--correct-bias", "--json")
    assert status == 0
    edited = correct_bias(model, ql.quantize(model, "int8", statistics), IMAGES[:12], runner="numpy")
    assert (tmp_path / "o").read_bytes() == edited.model.to_bytes()
    said = json.loads(text)
    assert said["correct_bias"] == json.loads(json.dumps(edited.to_dict()))
    assert said["bytes_after"] == (tmp_path / "o").stat().st_size


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("weight-only-int4", "biases of 7 layers corrected: "),
        ("float16", "biases of 0 layers corrected; no operator has an integer weight and takes a bias: there is"),
    ],
)
def test_recipes_that_calibrate_nothing_take_samples_for_it(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    few: Path,
    recipe: str,
    expected: str,
) -> None:
    monkeypatch.setattr("quantlib.cli.activations.calibrated", lambda *a: pytest.fail("it calibrated"))
    words = ("quantize", DEMO, "-o", tmp_path / "o", "--recipe", recipe, "--data", few, "--runner", "numpy")
    status, text, error = run(capsys, *words, "--correct-bias")
    assert (status, error) == (0, "")
    assert text.splitlines()[-1].startswith(expected)


def test_with_tune(tmp_path: Path, capsys: pytest.CaptureFixture[str], few: Path) -> None:
    words = ("quantize", DEMO, "-o", tmp_path / "o", "--recipe", "int8", "--data", few, "--tune", "--correct-bias")
    status, text, _ = run(capsys, *words, "--json")
    assert status == 0
    assert {"tuned", "correct_bias"} <= json.loads(text).keys()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--recipe int8", "--data missing"),
        ("--recipe dynamic", "--data missing"),
        ("--recipe int8 --stats {few}", "--data missing"),
        ("--recipe dynamic --data {few} --tune", "--tune says nothing beside mode 'dynamic'"),
        ("--recipe dynamic --data {few} --stats {few}", "--stats says nothing beside mode 'dynamic'"),
        ("--recipe dynamic --data {few} --jobs 2", "--jobs says nothing beside mode 'dynamic'"),
        ("--recipe int8 --data {few} --stats {few} --jobs 2", "--jobs says nothing beside --stats"),
        ("--recipe dynamic --data {one}", "the data has one sample; two at least are required"),
    ],
)
def test_bad_requests_are_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], few: Path, words: str, message: str
) -> None:
    np.save(tmp_path / "one.npy", IMAGES[:1])
    given = [w.format(few=few, one=tmp_path / "one.npy") for w in words.split()]
    status, out, error = run(capsys, "quantize", DEMO, "-o", tmp_path / "o", *given, "--correct-bias")
    assert (status, out) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_a_plan_has_no_biases_to_correct(capsys: pytest.CaptureFixture[str], few: Path) -> None:
    status, _, error = run(capsys, "plan", DEMO, "--recipe", "int8", "--data", few, "--correct-bias")
    assert (status, "--correct-bias" in error) == (2, True)

"""What commands do with their outputs and with an interrupt: nothing is lost, and nothing is said in many lines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import quantlib as ql
from quantlib import cli
from quantlib.cli import main

FILES = {
    "model": ql.demo.MODEL,
    "data": ql.demo.CALIBRATION,
    "labels": ql.demo.LABELS,
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, its samples and their labels, that commands run in."""
    for name, path in FILES.items():
        shutil.copy(path, tmp_path / name)
    ql.calibrate(ql.read(ql.demo.MODEL), ql.demo.CALIBRATION).save(tmp_path / "stats")
    (tmp_path / "recipe.toml").write_text('recipe = "int8"\n')
    (tmp_path / "link").symlink_to("model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "taken"),
    [
        ("run model --data data -o", "model data link"),
        ("calibrate model --data data -o", "model data link"),
        ("compare model model --data data --labels labels -o", "model data labels"),
        ("compare model model --data data --html", "model"),
        ("compare model model --data data --node-data", "data"),
        ("quantize model --recipe int8 --data data -o", "data"),
        ("quantize model --recipe recipe.toml --stats stats -o", "stats recipe.toml"),
        ("prune model --refit --data data -o", "data"),
        ("prune model --stats stats -o", "stats"),
    ],
)
def test_an_output_never_takes_the_place_of_what_is_read(
    here: Path, capsys: pytest.CaptureFixture[str], command: str, taken: str
) -> None:
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    for name in taken.split():
        assert main([*command.split(), name]) == 2
        text = capsys.readouterr()
        assert text.out == ""
        assert text.err.endswith(f": {name}: it is read here, and would be lost; choose another path\n")
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before


def test_an_empty_path_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tidy", "model", "-o", ""]) == 2
    assert "the output's path is empty" in capsys.readouterr().err


def test_an_interrupt_while_commands_are_imported_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_parser", interrupted)
    assert main(["inspect", "model"]) == 130
    assert capsys.readouterr().err == "quantlib inspect: interrupted; nothing was changed\n"


def test_warnings_stand_beside_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "quantize model -o out --recipe int8 --default-ranges -6,6 --json"
    assert main(words.split()) == 0
    text = capsys.readouterr()
    assert json.loads(text.out)["output"] == "out"
    assert "warning: activations that nothing else is known of have the range -6..6" in text.err


@pytest.mark.parametrize(
    ("command", "default"),
    [
        ("run", "numpy by default"),
        ("calibrate", "numpy by default"),
        ("quantize", "numpy by default; options that measure take litert where it is installed"),
        ("plan", "numpy by default; options that measure take litert where it is installed"),
        ("prune", "litert where it is installed"),
    ],
)
def test_help_says_which_runner(capsys: pytest.CaptureFixture[str], command: str, default: str) -> None:
    assert main([command, "--help"]) == 0
    assert f"what runs the model; {default} --signature" in " ".join(capsys.readouterr().out.split())

"""A short run of the fuzz driver, under its limits of time and memory; ``make fuzz`` has the long one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from quantlib.errors import InvalidModel
from quantlib.tflite import read
from tests.support.shared import ROOT

from .crafted import CRAFTED
from .exercise import exercise
from .fuzz import seeds
from .mutate import bent, damaged

COUNT = 1500


def test_damaged_files_end_in_a_named_error_or_a_valid_model() -> None:
    command = [sys.executable, "-m", "tests.hostile.fuzz", "--count", str(COUNT), "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{COUNT:,} files from ")


def test_damage_is_the_same_for_the_same_seed() -> None:
    for name, raw, places, model in seeds()[:6]:
        assert damaged(raw, places, f"7:{name}") == damaged(raw, places, f"7:{name}") != raw
        assert bent(model, f"7:{name}") == bent(model, f"7:{name}")


def test_models_without_damage_are_valid() -> None:
    for _, raw, _, _ in seeds():
        assert exercise(raw) == "valid"


@pytest.mark.parametrize("name", [name for name, (_, message) in CRAFTED.items() if message])
def test_what_explodes_is_refused(name: str) -> None:
    make, message = CRAFTED[name]
    with pytest.raises(InvalidModel, match=message):
        read(make())

"""Commands one after the other, each on the file before: prune, cluster, quantize, retype, tidy, compare."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import quantlib as ql
from quantlib import demo
from quantlib.cli import main
from tests.support.litert import RESOLVERS, interpreter

STEPS = (
    "prune float.tflite -o pruned.tflite --sparsity 0.5 --refit --data calibration.npz",
    "cluster pruned.tflite -o shared.tflite --clusters 16 --grid int8 --refit --data calibration.npz",
    "quantize shared.tflite -o int8.tflite --recipe int8 --data calibration.npz --input-type int8 --output-type int8",
    "retype int8.tflite -o uint8.tflite --input-type uint8 --output-type uint8",
    "tidy uint8.tflite -o small.tflite",
)
FILES = tuple(words.split()[3] for words in STEPS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands leave behind."""
    made = tmp_path_factory.mktemp("chain")
    for source, name in (
        (demo.MODEL, "float.tflite"),
        (demo.CALIBRATION, "calibration.npz"),
        (demo.SAMPLES, "samples.npz"),
        (demo.LABELS, "labels.npz"),
    ):
        shutil.copy(source, made / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        for words in STEPS:
            assert main(words.split()) == 0, words
    return made


@pytest.mark.parametrize("name", FILES)
def test_each_file_runs(folder: Path, name: str) -> None:
    model = ql.read(folder / name)
    assert ql.check(model, "litert").ok
    for resolver in RESOLVERS:
        interpreter(model.to_bytes(), resolver).invoke()


def test_what_one_step_makes_the_next_keeps(folder: Path) -> None:
    pruned, shared, small = (
        ql.read(folder / n).tensor("conv3/kernel").numpy() for n in (FILES[0], FILES[1], FILES[4])
    )
    assert np.mean(pruned == 0) == 0.5
    assert not shared[pruned == 0].any()
    np.testing.assert_array_equal(small == 0, shared == 0)
    assert len(np.unique(small)) == 16
    assert small.dtype == np.int8
    assert {ql.read(folder / FILES[4]).tensor(name).type for name in ("image", "probabilities")} == {"UINT8"}


def test_the_comparison_at_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    words = "compare float.tflite small.tflite --data samples.npz --labels labels.npz --runner numpy --json"
    assert main(words.split()) == 0
    accuracy = json.loads(capsys.readouterr().out)["accuracy"]
    assert accuracy["top1_a"] - accuracy["top1_b"] < 0.05
    assert (folder / "small.tflite").stat().st_size < 0.3 * (folder / "float.tflite").stat().st_size

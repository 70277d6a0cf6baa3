"""Reading beside the map: what comes when the file shrinks under our feet."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import quantlib as ql
from quantlib.errors import InvalidModel
from quantlib.tflite import source


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="this system reads through the map alone")
@pytest.mark.parametrize("small", [True, False])
def test_a_file_that_shrinks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, small: bool) -> None:
    if not small:
        monkeypatch.setattr(source, "_SMALL", 0)
    path = tmp_path / "m.tflite"
    shutil.copyfile(ql.demo.MODEL, path)
    data = ql.read(path).tensor("conv2/kernel").data
    assert data is not None
    before = data.load(0, data.nbytes).tobytes()
    assert before == data.numpy().tobytes()
    with open(path, "r+b") as file:
        file.truncate(1000)
    with pytest.raises(InvalidModel, match=r"m\.tflite"):
        data.load(0, data.nbytes)

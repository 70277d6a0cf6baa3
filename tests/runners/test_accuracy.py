"""NumPy against LiteRT on real models: at least 80 dB on all floats, equal integers and booleans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantlib.errors import NotFound
from quantlib.runners import NumpyRunner
from quantlib.tflite import read
from tests.runners.accuracy import (
    BIG,
    LEAST,
    MEDIAPIPE,
    Row,
    decibels,
    drawn,
    edge_files,
    of_file,
    of_task,
    samples_of,
    signatures,
    tasks,
    tensors,
)
from tests.runners.table import line
from tests.support.shared import needs_shared

pytestmark = needs_shared
NAMES = list(tasks())


@pytest.fixture(autouse=True)
def judge() -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed (the extra 'litert')")


def check(rows: list[Row]) -> None:
    assert rows
    for row in rows:
        assert row.note or row.floats + row.exact, line(row)
        assert row.least >= LEAST, line(row)
        assert not row.wrong, line(row)


@pytest.mark.parametrize("name", NAMES)
def test_task(name: str) -> None:
    rows = list(of_task(name))
    check(rows)
    assert not any(row.note for row in rows)


@pytest.mark.parametrize("path", edge_files(), ids=lambda path: path.stem)
def test_edge_file(path: Path) -> None:
    rows = list(of_file(path))
    check(rows)
    assert not any(row.note for row in rows)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in BIG])
def test_each_tensor_of_a_task(name: str) -> None:
    task = tasks()[name]
    model = read(task.model)
    for i, signature in enumerate(signatures(model)):
        sample = samples_of(name)[0] if i == 0 else drawn(NumpyRunner(model, signature).interface)
        found = tensors(model, signature, sample, keep_state=task.stateful)
        assert len(found) > 3
        assert [place for place, value in found if value < LEAST] == []


@pytest.mark.parametrize("name", MEDIAPIPE)
def test_custom_operators_without_a_kernel_are_named(name: str) -> None:
    missing = "Convolution2DTransposeBias" if name.startswith("selfie") else "MaxPoolingWithArgmax2D"
    message = (
        rf"^{missing} \(subgraph 0, operator \d+\): there is no kernel for it; give one as kernels={{'{missing}'"
    )
    with pytest.raises(NotFound, match=message):
        NumpyRunner(read(tasks()[name].model))


def test_decibels_see_what_a_mean_would_hide() -> None:
    a: Any = np.array([1, np.inf, np.nan], np.float32)
    assert decibels(a, a.copy()) == np.inf
    assert decibels(a, np.array([1, np.inf, 0], np.float32)) == -np.inf
    assert decibels(a, a[:2]) == -np.inf
    assert decibels(a, a.astype(np.float64)) == -np.inf

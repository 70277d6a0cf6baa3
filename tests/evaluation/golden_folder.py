"""Write test vectors and compute them anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import quantlib as ql
from quantlib.tflite import Model
from tests.support import replay


def write(
    model: Model, data: Any, folder: Path, count: int = 1, runtime: str = "reference"
) -> dict[tuple[str, str], tuple[int, int]]:
    folder.mkdir(exist_ok=True)
    ql.golden(model, data, folder / "vectors", samples=count, runtime=runtime)
    return replay.replay(folder / "vectors")


def assert_replayed(found: dict[tuple[str, str], tuple[int, int]], formulas: set[str]) -> None:
    assert {formula for _, formula in found} == formulas
    assert {key: wrong for key, (_, wrong) in found.items() if wrong} == {}
    assert all(count for count, _ in found.values())

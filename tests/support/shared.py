"""The real models that stand beside the repository; tests that need them are skipped where they are absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("QUANTLIB_SHARED", ROOT.parent / "shared"))
MODELS = tuple(sorted((SHARED / "models").rglob("*.tflite")))

needs_shared = pytest.mark.skipif(not MODELS, reason="the shared models aren't here; set QUANTLIB_SHARED")


def name_of(path: Path) -> str:
    """Path below the models' folder."""
    return path.relative_to(SHARED / "models").as_posix()


def each_model(most: int | None = None, sub: str = "") -> pytest.MarkDecorator:
    """Parametrize a test over the shared models; a single skipped case stands for them where they are absent."""
    chosen = [p for p in MODELS if name_of(p).startswith(sub) and (most is None or p.stat().st_size <= most)]
    if not chosen:
        return pytest.mark.parametrize("path", [pytest.param(Path(), marks=needs_shared, id="absent")])
    return pytest.mark.parametrize("path", chosen, ids=name_of)

"""Compute the operators of a folder of test vectors anew, as its README says: with NumPy alone.

Nothing of quantlib is imported here or in the modules ``replay_*``: what it gives is another implementation's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import replay_activations, replay_elements, replay_products, replay_recurrent
from .replay_numbers import Operator, wide

FORMULAS: dict[str, Callable[[Operator], Any]] = {
    **replay_activations.FORMULAS,
    **replay_elements.FORMULAS,
    **replay_products.FORMULAS,
    **replay_recurrent.FORMULAS,
}


def read(folder: Path) -> dict[str, Any]:
    """The index of a folder."""
    return json.loads((folder / "index.json").read_text(encoding="utf-8"))


def computed(op: Operator) -> dict[str, np.ndarray]:
    """Arrays by their names in the vectors: all outputs, and what is left in states."""
    with np.errstate(all="ignore"):
        found = FORMULAS[op.arithmetic["formula"]](op)
    if isinstance(found, dict):
        return found
    several = found if isinstance(found, list) else [found]
    return {f"output_{k}": value for k, value in enumerate(several)}


def replay(folder: Path) -> dict[tuple[str, str], tuple[int, int]]:
    """Elements computed, and how many differ, by type and formula; an operator without arithmetic has formula "".

    Every sample of every operator that has vectors.
    """
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for record in read(folder)["operators"]:
        if record["file"] is None:
            continue
        if record["arithmetic"] is None:
            found[record["type"], ""] = (0, 0)
            continue
        key = (record["type"], record["arithmetic"]["formula"])
        for sample in range(len(record["samples"])):
            op = Operator(folder, record, sample)
            results = computed(op)
            if missing := {f"output_{k}" for k in range(len(record["outputs"]))} - set(results):
                raise ValueError(f"{key}: nothing computed for {missing}")
            for name, result in results.items():
                expected = wide(op.arrays[name][sample])
                if result.shape != expected.shape:
                    raise ValueError(f"{key}: shape {result.shape}, not {expected.shape}")
                count, wrong = found.get(key, (0, 0))
                found[key] = (count + expected.size, wrong + int((result != expected).sum()))
    return found

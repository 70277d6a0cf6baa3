"""Biases that are off, and what became of them."""

from __future__ import annotations

from typing import Any

import numpy as np

import quantlib as ql
from quantlib.passes import Edited
from quantlib.tflite import Model
from tests.evaluation import built

DATA = built.samples(40)


def shifted(model: Model, name: str, by: Any) -> Model:
    """The model with another bias."""
    old = model.tensor(name).numpy()
    return model.replace(name, data=(old + np.asarray(by)).astype(old.dtype))


def bias(model: Model, name: str) -> Any:
    return model.tensor(name).numpy().astype(np.float64)


def reasons(edited: Edited) -> dict[str, str]:
    """Why layers are left alone, by name."""
    return {line.where: line.what for line in edited.kept}


def dynamic(model: Model) -> Model:
    return ql.quantize(model, ql.recipes.dynamic(min_elements=0))

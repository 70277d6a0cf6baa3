"""Errors of layers in the form that Model Explorer colours a graph by."""

from __future__ import annotations

import math
from typing import Any

from quantlib.errors import InvalidValue

from .values import Comparison, LayerError

#: Colours from the least to the greatest value, where more is worse; decibels have them backwards.
_RISING = ("#ffffff", "#ffd28a", "#d9482b")
_FALLING = _RISING[::-1]


def node_data(comparison: Comparison) -> dict[str, Any]:
    """Make node data for Model Explorer, to load over the graph of B.

    Nodes are named by the tensors that they write. The format is that of
    ``model_explorer/node_data_builder.py`` in google-ai-edge/model-explorer.

    Parameters
    ----------
    comparison : Comparison
        With layers.

    Returns
    -------
    dict
        For each figure its ``results`` (value by tensor name) and ``gradient``. What isn't finite or unknown is left
        out.

    Raises
    ------
    InvalidValue
        If the comparison has no layers.
    """
    if comparison.layers is None:
        raise InvalidValue("the comparison has no layers; compare with layers=True")
    figures = {
        "error share, %": ("share", 100.0, _RISING),
        "SQNR alone, dB": ("layer_sqnr_db", 1.0, _FALLING),
        "SQNR in the graph, dB": ("sqnr_db", 1.0, _FALLING),
        "RMSE / scale": ("rmse_over_scale", 1.0, _RISING),
        "saturated, %": ("saturation", 100.0, _RISING),
    }
    found = {}
    for title, (name, factor, colours) in figures.items():
        results = {
            layer.name_b: {"value": round(factor * value, 6)}
            for layer in comparison.layers
            if (value := _finite(layer, name)) is not None and layer.name_b
        }
        if results:
            found[title] = {"results": results, "gradient": _gradient(colours)}
    return found


def _gradient(colours: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"stop": i / (len(colours) - 1), "bgColor": colour} for i, colour in enumerate(colours)]


def _finite(layer: LayerError, name: str) -> float | None:
    value = getattr(layer, name)
    return value if value is not None and math.isfinite(value) else None

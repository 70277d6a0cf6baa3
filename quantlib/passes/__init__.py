"""Passes: each takes a `Model` and gives a `Model`."""

from __future__ import annotations

from quantlib.recipes import Plan
from quantlib.tflite import Model

from .integer import apply_integer
from .weights import apply_weights

__all__ = ["apply_integer", "apply_plan", "apply_weights"]


def apply_plan(model: Model, plan: Plan) -> Model:
    """Carry out a plan by the pass of its mode.

    Parameters
    ----------
    model : Model
        The model that the plan was made for.
    plan : Plan

    Returns
    -------
    Model

    Raises
    ------
    InvalidValue
        If the plan doesn't fit the model, or a weight isn't finite.
    """
    return (apply_integer if plan.recipe.activations else apply_weights)(model, plan)

"""Passes: each takes a `Model` and gives a `Model`, or an `Edited`: a model and the account of what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantlib.doors import late
from quantlib.recipes import Plan
from quantlib.tflite import Model

from .edited import Edited, Line, deflated_size
from .integer import apply_integer
from .weights import apply_weights

if TYPE_CHECKING:
    from .channels import prune_channels
    from .clustering import cluster
    from .dequantizing import dequantize
    from .pruning import prune
    from .reading import Reading, readings
    from .retyping import retype
    from .tidying import tidy

__all__ = [
    "Edited",
    "Line",
    "Reading",
    "apply_plan",
    "cluster",
    "deflated_size",
    "dequantize",
    "prune",
    "prune_channels",
    "readings",
    "retype",
    "tidy",
]

#: What quantizing doesn't need, mostly edits, and where it stands: imported when first used.
__getattr__ = late(
    __name__,
    {
        "channels": ("prune_channels",),
        "clustering": ("cluster",),
        "dequantizing": ("dequantize",),
        "pruning": ("prune",),
        "reading": ("Reading", "readings"),
        "retyping": ("retype",),
        "tidying": ("tidy",),
    },
)


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

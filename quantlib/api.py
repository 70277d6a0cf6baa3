"""The verbs, as compositions of the rooms below."""

from __future__ import annotations

from quantlib.errors import InvalidValue
from quantlib.passes import apply_weights
from quantlib.recipes import Plan, Recipe, by_name, plan_weights
from quantlib.tflite import Model


def plan(model: Model, recipe: Recipe | str) -> Plan:
    """Say what a recipe would do to a model.

    Parameters
    ----------
    model : Model
    recipe : Recipe or str
        A recipe, or the name of a preset.

    Returns
    -------
    Plan
        Printable; nothing has been changed.

    Raises
    ------
    NotFound
        If there is no preset of that name.
    InvalidRecipe
        If a selector is no regular expression, or matches nothing in the model.
    InvalidValue
        If the model or the recipe is something else.

    Examples
    --------
    >>> import quantlib as ql
    >>> plan = ql.plan(ql.read(ql.demo.MODEL), "dynamic")
    >>> plan.totals()["quantized"] > 0
    True
    """
    _require(model, Model, "model", "read the file first")
    recipe = by_name(recipe) if isinstance(recipe, str) else recipe
    _require(recipe, Recipe, "recipe", "give a Recipe, or the name of one")
    return plan_weights(model, recipe)


def quantize(model: Model, recipe: Recipe | Plan | str) -> Model:
    """Quantize a model.

    Parameters
    ----------
    model : Model
    recipe : Recipe, Plan or str
        What is wanted; or a plan that `plan` made for this model; or the name of a preset.

    Returns
    -------
    Model
        A new model; weights are converted when it is written.

    Raises
    ------
    NotFound, InvalidRecipe
        As `plan`.
    InvalidValue
        If a weight that is to be quantized isn't finite, or a plan doesn't fit the model.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> len(ql.quantize(model, "dynamic").to_bytes()) < 0.4 * len(model.to_bytes())
    True
    """
    _require(model, Model, "model", "read the file first")
    return apply_weights(model, recipe if isinstance(recipe, Plan) else plan(model, recipe))


def _require(value: object, kind: type, name: str, remedy: str) -> None:
    if not isinstance(value, kind):
        raise InvalidValue(f"{name} is a {type(value).__name__}, and a {kind.__name__} is required; {remedy}")

"""Plans for a target: what it doesn't take is planned in another way, or left float, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from quantlib.errors import InvalidRecipe
from quantlib.numerics import Affine
from quantlib.operators import Signature, accepted_versions, operator_version
from quantlib.targets import Operand, Operation, Target
from quantlib.tflite import Quantization, Tensor

from .graph import Graph
from .plan import OperatorPlan
from .recipe import Recipe

Refusals = Mapping[tuple[int, int], str]
"""Why a target doesn't run an operator as integer, by subgraph and place."""


def fitted(recipe: Recipe, target: Target) -> Recipe:
    """A recipe as far as a target takes it.

    Raises
    ------
    InvalidRecipe
        If the target doesn't take the recipe's mode.
    """
    kinds = {"INT16": target.int16_ok, "UINT8": target.uint8_ok}
    if not kinds.get(recipe.activations, True):
        raise InvalidRecipe(f"{target.name} takes no {recipe.activations} activations, as mode {recipe.mode!r} has")
    if recipe.mode in ("dynamic", "weight-only") and not target.hybrid_ok:
        raise InvalidRecipe(
            f"{target.name} takes no float activations with integer weights, as mode {recipe.mode!r} has; take int8"
        )
    if recipe.mode == "float16" and target.element_types and "FLOAT16" not in target.element_types:
        raise InvalidRecipe(f"{target.name} takes no FLOAT16 constants, as mode 'float16' has; take int8")
    dense = recipe.per_tensor_types
    if target.dense_per_tensor and "FULLY_CONNECTED" not in dense and recipe.mode != "float16":
        recipe = recipe.replace(per_tensor_types=(*dense, "FULLY_CONNECTED"))
    if not recipe.activations or target.float_ok:
        return recipe
    ends = {name: recipe.activations for name in ("input_type", "output_type") if getattr(recipe, name) == "FLOAT32"}
    return recipe.replace(recurrent="integer", tails="keep" if recipe.tails == "float" else recipe.tails, **ends)


def changes(asked: Recipe, recipe: Recipe, target: Target | None) -> list[str]:
    """What a target made of a recipe, in words."""
    if target is None:
        return []
    return [
        f"{name} is {getattr(recipe, name)}, since {target.name} takes nothing else"
        for name in ("input_type", "output_type", "per_tensor_types")
        if getattr(recipe, name) != getattr(asked, name)
    ]


def refusals(graph: Graph, plans: Iterable[OperatorPlan], target: Target) -> dict[tuple[int, int], str]:
    """Integer operators of a plan that a target doesn't run, and why.

    Parameters
    ----------
    graph : Graph
    plans : iterable of OperatorPlan
        Of this subgraph.
    target : Target

    Returns
    -------
    dict of (int, int) to str
        By subgraph and place.
    """
    found = {}
    for plan in plans:
        if plan.is_integer and plan.operator not in graph.folds:
            reasons = target.violations(planned_operation(graph, plan))
            if reasons:
                found[plan.subgraph, plan.operator] = reasons[0].reason
    return found


def planned_operation(graph: Graph, plan: OperatorPlan) -> Operation:
    """An operator as a plan would have it."""
    table = graph.operators[plan.operator]
    options = table.builtin_options if table.builtin_options is not None else table.builtin_options_2
    values = {} if options is None else dict(options.stored())
    if plan.mode == "INT16" and plan.type in ("ADD", "SUB"):
        values["pot_scale_int16"] = False
    inputs = [] if table.inputs is None else table.inputs.tolist()
    outputs = [] if table.outputs is None else table.outputs.tolist()
    forms = plan.inputs + (None,) * (len(inputs) - len(plan.inputs))
    inputs += [-1] * (len(forms) - len(inputs))
    read = tuple(_operand(graph, t, form) for t, form in zip(inputs, forms, strict=True))
    made = tuple(
        o for t, form in zip(outputs, plan.outputs, strict=False) if (o := _operand(graph, t, form)) is not None
    )
    signature = Signature(
        plan.type,
        tuple(None if x is None else x.type.lower() for x in read),
        tuple(y.type.lower() for y in made),
        options=values,
        input_shapes=tuple(None if x is None else x.shape for x in read),
        per_channel=len(read) > 1 and read[1] is not None and read[1].per_channel,
    )
    return Operation(plan.type, operator_version(signature), read, made, values, accepted_versions(plan.type))


def _operand(graph: Graph, t: int, form: Affine | None) -> Operand | None:
    if t < 0 and form is None:
        return None
    if t < 0 or form is None:
        return None if t < 0 else _plain(graph.tensor(t), graph.origin(t) is not None)
    tensor = graph.tensor(t)
    plain = _plain(tensor, graph.origin(t) is not None)
    return replace(plain, type=form.type.name, quantization=Quantization.of(form), sparse=False)


def _plain(tensor: Tensor, constant: bool) -> Operand:
    signature = tensor.table.shape_signature
    return Operand(
        tensor.type,
        tensor.shape,
        constant,
        tensor.quantization,
        dynamic=signature is not None and bool((signature[1:] < 0).any()),
        name=tensor.name,
    )

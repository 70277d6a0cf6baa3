"""Which operators and constants a recipe speaks of."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from quantlib.errors import InvalidRecipe

from .recipe import Recipe

_SKIPPED = "skipped by the recipe"


def _compile(name: str, patterns: tuple[str, ...]) -> list[re.Pattern[str]]:
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern))
        except re.error as error:
            raise InvalidRecipe(f"{name} {pattern!r} is no regular expression: {error}") from None
    return compiled


@dataclass
class Selection:
    """A recipe's selectors at work; it notes which of them ever matched.

    Attributes
    ----------
    recipe : Recipe
    asked : Recipe or None
        What the user asked for, where a target has changed it since.
    """

    recipe: Recipe
    asked: Recipe | None = None
    used: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._only, self._skip = _compile("only", self.recipe.only), _compile("skip", self.recipe.skip)
        self._int16 = _compile("int16", self.recipe.int16)

    def _found(self, kind: str, patterns: list[re.Pattern[str]], names: tuple[str, ...]) -> bool:
        hits = [p.pattern for p in patterns if any(p.search(name) for name in names)]
        self.used.update((kind, hit) for hit in hits)
        return bool(hits)

    def _typed(self, kind: str, types: tuple[str, ...], operator: str) -> bool:
        if operator in types:
            self.used.add((kind, operator))
        return operator in types

    def refusal(self, operator: str, names: tuple[str, ...]) -> str:
        """Why an operator's constant isn't to be quantized; empty where it is.

        Parameters
        ----------
        operator : str
            The operator's type.
        names : tuple of str
            The operator's name and the constant's.
        """
        recipe = self.recipe
        only, skip = self._found("only", self._only, names), self._found("skip", self._skip, names)
        only_type = self._typed("only_types", recipe.only_types, operator)
        skip_type = self._typed("skip_types", recipe.skip_types, operator)
        if skip or skip_type:
            return _SKIPPED
        if (recipe.only or recipe.only_types) and not (only or only_type):
            return "not among those the recipe asks for"
        return ""

    def skips(self, operator: str, names: tuple[str, ...]) -> str:
        """Why an operator that belongs to its neighbours isn't to follow them; empty where it does.

        Selectors that name what is to be quantized mean the neighbours.
        """
        refusal = self.refusal(operator, names)
        return refusal if refusal == _SKIPPED else ""

    def wants_int16(self, operator: str, names: tuple[str, ...]) -> bool:
        """Whether the recipe selects an operator for INT16 activations."""
        named = self._found("int16", self._int16, names)
        return self._typed("int16_types", self.recipe.int16_types, operator) or named

    def wants_one_scale(self, operator: str) -> bool:
        """Whether the recipe asks for one scale in this type of operator's weights."""
        listed = self._typed("per_tensor_types", self.recipe.per_tensor_types, operator)
        return listed or self.recipe.granularity == "tensor"

    def as_wanted(self, operator: str) -> Recipe:
        """The recipe for the weights of one type of operator."""
        listed = self._typed("per_tensor_types", self.recipe.per_tensor_types, operator)
        one = listed and self.recipe.granularity == "channel"
        return self.recipe.replace(granularity="tensor") if one else self.recipe

    def check_all_used(self) -> None:
        """Refuse a selector that matched nothing in the model.

        Raises
        ------
        InvalidRecipe
            Naming the first such selector.
        """
        among = " with float values" if self.recipe.activations else " with a float constant"
        for kind in ("only", "skip", "only_types", "skip_types", "int16", "int16_types", "per_tensor_types"):
            for pattern in getattr(self.asked or self.recipe, kind):
                if (kind, pattern) not in self.used:
                    what = "operator type" if kind.endswith("types") else "operator or constant"
                    raise InvalidRecipe(f"{kind} {pattern!r} matches no {what}{among}; `quantlib plan` lists them")

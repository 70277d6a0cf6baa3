"""Selectors of edits: which operators and constants an edit is to touch."""

from __future__ import annotations

from dataclasses import dataclass

from quantlib.errors import InvalidValue
from quantlib.recipes import Recipe, Selection

from .weight_sites import WeightSite

_KINDS = ("only", "skip", "only_types", "skip_types")

#: One text or several.
Texts = str | tuple[str, ...] | list[str]


@dataclass(frozen=True, slots=True)
class Selected:
    """Selectors at work; they note which of them ever matched.

    Attributes
    ----------
    selection : Selection
    """

    selection: Selection

    @classmethod
    def of(cls, only: Texts, skip: Texts, only_types: Texts, skip_types: Texts) -> Selected:
        """Begin with what a caller gave.

        Parameters
        ----------
        only, skip : str or several
            Regular expressions, searched in the names of operators and constants.
        only_types, skip_types : str or several
            Operator types.

        Raises
        ------
        InvalidRecipe
            If one is no text, or no regular expression.
        """
        given = {"only": only, "skip": skip, "only_types": only_types, "skip_types": skip_types}
        return cls(Selection(Recipe("weight-only").replace(**given)))

    def refusal(self, operator: str, names: tuple[str, ...]) -> str:
        """Why an operator's constant isn't to be touched; empty where it is.

        Parameters
        ----------
        operator : str
            The operator's type.
        names : tuple of str
            The operator's name and the constant's.
        """
        if not self.selection.refusal(operator, names):
            return ""
        return "left out by skip" if self.selection.skips(operator, names) else "not among those asked for"

    def refusal_of(self, site: WeightSite) -> str:
        """Why a weight isn't to be touched, by the first reader that selectors leave out; empty where it is."""
        graph, names = site.graph, (site.name, site.tensor.name)
        whys = [
            self.refusal(graph.names[use.operator], (graph.operator_label(use.operator), *names))
            for use in site.readers
        ]
        return next((why for why in whys if why), "")

    def check_all_used(self) -> None:
        """Refuse a selector that matched no weight.

        Raises
        ------
        InvalidValue
            Naming the first such selector.
        """
        for kind in _KINDS:
            for pattern in getattr(self.selection.recipe, kind):
                if (kind, pattern) not in self.selection.used:
                    what = "operator type" if kind.endswith("types") else "operator or constant"
                    raise InvalidValue(
                        f"{kind} {pattern!r} matches no {what} among the weights; `quantlib inspect --tensors` lists "
                        "the names"
                    )

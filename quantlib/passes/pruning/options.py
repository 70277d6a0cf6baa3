"""What `prune` is asked for, checked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from quantlib.calibration import Statistics, require_own
from quantlib.errors import InvalidValue
from quantlib.numerics import Gram, Refitted, zeros_of
from quantlib.tflite import Model

from ..reading import require_refit

_DEFAULT = 0.5
_RANKINGS = ("tensor", "global")
_LARGEST = 1024


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """How much goes, in what units, and how they are ranked.

    Attributes
    ----------
    sparsity : float
    block : int
        Elements that go together; 1 where each goes by itself.
    keep, group : int
        So many of every so many stay; 0 where there are no groups.
    together : bool
        All weights are ranked together.
    sensitivity : mapping of str to float, or None
    min_elements : int
    refit : mapping of str to (Gram or Refitted), or None
    statistics : Statistics or None
    """

    sparsity: float
    block: int = 1
    keep: int = 0
    group: int = 0
    together: bool = False
    sensitivity: Mapping[str, float] | None = None
    min_elements: int = 0
    refit: Mapping[str, Gram | Refitted] | None = None
    statistics: Statistics | None = None

    @property
    def unit(self) -> int:
        """Neighbours that the last axis must be a multiple of."""
        return self.group or self.block

    @classmethod
    def of(
        cls,
        sparsity: float | None,
        pattern: str,
        ranking: str,
        sensitivity: Mapping[str, float] | None,
        min_elements: int,
    ) -> PruneOptions:
        """Check what a caller gave.

        Raises
        ------
        InvalidValue
            If something isn't what `prune` takes, or says nothing beside something else.
        """
        if ranking not in _RANKINGS:
            raise InvalidValue(f"ranking is {ranking!r}; one of {', '.join(_RANKINGS)} is required")
        if isinstance(min_elements, bool) or not isinstance(min_elements, int) or min_elements < 0:
            raise InvalidValue(f"min_elements is {min_elements!r}; a whole number of 0 or more is required")
        if sensitivity is not None:
            _check_sensitivity(sensitivity)
        block, keep, group = _pattern(pattern)
        together = ranking == "global" or sensitivity is not None
        if not group:
            share = _DEFAULT if sparsity is None else sparsity
            zeros_of(0, share)
            return cls(float(share), block, 0, 0, together, sensitivity, min_elements)
        if together:
            what = "ranking 'global'" if sensitivity is None else "a sensitivity"
            raise InvalidValue(f"{what} says nothing beside pattern {pattern!r}, which has one sparsity everywhere")
        if sparsity is not None and not math.isclose(zeros_of(group, sparsity), group - keep, abs_tol=1e-9):
            raise InvalidValue(
                f"sparsity {sparsity!r} beside pattern {pattern!r}, which has {1 - keep / group:g}; leave it out"
            )
        return cls(1 - keep / group, 1, keep, group, min_elements=min_elements)

    def informed(
        self,
        model: Model,
        refit: Mapping[str, Gram | Refitted] | None,
        statistics: Statistics | None,
    ) -> PruneOptions:
        """The same with what is known of the samples, checked.

        Raises
        ------
        InvalidValue
            If it isn't of this model, or says nothing beside something else.
        """
        if refit is not None:
            require_refit(refit)
            for what, given in (("statistics", statistics), ("a sensitivity", self.sensitivity)):
                if given is not None:
                    raise InvalidValue(f"{what} says nothing beside refit, which knows more; leave one of them out")
        require_own(statistics, model)
        return replace(self, refit=refit, statistics=statistics)


def _pattern(pattern: str) -> tuple[int, int, int]:
    """Block, and how many of every group stay."""
    text = pattern if isinstance(pattern, str) else ""
    if text == "unstructured":
        return 1, 0, 0
    if (found := re.fullmatch(r"1x(\d{1,4})", text)) and 2 <= int(found[1]) <= _LARGEST:
        return int(found[1]), 0, 0
    if (found := re.fullmatch(r"(\d{1,4}):(\d{1,4})", text)) and 0 < int(found[1]) < int(found[2]) <= _LARGEST:
        return 1, int(found[1]), int(found[2])
    raise InvalidValue(
        f"pattern is {pattern!r}; unstructured, m:n with m less than n such as 2:4, or 1xn such as 1x4, is required"
    )


def _check_sensitivity(sensitivity: Mapping[str, float]) -> None:
    if not isinstance(sensitivity, Mapping):
        raise InvalidValue(
            f"sensitivity is a {type(sensitivity).__name__}; a mapping of weights' names to errors is required"
        )
    for name, error in sensitivity.items():
        number = isinstance(error, (int, float)) and not isinstance(error, bool)
        if not number or not math.isfinite(error) or error < 0:
            raise InvalidValue(f"sensitivity of {name!r} is {error!r}; a finite number of 0 or more is required")

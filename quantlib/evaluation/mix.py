"""Mix 8 and 16 bits: the operators that cost outputs most get 16-bit activations, until the rest is good enough."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from quantlib.calibration import Statistics
from quantlib.errors import InvalidRecipe, InvalidValue
from quantlib.operators import row
from quantlib.passes import apply_plan
from quantlib.recipes import OperatorPlan, Plan, Recipe, plan_integer
from quantlib.targets import Target, load
from quantlib.tflite import Model

from .compare import Reference
from .tune import divided, quality, recipe_for

#: The mode whose operators can be raised, their type in it, and the one that they are raised to.
_MODE, _NARROW, _WIDE = "int8", "INT8", "INT16"


@dataclass(frozen=True, slots=True)
class Raised:
    """An operator that gets 16-bit activations.

    Attributes
    ----------
    name, type : str
        As a plan has them.
    alone_db : float
        SQNR of the outputs, in decibels, with this operator at 8 bits and all others at 16.
    """

    name: str
    type: str
    alone_db: float


@dataclass(frozen=True, slots=True, repr=False)
class Mixed:
    """Which operators get 16-bit activations.

    Attributes
    ----------
    recipe : Recipe
        The one given, with these operators in `int16`.
    raised : tuple of Raised
        The costliest first.
    operators : int
        How many could be raised.
    at_least : float
        SQNR of the outputs that was asked for, in decibels.
    narrow_db, wide_db, sqnr_db : float
        What was measured with none, all and these at 16 bits; NaN for all where that wasn't needed.
    statistics : Statistics
        What the ranges were chosen from; `recipe` with these gives the model that was measured.
    samples : int
        Held back for measuring.
    runner : str
        What ran the models.
    """

    recipe: Recipe
    raised: tuple[Raised, ...]
    operators: int
    at_least: float
    narrow_db: float
    wide_db: float
    sqnr_db: float
    statistics: Statistics
    samples: int
    runner: str

    def to_dict(self) -> dict[str, Any]:
        """Return what was found as values that JSON knows."""
        figures = {k: getattr(self, k) for k in ("at_least", "narrow_db", "wide_db", "sqnr_db")}
        return {
            "operators": self.operators,
            "raised": [{"name": r.name, "type": r.type, "alone_db": _number(r.alone_db)} for r in self.raised],
            **{k: _number(v) for k, v in figures.items()},
            "samples": self.samples,
            "runner": self.runner,
        }

    def __str__(self) -> str:
        rows = [f"{'alone dB':>8}  {'at 16 bits':<24} name"] if self.raised else []
        rows += [f"{r.alone_db:8.2f}  {r.type:<24} {r.name}" for r in self.raised]
        found = f"{self.narrow_db:.2f} -> {self.sqnr_db:.2f} dB on {self.samples} samples held back"
        what = f"{len(self.raised)} of {self.operators} operators at 16 bits"
        return "\n".join([*rows, f"{what}: {found}, run by {self.runner}; {self.at_least:g} were asked for"])

    def __repr__(self) -> str:
        what = f"{len(self.raised)} of {self.operators} operators at 16 bits"
        return f"<Mixed: {what}, {self.sqnr_db:.1f} dB>"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def mix(
    model: Model,
    recipe: Recipe | str,
    data: Any,
    at_least: float,
    *,
    statistics: Statistics | None = None,
    held_back: int = 5,
    runner: str | None = None,
    signature: str | None = None,
    sequence: bool = False,
    executor: Executor | None = None,
    target: Target | str | None = None,
    progress: Callable[[int], object] | None = None,
) -> Mixed:
    """Give 16-bit activations to as few operators as outputs of a given SQNR need.

    Each operator is measured at 8 bits with all others at 16. Those that cost the outputs most are then raised, one
    more each time, until the outputs will do. Some samples are held back from calibration, to measure on what the
    ranges haven't seen; they stay in memory, and are run once for each operator, and once more for each that is
    raised.

    Parameters
    ----------
    model : Model
    recipe : Recipe or str
        Of mode ``int8``, or its name. What it has at 16 bits or in float stays so.
    data : array, mapping, path, iterable or callable
        The samples; see `calibrate`.
    at_least : float
        SQNR that outputs are to have, in decibels; the mean over the outputs.
    statistics : Statistics, optional
        Ranges come from these, and all of the data serve to measure: give samples that they haven't seen.
    held_back : int
        One sample of so many is held back: 5 means a fifth. Of a sequence it is the last part.
    runner : str, optional
        ``numpy`` or ``litert``; by default NumPy calibrates, and LiteRT measures where it is installed.
    signature : str, optional
        Which signature to run, where there are several.
    sequence : bool
        Keep variables and recurrent state from one sample to the next.
    executor : concurrent.futures.Executor, optional
        Runs the samples of the calibration.
    target : Target or str, optional
        What is to run the result; see `quantlib.plan`.
    progress : callable, optional
        Called with 1 after each operator.

    Returns
    -------
    Mixed
        Its `recipe` and `statistics` give the model that was measured.

    Raises
    ------
    InvalidRecipe
        If the recipe is of another mode.
    InvalidValue, NotFound, MissingExtra, WorkerFailed
        As `calibrate`, `plan` and `compare`; if there is only one sample; or if no mix is as good as asked for.

    Warns
    -----
    CalibrationWarning
        As `calibrate`.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> mixed = mix(model, "int8", ql.demo.CALIBRATION, 44)
    >>> mixed.sqnr_db > 44, 0 < len(mixed.raised) < mixed.operators
    (True, True)
    >>> small = ql.quantize(model, mixed.recipe, mixed.statistics)
    """
    recipe = recipe_for(model, recipe)
    if recipe.mode != _MODE:
        raise InvalidRecipe(f"mode {recipe.mode!r} can't be mixed with 16 bits; take a recipe of mode {_MODE!r}")
    if isinstance(at_least, bool) or not isinstance(at_least, (int, float)) or not math.isfinite(at_least):
        raise InvalidValue(f"at_least is {at_least!r}; a number of decibels is required, such as 30")
    run: dict[str, Any] = {"signature": signature, "sequence": sequence}
    statistics, kept = divided(model, data, statistics, held_back, runner=runner, executor=executor, **run)
    profile = load(target) if isinstance(target, str) else target
    trials = _Trials(model, recipe, statistics, profile, kept, {"runner": runner, **run})
    lowered, wide = _lowered(trials, float(at_least), progress)
    raised = [o for o in trials.operators if o.name not in lowered]
    alone = {o.name: trials.measured({o.name}) for o in raised}
    found = trials.measured(lowered)
    if found < at_least:
        best = f"the best has {found:.2f} dB, with {len(raised)} of {len(trials.operators)} operators at 16 bits"
        raise InvalidValue(
            f"no mix of 8 and 16 bits gives outputs of {at_least:g} dB: {best}; ask for less, or leave operators "
            "float (skip)"
        )
    return Mixed(
        trials.recipe(lowered),
        tuple(sorted((Raised(o.name, o.type, alone[o.name]) for o in raised), key=lambda r: r.alone_db)),
        len(trials.operators),
        float(at_least),
        trials.measured(trials.names),
        wide,
        found,
        statistics,
        len(kept),
        trials.runner,
    )


def _lowered(
    trials: _Trials, at_least: float, progress: Callable[[int], object] | None
) -> tuple[frozenset[str], float]:
    """Operators that stay at 8 bits: as many as can, or those with which it is best; SQNR without any."""
    if trials.measured(trials.names) >= at_least or not trials.operators:
        return trials.names, math.nan
    wide = trials.measured(frozenset())
    for operator in trials.operators:
        trials.measured({operator.name})
        if progress is not None:
            progress(1)
    order = sorted((o.name for o in trials.operators), key=lambda name: -trials.measured({name}))
    # Noises don't quite add up, and an operator between others costs what its ends are requantized by: measured one
    # after the other, from the fewest raised on, the first that will do has the fewest of all.
    parts = [frozenset(order[:count]) for count in reversed(range(len(order)))]
    found = next((part for part in parts if trials.measured(part) >= at_least), None)
    return found if found is not None else max(parts, key=trials.measured), wide


class _Trials:
    """Measures models with some operators at 8 bits and the others at 16, each once."""

    def __init__(
        self,
        model: Model,
        recipe: Recipe,
        statistics: Statistics,
        target: Target | None,
        samples: Sequence[Any],
        run: dict[str, Any],
    ) -> None:
        self._model, self._recipe, self._statistics, self._target = model, recipe, statistics, target
        self._reference = Reference(model, samples, **run)
        self._known: dict[frozenset[str], float] = {}
        self.runner = ""

    @cached_property
    def operators(self) -> list[OperatorPlan]:
        """Operators that could be raised, one of each name."""
        found = {p.name: p for p in self._plan(self._recipe).operators if p.mode == _NARROW and _rises(p)}
        return list(found.values())

    @cached_property
    def names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(o.name for o in self.operators)

    def recipe(self, lowered: frozenset[str]) -> Recipe:
        """The recipe with all but some operators at 16 bits."""
        raised = (f"^{re.escape(o.name)}$" for o in self.operators if o.name not in lowered)
        return self._recipe.replace(int16=(*self._recipe.int16, *raised))

    def measured(self, lowered: Sequence[str] | frozenset[str] | set[str]) -> float:
        """SQNR of the outputs with some operators at 8 bits, in decibels."""
        key = frozenset(lowered)
        if key not in self._known:
            small = apply_plan(self._model, self._plan(self.recipe(key)))
            result = self._reference.compare(small)
            self._known[key], self.runner = quality(result), result.runner
        return self._known[key]

    def _plan(self, recipe: Recipe) -> Plan:
        return plan_integer(self._model, recipe, self._statistics, self._target)


def _rises(plan: OperatorPlan) -> bool:
    """Whether an operator has kernels with 16-bit activations."""
    integer = row(plan.type).integer
    return integer is not None and _WIDE in integer.types

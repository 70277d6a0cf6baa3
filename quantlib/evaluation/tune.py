"""Try the rules that choose ranges, and keep the one whose model answers most like the float model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from quantlib.calibration import RANGES, Headroom, MinMax, Percentile, RangeChooser, Statistics
from quantlib.errors import InvalidRecipe, InvalidValue
from quantlib.passes import apply_plan
from quantlib.recipes import Recipe, by_name, plan_integer
from quantlib.runners import calibrate, finite_samples, interface_of, samples
from quantlib.targets import Target, load
from quantlib.tflite import Model

from .compare import Reference
from .sums import mean_sqnr
from .values import Comparison

#: Rules for activations, and for weights.
CHOOSERS: tuple[RangeChooser, ...] = (*(kind() for kind in RANGES.values()), Percentile(99.999))
WEIGHT_RANGES = ("minmax", "mse")


@dataclass(frozen=True, slots=True)
class Trial:
    """One recipe that was tried.

    Attributes
    ----------
    recipe : Recipe
    sqnr_db : float
        Signal to noise of the held-back samples' outputs, in decibels; the mean over the outputs.
    """

    recipe: Recipe
    sqnr_db: float

    @property
    def range(self) -> str:
        """The rule for activations, in words."""
        name, p = str(self.recipe.range), self.recipe.percentile
        return f"{name} {p:g}" if name == Percentile.name else name


@dataclass(frozen=True, slots=True, repr=False)
class Tuned:
    """What was tried, best first.

    Attributes
    ----------
    trials : tuple of Trial
    statistics : Statistics
        What the ranges were chosen from; `recipe` with these gives the model that was measured.
    samples : int
        Held back for measuring.
    runner : str
        What ran the models.
    """

    trials: tuple[Trial, ...]
    statistics: Statistics
    samples: int
    runner: str

    @property
    def recipe(self) -> Recipe:
        """The best recipe."""
        return self.trials[0].recipe

    def to_dict(self) -> dict[str, Any]:
        """Return what was tried as values that JSON knows."""
        rows = [{"range": t.range, "weight_range": t.recipe.weight_range, "sqnr_db": t.sqnr_db} for t in self.trials]
        return {"samples": self.samples, "runner": self.runner, "trials": rows}

    def __str__(self) -> str:
        rows = [f"{'range':<20} {'weights':<8} {'SQNR dB':>8}"]
        rows += [f"{t.range:<20} {t.recipe.weight_range:<8} {t.sqnr_db:8.2f}" for t in self.trials]
        return "\n".join([*rows, f"{self.samples} samples held back, run by {self.runner}"])

    def __repr__(self) -> str:
        best = self.trials[0]
        rule = f"{best.range}, weights {best.recipe.weight_range}"
        return f"<Tuned: {rule}, {best.sqnr_db:.1f} dB, best of {len(self.trials)}>"


def tune(
    model: Model,
    recipe: Recipe | str,
    data: Any,
    *,
    statistics: Statistics | None = None,
    held_back: int = 5,
    runner: str | None = None,
    signature: str | None = None,
    sequence: bool = False,
    executor: Executor | None = None,
    target: Target | str | None = None,
    progress: Callable[[int], object] | None = None,
) -> Tuned:
    """Try all rules for ranges, and keep the one whose model answers most like the float model.

    Tried are all rules of `quantlib.ranges` for activations (`Headroom` with 16 bits alone), percentile with 99.99,
    99.999 and the recipe's own; then, with the best of them, the other rule for weights. Some samples are held back
    from calibration, to measure on what the ranges haven't seen; they stay in memory.

    Parameters
    ----------
    model : Model
    recipe : Recipe or str
        A recipe with integer activations, or the name of one. All but its ranges is kept.
    data : array, mapping, path, iterable or callable
        The samples; see `calibrate`.
    statistics : Statistics, optional
        Ranges come from these, and all of the data serve to measure: give samples that they haven't seen. Those of
        an observer without histograms serve minmax, and headroom with 16 bits.
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
        Called with a number of samples whenever so many more are calibrated.

    Returns
    -------
    Tuned
        What was tried, best first. Its `recipe` and `statistics` give the model that was measured best.

    Raises
    ------
    InvalidRecipe
        If the recipe leaves activations float.
    InvalidValue, NotFound, MissingExtra, WorkerFailed
        As `calibrate`, `plan` and `compare`; or if there is only one sample.

    Warns
    -----
    CalibrationWarning
        As `calibrate`.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> tuned = ql.tune(model, "int8", ql.demo.CALIBRATION)
    >>> small = ql.quantize(model, tuned.recipe, tuned.statistics)
    >>> tuned.samples, len(tuned.trials)
    (20, 7)
    """
    recipe = recipe_for(model, recipe)
    if not recipe.activations:
        raise InvalidRecipe(f"mode {recipe.mode!r} has no ranges of activations to tune; take int8, int16x8 or uint8")
    run: dict[str, Any] = {"signature": signature, "sequence": sequence}
    statistics, kept = divided(
        model, data, statistics, held_back, runner=runner, executor=executor, progress=progress, **run
    )
    profile = load(target) if isinstance(target, str) else target
    reference = Reference(model, kept, runner=runner, **run)
    tried: list[Trial] = []
    used = ""

    def best_of(candidates: Iterable[Recipe]) -> Recipe:
        nonlocal used
        for one in candidates:
            small = apply_plan(model, plan_integer(model, one, statistics, profile))
            result = reference.compare(small)
            tried.append(Trial(one, quality(result)))
            used = result.runner
        tried.sort(key=lambda t: -t.sqnr_db)
        return tried[0].recipe

    best = best_of(_candidates(recipe, statistics))
    best_of(best.replace(weight_range=w) for w in WEIGHT_RANGES if w != best.weight_range)
    return Tuned(tuple(tried), statistics, len(kept), used)


def recipe_for(model: object, recipe: object) -> Recipe:
    """A recipe, or that of a name; `InvalidValue` if it, or the model, is something else."""
    found = by_name(recipe) if isinstance(recipe, str) else recipe
    if not isinstance(model, Model) or not isinstance(found, Recipe):
        raise InvalidValue(
            f"model is a {type(model).__name__} and recipe a {type(found).__name__}; a Model and a Recipe, or the "
            "name of one, are required"
        )
    return found


def divided(
    model: Model,
    data: Any,
    statistics: Statistics | None,
    held_back: int,
    *,
    runner: str | None = None,
    signature: str | None = None,
    sequence: bool = False,
    executor: Executor | None = None,
    progress: Callable[[int], object] | None = None,
) -> tuple[Statistics, list[Any]]:
    """Statistics of a part of the samples, and the samples that were held back; with statistics given, all are.

    Raises
    ------
    InvalidValue
        If `held_back` is no whole number of 2 or more, or there is only one sample; else as `calibrate`.
    """
    if isinstance(held_back, bool) or not isinstance(held_back, int) or held_back < 2:
        raise InvalidValue(
            f"held_back is {held_back!r}; a whole number of 2 or more is required: one sample of so many"
        )
    interface = interface_of(model, signature)
    rows = finite_samples(samples(data, interface), interface)
    kept: list[Any] = []
    if statistics is not None:
        kept.extend(rows)
        return statistics, kept
    others = _first_part(list(rows), kept, held_back) if sequence else _others(rows, kept, held_back)
    found = calibrate(
        model,
        _required(others),
        runner=runner or "numpy",
        signature=signature,
        sequence=sequence,
        executor=executor,
        progress=progress,
    )
    return found, kept


def _others(rows: Iterator[Any], kept: list[Any], held_back: int) -> Iterator[Any]:
    """All samples but every n-th, the first of all included; these are kept."""
    for number, row in enumerate(rows):
        if number % held_back:
            yield row
        else:
            kept.append(row)


def _first_part(rows: list[Any], kept: list[Any], held_back: int) -> Iterator[Any]:
    """The first part of a sequence, which can't have gaps; the last n-th is kept."""
    end = len(rows) - max(1, len(rows) // held_back)
    kept.extend(rows[end:])
    yield from rows[:end]


def _required(rows: Iterator[Any]) -> Iterator[Any]:
    """The same samples; one at least."""
    empty = True
    for row in rows:
        empty = False
        yield row
    if empty:
        raise InvalidValue(
            "the data has one sample, which is held back for measuring, and none to calibrate with; give more"
        )


def _candidates(recipe: Recipe, statistics: Statistics) -> list[Recipe]:
    """The recipe with its own rule and with every other that the statistics can serve."""
    if statistics.observer != "histogram":
        rules = (MinMax(), Headroom()) if recipe.activations == "INT16" else (MinMax(),)
        return [recipe.replace(range=rule) for rule in rules]
    own = [] if recipe.range is None else [recipe]
    others = (c for c in CHOOSERS if recipe.activations == "INT16" or not isinstance(c, Headroom))
    return list(dict.fromkeys([*own, *(recipe.replace(range=c) for c in others)]))


def quality(result: Comparison) -> float:
    """How well outputs answer: the mean SQNR in dB of those that are float in A; of all where none is."""
    outputs = [o for o in result.outputs if o.type_a.startswith("FLOAT")] or result.outputs
    return mean_sqnr(o.sqnr_db for o in outputs)

"""What `quantize` and `plan` share: statistics, `--tune`, and what `--strict` says."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import quantlib.api as api
from quantlib.errors import InvalidValue
from quantlib.recipes import Plan, Recipe

from .calibrate import add_jobs, calibrated, processes
from .common import RUNNER, add_samples, layer_bar, recipe_from, require_together, sample_bar, warnings_as_lines

if TYPE_CHECKING:
    from quantlib.calibration import Statistics
    from quantlib.evaluation import Mixed, Tuned
    from quantlib.tflite import Model

#: Options that speak of the samples.
_OF_DATA = ("runner", "signature", "sequence", "jobs")


def add_statistics(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where ranges of activations come from."""
    parser.add_argument("--stats", metavar="STATS", help="statistics that `quantlib calibrate` wrote")
    add_samples(parser, required=False, default=f"{RUNNER}; options that measure take litert where it is installed")
    add_jobs(parser)
    parser.add_argument(
        "--tune", action="store_true", help="try all rules for ranges on a part of --data, and take the best"
    )
    parser.add_argument(
        "--at-least",
        type=float,
        metavar="DB",
        help="give 16-bit activations to as few operators as outputs of this SQNR need, measured on a part of --data",
    )


def planned(options: argparse.Namespace, model: Model) -> tuple[Plan, Tuned | Mixed | None]:
    """Make the plan that a command line asks for, and what was tried for it."""
    recipe, command = recipe_from(options), options.command
    corrected = getattr(options, "correct_bias", False)  # `plan` changes nothing, so has no such option
    if corrected:
        require_together(options, "--correct-bias", all_of=("data",))
    measures = "--tune" if options.tune else "--at-least" if options.at_least is not None else ""
    if options.tune and options.at_least is not None:
        raise InvalidValue("--tune and --at-least: each measures by itself; give one of them")
    if not recipe.activations:
        what = f"mode {recipe.mode!r}, which looks at no activations"
        odd = ("stats", "tune", "at_least", "jobs") if corrected else ("stats", "data", "tune", "at_least", *_OF_DATA)
        require_together(options, what, none_of=odd)
    elif measures and not options.data:
        require_together(options, measures, all_of=("data",))
    elif not options.data:
        require_together(options, "a missing --data", none_of=_OF_DATA)
    elif options.stats and not measures and not corrected:
        raise InvalidValue("--stats and --data: either has the ranges; give one of them")
    elif options.stats and not measures:
        require_together(options, "--stats, which has the ranges", none_of=("jobs",))
    with warnings_as_lines(command):
        if measures:
            tried = _tuned(options, model, recipe) if options.tune else _mixed(options, model, recipe)
            return api.plan(model, tried.recipe, tried.statistics, target=options.target), tried
        observed = bool(recipe.activations and options.data and not options.stats)
        statistics = calibrated(model, options) if observed else _loaded(options)
        return api.plan(model, recipe, statistics, target=options.target), None


def _loaded(options: argparse.Namespace) -> Statistics | None:
    from quantlib.calibration import load

    return load(options.stats) if options.stats else None


def _tuned(options: argparse.Namespace, model: Model, recipe: Recipe) -> Tuned:
    from quantlib.evaluation import tune

    with processes(options.jobs) as executor, sample_bar(options.data) as progress:
        return tune(model, recipe, options.data, **_measuring(options), executor=executor, progress=progress)


def _mixed(options: argparse.Namespace, model: Model, recipe: Recipe) -> Mixed:
    from quantlib.evaluation import mix

    how = _measuring(options)
    with processes(options.jobs) as executor, layer_bar() as progress:
        return mix(model, recipe, options.data, options.at_least, **how, executor=executor, progress=progress)


def _measuring(options: argparse.Namespace) -> dict[str, Any]:
    """What says how models are measured."""
    how = {k: getattr(options, k) for k in ("runner", "signature", "sequence", "target")}
    return {"statistics": _loaded(options), **how}


def tried_as(options: argparse.Namespace) -> str:
    """What JSON calls that which was tried for a plan."""
    return "mixed" if options.at_least is not None else "tuned"


def refused(options: argparse.Namespace, plan: Plan) -> bool:
    """Whether `--strict` forbids a plan; says on standard error what would stay float."""
    if not options.strict or not plan.leftovers:
        return False
    left, activations = plan.leftovers, bool(plan.recipe.activations)
    what = f"{'operator' if activations else 'constant'}{'s' if len(left) > 1 else ''}"
    lines = [f"\n{_place(p)}: {p.reason}" for p in left] if activations else [" " + ", ".join(map(_place, left))]
    print(f"quantlib {options.command}: {len(left)} {what} would stay float:", *lines, sep="", file=sys.stderr)
    return True


def _place(left: Any) -> str:
    """What stays float: a constant by its name, an operator by type and name."""
    if hasattr(left, "tensor"):
        return left.name or str((left.subgraph, left.tensor))
    return f"{left.type} {left.name}"

"""`quantlib quantize`: a smaller model."""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

import quantlib.api as api
from quantlib.tflite import Model, plan_layout, read

from .activations import add_statistics, planned, refused, tried_as
from .common import add_recipe, layer_bar, print_json, progress_bar, require_folder, warnings_as_lines

if TYPE_CHECKING:
    from quantlib.passes import Edited

#: Samples that biases are corrected by: the model is run over them once for each layer.
_SAMPLES = 64


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("quantize", help="quantize a model")
    add_recipe(parser)
    add_statistics(parser)
    parser.add_argument(
        "--correct-bias",
        action="store_true",
        help=f"shift biases by what the first {_SAMPLES} samples of --data say, layer after layer",
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="where to write; may be MODEL itself")
    parser.set_defaults(run=run)


def _corrected(options: argparse.Namespace, model: Model, small: Model) -> Edited:
    from quantlib.evaluation import correct_bias  # here, since importing the commands is to cost next to nothing
    from quantlib.runners import interface_of, samples

    data = list(islice(samples(options.data, interface_of(model, options.signature)), _SAMPLES))
    how = {"signature": options.signature, "runner": options.runner, "sequence": options.sequence}
    with warnings_as_lines(options.command), layer_bar() as progress:
        return correct_bias(model, small, data, **how, progress=progress)


def _summary(found: Edited) -> str:
    totals = found.totals
    what = f"biases of {len(found.done)} layers corrected"
    if found.done:
        what += (
            f": {totals['sqnr_db_before']:.2f} -> {totals['sqnr_db']:.2f} dB on {totals['samples']} samples, "
            f"{totals['nearer']} outputs nearer and {totals['farther']} farther off"
        )
    return "; ".join([what, *found.notes])


def run(options: argparse.Namespace) -> int:
    """Quantize, write and report."""
    require_folder(options.output, options.data, options.stats, options.recipe)
    model = read(options.model)
    plan, tried = planned(options, model)
    if refused(options, plan):
        return 1
    small, corrected = api.quantize(model, plan), None
    if options.correct_bias:
        corrected = _corrected(options, model, small)
        small = corrected.model
    found = api.check(small, options.target).violations if options.target else ()
    if found and options.strict:
        print(*(f"quantlib quantize: {violation}" for violation in found), sep="\n", file=sys.stderr)
        return 1
    before = model.source.size
    with progress_bar(plan_layout(small).size, "writing") as progress:
        after = small.write(options.output, progress=progress)
    totals = plan.totals()
    if options.json:
        sizes = {"output": options.output, "bytes_before": before, "bytes_after": after}
        more = {tried_as(options): tried, "correct_bias": corrected}
        print_json({**sizes, **{k: v.to_dict() for k, v in more.items() if v is not None}, **plan.to_dict()})
    else:
        what, kept = ("operators", "left float") if plan.recipe.activations else ("constants", "kept")
        print(
            *([tried] if tried else []),
            f"{options.output}: {before:,} -> {after:,} bytes ({after / before:.3f}); "
            f"{what}: {plan.counts() or 'none changed'}, {totals['kept']} {kept} (quantlib plan says why)",
            *([_summary(corrected)] if corrected else []),
            sep="\n",
        )
    unmet = [f"{options.target} doesn't take it as it is: {violation}" for violation in found]
    for line in (*plan.notes, plan.nothing(), *unmet):
        if line:
            print(f"quantlib quantize: warning: {line}", file=sys.stderr)
    return 0

"""`quantlib quantize`: a smaller model."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import quantlib.api as api
from quantlib.tflite import plan_layout, read

from .activations import add_statistics, planned, refused
from .common import add_recipe, print_json, progress_bar, require_folder


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("quantize", help="quantize a model")
    add_recipe(parser)
    add_statistics(parser)
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="where to write; may be MODEL itself")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Quantize, write and report."""
    require_folder(options.output, options.data, options.stats, options.recipe)
    model = read(options.model)
    plan, tuned = planned(options, model)
    if refused(options, plan):
        return 1
    small = api.quantize(model, plan)
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
        print_json({**sizes, **({"tuned": tuned.to_dict()} if tuned else {}), **plan.to_dict()})
    else:
        what, kept = ("operators", "left float") if plan.recipe.activations else ("constants", "kept")
        print(
            *([tuned] if tuned else []),
            f"{options.output}: {before:,} -> {after:,} bytes ({after / before:.3f}); "
            f"{what}: {plan.counts() or 'none changed'}, {totals['kept']} {kept} (quantlib plan says why)",
            sep="\n",
        )
    unmet = [f"{options.target} doesn't take it as it is: {violation}" for violation in found]
    for line in (*plan.notes, plan.nothing(), *unmet):
        if line:
            print(f"quantlib quantize: warning: {line}", file=sys.stderr)
    return 0

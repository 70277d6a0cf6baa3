"""`quantlib quantize`: a smaller model."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import quantlib.api as api
from quantlib.tflite import plan_layout, read

from .common import add_recipe, print_json, progress_bar, recipe_from


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("quantize", help="quantize a model")
    add_recipe(parser)
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="where to write; may be MODEL itself")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Quantize, write and report."""
    model = read(options.model)
    plan = api.plan(model, recipe_from(options))
    if options.strict and plan.leftovers:
        names = ", ".join(d.name or str((d.subgraph, d.tensor)) for d in plan.leftovers)
        print(f"quantlib quantize: {len(plan.leftovers)} constants would stay float: {names}", file=sys.stderr)
        return 1
    small = api.quantize(model, plan)
    before = model.source.size
    with progress_bar(plan_layout(small).size, "writing") as progress:
        after = small.write(options.output, progress=progress)
    totals = plan.totals()
    if options.json:
        print_json({"output": options.output, "bytes_before": before, "bytes_after": after, **plan.to_dict()})
        return 0
    print(
        f"{options.output}: {before:,} -> {after:,} bytes ({after / before:.3f}); "
        f"constants: {plan.counts() or 'none changed'}, {totals['kept']} kept (quantlib plan says why)"
    )
    if not plan.quantized:
        print(f"quantlib quantize: warning: {plan.nothing()}", file=sys.stderr)
    return 0

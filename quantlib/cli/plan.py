"""`quantlib plan`: what quantize would do."""

from __future__ import annotations

import argparse
from typing import Any

import quantlib.api as api
from quantlib.tflite import read

from .common import add_recipe, print_json, recipe_from


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("plan", help="say what quantize would do, and why it leaves something alone")
    add_recipe(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the plan."""
    plan = api.plan(read(options.model), recipe_from(options))
    if options.json:
        print_json(plan.to_dict())
    else:
        print(plan)
    return 1 if options.strict and plan.leftovers else 0

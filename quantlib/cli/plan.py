"""`quantlib plan`: what quantize would do."""

from __future__ import annotations

import argparse
from typing import Any

from quantlib.tflite import read

from .activations import add_statistics, planned, refused, tried_as
from .common import add_recipe, print_json, print_text


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("plan", help="say what quantize would do, and why it leaves something alone")
    add_recipe(parser)
    add_statistics(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the plan."""
    plan, tried = planned(options, read(options.model))
    if options.json:
        print_json({**({tried_as(options): tried.to_dict()} if tried else {}), **plan.to_dict()})
    else:
        print_text(*([tried] if tried else []), plan)
    return 1 if refused(options, plan) else 0

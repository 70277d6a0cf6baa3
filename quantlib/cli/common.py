"""Options and printing that several commands share."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from quantlib.recipes import PRESETS, Recipe, by_name, load

if TYPE_CHECKING:
    from collections.abc import Callable


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add the options that make a recipe."""
    parser.add_argument("model", metavar="MODEL", help="a .tflite file")
    parser.add_argument(
        "--recipe", required=True, metavar="NAME|FILE.toml", help=f"{', '.join(PRESETS)}, or a TOML file"
    )
    parser.add_argument("--range", choices=["minmax", "mse"], help="how the range of a weight is chosen")
    parser.add_argument("--granularity", choices=["channel", "tensor", "block"], help="which weights share a scale")
    parser.add_argument("--block-size", type=int, metavar="N", help="elements of a block")
    parser.add_argument("--asymmetric", action="store_true", help="weights with zero points (weight-only)")
    parser.add_argument("--min-elements", type=int, metavar="N", help="leave smaller constants alone")
    for name, what in (("only", "quantize nothing else"), ("skip", "leave these alone")):
        parser.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="REGEX",
            help=f"{what}: searched in names of operators and constants",
        )
        parser.add_argument(
            f"--{name}-type",
            action="append",
            default=[],
            metavar="OPERATOR",
            help=f"{what}: operator type such as CONV_2D",
        )
    parser.add_argument("--strict", action="store_true", help="fail where a float constant stays that isn't skipped")
    add_json(parser)


def recipe_from(options: argparse.Namespace) -> Recipe:
    """Make the recipe that a command line asks for."""
    name: str = options.recipe
    is_file = name.endswith(".toml") or os.sep in name or os.path.isfile(name)
    recipe = load(name) if is_file and name not in PRESETS else by_name(name)
    changes: dict[str, Any] = {
        "range": options.range,
        "granularity": options.granularity or ("block" if options.block_size is not None else None),
        "block_size": options.block_size,
        "min_elements": options.min_elements,
        "symmetric": False if options.asymmetric else None,
        "only": tuple(options.only) or None,
        "skip": tuple(options.skip) or None,
        "only_types": tuple(options.only_type) or None,
        "skip_types": tuple(options.skip_type) or None,
    }
    changes = {k: v for k, v in changes.items() if v is not None}
    return recipe.replace(**changes)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    print()


@contextmanager
def progress_bar(total: int, what: str) -> Iterator[Callable[[int], object] | None]:
    """Show progress on a terminal, where the work is long enough to look at."""
    if total < 1 << 26 or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit="B", unit_scale=True, leave=False) as bar:
        yield bar.update

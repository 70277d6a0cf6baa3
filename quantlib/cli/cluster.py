"""`quantlib cluster`: few different values in each weight."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from quantlib.passes import Edited, cluster

from .common import require_together
from .edited import (
    MEASURING,
    add_measuring,
    add_selectors,
    edit_parser,
    finished,
    measured,
    opened,
    refuse,
    selectors,
)


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = edit_parser(commands, "cluster", "let each weight have few different values, which packs well")
    add = parser.add_argument
    add("--clusters", type=int, default=16, metavar="K", help="different values, 2 to 4096; 16 by default")
    add("--per", default="tensor", metavar="tensor|channel", help="of each weight (default), or each output channel")
    add("--start", metavar="NAME", help="start of k-means: density (default), linear, k-means++")
    add("--seed", type=int, metavar="N", help="for k-means++; 0 by default")
    add("--free-zeros", action="store_true", help="zeros may become other values, as any value may")
    add(
        "--grid",
        metavar="int8|int8-tensor",
        help="values that int8 quantization doesn't change: with a scale per channel, or one per tensor",
    )
    add("--min-elements", type=int, default=0, metavar="N", help="leave smaller weights alone; 0 by default")
    add("--refit", action="store_true", help="let elements make up for each other's errors on --data, and biases")
    add_measuring(parser)
    add_selectors(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Cluster, write and report."""
    if options.refit:
        require_together(options, "--refit", all_of=("data",))
    else:
        refuse(options, "clustering without --refit", MEASURING)
    model = opened(options)
    chosen: dict[str, Any] = {
        "per": options.per,
        "start": options.start,
        "preserve_zeros": not options.free_zeros,
        "grid": options.grid,
        "seed": options.seed,
        "min_elements": options.min_elements,
        **selectors(options),
    }
    edit: Callable[..., Edited] = partial(cluster, clusters=options.clusters, **chosen)
    found = measured(options, "refit", model, edit) if options.refit else {}
    return finished(options, model, edit(model, **found))

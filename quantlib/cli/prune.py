"""`quantlib prune`: weights of least magnitude, or whole channels, removed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from quantlib.passes import Edited, prune
from quantlib.tflite import Model

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

#: What says nothing beside --channels.
_WEIGHTS_ONLY = ("sparsity", "pattern", "sensitivity", "refit", "encode", "deflated")


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = edit_parser(commands, "prune", "set the weights of least magnitude to zero, or remove whole channels")
    add = parser.add_argument
    add("--sparsity", type=float, metavar="S", help="share of zeros, from 0 to less than 1; 0.5 by default")
    add("--pattern", metavar="P", help="unstructured (default), 2:4 (or any m:n), 1x4 or 1x16 (or any 1xn)")
    add("--ranking", metavar="tensor|global", help="rank each layer by itself (default), or all together")
    add("--encode", action="store_true", help="store pruned weights without their zeros, where LiteRT reads that")
    add("--channels", type=float, metavar="FRACTION", help="remove so many output channels through the graph instead")
    add("--sensitivity", action="store_true", help="share the sparsity out by what each weight costs on --data")
    add("--refit", action="store_true", help="choose by what --data says, and refit weights and biases that stay")
    add("--stats", metavar="FILE", help="statistics of the model: biases take up what goes gave on average")
    add_measuring(parser)
    add("--deflated", action="store_true", help="say what the file takes after deflate, even from 64 MiB on")
    add("--first-last", action="store_true", help="change the first and the last layers, too")
    add("--min-elements", type=int, metavar="N", help="leave smaller weights alone; 1024 by default")
    add_selectors(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prune, write and report."""
    if options.channels is not None:
        refuse(options, "--channels", (*_WEIGHTS_ONLY, *MEASURING, "min_elements"))
    elif options.sensitivity or options.refit:
        what = "--refit" if options.refit else "--sensitivity"
        require_together(options, what, all_of=("data",))
        refuse(options, what, ("sensitivity", "stats") if options.refit else ())
    else:
        refuse(options, "pruning without --sensitivity or --refit", MEASURING)
    model = opened(options)
    chosen: dict[str, Any] = {**selectors(options), "first_last": options.first_last}
    if options.ranking is not None:
        chosen["ranking"] = options.ranking
    if options.stats:
        from quantlib.calibration import load  # here, since importing the commands is to cost next to nothing

        chosen["statistics"] = load(options.stats)
    if options.channels is not None:
        from quantlib.passes import prune_channels

        return finished(options, model, prune_channels(model, options.channels, **chosen))
    return finished(options, model, _pruned(options, model, chosen))


def _pruned(options: argparse.Namespace, model: Model, chosen: dict[str, Any]) -> Edited:
    given: dict[str, Any] = {"sparsity": options.sparsity, "pattern": options.pattern}
    given["min_elements"] = options.min_elements
    edit: Callable[..., Edited] = partial(prune, **chosen, **{k: v for k, v in given.items() if v is not None})
    measure = "refit" if options.refit else "sensitivity" if options.sensitivity else ""
    found = measured(options, measure, model, edit) if measure else {}
    return edit(model, **found, encode=options.encode, deflated=options.deflated or None)

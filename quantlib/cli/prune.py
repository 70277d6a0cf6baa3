"""`quantlib prune`: weights of least magnitude, or whole channels, removed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from quantlib.errors import InvalidValue
from quantlib.passes import Edited, prune
from quantlib.tflite import Model

from .common import add_samples, require_together, warnings_as_lines
from .edited import add_selectors, edit_parser, finished, opened, selectors

#: What says nothing beside --channels.
_WEIGHTS_ONLY = ("sparsity", "pattern", "sensitivity", "refit", "encode", "deflated")
#: What says nothing without --sensitivity or --refit.
_MEASURING = ("data", "runner", "signature", "sequence")


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
    add_samples(parser, required=False)
    add("--deflated", action="store_true", help="say what the file takes after deflate, even from 64 MiB on")
    add("--first-last", action="store_true", help="change the first and the last layers, too")
    add("--min-elements", type=int, metavar="N", help="leave smaller weights alone; 1024 by default")
    add_selectors(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prune, write and report."""
    if options.channels is not None:
        _refuse(options, "--channels", (*_WEIGHTS_ONLY, *_MEASURING, "min_elements"))
    elif options.sensitivity or options.refit:
        what = "--refit" if options.refit else "--sensitivity"
        require_together(options, what, all_of=("data",))
        _refuse(options, what, ("sensitivity", "stats") if options.refit else ())
    else:
        _refuse(options, "pruning without --sensitivity or --refit", _MEASURING)
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


def _refuse(options: argparse.Namespace, what: str, names: tuple[str, ...]) -> None:
    """Refuse options that say nothing, 0 included."""
    given = {name: getattr(options, name) for name in names}
    odd = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None and value is not False]
    if odd:
        raise InvalidValue(f"{', '.join(odd)} says nothing beside {what}; leave it out")


def _pruned(options: argparse.Namespace, model: Model, chosen: dict[str, Any]) -> Edited:
    given: dict[str, Any] = {"sparsity": options.sparsity, "pattern": options.pattern}
    given["min_elements"] = options.min_elements
    edit: Callable[..., Edited] = partial(prune, **chosen, **{k: v for k, v in given.items() if v is not None})
    found = {**_measured(options, model, edit), "encode": options.encode, "deflated": options.deflated or None}
    return edit(model, **found)


def _measured(options: argparse.Namespace, model: Model, edit: Callable[..., Edited]) -> dict[str, Any]:
    """What samples say, as `prune` takes it."""
    if not (options.sensitivity or options.refit):
        return {}
    from quantlib.evaluation import refit, sensitivity  # here for the same reason

    how = {"signature": options.signature, "runner": options.runner, "sequence": options.sequence}
    with warnings_as_lines("prune"):
        if options.refit:
            return {"refit": refit(model, options.data, edit, **how)}
        return {"sensitivity": sensitivity(model, options.data, edit, **how)}

"""`quantlib retype`: other types at a model's ends, in its weights or throughout; another batch or shape."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from quantlib.errors import InvalidValue
from quantlib.passes import retype
from quantlib.targets import NAMES

from .common import pair
from .edited import edit_parser, finished, opened


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = edit_parser(
        commands, "retype", "change types of a finished model's ends, weights or integers, or its shape"
    )
    for end in ("input", "output"):
        parser.add_argument(
            f"--{end}-type",
            action="append",
            default=[],
            metavar="[NAME=]T",
            help=f"type of all {end}s, or of one by name: float32, int8, uint8 or int16",
        )
    parser.add_argument(
        "--input-stats",
        type=pair,
        metavar="MEAN,STD",
        help="what integers of 0..255 at an input of a float model mean: (value - MEAN) / STD",
    )
    parser.add_argument(
        "--weights", metavar="FORM", help="per-tensor: one scale each; int8: UINT8 weights of operators on floats"
    )
    parser.add_argument(
        "--activations",
        metavar="T",
        help="integers throughout: int8 of a uint8 model, less 128 each; int16 with the same weights",
    )
    parser.add_argument("--batch", metavar="N|dynamic", help="first dimension of all inputs")
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=N,N,...",
        help="shape of an input; -1 is a dimension that is chosen when the model runs",
    )
    parser.add_argument("--target", metavar="NAME", help=f"refuse what this doesn't take: {', '.join(NAMES)}")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the changed model, and say what was changed."""
    model = opened(options)
    edited = retype(
        model,
        input_type=_types(options.input_type),
        output_type=_types(options.output_type),
        input_stats=options.input_stats,
        weights=options.weights,
        activations=options.activations,
        batch=_batch(options.batch),
        shapes=dict(_shape(text) for text in options.shape) or None,
        target=options.target,
    )
    return finished(options, model, edited)


def _types(words: Sequence[str]) -> str | dict[str, str] | None:
    """One type for all, or types by name; tensor names may have ``=`` in them."""
    types: dict[str, str] = {}
    for word in words:
        name, _, kind = word.rpartition("=")
        types[name] = kind
    return types.get("", types) if len(types) == 1 else types or None


def _batch(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.lstrip("-").isdigit() else text


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, numbers = text.rpartition("=")
    try:
        return name, tuple(int(n) for n in numbers.split(","))
    except ValueError:
        raise InvalidValue(f"--shape {text!r}: NAME=N,N,... with whole numbers is required") from None

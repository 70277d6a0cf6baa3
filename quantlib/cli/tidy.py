"""`quantlib tidy`: take out of a model what does nothing."""

from __future__ import annotations

import argparse
from typing import Any

from quantlib.passes import tidy

from .edited import edit_parser, finished, opened

#: Flag, keyword, and what the flag leaves alone.
_KEPT = (
    ("--keep-constants", "merge_constants", "equal constants"),
    ("--keep-unreachable", "drop_unreachable", "operators, tensors, buffers and subgraphs that nobody reaches"),
    ("--keep-pairs", "remove_pairs", "QUANTIZE and DEQUANTIZE that cancel each other"),
    ("--keep-reshapes", "remove_reshapes", "RESHAPE that changes no shape"),
    ("--keep-tables", "pack_tables", "tables that are larger than they need be, if there is nothing else to do"),
)


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = edit_parser(commands, "tidy", "take out what does nothing: duplicates, leftovers, steps there and back")
    for flag, keyword, what in _KEPT:
        parser.add_argument(flag, dest=keyword, action="store_false", help=f"leave alone: {what}")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the tidied model, and say what went."""
    model = opened(options)
    return finished(options, model, tidy(model, **{keyword: getattr(options, keyword) for _, keyword, _ in _KEPT}))

"""`quantlib dequantize`: a quantized model given back in float32."""

from __future__ import annotations

import argparse
from typing import Any

from quantlib.passes import dequantize

from .edited import edit_parser, finished, opened


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = edit_parser(commands, "dequantize", "give a quantized model back in float32")
    parser.add_argument(
        "--no-activations",
        action="store_true",
        help="don't give back RELU, RELU6 and RELU_N1_TO_1 that only the range of an output carries",
    )
    parser.add_argument(
        "--keep-ranges",
        action="store_true",
        help="note scales and ranges beside the floats, so that quantizing again needs no calibration",
    )
    parser.add_argument(
        "--keep-weights",
        action="store_true",
        help="note scales beside weights alone, so that making them int8 again doesn't round them a second time",
    )
    parser.add_argument("--fold-fake-quant", action="store_true", help="remove FAKE_QUANT, too")
    parser.add_argument(
        "--expand-sparse", action="store_true", help="make sparse constants dense that are float32 already"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Dequantize, write, and say what was done."""
    model = opened(options)
    edited = dequantize(
        model,
        recover_activations=not options.no_activations,
        keep_ranges=options.keep_ranges,
        keep_weights=options.keep_weights,
        fold_fake_quant=options.fold_fake_quant,
        expand_sparse=options.expand_sparse,
    )
    return finished(options, model, edited)

"""`quantlib golden`: every operator's inputs, outputs and parameters, as test vectors."""

from __future__ import annotations

import argparse
from typing import Any

from quantlib.tflite import read

from .common import add_json, add_real, print_json, warnings_as_lines


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("golden", help="write test vectors of every operator, for firmware, RTL and kernels")
    parser.add_argument("model", metavar="MODEL", help="a .tflite file, mostly a quantized one")
    parser.add_argument(
        "--data",
        required=True,
        metavar="DATA",
        help="samples: an .npz with an array for each input, an .npy, or a folder of those",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="FOLDER", help="where to write; not there yet, or empty"
    )
    parser.add_argument(
        "--runtime",
        metavar="NAME",
        default="reference",
        help="whose integer arithmetic: reference (default), builtin or xnnpack",
    )
    parser.add_argument("--signature", metavar="S", help="which signature to run, where there are several")
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="how many samples; 1 by default")
    parser.add_argument("--headers", action="store_true", help="write C headers, too")
    add_real(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the folder and report."""
    from quantlib.evaluation import golden  # here, since importing the commands is to cost next to nothing

    with warnings_as_lines("golden"):
        found = golden(
            read(options.model),
            options.data,
            options.output,
            runtime=options.runtime,
            signature=options.signature,
            samples=options.samples,
            headers=options.headers,
            real=options.real,
        )
    if options.json:
        print_json(found.to_dict())
    else:
        print(found)
    return 0

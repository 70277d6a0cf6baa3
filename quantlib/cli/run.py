"""`quantlib run`: what a model answers."""

from __future__ import annotations

import argparse
from typing import Any

import quantlib.api as api
from quantlib.tflite import read

from .common import (
    add_data,
    add_json,
    add_real,
    print_json,
    require_folder,
    sample_bar,
    warnings_as_lines,
    write_arrays,
)


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("run", help="run a model over samples")
    add_data(parser)
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="where the results go (.npz)")
    parser.add_argument(
        "--runtime",
        metavar="NAME",
        help="whose integer arithmetic: reference, builtin or xnnpack, in NumPy or LiteRT; default (LiteRT alone)",
    )
    parser.add_argument("--all-tensors", action="store_true", help="write all tensors, not only the outputs")
    add_real(parser, "; results become real numbers likewise")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run, write and report."""
    require_folder(options.output, options.model, options.data)
    model = read(options.model)
    with warnings_as_lines("run"), sample_bar(options.data) as progress:
        arrays = api.run(
            model,
            options.data,
            runner=options.runner or "numpy",
            runtime=options.runtime,
            signature=options.signature,
            sequence=options.sequence,
            all_tensors=options.all_tensors,
            real=options.real,
            progress=progress,
        )
    write_arrays(options.output, arrays)
    shown = {name: {"dtype": array.dtype.name, "shape": list(array.shape)} for name, array in arrays.items()}
    if options.json:
        print_json({"output": options.output, "arrays": shown})
        return 0
    for name, about in shown.items():
        print(f"{name} {about['dtype']} {about['shape']}")
    return 0

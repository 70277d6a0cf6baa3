"""`quantlib compare`: what a quantized model lost, and where."""

from __future__ import annotations

import argparse
import json
from typing import Any

from quantlib.errors import InvalidValue
from quantlib.tflite import read

from .common import add_json, print_json, require_folder, sample_bar, warnings_as_lines


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("compare", help="compare two models on the same data: errors, sizes, latency")
    parser.add_argument("a", metavar="A", help="the reference, mostly the float model")
    parser.add_argument("b", metavar="B", help="the other one")
    parser.add_argument(
        "--data",
        required=True,
        metavar="DATA",
        help="samples as the float model wants them: an .npz with an array for each input, an .npy, or a folder",
    )
    parser.add_argument("--labels", metavar="FILE", help="the class of each sample: .npy, .npz or text")
    parser.add_argument("--signature", metavar="S", help="which signature to run, where there are several")
    parser.add_argument("--runner", choices=["numpy", "litert"], help="what runs both; litert where it is installed")
    parser.add_argument("--sequence", action="store_true", help="keep recurrent state from one sample to the next")
    parser.add_argument("--latency", action="store_true", help="time both in LiteRT, in turn")
    parser.add_argument("--threads", type=int, metavar="N", help="threads for --latency; 1 by default")
    parser.add_argument("--layers", action="store_true", help="rank the layers by what they cost")
    parser.add_argument("-o", "--output", metavar="OUT", help="write the comparison as JSON")
    parser.add_argument("--html", metavar="FILE", help="write a page with layers and histograms")
    parser.add_argument("--node-data", metavar="FILE", help="write errors of layers for Model Explorer")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compare, write what was asked for and print."""
    from quantlib.evaluation import compare  # here, since importing the commands is to cost next to nothing

    for path in (options.output, options.html, options.node_data):
        if path:
            require_folder(path, options.a, options.b, options.data, options.labels)
    if options.threads is not None and not options.latency:
        raise InvalidValue("--threads says nothing without --latency; add it")
    if options.html:
        _require_jinja()
    a, b = read(options.a), read(options.b)
    with warnings_as_lines("compare"), sample_bar(options.data) as progress:
        comparison = compare(
            a,
            b,
            options.data,
            labels=options.labels,
            signature=options.signature,
            runner=options.runner,
            sequence=options.sequence,
            layers=bool(options.layers or options.html or options.node_data),
            latency=options.latency,
            threads=1 if options.threads is None else options.threads,
            progress=progress,
        )
    _write(options, comparison)
    if options.json:
        print_json(comparison.to_dict())
    else:
        print(comparison)
    return 0


def _require_jinja() -> None:
    """Say what is missing before the work rather than after it."""
    from quantlib.evaluation import require_report

    require_report()


def _write(options: argparse.Namespace, comparison: Any) -> None:
    from quantlib.evaluation import node_data, report, write_text

    if options.output:
        comparison.save(options.output)
    if options.html:
        write_text(options.html, report(comparison))
    if options.node_data:
        write_text(options.node_data, json.dumps(node_data(comparison), indent=1, ensure_ascii=False) + "\n")

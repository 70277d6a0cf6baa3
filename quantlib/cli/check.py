"""`quantlib check`: whether a target takes a model."""

from __future__ import annotations

import argparse
from typing import Any

from quantlib.recipes import check
from quantlib.targets import NAMES
from quantlib.tflite import read

from .common import add_json, print_json, print_text


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("check", help="say what of a model a runtime or device doesn't take, and what to do")
    parser.add_argument("model", metavar="MODEL", help="a .tflite file")
    parser.add_argument("--target", required=True, metavar="NAME", help=f"one of {', '.join(NAMES)}")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the violations; fail where there are any."""
    findings = check(read(options.model), options.target)
    if options.json:
        print_json(findings.to_dict())
    else:
        print_text(findings)
    return 0 if findings.ok else 1

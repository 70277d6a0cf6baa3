"""What the commands that edit a finished model share: where to write, and the account of what was done."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from quantlib.errors import InvalidValue
from quantlib.passes import Edited
from quantlib.tflite import Model, read

from .common import add_json, add_samples, layer_bar, print_json, print_text, require_folder, warnings_as_lines


def edit_parser(commands: Any, name: str, help: str) -> argparse.ArgumentParser:
    """Add a command that reads MODEL and writes OUT; its own options are yet to be added."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help)
    parser.add_argument("model", metavar="MODEL", help="a .tflite file")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="where to write; may be MODEL itself")
    add_json(parser)
    return parser


#: What says nothing unless an edit looks at samples.
MEASURING = ("data", "runner", "signature", "sequence")


def add_selectors(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which weights are edited."""
    for flag, metavar, what in (
        ("--only", "REGEX", "edit only these: searched in names of operators and weights; repeatable"),
        ("--skip", "REGEX", "leave these alone; repeatable"),
        ("--only-type", "OPERATOR", "edit only weights of this operator type, such as CONV_2D; repeatable"),
        ("--skip-type", "OPERATOR", "leave weights of this operator type alone; repeatable"),
    ):
        parser.add_argument(flag, action="append", default=[], metavar=metavar, help=what)


def selectors(options: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """Selectors as edits take them."""
    return {
        "only": tuple(options.only),
        "skip": tuple(options.skip),
        "only_types": tuple(options.only_type),
        "skip_types": tuple(options.skip_type),
    }


def add_measuring(parser: argparse.ArgumentParser) -> None:
    """Add the samples that an edit may look at, and the options of what runs the model over them."""
    add_samples(parser, required=False, default="litert where it is installed")


def refuse(options: argparse.Namespace, what: str, names: tuple[str, ...]) -> None:
    """Refuse options that say nothing beside another one, 0 included."""
    given = {name: getattr(options, name) for name in names}
    odd = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None and value is not False]
    if odd:
        raise InvalidValue(f"{', '.join(odd)} says nothing beside {what}; leave it out")


def measured(options: argparse.Namespace, measure: str, model: Model, edit: Callable[..., Edited]) -> dict[str, Any]:
    """What samples say of an edit, by the name that it takes it under: `refit` or `sensitivity`."""
    from quantlib import evaluation  # here, since importing the commands is to cost next to nothing

    how = {"signature": options.signature, "runner": options.runner, "sequence": options.sequence}
    with warnings_as_lines(options.command), layer_bar() as progress:
        return {measure: getattr(evaluation, measure)(model, options.data, edit, **how, progress=progress)}


def opened(options: argparse.Namespace) -> Model:
    """Read MODEL, once it is known that OUT can be written."""
    require_folder(options.output, getattr(options, "data", None), getattr(options, "stats", None))
    return read(options.model)


def finished(options: argparse.Namespace, model: Model, edited: Edited) -> int:
    """Write what an edit gave, and print its account."""
    before = model.source.size
    after = edited.model.write(options.output)
    if options.json:
        print_json({"output": options.output, "bytes_before": before, "bytes_after": after, **edited.to_dict()})
        return 0
    print(f"{options.output}: {before:,} -> {after:,} bytes ({after / before:.3f})")
    print_text(edited)
    return 0

"""Options and printing that several commands share."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from quantlib.calibration import RANGES
from quantlib.errors import InvalidValue, WriteFailed
from quantlib.files import replacing, require_regular
from quantlib.recipes import PRESETS, Recipe, by_name, load
from quantlib.targets import NAMES

from .shortened import shortened

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


#: What runs a model unless a command says otherwise.
RUNNER = "numpy by default"


def add_data(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the model, its samples, and the options of a runner."""
    parser.add_argument("model", metavar="MODEL", nargs=None if required else "?", help="a .tflite file")
    add_samples(parser, required=required)


def add_samples(parser: argparse.ArgumentParser, *, required: bool = True, default: str = RUNNER) -> None:
    """Add samples, and the options of what runs a model over them; `default` says which runner does."""
    parser.add_argument(
        "--data",
        required=required,
        metavar="DATA",
        help="samples: an .npz with an array for each input, an .npy, or a folder of those",
    )
    parser.add_argument("--runner", choices=["numpy", "litert"], help=f"what runs the model; {default}")
    parser.add_argument("--signature", metavar="S", help="which signature to run, where there are several")
    parser.add_argument("--sequence", action="store_true", help="keep recurrent state from one sample to the next")


def add_real(parser: argparse.ArgumentParser, outputs: str = "") -> None:
    """Add ``--real``; `outputs` says what becomes of what comes out."""
    parser.add_argument(
        "--real",
        action="store_true",
        help=f"samples are real numbers, as for the float model: quantize them where an input has a scale{outputs}",
    )


def require_together(
    options: argparse.Namespace, what: str, *, all_of: tuple[str, ...] = (), none_of: tuple[str, ...] = ()
) -> None:
    """Refuse options that are missing, or that say nothing beside another one."""
    flags = {name: "MODEL" if name == "model" else f"--{name.replace('_', '-')}" for name in (*all_of, *none_of)}
    missing = [flags[name] for name in all_of if not getattr(options, name)]
    if missing:
        raise InvalidValue(f"{' and '.join(missing)} missing; see quantlib {options.command} --help")
    odd = [flags[name] for name in none_of if getattr(options, name)]
    if odd:
        raise InvalidValue(f"{', '.join(odd)} says nothing beside {what}; leave it out")


def require_folder(path: str, *inputs: str | None) -> None:
    """Refuse an output that can't be written, or would take the place of an input, before the work."""
    if not path:
        raise WriteFailed("the output's path is empty; name a file")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise WriteFailed(f"{folder}: no such folder; make it, or write to one that exists")
    require_regular(path)
    for taken in inputs:
        if taken and os.path.exists(path) and os.path.exists(taken) and os.path.samefile(path, taken):
            raise WriteFailed(f"{path}: it is read here, and would be lost; choose another path")


def write_arrays(path: str, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write arrays to an `.npz` file by any names, whole or not at all."""
    import zipfile

    import numpy as np

    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


@contextmanager
def warnings_as_lines(command: str) -> Iterator[None]:
    """Print each warning as one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for line in dict.fromkeys(" ".join(str(w.message).split()) for w in caught):
                print(f"quantlib {command}: warning: {line}", file=sys.stderr)


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add the options that make a recipe."""
    parser.add_argument("model", metavar="MODEL", help="a .tflite file")
    parser.add_argument(
        "--recipe", required=True, metavar="NAME|FILE.toml", help=f"{', '.join(PRESETS)}, or a TOML file"
    )
    parser.add_argument(
        "--range",
        choices=list(RANGES),
        help="how the range of an activation is chosen: headroom by default with 16 bits, blend with 8 bits "
        "and a histogram, else minmax; "
        "without integer activations that of a weight (minmax by default, mse)",
    )
    parser.add_argument(
        "--granularity",
        choices=["channel", "tensor", "block"],
        help="which weights share a scale; channel by default, tensor with uint8",
    )
    parser.add_argument("--block-size", type=int, metavar="N", help="elements of a block: a multiple of 32")
    parser.add_argument("--asymmetric", action="store_true", help="weights with zero points (weight-only)")
    parser.add_argument(
        "--min-elements",
        type=int,
        metavar="N",
        help="leave smaller constants alone; by default 16, 1024 of recurrent operators, none with float16",
    )
    for name, what in (("only", "quantize nothing else"), ("skip", "leave these alone")):
        parser.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="REGEX",
            help=f"{what}: searched in names of operators and constants",
        )
        parser.add_argument(
            f"--{name}-type",
            action="append",
            default=[],
            metavar="OPERATOR",
            help=f"{what}: operator type such as CONV_2D",
        )
    parser.add_argument(
        "--strict", action="store_true", help="fail where a float constant, or operator, stays that isn't skipped"
    )
    parser.add_argument(
        "--target", metavar="NAME", help=f"what is to run the result: {', '.join(NAMES)}; avoids what it doesn't take"
    )
    _add_activations(parser)
    add_json(parser)


def _add_activations(parser: argparse.ArgumentParser) -> None:
    """Add what a recipe with integer activations has more."""
    add = parser.add_argument
    add(
        "--percentile",
        type=float,
        metavar="P",
        help="percent of the values that --range percentile keeps; 99.99 by default",
    )
    add("--weight-range", metavar="minmax|mse", help="how the range of a weight is chosen; minmax by default")
    add("--symmetric-activations", action="store_true", help="activations with zero point 0")
    for end in ("input", "output"):
        add(f"--{end}-type", metavar="T", help=f"type of {end}s: float32 (by default), int8, uint8 or int16")
    add(
        "--input-stats",
        type=pair,
        metavar="MEAN,STD",
        help="mean and standard deviation that training normalized images of 0..255 by: the input's scale",
    )
    add(
        "--default-ranges",
        type=pair,
        metavar="MIN,MAX",
        help="range of activations that nothing is known of, for trials of speed",
    )
    for flag, metavar, what in (
        ("--per-tensor", "OPERATOR", "one scale for each weight of this operator type"),
        ("--int16", "REGEX", "int16 activations: searched in names of operators"),
        ("--int16-type", "OPERATOR", "int16 activations: operator type such as SOFTMAX"),
    ):
        add(flag, action="append", default=[], metavar=metavar, help=what)
    add(
        "--rounding",
        metavar="nearest|balanced",
        help="how weights are rounded; balanced by default, so that errors cancel within a channel",
    )
    add("--recurrent", metavar="float|integer", help="whether LSTM become int8 too; float by default")
    add(
        "--tails",
        metavar="float|int16|keep",
        help="what to do with an end that joins very different ranges; float by default",
    )


def pair(text: str) -> tuple[float, float]:
    """Two numbers with a comma between, as an option's value."""
    parts = text.split(",")
    try:
        first, second = map(float, parts)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: two numbers with a comma between are required") from None
    return first, second


def recipe_from(options: argparse.Namespace) -> Recipe:
    """Make the recipe that a command line asks for."""
    name: str = options.recipe
    is_file = name.endswith(".toml") or os.sep in name or os.path.isfile(name)
    recipe = load(name) if is_file and name not in PRESETS else by_name(name)
    if options.percentile is not None and options.range not in (None, "percentile"):
        raise InvalidValue(f"--percentile says nothing beside --range {options.range}; leave one of them out")
    changes: dict[str, Any] = {
        "range": options.range or ("percentile" if options.percentile is not None else None),
        "percentile": options.percentile,
        "weight_range": options.weight_range,
        "symmetric_activations": options.symmetric_activations or None,
        "input_type": options.input_type and options.input_type.upper(),
        "output_type": options.output_type and options.output_type.upper(),
        "input_stats": options.input_stats,
        "default_ranges": options.default_ranges,
        "per_tensor_types": tuple(options.per_tensor) or None,
        "int16": tuple(options.int16) or None,
        "int16_types": tuple(options.int16_type) or None,
        "recurrent": options.recurrent,
        "tails": options.tails,
        "rounding": options.rounding,
        "granularity": options.granularity or ("block" if options.block_size is not None else None),
        "block_size": options.block_size,
        "min_elements": options.min_elements,
        "symmetric": False if options.asymmetric else None,
        "only": tuple(options.only) or None,
        "skip": tuple(options.skip) or None,
        "only_types": tuple(options.only_type) or None,
        "skip_types": tuple(options.skip_type) or None,
    }
    changes = {k: v for k, v in changes.items() if v is not None}
    return recipe.replace(**changes)


def print_text(*values: object) -> None:
    """Print values line by line, long names cut."""
    print(shortened("\n".join(map(str, values))))


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    print()


@contextmanager
def progress_bar(total: int, what: str) -> Iterator[Callable[[int], object] | None]:
    """Show progress on a terminal, where the work is long enough to look at."""
    if total < 1 << 26 or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit="B", unit_scale=True, leave=False) as bar:
        yield bar.update


@contextmanager
def layer_bar() -> Iterator[Callable[[int], object] | None]:
    """Show on a terminal how many layers are done."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(unit=" layers", leave=False) as bar:
        yield bar.update


@contextmanager
def sample_bar(data: str, shard: tuple[int, int] = (1, 1)) -> Iterator[Callable[[int], object] | None]:
    """Show on a terminal how many samples are done, out of how many where that is known."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    from quantlib.runners import sample_count

    count, (index, parts) = sample_count(data), shard
    total = None if count is None else len(range(index - 1, count, parts))
    with tqdm(total=total, unit=" samples", leave=False) as bar:
        yield bar.update

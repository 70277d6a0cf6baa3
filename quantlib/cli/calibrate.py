"""`quantlib calibrate`: the ranges of a model's activations."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import quantlib.api as api
from quantlib.errors import InvalidValue
from quantlib.tflite import read

from .common import (
    add_data,
    add_json,
    print_json,
    require_folder,
    require_together,
    sample_bar,
    warnings_as_lines,
)

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from quantlib.calibration import Statistics
    from quantlib.tflite import Model

OBSERVERS = ("histogram", "minmax", "moving-average")

#: How many threads each kind of BLAS starts; worker processes are one for each core already.
_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("calibrate", help="find the ranges of a model's activations over samples")
    add_data(parser, required=False)
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="where the statistics go (.npz)")
    parser.add_argument("--observer", choices=OBSERVERS, help="what is kept of each tensor; histogram by default")
    parser.add_argument("--shard", type=_shard, metavar="I/N", help="only the I-th of N parts of the samples")
    add_jobs(parser)
    parser.add_argument("--resume", action="store_true", help="go on from OUT.partial, where there is one")
    parser.add_argument("--merge", nargs="+", metavar="STATS", help="merge statistics instead of calibrating")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Calibrate or merge, write the statistics and print them."""
    require_folder(options.output, options.model, options.data)
    if options.merge:
        require_together(options, "--merge", none_of=("model", "data", "observer", "runner", "signature", "shard"))
        require_together(options, "--merge", none_of=("jobs", "resume", "sequence"))
        statistics = merged(options.merge)
    else:
        require_together(options, "calibrate", all_of=("model", "data"))
        partial = _partial(options)
        try:
            with warnings_as_lines("calibrate"):
                statistics = calibrated(read(options.model), options, partial)
        except KeyboardInterrupt:
            kept = (
                f"go on from {partial} with --resume" if partial and os.path.lexists(partial) else "nothing is kept"
            )
            print(f"quantlib calibrate: interrupted; {kept}", file=sys.stderr)
            return 130
    statistics.save(options.output)
    if options.json:
        print_json({"output": options.output, **statistics.to_dict()})
    else:
        print(statistics)
    return 0


def merged(paths: list[str]) -> Statistics:
    """Merge statistics files, in any order."""
    from quantlib.calibration import load, merge

    again = next((p for i, p in enumerate(paths) if os.path.realpath(p) in map(os.path.realpath, paths[:i])), None)
    if again is not None:
        raise InvalidValue(f"{again}: named twice, which would count its samples twice; name each file once")
    result = load(paths[0])
    for path in paths[1:]:
        try:
            result = merge(result, load(path))
        except InvalidValue as error:
            raise InvalidValue(f"{path} beside {paths[0]}: {error}") from None
    return result


def _partial(options: argparse.Namespace) -> str | None:
    """File beside the output for what is done; None where nobody could go on from it."""
    path = f"{options.output}.partial"
    if not options.resume and (options.sequence or options.observer == "moving-average"):
        return None
    if not options.resume and os.path.lexists(path):
        raise InvalidValue(
            f"{path}: an earlier calibration was broken off; go on from it with --resume, or remove it"
        )
    return path


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Add ``--jobs``."""
    parser.add_argument("--jobs", type=_jobs, metavar="N", help="use N processes; threads of this one by default")


def calibrated(model: Model, options: argparse.Namespace, partial: str | None = None) -> Statistics:
    """Calibrate as the options say, those of `calibrate` that a command has."""
    shard = getattr(options, "shard", None) or (1, 1)
    with processes(options.jobs) as executor, sample_bar(options.data, shard) as progress:
        return api.calibrate(
            model,
            options.data,
            observer=getattr(options, "observer", None) or OBSERVERS[0],
            runner=options.runner or "numpy",
            signature=options.signature,
            sequence=options.sequence,
            executor=executor,
            shard=shard,
            checkpoint=partial,
            progress=progress,
        )


@contextmanager
def processes(jobs: int | None) -> Iterator[ProcessPoolExecutor | None]:
    """Worker processes, each with one BLAS thread; None for none."""
    if jobs is None:
        yield None
        return
    import signal
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # A child takes over the environment when it starts, which is when work is submitted.
    before = {name: os.environ.get(name) for name in _BLAS_THREADS}
    os.environ.update(dict.fromkeys(_BLAS_THREADS, "1"))
    try:
        # Ctrl-C reaches children too, but it's for this process to end the work.
        with ProcessPoolExecutor(
            jobs, get_context("spawn"), initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
        ) as executor:
            yield executor
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r}: I/N is required, with I from 1 to N, such as 1/3")
    return int(found[1]), int(found[2])


def _jobs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a number of processes is required, 1 or more")
    return int(text)

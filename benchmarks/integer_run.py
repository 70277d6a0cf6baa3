"""MobileNet V2 in NumPy: its int8 file's run over the float one's, by turns, and what requantization takes of it.

``python -m benchmarks.integer_run FLOAT INTEGER`` prints the table, with ``--json`` behind them the facts. Set
OPENBLAS_NUM_THREADS=1: with other work on the processors, a product in threads takes whatever these leave.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quantlib.operators.integer_requantize import Requantizer
from quantlib.runners import NumpyRunner
from quantlib.tflite import read

#: What the integer run may take of the float one's time.
PROMISE = 2.5


def measure(floating: Path, integer: Path, repetitions: int = 11) -> dict[str, Any]:
    """Run both by turns, each on an image of its own type.

    Parameters
    ----------
    floating, integer : Path
        A float model, and the same network with integers.
    repetitions : int

    Returns
    -------
    dict
        Medians in seconds; ``ratio``; ``requantization``, the share of the integer run's time in `Requantizer`.
    """
    rng = np.random.default_rng(0)
    runners = [NumpyRunner(read(path)) for path in (floating, integer)]
    given = [[_drawn(port.type, port.shape, rng) for port in runner.interface.inputs] for runner in runners]
    times: list[list[float]] = [[], []]
    for _ in range(repetitions + 1):  # the first warms up
        for runner, sample, spent in zip(runners, given, times, strict=True):
            start = time.perf_counter()
            runner.run(sample)
            spent.append(time.perf_counter() - start)
    medians = [statistics.median(spent[1:]) for spent in times]
    return {
        "float": medians[0],
        "integer": medians[1],
        "ratio": medians[1] / medians[0],
        "requantization": _share(runners[1], given[1]),
        "promise": PROMISE,
    }


def _drawn(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    if kind == "FLOAT32":
        return rng.uniform(-1, 1, shape).astype(np.float32)
    limits = np.iinfo(kind.lower())
    return rng.integers(limits.min, limits.max + 1, shape).astype(limits.dtype)


def _share(runner: NumpyRunner, sample: list[Any], runs: int = 5) -> float:
    """Share of time in requantization, of profiled runs."""
    profile = cProfile.Profile()
    with profile:
        for _ in range(runs):
            runner.run(sample)
    found = pstats.Stats(profile)
    code = Requantizer.__call__.__code__
    spent = found.stats[code.co_filename, code.co_firstlineno, code.co_name][3]  # type: ignore[attr-defined] # typeshed lacks it
    return float(spent / found.total_tt)  # type: ignore[attr-defined] # typeshed lacks it


def markdown(part: Mapping[str, Any]) -> list[str]:
    """The line of the report."""
    return [
        "One BLAS thread.",
        "",
        "| float ms | integer ms | ratio | requantization |",
        "|---:|---:|---:|---:|",
        f"| {1e3 * part['float']:.1f} | {1e3 * part['integer']:.1f} | {part['ratio']:.2f} "
        f"| {100 * part['requantization']:.0f} % |",
        "",
        f"Aim: runtime `reference` in at most {part['promise']:g} times the float run.",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.integer_run", description=__doc__)
    parser.add_argument("float", type=Path, help="a float model")
    parser.add_argument("integer", type=Path, help="the same with integers")
    parser.add_argument("--json", action="store_true", help="print the facts")
    options = parser.parse_args()
    found = measure(options.float, options.integer)
    print(json.dumps(found) if options.json else "\n".join(markdown(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

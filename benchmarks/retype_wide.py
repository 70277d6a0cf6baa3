"""``python -m benchmarks.retype_wide``: INT8 and UINT8 files with INT16 activations, beside what they were.

Retypes every file of the shared folder whose activations are integers, runs both in LiteRT's three resolvers on the
task's samples, and compares both with the float model that the file was made from. Prints the table of
docs/howto/retype.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import numpy as np

import quantlib as ql
from quantlib.tflite import Model

from .dequantize import APART, COMPARED, FILES, RUNTIMES, Side, keys, least, unchosen
from .pages import decibels, table
from .scoring import SHARED, Lab

#: Samples for the reference resolver, which is slow.
FEW = 4
_NARROW = ("INT8", "UINT8")


def with_integer_activations() -> Iterator[tuple[str, Model]]:
    """Files whose activations are integers of 8 bits."""
    for file in FILES:
        model = ql.read(SHARED / "models" / f"{file}.tflite")
        if any(t.type in _NARROW and t.quantization is not None and not t.is_constant for t in model.tensors()):
            yield file, model


def operators(model: Model) -> tuple[int, int]:
    """Count operators that write INT16, and that write 8 bits; without QUANTIZE."""
    counts = {"INT16": 0, "INT8": 0, "UINT8": 0}
    for g, graph in enumerate(model.subgraphs):
        for operator in graph.operators or ():
            kind = model.tensor((g, int(operator.outputs[0]))).type
            if model.operator_name(operator) != "QUANTIZE" and kind in counts:
                counts[kind] += 1
    return counts["INT16"], counts["INT8"] + counts["UINT8"]


def measured(lab: Lab, file: str, model: Model) -> tuple[str, ...]:
    """Row of the table for one file."""
    task = FILES[file]
    made = ql.retype(model, activations="int16").model
    data = lab.tasks[task].samples("eval", COMPARED) if task else None
    whole, wide = unchosen(model), unchosen(made)
    figures: dict[str, list[float]] = {runtime: [] for runtime in RUNTIMES}
    twins = (np.nan, np.nan)
    for key in keys(model):
        samples = Side(whole, "default", key).samples(data)
        for runtime in RUNTIMES:
            few = samples[:FEW] if runtime == "reference" else samples
            figures[runtime].append(least(*(Side(m, runtime, key).answers(few) for m in (whole, wide))))
        if task and file not in APART:
            twin, theirs, ours = (
                Side(m, "default", key).answers(samples) for m in (unchosen(lab.model(task)), whole, wide)
            )
            twins = least(twin, theirs), least(twin, ours)
    sizes = (model.source.size, len(made.to_bytes()))
    counts = operators(made)
    cells = (*map(str, counts), *(decibels(min(figures[r])) for r in RUNTIMES), *map(decibels, twins))
    return (file, *cells, *(f"{size:,}" for size in sizes))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retype_wide", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="FILE", help="only these")
    options = parser.parse_args(arguments)
    if not SHARED.exists():
        print("the folder of models and data isn't here", file=sys.stderr)
        return 2
    lab = Lab()
    rows = []
    for file, model in with_integer_activations():
        if not options.names or file in options.names:
            rows.append(measured(lab, file, model))
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    heads = ["file", "operators on INT16", "on 8 bits", *(f"{r}, dB to the file" for r in RUNTIMES)]
    heads += ["file to its float twin", "INT16 to that", "bytes", "bytes INT16"]
    print(table(heads, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

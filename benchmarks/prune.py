"""``python -m benchmarks.prune``: what pruning leaves of size and accuracy, in LiteRT.

Prunes ResNet-8 and VWW of the shared folder in several ways, encodes each, checks that the encoded file answers as
the dense one does, and scores it; see `benchmarks.scoring`. Prints the table of docs/howto/prune.md, or with
``--docs`` writes it there.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

import quantlib as ql
from quantlib.evaluation import sensitivity
from quantlib.passes import Edited, deflated_size
from quantlib.runners import feed, make_runner, samples
from quantlib.tflite import Model

from .pages import decibels, fill, percents, table
from .scoring import KEPT, ROOT, Lab, Outcome

PAGE = ROOT / "docs" / "howto" / "prune.md"
TASKS = ("mlperf_ic_resnet8_float", "mlperf_vww_mobilenet_96_float")
SPARSITIES = (0.5, 0.75)
#: Calibration samples that layers are measured with.
MEASURED = 32
#: Samples whose outputs are compared, encoded against dense, and LiteRT's kernels that compute them.
COMPARED, RUNTIMES = 16, ("default", "builtin", "reference")
#: The scorer's figures in dB from here on mean that nothing differs.
NO_ERROR = 200.0
#: Ways to prune, beside the sparsity. Measured layers are of the whole, global ranking is by magnitude.
WAYS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "each weight": {},
        "global": {"ranking": "global"},
        "by sensitivity": {"sensitivity": True},
        "2:4": {"pattern": "2:4"},
        "1x4": {"pattern": "1x4"},
        "1x16": {"pattern": "1x16"},
    }
)


@dataclass(frozen=True)
class Case:
    """One way to prune one task.

    Attributes
    ----------
    task, way : str
    sparsity : float
    dense, encoded : Edited
    mode : str
        Recipe that the result was quantized by before it was encoded; empty where it wasn't.
    """

    task: str
    way: str
    sparsity: float
    dense: Edited
    encoded: Edited
    mode: str = ""


def cases(lab: Lab, task: str) -> Iterator[Case]:
    """Prune a task's model in all ways."""
    model = lab.model(task)
    for share in SPARSITIES:
        for way, given in WAYS.items():
            options = dict(given)
            if ":" in way and share != SPARSITIES[0]:
                continue
            edit = functools.partial(ql.prune, sparsity=share)
            if options.pop("sensitivity", False):
                options["sensitivity"] = sensitivity(model, _calibration(lab, task), edit, runner="litert")
            yield Case(task, way, share, edit(model, **options), edit(model, **options, encode=True))
        for mode in ("float16", "int8"):
            pruned = edit(model).model
            data = lab.tasks[task].samples("calib")
            small = ql.quantize(pruned, mode, ql.calibrate(pruned, data, runner="litert") if mode == "int8" else None)
            yield Case(task, "each weight", share, edit(small), edit(small, encode=True), mode)


def _calibration(lab: Lab, task: str) -> list[Any]:
    return list(islice(lab.tasks[task].samples("calib"), MEASURED))


def differing(lab: Lab, case: Case) -> list[str]:
    """LiteRT's kernels by which an encoded file answers otherwise than the dense one."""
    found = []
    data = _calibration(lab, case.task)[:COMPARED]
    for runtime in RUNTIMES:
        answers = [_answers(edited.model, data, runtime) for edited in (case.dense, case.encoded)]
        if not all(np.array_equal(a, b) for a, b in zip(*answers, strict=True)):
            found.append(runtime)
    return found


def _answers(model: Model, data: list[Any], runtime: str) -> list[Any]:
    runner = make_runner(model, "litert", None, runtime)
    return [v for s in samples(data, runner.interface) for v in runner.run(feed(runner.interface, s)).values()]


def row(case: Case, outcome: Outcome, differs: list[str]) -> tuple[str, ...]:
    """A line of the table."""
    nbytes = len(case.encoded.model.to_bytes())
    return (
        case.task,
        case.way + (f", {case.mode}" if case.mode else ""),
        f"{100 * case.sparsity:g}",
        f"{100 * case.dense.totals['sparsity']:.1f}",
        f"{nbytes:,}",
        f"{nbytes / outcome.float_bytes:.3f}",
        f"{case.encoded.totals['deflated']:,}",
        f"{case.dense.totals['deflated']:,}",
        percents(outcome.figures),
        decibels(outcome.sqnr) if outcome.sqnr < NO_ERROR else "no error",
        f"not with {', '.join(differs)}" if differs else "yes",
    )


def unpruned(task: str, outcome: Outcome, model: Model) -> tuple[str, ...]:
    """The float model's line."""
    nbytes, deflated = f"{outcome.float_bytes:,}", f"{deflated_size(model):,}"
    return (task, "not pruned", "", "", nbytes, "1.000", deflated, deflated, percents(outcome.figures), "", "")


def measured(lab: Lab, tasks: Sequence[str]) -> str:
    """The table."""
    lines = []
    for task in tasks:
        model = lab.model(task)
        found = list(cases(lab, task))
        outcomes = lab.scored(task, [model, *(case.encoded.model for case in found)])
        lines.append(unpruned(task, outcomes[0], model))
        for case, outcome in zip(found, outcomes[1:], strict=True):
            if outcome.failure:
                raise ql.errors.InvalidModel(f"{task}, {case.way}: {outcome.failure}")
            lines.append(row(case, outcome, differing(lab, case)))
            print(" ".join(lines[-1]), file=sys.stderr, flush=True)
    heads = ["task", "pruned", "asked %", "zeros %", "bytes, encoded", "of float"]
    heads += ["deflated, encoded", "deflated, dense", "figure %", "SQNR dB", "same outputs"]
    return table(heads, lines, left=2)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prune", description=__doc__)
    parser.add_argument("tasks", nargs="*", help="names of tasks; ResNet-8 and VWW otherwise")
    parser.add_argument("--limit", type=int, help="samples of each task")
    parser.add_argument("--kept", type=Path, default=KEPT, help="folder of statistics and scores made before")
    parser.add_argument("--docs", action="store_true", help="write the table into the documentation")
    options = parser.parse_args()
    if options.docs and (options.tasks or options.limit):
        parser.error("--docs writes the whole table; leave tasks and --limit out")
    try:
        lab = Lab(options.kept, options.limit)
    except ql.QuantlibError as error:
        parser.exit(2, f"{error}\n")
    text = measured(lab, options.tasks or TASKS)
    print(lab.conditions(), text, sep="\n\n")
    if options.docs:
        fill(PAGE, {"conditions": lab.conditions(), "sizes and accuracy": text})
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks.prune``: what pruning leaves of size and accuracy, in LiteRT.

Prunes ResNet-8 and VWW of the shared folder in several ways, encodes each, checks that the encoded file answers as
the dense one does, and scores it; see `benchmarks.scoring`. Prints the table of docs/howto/prune.md, or with
``--docs`` writes it there.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import MappingProxyType
from typing import Any

import numpy as np

import quantlib as ql
from quantlib.evaluation import refit, sensitivity
from quantlib.passes import Edited, deflated_size
from quantlib.runners import feed, make_runner, samples
from quantlib.tflite import Model

from .pages import decibels, percents, publish, table
from .scoring import ROOT, Lab, Outcome, opened, table_parser

PAGE = ROOT / "docs" / "howto" / "prune.md"
TASKS = ("mlperf_ic_resnet8_float", "mlperf_vww_mobilenet_96_float")
SPARSITIES = (0.5, 0.75)
#: Calibration samples that layers are measured with.
MEASURED = 32
#: And refitted with; more gain nothing on these tasks.
REFITTED = 64
#: Samples whose outputs are compared, encoded against dense, and LiteRT's kernels that compute them.
COMPARED, RUNTIMES = 16, ("default", "builtin", "reference")
#: The scorer's figures in dB from here on mean that nothing differs.
NO_ERROR = 200.0
#: Ways to prune, beside the sparsity. What says True is measured with samples.
WAYS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "each weight": {},
        "global": {"ranking": "global"},
        "by sensitivity": {"sensitivity": True},
        "2:4": {"pattern": "2:4"},
        "1x4": {"pattern": "1x4"},
        "1x16": {"pattern": "1x16"},
        "biases corrected": {"statistics": True},
        "refitted": {"refit": True},
        "refitted, global": {"refit": True, "ranking": "global"},
        "refitted, 2:4": {"refit": True, "pattern": "2:4"},
        "refitted, 1x4": {"refit": True, "pattern": "1x4"},
    }
)
#: Ways whose results are quantized, too, and by what.
QUANTIZED, MODES = ("each weight", "refitted, global"), ("float16", "int8")


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
            options: dict[str, Any] = dict(given)
            if ":" in way and share != SPARSITIES[0]:
                continue
            wanted = {k: options.pop(k) for k in ("sensitivity", "refit", "statistics") if k in options}
            options |= {} if ":" in way else {"sparsity": share}
            edit: Callable[..., Edited] = functools.partial(ql.prune, **options)
            found = {what: _measured(lab, task, what, edit) for what in wanted}
            dense = edit(model, **found)
            yield Case(task, way, share, dense, edit(model, **found, encode=True))
            for mode in MODES if way in QUANTIZED else ():
                yield _quantized(lab, Case(task, way, share, dense, dense, mode))


def _measured(lab: Lab, task: str, what: str, edit: Callable[..., Edited]) -> Any:
    """What samples say, as `prune` takes it."""
    model = lab.model(task)
    if what == "statistics":
        return lab.statistics(task)
    if what == "refit":
        return refit(model, lab.tasks[task].samples("calib", REFITTED), edit, runner="litert")
    return sensitivity(model, _calibration(lab, task), edit, runner="litert")


def _quantized(lab: Lab, case: Case) -> Case:
    """What becomes of a case when it is quantized, and encoded then."""
    pruned, data = case.dense.model, lab.tasks[case.task].samples("calib")
    statistics = ql.calibrate(pruned, data, runner="litert") if case.mode == "int8" else None
    small = ql.quantize(pruned, case.mode, statistics)
    return replace(case, dense=ql.prune(small, 0.0), encoded=ql.prune(small, 0.0, encode=True))


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
    parser = table_parser("prune", __doc__, "ResNet-8 and VWW")
    options = parser.parse_args()
    lab = opened(parser, options)
    parts = {"conditions": lab.conditions(), "sizes and accuracy": measured(lab, options.names or TASKS)}
    publish(parts, PAGE if options.docs else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks.prune_channels``: what removing channels leaves of work, time, size and accuracy, in LiteRT.

Removes channels of VWW and ResNet-8 of the shared folder in several ways, scores the results (see
`benchmarks.scoring`) and times them beside the float model. Prints the table of docs/howto/prune-channels.md, or with
``--docs`` writes it there.

A filter counts as dead where its L1 norm is below a millionth of its layer's greatest: it is as good as zero, and
costs nothing to remove. How many of them a network has decides what removing channels costs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import quantlib as ql
from quantlib.evaluation import costs
from quantlib.passes import deflated_size, prune_channels
from quantlib.tflite import Model

from .pages import decibels, percents, publish, table
from .scoring import ROOT, Lab, Outcome, opened, table_parser

PAGE = ROOT / "docs" / "howto" / "prune-channels.md"
TASKS = ("mlperf_vww_mobilenet_96_float", "mlperf_ic_resnet8_float")
FRACTIONS = (0.1, 0.25)
#: Norm of a filter, as part of its layer's greatest, below which it is dead.
DEAD = 1e-6
#: SQNR in dB that the scorer, which bounds the error's energy from below, gives for equal outputs alone.
IDENTICAL = 250.0
#: Ways to remove channels; with means, those that calibration found go into biases.
WAYS: Mapping[str, Mapping[str, Any]] = {
    "each layer": {},
    "each layer, means": {"means": True},
    "each layer, multiple of 8": {"multiple": 8},
    "global": {"ranking": "global"},
    "global, means": {"ranking": "global", "means": True},
}


@dataclass(frozen=True)
class Case:
    """One way to remove channels; `model` is what it gave, and `left` its channels."""

    way: str
    fraction: float
    model: Model
    channels: int
    left: int


def cases(lab: Lab, task: str) -> Iterator[Case]:
    """Remove channels of a task's model in all ways."""
    model = lab.model(task)
    channels = prune_channels(model, 0).totals["channels"]
    yield Case("float model", 0.0, model, int(channels), int(channels))
    for fraction in FRACTIONS:
        for way, given in WAYS.items():
            options = dict(given)
            statistics = lab.statistics(task) if options.pop("means", False) else None
            edited = prune_channels(model, fraction, statistics=statistics, **options)
            left = int(edited.totals["channels_left"])
            yield Case(way, fraction, edited.model, int(edited.totals["channels"]), left)


def dead_filters(model: Model) -> int:
    """Filters of convolutions and dense layers that are as good as zero."""
    count = 0
    for g, graph in enumerate(model.subgraphs):
        for operator in graph.operators or ():
            if model.operator_name(operator) in ("CONV_2D", "FULLY_CONNECTED"):
                weights = model.tensor((g, int(operator.inputs[1]))).real()
                norms = np.abs(weights.reshape(len(weights), -1)).sum(axis=1)
                count += int((norms < DEAD * norms.max()).sum())
    return count


def row(task: str, case: Case, outcome: Outcome, float_model: Model, sample: Any) -> tuple[str, ...]:
    """A line of the table; both times are measured in turn, so that they meet the same machine."""
    work, time = costs(case.model), None
    if case.fraction:
        time = ql.compare(float_model, case.model, [sample], runner="litert", latency=True).latency
    return (
        task,
        f"{100 * case.fraction:g} %, {case.way}" if case.fraction else case.way,
        f"{case.channels - case.left:,} of {case.channels:,}",
        str(dead_filters(case.model)),
        f"{work.multiply_accumulates:,}",
        f"{work.parameters:,}",
        "" if time is None else f"{time.median_ms_a:.2f} -> {time.median_ms_b:.2f}",
        "" if time is None else f"{time.least_ms_a:.2f} -> {time.least_ms_b:.2f}",
        f"{len(case.model.to_bytes()):,}",
        f"{deflated_size(case.model):,}",
        percents(outcome.figures),
        _sqnr(outcome) if case.fraction else "",
    )


def _sqnr(outcome: Outcome) -> str:
    return "no difference" if outcome.sqnr > IDENTICAL else decibels(outcome.sqnr)


HEADS: tuple[str, ...] = ("task", "removed", "channels", "dead filters left", "multiply-accumulates", "parameters")
HEADS += ("median ms", "least ms", "bytes", "deflated", "figure %", "SQNR dB")


def measured(lab: Lab, tasks: Sequence[str]) -> str:
    """The table."""
    lines = []
    for task in tasks:
        found, sample = list(cases(lab, task)), lab.tasks[task].samples("calib")[0]
        for case, outcome in zip(found, lab.scored(task, [c.model for c in found]), strict=True):
            if outcome.failure:
                raise ql.errors.InvalidModel(f"{task}, {case.way}: {outcome.failure}")
            lines.append(row(task, case, outcome, found[0].model, list(sample)))
            print(" ".join(lines[-1]), file=sys.stderr, flush=True)
    return table(HEADS, lines, left=2)


def conditions(lab: Lab, tasks: Sequence[str]) -> str:
    """What was measured with what, and on how many samples each figure rests."""
    counts = ", ".join(f"{len(lab.tasks[t].samples('eval', lab.limit))} of {t}" for t in tasks)
    return f"{lab.conditions()} Evaluation samples: {counts}. Times are of one run on one thread, in turn."


def main() -> int:
    parser = table_parser("prune_channels", __doc__, "VWW and ResNet-8")
    options = parser.parse_args()
    lab, tasks = opened(parser, options), options.names or TASKS
    parts = {"conditions": conditions(lab, tasks), "channels": measured(lab, tasks)}
    publish(parts, PAGE if options.docs else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())

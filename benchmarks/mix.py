"""``python -m benchmarks.mix``: what 16 bits for a few operators give back of what 8 bits cost, in LiteRT.

Asks for several errors of the outputs of tasks of the shared folder, and scores what comes out; see
`benchmarks.scoring`. Prints the table of docs/howto/mixed-precision.md, or with ``--docs`` writes it there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import quantlib as ql
from quantlib.evaluation import Mixed, mix

from .pages import decibels, publish, table
from .scoring import ROOT, Lab, Outcome, opened, table_parser

PAGE = ROOT / "docs" / "howto" / "mixed-precision.md"
#: Decibels that are asked for, by task.
TASKS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "mobilenet_v1_0.25_224_float": (22.0, 25.0),
        "mlperf_ic_resnet8_float": (27.0, 32.0),
        "mnv3_portrait_seg_float": (15.0, 20.0),
    }
)


def mixes(lab: Lab, task: str, asked: Sequence[float]) -> list[tuple[Mixed, ql.Model]]:
    """What was found for each figure that is asked for, and the model with ranges of all samples."""
    model, statistics = lab.model(task), lab.statistics(task)
    data = list(lab.tasks[task].samples("calib"))
    found = [mix(model, "int8", data, at_least, runner="litert") for at_least in asked]
    return [(mixed, ql.quantize(model, mixed.recipe, statistics)) for mixed in found]


def row(task: str, asked: str, raised: str, outcome: Outcome, whole: Outcome) -> tuple[str, ...]:
    """A line of the table; sizes are over that of the int8 file."""
    figures = (_figure(f) for f in (outcome.float_figures, outcome.figures))
    return (task, asked, raised, decibels(outcome.sqnr), *figures, f"{outcome.size / whole.size:.3f}")


def _figure(figures: Sequence[float]) -> str:
    return " / ".join(f"{figure:.2f}" for figure in figures)


def measured(lab: Lab, tasks: Sequence[str]) -> str:
    """The table."""
    lines = []
    for task in tasks:
        found = mixes(lab, task, TASKS.get(task, (30.0,)))
        model, statistics = lab.model(task), lab.statistics(task)
        ends = [ql.quantize(model, mode, statistics) for mode in ("int8", "int16x8")]
        outcomes = lab.scored(task, [*ends, *(small for _, small in found)])
        for outcome in outcomes:
            if outcome.failure:
                raise ql.errors.InvalidModel(f"{task}: {outcome.failure}")
        narrow, wide, *mixed = outcomes
        lines.append(row(task, "int8", "0", narrow, narrow))
        for (one, _), outcome in zip(found, mixed, strict=True):
            raised = f"{len(one.raised)} of {one.operators}"
            lines.append(row(task, f"{one.at_least:g} dB", raised, outcome, narrow))
        lines.append(row(task, "int16x8", "all", wide, narrow))
        print(*(" | ".join(line) for line in lines[-len(outcomes) :]), sep="\n", file=sys.stderr, flush=True)
    heads = ["task", "asked for", "at 16 bits", "SQNR dB", "float %", "figure %", "size over int8"]
    return table(heads, lines, left=2)


def main() -> int:
    parser = table_parser("mix", __doc__, "three of them")
    options = parser.parse_args()
    lab = opened(parser, options)
    parts = {"conditions": lab.conditions(), "mixes": measured(lab, options.names or list(TASKS))}
    publish(parts, PAGE if options.docs else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())

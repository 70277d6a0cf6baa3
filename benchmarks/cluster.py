"""``python -m benchmarks.cluster``: what clustering leaves of size and accuracy, alone and with integers, in LiteRT.

Clusters keyword spotting and MobileNet V1 of the shared folder in several ways, quantizes each result, and scores it;
see `benchmarks.scoring`. Prints the table of docs/howto/cluster.md, or with ``--docs`` writes it there.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any

import numpy as np

import quantlib as ql
from quantlib.passes import deflated_size
from quantlib.tflite import Model

from .pages import decibels, publish, table
from .scoring import ROOT, Lab, Outcome, opened, table_parser

PAGE = ROOT / "docs" / "howto" / "cluster.md"
TASKS = ("mlperf_kws_dscnn_float", "mobilenet_v1_0.25_224_float")
CLUSTERS = (16, 32, 64)
#: Samples whose outputs are compared bit for bit.
COMPARED = 16
WAYS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "weight": {},
        "weight, on the grid": {"grid": "int8"},
        "channel, on the grid": {"grid": "int8", "per": "channel"},
    }
)
#: Recipes whose weights are int8, the one that leaves activations alone first.
MODES = ("weight-only", "int16x8", "int8")


@dataclass(frozen=True)
class Case:
    """One way to cluster one task: the float model, and what became of it by each of `MODES`."""

    task: str
    clusters: int
    way: str
    model: Model
    small: tuple[Model, ...]
    most: str = ""
    integers: str = ""


def cases(lab: Lab, task: str) -> list[Case]:
    """Cluster a task's model in all ways; the first case is the model as it is."""
    model = lab.model(task)
    found = [Case(task, 0, "not clustered", model, _small(lab, task, model))]
    for clusters in CLUSTERS:
        for way, options in WAYS.items():
            edited = ql.cluster(model, clusters, **options)
            small = _small(lab, task, edited.model)
            most = _span(int(line.figures["most"]) for line in edited.done)
            weights = [small[-1].tensor(line.where).numpy() for line in edited.done]
            integers = "" if "per" in options else _span(np.unique(weight).size for weight in weights)
            found.append(Case(task, clusters, way, edited.model, small, most, integers))
    return found


def _span(counts: Iterable[int]) -> str:
    seen = sorted(counts)
    low, high = seen[0], seen[-1]
    return f"{low}" if low == high else f"{low} to {high}"


def _small(lab: Lab, task: str, model: Model) -> tuple[Model, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ql.errors.CalibrationWarning)
        statistics = ql.calibrate(model, lab.tasks[task].samples("calib"), runner="litert")
    recipes = map(ql.recipes.by_name, MODES)
    return tuple(ql.quantize(model, recipe, statistics if recipe.activations else None) for recipe in recipes)


def same(lab: Lab, case: Case) -> bool:
    """Whether int8 weights alone give the clustered model's outputs bit for bit."""
    data = list(islice(lab.tasks[case.task].samples("calib"), COMPARED))
    ours, theirs = (ql.run(model, data, runner="litert") for model in (case.model, case.small[0]))
    return all(np.array_equal(ours[name], theirs[name]) for name in ours)


def row(lab: Lab, case: Case, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """A line of the table."""
    alone, only, wide, whole = outcomes
    return (
        case.task,
        case.way,
        str(case.clusters or ""),
        case.most,
        f"{deflated_size(case.model):,}",
        _figure(alone),
        decibels(alone.sqnr) if case.clusters else "",
        _figure(only),
        "yes" if same(lab, case) else "no",
        _figure(wide),
        case.integers,
        f"{deflated_size(case.small[-1]):,}",
        _figure(whole),
    )


def _figure(outcome: Outcome) -> str:
    return " / ".join(f"{figure:.2f}" for figure in outcome.figures)


def measured(lab: Lab, tasks: Sequence[str]) -> str:
    """The table."""
    lines = []
    for task in tasks:
        found = cases(lab, task)
        outcomes = lab.scored(task, [model for case in found for model in (case.model, *case.small)])
        for outcome in outcomes:
            if outcome.failure:
                raise ql.errors.InvalidModel(f"{task}: {outcome.failure}")
        for i, case in enumerate(found):
            step = 1 + len(MODES)
            lines.append(row(lab, case, outcomes[step * i : step * (i + 1)]))
            print(" | ".join(lines[-1]), file=sys.stderr, flush=True)
    heads = ["task", "clusters of each", "asked for", "there", "deflated", "figure %", "SQNR dB"]
    heads += ["weight-only %", "same outputs", "int16x8 %", "int8: integers", "deflated", "figure %"]
    return table(heads, lines, left=2)


def main() -> int:
    parser = table_parser("cluster", __doc__, "keyword spotting and MobileNet V1")
    options = parser.parse_args()
    lab = opened(parser, options)
    parts = {"conditions": lab.conditions(), "sizes and accuracy": measured(lab, options.names or TASKS)}
    publish(parts, PAGE if options.docs else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())

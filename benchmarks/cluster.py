"""``python -m benchmarks.cluster``: what clustering leaves of size and accuracy, alone and with integers, in LiteRT.

Clusters keyword spotting and MobileNet V1 of the shared folder in several ways, quantizes each result, and scores it;
see `benchmarks.scoring`. Prints the tables of docs/howto/cluster.md, or with ``--docs`` writes them there.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any

import numpy as np

import quantlib as ql
from quantlib.evaluation import refit
from quantlib.passes import Edited, deflated_size
from quantlib.tflite import Model

from .pages import decibels, publish, table
from .scoring import ROOT, Lab, Outcome, opened, table_parser

PAGE = ROOT / "docs" / "howto" / "cluster.md"
TASKS = ("mlperf_kws_dscnn_float", "mobilenet_v1_0.25_224_float")
CLUSTERS = (16, 32, 64)
#: Samples whose outputs are compared bit for bit.
COMPARED = 16
#: Samples of the calibration split that weights are refitted on, at most.
REFITTED = 100
#: Options of each way, and whether weights are refitted.
WAYS: Mapping[str, tuple[Mapping[str, Any], bool]] = MappingProxyType(
    {
        "weight": ({}, False),
        "weight, refitted": ({}, True),
        "weight, on the grid": ({"grid": "int8"}, False),
        "weight, on the grid, refitted": ({"grid": "int8"}, True),
        "channel, on the grid": ({"grid": "int8", "per": "channel"}, False),
        "channel, on the grid, refitted": ({"grid": "int8", "per": "channel"}, True),
    }
)
#: The way whose losses are shown apart.
SHOWN = "weight, on the grid, refitted"
#: Recipes whose weights are int8, the one that leaves activations alone first.
MODES: Mapping[str, ql.Recipe] = MappingProxyType(
    {
        "weight-only": ql.recipes.weight_only(),
        "int16x8": ql.recipes.by_name("int16x8"),
        "int8": ql.recipes.int8(),
        "int8, mse": ql.recipes.int8(range=ql.ranges.MSE()),
        "int8, minmax": ql.recipes.int8(range=ql.ranges.MinMax()),
    }
)


@dataclass(frozen=True)
class Case:
    """One way to cluster one task: the float model, and what became of it by each of `MODES`."""

    task: str
    clusters: int
    way: str
    model: Model
    small: Mapping[str, Model]
    most: str = ""
    integers: str = ""

    @property
    def models(self) -> tuple[Model, ...]:
        """All that is scored: the float model first."""
        return self.model, *self.small.values()


def cases(lab: Lab, task: str) -> list[Case]:
    """Cluster a task's model in all ways; the first case is the model as it is."""
    model = lab.model(task)
    found = [Case(task, 0, "not clustered", model, _small(lab, task, model))]
    samples = list(islice(lab.tasks[task].samples("calib"), REFITTED))
    for clusters in CLUSTERS:
        for way, (options, refitted) in WAYS.items():
            edit: Callable[..., Edited] = partial(ql.cluster, clusters=clusters, **options)
            edited = edit(model, refit=refit(model, samples, edit)) if refitted else edit(model)
            small = _small(lab, task, edited.model)
            most = _span(int(line.figures["most"]) for line in edited.done)
            weights = [small["int8"].tensor(line.where).numpy() for line in edited.done]
            integers = "" if "per" in options else _span(np.unique(weight).size for weight in weights)
            found.append(Case(task, clusters, way, edited.model, small, most, integers))
    return found


def _span(counts: Iterable[int]) -> str:
    seen = sorted(counts)
    low, high = seen[0], seen[-1]
    return f"{low}" if low == high else f"{low} to {high}"


def _small(lab: Lab, task: str, model: Model) -> dict[str, Model]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ql.errors.CalibrationWarning)
        statistics = ql.calibrate(model, lab.tasks[task].samples("calib"), runner="litert")
    return {
        name: ql.quantize(model, recipe, statistics if recipe.activations else None) for name, recipe in MODES.items()
    }


def same(lab: Lab, case: Case) -> bool:
    """Whether int8 weights alone give the clustered model's outputs bit for bit."""
    data = list(islice(lab.tasks[case.task].samples("calib"), COMPARED))
    ours, theirs = (ql.run(model, data, runner="litert") for model in (case.model, case.small["weight-only"]))
    return all(np.array_equal(ours[name], theirs[name]) for name in ours)


def row(lab: Lab, case: Case, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """A line of the table; outcomes are those of `Case.models`."""
    alone, only, wide, *whole = outcomes
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
        f"{deflated_size(case.small['int8']):,}",
        *map(_figure, whole),
    )


def losses(found: Sequence[tuple[Case, Sequence[Outcome]]]) -> list[tuple[str, ...]]:
    """Lines of what integers cost one task: points against the same clusters in float, a line for each recipe."""
    shown = [outcomes for case, outcomes in found if not case.clusters or case.way == SHOWN]
    task = found[0][0].task
    return [
        (task, mode, *(f"{o[i].figures[0] - o[0].figures[0]:+.2f}" for o in shown))
        for i, mode in enumerate(MODES, start=1)
    ]


def _figure(outcome: Outcome) -> str:
    return " / ".join(f"{figure:.2f}" for figure in outcome.figures)


def measured(lab: Lab, tasks: Sequence[str]) -> dict[str, str]:
    """The tables."""
    lines, lost = [], []
    for task in tasks:
        found = cases(lab, task)
        outcomes = lab.scored(task, [model for case in found for model in case.models])
        for outcome in outcomes:
            if outcome.failure:
                raise ql.errors.InvalidModel(f"{task}: {outcome.failure}")
        step = 1 + len(MODES)
        pairs = [(case, outcomes[step * i : step * (i + 1)]) for i, case in enumerate(found)]
        for case, of_case in pairs:
            lines.append(row(lab, case, of_case))
            print(" | ".join(lines[-1]), file=sys.stderr, flush=True)
        lost += losses(pairs)
    heads = ["task", "clusters of each", "asked for", "there", "deflated", "figure %", "SQNR dB"]
    heads += [
        "weight-only %",
        "same outputs",
        "int16x8 %",
        "int8: integers",
        "deflated",
        "int8 %",
        "mse %",
        "minmax %",
    ]
    points = ["task", "recipe", "not clustered", *(f"{k} clusters" for k in CLUSTERS)]
    return {"sizes and accuracy": table(heads, lines, left=2), "losses": table(points, lost, left=2)}


def main() -> int:
    parser = table_parser("cluster", __doc__, "keyword spotting and MobileNet V1")
    options = parser.parse_args()
    lab = opened(parser, options)
    parts = {"conditions": lab.conditions(), **measured(lab, options.names or TASKS)}
    publish(parts, PAGE if options.docs else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())

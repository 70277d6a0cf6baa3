"""``python -m benchmarks.defaults``: which rule for ranges, granularity and rounding costs outputs the least.

Quantizes every task of the shared folder in every way and scores it; see `benchmarks.scoring`. Prints the tables of
docs/explanation/defaults.md and balanced-rounding.md, or with ``--docs`` writes them there.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import quantlib as ql
from quantlib.calibration import RANGES

from .pages import EXPLANATION, decibels, fill, table
from .scoring import Lab, Outcome, opened, side_by_side, table_parser

#: Rules for ranges as recipes have them, the one that others are compared with first.
RULES: Mapping[str, Mapping[str, Any]] = {
    "minmax": {"range": "minmax"},
    "percentile 99.999": {"range": "percentile", "percentile": 99.999},
    "percentile 99.99": {"range": "percentile", "percentile": 99.99},
    **{name: {"range": name} for name in RANGES if name not in ("minmax", "percentile")},
}
#: Rules that are compared with 16 bits, the one that the other is compared with first.
WIDE = ("minmax", "headroom")
GRANULARITIES = ("channel", "tensor")
ROUNDINGS = ("nearest", "balanced")
#: Differences in dB from which on one way is better than another.
MARGIN = 0.1

#: SQNR of every task in dB, by way.
Figures = Mapping[str, Mapping[str, float]]


def ways() -> dict[str, ql.Recipe]:
    """Everything that is compared: names ``MODE per GRANULARITY, RULE`` and ``MODE ROUNDING``."""
    found = {
        f"int8 per {g}, {name}": ql.recipes.int8(granularity=g, **rule)
        for g in GRANULARITIES
        for name, rule in RULES.items()
    }
    found |= {f"int16x8, {name}": ql.recipes.int16x8(range=name) for name in WIDE}
    for mode in ("int8", "int16x8"):
        found |= {f"{mode} {r}": ql.recipes.by_name(mode).replace(rounding=r) for r in ROUNDINGS}
    return found


def differences(ours: Mapping[str, float], base: Mapping[str, float]) -> dict[str, float]:
    """By how many dB each task is better in one way than in another, where both ran."""
    both = {task: ours[task] - base[task] for task in ours if task in base}
    return {task: value for task, value in both.items() if value == value}


def summary(found: Figures, bases: Mapping[str, str]) -> str:
    """How ways compare with others, by name: median, better and worse tasks, and the extremes."""
    rows = []
    for name, base in bases.items():
        gains = differences(found[name], found[base])
        if not gains:
            continue
        low, high = (pick(gains, key=lambda task: gains[task]) for pick in (min, max))
        rows.append(
            (
                name,
                f"{statistics.median(gains.values()):+.2f}",
                f"{statistics.fmean(gains.values()):+.2f}",
                str(sum(g >= MARGIN for g in gains.values())),
                str(sum(g <= -MARGIN for g in gains.values())),
                *((f"{gains[t]:+.1f} {t}" if abs(gains[t]) >= MARGIN else "") for t in (low, high)),
            )
        )
    heads = ("", "median dB", "mean dB", "tasks better", "tasks worse", "least gain", "greatest gain")
    return table(heads, rows)


def by_task(found: Figures, columns: Mapping[str, str]) -> str:
    """SQNR of each task in some ways, by the heads of their columns."""
    tasks = list(dict.fromkeys(task for name in columns.values() for task in found[name]))
    rows = (
        (task, *(decibels(found[name].get(task, float("nan"))) or "fails" for name in columns.values()))
        for task in tasks
    )
    return table(("task", *columns), rows)


def parts(found: Figures, conditions: str) -> dict[str, dict[str, str]]:
    """The measured parts of the pages, by page and name."""
    ranges = [f"int8 per {g}, {name}" for g in GRANULARITIES for name in RULES]
    pages = {
        "ranges": summary(found, dict.fromkeys(ranges, ranges[0])),
        "room": summary(found, {f"int16x8, {WIDE[1]}": f"int16x8, {WIDE[0]}"}),
        "room by task": by_task(found, {name: f"int16x8, {name}" for name in WIDE}),
        **{f"per {g}": by_task(found, {rule: f"int8 per {g}, {rule}" for rule in RULES}) for g in GRANULARITIES},
    }
    rounding = [f"{mode} {r}" for mode in ("int16x8", "int8") for r in ROUNDINGS]
    gains = {f"{mode} balanced": f"{mode} nearest" for mode in ("int16x8", "int8")}
    return {
        "defaults.md": {"conditions": conditions, **pages},
        "balanced-rounding.md": {
            "conditions": conditions,
            "rounding": summary(found, gains),
            "rounding by task": by_task(found, {name: name for name in rounding}),
        },
    }


def measured(lab: Lab, names: Sequence[str], jobs: int) -> dict[str, dict[str, float]]:
    """SQNR of all tasks in all ways; NaN where a task failed."""
    recipes = ways()

    def task(name: str) -> list[Outcome]:
        found = lab.outcomes(name, recipes.values())
        for way, outcome in zip(recipes, found, strict=True):
            print(f"{name}: {way}: {outcome.failure or f'{outcome.sqnr:.2f} dB'}", file=sys.stderr, flush=True)
        return found

    figures: dict[str, dict[str, float]] = {way: {} for way in recipes}
    for name, outcomes in zip(names, side_by_side(task, names, jobs), strict=True):
        for way, outcome in zip(recipes, outcomes, strict=True):
            figures[way][name] = outcome.sqnr
    return figures


def main() -> int:
    parser = table_parser("defaults", __doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="tasks at once")
    parser.add_argument("--out", type=Path, help="also write the tables to this file")
    options = parser.parse_args()
    lab = opened(parser, options)
    found = measured(lab, options.names or list(lab.tasks), options.jobs)
    pages = parts(found, lab.conditions())
    text = "\n\n".join(part for page in pages.values() for part in page.values())
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    for page, contents in pages.items() if options.docs else ():
        fill(EXPLANATION / page, contents)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks.correct_bias``: what corrected biases give back of what quantization costs, in LiteRT.

Quantizes tasks of the shared folder by several recipes, corrects the biases of each result by some calibration
samples, and scores both; see `benchmarks.scoring`. Prints the table of docs/howto/correct-bias.md, or with ``--docs``
writes it there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice

import quantlib as ql
from quantlib.evaluation import correct_bias

from .pages import decibels, publish, table
from .scoring import ROOT, Lab, Outcome, opened, table_parser

PAGE = ROOT / "docs" / "howto" / "correct-bias.md"
TASKS = (
    "mobilenet_v1_0.25_224_float",
    "mlperf_ic_resnet8_float",
    "mlperf_vww_mobilenet_96_float",
    "mlperf_kws_dscnn_float",
    "mlperf_ad_toycar_float",
    "mnist_conv_fc_float",
    "mnv3_portrait_seg_float",
    "face_detection_front_float",
)
MODES = ("int8", "int8-int4", "dynamic", "weight-only-int4")
#: Calibration samples that biases are corrected by: as many as the command takes.
SAMPLES = 64


def pairs(lab: Lab, task: str) -> list[tuple[ql.Model, ql.Model]]:
    """A task's model by each recipe, as quantized and with corrected biases."""
    model = lab.model(task)
    data = list(islice(lab.tasks[task].samples("calib"), SAMPLES))
    found = []
    for recipe in map(ql.recipes.by_name, MODES):
        small = ql.quantize(model, recipe, lab.statistics(task) if recipe.activations else None)
        found.append((small, correct_bias(model, small, data).model))
    return found


def row(task: str, mode: str, before: Outcome, after: Outcome, changed: bool) -> tuple[str, ...]:
    """A line of the table."""
    figures = [_figure(f) for f in (before.float_figures, before.figures, after.figures)]
    gain = f"{after.sqnr - before.sqnr:+.1f}" if changed else "as it was"
    return (task, mode, decibels(before.sqnr), decibels(after.sqnr), gain, *figures)


def _figure(figures: Sequence[float]) -> str:
    return " / ".join(f"{figure:.2f}" for figure in figures)


def measured(lab: Lab, tasks: Sequence[str]) -> str:
    """The table."""
    lines = []
    for task in tasks:
        made = pairs(lab, task)
        outcomes = lab.scored(task, [model for both in made for model in both])
        for outcome in outcomes:
            if outcome.failure:
                raise ql.errors.InvalidModel(f"{task}: {outcome.failure}")
        for i, (mode, (small, corrected)) in enumerate(zip(MODES, made, strict=True)):
            lines.append(row(task, mode, outcomes[2 * i], outcomes[2 * i + 1], corrected is not small))
            print(" | ".join(lines[-1]), file=sys.stderr, flush=True)
    heads = ["task", "recipe", "SQNR dB", "corrected", "gain", "float %", "quantized %", "corrected %"]
    return table(heads, lines, left=2)


def main() -> int:
    parser = table_parser("correct_bias", __doc__, "eight of them")
    options = parser.parse_args()
    lab = opened(parser, options)
    parts = {"conditions": lab.conditions(), "corrected biases": measured(lab, options.names or TASKS)}
    publish(parts, PAGE if options.docs else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())

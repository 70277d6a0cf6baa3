"""All results as tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import LAYER_BYTES, calibration, integer_run, static
from .facts import MIB, against, rewrites

#: Greatest times `cp` that a mode may take at 1 GiB on a RAM disk.
TARGETS = {"dynamic": 1.3, "weight-only": 1.3, "float16": 2.5}
#: What a rewrite may have in anonymous memory, whatever the model's size.
ANONYMOUS_LIMIT = 2 * LAYER_BYTES + 64 * MIB


def markdown(report: Mapping[str, Any]) -> str:
    """All tables."""
    lines = ["# Benchmarks", "", *(f"- {key}: {value}" for key, value in report["conditions"].items()), ""]
    for size, jobs in report["sizes"].items():
        lines += [f"## Fully-connected model of {size} MiB", "", *rewrites(jobs), ""]
    if report["sizes"]:
        lines += [
            f"Aims: at 1 GiB on a RAM disk {', '.join(f'{m} <= {t} x cp' for m, t in TARGETS.items())}; anonymous "
            f"memory of quantlib <= {ANONYMOUS_LIMIT // MIB} MiB (twice the largest tensor, and 64 MiB) at any size.",
            "",
        ]
    if "mobilenet" in report:
        lines += ["## MobileNet V2, dynamic, from the shell", "", *_against_peer(report["mobilenet"]), ""]
    if "imports" in report:
        lines += ["## Import", "", *_imports(report["imports"]), ""]
    if "calibration" in report:
        lines += ["## Calibration of MobileNet V2", "", *calibration.markdown(report["calibration"]), ""]
    if "static" in report:
        lines += ["## int8, with ranges from calibration", "", *static.markdown(report["static"]), ""]
    if report.get("integers"):
        lines += ["## MobileNet V2 in NumPy: integers over floats", "", *integer_run.markdown(report["integers"]), ""]
    return "\n".join(lines)


def _against_peer(part: Mapping[str, Any]) -> list[str]:
    lines = [f"Model: {part['model']}. Start of the process and imports included.", ""]
    return [*lines, *against(part["jobs"]), "", "Aim: less than half of the peer's time."]


def _imports(jobs: Mapping[str, Any]) -> list[str]:
    base = jobs["numpy"]["median_seconds"]
    lines = ["| | median ms | over numpy, ms |", "|---|---:|---:|"]
    for name, job in jobs.items():
        over = 1e3 * (job["median_seconds"] - base)
        lines.append(f"| {name} | {1e3 * job['median_seconds']:.1f} | {over:+.1f} |")
    return [*lines, "", "Aim: `import quantlib` within 60 ms of `import numpy`."]

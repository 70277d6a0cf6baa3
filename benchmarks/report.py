"""Results as JSON, and as tables in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from . import LAYER_BYTES, calibration
from .measure import Result

MIB = 1 << 20
#: Greatest times `cp` that a mode may take at 1 GiB on a RAM disk.
TARGETS = {"dynamic": 1.3, "weight-only": 1.3, "float16": 2.5}
#: What a rewrite may have in anonymous memory, whatever the model's size.
ANONYMOUS_LIMIT = 2 * LAYER_BYTES + 64 * MIB


def as_json(result: Result, base: Result | None) -> dict[str, Any]:
    """Facts of one job; ratios are medians over the median of `base`."""
    if result.failure or not result.seconds:
        return {"failure": result.failure or "not run"}
    return {
        "median_seconds": result.median,
        "least_seconds": min(result.seconds),
        "seconds": result.seconds,
        "median_cpu_seconds": statistics.median(result.cpu),
        "ratio": None if base is None or not base.seconds else result.median / base.median,
        "ratio_of_least": None if base is None or not base.seconds else min(result.seconds) / min(base.seconds),
        "peak_anonymous_bytes": result.anonymous,
        "peak_resident_bytes": result.resident,
        "output_bytes": result.output_bytes,
    }


def markdown(report: Mapping[str, Any]) -> str:
    """All tables."""
    lines = ["# Benchmarks", "", *(f"- {key}: {value}" for key, value in report["conditions"].items()), ""]
    for size, jobs in report["sizes"].items():
        lines += [f"## Fully-connected model of {size} MiB", "", *_rewrites(jobs), ""]
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
    return "\n".join(lines)


def _rewrites(jobs: Mapping[str, Any]) -> list[str]:
    lines = [
        "| | median s | least s | CPU s | x cp | x cp, least | peak anonymous MiB | peak resident MiB | output MiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, job in jobs.items():
        if "failure" in job:
            lines.append(f"| {name} | {job['failure']} | | | | | | | |")
            continue
        seconds = [f"{job[key]:.3f}" for key in ("median_seconds", "least_seconds", "median_cpu_seconds")]
        ratios = [_times(job[key]) for key in ("ratio", "ratio_of_least")]
        sizes = [_mib(job[key]) for key in ("peak_anonymous_bytes", "peak_resident_bytes", "output_bytes")]
        lines.append(f"| {' | '.join([name, *seconds, *ratios, *sizes])} |")
    return lines


def _against_peer(part: Mapping[str, Any]) -> list[str]:
    lines = [f"Model: {part['model']}. Start of the process and imports included.", ""]
    lines += ["| | median s | x peer | peak anonymous MiB |", "|---|---:|---:|---:|"]
    for name, job in part["jobs"].items():
        if "failure" in job:
            lines.append(f"| {name} | {job['failure']} | | |")
            continue
        lines.append(
            f"| {name} | {job['median_seconds']:.3f} | {_times(job['ratio'])} | {_mib(job['peak_anonymous_bytes'])} |"
        )
    return [*lines, "", "Aim: less than half of the peer's time."]


def _imports(jobs: Mapping[str, Any]) -> list[str]:
    base = jobs["numpy"]["median_seconds"]
    lines = ["| | median ms | over numpy, ms |", "|---|---:|---:|"]
    for name, job in jobs.items():
        over = 1e3 * (job["median_seconds"] - base)
        lines.append(f"| {name} | {1e3 * job['median_seconds']:.1f} | {over:+.1f} |")
    return [*lines, "", "Aim: `import quantlib` within 60 ms of `import numpy`."]


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _mib(count: int | None) -> str:
    return "not known" if count is None else f"{count / MIB:.1f}"

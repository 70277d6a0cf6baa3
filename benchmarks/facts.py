"""What is said of the runs of jobs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from .measure import Result

MIB = 1 << 20


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


def facts(results: Mapping[str, Result], base: str) -> dict[str, Any]:
    """Facts of several jobs; ratios to one of them."""
    return {name: as_json(result, results.get(base)) for name, result in results.items()}


def rewrites(jobs: Mapping[str, Any]) -> list[str]:
    """Table of jobs that write a model, with ratios to `cp`."""
    lines = [
        "| | median s | least s | CPU s | x cp | x cp, least | peak anonymous MiB | peak resident MiB | output MiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, job in jobs.items():
        if "failure" in job:
            lines.append(f"| {name} | {job['failure']} | | | | | | | |")
            continue
        seconds = [f"{job[key]:.3f}" for key in ("median_seconds", "least_seconds", "median_cpu_seconds")]
        ratios = [times(job[key]) for key in ("ratio", "ratio_of_least")]
        sizes = [mib(job[key]) for key in ("peak_anonymous_bytes", "peak_resident_bytes", "output_bytes")]
        lines.append(f"| {' | '.join([name, *seconds, *ratios, *sizes])} |")
    return lines


def against(jobs: Mapping[str, Any]) -> list[str]:
    """Table of jobs with ratios to the peer."""
    lines = ["| | median s | x peer | peak anonymous MiB |", "|---|---:|---:|---:|"]
    for name, job in jobs.items():
        if "failure" in job:
            lines.append(f"| {name} | {job['failure']} | | |")
            continue
        lines.append(
            f"| {name} | {job['median_seconds']:.3f} | {times(job['ratio'])} | {mib(job['peak_anonymous_bytes'])} |"
        )
    return lines


def times(ratio: float | None) -> str:
    """A ratio as text."""
    return "" if ratio is None else f"{ratio:.2f}"


def mib(count: int | None) -> str:
    """Bytes in MiB as text."""
    return "not known" if count is None else f"{count / MIB:.1f}"

"""Integers with ranges from calibration: time over `cp` and memory of a large model, time of a small one."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import WIDTH
from .facts import MIB, against, facts, mib, rewrites
from .measure import Result, environment

if TYPE_CHECKING:
    from .bench import Bench

#: Samples of the large model.
SAMPLES = 8
#: Greatest times `cp` and anonymous memory in bytes that the large model may take, calibration included.
TIMES, MEMORY = 12.0, 400 * MIB
#: Whole processes of the small model, each of which quantizes so many times.
PROCESSES, ROUNDS = 5, 7
#: What is compared, by label.
LABELS = (f"int8, {SAMPLES} samples", "int8, ready ranges")


def large(bench: Bench, size: int) -> dict[str, Any]:
    """Measure a fully-connected model of `size` MiB: with calibration, and with ranges found before."""
    source, fewer = bench.fully_connected(size), bench.fewer(size)
    samples = bench.work / "samples.npy"
    np.save(samples, np.random.default_rng(0).standard_normal((SAMPLES, WIDTH), np.float32))
    ours, theirs = ready(bench, source, samples)
    calibrated, planned = LABELS
    jobs = [
        bench.copy(source),
        bench.quantlib(source, "int8", "--data", str(samples), label=calibrated),
        bench.quantlib(source, "int8", "--stats", str(ours), label=planned),
        *bench.litert(source, "static", fewer, str(samples), label=calibrated),
        *bench.litert(source, "static", fewer, str(theirs), label=planned),
    ]
    results = bench.run(f"static, {size} MiB", jobs, bench.options.repetitions, source)
    source.unlink()
    if bench.peer is None:
        results |= {f"litert-quantizer {label}": Result(failure=bench.peer_reason) for label in LABELS}
    return {"mib": size, "jobs": facts(results, "cp")}


def ready(bench: Bench, source: Path, samples: Path) -> tuple[Path, Path]:
    """Find ranges with both tools; the peer's file is absent where there is no peer."""
    ours, theirs = bench.work / f"{source.stem}.npz", bench.work / f"{source.stem}.json"
    command = [sys.executable, "-m", "quantlib", "calibrate", str(source), "--data", str(samples), "-o", str(ours)]
    commands = [command] + (
        [[*bench.peer_script(), str(source), "calibrate", str(theirs), str(samples)]] if bench.peer else []
    )
    for words in commands:
        subprocess.run(words, check=True, capture_output=True, env=environment(bench.work))
    return ours, theirs


def small(bench: Bench) -> dict[str, Any]:
    """Measure a made MobileNet V2 with ready ranges: the peer can't calibrate the trained file."""
    source, samples = bench.model("mobilenet", "mobilenet_v2_made.tflite"), bench.work / "images.npy"
    np.save(samples, np.random.default_rng(0).standard_normal((SAMPLES, 224, 224, 3), np.float32))
    ours, theirs = ready(bench, source, samples)
    label = LABELS[1]
    jobs = [
        bench.quantlib(source, "int8", "--stats", str(ours), label=label),
        *bench.litert(source, "static", None, str(theirs), label=label),
    ]
    results = bench.run("static, MobileNet V2", jobs, bench.options.repetitions, source)
    shell = facts(results, f"litert-quantizer {label}")
    return {"shell": shell, "within": _within(bench, source, ours, theirs)}


def _within(bench: Bench, source: Path, ours: Path, theirs: Path) -> dict[str, dict[str, Any]]:
    """Seconds within processes that have started and imported all; medians of several by turns."""
    script = str(Path(__file__).with_name("static_one.py"))
    commands = {
        "quantlib": [sys.executable, script, "ours", str(source), str(ours)],
        "quantlib, min-max and nearest": [sys.executable, script, "alike", str(source), str(ours)],
    }
    if bench.peer is not None:
        commands["litert-quantizer"] = [bench.peer, "-I", script, "peer", str(source), str(theirs)]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    failures: dict[str, dict[str, Any]] = {}
    for _ in range(min(PROCESSES, bench.options.repetitions)):
        for name, words in commands.items():
            line = [*words, str(bench.work / f"{name}.tflite"), str(ROUNDS)]
            done = subprocess.run(line, check=False, capture_output=True, text=True, env=environment(bench.work))
            if done.returncode:
                failures[name] = {"failure": (done.stderr.strip().splitlines() or ["failed"])[-1]}
            else:
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
    medians = {
        name: {key: statistics.median(r[key] for r in runs) for key in runs[0]}
        for name, runs in found.items()
        if runs
    }
    return {**medians, **failures}


def markdown(part: Mapping[str, Any]) -> list[str]:
    """The tables."""
    lines: list[str] = []
    if "large" in part:
        lines += [
            f"Fully-connected model of {part['large']['mib']} MiB, from the shell, start and imports included. "
            f"`{LABELS[0]}` calibrates, plans, quantizes and writes; `{LABELS[1]}` reads what was found before.",
            "",
            *rewrites(part["large"]["jobs"]),
            "",
            f"Aim: with calibration <= {TIMES:g} x cp and {mib(MEMORY)} MiB of anonymous memory, at 1 GiB.",
            "",
        ]
    lines += ["MobileNet V2 with ready ranges, from the shell:", "", *against(part["small"]["shell"]), ""]
    lines += [
        "The same within a process: read, plan, quantize and write, without start and imports. By default ranges are "
        "searched for the least error, and errors of rounding made to cancel; the peer takes min-max ranges and the "
        "nearest integers, as the line that says so does.",
        "",
        "| | first s | next s | CPU s | x peer |",
        "|---|---:|---:|---:|---:|",
    ]
    within = part["small"]["within"]
    base = within.get("litert-quantizer")
    for name, fact in within.items():
        if "failure" in fact:
            lines.append(f"| {name} | {fact['failure']} | | | |")
            continue
        ratio = "" if base is None or "failure" in base else f"{fact['next'] / base['next']:.2f}"
        lines.append(f"| {name} | {fact['first']:.3f} | {fact['next']:.3f} | {fact['cpu']:.3f} | {ratio} |")
    return [*lines, "", "Aim: less than the peer's time."]

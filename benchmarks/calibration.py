"""Calibration: images a second, ours and the peer's by turns, and the memory that it takes."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

IMAGES = 64
#: Ours, and the share of the peer's rate that each aims at.
WAYS = {"numpy-minmax": 1.0, "numpy-histogram": 0.7, "litert-minmax": None, "litert-histogram": 1.5}
#: Peak memory over the samples that quantlib aims at, in bytes.
LIMIT = 400 << 20


def measure(
    model: Path,
    work: Path,
    peer: str | None,
    repetitions: int,
    environment: Mapping[str, str],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Calibrate a model in all ways by turns.

    Parameters
    ----------
    model : Path
        With one input of float images, and a signature.
    work : Path
        Where the samples go.
    peer : str or None
        Python of the environment that has the peer.
    repetitions : int
    environment : mapping
        Of the processes.
    say : callable
        Is told what runs.
    """
    samples = work / "samples.npy"
    np.save(samples, np.random.default_rng(0).standard_normal((IMAGES, 224, 224, 3), np.float32))
    script = str(Path(__file__).with_name("calibrate_one.py"))
    commands = {way: [sys.executable, script, way] for way in WAYS}
    if peer is not None:
        commands = {"litert-quantizer": [peer, "-I", script, "peer"], **commands}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    failures: dict[str, str] = {}
    for turn in range(repetitions):
        for name, command in commands.items():
            if name in failures:
                continue
            say(f"calibration: round {turn + 1} of {repetitions}: {name}")
            words = [*command, str(model), str(samples)]
            done = subprocess.run(
                words, capture_output=True, text=True, check=False, env={**os.environ, **environment}
            )
            if done.returncode:
                failures[name] = (done.stderr.strip().splitlines() or ["failed"])[-1]
            else:
                found[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
    samples.unlink()
    return {"images": IMAGES, "ways": {name: _fact(runs, failures.get(name)) for name, runs in found.items()}}


def _fact(runs: list[dict[str, float]], failure: str | None) -> dict[str, Any]:
    if failure is not None:
        return {"failure": failure}
    return {
        "images_a_second": IMAGES / statistics.median(run["seconds"] for run in runs),
        "peak_over_data": max(run["peak"] - run["data"] for run in runs),
    }


def markdown(part: Mapping[str, Any]) -> list[str]:
    """The table."""
    ways = part["ways"]
    base = ways.get("litert-quantizer", {}).get("images_a_second")
    lines = [
        f"{part['images']} images, medians; without start-up and imports.",
        "",
        "| | images/s | x peer | aim | peak MiB over the data |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, fact in ways.items():
        if "failure" in fact:
            lines.append(f"| {name} | {fact['failure']} | | | |")
            continue
        rate, aim = fact["images_a_second"], WAYS.get(name)
        ratio = "" if base is None else f"{rate / base:.2f}"
        lines.append(
            f"| {name} | {rate:.1f} | {ratio} | {'' if aim is None else f'>= {aim}'} "
            f"| {fact['peak_over_data'] / (1 << 20):.0f} |"
        )
    return lines

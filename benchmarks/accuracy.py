"""``python -m benchmarks.accuracy``: size, SQNR and accuracy of every mode on the real tasks, LiteRT being the judge.

Quantizes each float model of the shared folder (``QUANTLIB_SHARED``, or ``../shared``) and scores it with that
folder's ``tools/score.py``. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import quantlib as ql

MODES = ("float16", "dynamic", "weight-only")
SHARED = Path(os.environ.get("QUANTLIB_SHARED") or Path(__file__).parents[2] / "shared")
#: Figures that a task may have, beside the SQNR.
FIGURES = ("top1", "person_iou", "map")


def score(task: str, candidate: Path, limit: int | None) -> dict[str, Any]:
    """Run the scorer in a process of its own: LiteRT aborts on some models."""
    words = [sys.executable, str(SHARED / "tools" / "score.py"), task, str(candidate)]
    words += [] if limit is None else ["--limit", str(limit)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cell(result: dict[str, Any]) -> str:
    """One result: SQNR in dB, a figure of the task, size over the float file's."""
    if "error" in result:
        return str(result["error"])
    figures = [str(result[key]) for key in FIGURES if key in result]
    return ", ".join([f"{result['sqnr_db']:.1f} dB", *figures, f"{result['size_ratio']:.4f}"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("tasks", nargs="*", help="names of tasks; all otherwise")
    parser.add_argument("--modes", nargs="*", choices=list(ql.recipes.PRESETS), default=list(MODES))
    parser.add_argument("--limit", type=int, help="samples of each task")
    options = parser.parse_args()
    if not (SHARED / "tools" / "score.py").is_file():
        parser.exit(2, f"{SHARED}: no tools/score.py there; set QUANTLIB_SHARED\n")
    listing = [sys.executable, str(SHARED / "tools" / "score.py"), "--list"]
    known = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()
    print(f"| task | {' | '.join(options.modes)} |\n|---|{'---|' * len(options.modes)}")
    with tempfile.TemporaryDirectory() as folder:
        for task in options.tasks or known:
            cells = []
            for mode in options.modes:
                out = Path(folder) / "candidate.tflite"
                ql.quantize(ql.read(SHARED / "models" / f"{task}.tflite"), mode).write(out)
                cells.append(cell(score(task, out, options.limit)))
            print(f"| {task} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks``: quantlib, litert-quantizer and `cp`, by turns, in one run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import LAYER_BYTES, calibration
from .measure import Job, Result, alternate, environment
from .report import MIB, as_json, markdown

MODES = ("dynamic", "weight-only", "float16")
#: MiB of weights.
SIZES = (64, 256, 1024)
RAM_DISK = Path("/dev/shm")
MOBILENET = "mobilenet_v2_1.0_224_float_reconstructed.tflite"
IMPORTS = {
    "numpy": "import numpy",
    "quantlib": "import quantlib",
    "quantlib, all that quantize needs": "from quantlib import quantize, read",
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder for results.md and .json")
    parser.add_argument("--cache", type=Path, help="folder that keeps the models made (OUT/models)")
    parser.add_argument("--work", type=Path, help="folder to measure in (a RAM disk where there is one)")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES), metavar="MIB", help="multiples of 64")
    parser.add_argument("--modes", nargs="*", choices=MODES, default=list(MODES))
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--peer-repetitions", type=int, metavar="N", help="of the peer at 1 GiB (3 at most)")
    parser.add_argument("--import-repetitions", type=int, default=21, metavar="N")
    parser.add_argument(
        "--peer-python",
        default=os.environ.get("QUANTLIB_PEER_PYTHON"),
        metavar="PATH",
        help="Python of an environment with litert-quantizer (QUANTLIB_PEER_PYTHON)",
    )
    parser.add_argument("--no-peer", action="store_true", help="leave the peer out")
    parser.add_argument("--mobilenet", type=Path, default=_mobilenet(), help="MobileNet V2; one is made otherwise")
    parser.add_argument("--skip", nargs="*", choices=["mobilenet", "imports", "calibration"], default=[])
    parser.add_argument("--quick", action="store_true", help="64 MiB and 3 repetitions: does it all work?")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.repetitions, options.import_repetitions = [64], 3, 5
    if any(size < 64 or size % 64 for size in options.sizes):
        parser.error("sizes are multiples of 64 MiB, the size of a layer")
    options.cache = options.cache or options.out / "models"
    options.work = options.work or (RAM_DISK if os.access(RAM_DISK, os.W_OK) else Path(tempfile.gettempdir()))
    return options


def _mobilenet() -> Path:
    folder = os.environ.get("QUANTLIB_SHARED") or Path(__file__).parents[2] / "shared"
    return Path(folder) / "models" / MOBILENET


class Bench:
    """What all measurements of one run share."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.options, self.work = options, work
        self.ram = _file_system(work) in ("tmpfs", "ramfs")
        self.peer, self.peer_reason = self._find_peer()

    def _find_peer(self) -> tuple[str | None, str]:
        python = self.options.peer_python
        if self.options.no_peer or not python:
            return None, "not run: give --peer-python"
        found = subprocess.run(
            [python, "-c", "from importlib.metadata import version as v; print(v('litert-quantizer'))"],
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode:
            return None, f"not run: {python} has no litert-quantizer"
        return python, found.stdout.strip()

    def model(self, kind: str, name: str) -> Path:
        """Path of a model in the work folder; made once and kept in the cache."""
        kept = self.options.cache / name
        if not kept.is_file():
            _say(f"making {kept}")
            kept.parent.mkdir(parents=True, exist_ok=True)
            # A process of its own: what this one holds would count as the children's peak.
            subprocess.run([sys.executable, "-m", "benchmarks.models", kind, str(kept)], check=True)
        return self.bring(kept)

    def bring(self, path: Path) -> Path:
        """Copy a model to the work folder."""
        return Path(shutil.copyfile(path, self.work / path.name))

    def copy(self, source: Path) -> Job:
        """`cp`; on a disk flushed to it, as quantlib does."""
        target = self.work / "cp.tflite"
        if self.ram:
            return Job("cp", ["cp", str(source), str(target)], target)
        # A clone of the extents is no copy.
        plain = "--reflink=never" if sys.platform == "linux" else "-f"
        script = 'cp "$1" "$2" "$3" && ' + ('sync "$3"' if sys.platform == "linux" else "sync")
        return Job("cp", ["sh", "-c", script, "sh", plain, str(source), str(target)], target)

    def quantlib(self, source: Path, mode: str) -> Job:
        """The command line."""
        command = Path(sys.executable).with_name("quantlib")
        start = [str(command)] if command.is_file() else [sys.executable, "-m", "quantlib"]
        target = self.work / f"quantlib_{mode}.tflite"
        words = [*start, "quantize", str(source), "-o", str(target), "--recipe", mode]
        return Job(f"quantlib {mode}", words, target)

    def litert(self, source: Path, mode: str, repetitions: int | None) -> list[Job]:
        """The peer's job, where there is a peer."""
        if self.peer is None:
            return []
        target = self.work / f"peer_{mode}.tflite"
        script = str(Path(__file__).with_name("peer.py"))
        words = [self.peer, "-I", script, str(source), mode, str(target)]
        return [Job(f"litert-quantizer {mode}", words, target, repetitions)]

    def size(self, size: int) -> dict[str, Any]:
        """Measure one size in all modes."""
        source = self.model(str(size * MIB // LAYER_BYTES), f"fully_connected_{size}.tflite")
        fewer = self.options.peer_repetitions or (min(3, self.options.repetitions) if size >= 1024 else None)
        modes = self.options.modes
        jobs = [self.copy(source), *(self.quantlib(source, mode) for mode in modes)]
        jobs += [job for mode in modes for job in self.litert(source, mode, fewer)]
        results = self._run(f"{size} MiB", jobs, self.options.repetitions, source)
        source.unlink()
        if self.peer is None:
            results |= {f"litert-quantizer {mode}": Result(failure=self.peer_reason) for mode in modes}
        return _facts(results, "cp")

    def mobilenet(self) -> dict[str, Any]:
        """Measure a small model, where starting is what costs."""
        given = self.options.mobilenet
        source = self.bring(given) if given.is_file() else self.model("mobilenet", "mobilenet_v2_made.tflite")
        jobs = [self.quantlib(source, "dynamic"), *self.litert(source, "dynamic", None)]
        results = self._run("MobileNet V2", jobs, self.options.repetitions, source)
        if self.peer is None:
            results["litert-quantizer dynamic"] = Result(failure=self.peer_reason)
        return {"model": source.name, "jobs": _facts(results, "litert-quantizer dynamic")}

    def imports(self) -> dict[str, Any]:
        """Measure how long a Python takes that only imports."""
        jobs = [Job(name, [sys.executable, "-c", code]) for name, code in IMPORTS.items()]
        return _facts(self._run("imports", jobs, self.options.import_repetitions), "numpy")

    def calibration(self) -> dict[str, Any]:
        """Measure how fast ranges are found, on a made MobileNet V2: the peer can't calibrate the trained file."""
        source = self.model("mobilenet", "mobilenet_v2_made.tflite")
        repetitions = min(3, self.options.repetitions)
        return calibration.measure(source, self.work, self.peer, repetitions, environment(self.work), _say)

    def _run(self, what: str, jobs: list[Job], repetitions: int, source: Path | None = None) -> dict[str, Result]:
        prime = source if self.ram else None
        return alternate(jobs, repetitions, self.work, prime, lambda text: _say(f"{what}: {text}"))

    def conditions(self) -> dict[str, str]:
        """Say what was measured where."""
        version = "from importlib.metadata import version as v; print(v('numpy'), v('tflite-quantlib'))"
        found = subprocess.run([sys.executable, "-c", version], capture_output=True, text=True, check=True)
        numpy, quantlib = found.stdout.split()
        kind = _file_system(self.work)
        durable = (
            "a RAM disk whose pages were just in use"
            if self.ram
            else "a disk: both flush the file to it (cp, then sync)"
        )
        return {
            "quantlib": f"{quantlib} with numpy {numpy}, Python {platform.python_version()}",
            "litert-quantizer": self.peer_reason,
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
            "work folder": f"{kind}, {durable}; files in the page cache",
            "times": "medians of whole processes by turns, the first round left out; "
            f"{self.options.repetitions} repetitions",
            "memory": "greatest of all runs; anonymous as /proc says every few ms",
        }


def _facts(results: dict[str, Result], base: str) -> dict[str, Any]:
    return {name: as_json(result, results.get(base)) for name, result in results.items()}


def _file_system(folder: Path) -> str:
    """Type of the file system that a folder is on; ``unknown`` where the system doesn't say."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    path = folder.resolve()
    fitting = [(len(at), kind) for at, kind in mounts if path.is_relative_to(at)]
    return max(fitting)[1] if fitting else "unknown"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="quantlib-bench-", dir=options.work))
    try:
        bench = Bench(options, work)
        report: dict[str, Any] = {"conditions": bench.conditions(), "sizes": {}}
        for size in options.sizes:
            report["sizes"][str(size)] = bench.size(size)
        if "mobilenet" not in options.skip:
            report["mobilenet"] = bench.mobilenet()
        if "imports" not in options.skip:
            report["imports"] = bench.imports()
        if "calibration" not in options.skip:
            report["calibration"] = bench.calibration()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    text = markdown(report)
    (options.out / "results.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (options.out / "results.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

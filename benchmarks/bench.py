"""What all measurements of one run share, and the measurements of files."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import LAYER_BYTES, calibration, static
from .facts import MIB, facts
from .measure import Job, Result, alternate, environment

IMPORTS = {
    "numpy": "import numpy",
    "quantlib": "import quantlib",
    "quantlib, all that quantize needs": "from quantlib import quantize, read",
}


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
            say(f"making {kept}")
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

    def quantlib(self, source: Path, mode: str, *words: str, label: str = "") -> Job:
        """The command line, with more options."""
        command = Path(sys.executable).with_name("quantlib")
        start = [str(command)] if command.is_file() else [sys.executable, "-m", "quantlib"]
        name = label or mode
        target = self.work / f"quantlib_{name}.tflite"
        line = [*start, "quantize", str(source), "-o", str(target), "--recipe", mode, *words]
        return Job(f"quantlib {name}", line, target)

    def litert(self, source: Path, mode: str, repetitions: int | None, *words: str, label: str = "") -> list[Job]:
        """The peer's job, where there is a peer; `words` as peer.py has them."""
        if self.peer is None:
            return []
        name = label or mode
        target = self.work / f"peer_{name}.tflite"
        line = [*self.peer_script(), str(source), mode, str(target), *words]
        return [Job(f"litert-quantizer {name}", line, target, repetitions)]

    def peer_script(self) -> list[str]:
        """How peer.py is run."""
        return [str(self.peer), "-I", str(Path(__file__).with_name("peer.py"))]

    def fewer(self, size: int) -> int | None:
        """Repetitions of the peer at a size in MiB."""
        return self.options.peer_repetitions or (min(3, self.options.repetitions) if size >= 1024 else None)

    def fully_connected(self, size: int) -> Path:
        """A model of so many MiB."""
        return self.model(str(size * MIB // LAYER_BYTES), f"fully_connected_{size}.tflite")

    def size(self, size: int) -> dict[str, Any]:
        """Measure one size in all modes."""
        source, fewer, modes = self.fully_connected(size), self.fewer(size), self.options.modes
        jobs = [self.copy(source), *(self.quantlib(source, mode) for mode in modes)]
        jobs += [job for mode in modes for job in self.litert(source, mode, fewer)]
        results = self.run(f"{size} MiB", jobs, self.options.repetitions, source)
        source.unlink()
        if self.peer is None:
            results |= {f"litert-quantizer {mode}": Result(failure=self.peer_reason) for mode in modes}
        return facts(results, "cp")

    def mobilenet(self) -> dict[str, Any]:
        """Measure a small model, where starting is what costs."""
        given = self.options.mobilenet
        source = self.bring(given) if given.is_file() else self.model("mobilenet", "mobilenet_v2_made.tflite")
        jobs = [self.quantlib(source, "dynamic"), *self.litert(source, "dynamic", None)]
        results = self.run("MobileNet V2", jobs, self.options.repetitions, source)
        if self.peer is None:
            results["litert-quantizer dynamic"] = Result(failure=self.peer_reason)
        return {"model": source.name, "jobs": facts(results, "litert-quantizer dynamic")}

    def imports(self) -> dict[str, Any]:
        """Measure how long a Python takes that only imports."""
        jobs = [Job(name, [sys.executable, "-c", code]) for name, code in IMPORTS.items()]
        return facts(self.run("imports", jobs, self.options.import_repetitions), "numpy")

    def calibration(self) -> dict[str, Any]:
        """Measure how fast ranges are found, on a made MobileNet V2: the peer can't calibrate the trained file."""
        source = self.model("mobilenet", "mobilenet_v2_made.tflite")
        repetitions = min(3, self.options.repetitions)
        return calibration.measure(source, self.work, self.peer, repetitions, environment(self.work), say)

    def static(self) -> dict[str, Any]:
        """Measure integers with ranges from calibration: the greatest model, and the small one."""
        found = {"small": static.small(self)}
        return {"large": static.large(self, max(self.options.sizes)), **found} if self.options.sizes else found

    def integers(self) -> dict[str, Any]:
        """Measure the integer run of MobileNet V2 in NumPy; nothing where its files aren't there."""
        if not (self.options.mobilenet.is_file() and self.options.integers.is_file()):
            return {}
        say("integers in NumPy")
        line = [
            sys.executable,
            "-m",
            "benchmarks.integer_run",
            self.options.mobilenet,
            self.options.integers,
            "--json",
        ]
        single = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(line, check=True, capture_output=True, text=True, env=single)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def run(self, what: str, jobs: list[Job], repetitions: int, source: Path | None = None) -> dict[str, Result]:
        """Run jobs by turns."""
        prime = source if self.ram else None
        return alternate(jobs, repetitions, self.work, prime, lambda text: say(f"{what}: {text}"))

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


def _file_system(folder: Path) -> str:
    """Type of the file system that a folder is on; ``unknown`` where the system doesn't say."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    path = folder.resolve()
    fitting = [(len(at), kind) for at, kind in mounts if path.is_relative_to(at)]
    return max(fitting)[1] if fitting else "unknown"


def say(text: str) -> None:
    """Tell of progress."""
    print(text, file=sys.stderr, flush=True)

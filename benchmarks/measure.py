"""Run commands as processes of their own and see what they take."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Seconds between two looks at a process's memory.
INTERVAL = 0.003


@dataclass(frozen=True)
class Job:
    """A command to measure.

    Attributes
    ----------
    name : str
    command : list of str
    output : path, optional
        What it writes; removed before each run, and required afterwards.
    repetitions : int, optional
        Fewer runs than the others get.
    """

    name: str
    command: Sequence[str]
    output: Path | None = None
    repetitions: int | None = None


@dataclass
class Result:
    """What the runs of a job took.

    Attributes
    ----------
    seconds : list of float
        Wall time of each run, start of the process to its end.
    cpu : list of float
        Processor time of each run, in seconds.
    anonymous : int or None
        Greatest anonymous resident memory seen in any run, in bytes; None where the system doesn't tell.
    resident : int or None
        Greatest resident memory, files mapped included, in bytes.
    output_bytes : int
    failure : str
        Why there are no times.
    """

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    anonymous: int | None = None
    resident: int | None = None
    output_bytes: int = 0
    failure: str = ""

    @property
    def median(self) -> float:
        """Median of the wall times in seconds."""
        return statistics.median(self.seconds)


class _Watch(threading.Thread):
    """Follows the memory of a process until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.path, self.done = f"/proc/{pid}/status", threading.Event()
        self.anonymous: int | None = None
        self.resident: int | None = None

    def run(self) -> None:
        while not self.done.wait(INTERVAL):
            try:
                with open(self.path, "rb") as file:
                    lines = file.read().split(b"\n")
            except OSError:
                return
            for line in lines:
                if line.startswith(b"RssAnon:"):
                    self.anonymous = _greater(self.anonymous, int(line.split()[1]) * 1024)
                elif line.startswith(b"VmHWM:"):
                    self.resident = _greater(self.resident, int(line.split()[1]) * 1024)


def _greater(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else max(a, b)


def _once(job: Job, environment: Mapping[str, str], result: Result, *, keep: bool) -> str:
    """Run a job, add to its result, and return why it failed if it did."""
    if job.output is not None:
        job.output.unlink(missing_ok=True)
    start = time.perf_counter()
    process = subprocess.Popen(
        job.command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    watch = _Watch(process.pid)
    watch.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    watch.done.set()
    watch.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    complaint = process.stderr.read().decode(errors="replace").strip() if process.stderr else ""
    if process.returncode or (job.output is not None and not job.output.is_file()):
        last = complaint.splitlines()[-1] if complaint else "no output"
        return f"status {process.returncode}: {last[:200]}"
    result.anonymous = _greater(result.anonymous, watch.anonymous)
    result.resident = _greater(result.resident, _greater(watch.resident, _peak(usage)))
    if job.output is not None:
        result.output_bytes = job.output.stat().st_size
        job.output.unlink()
    if keep:
        result.seconds.append(seconds)
        result.cpu.append(usage.ru_utime + usage.ru_stime)
    return ""


def _peak(usage: resource.struct_rusage) -> int | None:
    """Peak of a child, which also holds for one that ends between two looks; None where it is only our own."""
    # A child begins as this process, whose size then counts as the child's peak.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit if usage.ru_maxrss > own else None


def environment(work: Path) -> dict[str, str]:
    """Environment of all jobs: compiled modules are kept, as those of an installed package are."""
    own = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**own, "PYTHONPYCACHEPREFIX": str(work / "pycache"), "TF_CPP_MIN_LOG_LEVEL": "3"}


def _prime(source: Path, work: Path) -> None:
    # Twice what is needed: of one copy's pages the system gives back only some.
    copies = [work / "primer0", work / "primer1"]
    for copy in copies:
        shutil.copyfile(source, copy)
    for copy in copies:
        copy.unlink()


def alternate(
    jobs: Sequence[Job], repetitions: int, work: Path, prime: Path | None, say: Callable[[str], object]
) -> dict[str, Result]:
    """Run all jobs in turn, again and again; the first round warms caches up and isn't counted.

    A job that fails is not run again.

    Parameters
    ----------
    jobs : sequence of Job
    repetitions : int
    work : path
        Where they write.
    prime : path, optional
        A file that is copied and deleted before each run. On a RAM disk of a virtual machine a page costs up to
        ten times as much if the host has to find it first: all shall write to pages that were just in use.
    say : callable
        Hears of progress.
    """
    variables = environment(work)
    results = {job.name: Result() for job in jobs}
    for turn in range(repetitions + 1):
        # Whoever comes first, comes last the next time: what a job leaves behind is felt by all alike.
        for job in jobs if turn % 2 else reversed(jobs):
            result = results[job.name]
            if result.failure or turn > (job.repetitions or repetitions):
                continue
            if prime is not None:
                _prime(prime, work)
            failure = _once(job, variables, result, keep=turn > 0)
            if failure:
                result.failure = failure
                say(f"{job.name}: {failure}")
        say(f"round {turn} of {repetitions}")
    return results

"""Fuzzing of everything that reads a file, and of the edits of finished models.

``python -m tests.hostile.fuzz --count 20000`` damages small models, seeded, and fails on anything but a named
error or a valid model, on more than 2 s of processor time for reading or for one edit, and on more than 256 MiB of
memory for one file.
"""

from __future__ import annotations

import argparse
import collections
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from types import FrameType

from quantlib import demo
from quantlib.tflite import Model, read
from tests.support.models import BUILT, built
from tests.support.shared import MODELS, name_of

from .crafted import CRAFTED
from .exercise import exercise
from .mutate import Places, bent, damaged

#: For reading a file, and again for each edit of what was read.
SECONDS = 2.0
MEMORY = 256 << 20
LARGEST = 60_000


class TooSlow(BaseException):
    """One file took longer than it may."""


def seeds() -> list[tuple[str, bytes, Places, Model]]:
    """Small models to begin with: those built in code, the demo model, the small shared ones where they are."""
    found = {f"built:{name}": built(name) for name in BUILT} | {"demo": Path(demo.MODEL).read_bytes()}
    for path in MODELS:
        if path.stat().st_size <= LARGEST:
            found[name_of(path)] = path.read_bytes()
    return [(name, raw, Places(raw, _weights(raw)), read(raw)) for name, raw in found.items()]


def _weights(raw: bytes) -> list[tuple[int, int]]:
    """Where larger constants stand in a file."""
    spans = []
    for buffer in read(raw).buffers:
        if buffer.data is not None and buffer.data.nbytes >= 32:
            at = raw.find(buffer.data.numpy().tobytes())
            spans.append((at, at + buffer.data.nbytes))
    return spans


def limit() -> None:
    """Bound what this process may use: memory in all, processor time per step (see `SECONDS`)."""
    try:
        import resource
    except ImportError:  # no such limits on this system
        return
    pages = Path("/proc/self/statm")
    if pages.exists():
        used = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def _stop(number: int, frame: FrameType | None) -> None:
    raise TooSlow


def one(raw: bytes) -> str:
    """Exercise one file against the clock; gives the outcome."""
    if not hasattr(signal, "setitimer"):
        return exercise(raw)
    signal.signal(signal.SIGPROF, _stop)
    try:
        return exercise(raw, lambda: signal.setitimer(signal.ITIMER_PROF, SECONDS))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def crafted() -> int:
    """Exercise the files that are made by hand; gives the number of failures."""
    failures = 0
    for name, (make, message) in CRAFTED.items():
        try:
            outcome = one(make())
        except (Exception, TooSlow) as error:
            outcome = f"{type(error).__name__}: {error}"
        if outcome != ("InvalidModel" if message else "valid"):
            failures += 1
            print(f"FAILED {name}: {outcome}")
    return failures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Damage small models and read them.")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of one file to try, as a failure names it")
    parser.add_argument("--most", type=int, default=20, help="failures after which to stop")
    parser.add_argument("--save", type=Path, help="folder for the files that fail")
    chosen = parser.parse_args(arguments)
    models = seeds()
    limit()
    warnings.simplefilter("error")
    outcomes: collections.Counter[str] = collections.Counter()
    failures, slowest, began = 0, (0.0, -1), time.perf_counter()
    if chosen.only is None:
        failures += crafted()
    numbers = range(chosen.count) if chosen.only is None else [chosen.only]
    for number in numbers:
        name, whole, places, model = models[number % len(models)]
        seed = f"{chosen.seed}:{number}:{name}"
        raw = bent(model, seed) if number // len(models) % 3 == 0 else damaged(whole, places, seed)
        start = time.process_time()
        try:
            outcomes[one(raw)] += 1
        except (Exception, TooSlow) as error:
            failures += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            print(f"FAILED {number} ({name}): {type(error).__name__}: {error} at {where}")
            if chosen.only is not None:
                traceback.print_exc()
            if chosen.save:
                (chosen.save / f"{chosen.seed}_{number}.tflite").write_bytes(raw)
            if failures >= chosen.most:
                break
        slowest = max(slowest, (time.process_time() - start, number))
    tried = sum(outcomes.values()) + failures
    print(
        f"{tried:,} files from {len(models)} models, seed {chosen.seed}: "
        + ", ".join(f"{n:,} {kind}" for kind, n in outcomes.most_common())
        + f"; {failures} failed; {time.perf_counter() - began:.1f} s, slowest {slowest[0]:.2f} s (file {slowest[1]})"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

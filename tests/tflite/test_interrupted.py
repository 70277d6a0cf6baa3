"""A process that is killed while it writes a file over itself leaves the old one or the new one, whole."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from tests.support.shared import ROOT

KILLS = 50
SCRIPT = """
import os, pathlib, random, signal, sys, time
import numpy as np
from quantlib.tflite import Deferred, Draft, read
from tests.tflite.test_write import large

folder = pathlib.Path(sys.argv[1])
target = folder / "m.tflite"


def inverted(model):
    # every bit of the weights turned around, computed from the file that will be replaced
    draft, tensor = Draft(model), model.tensor("w")
    data = tensor.data
    made = Deferred(data.nbytes, lambda start, stop: ~data.read(start, stop))
    draft.graphs[0].tensors[tensor.index] = tensor.table.replace(buffer=draft.add_buffer(made))
    return draft.done()


def write_for_ever():
    while True:
        inverted(read(target)).write(target)


large(12_500_000).write(target)
start = time.perf_counter()
one = np.fromfile(target, np.uint8)
inverted(read(target)).write(target)
other = np.fromfile(target, np.uint8)
took = time.perf_counter() - start
rng, found, torn, strays = random.Random(0), [], 0, 0
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if not child:
        write_for_ever()
    time.sleep(rng.uniform(0.001, 1.5 * took))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    now = np.fromfile(target, np.uint8)
    kind = 1 if np.array_equal(now, one) else 2 if np.array_equal(now, other) else 0
    torn += not kind
    found.append(kind)
    for stray in folder.glob(".*"):
        strays += 1
        stray.unlink()
changes = sum(a != b for a, b in zip(found, found[1:]))
print(f"{len(one)} {torn} {strays} {changes}")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_killed_writer_leaves_a_whole_file() -> None:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), folder, str(KILLS)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    size, torn, strays, changes = map(int, done.stdout.split())
    assert size > 50_000_000
    assert torn == 0
    assert strays >= KILLS // 5  # most kills came while a file was being written ...
    assert changes >= 2  # ... and some after it had been

"""``python -m benchmarks.chain``: MobileNet V1 0.25 pruned, clustered, quantized, retyped and tidied from the shell.

Runs the very commands of docs/howto/chain.md in a folder of its own, one process each; loads and runs every file that
they write in LiteRT's three resolvers, and scores it on the task's evaluation split. Prints the parts of the page, or
with ``--docs`` writes them there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import quantlib as ql
from quantlib.passes import deflated_size
from quantlib.runners import make_runner

from .pages import decibels, percents, publish, table
from .scoring import ROOT, SHARED, Lab, opened, table_parser

PAGE = ROOT / "docs" / "howto" / "chain.md"
TASK = "mobilenet_v1_0.25_224_float"
QUANTIZE = "--recipe int8 --stats stats.npz --input-type int8 --output-type int8"
CLUSTER = "cluster pruned.tflite -o shared.tflite --clusters {clusters} --grid int8 --refit --data calibration.npz"
#: What a step writes, and its words.
STEPS = (
    ("pruned.tflite", "prune float.tflite -o pruned.tflite --sparsity {sparsity} --refit --data calibration.npz"),
    ("shared.tflite", CLUSTER),
    ("", "calibrate shared.tflite --data calibration.npz -o stats.npz --runner litert"),
    (
        "int8.tflite",
        f"quantize shared.tflite -o int8.tflite {QUANTIZE}",
    ),
    ("uint8.tflite", "retype int8.tflite -o uint8.tflite --input-type uint8 --output-type uint8"),
    ("small.tflite", "tidy uint8.tflite -o small.tflite"),
)
#: int8 alone, to tell what the others are worth.
ALONE = (
    ("", "calibrate float.tflite --data calibration.npz -o stats.npz --runner litert"),
    ("alone.tflite", f"quantize float.tflite -o alone.tflite {QUANTIZE}"),
)
COMPARE = "compare float.tflite small.tflite --data evaluation.npz --labels labels.npz --runner litert"
#: Sparsity and clusters: what the page shows whole, and what more of both costs.
CHOICES = ((0.1, 64), (0.25, 32))
RESOLVERS = ("default", "builtin", "reference")


def shell(folder: Path, words: str) -> str:
    """Run a command of quantlib in a folder; what it prints."""
    command = [sys.executable, "-m", "quantlib", *words.split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode > (words.startswith("compare")):
        raise RuntimeError(f"quantlib {words}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def filled(lab: Lab, folder: Path) -> None:
    """Put the model, its samples and labels into a folder."""
    task = lab.tasks[TASK]
    shutil.copy(SHARED / "models" / f"{TASK}.tflite", folder / "float.tflite")
    for split, name in (("calib", "calibration"), ("eval", "evaluation")):
        samples = np.stack([sample[0] for sample in task.samples(split)])
        np.savez(folder / f"{name}.npz", input=samples)
    np.savez(folder / "labels.npz", labels=task.npz()[task.labels].astype(np.int64) + task.offset)


def runs(path: Path) -> None:
    """Load and run a file in LiteRT's resolvers."""
    model = ql.read(path)
    for resolver in RESOLVERS:
        runner = make_runner(model, "litert", None, resolver)
        port = runner.interface.inputs[0]
        runner.run({port.name: np.zeros(port.shape, model.tensor((0, port.index)).dtype)})


def written(folder: Path, sparsity: float, clusters: int) -> Iterator[tuple[str, str]]:
    """Run the commands; each file, and the command's name."""
    yield "float.tflite", ""
    for name, words in (*STEPS, *ALONE):
        shell(folder, words.format(sparsity=sparsity, clusters=clusters))
        if name:
            runs(folder / name)
            yield name, words.split()[0]


def rows(lab: Lab, folder: Path, sparsity: float, clusters: int) -> Iterator[Sequence[str]]:
    """Row of the table for each file."""
    for name, command in written(folder, sparsity, clusters):
        model = ql.read(folder / name)
        (outcome,) = lab.scored(TASK, [model])
        sizes = (model.source.size, deflated_size(model))
        exact = "" if outcome.sqnr > 200 else decibels(outcome.sqnr)
        yield name, command, *(f"{size:,}" for size in sizes), percents(outcome.figures), exact


def main() -> int:
    parser = table_parser("chain", __doc__)
    options = parser.parse_args()
    lab = opened(parser, options)
    heads = ("file", "made by", "bytes", "deflated", "top-1 %", "SQNR dB")
    parts = {"conditions": lab.conditions()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        filled(lab, folder)
        for which, (sparsity, clusters) in zip(("first", "second"), CHOICES, strict=True):
            found = list(rows(lab, folder, sparsity, clusters))
            parts[f"{which} table"] = table(heads, found, left=2)
            commands = "\n".join(f"$ quantlib {w.format(sparsity=sparsity, clusters=clusters)}" for _, w in STEPS)
            if which == "first":
                compared = shell(folder, COMPARE).rstrip()
                parts["commands"] = f"```text\n{commands}\n$ quantlib {COMPARE}\n```"
                parts["comparison"] = f"```text\n{compared}\n```"
    publish(parts, PAGE if options.docs else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())

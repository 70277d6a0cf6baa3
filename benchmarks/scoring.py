"""The tasks of the shared folder: statistics, quantized models, and what its ``tools/score.py`` says of them.

Float models, samples and the scorer, whose judge is LiteRT, stand outside the repository: in ``QUANTLIB_SHARED``, or
in ``../shared``. Statistics are kept until calibration changes, scores for each file that was scored, so that a
table is made again at the cost of what has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import quantlib as ql
from quantlib.calibration import merge
from quantlib.tflite import Model

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("QUANTLIB_SHARED") or ROOT.parent / "shared")
SCORER = SHARED / "tools" / "score.py"
#: Where statistics and scores are kept.
KEPT = Path("build/accuracy")
#: Figures in percent that a task may have, beside the SQNR.
FIGURES = ("top1", "person_iou", "map")
#: Operators that only stand between integers and floats.
_BRIDGES = frozenset({"QUANTIZE", "DEQUANTIZE"})
#: Rooms that statistics come out of.
_CALIBRATING = ("calibration", "runners")

_T = TypeVar("_T")


@dataclass(frozen=True)
class Outcome:
    """What came out for one task and recipe.

    Attributes
    ----------
    task : str
    failure : str
        Why there is no score; empty where there is one.
    score : mapping
        What the scorer prints.
    floats, operators : int
        Operators that read or write float activations, and all; without QUANTIZE and DEQUANTIZE.
    float_bytes : int
        Size of the float model's file.
    """

    task: str
    failure: str = ""
    score: Mapping[str, Any] = field(default_factory=dict)
    floats: int = 0
    operators: int = 0
    float_bytes: int = 0

    @property
    def sqnr(self) -> float:
        """SQNR over all float outputs, in dB; NaN where the model failed."""
        return float(self.score.get("sqnr_db", "nan"))

    @property
    def worst(self) -> float:
        """SQNR of the worst output, in dB."""
        return float(min(self.score.get("sqnr_outputs", [self.sqnr])))

    @property
    def size(self) -> float:
        """Size over that of the float file."""
        return float(self.score.get("size_ratio", "nan"))

    @property
    def figures(self) -> tuple[float, ...]:
        """Top-1, person IoU or mean average precisions, in percent; none where the task has no labels."""
        return self._figures("")

    @property
    def float_figures(self) -> tuple[float, ...]:
        """Those of the float model."""
        return self._figures("_float")

    def _figures(self, end: str) -> tuple[float, ...]:
        found = next((self.score[f + end] for f in FIGURES if f + end in self.score), ())
        return tuple(found) if isinstance(found, (list, tuple)) else (float(found),)


class Lab:
    """Makes statistics, quantizes and scores.

    Parameters
    ----------
    kept : Path
        Folder of what was made before.
    limit : int, optional
        Samples of each task; all of them otherwise.

    Raises
    ------
    ql.QuantlibError
        If there is no shared folder.
    """

    def __init__(self, kept: Path = KEPT, limit: int | None = None) -> None:
        if not SCORER.is_file():
            raise ql.errors.NotFound(f"{SHARED}: no tools/score.py there; set QUANTLIB_SHARED to the shared folder")
        sys.path.insert(0, str(SHARED / "tools"))
        from tasks import TASKS  # it stands outside the repository

        self.tasks: Mapping[str, Any] = TASKS
        self.kept, self.limit = kept, limit
        rooms = (Path(ql.__file__).parent / room for room in _CALIBRATING)
        sources = b"".join(file.read_bytes() for room in rooms for file in sorted(room.glob("*.py")))
        self._edition = hashlib.sha256(sources).hexdigest()[:12]

    def model(self, task: str) -> Model:
        """Float model of a task."""
        return ql.read(SHARED / "models" / f"{task}.tflite")

    def statistics(self, task: str) -> ql.Statistics:
        """Statistics over the calibration samples that a task keeps, of every signature that takes them."""
        model = self.model(task)
        path = self.kept / "statistics" / f"{task}-{model.sha256[:12]}-{self._edition}.npz"
        if not path.is_file():
            found = self._calibrate(task, model)
            path.parent.mkdir(parents=True, exist_ok=True)
            found.save(path)
        return ql.calibration.load(path)

    def _calibrate(self, task: str, model: Model) -> ql.Statistics:
        known = self.tasks[task]
        keys = {d.subgraph_index: d.signature_key for d in model.root.signature_defs or ()}
        parts, refusals = [], []
        for key in sorted(map(str, keys.values())) if len(keys) > 1 else [None]:
            for runner in ("litert", "numpy"):
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore", ql.errors.CalibrationWarning)
                        samples = known.samples("calib")
                        parts.append(
                            ql.calibrate(model, samples, runner=runner, signature=key, sequence=known.stateful)
                        )
                    break
                except ql.QuantlibError as error:
                    refusals.append(error)
        if not parts:
            raise refusals[0]
        return merge(*parts)

    def outcomes(self, task: str, recipes: Iterable[ql.Recipe]) -> list[Outcome]:
        """Quantize a task's model by several recipes and score the results."""
        model = self.model(task)
        size = (SHARED / "models" / f"{task}.tflite").stat().st_size
        made: list[Outcome | tuple[Path, int, int]] = []
        with tempfile.TemporaryDirectory() as folder:
            for i, recipe in enumerate(recipes):
                path = Path(folder) / f"{i}.tflite"
                try:
                    statistics = self.statistics(task) if recipe.activations else None
                    ql.quantize(model, recipe, statistics).write(path)
                except ql.QuantlibError as error:
                    made.append(Outcome(task, str(error), float_bytes=size))
                else:
                    made.append((path, *operators_of(ql.read(path))))
            scores = self._scores(task, [m[0] for m in made if isinstance(m, tuple)])
        return [
            m if isinstance(m, Outcome) else Outcome(task, s.get("error", ""), s, m[1], m[2], size)
            for m in made
            for s in ([{}] if isinstance(m, Outcome) else [scores[m[0]]])
        ]

    def scored(self, task: str, models: Iterable[Model]) -> list[Outcome]:
        """Score models that were made of a task's float model."""
        size = (SHARED / "models" / f"{task}.tflite").stat().st_size
        with tempfile.TemporaryDirectory() as folder:
            made = []
            for i, model in enumerate(models):
                path = Path(folder) / f"{i}.tflite"
                model.write(path)
                made.append((path, *operators_of(model)))
            scores = self._scores(task, [path for path, *_ in made])
        return [
            Outcome(task, scores[path].get("error", ""), scores[path], floats, operators, size)
            for path, floats, operators in made
        ]

    def _scores(self, task: str, candidates: Sequence[Path]) -> dict[Path, dict[str, Any]]:
        """What the scorer says of each file; equal files are scored once, and failures aren't kept."""
        digests = {path: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in candidates}
        places = {d: self.kept / "scores" / f"{task}-{self.limit or 'all'}-{d}.json" for d in digests.values()}
        waiting = {d: path for path, d in digests.items() if not places[d].is_file()}
        found = {d: json.loads(p.read_text(encoding="utf-8")) for d, p in places.items() if p.is_file()}
        while waiting:
            lines, complaint = self._score(task, list(waiting.values()))
            for digest, line in zip(list(waiting), lines, strict=False):
                places[digest].parent.mkdir(parents=True, exist_ok=True)
                places[digest].write_text(line, encoding="utf-8")
                found[digest] = json.loads(line)
                del waiting[digest]
            if waiting:
                digest = next(iter(waiting))
                found[digest] = {"error": complaint}
                del waiting[digest]
        return {path: found[d] for path, d in digests.items()}

    def _score(self, task: str, candidates: Sequence[Path]) -> tuple[list[str], str]:
        """Score files in a process of its own, since LiteRT aborts on some; its lines, and what ended it."""
        script = Path(__file__).with_name("score_all.py")
        words = [sys.executable, str(script), str(SCORER.parent), task, str(self.limit or 0), *map(str, candidates)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        return lines, (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1][:200]

    def conditions(self) -> str:
        """Say what was measured with what."""
        samples = "the full evaluation split" if self.limit is None else f"{self.limit} evaluation samples"
        return (
            f"quantlib {ql.__version__} with NumPy {version('numpy')}, judged by ai-edge-litert "
            f"{version('ai-edge-litert')} (default resolver) on {samples} of each task; ranges from its calibration "
            "split, found with LiteRT."
        )


def operators_of(model: Model) -> tuple[int, int]:
    """Count operators that read or write float activations, and all; without QUANTIZE and DEQUANTIZE."""
    floats = count = 0
    for g, graph in enumerate(model.subgraphs):
        for operator in graph.operators or ():
            if model.operator_name(operator) in _BRIDGES:
                continue
            count += 1
            ends = [v.tolist() for v in (operator.inputs, operator.outputs) if v is not None]
            tensors = (model.tensor((g, t)) for end in ends for t in end if t >= 0)
            floats += any(t.type == "FLOAT32" for t in tensors)
    return floats, count


def table_parser(module: str, doc: str | None, names: str = "all", *, of: str = "tasks") -> argparse.ArgumentParser:
    """Parser of a table that a `Lab` makes: of what (all but for what is named), its samples, and where it goes."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}", description=doc)
    parser.add_argument("names", nargs="*", metavar=of, help=f"names of {of}; {names} otherwise")
    parser.add_argument("--limit", type=int, help="samples of each task")
    parser.add_argument("--kept", type=Path, default=KEPT, help="folder of statistics and scores made before")
    parser.add_argument("--docs", action="store_true", help="write what is measured into the documentation")
    return parser


def opened(parser: argparse.ArgumentParser, options: argparse.Namespace, *, part: bool = False) -> Lab:
    """Make the `Lab` that options ask for.

    Ends the program where there is no shared folder, or where the documentation would get a `part` of its tables.
    """
    if options.docs and (part or options.names or options.limit):
        parser.error("--docs writes whole tables; leave out --limit and all that chooses parts of them")
    try:
        return Lab(options.kept, options.limit)
    except ql.QuantlibError as error:
        parser.exit(2, f"{error}\n")


def side_by_side(task: Callable[[str], _T], names: Iterable[str], jobs: int) -> Iterable[_T]:
    """Do something for each task, a few at once; in order."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(task, names)

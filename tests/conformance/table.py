"""``python -m tests.conformance.table``: quantized files, tensor for tensor, against LiteRT.

Takes every quantized file of the shared folder, as a converter made it (mode ``file``), and quantizes each float
model there in each mode; runs samples of its task in NumPy and in LiteRT with the same runtime, and prints for each

- how many integers of all tensors differ that follow from equal values, and of how many;
- how many more differ because floats did before them, and by how much at most;
- the least SQNR of float tensors that follow from equal values, and that of all.

Of ``xnnpack``, LiteRT's default interpreter, only outputs can be seen.
Exits with 1 where integers of the first kind differ, or floats of that kind by more than 80 dB, or nothing of a file
could be compared.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from platform import machine
from typing import Any

import numpy as np
import numpy.typing as npt

import quantlib as ql
from quantlib.errors import QuantlibError
from quantlib.numerics import quantize
from quantlib.runners import LiteRTRunner, NumpyRunner
from quantlib.runners.boundary import affine_of
from quantlib.tflite import Draft, Model
from tests.conformance.test_produced import of_task
from tests.runners.accuracy import BIG, LEAST, decibels, drawn, signatures, tasks
from tests.runners.mediapipe import KERNELS
from tests.support.shared import MODELS, SHARED

Array = npt.NDArray[Any]

MODES = ("int8", "int16x8", "dynamic")
#: The mode of a file that is quantized already.
FILE = "file"
#: Bytes from which on a float model is large, and takes LiteRT's reference kernels long.
LARGE = 3_000_000
#: Endings of quantized files, and of the float ones whose tasks have samples for them.
_QUANTIZED = ("_a8w8_int8", "_int8", "_qat_uint8", "_ptq_uint8io", "_dynamic")
_FLOATING = ("_float", "_float_reconstructed")
#: Resolvers of LiteRT that have the arithmetic of a runtime, as far as tensors can be seen.
RESOLVERS = {"reference": "reference", "builtin": "builtin", "xnnpack": "default"}
#: Operators that LiteRT 2.3's reference kernels compute wrongly, and for which types; what they should give is fed.
WRONG = {"SUM": ("INT8", "INT16")}  # it reads both as UINT8


@dataclass(frozen=True)
class Judged:
    """One tensor: whether all is equal, how many integers differ, of how many and by how much; decibels of floats."""

    equal: bool
    wrong: int = 0
    integers: int = 0
    least: float = np.inf
    steps: int = 0

    @classmethod
    def of(cls, ours: Array, theirs: Array) -> Judged:
        """Compare ours with LiteRT's."""
        same = (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        if theirs.dtype.kind == "f":
            return cls(same and np.array_equal(ours, theirs, equal_nan=True), least=decibels(theirs, ours))
        if not same:
            return cls(False, theirs.size, theirs.size)
        apart = np.abs(ours.astype(np.int64) - theirs.astype(np.int64))
        wrong = int(np.count_nonzero(apart))
        return cls(not wrong, wrong, theirs.size, steps=int(apart.max(initial=0)))


@dataclass
class Row:
    """What came out for one file and signature: integers of all tensors that both show, and floats."""

    name: str
    mode: str
    signature: str = ""
    samples: int = 0
    tensors: int = 0
    wrong: int = 0
    later: int = 0
    steps: int = 0
    integers: int = 0
    own: float = np.inf
    least: float = np.inf
    where: str = ""
    note: str = ""
    failure: str = ""

    @property
    def fails(self) -> bool:
        """Whether a kernel computes other values from the same ones, or nothing was compared."""
        return bool(self.wrong or self.failure or self.own < LEAST or not self.tensors)

    def add(self, label: str, tensor: Judged, follows: bool) -> None:
        """Take one tensor, and whether all that it is computed from was equal."""
        self.tensors += 1
        self.integers += tensor.integers
        self.least = min(self.least, tensor.least)
        if not follows:
            self.later += tensor.wrong
            self.steps = max(self.steps, tensor.steps)
            return
        self.wrong += tensor.wrong
        self.own = min(self.own, tensor.least)
        if (tensor.wrong or tensor.least < LEAST) and not self.where:
            self.where = f"first in {label}: {tensor.wrong} of {tensor.integers} integers, {tensor.least:.1f} dB"

    def line(self) -> str:
        """The row as it is printed."""
        own, least = ("equal" if v == np.inf else f"{v:.1f} dB" for v in (self.own, self.least))
        later = f"later ones by {self.steps} at most" if self.later else ""
        tail = "; ".join(text for text in (self.failure, self.note, self.where, later) if text)
        label = f"{self.name} {self.signature}".strip()
        counts = f"{self.samples:7,} {self.wrong:9,} {self.integers:14,} {self.later:9,}"
        return f"{label:52} {self.mode:8} {counts} {own:>9} {least:>9}  {tail}".rstrip()


@cache
def made(name: str, mode: str) -> Model:
    """A task's model, quantized with statistics of a few of its samples."""
    if mode == "dynamic":
        return ql.quantize(ql.read(tasks()[name].model), mode)
    model, statistics = of_task(name)
    return ql.quantize(model, mode, statistics)


def _drawn(model: Model, signature: str | None, count: int) -> list[Any]:
    interface = LiteRTRunner(model, signature).interface
    return [drawn(interface, seed) for seed in range(count)]


def apart(model: Model, g: int, operator: Any) -> bool:
    """Whether LiteRT's reference resolver hasn't an operator (MediaPipe's own), or computes other numbers with it."""
    name = model.operator_name(operator)
    return name in KERNELS or (name in WRONG and model.tensor((g, int(operator.inputs[0]))).type in WRONG[name])


def without(model: Model) -> Model:
    """A model less operators that stand apart, whose outputs become inputs; tensors are named by their indices."""
    draft = Draft(model)
    draft.signatures = []
    for g, graph in enumerate(draft.graphs):
        removed = {i for i, o in enumerate(graph.operators) if apart(model, g, o)}
        written = {int(i) for o in graph.operators for i in o.outputs}
        for i in sorted(removed):
            graph.inputs += [int(k) for k in graph.operators[i].outputs]
            graph.outputs += [int(k) for k in graph.operators[i].inputs if int(k) in written]
        graph.outputs = list(dict.fromkeys(graph.outputs))
        graph.rearrange([], removed)
        graph.tensors = [t.replace(name=str(i)) for i, t in enumerate(graph.tensors)]
    return draft.done()


def outputs(row: Row, model: Model, signature: str | None, samples: Sequence[Any], **options: Any) -> Row:
    """Run samples in both, and compare the outputs with those of LiteRT's default interpreter."""
    ours = NumpyRunner(model, signature, kernels=KERNELS, runtime="xnnpack")
    whole = not _computes_floats(model, ours.interface.subgraph)
    theirs = LiteRTRunner(model, signature, resolver=RESOLVERS["xnnpack"])
    for sample in samples:
        mine = ours.run(sample, **options)
        for name, values in theirs.run(sample, **options).items():
            row.add(f"output {name!r}", Judged.of(mine[name], values), whole and values.dtype.kind != "f")
    return row


def _computes_floats(model: Model, g: int) -> bool:
    """Whether integers may follow from floats: from those that QUANTIZE reads, but for the inputs."""
    graph = model.subgraphs[g]
    inputs = {int(i) for i in graph.inputs}
    return any(
        model.tensor((g, int(o.inputs[0]))).type == "FLOAT32" and int(o.inputs[0]) not in inputs
        for o in graph.operators or ()
        if model.operator_name(o) == "QUANTIZE"
    )


def judged(
    row: Row, model: Model, signature: str | None, samples: Sequence[Any], runtime: str, **options: Any
) -> Row:
    """Run samples in both, and compare every tensor that both show."""
    ours = NumpyRunner(model, signature, kernels=KERNELS, runtime=runtime)
    g = ours.interface.subgraph
    cut = sorted({model.operator_name(o) for o in model.subgraphs[g].operators if apart(model, g, o)})
    other = without(model) if cut else model
    theirs = _runner(other, None if cut else signature, g, RESOLVERS[runtime])
    row.note = f"fed: {', '.join(cut)}" if cut else ""
    for sample in samples:
        mine: dict[int, Array] = {}
        found: dict[int, Judged] = {}

        def keep(subgraph: int, index: int, values: Array, mine: dict[int, Array] = mine) -> None:
            if subgraph == g:
                mine[index] = values.copy()

        def place(index: int) -> int:
            return int(other.tensor((theirs.interface.subgraph, index)).name) if cut else index

        def judge(
            _: int, index: int, values: Array, mine: dict[int, Array] = mine, found: dict[int, Judged] = found
        ) -> None:
            if place(index) in mine:
                found[place(index)] = Judged.of(mine[place(index)], values)

        ours.run(sample, tap=keep, **options)
        theirs.run([mine[place(port.index)] for port in theirs.interface.inputs], tap=judge, **options)
        _account(row, model, g, found)
    return row


def _account(row: Row, model: Model, g: int, found: Mapping[int, Judged]) -> None:
    """Add what was found for one sample to a row, operator after operator."""
    apart_from_theirs = {i for i, tensor in found.items() if not tensor.equal}
    for operator in model.subgraphs[g].operators or ():
        inputs = [int(i) for i in operator.inputs if i >= 0]
        states = [i for i in inputs if model.tensor((g, i)).table.is_variable]
        follows = apart_from_theirs.isdisjoint(set(inputs).difference(states))
        follows = follows and model.operator_name(operator) != "READ_VARIABLE"  # what an earlier sample left
        for i in (*map(int, operator.outputs), *states):
            if i in found:
                row.add(f"{model.operator_name(operator)} {i} {model.tensor((g, i)).name!r}", found[i], follows)
            elif not follows:
                apart_from_theirs.add(i)  # one that LiteRT doesn't show


def _runner(model: Model, signature: str | None, g: int, resolver: str) -> LiteRTRunner:
    """LiteRT on a subgraph, which stands alone where the model has no signature for it."""
    if signature is None and g:
        draft = Draft(model)
        draft.graphs = [draft.graphs[g]]
        model = draft.done()
    return LiteRTRunner(model, signature, resolver=resolver)


def rows(name: str, mode: str, count: int, runtime: str = "reference") -> Iterator[Row]:
    """Rows of one file, one for each signature: of a task's model in a mode, or of a quantized file."""
    model = ql.read(files()[name]) if mode == FILE else made(name, mode)
    task = tasks().get(floating(name))
    for i, signature in enumerate(signatures(model)):
        real = task is not None and i == 0
        given = _real(task, model, count) if real else _drawn(model, signature, count)
        row = Row(name, mode, signature or "", len(given))
        options = {"keep_state": task is not None and task.stateful}
        try:
            if runtime == "xnnpack":
                yield outputs(row, model, signature, given, **options)
            else:
                yield judged(row, model, signature, given, runtime, **options)
        except QuantlibError as error:
            row.failure = str(error)
            yield row


@cache
def files() -> Mapping[str, Path]:
    """Quantized files of the shared folder, those of ``edge`` included: any that has an operand with a scale."""
    found = [path for path in MODELS if _is_quantized(path)]
    return {path.relative_to(SHARED / "models").with_suffix("").as_posix(): path for path in found}


def _is_quantized(path: Path) -> bool:
    try:
        model = ql.read(path)
    except QuantlibError:
        return False
    tensors = (
        model.tensor((g, i)) for g, graph in enumerate(model.subgraphs) for i in range(len(graph.tensors or ()))
    )
    return any(t.type in ("INT4", "INT8", "UINT8", "INT16") and t.quantization is not None for t in tensors)


def floating(name: str) -> str:
    """The task of a quantized file, which is called after its float model; the name itself where there is none."""
    stems = [name.removesuffix(ending) for ending in _QUANTIZED if name.endswith(ending)]
    return next((s + ending for s in stems for ending in _FLOATING if s + ending in tasks()), name)


def _real(task: Any, model: Model, count: int) -> list[Any]:
    """Samples of a task, as a model's inputs take them."""
    inputs = [model.tensor((0, int(i))) for i in model.subgraphs[0].inputs]
    return [
        tuple(_stored(x, tensor) for x, tensor in zip(sample, inputs, strict=True))
        for sample in task.samples("eval", count)
    ]


def _stored(x: Array, tensor: Any) -> Array:
    affine = affine_of(tensor)
    return x if affine is None or x.dtype.kind != "f" else quantize(x.astype(np.float32), affine)


def count_of(name: str, mode: str, samples: int, large: int) -> int:
    """Samples of a file: fewer of a large one."""
    path = files()[name] if mode == FILE else Path(tasks()[name].model)
    return large if path.stat().st_size >= LARGE or floating(name) in BIG else samples


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.table", description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="*", default=list(tasks()), metavar="NAME", help="float models")
    parser.add_argument("--modes", nargs="+", default=MODES, metavar="MODE")
    parser.add_argument("--files", nargs="*", default=list(files()), metavar="NAME", help="quantized files")
    parser.add_argument("--samples", type=int, default=2, metavar="N")
    parser.add_argument("--large", type=int, metavar="N", help="samples of large models; as many unless given")
    parser.add_argument("--runtime", default="reference", choices=RESOLVERS)
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore", UserWarning)  # ranges from few samples are what's wanted
    wanted = [
        *((name, FILE) for name in given.files),
        *((name, mode) for name in given.tasks for mode in given.modes),
    ]
    if not wanted:
        print("no files to compare: the folder of models isn't there; set QUANTLIB_SHARED")
        return 0
    failed = False
    print(f"runtime {given.runtime}, LiteRT {version('ai-edge-litert')}, {machine()}")
    print(
        f"{'file':52} {'mode':8} {'samples':>7} {'differ':>9} {'integers':>14} {'later':>9} "
        f"{'floats':>9} {'later':>9}"
    )
    for name, mode in wanted:
        count = count_of(name, mode, given.samples, given.samples if given.large is None else given.large)
        for row in rows(name, mode, count, given.runtime):
            print(row.line(), flush=True)
            failed |= row.fails
        made.cache_clear()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.conformance.table``: quantized files of the measuring tasks, tensor for tensor, against LiteRT.

Quantizes each float model of the shared folder in each mode, runs samples of its task in NumPy (``reference``) and in
LiteRT's reference resolver, and prints for each file

- how many integers of all tensors differ that follow from equal values, and of how many;
- how many more differ because floats did before them;
- the least SQNR of float tensors that follow from equal values, and that of all.

Exits with 1 where integers of the first kind differ, or floats of that kind by more than 80 dB.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

import quantlib as ql
from quantlib.errors import QuantlibError
from quantlib.runners import LiteRTRunner, NumpyRunner
from quantlib.tflite import Draft, Model
from tests.conformance.test_produced import of_task
from tests.runners.accuracy import LEAST, decibels, drawn, signatures, tasks
from tests.runners.mediapipe import KERNELS

Array = npt.NDArray[Any]

MODES = ("int8", "int16x8", "dynamic")
#: Operators that LiteRT 2.3's reference kernels compute wrongly, and for which types; what they should give is fed.
WRONG = {"SUM": ("INT8", "INT16")}  # it reads both as UINT8


@dataclass(frozen=True)
class Judged:
    """One tensor: whether all is equal, how many integers differ and of how many, and decibels of floats."""

    equal: bool
    wrong: int = 0
    integers: int = 0
    least: float = np.inf

    @classmethod
    def of(cls, ours: Array, theirs: Array) -> Judged:
        """Compare ours with LiteRT's."""
        same = (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        if theirs.dtype.kind == "f":
            return cls(same and np.array_equal(ours, theirs, equal_nan=True), least=decibels(theirs, ours))
        wrong = int((ours != theirs).sum()) if same else theirs.size
        return cls(not wrong, wrong, theirs.size)


@dataclass
class Row:
    """What came out for one file and signature: integers of all tensors that both show, and floats."""

    name: str
    mode: str
    signature: str = ""
    wrong: int = 0
    later: int = 0
    integers: int = 0
    own: float = np.inf
    least: float = np.inf
    where: str = ""
    note: str = ""
    failure: str = ""

    @property
    def fails(self) -> bool:
        """Whether a kernel computes other values from the same ones."""
        return bool(self.wrong or self.failure or self.own < LEAST)

    def add(self, label: str, tensor: Judged, follows: bool) -> None:
        """Take one tensor, and whether all that it is computed from was equal."""
        self.integers += tensor.integers
        self.least = min(self.least, tensor.least)
        if not follows:
            self.later += tensor.wrong
            return
        self.wrong += tensor.wrong
        self.own = min(self.own, tensor.least)
        if (tensor.wrong or tensor.least < LEAST) and not self.where:
            self.where = f"first in {label}: {tensor.wrong} of {tensor.integers} integers, {tensor.least:.1f} dB"

    def line(self) -> str:
        """The row as it is printed."""
        own, least = ("equal" if v == np.inf else f"{v:.1f} dB" for v in (self.own, self.least))
        tail = "; ".join(text for text in (self.failure, self.note, self.where) if text)
        label = f"{self.name} {self.signature}".strip()
        counts = f"{self.wrong:9,} {self.integers:12,} {self.later:9,}"
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


def judged(name: str, mode: str, model: Model, signature: str | None, samples: Sequence[Any], **options: Any) -> Row:
    """Run samples in both, and compare every tensor that both show."""
    row = Row(name, mode, signature or "")
    ours = NumpyRunner(model, signature, kernels=KERNELS)
    g = ours.interface.subgraph
    cut = sorted({model.operator_name(o) for o in model.subgraphs[g].operators if apart(model, g, o)})
    other = without(model) if cut else model
    theirs = _runner(other, None if cut else signature, g)
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
        for i in (*map(int, operator.outputs), *states):
            if i in found:
                row.add(f"{model.operator_name(operator)} {i} {model.tensor((g, i)).name!r}", found[i], follows)
            elif not follows:
                apart_from_theirs.add(i)  # one that LiteRT doesn't show


def _runner(model: Model, signature: str | None, g: int) -> LiteRTRunner:
    """LiteRT on a subgraph, which stands alone where the model has no signature for it."""
    if signature is None and g:
        draft = Draft(model)
        draft.graphs = [draft.graphs[g]]
        model = draft.done()
    return LiteRTRunner(model, signature, resolver="reference")


def rows(name: str, mode: str, count: int, model: Model | None = None) -> Iterator[Row]:
    """Rows of one file, one for each signature."""
    model = made(name, mode) if model is None else model
    task = tasks()[name]
    for i, signature in enumerate(signatures(model)):
        samples = task.samples("eval", count) if i == 0 else _drawn(model, signature, count)
        try:
            yield judged(name, mode, model, signature, samples, keep_state=task.stateful)
        except QuantlibError as error:
            yield Row(name, mode, signature or "", failure=str(error))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.table", description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=list(tasks()), metavar="NAME")
    parser.add_argument("--modes", nargs="+", default=MODES, metavar="MODE")
    parser.add_argument("--samples", type=int, default=2, metavar="N")
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore", UserWarning)  # ranges from few samples are what's wanted
    failed = False
    print(f"{'task':52} {'mode':8} {'differ':>9} {'integers':>12} {'later':>9} {'floats':>9} {'later':>9}")
    for name in given.tasks:
        for mode in given.modes:
            for row in rows(name, mode, given.samples):
                print(row.line(), flush=True)
                failed |= row.fails
        made.cache_clear()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""Another shape at a model's inputs: a batch, or dimensions that the caller chooses when it runs.

What becomes of the shapes within is found by running the model in NumPy; that its samples stay apart, by comparing
with the original, sample by sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue, NotFound, QuantlibError
from quantlib.numerics import element_type
from quantlib.runners import Array, Interface, NumpyRunner, indices_of, interface_of
from quantlib.tflite import Draft, Model, Table, Tensor

from ..versions import name_of

Shape = tuple[int, ...]
_Integers = npt.NDArray[np.int32]
#: Operand that says a shape, beside the operand whose data it is about, and what it says of the first dimension.
_SHAPES = MappingProxyType(
    {
        "RESHAPE": (1, 0),
        "TRANSPOSE_CONV": (0, 2),
        "SLICE": (2, 0),
        "STRIDED_SLICE": (2, 0),
        "BROADCAST_TO": (1, 0),
    }
)
#: Operators whose result doesn't depend on the values that they read.
_BLIND = ("SHAPE", "RANK")
_ENDLESS = np.iinfo(np.int32).max
#: Elements of an input that is tried: more isn't worth the memory, which a file of few bytes could ask for.
_MOST = 1 << 24
#: Relative to the largest value: matrix products of other sizes are summed in another order.
_FLOAT_ERROR = 1e-4


@dataclass(frozen=True, slots=True)
class _Trial:
    """Inputs with which a model was run, and what became of its tensors."""

    fed: Mapping[str, Array]
    shapes: Mapping[tuple[int, int], Shape]
    outputs: Mapping[str, Array]


class Resized:
    """A model whose inputs are to have other shapes.

    Parameters
    ----------
    model : Model
    key : str or None
        Key of the signature whose inputs these are.
    wanted : mapping of int to tuple of int
        Shape by tensor; -1 is a dimension that the caller chooses.

    Attributes
    ----------
    notes : list of (str, str)
        What was adapted on the way, and where.
    """

    def __init__(self, model: Model, key: str | None, wanted: Mapping[int, Shape]) -> None:
        self.model, self.key, self.interface = model, key, interface_of(model, key)
        self.g = self.interface.subgraph
        self.was = {port.index: port.shape for port in self.interface.inputs}
        self.stored = {t: Tensor(model, self.g, t).shape for t in self.was}
        for t, shape in self.stored.items():
            if len(shape) != len(self.was[t]):
                where = Tensor(model, self.g, t)
                raise InvalidValue(
                    f"{where}: shape {list(shape)} and shape_signature {list(self.was[t])} differ in rank"
                )
        self.wanted = {**self.was, **wanted}
        self.batch = {t for t, shape in wanted.items() if shape and shape[0] != self.was[t][0]}
        self.only_batch = all(shape[1:] == self.was[t][1:] for t, shape in self.wanted.items())
        counts = {(self.stored[t][0], self.wanted[t][0]) for t in self.batch}
        if len(counts) > 1:
            raise InvalidValue(f"inputs with batches {sorted(counts)}; one batch is required for all that change it")
        self.old, self.new = counts.pop() if counts else (1, 1)
        self.notes: list[tuple[str, str]] = []

    def done(self) -> Model:
        """The model with the shapes that are wanted.

        Raises
        ------
        InvalidValue
            If an operator doesn't allow it, samples of a batch don't stay apart, or there is too much to try.
        """
        if self.only_batch and self.batch:  # two batches say what each more costs
            sizes = [{t: self._times(t, times) for t in self.was} for times in (1, 2)]
            trials = [
                self._run(self._adapted(times * self.old), fed) for times, fed in zip((1, 2), sizes, strict=True)
            ]
            self._check_apart(trials[1])
        else:
            sizes = [{t: _sized(self.wanted[t], self.stored[t], times) for t in self.was} for times in (1, 2)]
            several = sizes[:1] if sizes[0] == sizes[1] else sizes
            trials = [self._run(self._adapted(fed[next(iter(fed))][0]), fed) for fed in several]
        self.notes = []
        draft = Draft(self._adapted(self.new))
        for (g, t), first in trials[0].shapes.items():
            table, last = draft.graphs[g].tensors[t], trials[-1].shapes[g, t]
            if len(first) != len(last):
                raise InvalidValue(f"tensor {table.name!r} ({g}, {t}): its rank depends on the shape of the input")
            if 0 in first and 0 not in indices_of(table.shape):
                raise InvalidValue(
                    f"tensor {table.name!r} ({g}, {t}): nothing would be left of it, shape {list(first)}; give the "
                    "inputs larger shapes"
                )
            draft.graphs[g].tensors[t] = self._shaped(table, first, last)
        return draft.done()

    def _times(self, t: int, times: int) -> Shape:
        """Stored shape of an input with so many batches."""
        shape = self.stored[t]
        return (times * shape[0], *shape[1:]) if t in self.batch else shape

    def _shaped(self, table: Table, first: Shape, last: Shape) -> Table:
        """A tensor with the shape that two trials tell: what differs is the batch, or what the caller chooses."""
        fixed = self.only_batch and self.new > 0
        shape = [a * self.new // self.old if a != b and fixed else a for a, b in zip(first, last, strict=True)]
        dynamic = [-1 if a != b else n for a, b, n in zip(first, last, shape, strict=True)]
        wild = not fixed and min(dynamic, default=0) < 0
        return table.replace(shape=shape, shape_signature=dynamic if wild else None)

    def _adapted(self, size: int) -> Model:
        """The model with constants that say a shape for a batch of a size; -1 is any."""
        draft = Draft(self.model)
        graph = draft.graphs[self.g]
        reached = set(self.batch)
        for at, operator in enumerate(graph.operators):
            name = name_of(draft.codes[operator.opcode_index])
            inputs = indices_of(operator.inputs)
            if reached.isdisjoint(inputs) or name in _BLIND:
                continue
            reached.update(indices_of(operator.outputs))
            for t in inputs:
                if t >= 0 and graph.tensors[t].is_variable and t not in reached:
                    graph.tensors[t] = self._state(graph.tensors[t], size)
                    reached.add(t)
            if name in _SHAPES and inputs[_SHAPES[name][1]] in reached:
                self._without_batch(draft, at, name, size)
        return draft.done()

    def _state(self, table: Table, size: int) -> Table:
        """A state that is kept between runs, which has the batch in its shape."""
        shape = indices_of(table.shape)
        if not shape or shape[0] != self.old:
            return table
        if size < 0:
            raise InvalidValue(
                f"tensor {table.name or ''!r}: a state that is kept between runs; its batch must be known"
            )
        return table.replace(shape=[size, *shape[1:]])

    def _without_batch(self, draft: Draft, at: int, name: str, size: int) -> None:
        """Let the shape operand of an operator say another batch, or none."""
        graph = draft.graphs[self.g]
        operator, operand = graph.operators[at], _SHAPES[name][0]
        options, inputs = operator.builtin_options, operator.inputs.tolist()
        given = operand < len(inputs) and inputs[operand] >= 0
        if given and not Tensor(self.model, self.g, inputs[operand]).is_constant:
            return
        stated = options.new_shape if name == "RESHAPE" and options is not None else None
        values = Tensor(self.model, self.g, inputs[operand]).numpy().reshape(-1) if given else stated
        made, read = (Tensor(self.model, self.g, int(t)) for t in (operator.outputs[0], inputs[_SHAPES[name][1]]))
        if values is None:
            return
        changed = self._shape_values(name, values, made, read.shape, size)
        if np.array_equal(changed, values):
            return
        if given:
            inputs[operand] = self._stored(draft, inputs[operand], changed)
        fields = {} if stated is None else {"builtin_options": options.replace(new_shape=changed)}
        graph.operators[at] = operator.replace(inputs=inputs, **fields)
        self.notes.append((made.name, f"{name} {values.tolist()} -> {changed.tolist()}"))

    def _stored(self, draft: Draft, constant: int, values: _Integers) -> int:
        """The tensor that holds another shape: the same where nobody else reads it."""
        graph = draft.graphs[self.g]
        table = graph.tensors[constant].replace(buffer=draft.add_buffer(values))
        if sum(constant in indices_of(o.inputs) for o in graph.operators) == 1:
            graph.tensors[constant] = table  # its place stays, and so do all others
            return constant
        graph.tensors.append(table.replace(name=f"{table.name or ''}_batch"))
        return len(graph.tensors) - 1

    def _shape_values(self, name: str, values: _Integers, made: Tensor, read: Shape, size: int) -> _Integers:
        """What a shape operand is to say."""
        changed = values.copy()
        if not values.size or not made.shape or not read:
            return changed
        if name == "RESHAPE":
            changed[:] = made.shape if len(made.shape) == values.size else values
            changed[0] = -1
        elif values[0] != read[0]:  # a part of the batch, or no batch at all
            return changed
        elif name == "SLICE":
            changed[0] = -1
        elif name == "STRIDED_SLICE":
            changed[0] = _ENDLESS
        elif size < 0:
            raise InvalidValue(f"{name} {made.name!r} says its shape {values.tolist()}; its batch must be known")
        else:
            changed[0] = values[0] * size // self.old
        return changed

    def _run(self, model: Model, shapes: Mapping[int, Shape]) -> _Trial:
        """Run a model with inputs of some shapes."""
        draft = Draft(model)
        tensors = draft.graphs[self.g].tensors
        for t, shape in shapes.items():
            tensors[t] = tensors[t].replace(shape=list(shape), shape_signature=None)
        found: dict[tuple[int, int], Shape] = {}

        def tap(g: int, t: int, values: Array) -> None:
            if found.setdefault((g, t), values.shape) != values.shape:
                raise InvalidValue(f"tensor ({g}, {t}) changes its shape while the model runs")

        given = ", ".join(f"{port.alias!r} {list(shapes[port.index])}" for port in self.interface.inputs)
        if max((math.prod(shape) for shape in shapes.values()), default=0) > _MOST:
            raise InvalidValue(f"{given}: more than {_MOST:,} elements of an input, too many to try the model with")
        try:
            fed = {p.name: _values(p.type, shapes[p.index], i) for i, p in enumerate(self.interface.inputs)}
            outputs = NumpyRunner(draft.done(), self.key).run(fed, tap=tap)
        except QuantlibError as error:
            raise InvalidValue(f"with {given} the model can't be run: {error}") from None
        return _Trial(fed, found, outputs)

    def _check_apart(self, trial: _Trial) -> None:
        """Whether two batches at once give what they give one after the other."""
        runner = NumpyRunner(self.model, self.key)
        halves = []
        for part in range(2):
            fed = dict(trial.fed)
            for port in self.interface.inputs:
                if port.index in self.batch:
                    fed[port.name] = np.split(fed[port.name], 2)[part]
            halves.append(runner.run(fed))
        for name, found in trial.outputs.items():
            parts = [half[name] for half in halves]
            if not parts[0].ndim or not _close(found, np.concatenate(parts)):
                raise InvalidValue(
                    f"output {name!r} of a batch isn't what its samples give one by one: an operator mixes them, or "
                    "has the batch in its shape; the batch can't be changed"
                )


def _sized(shape: Shape, stored: Shape, times: int) -> Shape:
    """A shape to try: what the caller chooses is what it was, or a multiple."""
    return tuple(times * was if now < 0 else now for now, was in zip(shape, stored, strict=True))


def _values(type: str, shape: Shape, seed: int) -> Array:
    """Values to try, the same for a sample whatever the batch."""
    kind = element_type(type)
    if kind.storage is None:
        raise InvalidValue(f"an input of {type} can't be tried in NumPy; its shape can't be changed")
    rng = np.random.default_rng(seed)
    if kind.kind == "float":
        return rng.standard_normal(shape).astype(kind.storage)
    if kind.is_integer and kind.bits <= 16:
        return rng.integers(int(kind.min or 0), int(kind.max or 0) + 1, shape).astype(kind.storage)
    return rng.integers(0, 2, shape).astype(kind.storage)


def _close(a: Array, b: Array) -> bool:
    if a.shape != b.shape or a.dtype.kind != "f":
        return np.array_equal(a, b)
    largest = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
    return bool(np.allclose(a, b, rtol=0, atol=_FLOAT_ERROR * largest, equal_nan=True))


def choose(interface: Interface, batch: int | str | None, shapes: Mapping[str, Shape]) -> dict[int, Shape]:
    """Shape that is wanted of each input.

    Raises
    ------
    InvalidValue
        If a shape has another rank, or a dimension isn't positive or -1.
    NotFound
        If there is no such input.
    """
    wanted: dict[int, Shape] = {}
    known = {name: port for port in interface.inputs for name in (port.name, port.alias)}
    for name, shape in shapes.items():
        if name not in known:
            raise NotFound(f"no input {name!r}; the model has {', '.join(dict.fromkeys(known)) or 'none'}")
        wanted[known[name].index] = tuple(shape)
    if batch is not None:
        size = -1 if batch == "dynamic" else batch
        if not isinstance(size, int) or isinstance(size, bool) or (size < 1 and size != -1):
            raise InvalidValue(f"batch {batch!r}: a positive number or 'dynamic' is required")
        for name in shapes:
            if wanted[known[name].index][:1] not in ((size,), known[name].shape[:1]):
                raise InvalidValue(
                    f"input {name!r}: shape {list(shapes[name])} and batch {batch!r}; leave the batch out, or "
                    "let the shape begin with it"
                )
        for port in interface.inputs:
            if port.shape:
                wanted[port.index] = (size, *wanted.get(port.index, port.shape)[1:])
    for port in interface.inputs:
        shape = wanted.get(port.index, port.shape)
        if len(shape) != len(port.shape):
            raise InvalidValue(f"input {port.alias!r}: shape {list(shape)}; one like {list(port.shape)} is required")
        if any(n < 1 and n != -1 for n in shape):
            raise InvalidValue(
                f"input {port.alias!r}: shape {list(shape)}; positive numbers are required, -1 for any"
            )
    return wanted

"""Test vectors of single operators: what each read, wrote and computed with, over some samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue, QuantlibError
from quantlib.operators import Arithmetic, QuantizedOperator, arithmetic
from quantlib.runners import (
    Array,
    NumpyRunner,
    affine_of,
    indices_of,
    model_ends,
    options_of,
    quantized_operator,
    samples,
)
from quantlib.tflite import Model, Table, Tensor

from .spool import Key, Spool

#: Elements of a constant that isn't looked at for its weight.
_SHORT = 64

#: Letters of a type in the name of a file; a custom operator may have any number.
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class Vectors:
    """One operator: a record for the index, and arrays by name.

    Attributes
    ----------
    record : dict of str to Any
        What goes into JSON.
    arrays : dict of str to ndarray
    """

    record: dict[str, Any]
    arrays: dict[str, Array] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its place and type, as files are named."""
        kind = "".join(c if c.isascii() and c.isalnum() else "_" for c in self.record["type"][:_LONGEST])
        return f"{self.record['subgraph']}_{self.record['index']:04d}_{kind}"


def record_samples(
    runner: NumpyRunner,
    data: Any,
    count: int,
    folder: str,
    *,
    real: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Spool:
    """Run samples, and keep every tensor of numbers as the last execution left it.

    Of recurrent state, what that execution found is kept, too. Memory holds the tensors of one sample.

    Parameters
    ----------
    runner : NumpyRunner
    data : array, mapping, path, iterable or callable
        See `quantlib.calibrate`.
    count : int
        Samples, from the first on.
    folder : str
        An empty one, for their values.
    real : bool
        Samples are real numbers, which are quantized for an input with a scale.
    progress : callable, optional
        Called with 1 after each sample.

    Raises
    ------
    InvalidValue
        If there are fewer samples, one doesn't fit, or the shape of a tensor changes from one to the next.
    OSError
        If values can't be written.
    """
    spool, number = Spool(folder, runner.model), -1
    ends = model_ends(runner.model, runner.interface, real=real)
    for number, sample in enumerate(islice(samples(data, ends.interface), count)):
        seen: dict[Key, Array] = {}

        def tap(g: int, index: int, values: Array, seen: dict[Key, Array] = seen) -> None:
            if values.dtype.kind not in "fiub":
                return
            state = runner.initial(g, index)
            if state is not None:
                seen[g, index, True] = seen.get((g, index, False), state)
            seen[g, index, False] = np.array(values)

        try:
            runner.run(ends.feed(sample), tap=tap)
        except QuantlibError as error:
            raise type(error)(f"sample {number}: {error}") from None
        spool.add(number, seen)
        if progress is not None:
            progress(1)
    if number + 1 < count:
        raise InvalidValue(f"{number + 1} samples, and {count} are asked for; give more data, or ask for fewer")
    return spool


def operator_vectors(model: Model, runner: NumpyRunner, runtime: str, spool: Spool) -> Iterator[Vectors]:
    """Vectors of each operator of the subgraphs that ran, in order.

    Parameters
    ----------
    model : Model
    runner : NumpyRunner
        Which ran the samples.
    runtime : str
        Its runtime.
    spool : Spool
        See `record_samples`.
    """
    for g in spool.subgraphs:
        for o, operator in enumerate(model.subgraphs[g].operators or ()):
            yield _Place(model, runner, runtime, spool, g).vectors(o, operator)


@dataclass(frozen=True, slots=True)
class _Place:
    """A subgraph whose operators are described."""

    model: Model
    runner: NumpyRunner
    runtime: str
    spool: Spool
    g: int

    def vectors(self, o: int, operator: Table) -> Vectors:
        """Vectors of one operator; without arrays where it never ran."""
        model, g = self.model, self.g
        kind = model.operator_name(operator)
        inputs, outputs = indices_of(operator.inputs), indices_of(operator.outputs)
        # an operator on constants alone is run once, before the samples
        folded = bool(outputs) and all(self.runner.constant(g, i) is not None for i in outputs)
        traces = [self.spool.trace(g, i) for i in outputs if i >= 0]
        # a subgraph's operators all run, or none: those that write no numbers are as its other tensors
        ran = next((trace.samples for trace in traces if trace is not None), [])
        found = Vectors(
            {
                "subgraph": g,
                "index": o,
                "type": kind,
                "version": model.root.operator_codes[operator.opcode_index].version,
                "samples": [] if folded else ran,
                "inputs": [],
                "outputs": [],
                "options": _plain(options_of(model, operator).stored()),
            }
        )
        for what, indices in (("inputs", inputs), ("outputs", outputs)):
            for position, i in enumerate(indices):
                name = f"{what[:-1]}_{position}"
                found.record[what].append(None if i < 0 else self._operand(found, name, i, ran))
        if folded or not ran:
            _add_arithmetic(found, None, "it reads constants alone" if folded else "no sample came here")
        else:
            _add_arithmetic(found, *self._arithmetic(operator, inputs, outputs))
        return found

    def _operand(self, found: Vectors, name: str, index: int, ran: list[int]) -> dict[str, Any]:
        tensor = Tensor(self.model, self.g, index)
        value, constant = self._value(index, ran)
        state = self.spool.trace(self.g, index, before=True) if name.startswith("input") else None
        before = f"{name}_before" if state is not None and state.samples == ran else None
        if before is not None and state is not None:
            found.arrays[before] = state.values()
        if value is not None:
            found.arrays[name] = value
        affine = affine_of(tensor)
        if affine is not None:
            found.arrays[f"{name}_scale"] = affine.scale.reshape(-1)
            found.arrays[f"{name}_zero_point"] = affine.zero_point.reshape(-1).astype(np.int32)
        quantization = tensor.quantization
        per_axis = affine is not None and affine.scale.size > 1
        return {
            "array": None if value is None else name,
            "constant": constant,
            "variable": bool(tensor.table.is_variable),
            "before": before,
            "tensor": index,
            "name": tensor.name,
            "type": tensor.type,
            "shape": None if value is None else list(value.shape if constant else value.shape[1:]),
            "scale": None if affine is None else [float(v) for v in affine.scale.reshape(-1)],
            "zero_point": None if affine is None else affine.zero_point.reshape(-1).tolist(),
            "quantized_dimension": quantization.quantized_dimension if quantization and per_axis else None,
        }

    def _value(self, index: int, ran: list[int]) -> tuple[Array | None, bool]:
        """Values of a tensor, those of the samples along a first axis; and whether it is the same for all."""
        constant = self._constant(index)
        if constant is not None:
            return (constant if constant.dtype.kind in "fiub" else None), True
        trace = self.spool.trace(self.g, index)
        return (None if trace is None or trace.samples != ran else trace.values()), False

    def _constant(self, index: int) -> Array | None:
        if self.spool.trace(self.g, index) is not None:
            return None
        known = self.runner.constant(self.g, index)
        tensor = Tensor(self.model, self.g, index)
        if known is not None or tensor.table.is_variable or not tensor.is_constant:
            return known
        return tensor.numpy()

    def _arithmetic(
        self, operator: Table, inputs: list[int], outputs: list[int]
    ) -> tuple[Arithmetic | None, str | None]:
        def shape(index: int) -> tuple[int, ...] | None:
            trace = self.spool.trace(self.g, index)
            if trace is not None:
                return trace.shape
            value = self.runner.constant(self.g, index) if index >= 0 else None
            return None if value is None else value.shape

        made_of = quantized_operator(
            self.model, self.g, operator, runtime=self.runtime, constant=lambda i: self._constant(i)
        )
        return described(made_of, [shape(i) for i in (*inputs, *outputs)])


def arithmetics(model: Model, runtime: str = "reference") -> dict[tuple[int, int], Arithmetic]:
    """Say how a model's operators compute on integers: effective multipliers, clamps, windows, tables.

    Parameters
    ----------
    model : Model
    runtime : str
        Whose integer arithmetic: one of `quantlib.operators.RUNTIMES`.

    Returns
    -------
    dict of (int, int) to Arithmetic
        By subgraph and index; without operators that nobody described for their types, and those that can't be
        computed. What depends on shapes has those of the file.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> small = ql.quantize(model, "int8", ql.calibrate(model, ql.demo.CALIBRATION))
    >>> found = arithmetics(small)[0, 1]
    >>> found.formula, found.clamp, found.multipliers[0].shift
    ('convolution', (-128, 127), array([-9, -9, ...
    """
    found = {}
    for g, graph in enumerate(model.subgraphs):
        for o, operator in enumerate(graph.operators or ()):
            indices = (*indices_of(operator.inputs), *indices_of(operator.outputs))
            try:
                made_of = quantized_operator(model, g, operator, runtime=runtime, constant=partial(_short, model, g))
                shapes = [Tensor(model, g, i).shape if i >= 0 else None for i in indices]
            except QuantlibError:  # a broken tensor: who runs the model is told, who looks at it sees the rest
                continue
            known, _ = described(made_of, shapes)
            if known is not None:
                found[g, o] = known
    return found


def _short(model: Model, g: int, index: int) -> Array | None:
    """Value of a constant that may say what is computed, such as axes: weights don't."""
    tensor = Tensor(model, g, index)
    return tensor.numpy() if tensor.is_constant and math.prod(tensor.shape) <= _SHORT else None


def described(
    operator: QuantizedOperator, shapes: list[tuple[int, ...] | None]
) -> tuple[Arithmetic | None, str | None]:
    """Arithmetic of an operator; or None, and why."""
    try:
        with np.errstate(all="ignore"):  # as the runner has it: tables go beyond what floats hold
            found = arithmetic(operator, shapes)
    except QuantlibError as error:
        return None, str(error)
    types = " ".join("-" if o is None else o.type for o in (*operator.inputs, *operator.outputs))
    return found, None if found is not None else f"not described for {types} and runtime {operator.runtime}"


def multiplier_rows(found: Arithmetic) -> list[dict[str, Any]]:
    """Multipliers as they stand in JSON."""
    return [
        {
            "role": m.role,
            "rounding": m.rounding,
            "real": m.real.tolist(),
            "mantissa": m.mantissa.tolist(),
            "shift": m.shift.tolist(),
        }
        for m in found.multipliers
    ]


def _add_arithmetic(vectors: Vectors, found: Arithmetic | None, reason: str | None) -> None:
    vectors.record["arithmetic"], vectors.record["reason"] = None, reason
    if found is None:
        return
    for m in found.multipliers:
        for part in ("real", "mantissa", "shift"):
            vectors.arrays[f"multiplier_{m.role}_{part}"] = getattr(m, part)
    vectors.arrays.update(found.tables)
    vectors.record["arithmetic"] = {
        "formula": found.formula,
        "runtime": found.runtime,
        "clamp": None if found.clamp is None else list(found.clamp),
        "multipliers": multiplier_rows(found),
        "settings": _plain(found.settings),
        "tables": list(found.tables),
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that JSON has."""
    return {name: _json(value) for name, value in values.items()}


def _json(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_json(v) for v in value.tolist()]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Table)):
        return [_json(v) for v in value]
    return str(value)

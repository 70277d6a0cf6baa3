"""A subgraph made ready to run in NumPy: everything that is the same for all samples is looked up here, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.errors import InvalidModel, InvalidValue, NotFound, QuantlibError
from quantlib.numerics import element_type
from quantlib.operators import Call, Kernel
from quantlib.tflite import Model, Table, Tensor, decode_flexbuffer

from .boundary import kernel_of, options_of
from .control import CONTROL, Control, called
from .protocol import Array, folded, indices_of, states_of

_NO_ATTRIBUTES: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Step:
    """One operator, ready to run.

    Attributes
    ----------
    where : str
        Its type and place, for errors.
    kernel : Kernel or None
    control : Control or None
        In place of a kernel, where the operator needs the runner.
    options, types, attributes
        As in `Call`.
    inputs, outputs : tuple of int
    states : tuple of int
        Variables that it updates in place.
    last : tuple of int
        Tensors that nobody reads after it.
    """

    where: str
    kernel: Kernel | None
    control: Control | None
    options: Table
    types: tuple[str, ...]
    attributes: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    states: tuple[int, ...]
    last: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """One subgraph, ready to run.

    Attributes
    ----------
    inputs, outputs : tuple of int
    steps : tuple of Step
    constants : dict of int to ndarray
        Those that steps read; -1 is an operand that is left out.
    variables : dict of int to ndarray
        Their values before the first sample.
    called : tuple of int
        Subgraphs that its control flow runs.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    steps: tuple[Step, ...]
    constants: Mapping[int, Any]
    variables: Mapping[int, Array]
    called: tuple[int, ...]


def run_kernel(step: Step, operands: tuple[Array | None, ...]) -> Sequence[Array]:
    """Outputs of a step that has a kernel.

    Raises
    ------
    QuantlibError
        That of the kernel, which may be the caller's own; `InvalidValue` for what else it raises.
    """
    function = step.kernel
    if function is None:
        return ()
    try:
        return function(Call(operands, step.options, step.types, step.attributes))
    except QuantlibError as error:
        raise type(error)(f"{step.where}: {error}") from None
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InvalidValue(f"{step.where}: its kernel stopped: {type(error).__name__}: {reason}") from error


def prepare(model: Model, g: int, own: Mapping[str, Kernel], runtime: str) -> Program:
    """Make a subgraph ready.

    Parameters
    ----------
    model : Model
    g : int
    own : mapping of str to Kernel
        Kernels that go before ours.
    runtime : str
        Whose integer arithmetic.

    Raises
    ------
    NotFound
        If nobody has a kernel for an operator.
    InvalidValue
        If the scales, options or constants of an operator on integers can't be computed with.
    InvalidModel
        If operators stand in no order in which they can be run.
    """
    graph = model.subgraphs[g]
    inputs, outputs = indices_of(graph.inputs), indices_of(graph.outputs)
    _check(model, g, [*inputs, *outputs], f"subgraph {g}")
    maker = _Maker(model, g, own, inputs, runtime)
    for o, operator in enumerate(graph.operators or ()):
        maker.add(o, operator)
    for index in outputs:
        maker.need(index, f"subgraph {g}, an output")
    return maker.done(tuple(inputs), tuple(outputs))


def _check(model: Model, g: int, indices: Sequence[int], where: str) -> None:
    count = len(model.subgraphs[g].tensors or ())
    for index in indices:
        if not -1 <= index < count:
            raise InvalidModel(f"{where}: tensor {index} of {count}; its subgraph has no such tensor")


class _Maker:
    """A program in the making, operator after operator."""

    def __init__(self, model: Model, g: int, own: Mapping[str, Kernel], inputs: Sequence[int], runtime: str) -> None:
        self.model, self.g, self.own, self.runtime = model, g, own, runtime
        self.written = set(inputs)
        self.folded = folded(model, g)
        self.kept: dict[int, Any] = {}  # results of operators that were run here
        self.constants: dict[int, Any] = {-1: None}
        self.variables: dict[int, Array] = {}
        self.steps: list[Step] = []
        self.called: list[int] = []

    def add(self, o: int, operator: Table) -> None:
        """Take the next operator; one on constants alone is run at once."""
        inputs, outputs = indices_of(operator.inputs), indices_of(operator.outputs)
        _check(self.model, self.g, [*inputs, *outputs], f"subgraph {self.g}, operator {o}")
        where = f"{self.model.operator_name(operator)} (subgraph {self.g}, operator {o})"
        alone = bool(outputs) and self.folded.issuperset(outputs)
        for index in () if alone else inputs:
            self.need(index, where)
        step = self._step(where, operator, tuple(inputs), tuple(outputs))
        if alone:
            operands = tuple(self.kept[i] if i in self.kept else self._stored(i) for i in inputs)
            self.kept.update(zip(outputs, results_of(step, run_kernel(step, operands)), strict=True))
            return
        self.written.update(i for i in outputs if i >= 0)
        self.variables.update((i, _initial(self._tensor(i))) for i in outputs if i >= 0 and self._is_variable(i))
        self.steps.append(step)

    def need(self, index: int, where: str) -> None:
        """Make sure that a tensor has a value by now."""
        if index in self.written or index in self.constants or index in self.variables:
            return
        if index in self.kept:
            self.constants[index] = self.kept[index]
            return
        tensor = self._tensor(index)
        if self._is_variable(index):
            self.variables[index] = _initial(tensor)
        elif tensor.is_constant or tensor.table.external_buffer:
            self.constants[index] = self._stored(index)
        elif tensor.type in ("RESOURCE", "VARIANT"):
            self.constants[index] = None
        elif 0 in tensor.shape and tensor.dtype is not None:  # no bytes, so no buffer either
            self.constants[index] = _filled(tensor, 0)
        else:
            raise InvalidModel(f"{where}: {tensor} is read before anything wrote it; operators must be in order")

    def done(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Program:
        """The program; each tensor is dropped after its last reader."""
        readers = {index: s for s, step in enumerate(self.steps) for index in step.inputs}
        passing = self.written.difference(outputs, self.variables)
        steps = []
        for s, step in enumerate(self.steps):
            ending = {i for i in (*step.inputs, *step.outputs) if i in passing and readers.get(i, s) == s}
            fields = {name: getattr(step, name) for name in Step.__slots__}
            steps.append(Step(**{**fields, "last": tuple(sorted(ending))}))
        return Program(inputs, outputs, tuple(steps), self.constants, self.variables, tuple(self.called))

    def _tensor(self, index: int) -> Tensor:
        return Tensor(self.model, self.g, index)

    def _is_variable(self, index: int) -> bool:
        return bool(self._tensor(index).table.is_variable)

    def _stored(self, index: int) -> Array:
        return self._tensor(index).numpy()

    def _step(self, where: str, operator: Table, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Step:
        name = self.model.operator_name(operator)
        options = options_of(self.model, operator)
        function, control = self._kernel(operator, name, options, where)
        if control is not None:
            for target in called(name, options):
                if not 0 <= target < len(self.model.subgraphs):
                    raise InvalidModel(f"{where}: there is no subgraph {target}")
                self.called.append(target)
        types = tuple(self._tensor(i).type for i in outputs if i >= 0)
        states = states_of(self.model, self.g, operator)
        return Step(where, function, control, options, types, _attributes(operator), inputs, outputs, states, ())

    def _kernel(self, operator: Table, name: str, options: Table, where: str) -> tuple[Kernel | None, Control | None]:
        if name in self.own:
            return _checked(self.own[name]), None
        if name in CONTROL:
            return None, CONTROL[name]
        try:
            found = kernel_of(self.model, self.g, operator, name, runtime=self.runtime, constant=self._constant)
        except QuantlibError as error:
            raise type(error)(f"{where}: {error}") from None
        except Exception as error:
            reason = " ".join(str(error).split())
            raise InvalidValue(f"{where}: no kernel for its operands: {type(error).__name__}: {reason}") from error
        if found is None:
            raise NotFound(
                f"{where}: there is no kernel for it; give one as kernels={{{name!r}: function}}, or run with LiteRT"
            )
        return found, None

    def _constant(self, index: int) -> Array | None:
        """Value of a tensor that is a constant in the file, or was computed from such."""
        known: Array | None = self.kept.get(index, self.constants.get(index))
        if known is not None:
            return known
        if index in self.written or self._is_variable(index) or not self._tensor(index).is_constant:
            return None
        return self._stored(index)


def results_of(step: Step, results: Sequence[Any]) -> Sequence[Any]:
    """What a step gave, as many as it has outputs."""
    if len(results) != len(step.outputs):
        raise InvalidValue(f"{step.where}: {len(results)} results where {len(step.outputs)} are required")
    return results


def _checked(function: Kernel) -> Kernel:
    """A caller's kernel, whose results are looked at: ours are known to have the type that the model says."""

    def checked(call: Call) -> Sequence[Array]:
        results = function(call)
        if not isinstance(results, (list, tuple)):
            raise InvalidValue(f"its kernel gave a {type(results).__name__}; a list with each output is required")
        for i, (result, type_) in enumerate(zip(results, call.types, strict=False)):
            dtype = element_type(type_).storage
            if not isinstance(result, np.ndarray) or result.dtype != dtype:
                found = result.dtype if isinstance(result, np.ndarray) else type(result).__name__
                raise InvalidValue(f"its kernel gave {found} as output {i}; an array of {dtype} is required")
        return results

    return checked


def _attributes(operator: Table) -> Mapping[str, Any]:
    """Options of a custom operator: its bytes, and what they say where they are a FlexBuffer."""
    raw = operator.custom_options
    if raw is None or not raw.size:
        return _NO_ATTRIBUTES
    content = raw.tobytes()
    try:
        decoded = decode_flexbuffer(content)
    except InvalidModel:  # its author keeps them in a form of his own
        decoded = _NO_ATTRIBUTES
    return MappingProxyType({"custom_options": content, **decoded})


def _initial(tensor: Tensor) -> Array:
    """A variable before the first sample: zero, for INT8 its zero point (``Subgraph::ResetVariableTensors``)."""
    quantization = tensor.quantization if tensor.type == "INT8" else None
    return _filled(tensor, 0 if quantization is None else int(quantization.zero_point[0]))


def _filled(tensor: Tensor, value: int) -> Array:
    if tensor.dtype is None:
        raise InvalidValue(f"{tensor}: a variable of {tensor.type}; NumPy has no such arrays")
    try:
        return np.full(tensor.shape, value, tensor.dtype)
    except (ValueError, MemoryError):
        raise InvalidModel(f"{tensor}: shape {list(tensor.shape)} is beyond what memory holds") from None

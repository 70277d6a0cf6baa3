"""The NumPy runner: executes models, float and quantized, with nothing installed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.errors import InvalidModel, InvalidValue, NotFound, QuantlibError
from quantlib.operators import RUNTIMES, Call, Kernel
from quantlib.tflite import Model

from .program import Program, Step, prepare, results_of, run_kernel
from .protocol import Array, Interface, Tap, feed, interface_of

#: Subgraphs that call one another; LiteRT's stack holds about as many.
_DEEPEST = 64


class NumpyRunner:
    """Runs a model in NumPy.

    Convolutions and products go through BLAS. Shapes follow from the inputs; tensors are dropped after their last
    reader. Constants behind DEQUANTIZE are computed once. Overflow, division by zero and NaN give what they give in
    LiteRT, without a warning.

    Parameters
    ----------
    model : Model
    signature : str, optional
        Which signature to run, where there are several.
    kernels : mapping of str to Kernel, optional
        Kernels for custom operators, by their code, or in place of ours. ``call.attributes["custom_options"]`` has
        the bytes of a custom operator's options.
    runtime : str
        Whose arithmetic operators on integers have: every integer equals that of LiteRT's reference kernels
        (``reference``, resolver ``reference`` of `LiteRTRunner`), of its optimized ones (``builtin``), or of its
        default interpreter (``xnnpack``, resolver ``default``), all on x86.

    Raises
    ------
    NotFound
        If the model has an operator that nobody has a kernel for, or no such signature; or there is no such runtime.
    InvalidValue
        If the scales, options or constants of an operator on integers can't be computed with.
    InvalidModel
        If its operators can't be run in the order in which they stand, or subgraphs call one another in a circle.

    Examples
    --------
    >>> import numpy as np
    >>> import quantlib as ql
    >>> runner = NumpyRunner(ql.read(ql.demo.MODEL))
    >>> {name: value.shape for name, value in runner.run(np.zeros((1, 8, 8, 1), np.float32)).items()}
    {'probabilities': (1, 10)}
    """

    def __init__(
        self,
        model: Model,
        signature: str | None = None,
        kernels: Mapping[str, Kernel] = MappingProxyType({}),
        *,
        runtime: str = "reference",
    ) -> None:
        if runtime not in RUNTIMES:
            raise NotFound(f"NumPy has no runtime {runtime!r}; it has {', '.join(RUNTIMES)}")
        self.model = model
        self.interface: Interface = interface_of(model, signature)
        self.resources: dict[str, Any] = {}
        self._variables: dict[tuple[int, int], Array] = {}
        self._programs: dict[int, Program] = {}
        _keep_freed_memory()
        with np.errstate(all="ignore"):
            self._prepare(kernels, runtime)

    def _prepare(self, kernels: Mapping[str, Kernel], runtime: str) -> None:
        """Make ready all subgraphs that a run may come to."""
        level = {self.interface.subgraph}
        for _ in range(_DEEPEST):
            for g in level.difference(self._programs):
                self._programs[g] = prepare(self.model, g, kernels, runtime)
            level = {target for g in level for target in self._programs[g].called}
            if not level:
                return
        raise InvalidModel(f"subgraphs call one another more than {_DEEPEST} deep, or in a circle; none could end")

    def run(self, inputs: Any, *, tap: Tap | None = None, keep_state: bool = False) -> dict[str, Array]:
        """Run one sample; see `Runner.run`."""
        values = feed(self.interface, inputs)
        if not keep_state:
            self.reset()
        fed = [_locked(values[port.name]) for port in self.interface.inputs]
        with np.errstate(all="ignore"):
            outputs = self.subgraph(self.interface.subgraph, fed, tap)
        # a result may be a view of an input, of a constant, or state
        return {port.name: np.array(v) for port, v in zip(self.interface.outputs, outputs, strict=True)}

    def constant(self, g: int, index: int) -> Array | None:
        """Value that operators read of a tensor that has one before a run: of the file, or computed from such.

        None for other tensors, and for those of a subgraph that doesn't run.
        """
        program = self._programs.get(g)
        value = None if program is None else program.constants.get(index)
        return value if isinstance(value, np.ndarray) else None

    def initial(self, g: int, index: int) -> Array | None:
        """Recurrent state before a first sample; None for other tensors, or where the subgraph doesn't run."""
        program = self._programs.get(g)
        return None if program is None else program.variables.get(index)

    def reset(self) -> None:
        """Forget variables and recurrent state."""
        self._variables.clear()
        self.resources.clear()

    def subgraph(self, g: int, inputs: list[Any], tap: Tap | None = None) -> list[Any]:
        """Run a subgraph on its inputs, in order; control flow comes back here."""
        program = self._programs[g]
        if len(inputs) != len(program.inputs):
            raise InvalidValue(f"subgraph {g} is called with {len(inputs)} inputs; it has {len(program.inputs)}")
        values = dict(program.constants)
        for index, initial in program.variables.items():
            if (g, index) not in self._variables:
                self._variables[g, index] = initial.copy()
            values[index] = self._variables[g, index]
        values.update(zip(program.inputs, inputs, strict=True))
        if tap is not None:
            _show(tap, g, program.inputs, values)
        for step in program.steps:
            self._execute(g, step, values, tap)
        return [values[index] for index in program.outputs]

    def _execute(self, g: int, step: Step, values: dict[int, Any], tap: Tap | None) -> None:
        operands = tuple([values[index] for index in step.inputs])
        if step.control is None:
            results: Any = run_kernel(step, operands)
        else:
            try:
                results = step.control(self, Call(operands, step.options, step.types, step.attributes), tap)
            except QuantlibError as error:
                raise type(error)(f"{step.where}: {error}") from None
        for index, result in zip(step.outputs, results_of(step, results), strict=True):
            if index >= 0:
                values[index] = result
                if (g, index) in self._variables:
                    values[index] = self._variables[g, index] = result.copy()
        if tap is not None:
            _show(tap, g, step.outputs, values)
            _show(tap, g, step.states, values)
        for index in step.last:
            values.pop(index, None)


def _show(tap: Tap, g: int, indices: tuple[int, ...], values: Mapping[int, Any]) -> None:
    for index in indices:
        value = values[index]
        if isinstance(value, np.ndarray):  # a handle of a variable is no array
            tap(g, index, value)


def _locked(value: Array) -> Array:
    """A view that nobody can write to: a kernel must not change the caller's array."""
    view = value.view()
    view.flags.writeable = False
    return view


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed, instead of giving it back and asking for zeroed pages again at every operator.

    Freeing one large block raises its threshold for the whole process to twice the block's size, at most 64 MiB
    (``M_MMAP_THRESHOLD`` in mallopt(3)). On MobileNet V2 that saves 1,700 page faults and a fifth of the time a run.
    The block itself is never touched.
    """
    np.empty(31 << 20, np.uint8)

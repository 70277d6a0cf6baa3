"""One part of a calibration: some samples through one runner, statistics of every float activation out."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from quantlib.calibration import Collector, Key, Statistics
from quantlib.errors import InvalidValue, NotFound, QuantlibError
from quantlib.operators import row
from quantlib.tflite import Model, read

from .blas import one_blas_thread
from .control import called
from .litert_runner import LiteRTRunner, is_plain
from .numpy_runner import NumpyRunner
from .protocol import Array, Interface, Runner, computed, feed, indices_of

#: Names of the runners.
RUNNERS = ("numpy", "litert")

_FLOATS = ("FLOAT32", "FLOAT16", "FLOAT64")


@dataclass(frozen=True, slots=True)
class Settings:
    """How samples are run and observed; it travels to worker processes.

    Attributes
    ----------
    model : str
        Path of the model file.
    sha256 : str
        Of that file, so that a worker with another one says so.
    runner : str
        ``numpy`` or ``litert``.
    observer : str
        ``histogram``, ``minmax`` or ``moving-average``.
    signature : str or None
    sequence : bool
        Keep variables and recurrent state from one sample to the next.
    version : str
        Of quantlib, for the record.
    """

    model: str
    sha256: str
    runner: str = "numpy"
    observer: str = "histogram"
    signature: str | None = None
    sequence: bool = False
    version: str = ""


def make_runner(model: Model, runner: str, signature: str | None, runtime: str | None = None) -> Runner:
    """Make a runner by name.

    Parameters
    ----------
    model : Model
    runner : str
        ``numpy`` or ``litert`` (XNNPACK where every tensor can be seen with it, LiteRT's own kernels otherwise).
    signature : str or None
        Which signature to run, where there are several.
    runtime : str, optional
        Whose arithmetic operators on integers have: ``runtime`` of `NumpyRunner`, ``resolver`` of `LiteRTRunner`.

    Returns
    -------
    Runner

    Raises
    ------
    NotFound
        If there is no such runner, runtime or signature, or no kernel for an operator.
    InvalidModel
        If the model can't be run.
    MissingExtra
        If LiteRT is asked for and not installed.
    """
    if runner == "numpy":
        return NumpyRunner(model, signature, runtime=runtime or "reference")
    if runner == "litert":
        resolver = runtime or ("xnnpack" if is_plain(model) else "builtin")
        return LiteRTRunner(model, signature, resolver=resolver)
    raise NotFound(f"there is no runner {runner!r}; known are {', '.join(RUNNERS)}")


def reachable(model: Model, subgraph: int) -> tuple[int, ...]:
    """Subgraphs that may run when one runs: itself, and those that its operators call."""
    found = [subgraph]
    for g in found:  # which grows meanwhile
        for operator in model.subgraphs[g].operators or ():
            options = operator.builtin_options or operator.builtin_options_2
            more = called(model.operator_name(operator), options) if options is not None else []
            found += [c for c in dict.fromkeys(more) if 0 <= c < len(model.subgraphs) and c not in found]
    return tuple(sorted(found))


def observed(model: Model, subgraph: int) -> dict[Key, str]:
    """Float tensors that a run writes, with their names: those whose ranges a quantizer needs.

    Parameters
    ----------
    model : Model
    subgraph : int
        The one that runs; tensors of subgraphs that it calls are included.
    """
    keys = ((g, t) for g in reachable(model, subgraph) for t in computed(model, g))
    tensors = {key: model.tensor(key) for key in keys}
    return {key: t.name for key, t in tensors.items() if t.type in _FLOATS and not t.is_constant}


def channel_axes(model: Model, names: Mapping[Key, str]) -> dict[Key, int]:
    """Those of the observed tensors which operators multiply with weights, and the axis of their channels: the last.

    Rounding the weights looks at the mean of each channel.

    Parameters
    ----------
    model : Model
    names : mapping of (subgraph, index) to str
        As `observed` gives them.
    """
    found: dict[Key, int] = {}
    for g in {g for g, _ in names}:
        for operator in model.subgraphs[g].operators or ():
            known, inputs = row(model.operator_name(operator)), indices_of(operator.inputs)
            integer = known.integer
            if integer is None or integer.recurrent is not None or not any(w.static for w in known.weights):
                continue
            data = (integer.data or (0,))[0]
            key = (g, inputs[data] if data < len(inputs) else -1)
            if key in names and (rank := len(model.tensor(key).shape)):
                found[key] = rank - 1
    return found


class _Worker(threading.local):
    """The runner of this thread: made for one calibration, kept from part to part, gone with the next."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.runner: Runner | None = None
        self.names: Mapping[Key, str] = {}
        self.axes: Mapping[Key, int] = {}

    def prepare(self, settings: Settings) -> tuple[Runner, Mapping[Key, str], Mapping[Key, int]]:
        if self.runner is None or self.settings != settings:
            self.forget()
            model = read(settings.model)
            if model.sha256 != settings.sha256:
                raise InvalidValue(
                    f"{settings.model}: another model than the one that is calibrated: its SHA-256 is "
                    f"{model.sha256[:12]}..., not {settings.sha256[:12]}...; give every worker the same file"
                )
            self.runner = make_runner(model, settings.runner, settings.signature)
            self.names = observed(model, self.runner.interface.subgraph)
            self.axes = channel_axes(model, self.names)
            self.settings = settings
        return self.runner, self.names, self.axes

    def forget(self) -> None:
        self.settings, self.runner, self.names, self.axes = None, None, {}, {}


@cache
def _worker() -> _Worker:
    return _Worker()


def forget() -> None:
    """Let go of this thread's runner and its model."""
    _worker().forget()


def collect(settings: Settings, numbered: Iterable[tuple[int, Any]]) -> Statistics:
    """Run samples and observe; a pure function, so that any executor can call it anywhere.

    Parameters
    ----------
    settings : Settings
    numbered : iterable of (int, sample)
        Samples with their numbers, which errors name.

    Raises
    ------
    QuantlibError
        If a sample doesn't fit or isn't finite, or the model can't be run; the message says which sample.
    """
    runner, names, axes = _worker().prepare(settings)
    collector = Collector(settings.sha256, names, settings.observer, channel_axes=axes, version=settings.version)

    def tap(g: int, index: int, values: Array) -> None:
        if (g, index) in names:
            collector.observe((g, index), values)

    keep = False  # what an earlier calibration left in this runner is not this one's state
    with one_blas_thread():
        for number, sample in numbered:
            try:
                values = feed(runner.interface, sample)
                _check_finite(values)
                runner.run(values, tap=tap, keep_state=keep)
            except QuantlibError as error:
                raise at_sample(number, error) from None
            collector.end_sample()
            keep = settings.sequence
    return collector.finish()


def at_sample(number: int, error: QuantlibError) -> QuantlibError:
    """Return the same error, saying which sample it is about."""
    return type(error)(f"sample {number}: {error}")


def finite_samples(rows: Iterable[Any], interface: Interface) -> Iterator[Any]:
    """Hand samples on, and refuse those that have NaN or infinite values: nothing can be measured on them.

    Parameters
    ----------
    rows : iterable
        Samples as `feed` takes them.
    interface : Interface

    Raises
    ------
    InvalidValue
        If a sample has such values, or isn't one; the message says which sample.
    """
    for number, sample in enumerate(rows):
        try:
            _check_finite(feed(interface, sample))
        except QuantlibError as error:
            raise at_sample(number, error) from None
        yield sample


def _check_finite(values: Mapping[str, Array]) -> None:
    for name, value in values.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            count = int(value.size - np.count_nonzero(np.isfinite(value)))
            raise InvalidValue(
                f"input {name!r}: {count:,} of {value.size:,} values are NaN or infinite; repair or drop the sample"
            )

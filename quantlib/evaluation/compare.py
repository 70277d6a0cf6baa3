"""Two models on the same data, sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue, MissingExtra, QuantlibError
from quantlib.runners import Array, End, Runner, Tap, feed, make_runner, samples
from quantlib.tflite import Model, require_models

from .counts import costs, facts, totals
from .labels import Judge
from .latency import measure
from .layers import LayerWatch
from .ports import known_signature, pair
from .sums import ClassSums, ErrorSums
from .values import Comparison, OutputError


def compare(
    a: Model,
    b: Model,
    data: Any,
    *,
    labels: Any = None,
    signature: str | None = None,
    runner: str | None = None,
    sequence: bool = False,
    layers: bool = False,
    latency: bool = False,
    threads: int = 1,
    progress: Callable[[int], object] | None = None,
) -> Comparison:
    """Compare two models on the same data, to see what quantization cost.

    Inputs and outputs are matched by their names in the signature, else by tensor name, else by position. Integers
    with a scale are quantized on the way in and dequantized on the way out, so float models, any quantized ones and
    those of other converters can be compared. One sample is in memory at a time.

    Parameters
    ----------
    a, b : Model
        The reference, mostly the float model; and the other.
    data : array, mapping, path, iterable or callable
        The samples; see `calibrate`. Real values, as the float model wants them.
    labels : array of int, sequence of int, or path, optional
        The right class of each sample, as the model numbers classes, for accuracy: (samples,), or (samples, ...) for
        an output (..., classes). A path names an ``.npy``, an ``.npz`` with one array, or a text file.
    signature : str, optional
        Which signature to run, where there are several.
    runner : str, optional
        ``numpy`` or ``litert``; by default LiteRT where it is installed.
    sequence : bool
        Keep variables and recurrent state from one sample to the next.
    layers : bool
        Also the error of every tensor that both models have: in the graph, and of each operator alone.
    latency : bool
        Also the time of one run in LiteRT, of both models in turn.
    threads : int
        Threads for that.
    progress : callable, optional
        Called with 1 after each sample.

    Returns
    -------
    Comparison

    Raises
    ------
    InvalidValue
        If the models' inputs or outputs don't fit, there are no samples or labels don't fit them, or one sample
        doesn't fit (the message says which).
    InvalidModel
        If LiteRT can't run a model.
    NotFound
        If there is no such file, signature or runner, or an operator has no kernel in NumPy.
    MissingExtra
        If LiteRT is asked for, by `runner` or `latency`, and not installed.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> half = ql.quantize(model, "float16")
    >>> found = ql.compare(model, half, ql.demo.SAMPLES, labels=ql.demo.LABELS, runner="numpy")
    >>> found.outputs[0].sqnr_db > 60, found.outputs[0].top1_agreement, round(found.b.bytes / found.a.bytes, 2)
    (True, 1.0, 0.51)
    """
    require_models(a=a, b=b)
    run: dict[str, Any] = {"signature": signature, "runner": runner, "sequence": sequence}
    more: dict[str, Any] = {"labels": labels, "layers": layers, "latency": latency, "threads": threads}
    return _compared(a, b, data, **run, **more, progress=progress)


class Reference:
    """A model that others are compared with on samples that stay the same: it runs them once.

    Parameters
    ----------
    model : Model
    kept : sequence
        The samples; they and the model's outputs stay in memory.
    signature, runner, sequence
        As `compare` takes them.
    """

    def __init__(
        self,
        model: Model,
        kept: Sequence[Any],
        *,
        signature: str | None = None,
        runner: str | None = None,
        sequence: bool = False,
    ) -> None:
        self._model, self._kept, self._outputs = model, kept, _Outputs()
        self._run: dict[str, Any] = {"signature": signature, "runner": runner, "sequence": sequence}

    def compare(self, other: Model) -> Comparison:
        """What `compare` gives."""
        return _compared(self._model, other, self._kept, outputs=self._outputs, **self._run)


class _Outputs:
    """What runs a model, and its outputs of each sample, for the next time that the same samples are run."""

    def __init__(self) -> None:
        self.name = ""
        self._runner: Runner | None = None
        self._known: list[dict[str, Array]] = []
        self._at = 0

    def runners(self, a: Model, b: Model, name: str | None, signature: str | None) -> tuple[str, Any, Runner]:
        """Runners of both models from the first sample on; the first one's is this."""
        self._at = 0
        if self._runner is None:
            self.name, self._runner, second = _runners(a, b, name, signature)
            return self.name, self, second
        return self.name, self, make_runner(b, self.name, known_signature(b, signature))

    def run(self, inputs: dict[str, Array], *, tap: Tap | None = None, keep_state: bool = False) -> dict[str, Array]:
        """Outputs of the next sample; as `Runner.run`, without a tap."""
        if self._runner is not None and self._at == len(self._known):
            self._known.append(self._runner.run(inputs, tap=tap, keep_state=keep_state))
        self._at += 1
        return self._known[self._at - 1]


def _compared(
    a: Model,
    b: Model,
    data: Any,
    *,
    signature: str | None,
    runner: str | None,
    sequence: bool,
    labels: Any = None,
    layers: bool = False,
    latency: bool = False,
    threads: int = 1,
    progress: Callable[[int], object] | None = None,
    outputs: _Outputs | None = None,
) -> Comparison:
    """Do what `compare` says; with A's outputs, where they're known."""
    pairing = pair(a, b, signature)
    runner, first, second = (_runners if outputs is None else outputs.runners)(a, b, runner, signature)
    watch = LayerWatch(a, b, pairing, runner, (first, second)) if layers else None
    judges = [_Output(one, other) for one, other in pairing.outputs]
    judge = Judge(labels, pairing) if labels is not None else None
    count, fed = 0, None
    for sample in samples(data, pairing.real):
        try:
            fed = pairing.feeds(feed(pairing.real, sample))
            keep = sequence and count > 0
            found = _named("A", first, fed[0], keep, watch and watch.see_a)
            other = _named("B", second, fed[1], keep, watch and watch.see_b)
            for output in judges:
                output.add(count, fed[0], found, other)
            if judge is not None:
                judge.add(count, found, other)
            if watch is not None:
                watch.end_sample(keep)
        except QuantlibError as error:
            raise type(error)(f"sample {count}: {error}") from None
        count += 1
        if progress is not None:
            progress(1)
    if fed is None:
        raise InvalidValue("the data has no samples; one at least is required")
    costs_a, costs_b = costs(a), costs(b)
    return Comparison(
        facts(a, costs_a),
        facts(b, costs_b),
        count,
        runner,
        pairing.how,
        tuple(output.done() for output in judges),
        totals(costs_a, costs_b),
        judge.done(count) if judge is not None else None,
        measure(a, b, fed, signature, threads=threads) if latency else None,
        watch.done() if watch is not None else None,
        watch.unmatched if watch is not None else (),
        tuple(note for output in judges for note in output.note(count)),
    )


def _runners(a: Model, b: Model, name: str | None, signature: str | None) -> tuple[str, Runner, Runner]:
    """Runners of both models: LiteRT where it is installed, unless one is named."""
    keys = [known_signature(m, signature) for m in (a, b)]
    if name is not None:
        return name, make_runner(a, name, keys[0]), make_runner(b, name, keys[1])
    try:
        return "litert", make_runner(a, "litert", keys[0]), make_runner(b, "litert", keys[1])
    except MissingExtra:
        return "numpy", make_runner(a, "numpy", keys[0]), make_runner(b, "numpy", keys[1])


def _named(which: str, runner: Runner, sample: dict[str, Array], keep: bool, tap: Any) -> dict[str, Array]:
    """Outputs of a run; errors say whose."""
    try:
        return runner.run(sample, tap=tap, keep_state=keep)
    except QuantlibError as error:
        raise type(error)(f"model {which}: {error}") from None


class _Output:
    """Sums of one output."""

    def __init__(self, a: End, b: End) -> None:
        self.a, self.b = a, b
        self.sums, self.classes = ErrorSums(), ClassSums()
        self.shape: tuple[int, ...] | None = None
        self.odd: dict[str, list[int]] = {"A": [], "B": []}

    def add(self, number: int, inputs: dict[str, Array], first: dict[str, Array], second: dict[str, Array]) -> None:
        reference, other = self.a.decode(first[self.a.port.name]), self.b.decode(second[self.b.port.name])
        for which, values in (("A", reference), ("B", other)):
            if values.dtype.kind in "fc" and not np.isfinite(values).all():
                self.odd[which].append(number)
        try:
            self.sums.add(reference, other)
        except InvalidValue as error:
            raise InvalidValue(f"output {self.a.port.name!r}: {error}") from None
        if self.shape is None:
            self.shape = reference.shape
        if looks_like_classes(reference, {x.shape for x in inputs.values()}):
            self.classes.add(reference, other)

    def note(self, samples: int) -> Iterator[str]:
        """What there is to say of values that aren't finite."""
        odd = [f"{which} in {len(found):,} (the first is {found[0]})" for which, found in self.odd.items() if found]
        if odd:
            yield (
                f"output {self.a.port.name!r}: of {samples:,} samples, NaN or infinite values come out of "
                f"{' and of '.join(odd)}; figures that aren't finite come from these"
            )

    def done(self) -> OutputError:
        scale = None if self.b.affine is None else float(self.b.affine.scale.reshape(-1)[0])
        return OutputError(
            self.a.port.name,
            self.a.port.type,
            self.b.port.type,
            self.shape or (),
            self.sums.sqnr_db,
            self.sums.cosine,
            self.sums.rmse,
            self.sums.worst,
            None if scale is None else self.sums.worst / scale,
            self.classes.top1,
            self.classes.top5,
        )


def looks_like_classes(scores: Array, inputs: set[tuple[int, ...]]) -> bool:
    """Whether an output is likely to hold one score for each class: real numbers in a single row.

    An output shaped like an input is a mask, a state or a reconstruction.
    """
    row = scores.ndim >= 2 and scores.shape[-1] >= 2 and all(n == 1 for n in scores.shape[1:-1])
    return row and scores.dtype.kind == "f" and scores.shape not in inputs

"""Biases of a quantized model, shifted so that layers give on average what the float model gives."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, element_type
from quantlib.operators import row
from quantlib.passes import Edited, Line
from quantlib.runners import (
    Array,
    Runner,
    Tap,
    decode,
    feed,
    indices_of,
    interface_of,
    make_runner,
    one_blas_thread,
    samples,
    single_affine,
)
from quantlib.tflite import Model, Tensor, require_models

from .apart import twins
from .compare import compare
from .ports import Pairing, known_signature, pair
from .sums import ErrorSums, mean_sqnr
from .tune import quality

#: A loss of outputs, in dB, that undoes all whatever single samples say: twice the power of the error.
_MOST_LOST = 3.0

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Layer:
    """One operator of the quantized model whose bias can change."""

    name: str
    bias: Tensor
    scale: _Floats
    output: int
    twin: int
    affine: Affine | None

    @property
    def step(self) -> float | None:
        """Scale of what it writes; None where that is float."""
        return None if self.affine is None else float(self.affine.scale.reshape(-1)[0])

    def mean(self, values: Array) -> _Floats:
        """Mean of each output channel over one sample; of real values, no further out than the integers reach."""
        x = values.astype(np.float64)
        if self.affine is not None and self.step is not None:
            zero = int(self.affine.zero_point.reshape(-1)[0])
            x = np.clip(x, (self.affine.qmin - zero) * self.step, (self.affine.qmax - zero) * self.step)
        with np.errstate(invalid="ignore", over="ignore"):  # what isn't finite is found, and said, later
            return np.asarray(x.reshape(-1, x.shape[-1]).mean(axis=0))


@one_blas_thread()  # a last bit of a float may decide between two integers of a bias
def correct_bias(
    model: Model,
    quantized: Model,
    data: Any,
    *,
    signature: str | None = None,
    runner: str | None = None,
    sequence: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Edited:
    """Shift the biases of a quantized model to where each layer gives on average what the float model gives.

    Rounding doesn't err to both sides alike where values are few or pile up, so that layers drift: most in networks
    of depthwise convolutions. Layer after layer, on what it reads once all before it are corrected, the mean error of
    each output channel is taken off its bias, as M. Nagel et al. do, "Data-Free Quantization through Weight
    Equalization and Bias Correction", ICCV 2019. What a float value is beyond the range of the integers doesn't
    count, since it was left out on purpose. As much of an error as may be chance, by its variance over the samples,
    stays. Weights, scales and types aren't touched.

    Parameters
    ----------
    model : Model
        The float model.
    quantized : Model
        What was made of it, by whomever.
    data : array, mapping, path, iterable or callable
        The samples, as `compare` takes them; 30 to 100 are enough. They stay in memory, and are run once for each
        layer.
    signature : str, optional
        Which signature to run, where there are several. Layers of other subgraphs, also of those that the one that
        runs calls, stay as they are.
    runner : str, optional
        ``numpy`` or ``litert``; by default LiteRT where it is installed.
    sequence : bool
        Keep variables and recurrent state from one sample to the next.
    progress : callable, optional
        Called with 1 after each layer.

    Returns
    -------
    Edited
        With `totals`: the outputs' SQNR in dB on these samples, before and after, and how many outputs of single
        samples came out ``nearer`` to the float model's and ``farther`` off. If the SQNR fell, and more came out
        farther off, or it fell by more than 3 dB, the model is as it was. (A lower SQNR alone doesn't decide, since
        few samples with large errors make most of it.)

    Raises
    ------
    InvalidValue, InvalidModel, NotFound, MissingExtra
        As `compare`; and if there are fewer than two samples.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> small = ql.quantize(model, "dynamic-int4")
    >>> edited = correct_bias(model, small, ql.demo.CALIBRATION, runner="numpy")
    >>> len(edited.done), [round(edited.totals[key], 1) for key in ("sqnr_db_before", "sqnr_db")]
    (7, [21.7, 26.2])
    """
    require_models(model=model, quantized=quantized)
    pairing = pair(model, quantized, signature)
    kept = list(samples(data, pairing.real))
    if len(kept) < 2:
        raise InvalidValue("the data has one sample; two at least are required, to tell an error from chance")
    before = compare(model, quantized, kept, signature=signature, runner=runner, sequence=sequence)
    runs = _Runs(before.runner, signature, kept, pairing, sequence)
    found = list(_layers(model, quantized, pairing, signature))
    layers = [layer for layer in found if isinstance(layer, _Layer)]
    left = [line for line in found if isinstance(line, Line)]
    notes = list(_unseen(quantized, pairing, signature, bool(found)))
    changed, done, kept_back = _corrected(runs, model, quantized, layers, progress)
    totals: dict[str, float | int] = {"samples": len(kept), "sqnr_db_before": quality(before)}
    totals |= {"sqnr_db": quality(before), "nearer": 0, "farther": 0}
    if done:
        totals |= runs.verdict(model, quantized, changed)
    lost = totals["sqnr_db_before"] - totals["sqnr_db"]
    if lost > (0 if totals["farther"] > totals["nearer"] else _MOST_LOST):
        notes.append(
            f"outputs come out worse, {totals['nearer']} nearer and {totals['farther']} farther off, "
            f"{totals['sqnr_db']:.2f} dB: the model is as it was"
        )
        kept_back += [Line(line.where, "corrected as the others were, outputs come out worse") for line in done]
        changed, done = quantized, []
        totals["sqnr_db"] = totals["sqnr_db_before"]
    return Edited(changed, "correct-bias", tuple(done), (*left, *kept_back), totals, tuple(notes))


def _corrected(
    runs: _Runs,
    model: Model,
    quantized: Model,
    layers: Sequence[_Layer],
    progress: Callable[[int], object] | None,
) -> tuple[Model, list[Line], list[Line]]:
    """The model with all layers corrected in turn; which changed, and which didn't."""
    wanted = runs.means(model, layers, first=True)
    changed, done, left = quantized, [], []
    for layer in layers:
        first, second = wanted.get(layer.output), runs.means(changed, [layer]).get(layer.output)
        reason, line = "no channel has a mean error that is more than chance", None
        if first is None or second is None:
            reason = "its values can't be seen while samples are run"
        elif not np.isfinite([first, second]).all():
            reason = "its values, or the float model's, aren't all finite"
        else:
            changed, line = _shifted(changed, layer, _sure(second - first))
        if line is None:
            left.append(Line(layer.name, reason))
        else:
            done.append(line)
        if progress is not None:
            progress(1)
    return changed, done, left


@dataclass(frozen=True, slots=True)
class _Runs:
    """Runs models over the samples."""

    runner: str
    signature: str | None
    samples: list[Any]
    pairing: Pairing
    sequence: bool

    def made(self, model: Model) -> Runner:
        """Runner of a model: the same for means and for outputs, so that both are of the same kernels."""
        return make_runner(model, self.runner, known_signature(model, self.signature))

    def fed(self) -> Iterator[tuple[tuple[dict[str, Array], dict[str, Array]], bool]]:
        """Each sample as both models take it, and whether state is kept from the one before."""
        for number, sample in enumerate(self.samples):
            yield self.pairing.feeds(feed(self.pairing.real, sample)), self.sequence and number > 0

    def means(self, model: Model, layers: Sequence[_Layer], *, first: bool = False) -> dict[int, _Floats]:
        """Means of each channel of some layers, by output: a row for each sample; `first` has the float model's."""
        made, places = self.made(model), dict[int, list[_Layer]]()
        for layer in layers:
            places.setdefault(layer.twin if first else layer.output, []).append(layer)
        found: dict[int, list[_Floats]] = {}

        def see(g: int, index: int, values: Array) -> None:
            for layer in places.get(index, ()) if g == made.interface.subgraph else ():
                real = values if first else decode(values, layer.affine)
                found.setdefault(layer.output, []).append(layer.mean(real))

        tap: Tap = see
        for fed, keep in self.fed():
            made.run(fed[0] if first else fed[1], tap=tap, keep_state=keep)
        return {output: np.stack(rows) for output, rows in found.items()}

    def verdict(self, model: Model, before: Model, after: Model) -> dict[str, float | int]:
        """SQNR of the outputs after, and whether those of single samples came nearer."""
        made = [self.made(m) for m in (model, before, after)]
        ends = [e for e in self.pairing.outputs if e[0].port.type.startswith("FLOAT")] or self.pairing.outputs
        total, nearer, farther = [ErrorSums() for _ in ends], 0, 0
        for (first, second), keep in self.fed():
            wanted, *others = (runner.run(first if runner is made[0] else second, keep_state=keep) for runner in made)
            for (a, b), sums in zip(ends, total, strict=True):
                reference = a.decode(wanted[a.port.name])
                old, new = (b.decode(other[b.port.name]) for other in others)
                sums.add(reference, new)
                change = _rmse(reference, new) - _rmse(reference, old)
                nearer, farther = nearer + (change < 0), farther + (change > 0)
        return {"sqnr_db": mean_sqnr(s.sqnr_db for s in total), "nearer": nearer, "farther": farther}


def _rmse(reference: Array, other: Array) -> float:
    sums = ErrorSums()
    sums.add(reference, other)
    return sums.rmse


@dataclass(frozen=True, slots=True)
class _Product:
    """An operator with an integer weight, which can have a bias."""

    bias: int
    output: int


def _products(model: Model, g: int) -> Iterator[_Product]:
    """Operators with a quantized weight, read directly or through DEQUANTIZE, in the order in which they run."""
    operators = model.subgraphs[g].operators or ()
    made_of = {
        indices_of(o.outputs)[0]: indices_of(o.inputs)[0]
        for o in operators
        if model.operator_name(o) in ("DEQUANTIZE", "DENSIFY")
    }
    for operator in operators:
        known = row(model.operator_name(operator))
        if known.bias is None or not known.weights:
            continue
        inputs = indices_of(operator.inputs)
        weight = inputs[known.weights[0].operand]
        for _ in range(2):  # a sparse one goes through DENSIFY first
            weight = made_of.get(weight, weight)
        stored = Tensor(model, g, weight)
        if stored.is_constant and element_type(stored.type).is_integer:
            bias = inputs[known.bias] if known.bias < len(inputs) else -1
            yield _Product(bias, indices_of(operator.outputs)[0])


def _unseen(model: Model, pairing: Pairing, signature: str | None, any_here: bool) -> Iterator[str]:
    """What there is to say of a model beside its layers."""
    here = interface_of(model, known_signature(model, signature)).subgraph
    others = sum(1 for g in range(len(model.subgraphs)) if g != here for _ in _products(model, g))
    if others:
        yield f"{others} layers of other subgraphs than the one that runs, {here}, are left alone"
    elif not any_here:
        yield "no operator has an integer weight and takes a bias: there is nothing to correct"


def _layers(a: Model, b: Model, pairing: Pairing, signature: str | None) -> Iterator[_Layer | Line]:
    """Operators of B with a quantized weight, in the order in which they run; or why one is left alone."""
    ga, gb = (interface_of(m, known_signature(m, signature)).subgraph for m in (a, b))
    same = twins(a, b, (ga, gb), pairing)
    graph = b.subgraphs[gb]
    uses = Counter([t for o in graph.operators or () for t in indices_of(o.inputs)] + indices_of(graph.outputs))
    for product in _products(b, gb):
        made = Tensor(b, gb, product.output)
        bias = Tensor(b, gb, product.bias) if product.bias >= 0 else None
        twin = same.get(product.output)
        if bias is None or not bias.is_constant:
            yield Line(made.name, "it has no bias that is a constant")
        elif uses[bias.index] > 1:
            yield Line(made.name, "its bias serves other operators, too")
        elif twin is None or Tensor(a, ga, twin).type != "FLOAT32":
            yield Line(made.name, "the float model has no such tensor to compare with")
        elif reason := _odd(bias, made):
            yield Line(made.name, reason)
        else:
            scale = np.ones(1) if bias.quantization is None else bias.quantization.scale.astype(np.float64)
            yield _Layer(made.name, bias, scale, made.index, twin, single_affine(made))


def _odd(bias: Tensor, made: Tensor) -> str:
    """Why a bias can't be shifted by what the output says; empty where it can."""
    channels = made.shape[-1] if made.shape else 0
    if bias.type not in ("INT32", "INT64", "FLOAT32") or math.prod(bias.shape) != channels:
        return f"its bias is {bias.type} {list(bias.shape)}, for {channels} channels"
    if made.type != "FLOAT32" and single_affine(made) is None:
        return f"it writes {made.type} that no one scale says the meaning of"
    if bias.type == "FLOAT32":
        return ""
    scale = np.zeros(0) if bias.quantization is None else bias.quantization.scale
    return "" if scale.size in (1, channels) and (scale > 0).all() else "its bias has no scale"


def _sure(drift: _Floats) -> _Floats:
    """The mean over samples, (samples, C), less what may be chance."""
    mean = drift.mean(axis=0)
    chance, square = drift.var(axis=0, ddof=1) / len(drift), mean**2
    share = np.divide(chance, square, out=np.ones_like(mean), where=square > 0)
    return np.asarray(mean * np.maximum(1 - share, 0.0))


def _shifted(model: Model, layer: _Layer, shift: _Floats) -> tuple[Model, Line | None]:
    """The model with another bias; None where no element changes."""
    old = Tensor(model, layer.bias.subgraph, layer.bias.index).numpy()
    if old.dtype.kind == "f":
        new = (old - shift.reshape(old.shape)).astype(old.dtype)
    else:
        # 2**62 is a float64, and the greatest INT64 is none
        most = min(np.iinfo(old.dtype).max, 1 << 62)
        new = np.clip(old - np.rint(shift / layer.scale).reshape(old.shape), -most, most).astype(old.dtype)
    moved = int(np.count_nonzero(new != old))
    if not moved:
        return model, None
    largest = float(np.abs(shift).max())
    steps = "" if layer.step is None else f", {largest / layer.step:.2f} steps of its output"
    text = f"{moved:,} of {old.size:,} elements of its bias, by {largest:.3g} at most{steps}"
    changed = model.replace((layer.bias.subgraph, layer.bias.index), data=new)
    return changed, Line(layer.name, text, {"elements": moved, "largest": largest})

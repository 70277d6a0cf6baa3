"""`Comparison`: what quantization cost, as a value that prints on one screen and is kept as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from quantlib.errors import InvalidValue, NotFound

from .storage import write_text

_FORMAT = "quantlib comparison"
_VERSION = 1

_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model costs before it is run.

    Attributes
    ----------
    path : str
        Where it was read from; empty for a model that was built.
    bytes : int
        Size of the file.
    operators : int
    parameters : int
        Elements of all constants that are weights, biases or tables.
    multiply_accumulates : int
        Multiply-accumulates of one sample.
    peak_activation_bytes : int
        See `Costs`.
    """

    path: str
    bytes: int
    operators: int
    parameters: int
    multiply_accumulates: int
    peak_activation_bytes: int


@dataclass(frozen=True, slots=True)
class OutputError:
    """Error of one output over all samples; A is the reference.

    Attributes
    ----------
    name : str
        As A has it.
    type_a, type_b : str
        Element types in the files; integers with a scale are compared dequantized.
    shape : tuple of int
        Of the first sample.
    sqnr_db : float
        10 log10(sum(a**2) / sum((a - b)**2)) in decibels; inf where nothing differs.
    cosine : float
    rmse, max_error : float
        In the output's own units.
    max_error_steps : float or None
        The greatest error in steps of B's scale; None where B's output has no scale.
    top1_agreement, top5_agreement : float or None
        Share of samples with the same first class, and mean share of A's first five that are among B's. None where
        the output doesn't look like classes (top-5: where there are fewer than ten).
    """

    name: str
    type_a: str
    type_b: str
    shape: tuple[int, ...]
    sqnr_db: float
    cosine: float
    rmse: float
    max_error: float
    max_error_steps: float | None = None
    top1_agreement: float | None = None
    top5_agreement: float | None = None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often both models are right.

    Attributes
    ----------
    output : str
        Which output was judged.
    labels : int
        How many labels there were.
    top1_a, top1_b : float
        Share of labels that are the highest class.
    top5_a, top5_b : float or None
        Share of labels among the five highest; None for fewer than ten classes.
    """

    output: str
    labels: int
    top1_a: float
    top1_b: float
    top5_a: float | None = None
    top5_b: float | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one run in LiteRT, with the delegates that applications have.

    Attributes
    ----------
    median_ms_a, median_ms_b : float
        Medians in milliseconds, from the input array to the output array.
    least_ms_a, least_ms_b : float
        The shortest times.
    rounds : int
        Runs of each model, A and B in turn.
    threads : int
        Threads of the interpreter.
    """

    median_ms_a: float
    median_ms_b: float
    least_ms_a: float
    least_ms_b: float
    rounds: int
    threads: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in equal bins from `low` to `high`.

    Attributes
    ----------
    low, high : float
    counts : tuple of int
    """

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """Weights of an operator: what values A has, and the range that B's grid has for them.

    Attributes
    ----------
    name : str
        The tensor, as A has it.
    type : str
        Element type in B.
    scales : int
        How many scales B has for it; 0 where it is float.
    low, high : float or None
        The ends of B's grid; of several grids, of the widest.
    histogram : Histogram
        A's values.
    """

    name: str
    type: str
    scales: int
    low: float | None
    high: float | None
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class OperatorTotal:
    """All operators of one type.

    Attributes
    ----------
    operator : str
    count_a, count_b : int
        How many there are.
    bytes_a, bytes_b : int
        Bytes of their constants.
    multiply_accumulates : int
        In A, or where A has none of them, in B.
    """

    operator: str
    count_a: int
    count_b: int
    bytes_a: int
    bytes_b: int
    multiply_accumulates: int


@dataclass(frozen=True, slots=True)
class LayerError:
    """Error of one tensor that both models have, named by the operator of B that writes it.

    Attributes
    ----------
    operator : str
        Type of the operator.
    index : int
        Its place in B.
    tensor : str
        Name of the tensor, as A has it.
    name_b : str
        Name of the tensor in B.
    type : str
        Element type in B.
    scale, zero_point : float and int, or None
        Of B's tensor; None where it is float.
    sqnr_db : float
        Graph-wise: B's value against A's, with all errors before it. In decibels.
    layer_sqnr_db : float or None
        Layer-wise: the operator alone, fed A's values of its inputs (quantized as B has them). None where it can't be
        run alone; `note` says why.
    share : float or None
        Part of the layer-wise noise-to-signal ratios of all layers that this one has.
    rmse_over_scale : float or None
        Layer-wise RMSE in steps of the scale; rounding alone gives 1/sqrt(12), or 0.29.
    flagged : bool
        Whether `rmse_over_scale` is beyond `FLAGGED`.
    saturation : float or None
        Share of values that B has at an end of its grid while A's lie beyond it.
    low, high : float or None
        The ends of B's grid: the range that was chosen.
    histogram : Histogram or None
        A's values.
    weights : Spread or None
        Of the operator, where it has constant weights.
    note : str
    """

    operator: str
    index: int
    tensor: str
    name_b: str
    type: str
    scale: float | None
    zero_point: int | None
    sqnr_db: float
    layer_sqnr_db: float | None = None
    share: float | None = None
    rmse_over_scale: float | None = None
    flagged: bool = False
    saturation: float | None = None
    low: float | None = None
    high: float | None = None
    histogram: Histogram | None = None
    weights: Spread | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """Two models on the same data; A is the reference.

    Attributes
    ----------
    a, b : ModelFacts
    samples : int
    runner : str
        ``numpy`` or ``litert``: what ran both.
    matched : str
        How inputs and outputs found each other: by ``signature``, ``name`` or ``position``.
    outputs : tuple of OutputError
    operators : tuple of OperatorTotal
        By type, those with the most bytes in A first.
    accuracy : Accuracy or None
        Where labels were given.
    latency : Latency or None
        Where it was asked for.
    layers : tuple of LayerError or None
        Where asked for; the most costly layer first.
    unmatched : tuple of str
        Tensors that operators of B write and A doesn't have, where layers were asked for.
    notes : tuple of str
        What else there is to say: of outputs with values that aren't finite, and in which samples.
    """

    a: ModelFacts
    b: ModelFacts
    samples: int
    runner: str
    matched: str
    outputs: tuple[OutputError, ...]
    operators: tuple[OperatorTotal, ...] = ()
    accuracy: Accuracy | None = None
    latency: Latency | None = None
    layers: tuple[LayerError, ...] | None = None
    unmatched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as values that JSON has; what isn't finite is text: ``inf``, ``-inf`` or ``nan``."""
        fields: dict[str, Any] = _plain(dataclasses.asdict(self))
        return fields

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the comparison as JSON, whole or not at all.

        Raises
        ------
        WriteFailed
            If it can't be written; what stood there before is untouched.
        """
        document = {"format": _FORMAT, "version": _VERSION, **self.to_dict()}
        write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")

    def __str__(self) -> str:
        from .screen import table

        return table(self)

    def __repr__(self) -> str:
        worst = min((o.sqnr_db for o in self.outputs), default=math.nan)
        return f"<Comparison over {self.samples} samples: {worst:.1f} dB>"


def load(path: str | os.PathLike[str]) -> Comparison:
    """Read what `Comparison.save` wrote.

    Raises
    ------
    NotFound
        If there is no such file.
    InvalidValue
        If the file is something else, or of another version than this quantlib reads.
    """
    where = os.fspath(path)
    try:
        with open(where, encoding="utf-8") as file:
            document = json.load(file)
    except OSError as error:
        raise NotFound(f"{where}: {error.strerror or error}; give a comparison file") from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.pop("format", None) != _FORMAT:
        raise InvalidValue(f"{where}: no comparison; a file of `Comparison.save` is required")
    version = document.pop("version", None)
    if version != _VERSION:
        raise InvalidValue(f"{where}: comparison of version {str(version)[:20]}; this quantlib reads {_VERSION}")
    try:
        return _made(Comparison, document)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidValue(f"{where}: damaged comparison: {reason}; compare again") from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _made(kind: type[_V], document: dict[str, Any]) -> _V:
    """Make a dataclass of what `_plain` left of it."""
    hints = get_type_hints(kind)
    strange = set(document) - set(hints)
    if strange:
        raise ValueError(f"{kind.__name__} has no {min(strange)!r}")
    return kind(**{name: _typed(hints[name], value) for name, value in document.items()})


def _typed(hint: Any, value: Any) -> Any:
    if get_origin(hint) is types.UnionType:
        if value is None:
            return None
        hint = next(h for h in get_args(hint) if h is not type(None))
    if get_origin(hint) is tuple:
        return tuple(_typed(get_args(hint)[0], v) for v in value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _made(hint, value)
    if not isinstance(value, (int, float, str)) or ((hint is str) != isinstance(value, str) and hint is not float):
        raise ValueError(f"{value!r} where {hint.__name__} is required")
    return hint(value)

"""`Statistics`: what calibration found of all tensors of one model; saves, loads and merges."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from quantlib.errors import InvalidRange, InvalidValue, NotFound
from quantlib.numerics import ElementType

from .states import OBSERVERS, MinMaxState

if TYPE_CHECKING:
    from .ranges import RangeChooser

Key = tuple[int, int]
"""A tensor: index of its subgraph, and its own index there."""


class Hashed(Protocol):
    """What has the SHA-256 of a model file: a model."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, as 64 hexadecimal digits."""


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What calibration found of the tensors of one model.

    Attributes
    ----------
    model : str
        SHA-256 of the model file, in lower-case hexadecimal digits.
    samples : int
        Samples that were run.
    observer : str
        Name of the observer: ``histogram``, ``minmax`` or ``moving-average``.
    tensors : mapping of (subgraph, index) to MinMaxState
        A state for each float tensor, in the order of the keys; empty for one that was never written. Read-only.
    names : mapping of (subgraph, index) to str
        Name of each tensor. Read-only.
    version : str
        Version of quantlib that calibrated; several, separated by a space, after a merge.

    Raises
    ------
    InvalidValue
        If parts don't belong together.

    Examples
    --------
    >>> from quantlib.calibration import HistogramState
    >>> state = HistogramState().observe([-1.0, 0.0, 3.0])
    >>> half = Statistics("0" * 64, 1, "histogram", {(0, 4): state}, {(0, 4): "conv1"})
    >>> both = merge(half, half)
    >>> both.samples, both["conv1"].count
    (2, 6)
    """

    model: str
    samples: int
    observer: str
    tensors: Mapping[Key, MinMaxState] = field(default_factory=dict)
    names: Mapping[Key, str] = field(default_factory=dict)
    version: str = ""

    def __post_init__(self) -> None:
        _check(self)
        object.__setattr__(self, "tensors", MappingProxyType(dict(sorted(self.tensors.items()))))
        object.__setattr__(self, "names", MappingProxyType({key: self.names[key] for key in self.tensors}))

    def __getitem__(self, tensor: str | Key) -> MinMaxState:
        """Return the state of a tensor, by name or by (subgraph, index).

        Raises
        ------
        NotFound
            If there is no such tensor, or several of that name.
        """
        return self.tensors[self.key(tensor)]

    def __contains__(self, tensor: object) -> bool:
        """Whether there is a tensor of that name or place."""
        return tensor in self.tensors or tensor in self.names.values()

    def __iter__(self) -> Iterator[Key]:
        """The tensors' places, as a mapping has its keys."""
        return iter(self.tensors)

    def __len__(self) -> int:
        """Number of tensors."""
        return len(self.tensors)

    def key(self, tensor: str | Key) -> Key:
        """Find a tensor by name; raises as ``[]`` does."""
        if not isinstance(tensor, str) and tensor in self.tensors:
            return tensor
        found = [key for key, name in self.names.items() if name == tensor]
        if len(found) != 1:
            raise NotFound(
                f"{len(found) or 'no'} observed tensors are named {tensor!r}; "
                "give one (subgraph, index) of the statistics' tensors"
            )
        return found[0]

    def choose(
        self,
        tensor: str | Key,
        chooser: RangeChooser,
        *,
        symmetric: bool = False,
        type: str | ElementType = "INT8",
    ) -> tuple[float, float]:
        """Choose the range of a tensor, as `RangeChooser.choose`, whose errors then name the tensor.

        Raises
        ------
        NotFound
            If there is no such tensor.
        InvalidRange, InvalidValue
            As `RangeChooser.choose`.
        """
        key = self.key(tensor)
        try:
            return chooser.choose(self.tensors[key], symmetric=symmetric, type=type)
        except (InvalidRange, InvalidValue) as error:
            raise error.__class__(f"tensor {self.names[key]!r} {key}: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the statistics to a versioned `.npz` file, whole or not at all.

        Raises
        ------
        WriteFailed
            If it can't be written; what stood there before is untouched.
        """
        from .storage import save

        save(self, path)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as values that JSON has; histograms are summed up."""
        from .summary import to_dict

        return to_dict(self)

    def __str__(self) -> str:
        from .summary import table

        return table(self)

    def __repr__(self) -> str:
        return (
            f"Statistics(model={self.model[:12]!r}..., samples={self.samples}, observer={self.observer!r}, "
            f"{len(self.tensors)} tensors)"
        )

    def _key(self) -> tuple[Any, ...]:
        tensors = tuple((key, self.names[key], state) for key, state in self.tensors.items())
        return self.model, self.samples, self.observer, self.version, tensors

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Statistics) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        parts = self.model, self.samples, self.observer, dict(self.tensors), dict(self.names), self.version
        return Statistics, parts


def merge(first: Statistics, *others: Statistics) -> Statistics:
    """Merge statistics of one model, gathered over different samples, in any order and grouping.

    Parameters
    ----------
    first, *others : Statistics
        Without tensors and samples, one is the identity.

    Returns
    -------
    Statistics
        The same, to the bit, as if all samples had been observed in one piece.

    Raises
    ------
    InvalidValue
        If models, observers, channels or tensors' names differ, or moving averages would have to be merged.
    """
    result = first
    for other in others:
        result = _merged(result, other)
    return result


def load(path: str | os.PathLike[str]) -> Statistics:
    """Read the statistics that `Statistics.save` wrote.

    Raises
    ------
    NotFound
        If there is no such file.
    InvalidValue
        If the file is something else, damaged, or of a newer version than this quantlib reads.
    """
    from .storage import load

    return load(path)


def _merged(a: Statistics, b: Statistics) -> Statistics:
    if a.model != b.model:
        raise InvalidValue(
            f"statistics of models with SHA-256 {a.model[:12]}... and {b.model[:12]}...; merge those of one model"
        )
    if a.observer != b.observer:
        raise InvalidValue(f"statistics of observers {a.observer!r} and {b.observer!r}; merge those of one observer")
    tensors, names = dict(a.tensors), dict(a.names)
    for key, state in b.tensors.items():
        if names.setdefault(key, b.names[key]) != b.names[key]:
            raise InvalidValue(
                f"tensor {key} is named {names[key]!r} and {b.names[key]!r}; merge statistics of one model"
            )
        try:
            tensors[key] = tensors[key].merge(state) if key in tensors else state
        except InvalidValue as error:
            raise InvalidValue(f"tensor {names[key]!r} {key}: {error}") from None
    version = " ".join(sorted({*a.version.split(), *b.version.split()}))
    return Statistics(a.model, a.samples + b.samples, a.observer, tensors, names, version)


def _check(statistics: Statistics) -> None:
    model, observer = statistics.model, statistics.observer
    if len(model) != 64 or not set(model) <= set("0123456789abcdef"):
        raise InvalidValue(f"model is {model[:80]!r}; its SHA-256 in 64 lower-case hexadecimal digits is required")
    if statistics.samples < 0:
        raise InvalidValue(f"{statistics.samples} samples; 0 or more is required")
    if observer not in OBSERVERS:
        raise InvalidValue(f"observer {observer!r} is unknown; use one of {', '.join(OBSERVERS)}")
    if set(statistics.tensors) != set(statistics.names):
        odd = min(set(statistics.tensors) ^ set(statistics.names))
        raise InvalidValue(f"tensor {odd} has a state or a name, but not both; give both for each tensor")
    for key, state in statistics.tensors.items():
        if type(state) is not OBSERVERS[observer]:
            raise InvalidValue(
                f"state of tensor {key} is no {OBSERVERS[observer].__name__}; give states of {observer!r}"
            )


def require_own(statistics: object, model: Hashed) -> None:
    """Refuse statistics that are something else, or of another model; None says nothing.

    Raises
    ------
    InvalidValue
    """
    if statistics is None:
        return
    if not isinstance(statistics, Statistics):
        raise InvalidValue(
            f"statistics is a {type(statistics).__name__}, and a Statistics is required; calibrate the model, or "
            "load what was saved of it"
        )
    if statistics.model != model.sha256:
        raise InvalidValue(
            f"the statistics are of a model with SHA-256 {statistics.model[:12]}..., and this one has "
            f"{model.sha256[:12]}...; calibrate this model"
        )

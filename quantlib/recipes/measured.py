"""Where the range of an activation comes from, and what scale and zero point it gives."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType

import numpy as np

from quantlib.calibration import (
    MSE,
    Blend,
    Headroom,
    HistogramState,
    MinMax,
    MinMaxState,
    Statistics,
    choose_all,
    require_own,
)
from quantlib.errors import InvalidRange, InvalidValue
from quantlib.numerics import Affine, affine_from_range
from quantlib.tflite import Model

from .graph import Graph
from .grid import Grid
from .plan import Moments
from .recipe import Recipe

#: Operators that average values: what they read can't be clipped as what they write could.
AVERAGING = frozenset({"AVERAGE_POOL_2D", "RESIZE_BILINEAR"})
#: Range of a tensor that was always 0, by the fused activation of what makes it: any represents 0 exactly, and one
#: of a sensible size stays within what kernels take for a multiplier.
_ALWAYS_ZERO: Mapping[int, tuple[float, float]] = MappingProxyType({1: (0.0, 1.0), 3: (0.0, 6.0)})

#: What fused activations reach, where they have an end: RELU_N1_TO_1 and RELU6.
_REACHED: Mapping[int, tuple[float, float]] = MappingProxyType({2: (-1.0, 1.0), 3: (0.0, 6.0)})
#: How much greater than the greatest score of the samples one of a new sample may be. A tenth costs 8-bit steps next
#: to nothing; MobileNet V1, whose scores reach beyond those of 64 samples, gains 1.4 dB by it.
_SCORES = 1.1
#: The greatest float32 number.
_GREATEST = float(np.finfo(np.float32).max)

#: Rules that choose the ranges of several tensors in less time than one by one, and how many more at a time.
_SIDE_BY_SIDE = frozenset({MSE.name, Blend.name})
_MORE = 31

#: Standard deviations that a range covers where no histogram says better.
_WIDTH = 8.0
#: Bound on a squared mean over its variance.
_MOST_COMMON = 100.0
#: Below this squared mean over variance, the mean of all inputs says nothing of the single ones.
_LEAST_COMMON = 0.05
#: Least variance of a channel, as part of the tensor's.
_LEAST_VARIANCE = 0.1


@dataclass(frozen=True, slots=True)
class Range:
    """Least and greatest value of an activation, and where they come from."""

    lo: float
    hi: float
    source: str

    def within(self, lo: float, hi: float) -> Range:
        """The part of it between two bounds; itself where that is nothing."""
        low, high = max(self.lo, lo), min(self.hi, hi)
        if (low, high) == (self.lo, self.hi) or low >= high:
            return self
        return Range(low, high, f"{self.source}, of which {low:.4g}..{high:.4g} is of use")


@contextmanager
def of_model(statistics: Statistics | None, model: Model) -> Iterator[None]:
    """Refuse statistics of another model, whose file is hashed beside what is done meanwhile.

    Raises
    ------
    InvalidValue
        If they are of another one; rather than what went wrong because of that.
    """
    if statistics is None:
        yield
        return

    def hashed() -> None:
        with suppress(Exception):  # what hinders it is raised where it is asked for
            _ = model.sha256

    hashing = threading.Thread(target=hashed, daemon=True)
    hashing.start()
    try:
        yield
    except Exception:  # whatever planning of another model ran into, that it is another one says more
        require_own(statistics, model)
        raise
    hashing.join()
    require_own(statistics, model)


@dataclass
class Measured:
    """Ranges of the activations of a model.

    Attributes
    ----------
    model : Model
    recipe : Recipe
    statistics : Statistics or None
    notes : dict of (int, int) to str
        What to say of tensors' ranges in the plan.
    """

    model: Model
    recipe: Recipe
    statistics: Statistics | None
    notes: dict[tuple[int, int], str] = field(default_factory=dict)
    _found: dict[tuple[int, int, str], Range | None] = field(default_factory=dict)
    _chosen_by: dict[tuple[str, str], dict[tuple[int, int], tuple[float, float]]] = field(default_factory=dict)

    def range_of(self, graph: Graph, tensor: int, kind: str) -> Range | None:
        """Range of a tensor that is to have an element type; None where nothing is known of it."""
        key = (graph.index, tensor, kind)
        if key not in self._found:
            self._found[key] = self._range(graph, tensor, kind)
        return self._found[key]

    def seen(self, graph: Graph, tensor: int, kind: str) -> Range | None:
        """The part of a tensor's range that calibration saw: the whole where it is known from elsewhere."""
        found = self.range_of(graph, tensor, kind)
        state = self._state(graph, tensor)
        if found is None or state is None or not state.count or not any(state.range):
            return found  # a tensor that was always 0 has a range all the same
        return Range(max(found.lo, min(state.range[0], 0.0)), min(found.hi, max(state.range[1], 0.0)), found.source)

    def _state(self, graph: Graph, tensor: int) -> MinMaxState | None:
        return None if self.statistics is None else self.statistics.tensors.get((graph.index, tensor))

    def _range(self, graph: Graph, tensor: int, kind: str) -> Range | None:
        found = self._known(graph, tensor, kind)
        found = found or self._from_makers(graph, tensor, kind) or self._from_readers(graph, tensor, kind)
        if found is None and self.recipe.default_ranges is not None:
            return Range(*self.recipe.default_ranges, "default range")
        if found is not None and found.lo == found.hi == 0:
            lo, hi = _ALWAYS_ZERO.get(_fused(graph, tensor), (-1.0, 1.0))
            return Range(lo, hi, f"always 0 in calibration, taken as {lo:g}..{hi:g}")
        return found

    def trained(self, graph: Graph, tensor: int, kind: str) -> tuple[Affine, str] | None:
        """Parameters that training left for a tensor, and in words how; None where there are none."""
        grid = self._grid(graph, tensor)
        return None if grid is None else grid.activation(kind, symmetric=self.symmetric(kind))

    def _grid(self, graph: Graph, tensor: int) -> Grid | None:
        """What training left for a tensor; not a mere range that the samples contradict.

        Converters leave the range of the raw input, 0..255, on inputs that a later version feeds with -1..1.
        """
        grid, state = graph.trained.get(tensor), self._state(graph, tensor)
        if grid is None or grid.bits or grid.scale.size or state is None or not state.count:
            return grid
        lo, hi = float(grid.lo.min()), float(grid.hi.max())
        slack = (hi - lo) / 4
        if state.max - state.min < slack / 2 or state.min < lo - slack or state.max > hi + slack:
            self.notes[graph.index, tensor] = (
                f"{graph.tensor(tensor).name}: the file notes a range of {lo:g}..{hi:g}, and the samples have "
                f"{state.min:g}..{state.max:g}; these count"
            )
            return None
        return grid

    def _known(self, graph: Graph, tensor: int, kind: str) -> Range | None:
        """What training or calibration says of a tensor itself, or training of what it is rounded to."""
        rounded = (graph.folds[u.operator] for u in graph.uses.get(tensor, ()) if u.operator in graph.folds)
        grid = self._grid(graph, tensor) or next(rounded, None)
        if grid is not None:
            return Range(*grid.bounds(kind), "as trained")
        return self._observed(graph, tensor, kind)

    def _from_makers(self, graph: Graph, tensor: int, kind: str) -> Range | None:
        """Range of what an operator moved, from those of its operands: no value is new."""
        key = (graph.index, tensor, f"{kind} from its maker")
        if key not in self._found:
            maker, found = graph.producers.get(tensor), self._known(graph, tensor, kind)
            if found is None and maker is not None and graph.moves(maker):
                parts = [self._operand(graph, t, kind) for _, t in graph.data(maker)]
                found = _hull(parts, "as what it is made of")
            self._found[key] = found
        return self._found[key]

    def _operand(self, graph: Graph, tensor: int, kind: str) -> Range | None:
        origin = graph.origin(tensor)
        if origin is None:
            return self._from_makers(graph, tensor, kind)
        values = origin.numpy()
        if not values.size or not np.isfinite(values).all():
            return None
        return Range(float(values.min()), float(values.max()), "constant")

    def _from_readers(self, graph: Graph, tensor: int, kind: str) -> Range | None:
        """Range of what one operator moves, from those of what it makes: what these clip may be clipped before."""
        found, uses = self._known(graph, tensor, kind), graph.uses.get(tensor, ())
        if found is not None or len(uses) != 1 or tensor in graph.ends:
            return found
        reader = uses[0].operator
        moved = [t for _, t in graph.data(reader)] if graph.moves(reader) else []
        if moved != [tensor] or graph.names[reader] in AVERAGING:
            return None
        outputs = graph.operators[reader].outputs.tolist()
        return _hull([self._from_readers(graph, t, kind) for t in outputs], "as what is made of it")

    def _observed(self, graph: Graph, tensor: int, kind: str) -> Range | None:
        state = self._state(graph, tensor)
        if state is None or not state.count:
            return None
        name = str(self.recipe.range or _default_rule(graph, tensor, state, kind))
        try:
            lo, hi = self._chosen(graph, tensor, name, kind)
        except InvalidRange:
            return None
        except InvalidValue as error:
            raise InvalidValue(f"tensor {graph.tensor(tensor).name!r}: {error}") from None
        if self.recipe.range is not None and name == MinMax.name:
            return Range(lo, hi, name)
        lo, hi = _possible(graph, tensor, lo, hi)
        # Shares of a sum belong to the greatest values: a class that is cut down to its rival's level is lost.
        most = min(state.range[1] * _SCORES, _GREATEST)
        if hi < most and (ruled := graph.ruled_by_greatest(tensor)):
            return Range(-most if self.symmetric(kind) else lo, most, f"{name}, whole above for {ruled}")
        return Range(lo, hi, name)

    def _chosen(self, graph: Graph, tensor: int, name: str, kind: str) -> tuple[float, float]:
        """What a rule chooses for a tensor; where several take less time together, for some more at once."""
        known = self._chosen_by.setdefault((name, kind), {})
        key, tensors = (graph.index, tensor), self.statistics.tensors if self.statistics is not None else {}
        if key not in known:
            more = (k for k, s in tensors.items() if k[0] == key[0] and k != key and k not in known and _usual(s))
            some = [key, *islice(more, _MORE if name in _SIDE_BY_SIDE else 0)]
            rule, symmetric = self.recipe.chooser_of(name), self.symmetric(kind)
            found = choose_all(rule, [tensors[k] for k in some], symmetric=symmetric, type=kind)
            known.update(zip(some, found, strict=True))
        return known[key]

    def moments(self, graph: Graph, tensor: int, count: int) -> Moments | None:
        """Mean and variance of a tensor's values: by channel, where `count` is a multiple of their number.

        None where nothing is known. Variances by channel are what their means leave of the tensor's mean square.
        """
        state = self._state(graph, tensor)
        if state is None or not state.count:
            return None
        squared = state.mean**2
        if isinstance(state, HistogramState):
            variance = max(state.mean_square - squared, 0.0)
        else:
            variance = ((state.max - state.min) / _WIDTH) ** 2
        if not math.isfinite(squared + variance):
            return None
        channels = state.channels
        if channels is not None and channels.count.size and count % channels.count.size == 0:
            mean = channels.mean
            left = np.maximum(variance + squared - mean**2, _LEAST_VARIANCE * variance)
        else:
            mean = np.array([state.mean if squared >= _LEAST_COMMON * variance else 0.0])
            left = np.array([variance])
        return Moments(tuple(mean.tolist()), tuple(np.maximum(left, mean**2 / _MOST_COMMON).tolist()))

    def symmetric(self, kind: str) -> bool:
        """Whether activations of an element type have zero point 0."""
        return kind == "INT16" or (self.recipe.symmetric_activations and kind == "INT8")

    def affine(self, found: Range, kind: str) -> Affine:
        """Scale and zero point for a range."""
        lo, hi = found.lo, found.hi
        if not (math.isfinite(lo) and math.isfinite(hi)):
            raise InvalidValue(f"range {lo}..{hi} ({found.source}) gives no scale; finite bounds are required")
        return affine_from_range(lo, hi, kind, symmetric=self.symmetric(kind))


def _hull(parts: list[Range | None], source: str) -> Range | None:
    """The least range that holds several; None where one isn't known."""
    known = [p for p in parts if p is not None]
    if not known or len(known) < len(parts):
        return None
    return Range(min(p.lo for p in known), max(p.hi for p in known), source)


def _usual(state: MinMaxState) -> bool:
    """Whether any rule chooses a range for it: what one of several can't be chosen for is no other's error."""
    return isinstance(state, HistogramState) and state.count > 0 and max(-state.min, state.max) <= _GREATEST


def _default_rule(graph: Graph, tensor: int, state: MinMaxState, kind: str) -> str:
    """The rule that chooses ranges where the recipe names none."""
    if kind == "INT16":
        # DIV takes no small quotient of scales: room for divisor and result would make it float
        return MinMax.name if graph.divides(tensor) else Headroom.name
    return Blend.name if isinstance(state, HistogramState) else MinMax.name


def _possible(graph: Graph, tensor: int, lo: float, hi: float) -> tuple[float, float]:
    """The part of a range that a fused activation leaves of it."""
    least, most = _REACHED.get(_fused(graph, tensor), (-math.inf, math.inf))
    return max(lo, least), min(hi, most)


def _fused(graph: Graph, tensor: int) -> int:
    maker = graph.producers.get(tensor)
    options = None if maker is None else graph.operators[maker].builtin_options
    return int(getattr(options, "fused_activation_function", 0) or 0)

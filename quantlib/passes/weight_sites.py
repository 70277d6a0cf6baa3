"""The weights of a model: each constant as it is stored, who reads it, and through which operators."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.numerics import element_type
from quantlib.operators import row
from quantlib.recipes import STORAGE, Graph, Use, elements_of
from quantlib.tflite import Model, Tensor

#: Operators that run other subgraphs, which may have weights.
_CALLS = ("WHILE", "IF", "CALL", "CALL_ONCE", "STABLEHLO_COMPOSITE")

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class WeightSite:
    """A constant that operators read as a weight.

    Attributes
    ----------
    graph : Graph
    tensor : Tensor
        The constant as it is stored: float, integer, dense or sparse.
    name : str
        What it is called in reports and selectors; no two are alike.
    readers : tuple of Use
        Operators that compute with it.
    steps : tuple of int
        Operators of `STORAGE` between it and its readers.
    reason : str
        Why no edit may change it; empty where one may.
    """

    graph: Graph
    tensor: Tensor
    name: str
    readers: tuple[Use, ...]
    steps: tuple[int, ...]
    reason: str = ""

    @property
    def types(self) -> tuple[str, ...]:
        """Types of the operators that read it, in order, each once."""
        return tuple(dict.fromkeys(self.graph.names[use.operator] for use in self.readers))

    @property
    def count(self) -> int:
        """Its number of elements."""
        return math.prod(self.tensor.shape)

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes two of them the same values in the same shape."""
        tensor, found = self.tensor, self.tensor.quantization
        scales = () if found is None else (found.scale.tobytes(), found.zero_point.tobytes())
        return (tensor.table.buffer, tensor.type, tensor.shape, *scales)


def weight_sites(model: Model) -> tuple[WeightSite, ...]:
    """Find all weights of a model, subgraph by subgraph, in the order in which they are read first."""
    sites: list[WeightSite] = []
    for g in range(len(model.subgraphs)):
        found = _of_graph(Graph(model, g))
        sites += sorted(found, key=lambda s: min((u.operator, u.operand) for u in s.readers))
    counts = Counter(site.name for site in sites)
    return tuple(
        replace(s, name=f"{s.name} ({s.graph.index}, {s.tensor.index})") if counts[s.name] > 1 else s for s in sites
    )


def alike(sites: Iterable[WeightSite]) -> list[list[WeightSite]]:
    """Put weights together that are the same values in the same shape: an edit of one is an edit of all."""
    groups: dict[object, list[WeightSite]] = {}
    for site in sites:
        groups.setdefault(site.identity, []).append(site)
    return list(groups.values())


def _of_graph(graph: Graph) -> Iterator[WeightSite]:
    for t in sorted(graph.uses):
        tensor = Tensor(graph.model, graph.index, t)
        if not tensor.is_constant:
            continue
        readers, steps = _readers(graph, t)
        weights = [u for u in readers if row(graph.names[u.operator]).weight(u.operand) is not None]
        if weights:
            name = next((graph.tensor(_made(graph, s)).name for s in steps if graph.names[s] == "DENSIFY"), "")
            name = name or tensor.name or graph.operator_label(weights[0].operator)
            yield WeightSite(
                graph, tensor, name, tuple(readers), steps, _reason(graph, tensor, readers, weights, steps)
            )


def _readers(graph: Graph, t: int) -> tuple[list[Use], tuple[int, ...]]:
    """Who computes with a constant, and the operators of `STORAGE` in between."""
    readers: list[Use] = []
    steps: list[int] = []
    for use in graph.uses.get(t, ()):
        if graph.names[use.operator] not in STORAGE:
            readers.append(use)
            continue
        steps.append(use.operator)
        further, between = _readers(graph, _made(graph, use.operator))
        readers += further
        steps += between
    return readers, tuple(steps)


def _made(graph: Graph, o: int) -> int:
    outputs = graph.operators[o].outputs
    return int(outputs[0]) if outputs is not None and outputs.size else -1


def _reason(graph: Graph, tensor: Tensor, readers: list[Use], weights: list[Use], steps: tuple[int, ...]) -> str:
    other = next((u for u in readers if u not in weights), None)
    if other is not None:
        return f"{graph.names[other.operator]} reads it too, and not as a weight"
    if tensor.table.is_variable:
        return "the initial value of a variable"
    if tensor.data is not None and tensor.table.sparsity is None:
        due = element_type(tensor.type).nbytes(math.prod(tensor.shape))
        if tensor.data.nbytes < due:
            return f"{tensor.data.nbytes:,} bytes of data, and its shape asks for {due:,}"
    if graph.ends & {tensor.index, *(_made(graph, s) for s in steps)}:
        return "an input or output of its subgraph"
    return ""


def outer_layers(sites: tuple[WeightSite, ...]) -> dict[tuple[int, int], str]:
    """First and last layers: operators with weights before which, or behind which, there is no other.

    Only in subgraphs that are run from outside: the body of a loop has no first layer.

    Returns
    -------
    dict of (subgraph, operator) to str
        ``first layer`` or ``last layer``.
    """
    found: dict[tuple[int, int], str] = {}
    for graph in {site.graph.index: site.graph for site in sites}.values():
        entries = {0, *(s.subgraph_index for s in graph.model.root.signature_defs or ())}
        if graph.index not in entries:
            continue
        weighted = {u.operator for s in sites if s.graph.index == graph.index for u in s.readers}
        calls = {o for o, name in enumerate(graph.names) if name in _CALLS}
        for up, name in ((False, "last layer"), (True, "first layer")):
            found |= {(graph.index, o): name for o in _without(graph, weighted | calls, up=up) & weighted}
    return found


def _without(graph: Graph, weighted: set[int], *, up: bool) -> set[int]:
    """Operators with none of some operators before them, or behind them."""
    touched: set[int] = set()  # tensors that such an operator is before, or behind
    found: set[int] = set()
    order = range(len(graph.operators))
    for o in order if up else reversed(order):
        ends = [
            {t for t in ([] if vector is None else vector.tolist()) if t >= 0}
            for vector in (graph.operators[o].inputs, graph.operators[o].outputs)
        ]
        near, far = ends if up else reversed(ends)
        if near & touched:
            touched |= far
        else:
            found.add(o)
            touched |= far if o in weighted else set()
    return found


def real_elements(tensor: Tensor) -> Callable[[int, int], _Floats]:
    """Make a function that gives the real values ``start:stop`` of a constant, in flat order.

    A float constant's as float32; with scales, ``(stored - zero_point) * scale``.
    """
    elements, zeros, found = elements_of(tensor), zero_elements(tensor), tensor.quantization
    if found is None:
        return lambda start, stop: elements(start, stop).astype(np.float32)
    of = _by_channel(tensor, found.scale)

    def real(start: int, stop: int) -> _Floats:
        steps = elements(start, stop).astype(np.float32) - zeros(start, stop)
        with np.errstate(invalid="ignore", over="ignore"):  # of a scale that isn't finite; who looks says so
            values: _Floats = (steps * of(start, stop)).astype(np.float32)
        return values

    return real


def zero_elements(tensor: Tensor) -> Callable[[int, int], Any]:
    """Make a function that gives what stands for 0 in the elements ``start:stop``: one number, or one for each."""
    found = tensor.quantization
    if found is None:
        return lambda start, stop: 0
    return _by_channel(tensor, found.zero_point)


def _by_channel(tensor: Tensor, values: npt.NDArray[Any]) -> Callable[[int, int], Any]:
    """What belongs to each element, of numbers that belong to channels."""
    found = tensor.quantization
    if found is None or values.size == 1 or (values == values[0]).all():
        return lambda start, stop: values[0]
    inner = math.prod(tensor.shape[found.quantized_dimension + 1 :])
    return lambda start, stop: values[np.arange(start, stop) // inner % values.size]

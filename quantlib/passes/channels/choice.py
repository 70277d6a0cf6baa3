"""Which channels go: those of least norm, in each set of layers that share theirs, or over all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import element_type
from quantlib.recipes import Graph
from quantlib.tflite import Tensor

from ..weight_sites import real_elements
from .walk import Layer, Walk

_Floats = npt.NDArray[np.float64]

#: Weights that are looked at in one piece.
_PIECE = 1 << 20
#: How layers are compared.
RANKINGS = ("tensor", "global")
NORMS = ("l1", "l2")


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Sets of channels with the same layers, all of which can go.

    Attributes
    ----------
    roots : int64 array of shape (channels,)
        The cell that stands for each, in the order of the first layer.
    scores : float64 array of shape (channels,)
        What each is worth.
    """

    roots: npt.NDArray[np.int64]
    scores: _Floats


def families(walk: Walk, norm: str) -> list[Family]:
    """Group what can be removed by the layers that make it, and say what it is worth.

    The worth of a channel is the norm of its filter over the mean of the layer's norms, summed over all layers that
    share it: filters of different sizes have the same say.
    """
    roots = [walk.cells.roots(layer.cells) for layer in walk.layers]
    members: dict[int, set[int]] = {}
    worth: dict[int, float] = {}
    for i, (layer, found) in enumerate(zip(walk.layers, roots, strict=True)):
        if not layer.makes:
            continue
        free = [not walk.cells.reason(root) for root in found.tolist()]
        scores = _relative(filter_norms(walk.graph, layer, norm)) if any(free) else np.zeros(0)
        for root, score in zip(found[free].tolist(), scores[free].tolist() if any(free) else (), strict=True):
            members.setdefault(root, set()).add(i)
            worth[root] = worth.get(root, 0.0) + score
    grouped: dict[frozenset[int], list[int]] = {}
    for root, layers in members.items():
        grouped.setdefault(frozenset(layers), []).append(root)
    return [Family(np.array(g, np.int64), np.array([worth[r] for r in g])) for g in grouped.values()]


def _relative(norms: _Floats) -> _Floats:
    mean = norms.mean()
    return norms / mean if mean > 0 else norms


def filter_norms(graph: Graph, layer: Layer, norm: str) -> _Floats:
    """Norm of the filter of each output channel.

    Raises
    ------
    InvalidValue
        If one isn't finite.
    """
    origin = stored_behind(graph, int(graph.operators[layer.operator].inputs[layer.operand]))
    parts = []
    with np.errstate(invalid="ignore", over="ignore"):  # what isn't finite is named below
        for values in real_rows(origin, whole=layer.axis != 0):
            flat = np.moveaxis(values, layer.axis, 0).reshape(values.shape[layer.axis], -1).astype(np.float64)
            parts.append(np.abs(flat).sum(axis=1) if norm == "l1" else np.sqrt((flat**2).sum(axis=1)))
    found = np.concatenate(parts)
    if not np.isfinite(found).all():
        raise InvalidValue(
            f"{origin}: filter {int(np.argmin(np.isfinite(found)))} isn't finite; leave it out by skip"
        )
    return found


def stored_behind(graph: Graph, index: int) -> Tensor:
    """The constant that weights come from; what a walk demands is one."""
    while not graph.tensor(index).is_constant:
        index = int(graph.operators[graph.producers[index]].inputs[0])
    return graph.tensor(index)


def real_rows(origin: Tensor, *, whole: bool = False) -> Iterator[npt.NDArray[np.float32]]:
    """Real values of a constant, some rows of its first axis at a time, or all at once."""
    shape, row = origin.shape, math.prod(origin.shape[1:])
    step = shape[0] if whole else max(_PIECE // max(row, 1), 1)
    if element_type(origin.type).bits < 8:  # packed: there are no parts of it to be had
        yield origin.real()
        return
    elements = real_elements(origin)
    for first in range(0, shape[0], step):
        last = min(first + step, shape[0])
        yield elements(first * row, last * row).reshape(last - first, *shape[1:])


def chosen(found: Sequence[Family], fraction: float, ranking: str, multiple: int) -> list[npt.NDArray[np.bool_]]:
    """Which channels of each family go.

    Parameters
    ----------
    found : sequence of Family
    fraction : float
        How many, rounded down: of each family, or of all together.
    ranking : str
        ``tensor`` or ``global``.
    multiple : int
        What stays of each family is a multiple of this, where anything goes.

    Returns
    -------
    list of bool array of shape (channels,)
        Of channels of equal worth the last go first. One or more of each family stay.
    """
    sizes = [f.roots.size for f in found]
    orders = [np.lexsort((-np.arange(f.scores.size), f.scores)) for f in found]
    if ranking == "tensor":
        counts = [_part(n, fraction) for n in sizes]
    else:
        counts = _over_all(found, orders, _part(sum(sizes), fraction))
    masks = []
    for size, order, count in zip(sizes, orders, counts, strict=True):
        left = max(size - count, 1)
        left = min(-(-left // multiple) * multiple, size)
        mask = np.zeros(size, np.bool_)
        mask[order[: size - left]] = True
        masks.append(mask)
    return masks


def _part(count: int, fraction: float) -> int:
    """A fraction of a number, rounded down; 0.29 of 100 is 29."""
    return math.floor(round(count * fraction, 6))


def _over_all(found: Sequence[Family], orders: Sequence[npt.NDArray[np.int64]], total: int) -> list[int]:
    """How many of each family are among the least of all; one of each is left out."""
    scored = [
        (float(f.scores[j]), i, place)
        for i, (f, order) in enumerate(zip(found, orders, strict=True))
        for place, j in enumerate(order[:-1].tolist())
    ]
    counts = [0] * len(found)
    for _, i, _ in sorted(scored)[:total]:
        counts[i] += 1
    return counts

"""Tensors, constants and sizes of a model with some of its channels taken out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.numerics import element_type, pack
from quantlib.tflite import Deferred, Draft, GraphDraft, Table, Tensor

from ..stored import as_bytes
from ..versions import raise_version
from .cells import Labels
from .walk import Kept, Rewrite, Walk

#: Which indices of some axes of a tensor stay.
Masks = Mapping[int, npt.NDArray[np.bool_]]
#: Makes good for removed channels in the layers that read them (`Walk.consumers`). Given a draft whose constants are
#: cut, before operators are rearranged, it gives such layers other constants and returns how many it changed.
#: `channel_means.correct_biases` is one; weights fitted anew to what channels held over samples would be another.
Correction = Callable[[Draft, Walk, Kept], int]


@dataclass
class Cutter:
    """Cuts the subgraphs of a model, in a draft of it; constants that shared a buffer and are cut alike share one.

    Attributes
    ----------
    draft : Draft
    correct : callable or None
        The `Correction`.
    corrected : int
        Layers that it changed.
    """

    draft: Draft
    correct: Correction | None = None
    corrected: int = 0
    _stored: dict[Any, int] = field(default_factory=dict)

    def cut(self, walk: Walk, removed: npt.NDArray[np.int64]) -> None:
        """Take channels out of a subgraph.

        Parameters
        ----------
        walk : Walk
        removed : int64 array
            Roots of what goes.
        """
        kept = keeper(walk, removed)
        graph = self.draft.graphs[walk.graph.index]
        for t, channels in walk.axes.items():
            if not (mask := kept(channels.cells)).all():
                graph.tensors[t] = _narrowed(graph.tensors[t], {channels.axis: mask})
        cut = {t: masks for t in walk.reads if (masks := masks_of(walk, t, kept))}
        for t, masks in cut.items():
            graph.tensors[t] = _narrowed(graph.tensors[t], masks)
        needless: set[int] = set()
        for t, masks in cut.items():
            needless |= self._constant(walk, t, masks)
        for rewrite in walk.rewrites:
            self._rewrite(walk, rewrite, kept)
        if self.correct is not None:
            self.corrected += self.correct(self.draft, walk, kept)
        graph.rearrange([], needless)

    def _constant(self, walk: Walk, t: int, masks: Masks) -> set[int]:
        """Cut what a constant holds; return the DENSIFY that have nothing to do any more."""
        tensor = Tensor(walk.graph.model, walk.graph.index, t)
        if not tensor.is_constant:
            return set()
        key = (tensor.table.buffer, tensor.type, tensor.shape, *((a, m.tobytes()) for a, m in masks.items()))
        if tensor.table.sparsity is not None or key not in self._stored:
            self._stored[key] = self.draft.add_buffer(sliced(tensor, masks))
        graph, buffer = self.draft.graphs[walk.graph.index], self._stored[key]
        graph.tensors[t] = graph.tensors[t].replace(buffer=buffer, sparsity=None)
        readers = {u.operator for u in walk.graph.uses.get(t, ())}
        makers = {o for o in readers if walk.graph.names[o] == "DENSIFY"}
        if tensor.table.sparsity is not None:  # the version of operators on sparse weights isn't that on dense ones
            for o in readers - makers:
                graph.operators[o] = raise_version(self.draft, graph, graph.operators[o])
        for o in makers:
            made = int(walk.graph.operators[o].outputs[0])
            graph.tensors[made] = graph.tensors[made].replace(buffer=buffer)
        return makers

    def _rewrite(self, walk: Walk, rewrite: Rewrite, kept: Kept) -> None:
        """Let an operator's sizes follow; a constant that others read is left to them."""
        graph, new = self.draft.graphs[walk.graph.index], np.asarray(rewrite.edit(kept))
        operator = graph.operators[rewrite.operator]
        if isinstance(rewrite.place, str):
            options = operator.builtin_options
            value = new.tolist()
            if options is not None and np.any(getattr(options, rewrite.place) != new):
                changed = options.replace(**{rewrite.place: value})
                graph.operators[rewrite.operator] = operator.replace(builtin_options=changed)
            return
        t = int(operator.inputs[rewrite.place])
        old = Tensor(walk.graph.model, walk.graph.index, t).numpy()
        if np.array_equal(old.reshape(-1), new.reshape(-1)):
            return
        table = graph.tensors[t].replace(buffer=self.draft.add_buffer(new.astype(old.dtype).reshape(old.shape)))
        if len(walk.graph.uses[t]) == 1 and t not in walk.graph.ends:
            graph.tensors[t] = table
        else:
            graph.operators[rewrite.operator] = _reading(graph, operator, rewrite.place, table)


def keeper(walk: Walk, removed: npt.NDArray[np.int64]) -> Kept:
    """Make the function that says which cells stay."""
    return lambda cells: ~np.isin(walk.cells.roots(cells), removed)


def masks_of(walk: Walk, t: int, kept: Kept) -> Masks:
    """What stays of the axes of a constant; axes that stay whole are left out."""
    spec: dict[int, Labels] = {axis: cells for _, found in walk.reads[t] for axis, cells in found.items()}
    return {axis: mask for axis, cells in sorted(spec.items()) if not (mask := kept(cells)).all()}


def _reading(graph: GraphDraft, operator: Table, operand: int, table: Table) -> Table:
    """An operator that reads a tensor of its own in the place of one."""
    graph.tensors.append(table)
    inputs = operator.inputs.copy()
    inputs[operand] = len(graph.tensors) - 1
    return operator.replace(inputs=inputs)


def _narrowed(table: Table, masks: Masks) -> Table:
    """A tensor's table with the sizes, and scales for each channel, that are left."""
    changes: dict[str, Any] = {}
    for name in ("shape", "shape_signature"):
        sizes = getattr(table, name)
        if sizes is not None and sizes.size and sizes.size == table.shape.size:
            sizes = sizes.copy()
            for axis, mask in masks.items():
                sizes[axis] = sizes[axis] if sizes[axis] < 0 else np.count_nonzero(mask)
            changes[name] = sizes
    q = table.quantization
    mask_of = None if q is None or q.scale is None else masks.get(q.quantized_dimension)
    if q is not None and mask_of is not None and q.scale.size == mask_of.size > 1:
        vectors = {n: getattr(q, n) for n in ("scale", "zero_point", "min", "max")}
        cut = {n: v[mask_of] for n, v in vectors.items() if v is not None and v.size == mask_of.size}
        changes["quantization"] = q.replace(**cut)
    return table.replace(**changes)


def sliced(tensor: Tensor, masks: Masks) -> Deferred:
    """What is left of a constant, stored as it was; dense. It is computed when it is written.

    Parameters
    ----------
    tensor : Tensor
        A constant, dense or sparse.
    masks : mapping of int to bool array
        By axis, which indices stay.

    Raises
    ------
    InvalidValue
        If the buffer is shorter than the shape, or sparse in a way that can't be read.
    """
    kind, shape = element_type(tensor.type), tensor.shape
    tensor.numpy()  # raises where the buffer is shorter than the shape
    sizes = [int(np.count_nonzero(masks[a])) if a in masks else n for a, n in enumerate(shape)]
    lead = np.flatnonzero(masks[0]) if 0 in masks else np.arange(shape[0])
    nbytes, row = kind.nbytes(math.prod(sizes)), kind.bits * math.prod(sizes[1:]) // 8
    by_rows = kind.bits >= 8 and tensor.table.sparsity is None and row > 0

    def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
        first, last = (start // row, stop // row) if by_rows else (0, len(lead))
        values = tensor.numpy()[lead[first:last]]
        for axis, mask in masks.items():
            values = np.compress(mask, values, axis=axis) if axis else values
        return pack(values, kind) if kind.bits < 8 else as_bytes(values)

    return Deferred(nbytes, produce, granule=row if by_rows else max(nbytes, 1))

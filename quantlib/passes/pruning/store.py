"""Where pruned weights are stored: dense, behind a DENSIFY, or sparse for the kernels that read that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.numerics import element_type
from quantlib.operators import operator_version
from quantlib.tflite import (
    Data,
    Draft,
    Model,
    SparseLayout,
    Table,
    Tensor,
    sparse_size,
    sparsify_data,
    stored_counts,
)

from ..versions import SPARSE_VERSION, raise_version, signature_of, update_runtime
from ..weight_sites import WeightSite

#: Operators that compute the same in LiteRT 2.3 by each of its resolvers when their weights come through DENSIFY, by
#: what they read: FLOAT32 (from float16 and int8 through DEQUANTIZE too), INT8 beside INT8 activations, and INT8
#: beside FLOAT32. On the others XNNPACK fails to prepare, or reads something else
#: (tflite/delegates/xnnpack/xnnpack_delegate.cc unpacks what DENSIFY makes).
_BEHIND: Mapping[tuple[str, str], frozenset[str]] = MappingProxyType(
    {
        ("FLOAT32", "FLOAT32"): frozenset(
            ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")
        ),
        ("INT8", "INT8"): frozenset(("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "BATCH_MATMUL")),
        ("INT8", "FLOAT32"): frozenset(("DEPTHWISE_CONV_2D",)),
    }
)
#: Blocks that sparse kernels of FULLY_CONNECTED take, by weights and output (tflite/kernels/fully_connected.cc).
_DIRECT: Mapping[tuple[str, str], int] = MappingProxyType(
    {("FLOAT32", "FLOAT32"): 4, ("INT8", "INT8"): 16, ("INT8", "FLOAT32"): 16}
)
#: The kernel for INT8 weights and FLOAT32 activations counts the blocks of a row, and their places, in 8 bits.
_LEDGER = 255
#: Element types that DENSIFY has a kernel for (tflite/kernels/densify.cc).
_DENSIFIED = ("FLOAT32", "FLOAT16", "INT8")
#: Bytes in the file for the tables of a sparse tensor; and for a tensor and a DENSIFY more.
_TABLES, _DENSIFY = 192, 128
#: How much larger a form may be that needs no DENSIFY.
_UNPACKED = 1.1
#: Bytes of a weight up to which other axes than the last are tried, which need it whole in memory to be written.
_WHOLE = 1 << 22
#: Blocks that are tried behind a DENSIFY.
_BLOCKS = (1, 4, 16)


@dataclass(frozen=True, slots=True)
class SparseForm:
    """A sparse form of a weight.

    Attributes
    ----------
    layout : SparseLayout
    direct : bool
        Kernels read it; otherwise a DENSIFY makes the dense weight when the model is prepared or first run.
    nbytes : int
        What it takes in the file, with the tables around it.
    """

    layout: SparseLayout
    direct: bool
    nbytes: int

    def __str__(self) -> str:
        blocks = f" in blocks of {self.layout.block}" if self.layout.block > 1 else ""
        return f"stored sparse{blocks}{'' if self.direct else ' behind DENSIFY'}"


class PrunedStore:
    """The changed model in the making.

    Parameters
    ----------
    model : Model
    """

    def __init__(self, model: Model) -> None:
        self.draft = Draft(model)
        self._heads: dict[int, list[Table]] = {}
        self._removed: dict[int, set[int]] = {}
        self._unsparse: list[WeightSite] = []

    def put(self, sites: Sequence[WeightSite], data: Data, form: SparseForm | str) -> None:
        """Store one constant for all that have it.

        Parameters
        ----------
        sites : sequence of WeightSite
            Of one identity.
        data : Data
            The new values, dense.
        form : SparseForm or str
            How they are stored; dense where it is none.
        """
        places = [(site, place) for site in sites for place in self._make_dense(site)]
        if isinstance(form, str):
            buffer = self.draft.add_buffer(data)
            for site, place in places:
                self._set(site, place, buffer=buffer, sparsity=None)
            return
        tensor = sites[0].tensor
        values, sparsity = sparsify_data(data, _dtype(tensor), tensor.shape, form.layout)
        buffer = self.draft.add_buffer(values)
        for site, place in places:
            if form.direct:
                self._set(site, place, buffer=buffer, sparsity=sparsity)
                self._raise_versions(site)
            else:
                self._set_behind(site, place, buffer, sparsity)

    def done(self) -> Model:
        """Return the changed model."""
        for site in self._unsparse:
            self._raise_versions(site)
        for g, graph in enumerate(self.draft.graphs):
            if g in self._heads or g in self._removed:
                graph.rearrange(self._heads.get(g, []), self._removed.get(g, set()))
        update_runtime(self.draft)
        return self.draft.done()

    def _make_dense(self, site: WeightSite) -> list[int]:
        """Tensors that are to hold the constant: itself, or what a DENSIFY, which goes, made of it."""
        graph, tensor = site.graph, site.tensor.index
        if site.tensor.table.sparsity is None:
            return [tensor]
        self._unsparse.append(site)
        makers = [u.operator for u in graph.uses[tensor] if graph.names[u.operator] == "DENSIFY"]
        self._removed.setdefault(graph.index, set()).update(makers)
        others = [tensor] if len(makers) < len(graph.uses[tensor]) else []
        return [*others, *(int(graph.operators[o].outputs[0]) for o in makers)]

    def _set(self, site: WeightSite, place: int, **fields: Any) -> None:
        tensors = self.draft.graphs[site.graph.index].tensors
        tensors[place] = site.tensor.table.replace(name=tensors[place].name, **fields)

    def _set_behind(self, site: WeightSite, place: int, buffer: int, sparsity: Table) -> None:
        """Let a DENSIFY make a tensor of a new one that is sparse; the first keeps its name and readers."""
        g = site.graph.index
        graph = self.draft.graphs[g]
        name = f"{graph.tensors[place].name or site.name}_sparse"
        graph.tensors.append(site.tensor.table.replace(name=name, buffer=buffer, sparsity=sparsity))
        self._set(site, place, buffer=self._no_buffer(), sparsity=None)
        made = self.draft.operator("DENSIFY", [len(graph.tensors) - 1], [place], Table("DensifyOptions"))
        self._heads.setdefault(g, []).append(made)

    def _no_buffer(self) -> int:
        """Index of a buffer without data."""
        buffers = self.draft.buffers
        for i, buffer in enumerate(buffers[:1]):
            if buffer.data is None and not buffer.offset:
                return i
        buffers.append(Table("Buffer"))
        return len(buffers) - 1

    def _raise_versions(self, site: WeightSite) -> None:
        graph = self.draft.graphs[site.graph.index]
        for use in site.readers:
            graph.operators[use.operator] = raise_version(self.draft, graph, graph.operators[use.operator])

    def _why_not_direct(self, sites: Sequence[WeightSite]) -> bool:
        """Whether something is in the way of sparse kernels.

        XNNPACK knows sparse weights by the operator's version alone, and reads those of any other version as if they
        were dense (tflite/delegates/xnnpack/xnnpack_delegate.cc): it must be that of sparse weights exactly.
        """
        for site in sites:
            graph = self.draft.graphs[site.graph.index]
            signatures = [signature_of(self.draft, graph, graph.operators[u.operator]) for u in site.readers]
            versions = {operator_version(replace(s, sparse=True)) for s in signatures}
            if not _reads_sparse(site) or versions != {SPARSE_VERSION}:
                return True
        return False

    def form(self, sites: Sequence[WeightSite], data: Data) -> SparseForm | str:
        """Choose the smallest sparse form that LiteRT reads.

        Parameters
        ----------
        sites, data
            As `put` takes them.

        Returns
        -------
        SparseForm or str
            Why there is none, or none that is smaller.
        """
        if not sites[0].tensor.shape:
            return "it is a single value"
        behind, direct = _why_not_behind(sites), self._why_not_direct(sites)
        if behind and direct:
            return behind
        counted = _Counted(sites[0].tensor, data)
        forms = [] if direct else _direct_forms(sites, counted)
        if not behind:
            forms += _behind_forms(counted)
        # read directly it is never unpacked in memory
        best = min(forms, key=lambda form: form.nbytes * (1.0 if form.direct else _UNPACKED), default=None)
        if best is None:
            return behind or "no axis is a multiple of a block"
        if best.nbytes >= data.nbytes:
            return f"its sparse form would take {best.nbytes:,} bytes"
        return best


def _reads_sparse(site: WeightSite) -> bool:
    """Whether FULLY_CONNECTED alone reads a matrix of a type that it has sparse kernels for."""
    names = {site.graph.names[s] for s in site.steps}
    alone = names <= {"DENSIFY"} and set(site.types) == {"FULLY_CONNECTED"} and len(site.tensor.shape) == 2
    found = site.tensor.quantization
    symmetric = found is None or not found.zero_point.any()
    return alone and symmetric and all(kinds in _DIRECT for kinds in _kinds(site))


def _dtype(tensor: Tensor) -> np.dtype[Any]:
    return np.dtype(element_type(tensor.type).storage)


class _Counted:
    """How much of a weight is to be stored, in blocks along its last axis."""

    def __init__(self, tensor: Tensor, data: Data) -> None:
        self.shape, self.itemsize = tensor.shape, _dtype(tensor).itemsize
        self.blocks = [b for b in _BLOCKS if self.shape[-1] % b == 0]
        self.counts = stored_counts(data, _dtype(tensor), self.shape, self.blocks)

    def nbytes(self, layout: SparseLayout) -> int:
        """Bytes of a form; single elements are as many along any axis."""
        return sparse_size(self.shape, self.itemsize, layout, self.counts[layout.block][0])


def _behind_forms(counted: _Counted) -> list[SparseForm]:
    last = len(counted.shape) - 1
    whole = math.prod(counted.shape) * counted.itemsize <= _WHOLE
    layouts = [SparseLayout(axis) for axis in (range(last, -1, -1) if whole else [last])]
    layouts += [SparseLayout(last, b) for b in counted.blocks if b > 1]
    return [SparseForm(layout, False, counted.nbytes(layout) + _TABLES + _DENSIFY) for layout in layouts]


def _direct_forms(sites: Sequence[WeightSite], counted: _Counted) -> list[SparseForm]:
    """The form that FULLY_CONNECTED's own sparse kernels take, where there is one for all readers."""
    blocks = {_DIRECT[kinds] for site in sites for kinds in _kinds(site)}
    layout = SparseLayout(1, max(blocks))
    if len(blocks) != 1 or layout.block not in counted.blocks:
        return []
    if any(kinds == ("INT8", "FLOAT32") for site in sites for kinds in _kinds(site)):
        longest = max(counted.counts[layout.block][1], 1)
        if layout.extent(counted.shape)[1] > _LEDGER + 1 or longest > _LEDGER:
            return []
    return [SparseForm(layout, True, counted.nbytes(layout) + _TABLES)]


def _kinds(site: WeightSite) -> list[tuple[str, str]]:
    """What each reader reads as its weight, and writes: element types."""
    graph = site.graph
    found = []
    for use in site.readers:
        operator = graph.operators[use.operator]
        read, made = int(operator.inputs[use.operand]), operator.outputs
        written = graph.tensor(int(made[0])).type if made is not None and made.size else ""
        found.append((graph.tensor(read).type, written))
    return found


def _why_not_behind(sites: Sequence[WeightSite]) -> str:
    for site in sites:
        if site.tensor.type not in _DENSIFIED:
            return f"LiteRT's DENSIFY takes no {site.tensor.type}"
        found = site.tensor.quantization
        if found is not None and found.zero_point.any():
            return "its zero point isn't 0, and DENSIFY fills with 0"
        other = next((site.graph.names[s] for s in site.steps if site.graph.names[s] not in _STEPS), "")
        if other:
            return f"{other} stands between it and its readers"
        for use, kinds in zip(site.readers, _kinds(site), strict=True):
            name = site.graph.names[use.operator]
            if name not in _BEHIND.get(kinds, ()):
                return f"LiteRT can't run {name} with {kinds[0]} weights behind DENSIFY and {kinds[1]} activations"
    return ""


#: What may stand between a constant and its readers.
_STEPS = ("DENSIFY", "DEQUANTIZE")

"""Carry out a plan for weights: `Model` and `Plan` to `Model`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import PerBlock, element_type
from quantlib.operators import row
from quantlib.recipes import BEHIND, KEEP, Decision, Graph, Plan, Use, constant_affine, stays_sparse, stored_identity
from quantlib.tflite import Draft, Model, Quantization, Table, Tensor, quantization_table, tensor_type_code

from .stored import Stored, stored_float16, stored_float32, stored_integer, stored_sparse_float16
from .versions import name_of, raise_version, update_runtime

#: What the converter writes for float16 weights with computation in float32.
#: tflite/converter/tools/optimize/reduced_precision_metadata.h
_PRECISION = ("reduced_precision_support", b"fp16accfp32")

_FLOATS: Mapping[str, Callable[[Tensor], Stored]] = MappingProxyType(
    {"FLOAT16": stored_float16, "FLOAT32": stored_float32}
)


def apply_weights(model: Model, plan: Plan) -> Model:
    """Quantize the constants that a plan names.

    Scales are computed here, which reads the weights once; the new bytes come into being when they are written.
    """
    _check_fit(model, plan)
    if not plan.quantized:
        return model
    shelf = _Shelf(plan, Draft(model))
    for g in range(len(model.subgraphs)):
        _GraphJob(shelf, Graph(model, g)).run([d for d in plan.quantized if d.subgraph == g])
    if plan.recipe.mode == "float16" and not any(e.name == _PRECISION[0] for e in shelf.draft.metadata):
        shelf.draft.set_metadata(*_PRECISION)
    update_runtime(shelf.draft)
    shelf.draft.share_empty_buffers()
    return shelf.draft.done()


@dataclass
class _Shelf:
    """The draft, and what has been stored in it so far: constants with one buffer keep one."""

    plan: Plan
    draft: Draft
    stored: dict[Any, tuple[Stored, int]] = field(default_factory=dict)

    def get(self, tensor: Tensor, origin: Tensor, decision: Decision) -> tuple[Stored, int]:
        """Data and buffer index of a constant in its new form."""
        key = (
            *stored_identity(origin),
            decision.trained,
            decision.type,
            decision.granularity,
            decision.symmetric,
            tensor.shape,
        )
        if key not in self.stored:
            if decision.type in _FLOATS:
                stored = _FLOATS[decision.type](origin)
            else:
                affine = decision.trained or constant_affine(
                    origin,
                    tensor.shape,
                    element_type(decision.type),
                    decision.granularity,
                    symmetric=decision.symmetric,
                    choose=str(self.plan.recipe.range or "minmax"),
                )
                stored = stored_integer(origin, tensor.shape, affine)
            self.stored[key] = stored, self.draft.add_buffer(stored.data)
        return self.stored[key]

    def sparse_halves(self, origin: Tensor) -> int:
        """Buffer index of a sparse constant's elements as float16."""
        key = (*stored_identity(origin), "sparse")
        if key not in self.stored:
            stored = stored_sparse_float16(origin)
            self.stored[key] = stored, self.draft.add_buffer(stored.data)
        return self.stored[key][1]


class _GraphJob:
    """The decisions of one subgraph.

    Operators keep their positions until everything is connected; then new ones come in and old ones go at once.
    """

    def __init__(self, shelf: _Shelf, source: Graph) -> None:
        self.shelf, self.source = shelf, source
        self.draft, self.graph = shelf.draft, shelf.draft.graphs[source.index]
        self.heads: list[Table] = []
        self.removed: set[int] = set()
        self.touched: set[int] = set()

    def run(self, decisions: list[Decision]) -> None:
        """Carry out the decisions."""
        for decision in decisions:
            self._constant(decision)
        for o in self.touched:
            self.graph.operators[o] = raise_version(self.draft, self.graph, self.graph.operators[o])
        self._remove_idle_makers()
        self.graph.rearrange(self.heads, self.removed)

    def _constant(self, decision: Decision) -> None:
        """Store one constant anew and connect its readers."""
        tensor, origin = self.source.tensor(decision.tensor), self.source.origin(decision.tensor)
        if origin is None:  # a plan that fits has looked at it
            raise InvalidValue(f"{tensor}: not a constant, and the plan takes it for one; plan this model")
        index = self._store(decision, tensor, origin)
        uses = [u for u in self.source.uses[decision.tensor] if (u.operator, u.operand) not in decision.plain]
        real = -1
        for use in uses:
            if decision.action == BEHIND or (use.operator, use.operand) in decision.dequantized:
                real = real if real >= 0 else self._dequantize(tensor, index)
                self._connect(use, real)
                if origin.table.sparsity is not None:  # its version says that the weights are sparse
                    self.touched.add(use.operator)
                continue
            self._connect(use, index)
            self.touched.add(use.operator)
            if decision.type not in _FLOATS:
                self._set_asymmetric(use.operator)

    def _store(self, decision: Decision, tensor: Tensor, origin: Tensor) -> int:
        """Put the constant in its new type where it was, or beside it where somebody needs the old one."""
        if decision.type == "FLOAT16" and stays_sparse(tensor, origin):
            return self._store_sparse(decision, tensor, origin)
        stored, buffer = self.shelf.get(tensor, origin, decision)
        table = tensor.table.replace(
            type=tensor_type_code(decision.type),
            buffer=buffer,
            quantization=self._quantization(tensor, stored, decision),
            sparsity=None,
        )
        if decision.plain:
            self.graph.tensors.append(table.replace(name=f"{tensor.name}_{decision.type.lower()}"))
            return len(self.graph.tensors) - 1
        self.graph.tensors[decision.tensor] = table
        maker = self.source.producers.get(decision.tensor)
        if maker is not None:
            self.removed.add(maker)
        return decision.tensor

    def _store_sparse(self, decision: Decision, tensor: Tensor, origin: Tensor) -> int:
        """Store halves in the place of a sparse constant's elements, and let a DENSIFY make a tensor of them."""
        table = origin.table.replace(type=tensor_type_code("FLOAT16"), buffer=self.shelf.sparse_halves(origin))
        self.graph.tensors.append(table)
        sparse, dense = len(self.graph.tensors) - 1, decision.tensor
        made = tensor.table.replace(type=tensor_type_code("FLOAT16"))
        if decision.plain:
            self.graph.tensors.append(made.replace(name=f"{tensor.name}_float16"))
            dense = sparse + 1
        else:
            self.graph.tensors[dense] = made
            self.removed.add(self.source.producers[dense])
        self.heads.append(self.draft.operator("DENSIFY", [sparse], [dense], Table("DensifyOptions")))
        return dense

    def _quantization(self, tensor: Tensor, stored: Stored, decision: Decision) -> Table | None:
        if stored.affine is None:
            return None
        if not isinstance(decision.granularity, PerBlock):
            return quantization_table(Quantization.of(stored.affine))
        scales = stored.affine.scale.reshape(*tensor.shape[:-1], -1).astype(np.float16)
        buffer = self.draft.add_buffer(scales)
        index = self.graph.add_tensor(f"{tensor.name}_scales", "FLOAT16", scales.shape, buffer=buffer)
        # zero_points -1 means none; quantized_dimension stays 0, since XNNPACK refuses any other.
        details = Table("BlockwiseQuantization", scales=index, zero_points=-1, block_size=decision.granularity.size)
        return Table("QuantizationParameters", details=details)

    def _dequantize(self, tensor: Tensor, index: int) -> int:
        """Add a DEQUANTIZE of a stored constant; return the float tensor that it makes."""
        keep = {k: getattr(tensor.table, k) for k in ("shape_signature", "has_rank")}
        # a short name, since there is one for each constant
        real = self.graph.add_tensor(f"f32/{index}", "FLOAT32", tensor.shape, **keep)
        self.heads.append(self._new("DEQUANTIZE", index, real))
        return real

    def _new(self, name: str, tensor: int, result: int) -> Table:
        """Make an operator from one tensor to another, in the version that their types ask for."""
        return raise_version(self.draft, self.graph, self.draft.operator(name, [tensor], [result]))

    def _connect(self, use: Use, tensor: int) -> None:
        operator = self.graph.operators[use.operator]
        inputs = operator.inputs.copy()
        inputs[use.operand] = tensor
        self.graph.operators[use.operator] = operator.replace(inputs=inputs)

    def _set_asymmetric(self, o: int) -> None:
        """Ask the hybrid kernel to quantize its inputs with a zero point, as the converter does."""
        operator = self.graph.operators[o]
        known = row(name_of(self.draft.codes[operator.opcode_index]))
        if known.asymmetric_inputs:
            options = (operator.builtin_options or Table(known.options)).replace(asymmetric_quantize_inputs=True)
            self.graph.operators[o] = operator.replace(builtin_options=options)

    def _remove_idle_makers(self) -> None:
        """Where a DEQUANTIZE goes, a DENSIFY before it goes too if nobody else reads what it makes."""
        waiting = list(self.removed)
        while waiting:
            for t in self.source.operators[waiting.pop()].inputs.tolist():
                maker = self.source.producers.get(t)
                readers = {u.operator for u in self.source.uses.get(t, ())}
                if (
                    maker is not None
                    and maker not in self.removed
                    and readers <= self.removed
                    and t not in self.source.ends
                ):
                    self.removed.add(maker)
                    waiting.append(maker)


def _check_fit(model: Model, plan: Plan) -> None:
    """Refuse a plan whose constants aren't in the model under the same names, as floats, with the same readers."""
    graphs = [Graph(model, g) for g in range(len(model.subgraphs))]
    for d in plan.decisions:
        graph = graphs[d.subgraph] if d.subgraph < len(graphs) else None
        if graph is None or d.tensor >= len(graph.table.tensors or ()) or not _same_constant(graph, d):
            raise InvalidValue(
                f"the plan doesn't fit this model: it has no float constant {d.name!r} ({d.subgraph}, {d.tensor}) "
                f"read by {', '.join(d.readers)}; make a plan from the model itself"
            )


def _same_constant(graph: Graph, decision: Decision) -> bool:
    readers = tuple(graph.names[u.operator] for u in graph.uses.get(decision.tensor, ()))
    origin = graph.origin(decision.tensor)
    floats = decision.action == KEEP or (origin is not None and origin.type in _FLOATS)
    return floats and (graph.tensor(decision.tensor).name, readers) == (decision.name, decision.readers)

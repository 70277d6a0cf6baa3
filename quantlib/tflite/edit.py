"""Editing: `Draft` gathers changes to a model and gives a new one; every index follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from quantlib.errors import InvalidValue

from .data import Data, Inline
from .model import Model
from .renumber import compact
from .schema import builtin_code, tensor_type_code, union_members
from .table import Table

if TYPE_CHECKING:
    from collections.abc import Container

    from .tensor import Quantization

#: Codes above this don't fit the old 8-bit field, which then holds this value.
#: tflite/converter/schema/schema_conversion_utils.cc (PLACEHOLDER_FOR_GREATER_OP_CODES)
_GREATER = 127


@dataclass
class GraphDraft:
    """The changing contents of one subgraph.

    Attributes
    ----------
    tensors : list of Table
    operators : list of Table
        In order of execution.
    origins : list of (int or None)
        For each operator its index in the model that the draft began with; None for a new one.
    inputs, outputs : list of int
        Tensor indices.
    """

    table: Table
    tensors: list[Table] = field(default_factory=list)
    operators: list[Table] = field(default_factory=list)
    origins: list[int | None] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, table: Table) -> GraphDraft:
        """Begin with a subgraph as it is."""
        operators = list(table.operators or ())
        return cls(
            table,
            list(table.tensors or ()),
            operators,
            list(range(len(operators))),
            [] if table.inputs is None else table.inputs.tolist(),
            [] if table.outputs is None else table.outputs.tolist(),
        )

    def add_tensor(self, name: str, type: str, shape: tuple[int, ...], **fields: Any) -> int:
        """Append a tensor and return its index."""
        self.tensors.append(Table("Tensor", name=name, type=tensor_type_code(type), shape=list(shape), **fields))
        return len(self.tensors) - 1

    def append(self, operator: Table) -> int:
        """Append a new operator and return its position."""
        self.operators.append(operator)
        self.origins.append(None)
        return len(self.operators) - 1

    def rearrange(self, heads: list[Table], removed: Container[int]) -> None:
        """Insert and remove operators all at once.

        Parameters
        ----------
        heads : list of Table
            New operators before all others.
        removed : container of int
            Positions of operators that go.
        """
        order: list[tuple[Table, int | None]] = [(o, None) for o in heads]
        for at, (operator, origin) in enumerate(zip(self.operators, self.origins, strict=True)):
            if at not in removed:
                order.append((operator, origin))
        self.operators, self.origins = [o for o, _ in order], [origin for _, origin in order]

    def done(self) -> Table:
        """Return the subgraph's table."""
        vectors = {k: getattr(self, k) for k in ("tensors", "operators", "inputs", "outputs")}
        # a vector that was absent stays so while it is empty
        return self.table.replace(**{k: v for k, v in vectors.items() if v or getattr(self.table, k) is not None})


class Draft:
    """Changes to a model.

    Buffers, tensors and operator codes that lose their last user are dropped in `done`, and all indices,
    signatures and control dependencies follow.

    Parameters
    ----------
    model : Model, optional
        What to begin with; an empty model otherwise.

    Examples
    --------
    >>> draft = Draft()
    >>> graph = draft.graphs[0]
    >>> x = graph.add_tensor("x", "FLOAT32", (1, 4))
    >>> y = graph.add_tensor("y", "FLOAT32", (1, 4))
    >>> graph.append(draft.operator("RELU", [x], [y]))
    0
    >>> graph.inputs, graph.outputs = [x], [y]
    >>> print(draft.done())
    Model: 1 operator, 1 subgraph, 0 constants, 0 bytes of constants
    """

    def __init__(self, model: Model | None = None) -> None:
        if model is None:
            empty = Table(
                "Model",
                version=3,
                subgraphs=[Table("SubGraph")],
                buffers=[Table("Buffer")],
                operator_codes=[],
            )
            model = Model(empty)
        self.model = model
        self.graphs = [GraphDraft.of(table) for table in model.subgraphs]
        self.buffers: list[Table] = list(model.buffers)
        self.codes: list[Table] = list(model.root.operator_codes or ())
        self.metadata: list[Table] = list(model.root.metadata or ())
        self.signatures: list[Table] = list(model.root.signature_defs or ())

    def add_buffer(self, data: Data | npt.NDArray[Any]) -> int:
        """Append a buffer and return its index."""
        if not self.buffers:
            self.buffers.append(Table("Buffer"))  # buffer 0 stands for "no data"
        self.buffers.append(Table("Buffer", data=data if isinstance(data, Data) else Inline(data)))
        return len(self.buffers) - 1

    def code(self, name: str, version: int = 1) -> int:
        """Index of the operator code of a builtin in a version; added where the model has none."""
        return self.coded(Table("OperatorCode", builtin_code=builtin_code(name)), version)

    def coded(self, like: Table, version: int) -> int:
        """Index of the operator code like another (builtin or custom), in a version."""
        number = max(like.builtin_code, like.deprecated_builtin_code)
        for i, code in enumerate(self.codes):
            same = (
                max(code.builtin_code, code.deprecated_builtin_code) == number
                and code.custom_code == like.custom_code
            )
            if same and code.version == version:
                return i
        self.codes.append(
            Table(
                "OperatorCode",
                builtin_code=number,
                deprecated_builtin_code=min(number, _GREATER),
                version=version,
                custom_code=like.custom_code,
            )
        )
        return len(self.codes) - 1

    def operator(
        self,
        name: str,
        inputs: list[int],
        outputs: list[int],
        options: Table | None = None,
        version: int = 1,
        **fields: Any,
    ) -> Table:
        """Make an operator of a builtin type."""
        second = options is not None and options.kind in union_members("BuiltinOptions2")
        fields["builtin_options_2" if second else "builtin_options"] = options
        index = self.code(name, version)
        return Table("Operator", opcode_index=index, inputs=inputs, outputs=outputs, **fields)

    def set_metadata(self, name: str, data: bytes) -> None:
        """Set a metadata entry's bytes; added where the model has none of that name."""
        for entry in self.metadata:
            if entry.name == name:
                # an entry's buffer is its own; where a file shares it, the others must not change
                at = self.metadata.index(entry)
                self.metadata[at] = entry.replace(buffer=self.add_buffer(Inline(data)))
                return
        self.metadata.append(Table("Metadata", name=name, buffer=self.add_buffer(Inline(data))))

    def share_empty_buffers(self) -> None:
        """Let tensors without data refer to buffer 0, instead of an empty buffer each as the converter has it."""
        if not self.buffers or self.buffers[0].data is not None:
            return
        empty = {i for i, b in enumerate(self.buffers) if b.data is None and not b.offset}
        for graph in self.graphs:
            graph.tensors = [t.replace(buffer=0) if t.buffer in empty and t.buffer else t for t in graph.tensors]

    def done(self) -> Model:
        """Return the changed model."""
        before = self.model.root
        root = before.replace(
            subgraphs=[graph.done() for graph in self.graphs],
            buffers=self.buffers or _absent(before.buffers),
            operator_codes=self.codes or _absent(before.operator_codes),
            metadata=self.metadata or _absent(before.metadata),
            signature_defs=self.signatures or _absent(before.signature_defs),
        )
        root = compact(root, before, [graph.origins for graph in self.graphs])
        return Model(root, self.model.trailing, self.model.source, self.model.source_root)


def _absent(before: tuple[Table, ...] | None) -> tuple[Table, ...] | None:
    """What an empty list is stored as: nothing, unless an empty vector stood there before."""
    return before if before == () else None


def quantization_table(quantization: Quantization | None, keep: Table | None = None) -> Table | None:
    """Make the ``QuantizationParameters`` table; an empty quantization gives None."""
    if quantization is None or not quantization.scale.size:
        return None
    if quantization.block_size:
        raise InvalidValue("blockwise scales stand in a tensor of their own; set them through a recipe")
    extra = {} if keep is None else {"min": keep.min, "max": keep.max}
    return Table(
        "QuantizationParameters",
        scale=quantization.scale,
        zero_point=quantization.zero_point,
        quantized_dimension=quantization.quantized_dimension,
        **extra,
    )

"""Editing: `Draft` gathers changes to a model and gives a new one; every index follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import element_type, pack

from .data import Data, Inline
from .model import Model
from .renumber import compact
from .schema import builtin_code, tensor_type_code, tensor_types
from .table import Table

if TYPE_CHECKING:
    from collections.abc import Container

    from .tensor import Quantization, Tensor

#: Codes above this don't fit the old 8-bit field, which then holds this value.
#: tflite/converter/schema/schema_conversion_utils.cc (PLACEHOLDER_FOR_GREATER_OP_CODES)
_GREATER = 127
_CUSTOM = 32


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
        return self.table.replace(
            tensors=self.tensors, operators=self.operators, inputs=self.inputs, outputs=self.outputs
        )


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
    Model: 1 operators, 1 subgraph, 0 constants, 0 bytes of weights
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
        second = {"builtin_options_2": options} if options is not None and options.kind.startswith("Stable") else {}
        first = {} if second else {"builtin_options": options}
        index = self.code(name, version)
        return Table("Operator", opcode_index=index, inputs=inputs, outputs=outputs, **first, **second, **fields)

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
            buffers=self.buffers,
            operator_codes=self.codes,
            metadata=self.metadata or before.metadata,
            signature_defs=self.signatures or before.signature_defs,
        )
        root = compact(root, before, [graph.origins for graph in self.graphs])
        return Model(root, self.model.trailing, self.model.source, self.model.source_root)


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


def replace_tensor(
    model: Model,
    tensor: Tensor,
    data: npt.NDArray[Any] | None,
    type: str | None,
    quantization: Quantization | None,
) -> Model:
    """Do what `Model.replace` promises."""
    table = tensor.table
    if data is not None:
        table = _with_data(tensor, table, data, type)
    elif type is not None:
        if tensor.is_constant and element_type(type).nbytes(1) != element_type(tensor.type).nbytes(1):
            raise InvalidValue(
                f"{tensor}: as {type} its {tensor.type} bytes would mean something else; give data too"
            )
        table = table.replace(type=tensor_type_code(element_type(type).name))
    if quantization is not None:
        _check_quantization(tensor, quantization)
        table = table.replace(quantization=quantization_table(quantization, table.quantization))
    draft = Draft(model)
    if data is not None:
        packed = pack(data, element_type(tensor_type(table))) if element_type(tensor_type(table)).bits < 8 else data
        table = table.replace(buffer=draft.add_buffer(np.asarray(packed)), sparsity=None)
    draft.graphs[tensor.subgraph].tensors[tensor.index] = table
    return draft.done()


def tensor_type(table: Table) -> str:
    """Element type name of a ``Tensor`` table."""
    code: int = table.type
    return tensor_types()[code]


def _with_data(tensor: Tensor, table: Table, data: npt.NDArray[Any], type: str | None) -> Table:
    if data.shape != tensor.shape:
        raise InvalidValue(
            f"{tensor}: data of shape {list(data.shape)} where {list(tensor.shape)} is required; reshape it"
        )
    if table.is_variable:
        raise InvalidValue(f"{tensor}: a variable can't hold constant data; set it when the model runs")
    if type is None:
        fits = tensor.dtype == data.dtype
        names = (
            [tensor.type]
            if fits
            else [
                n
                for n in (
                    "FLOAT32",
                    "FLOAT16",
                    "INT8",
                    "UINT8",
                    "INT16",
                    "INT32",
                    "INT64",
                    "BOOL",
                    "FLOAT64",
                    "UINT16",
                    "UINT32",
                    "UINT64",
                )
                if element_type(n).storage == data.dtype
            ]
        )
        if not names:
            raise InvalidValue(f"{tensor}: no TFLite type holds {data.dtype} values; cast the data or give type=")
        type = names[0]
    kind = element_type(type)
    if kind.storage != data.dtype:
        raise InvalidValue(
            f"{tensor}: {kind.name} takes {kind.storage} values, and the data is {data.dtype}; cast it"
        )
    return table.replace(type=tensor_type_code(kind.name))


def _check_quantization(tensor: Tensor, quantization: Quantization) -> None:
    count, axis = quantization.scale.size, quantization.quantized_dimension
    if quantization.zero_point.size != count:
        raise InvalidValue(
            f"{tensor}: {count} scales and {quantization.zero_point.size} zero points; as many are required"
        )
    if count > 1 and not (0 <= axis < len(tensor.shape) and tensor.shape[axis] == count):
        raise InvalidValue(f"{tensor}: {count} scales don't fit dimension {axis} of shape {list(tensor.shape)}")
    if count and not (np.isfinite(quantization.scale).all() and (quantization.scale > 0).all()):
        raise InvalidValue(f"{tensor}: a scale that isn't finite and positive; runtimes refuse it")

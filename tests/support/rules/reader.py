"""A file as PyPI's `tflite` reads it, in plain values; nothing here comes from the library that is under test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite
from flatbuffers.number_types import Int32Flags
from flatbuffers.table import Table

Array = npt.NDArray[Any]

BUILTINS: Mapping[int, str] = {code: name for name, code in vars(tflite.BuiltinOperator).items() if name.isupper()}
#: Types newer than `tflite` 2.18: tflite/converter/schema/schema.fbs (TensorType)
NEWER = {19: "INT2", 20: "UINT4", 21: "FLOAT8_E4M3FN", 22: "FLOAT8_E5M2"}
TYPES: Mapping[int, str] = {code: n for n, code in vars(tflite.TensorType).items() if n.isupper()} | NEWER
_BLOCKWISE = 2  # tflite/converter/schema/schema.fbs (QuantizationDetails)


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """One tensor; `scale` and `zero_point` are empty where it isn't quantized, `data` is None without any."""

    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    buffer: int
    scale: Array
    zero_point: Array
    axis: int
    data: Array | None
    size: int
    variable: bool
    sparse: bool
    scales_tensor: int | None

    @property
    def constant(self) -> bool:
        return self.size > 0 or 0 in self.shape

    @property
    def quantized(self) -> bool:
        return self.scale.size > 0 or self.scales_tensor is not None

    @property
    def parameters(self) -> tuple[str, tuple[float, ...], tuple[int, ...]]:
        """What tensors that must agree are compared by."""
        return self.type, tuple(self.scale.tolist()), tuple(self.zero_point.tolist())

    @property
    def step(self) -> float:
        """The scale of a tensor that has one."""
        return float(self.scale[0])


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """One operator; a custom one is named by its custom code."""

    index: int
    name: str
    code: int
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options: Any

    def option(self, accessor: str, default: Any = 0) -> Any:
        """Read an option; `default` is the schema's, for an operator that stores no options."""
        return default if self.options is None else getattr(self.options, accessor)()


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """One subgraph."""

    index: int
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    readers: Mapping[int, list[tuple[Operator, int]]] = field(default_factory=dict)

    def operand(self, operator: Operator, at: int) -> Tensor | None:
        """Input of an operator by position; None where it is left out."""
        if at >= len(operator.inputs) or operator.inputs[at] < 0:
            return None
        return self.tensors[operator.inputs[at]]

    def results(self, operator: Operator) -> list[Tensor]:
        return [self.tensors[i] for i in operator.outputs if i >= 0]


@dataclass(frozen=True, slots=True)
class Code:
    """One operator code as it is stored."""

    name: str
    stored: int
    deprecated: int
    version: int

    @property
    def builtin(self) -> bool:
        return tflite.BuiltinOperator.CUSTOM not in (self.stored, self.deprecated)


@dataclass(frozen=True, slots=True)
class Ends:
    """One signature."""

    key: str
    subgraph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class File:
    """A whole file."""

    graphs: tuple[Graph, ...]
    codes: tuple[Code, ...]
    signatures: tuple[Ends, ...]
    buffer_sizes: tuple[int, ...]
    metadata_buffers: frozenset[int]


def read(raw: bytes) -> File:
    """Read a file's bytes."""
    model = tflite.Model.GetRootAsModel(raw, 0)
    codes = tuple(_code(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength()))
    graphs = [_graph(raw, model, i, codes) for i in range(model.SubgraphsLength())]
    metadata = {model.Metadata(i).Buffer() for i in range(model.MetadataLength())}
    metadata |= {model.MetadataBuffer(i) for i in range(model.MetadataBufferLength())}
    sizes = tuple(_data(raw, model, i)[1] for i in range(model.BuffersLength()))
    signatures = tuple(_signature(model.SignatureDefs(i)) for i in range(model.SignatureDefsLength()))
    return File(tuple(graphs), codes, signatures, sizes, frozenset(metadata))


def _code(code: Any) -> Code:
    # not code.BuiltinCode(): below 127 that gives the deprecated field
    slot = code._tab.Offset(10)
    stored = code._tab.Get(Int32Flags, slot + code._tab.Pos) if slot else 0
    number = max(stored, code.DeprecatedBuiltinCode())
    name = _text(code.CustomCode()) if number == tflite.BuiltinOperator.CUSTOM else BUILTINS.get(number, str(number))
    return Code(name or "CUSTOM", stored, code.DeprecatedBuiltinCode(), code.Version())


def _signature(table: Any) -> Ends:
    def ends(count: int, item: Any) -> tuple[tuple[str, int], ...]:
        return tuple((_text(item(i).Name()), item(i).TensorIndex()) for i in range(count))

    inputs, outputs = ends(table.InputsLength(), table.Inputs), ends(table.OutputsLength(), table.Outputs)
    return Ends(_text(table.SignatureKey()), table.SubgraphIndex(), inputs, outputs)


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def _ints(table: Any, name: str) -> tuple[int, ...]:
    item = getattr(table, name)
    return tuple(int(item(i)) for i in range(getattr(table, f"{name}Length")()))


def _graph(raw: bytes, model: Any, index: int, codes: tuple[Code, ...]) -> Graph:
    table = model.Subgraphs(index)
    tensors = tuple(_tensor(raw, model, table.Tensors(i), i) for i in range(table.TensorsLength()))
    operators = tuple(_operator(table.Operators(i), i, codes) for i in range(table.OperatorsLength()))
    readers: dict[int, list[tuple[Operator, int]]] = defaultdict(list)
    for operator in operators:
        for at, tensor in enumerate(operator.inputs):
            readers[tensor].append((operator, at))
    return Graph(index, tensors, operators, _ints(table, "Inputs"), _ints(table, "Outputs"), readers)


def _operator(table: Any, index: int, codes: tuple[Code, ...]) -> Operator:
    code = codes[table.OpcodeIndex()]
    return Operator(
        index,
        code.name,
        table.OpcodeIndex(),
        code.version,
        _ints(table, "Inputs"),
        _ints(table, "Outputs"),
        _ints(table, "Intermediates"),
        _options(table),
    )


def _options(table: Any) -> Any:
    """Options of an operator through their own class, or None."""
    for union, kind, names in (
        (table.BuiltinOptions(), table.BuiltinOptionsType(), tflite.BuiltinOptions),
        (table.BuiltinOptions2(), table.BuiltinOptions2Type(), tflite.BuiltinOptions2),
    ):
        name = next((n for n, code in vars(names).items() if code == kind and code and n[0] != "_"), None)
        if union is not None and name is not None:
            options = getattr(tflite, name)()
            options.Init(union.Bytes, union.Pos)
            return options
    return None


def _tensor(raw: bytes, model: Any, table: Any, index: int) -> Tensor:
    parameters = table.Quantization()
    data, size = _data(raw, model, table.Buffer())
    scale = zero_point = np.zeros(0)
    axis, scales_tensor = 0, None
    if parameters is not None:
        scale = parameters.ScaleAsNumpy() if parameters.ScaleLength() else scale
        zero_point = parameters.ZeroPointAsNumpy() if parameters.ZeroPointLength() else zero_point.astype(np.int64)
        axis = parameters.QuantizedDimension()
        if parameters.DetailsType() == _BLOCKWISE:
            scales_tensor = _first_int(parameters.Details())
    return Tensor(
        index,
        _text(table.Name()),
        TYPES.get(table.Type(), str(table.Type())),
        _ints(table, "Shape"),
        table.Buffer(),
        scale,
        zero_point,
        axis,
        data,
        size,
        table.IsVariable(),
        table.Sparsity() is not None,
        scales_tensor,
    )


def _first_int(table: Table) -> int:
    """First field of a table whose class `tflite` 2.18 doesn't have: BlockwiseQuantization.scales."""
    slot = table.Offset(4)
    return int(table.Get(Int32Flags, slot + table.Pos)) if slot else 0


def _data(raw: bytes, model: Any, index: int) -> tuple[Array | None, int]:
    """Bytes of a buffer, inside the FlatBuffer or behind it, and how many there are."""
    if not 0 <= index < model.BuffersLength():
        return None, 0
    buffer = model.Buffers(index)
    if buffer.DataLength():
        return buffer.DataAsNumpy(), buffer.DataLength()
    if buffer.Offset() > 1:
        return np.frombuffer(raw, np.uint8, buffer.Size(), buffer.Offset()), buffer.Size()
    return None, 0


def each(file: File) -> Iterator[tuple[Graph, Operator]]:
    """All operators, with their subgraph."""
    for graph in file.graphs:
        for operator in graph.operators:
            yield graph, operator

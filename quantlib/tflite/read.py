"""Read a `.tflite` file: decode, resolve data outside the FlatBuffer, check every index."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from quantlib.errors import InvalidModel, InvalidValue

from .data import Data, Slice
from .decode import Decoder
from .schema import builtin_operators, tensor_types
from .source import Source

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from .model import Model
    from .table import Table

_IDENTIFIER = b"TFL3"
_PIECE = 1 << 16


def read(file: str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO) -> Model:
    """Read a model.

    Parameters
    ----------
    file : path, bytes or binary file object
        A path is memory-mapped, and weights are read when they are needed; a file object is read to its end.

    Returns
    -------
    Model

    Raises
    ------
    NotFound
        If there is no such file.
    InvalidModel
        If the bytes are not a well-formed `.tflite` file.
    InvalidValue
        If `file` is something else.
    UnsupportedSchema
        If a field is set that this version's schema doesn't know.

    Examples
    --------
    >>> import quantlib as ql
    >>> ql.read(b"no model")
    Traceback (most recent call last):
    ...
    quantlib.errors.InvalidModel: bytes: 8 bytes that don't carry the identifier TFL3; a .tflite file is required
    """
    from .model import Model

    if isinstance(file, (bytes, bytearray, memoryview)):
        source, name = Source(bytes(file)), "bytes"
    elif hasattr(file, "read"):
        source, name = Source(_content(file)), str(getattr(file, "name", "file object"))
    elif isinstance(file, (str, os.PathLike)):
        source, name = Source.open(file), os.fspath(file)
    else:
        raise InvalidValue(f"a {type(file).__name__} can't be read; give a path, bytes or a binary file object")
    try:
        root, end = _decode(source)
    except InvalidModel as error:
        raise type(error)(f"{name}: {error}") from None
    return Model(root=root, trailing=_trailing(source, end), source=source, source_root=root)


def _content(file: Any) -> bytes:
    content = file.read()
    if not isinstance(content, bytes):
        kind = type(content).__name__
        raise InvalidValue(f"a file object that gives {kind}, and bytes are required; open the file with mode 'rb'")
    return content


def _trailing(source: Source, end: int) -> Data:
    """What follows the FlatBuffer, without the zeros that writers put there as padding."""
    for start in range(end, source.size, _PIECE):
        filled = np.flatnonzero(source.bytes(start, min(start + _PIECE, source.size)))
        if filled.size:
            start += int(filled[0])
            return Slice(source, start, source.size - start)
    return Slice(source, source.size, 0)


def _decode(source: Source) -> tuple[Table, int]:
    decoder = Decoder(source)
    if source.size < 8 or bytes(source.bytes(4, 8)) != _IDENTIFIER:
        raise InvalidModel(f"{source.size:,} bytes that don't carry the identifier TFL3; a .tflite file is required")
    root = decoder.table("Model", decoder.number(0, "Model"))
    root = _resolve(root, decoder)
    _check(root)
    return root, decoder.end


def _inside(decoder: Decoder, where: str, offset: int, size: int) -> None:
    """Check that bytes which are given by their place in the file are there."""
    if offset + size > decoder.size:
        raise InvalidModel(
            f"{where}: {size:,} bytes at {offset:,} reach beyond the file's {decoder.size:,}; the file is cut short"
        )


def _resolve(root: Table, decoder: Decoder) -> Table:
    """Turn data that is given by offset and size in the file into data like any other."""
    changes: dict[str, Any] = {}
    buffers = root.buffers or ()
    if any(b.offset > 1 for b in buffers):
        changes["buffers"] = [_resolved_buffer(b, decoder, f"Model.buffers[{i}]") for i, b in enumerate(buffers)]
    graphs = root.subgraphs or ()
    if any(o.large_custom_options_offset > 1 for g in graphs for o in g.operators or ()):
        changes["subgraphs"] = [
            graph.replace(
                operators=[
                    _resolved_operator(o, decoder, f"Model.subgraphs[{g}].operators[{i}]")
                    for i, o in enumerate(graph.operators)
                ]
            )
            if graph.operators
            else graph
            for g, graph in enumerate(graphs)
        ]
    return root.replace(**changes) if changes else root


def _resolved_buffer(buffer: Table, decoder: Decoder, where: str) -> Table:
    if buffer.data is not None or buffer.offset <= 1:
        return buffer
    _inside(decoder, where, buffer.offset, buffer.size)
    return buffer.replace(data=decoder.slice(buffer.offset, buffer.size, where), offset=None, size=None)


def _resolved_operator(operator: Table, decoder: Decoder, where: str) -> Table:
    offset, size = operator.large_custom_options_offset, operator.large_custom_options_size
    if offset <= 1:
        return operator
    _inside(decoder, where, offset, size)
    options = decoder.copy(offset, size, "uint8", where)
    return operator.replace(custom_options=options, large_custom_options_offset=None, large_custom_options_size=None)


def _check(root: Table) -> None:
    """Check that every index leads somewhere and every code has a meaning."""
    if root.version != 3:
        raise InvalidModel(f"Model.version is {root.version}, and 3 is required; the file has another format")
    if not root.subgraphs:
        raise InvalidModel("the model has no subgraph; there is nothing to run in it")
    buffers, codes = len(root.buffers or ()), len(root.operator_codes or ())
    for i, code in enumerate(root.operator_codes or ()):
        number = max(code.builtin_code, code.deprecated_builtin_code)
        if not 0 <= number < len(builtin_operators()):
            raise InvalidModel(f"Model.operator_codes[{i}]: there is no builtin operator {number}")
    for g, subgraph in enumerate(root.subgraphs):
        _check_subgraph(subgraph, f"Model.subgraphs[{g}]", buffers, codes)
    for i, number in enumerate([] if root.metadata_buffer is None else root.metadata_buffer.tolist()):
        _index(number, buffers, f"Model.metadata_buffer[{i}]", "buffers")
    for i, entry in enumerate(root.metadata or ()):
        _index(entry.buffer, buffers, f"Model.metadata[{i}].buffer", "buffers")
    for i, signature in enumerate(root.signature_defs or ()):
        where = f"Model.signature_defs[{i}]"
        _index(signature.subgraph_index, len(root.subgraphs), f"{where}.subgraph_index", "subgraphs")
        tensors = len(root.subgraphs[signature.subgraph_index].tensors or ())
        for entry in (*(signature.inputs or ()), *(signature.outputs or ())):
            _index(entry.tensor_index, tensors, f"{where}.tensor_index", "tensors")


def _check_subgraph(subgraph: Table, where: str, buffers: int, codes: int) -> None:
    tensors = subgraph.tensors or ()
    for i, tensor in enumerate(tensors):
        _check_details(tensor, len(tensors), f"{where}.tensors[{i}]")
        _index(tensor.buffer, max(buffers, 1), f"{where}.tensors[{i}].buffer", "buffers")
        _index(tensor.type, len(tensor_types()), f"{where}.tensors[{i}].type", "tensor types")
        if tensor.shape is not None and (tensor.shape < 0).any():
            raise InvalidModel(f"{where}.tensors[{i}].shape is {tensor.shape.tolist()}; no dimension may be negative")
    count = len(tensors)
    _indices(subgraph.inputs, count, f"{where}.inputs")
    _indices(subgraph.outputs, count, f"{where}.outputs")
    for i, operator in enumerate(subgraph.operators or ()):
        at = f"{where}.operators[{i}]"
        _index(operator.opcode_index, codes, f"{at}.opcode_index", "operator codes")
        _indices(operator.inputs, count, f"{at}.inputs", least=-1)
        _indices(operator.outputs, count, f"{at}.outputs", least=-1)
        _indices(operator.intermediates, count, f"{at}.intermediates", least=-1)


def _check_details(tensor: Table, count: int, where: str) -> None:
    """Check that scales and zero points that stand in tensors of their own are there."""
    details = tensor.quantization.details if tensor.quantization is not None else None
    if details is None or details.kind == "CustomQuantization":
        return
    _index(details.scales, count, f"{where}.quantization.details.scales", "tensors")
    if details.zero_points != -1:
        _index(details.zero_points, count, f"{where}.quantization.details.zero_points", "tensors")


def _index(value: int, count: int, where: str, what: str) -> None:
    if not 0 <= value < count:
        raise InvalidModel(f"{where} is {value}, and there are {count} {what}; the file is damaged")


def _indices(values: Any, count: int, where: str, least: int = 0) -> None:
    if values is not None and values.size:
        wrong: Iterable[int] = np.flatnonzero((values < least) | (values >= count))
        for i in wrong:
            _index(int(values[i]), count, f"{where}[{i}]", "tensors")

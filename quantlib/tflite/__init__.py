"""The file: schema, reader, `Model`, editing, layout, streaming writer. The only room that knows FlatBuffers."""

from __future__ import annotations

from .data import Data, Deferred, Inline, Slice
from .edit import Draft, GraphDraft, quantization_table
from .flexbuffer import decode_flexbuffer
from .layout import INLINE_LIMIT, FileLayout, plan_layout
from .metadata import ENTRY as METADATA
from .metadata import with_statistics as metadata_with_statistics
from .model import Model, Reference
from .read import read
from .schema import builtin_operators, enum_names, table_names, tensor_type_code, tensor_types
from .source import Source
from .sparsity_encode import SparseLayout, sparse_size, sparsify
from .table import Table
from .tensor import Quantization, Tensor

__all__ = [
    "INLINE_LIMIT",
    "METADATA",
    "Data",
    "Deferred",
    "Draft",
    "FileLayout",
    "GraphDraft",
    "Inline",
    "Model",
    "Quantization",
    "Reference",
    "Slice",
    "Source",
    "SparseLayout",
    "Table",
    "Tensor",
    "builtin_operators",
    "decode_flexbuffer",
    "enum_names",
    "metadata_with_statistics",
    "plan_layout",
    "quantization_table",
    "read",
    "sparse_size",
    "sparsify",
    "table_names",
    "tensor_type_code",
    "tensor_types",
]

"""The file: schema, reader, `Model`, editing, layout, streaming writer. The only room that knows FlatBuffers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantlib.doors import late

from .data import Data, Deferred, Inline, Slice
from .edit import Draft, GraphDraft, quantization_table
from .flexbuffer import decode_flexbuffer
from .layout import INLINE_LIMIT, FileLayout, plan_layout
from .metadata import ENTRY as METADATA
from .metadata import with_statistics as metadata_with_statistics
from .model import Model, Reference, require_models
from .read import read
from .schema import builtin_operators, enum_names, table_names, tensor_type_code, tensor_types
from .source import Source
from .sparsity import densify
from .table import Table
from .tensor import Quantization, Tensor, values_of
from .writer import file_pieces

if TYPE_CHECKING:
    from .sparsity_encode import SparseLayout, sparse_size, sparsify, sparsify_data, stored_counts
    from .unused import Unused, called_subgraphs, without_unused

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
    "Unused",
    "builtin_operators",
    "densify",
    "called_subgraphs",
    "decode_flexbuffer",
    "enum_names",
    "file_pieces",
    "metadata_with_statistics",
    "plan_layout",
    "quantization_table",
    "read",
    "require_models",
    "sparse_size",
    "sparsify",
    "sparsify_data",
    "stored_counts",
    "table_names",
    "tensor_type_code",
    "tensor_types",
    "values_of",
    "without_unused",
]

#: What edits of finished models need, and quantizing doesn't.
__getattr__ = late(
    __name__,
    {
        "sparsity_encode": ("SparseLayout", "sparse_size", "sparsify", "sparsify_data", "stored_counts"),
        "unused": ("Unused", "called_subgraphs", "without_unused"),
    },
)

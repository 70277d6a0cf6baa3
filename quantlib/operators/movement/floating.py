"""Kernels that move data; they serve all element types whose values they only move."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..kernel import Kernel
from . import _index, _join, _scatter, _shape, _slice, _space
from ._index import bucketize, embedding_lookup, gather, gather_nd, top_k, unique, where
from ._join import (
    concatenate,
    fill,
    matrix_diag,
    matrix_set_diag,
    one_hot,
    pack,
    split,
    split_sizes,
    tile,
    unpack,
    value_range,
)
from ._scatter import scatter_nd, segment_sum, sparse_to_dense, unsorted_segment
from ._shape import bitcast, broadcast_args, broadcast_to, expand_dims, reshape, squeeze, transpose
from ._slice import dynamic_update_slice, reverse, reverse_sequence, slice_sizes, strided_slice
from ._space import batch_to_space, depth_to_space, mirror_pad, pad, space_to_batch, space_to_depth

__all__ = [
    "KERNELS",
    "batch_to_space",
    "bitcast",
    "broadcast_args",
    "broadcast_to",
    "bucketize",
    "concatenate",
    "depth_to_space",
    "dynamic_update_slice",
    "embedding_lookup",
    "expand_dims",
    "fill",
    "gather",
    "gather_nd",
    "matrix_diag",
    "matrix_set_diag",
    "mirror_pad",
    "one_hot",
    "pack",
    "pad",
    "reshape",
    "reverse",
    "reverse_sequence",
    "scatter_nd",
    "segment_sum",
    "slice_sizes",
    "space_to_batch",
    "space_to_depth",
    "sparse_to_dense",
    "split",
    "split_sizes",
    "squeeze",
    "strided_slice",
    "tile",
    "top_k",
    "transpose",
    "unique",
    "unpack",
    "unsorted_segment",
    "value_range",
    "where",
]

KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        name: kernel
        for part in (_index, _join, _scatter, _shape, _slice, _space)
        for name, kernel in part.KERNELS.items()
    }
)

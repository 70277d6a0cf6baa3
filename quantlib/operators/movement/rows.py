"""Operators that move data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..row import SAME, Integer, OperatorRow, Weight

_BYTES = ("INT8", "UINT8")
_MOVED = Integer(SAME)
_MOVED_BYTES = Integer(SAME, _BYTES)
_ALL = Integer(SAME, data=None)
_ZEROS = "its integer kernel fills with the integer 0, not with the zero point"

#: What the integer kernels take, of those that have any.
_INTEGER: Mapping[str, Integer] = MappingProxyType(
    {
        **dict.fromkeys(
            ("BATCH_TO_SPACE_ND", "BROADCAST_TO", "EXPAND_DIMS", "GATHER_ND", "MIRROR_PAD", "PAD"), _MOVED
        ),
        **dict.fromkeys(("RESHAPE", "REVERSE_V2", "SLICE", "SPACE_TO_BATCH_ND", "SPLIT_V", "SQUEEZE"), _MOVED),
        **dict.fromkeys(("STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK"), _MOVED),
        **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), _MOVED_BYTES),
        **dict.fromkeys(("CONCATENATION", "PACK"), _ALL),
        "DYNAMIC_UPDATE_SLICE": Integer(SAME, data=(0, 1)),
        "PADV2": Integer(SAME, data=(0, 2)),
        "SPLIT": Integer(SAME, data=(1,)),
        "TOPK_V2": Integer(SAME, _BYTES, outputs=(0,)),
    }
)
_REFUSED: Mapping[str, str] = MappingProxyType({"MATRIX_DIAG": _ZEROS, "SCATTER_ND": _ZEROS})

#: Operators of which no more is known than their options.
_PLAIN = (
    ("BATCH_TO_SPACE_ND", "BatchToSpaceNDOptions"),
    ("BITCAST", "BitcastOptions"),
    ("BROADCAST_ARGS", ""),
    ("BROADCAST_TO", "BroadcastToOptions"),
    ("BUCKETIZE", "BucketizeOptions"),
    ("CONCATENATION", "ConcatenationOptions"),
    ("DEPTH_TO_SPACE", "DepthToSpaceOptions"),
    ("DYNAMIC_UPDATE_SLICE", "DynamicUpdateSliceOptions"),
    ("EXPAND_DIMS", "ExpandDimsOptions"),
    ("FILL", "FillOptions"),
    ("GATHER_ND", "GatherNdOptions"),
    ("MATRIX_DIAG", "MatrixDiagOptions"),
    ("MATRIX_SET_DIAG", "MatrixSetDiagOptions"),
    ("MIRROR_PAD", "MirrorPadOptions"),
    ("ONE_HOT", "OneHotOptions"),
    ("PACK", "PackOptions"),
    ("PAD", "PadOptions"),
    ("PADV2", "PadV2Options"),
    ("RANK", "RankOptions"),
    ("RESHAPE", "ReshapeOptions"),
    ("REVERSE_SEQUENCE", "ReverseSequenceOptions"),
    ("REVERSE_V2", "ReverseV2Options"),
    ("SCATTER_ND", "ScatterNdOptions"),
    ("SEGMENT_SUM", "SegmentSumOptions"),
    ("SHAPE", "ShapeOptions"),
    ("SLICE", "SliceOptions"),
    ("SPACE_TO_BATCH_ND", "SpaceToBatchNDOptions"),
    ("SPACE_TO_DEPTH", "SpaceToDepthOptions"),
    ("SPARSE_TO_DENSE", "SparseToDenseOptions"),
    ("SPLIT", "SplitOptions"),
    ("SPLIT_V", "SplitVOptions"),
    ("SQUEEZE", "SqueezeOptions"),
    ("STRIDED_SLICE", "StridedSliceOptions"),
    ("TILE", "TileOptions"),
    ("TOPK_V2", "TopKV2Options"),
    ("TRANSPOSE", "TransposeOptions"),
    ("UNIQUE", "UniqueOptions"),
    ("UNPACK", "UnpackOptions"),
    ("UNSORTED_SEGMENT_MAX", "UnsortedSegmentMaxOptions"),
    ("UNSORTED_SEGMENT_MIN", "UnsortedSegmentMinOptions"),
    ("UNSORTED_SEGMENT_PROD", "UnsortedSegmentProdOptions"),
    ("UNSORTED_SEGMENT_SUM", "UnsortedSegmentSumOptions"),
    ("WHERE", "WhereOptions"),
)

ROWS = (
    OperatorRow("GATHER", "GatherOptions", (Weight(0, 0, table=True),), integer=Integer(SAME, table=0)),
    OperatorRow("EMBEDDING_LOOKUP", "", (Weight(1, 0, ("INT8", "INT4")),)),
    OperatorRow("RANGE", "RangeOptions", shapes=(0, 1, 2)),
    *(
        OperatorRow(name, options, integer=_INTEGER.get(name), refused=_REFUSED.get(name, ""))
        for name, options in _PLAIN
    ),
)

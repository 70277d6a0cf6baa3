"""Operators that move data."""

from __future__ import annotations

from ..row import OperatorRow, Weight

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
    OperatorRow("GATHER", "GatherOptions", (Weight(0, 0, table=True),)),
    OperatorRow("EMBEDDING_LOOKUP", "", (Weight(1, 0, ("INT8", "INT4")),)),
    OperatorRow("RANGE", "RangeOptions", shapes=(0, 1, 2)),
    *(OperatorRow(name, options) for name, options in _PLAIN),
)

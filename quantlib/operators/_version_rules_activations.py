"""Version rules of the operators without weights, as `_version_rules` has them of the others.

Facts from `tflite/converter/tools/versioning/op_version.cc` of LiteRT at commit f67457790c.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ._version_conditions import (
    FLOAT8,
    Rules,
    any_of,
    broadcast_above_rank_4,
    input_is,
    int16_through,
    negated,
    option,
    output_is,
    quantized,
    rank_above,
    rank_is,
    rescale_at_least_1,
    when,
)

INT8_ONLY: Rules = (when(2, input_is("int8")),)
INT8_INT16: Rules = (when(3, input_is("int16")), when(2, input_is("int8")))
INT8_INT16_THROUGH: Rules = (when(3, int16_through), when(2, input_is("int8")))

ARITHMETIC: Mapping[str, Rules] = MappingProxyType(
    {
        "ADD": (
            when(6, input_is("float16")),
            when(5, input_is("int16"), negated(quantized)),
            when(4, input_is("int64")),
            when(3, int16_through, negated(option("pot_scale_int16"))),
            when(2, input_is("int8")),
        ),
        "SUB": (
            when(5, int16_through, negated(option("pot_scale_int16"))),
            when(4, input_is("int64")),
            when(3, broadcast_above_rank_4),
            when(2, input_is("int8")),
        ),
        "MUL": (
            when(8, input_is("float16")),
            when(7, input_is("int16"), negated(quantized)),
            when(7, input_is("uint32")),
            when(6, input_is("complex64")),
            when(5, input_is("int64")),
            when(4, input_is("int16")),
            when(3, rescale_at_least_1),
            when(2, input_is("int8")),
        ),
        "DIV": (when(2, broadcast_above_rank_4),),
        "FLOOR_DIV": (when(3, input_is("int16", "int8")), when(2, input_is("float32"))),
        "FLOOR_MOD": (when(2, input_is("int16", "int8")),),
        **dict.fromkeys(
            ("MAXIMUM", "MINIMUM"),
            (when(4, int16_through), when(3, broadcast_above_rank_4), when(2, input_is("int8"))),
        ),
        **dict.fromkeys(("LESS", "GREATER_EQUAL"), INT8_INT16),
        "EQUAL": (when(5, input_is("int16")), when(3, input_is("string")), when(2, input_is("int8"))),
        "NOT_EQUAL": (when(4, input_is("int16")), when(3, input_is("string")), when(2, input_is("int8"))),
        **dict.fromkeys(("GREATER", "LESS_EQUAL", "SQUARED_DIFFERENCE"), INT8_ONLY),
    }
)

ONE_INPUT: Mapping[str, Rules] = MappingProxyType(
    {
        "ABS": (
            when(5, input_is("int32")),
            when(3, input_is("int16"), quantized),
            when(4, input_is("int16")),
            when(2, input_is("int8", "uint8")),
        ),
        "RELU": (when(3, input_is("int16")), when(2, input_is("int8", "uint8"))),
        "GELU": (when(3, input_is("float16")), when(2, input_is("int8", "uint8"))),
        "LEAKY_RELU": (when(2, input_is("int16")),),
        "L2_NORMALIZATION": (when(2, output_is("int8")),),
        "SOFTMAX": (when(4, input_is("float16")), *INT8_INT16),
        "SIGN": (when(2, input_is("int32")),),
        "WHERE": (when(2, negated(input_is("bool"))),),
        "RANGE": (when(2, input_is("int64")),),
        **dict.fromkeys(("COS", "SIN"), (when(2, input_is("float16")),)),
        **dict.fromkeys(("AVERAGE_POOL_2D", "LOGISTIC", "MAX_POOL_2D", "TANH"), INT8_INT16_THROUGH),
        **dict.fromkeys(("MEAN", "REDUCE_MAX", "REDUCE_MIN", "RELU6", "RSQRT"), INT8_INT16),
        **dict.fromkeys(("EXP", "LOG", "REDUCE_PROD", "SQRT"), (when(2, input_is("int8", "int16")),)),
        **dict.fromkeys(("LOG_SOFTMAX", "SUM"), INT8_ONLY),
        **dict.fromkeys(("ARG_MAX", "ARG_MIN"), (when(3, input_is("bool")), when(2, input_is("int8")))),
        "TOPK_V2": (
            when(3, any_of(input_is("int16"), input_is("int16", at=1), output_is("int16", at=1))),
            when(2, input_is("int8")),
        ),
    }
)

MOVEMENT: Mapping[str, Rules] = MappingProxyType(
    {
        "CONCATENATION": (
            when(7, input_is(*FLOAT8)),
            when(6, input_is("float16")),
            when(5, input_is("int4")),
            when(4, input_is("uint32")),
            *INT8_INT16,
        ),
        "PACK": (when(5, input_is(*FLOAT8)), *INT8_INT16_THROUGH, when(4, input_is("uint32"))),
        "UNPACK": (
            when(6, input_is(*FLOAT8)),
            when(2, input_is("int8", "uint8")),
            when(3, input_is("bool")),
            when(4, int16_through),
            when(5, input_is("float16", "bfloat16")),
        ),
        **dict.fromkeys(
            ("PAD", "PADV2"),
            (when(6, input_is(*FLOAT8)), when(5, input_is("bool")), when(4, rank_above(4)), *INT8_INT16),
        ),
        "MIRROR_PAD": INT8_INT16,
        "SLICE": (
            when(8, input_is("float16")),
            when(7, input_is("int4")),
            when(6, input_is("uint32")),
            when(5, rank_above(4)),
            when(4, input_is("int16")),
            when(3, input_is("string")),
            when(2, input_is("int8")),
        ),
        "STRIDED_SLICE": (
            when(8, option("offset")),
            when(7, input_is("uint32")),
            when(6, any_of(option("ellipsis_mask"), option("new_axis_mask"))),
            when(5, input_is("string")),
            when(4, rank_above(4)),
            when(3, input_is("bool")),
            when(2, input_is("int8")),
        ),
        "TRANSPOSE": (
            when(9, input_is("float16")),
            when(8, any_of(rank_above(6), input_is("bfloat16"))),
            when(7, input_is("int4")),
            when(6, rank_above(5)),
            when(5, input_is("int16")),
            when(4, rank_above(4)),
            when(3, input_is("bool")),
            when(2, input_is("int8")),
        ),
        "GATHER": (
            when(8, input_is(*FLOAT8)),
            when(7, input_is("int4")),
            when(6, input_is("int16", at=1)),
            when(5, option("batch_dims")),
            when(4, input_is("int16")),
            when(3, input_is("bool")),
            when(2, input_is("int8")),
        ),
        "GATHER_ND": (
            when(6, input_is(*FLOAT8)),
            when(5, input_is("bool")),
            when(4, input_is("int16", at=1)),
            when(3, input_is("int16")),
            when(2, input_is("string")),
        ),
        "SPLIT": (  # input 0 is the axis
            when(5, input_is(*FLOAT8, at=1)),
            when(4, input_is("int16", at=1)),
            when(3, input_is("int32", at=1)),
            when(2, input_is("int8", at=1)),
        ),
        "SPLIT_V": (when(3, input_is(*FLOAT8)), when(2, input_is("int8"))),
        "TILE": (when(3, input_is("int8")), when(2, input_is("string"))),
        "SQUEEZE": (when(2, input_is("string")),),
        "REVERSE_V2": (when(4, input_is(*FLOAT8)), when(3, input_is("int8")), when(2, input_is("bool"))),
        "BROADCAST_TO": (when(4, input_is(*FLOAT8)), when(3, input_is("int8", "int16")), when(2)),
        "FILL": (  # input 0 is the shape
            when(5, input_is(*FLOAT8, at=1)),
            when(4, input_is("float16", at=1)),
            when(3, input_is("int8", "int16", at=1)),
            when(2, input_is("bool", "string", at=1)),
        ),
        **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), INT8_ONLY),
        **dict.fromkeys(
            ("BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND"),
            (when(4, input_is("int16")), when(3, negated(rank_is(4))), when(2, input_is("int8"))),
        ),
        "RESIZE_BILINEAR": (
            when(4, input_is("int16")),
            when(3, option("half_pixel_centers")),
            when(2, input_is("int8")),
        ),
        "RESIZE_NEAREST_NEIGHBOR": (
            when(4, input_is("int16")),
            when(3, any_of(option("half_pixel_centers"), option("align_corners"))),
            when(2, input_is("int8")),
        ),
        "SELECT": (  # input 0 is the condition
            when(4, input_is("uint32")),
            when(3, any_of(rank_is(5), rank_is(5, at=1), rank_is(5, at=2))),
            when(2, input_is("int8")),
        ),
        "SELECT_V2": (when(2, input_is("uint32")),),
        "DYNAMIC_UPDATE_SLICE": (
            when(6, input_is("bfloat16")),
            when(5, input_is("int4")),
            when(4, input_is("int16")),
            when(3, input_is("float16")),
            when(2, input_is("int64", at=2)),
        ),
        "SPARSE_TO_DENSE": (when(3, input_is("int8", "uint8", at=2)), when(2, input_is("int64", at=2))),
    }
)

"""Operator versions: one case for each line of the rules.

The expected numbers were written down from the published rules, not from the implementation.
"""

from __future__ import annotations

from typing import Any

import pytest

from quantlib.operators.versions import Signature, operator_version

INT32_BIAS = {"quantized_bias_type": 2}
ASYMMETRIC = {"asymmetric_quantize_inputs": True}
FULL, BASIC = {"kernel_type": 0}, {"kernel_type": 1}


def signature(operator: str, types: str, **more: Any) -> Signature:
    """Signature from ``"int8 int8 - > int8"``, where ``-`` is an absent input."""
    inputs, outputs = (side.split() for side in types.split(">"))
    return Signature(operator, tuple(None if name == "-" else name for name in inputs), tuple(outputs), **more)


def options(**values: Any) -> dict[str, Any]:
    return {"options": values}


GROUPED = {"input_shapes": ((1, 8, 8, 4), (8, 3, 3, 2), (8,))}
UNGROUPED = {"input_shapes": ((1, 8, 8, 4), (8, 3, 3, 4), (8,))}
PER_CHANNEL = {"per_channel": True}

Case = tuple[str, str, dict[str, Any], int]

WEIGHTS: list[Case] = [
    ("CONV_2D", "int16 int8 int32 > int16", {"options": INT32_BIAS}, 8),
    ("CONV_2D", "int16 int8 int64 > int16", options(quantized_bias_type=4), 8),
    ("CONV_2D", "int16 int8 int32 > int16", {"options": INT32_BIAS} | GROUPED, 8),
    ("CONV_2D", "float32 float32 float32 > float32", GROUPED, 6),
    ("CONV_2D", "int8 int8 int32 > int8", GROUPED, 6),
    ("CONV_2D", "int8 int8 int32 > int8", UNGROUPED, 3),
    ("CONV_2D", "int8 int4 int32 > int8", {}, 7),
    ("CONV_2D", "float32 int8 float32 > float32", PER_CHANNEL, 5),
    ("CONV_2D", "float32 int8 float32 > float32", {}, 2),
    ("CONV_2D", "float32 float32 float32 > float32", UNGROUPED, 1),
    ("CONV_2D", "int16 int8 int64 > int16", options(quantized_bias_type=0), 1),
    ("DEPTHWISE_CONV_2D", "float32 int8 float32 > float32", PER_CHANNEL, 6),
    ("DEPTHWISE_CONV_2D", "float32 int8 float32 > float32", {}, 4),
    ("DEPTHWISE_CONV_2D", "int8 int8 int32 > int8", options(dilation_w_factor=2), 3),
    ("DEPTHWISE_CONV_2D", "int8 int4 int32 > int8", {}, 7),
    ("DEPTHWISE_CONV_2D", "float32 float32 float32 > float32", options(dilation_w_factor=2), 2),
    ("DEPTHWISE_CONV_2D", "float32 float32 float32 > float32", options(dilation_h_factor=3), 2),
    ("DEPTHWISE_CONV_2D", "float32 float32 float32 > float32", {}, 1),
    ("DEPTHWISE_CONV_2D", "int16 int8 int64 > int16", {}, 1),
    ("FULLY_CONNECTED", "int16 int2 int64 > int16", {}, 14),
    ("FULLY_CONNECTED", "float32 int2 float32 > float32", {}, 14),
    ("FULLY_CONNECTED", "int16 int4 int64 > int16", {}, 13),
    ("FULLY_CONNECTED", "float32 int8 float32 > float32", PER_CHANNEL, 12),
    ("FULLY_CONNECTED", "float32 int8 > float32", PER_CHANNEL, 12),
    ("FULLY_CONNECTED", "int16 int8 int32 > int16", {"options": INT32_BIAS}, 11),
    ("FULLY_CONNECTED", "float32 int8 float32 > float32", {"sparse": True}, 8),
    ("FULLY_CONNECTED", "float32 int8 float32 > float32", {"sparse": True} | PER_CHANNEL, 12),
    ("FULLY_CONNECTED", "int16 int16 int64 > int16", {}, 7),
    ("FULLY_CONNECTED", "int8 int8 > int8", {}, 6),
    ("FULLY_CONNECTED", "float32 float32 > float32", options(keep_num_dims=True), 6),
    ("FULLY_CONNECTED", "int8 int8 int32 > int8", options(keep_num_dims=True), 5),
    ("FULLY_CONNECTED", "int8 int8 int32 > int8", {}, 4),
    ("FULLY_CONNECTED", "int8 int8 - > int8", {}, 4),
    ("FULLY_CONNECTED", "int8 int8 int32 > int8", PER_CHANNEL, 4),
    ("FULLY_CONNECTED", "int8 int4 int32 > int8", {}, 10),
    ("FULLY_CONNECTED", "float32 int8 float32 > float32", {"options": ASYMMETRIC}, 9),
    ("FULLY_CONNECTED", "float32 int8 float32 > float32", {}, 3),
    ("FULLY_CONNECTED", "float32 float32 float32 > float32", options(weights_format=1), 2),
    ("FULLY_CONNECTED", "float32 int4 float32 > float32", {}, 1),
    ("FULLY_CONNECTED", "int16 int8 int64 > int16", options(quantized_bias_type=0), 1),
    ("TRANSPOSE_CONV", "int16 int8 int16 > int16", {"options": INT32_BIAS}, 5),
    ("TRANSPOSE_CONV", "int32 int8 int16 int32 > int16", {"options": INT32_BIAS}, 3),
    ("TRANSPOSE_CONV", "int32 int8 int8 int32 > int8", options(fused_activation_function=1), 4),
    ("TRANSPOSE_CONV", "int32 int8 int8 int32 > int8", {}, 3),
    ("TRANSPOSE_CONV", "int32 int8 int8 - > int8", {}, 2),
    ("TRANSPOSE_CONV", "int32 int8 float32 > float32", {}, 2),
    ("TRANSPOSE_CONV", "int32 float32 float32 > float32", {}, 1),
    ("EMBEDDING_LOOKUP", "int32 int4 > float32", {}, 4),
    ("EMBEDDING_LOOKUP", "int32 int8 > float32", PER_CHANNEL, 4),
    ("EMBEDDING_LOOKUP", "int32 int2 > float32", PER_CHANNEL, 4),
    ("EMBEDDING_LOOKUP", "int32 int2 > float32", {}, 5),
    ("EMBEDDING_LOOKUP", "int32 int8 > float32", {}, 1),
    ("BATCH_MATMUL", "int16 int16 > int16", {}, 3),
    ("BATCH_MATMUL", "int8 int8 > int8", {}, 2),
    ("BATCH_MATMUL", "float32 int8 > float32", {"options": ASYMMETRIC}, 4),
    ("BATCH_MATMUL", "float32 int8 > float32", {}, 1),
    ("SVDF", "int8 int8 int16 int32 int16 > int8", {}, 3),
    ("SVDF", "float32 int8 float32 float32 float32 > float32", {"options": ASYMMETRIC}, 4),
    ("SVDF", "float32 int8 float32 float32 float32 > float32", {}, 2),
    ("SVDF", "float32 float32 float32 float32 float32 > float32", {}, 1),
    ("LSTM", "int16 int8 int8 > int16", {"options": FULL}, 5),
    ("LSTM", "float32 int8 int8 > float32", {"options": FULL | ASYMMETRIC}, 4),
    ("LSTM", "float32 int8 int8 > float32", {"options": FULL}, 3),
    ("LSTM", "float32 int8 int8 > float32", {"options": BASIC | ASYMMETRIC}, 2),
    ("LSTM", "int16 int8 int8 > int16", {"options": BASIC}, 2),
    ("LSTM", "int8 int8 int8 > int8", {"options": FULL}, 1),
    ("UNIDIRECTIONAL_SEQUENCE_LSTM", "int16 int8 int8 > int16", {}, 5),
    ("UNIDIRECTIONAL_SEQUENCE_LSTM", "float32 int8 int8 > float32", options(diagonal_recurrent_tensors=1), 4),
    ("UNIDIRECTIONAL_SEQUENCE_LSTM", "float32 - int8 > float32", {"options": ASYMMETRIC}, 3),
    ("UNIDIRECTIONAL_SEQUENCE_LSTM", "float32 int8 int8 > float32", {}, 2),
    ("UNIDIRECTIONAL_SEQUENCE_LSTM", "int8 int8 int8 > int8", {}, 1),
    *(
        (operator, types, more, version)
        for operator in (
            "BIDIRECTIONAL_SEQUENCE_LSTM",
            "BIDIRECTIONAL_SEQUENCE_RNN",
            "RNN",
            "UNIDIRECTIONAL_SEQUENCE_RNN",
        )
        for types, more, version in (
            ("float32 int8 int8 > float32", {"options": ASYMMETRIC}, 3),
            ("float32 int8 int8 > float32", {}, 2),
            ("float32 float32 float32 > float32", {"options": ASYMMETRIC}, 1),
            ("int8 int8 int8 > int8", {}, 1),
        )
    ),
]

CONVERSIONS: list[Case] = [
    ("QUANTIZE", "float32 > uint4", {}, 5),
    ("QUANTIZE", "uint4 > int4", {}, 5),
    ("QUANTIZE", "float32 > int4", PER_CHANNEL, 4),
    ("QUANTIZE", "int4 > int8", {}, 4),
    ("QUANTIZE", "float32 > int16", PER_CHANNEL, 3),
    ("QUANTIZE", "float32 > int16", {}, 2),
    ("QUANTIZE", "float32 > int8", {}, 1),
    ("QUANTIZE", "uint8 > int8", {}, 1),
    ("QUANTIZE", "int16 > int8", {}, 1),
    *(
        ("DEQUANTIZE", f"{element} > float32", more, version)
        for element, more, version in (
            ("float8_e4m3fn", {}, 9),
            ("float8_e5m2", {}, 9),
            ("uint4", PER_CHANNEL, 8),
            ("int2", PER_CHANNEL, 7),
            ("int4", PER_CHANNEL, 6),
            ("int16", {}, 3),
            ("float16", {}, 3),
            ("int8", PER_CHANNEL, 5),
            ("int8", {}, 2),
            ("uint8", {}, 1),
        )
    ),
    ("FAKE_QUANT", "float32 > float32", options(narrow_range=True), 2),
    ("FAKE_QUANT", "float32 > float32", options(narrow_range=False), 1),
    ("DENSIFY", "int8 > int8", {}, 1),
    *(
        ("CAST", types, {}, version)
        for types, version in (
            ("float8_e5m2 > bfloat16", 9),
            ("int8 > int2", 8),
            ("uint4 > float16", 8),
            ("bfloat16 > float16", 7),
            ("int4 > float32", 6),
            ("int4 > float16", 5),
            ("float32 > int4", 1),
            ("float64 > float32", 5),
            ("float16 > uint16", 5),
            ("uint16 > int8", 4),
            ("int8 > uint32", 3),
            ("float32 > uint32", 2),
            ("int32 > float32", 1),
        )
    ),
]


def of_rank(*ranks: int) -> dict[str, Any]:
    return {"input_shapes": tuple((2,) * rank for rank in ranks)}


POT = {"pot_scale_int16": True}
NOT_POT = {"pot_scale_int16": False}
BROADCAST_5 = of_rank(5, 1)
SAME_5 = of_rank(5, 5)

OTHER_CONDITIONS: list[Case] = [
    ("ADD", "int16 int16 > int16", {"options": NOT_POT}, 3),
    ("ADD", "int16 int16 > int16", {"options": POT}, 1),
    ("ADD", "int16 int16 > int16", {"options": POT, "quantized": False}, 5),
    ("ADD", "int64 int64 > int64", {}, 4),
    ("ADD", "float16 float16 > float16", {}, 6),
    ("SUB", "int16 int16 > int16", {"options": NOT_POT}, 5),
    ("SUB", "int64 int64 > int64", BROADCAST_5, 4),
    ("SUB", "int8 int8 > int8", BROADCAST_5, 3),
    ("SUB", "int8 int8 > int8", SAME_5, 2),
    ("MUL", "int16 int16 > int16", {"quantized": False}, 7),
    ("MUL", "int16 int16 > int16", {"scales": (1.0, 1.0, 1.0)}, 4),
    ("MUL", "int8 int8 > int8", {"scales": (0.5, 0.5, 0.25)}, 3),
    ("MUL", "uint8 uint8 > uint8", {"scales": (0.5, 0.5, 0.2)}, 3),
    ("MUL", "int8 int8 > int8", {"scales": (0.5, 0.5, 0.26)}, 2),
    ("MUL", "int8 int8 > int8", {"scales": (0.5, None, 0.1)}, 2),
    ("MUL", "int8 int8 > int8", {"scales": (0.5, 0.5, 0.0)}, 2),
    # in float32; the same float32 scales give less than 1 in float64
    ("MUL", "int8 int8 > int8", {"scales": (0.02, 0.1, 0.002)}, 3),
    ("MUL", "int64 int64 > int64", {}, 5),
    ("MUL", "complex64 complex64 > complex64", {}, 6),
    ("MUL", "uint32 uint32 > uint32", {}, 7),
    ("MUL", "float16 float16 > float16", {}, 8),
    ("DIV", "float32 float32 > float32", BROADCAST_5, 2),
    ("DIV", "float32 float32 > float32", SAME_5, 1),
    ("DIV", "float32 float32 > float32", of_rank(4, 1), 1),
    ("MAXIMUM", "int8 int8 > int8", BROADCAST_5, 3),
    ("MINIMUM", "float32 float32 > float32", of_rank(1, 5), 3),
    ("MINIMUM", "int16 int16 > int16", BROADCAST_5, 4),
    ("EQUAL", "string string > bool", {}, 3),
    ("NOT_EQUAL", "string string > bool", {}, 3),
    ("CONCATENATION", "uint32 > uint32", {}, 4),
    ("CONCATENATION", "int4 > int4", {}, 5),
    ("CONCATENATION", "float16 > float16", {}, 6),
    ("CONCATENATION", "float8_e5m2 > float8_e5m2", {}, 7),
    ("PACK", "uint32 > uint32", {}, 4),
    ("PACK", "float8_e4m3fn > float8_e4m3fn", {}, 5),
    ("SOFTMAX", "float16 > float16", {}, 4),
    ("RELU", "uint8 > uint8", {}, 2),
    ("ABS", "uint8 > uint8", {}, 2),
    ("ABS", "int16 > int16", {"quantized": False}, 4),
    ("ABS", "int32 > int32", {}, 5),
    ("GELU", "uint8 > uint8", {}, 2),
    ("GELU", "float16 > float16", {}, 3),
    ("L2_NORMALIZATION", "int8 > int8", {}, 2),
    ("PAD", "int8 int32 > int8", of_rank(5), 4),
    ("PADV2", "int16 int32 int16 > int16", of_rank(5), 4),
    ("PAD", "bool int32 > bool", of_rank(5), 5),
    ("PAD", "float8_e5m2 int32 > float8_e5m2", {}, 6),
    ("SLICE", "int8 int32 int32 > int8", of_rank(5), 5),
    ("SLICE", "string int32 int32 > string", {}, 3),
    ("SLICE", "uint32 int32 int32 > uint32", of_rank(5), 6),
    ("SLICE", "int4 int32 int32 > int4", {}, 7),
    ("SLICE", "float16 int32 int32 > float16", {}, 8),
    ("STRIDED_SLICE", "int8 > int8", options(offset=True), 8),
    ("STRIDED_SLICE", "uint32 > uint32", {}, 7),
    ("STRIDED_SLICE", "int8 > int8", options(ellipsis_mask=1), 6),
    ("STRIDED_SLICE", "int8 > int8", options(new_axis_mask=2), 6),
    ("STRIDED_SLICE", "string > string", {}, 5),
    ("STRIDED_SLICE", "int8 > int8", of_rank(5), 4),
    ("STRIDED_SLICE", "bool > bool", {}, 3),
    ("TRANSPOSE", "int8 int32 > int8", of_rank(7), 8),
    ("TRANSPOSE", "bfloat16 int32 > bfloat16", {}, 8),
    ("TRANSPOSE", "int8 int32 > int8", of_rank(6), 6),
    ("TRANSPOSE", "int16 int32 > int16", of_rank(6), 6),
    ("TRANSPOSE", "int4 int32 > int4", of_rank(6), 7),
    ("TRANSPOSE", "int16 int32 > int16", of_rank(5), 5),
    ("TRANSPOSE", "int8 int32 > int8", of_rank(5), 4),
    ("TRANSPOSE", "bool int32 > bool", {}, 3),
    ("TRANSPOSE", "float16 int32 > float16", {}, 9),
    ("GATHER", "int16 int32 > int16", options(batch_dims=1), 5),
    ("GATHER", "int8 int16 > int8", options(batch_dims=1), 6),
    ("GATHER", "int4 int16 > int4", {}, 7),
    ("GATHER", "bool int32 > bool", {}, 3),
    ("GATHER", "float8_e5m2 int32 > float8_e5m2", {}, 8),
    ("GATHER_ND", "int16 int16 > int16", {}, 4),
    ("GATHER_ND", "bool int16 > bool", {}, 5),
    ("GATHER_ND", "string int32 > string", {}, 2),
    ("GATHER_ND", "float8_e5m2 int32 > float8_e5m2", {}, 6),
    ("SPLIT", "int32 int32 > int32", {}, 3),
    ("SPLIT", "int32 int8 > int8", {}, 2),
    ("SPLIT", "int32 float32 > float32", {}, 1),
    ("SPLIT", "int32 float8_e5m2 > float8_e5m2", {}, 5),
    ("SPLIT_V", "float8_e5m2 int32 int32 > float8_e5m2", {}, 3),
    ("UNPACK", "uint8 > uint8", {}, 2),
    ("UNPACK", "bool > bool", {}, 3),
    ("UNPACK", "float16 > float16", {}, 5),
    ("UNPACK", "bfloat16 > bfloat16", {}, 5),
    ("UNPACK", "float8_e5m2 > float8_e5m2", {}, 6),
    ("TILE", "string int32 > string", {}, 2),
    ("SQUEEZE", "string > string", {}, 2),
    ("REVERSE_V2", "bool int32 > bool", {}, 2),
    ("REVERSE_V2", "float8_e5m2 int32 > float8_e5m2", {}, 4),
    ("BROADCAST_TO", "bool int32 > bool", {}, 2),
    ("BROADCAST_TO", "float8_e5m2 int32 > float8_e5m2", {}, 4),
    ("FILL", "int32 int8 > int8", {}, 3),
    ("FILL", "int32 int16 > int16", {}, 3),
    ("FILL", "int32 bool > bool", {}, 2),
    ("FILL", "int32 string > string", {}, 2),
    ("FILL", "int32 float16 > float16", {}, 4),
    ("FILL", "int32 float8_e5m2 > float8_e5m2", {}, 5),
    ("FILL", "int8 float32 > float32", {}, 1),
    *(
        (operator, f"{element} int32 int32 > {element}", of_rank(rank), version)
        for operator in ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
        for element, rank, version in (
            ("int8", 4, 2),
            ("int8", 3, 3),
            ("float32", 3, 3),
            ("float32", 4, 1),
            ("int16", 3, 4),
        )
    ),
    ("RESIZE_BILINEAR", "int8 int32 > int8", options(half_pixel_centers=True), 3),
    ("RESIZE_BILINEAR", "int16 int32 > int16", options(half_pixel_centers=True), 4),
    ("RESIZE_BILINEAR", "int8 int32 > int8", options(align_corners=True), 2),
    ("RESIZE_NEAREST_NEIGHBOR", "int8 int32 > int8", options(half_pixel_centers=True), 3),
    ("RESIZE_NEAREST_NEIGHBOR", "float32 int32 > float32", options(align_corners=True), 3),
    ("TOPK_V2", "int8 int32 > int8 int16", {}, 3),
    ("ARG_MAX", "bool int32 > int32", {}, 3),
    ("ARG_MIN", "bool int32 > int32", {}, 3),
    ("SELECT", "bool int8 int8 > int8", {}, 1),
    ("SELECT", "int8 int8 int8 > int8", {}, 2),
    ("SELECT", "bool int8 int8 > int8", of_rank(1, 5, 5), 3),
    ("SELECT", "uint32 int8 int8 > int8", {}, 4),
    ("SELECT_V2", "uint32 int8 int8 > int8", {}, 2),
    ("SELECT_V2", "bool int8 int8 > int8", of_rank(5, 5, 5), 1),
    ("DYNAMIC_UPDATE_SLICE", "int8 int8 int32 > int8", {}, 1),
    ("DYNAMIC_UPDATE_SLICE", "int8 int8 int64 > int8", {}, 2),
    ("DYNAMIC_UPDATE_SLICE", "float16 float16 int64 > float16", {}, 3),
    ("DYNAMIC_UPDATE_SLICE", "int16 int16 int64 > int16", {}, 4),
    ("DYNAMIC_UPDATE_SLICE", "int4 int4 int32 > int4", {}, 5),
    ("DYNAMIC_UPDATE_SLICE", "bfloat16 bfloat16 int32 > bfloat16", {}, 6),
    ("SPARSE_TO_DENSE", "int32 int32 int8 int8 > int8", {}, 3),
    ("SPARSE_TO_DENSE", "int32 int32 uint8 uint8 > uint8", {}, 3),
    ("SPARSE_TO_DENSE", "int32 int32 int64 int64 > int64", {}, 2),
    ("FLOOR_DIV", "int32 int32 > int32", {}, 1),
    ("SIGN", "int32 > int32", {}, 2),
    ("SIN", "float16 > float16", {}, 2),
    ("COS", "float16 > float16", {}, 2),
    ("RANGE", "int64 int64 int64 > int64", {}, 2),
    ("WHERE", "bool > int64", {}, 1),
    ("WHERE", "float32 > int64", {}, 2),
]


@pytest.mark.parametrize(("operator", "types", "more", "version"), WEIGHTS + CONVERSIONS + OTHER_CONDITIONS)
def test_operator_version(operator: str, types: str, more: dict[str, Any], version: int) -> None:
    assert operator_version(signature(operator, types, **more)) == version

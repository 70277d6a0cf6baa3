"""Operator versions where several lines of the rules could hold, or only a part of one does."""

from __future__ import annotations

from typing import Any

import pytest

from quantlib.operators.versions import Signature, operator_version

ASYMMETRIC = {"asymmetric_quantize_inputs": True}
BIAS_TYPE = {"quantized_bias_type": 2}
NOT_POT = {"pot_scale_int16": False}
RANK_5 = {"input_shapes": ((2,) * 5, (2,), (2,))}
RANK_7 = {"input_shapes": ((2,) * 7, (7,))}

Case = tuple[str, str, str, dict[str, Any], int]

FIRST_LINE_WINS: list[Case] = [
    ("DEPTHWISE_CONV_2D", "int8 int4 int32", "int8", {"options": {"dilation_h_factor": 2}}, 7),
    ("FULLY_CONNECTED", "int16 int8 int32", "int16", {"options": BIAS_TYPE, "sparse": True}, 11),
    ("FULLY_CONNECTED", "int16 int16 int64", "int16", {"sparse": True}, 8),
    ("FULLY_CONNECTED", "int16 int16", "int16", {}, 7),
    ("FULLY_CONNECTED", "float32 int8 float32", "float32", {"options": {"weights_format": 1}}, 3),
    ("TRANSPOSE_CONV", "int16 int8", "int16", {"options": {**BIAS_TYPE, "fused_activation_function": 1}}, 5),
    (
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "int16 int8 int8",
        "int16",
        {"options": {"diagonal_recurrent_tensors": True}},
        5,
    ),
    (
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "float32 int8 int8",
        "float32",
        {"options": {"diagonal_recurrent_tensors": True, **ASYMMETRIC}},
        4,
    ),
    ("CAST", "float8_e4m3fn", "int2", {}, 9),
    ("CAST", "int2", "bfloat16", {}, 8),
    ("MAXIMUM", "int16 int16", "int16", RANK_5, 4),
    ("MINIMUM", "int8 int8", "int8", RANK_5, 3),
    ("PAD", "int16 int32", "int16", RANK_5, 4),
    ("SLICE", "int16 int32 int32", "int16", RANK_5, 5),
    ("PADV2", "bool int32 bool", "bool", RANK_5, 5),
    ("PADV2", "float8_e5m2 int32 float8_e5m2", "float8_e5m2", RANK_5, 6),
    ("STRIDED_SLICE", "uint32", "uint32", {"options": {"offset": True}}, 8),
    ("STRIDED_SLICE", "uint32", "uint32", {"options": {"new_axis_mask": 1}}, 7),
    ("STRIDED_SLICE", "string", "string", {"options": {"ellipsis_mask": 1}}, 6),
    ("STRIDED_SLICE", "string", "string", RANK_5, 5),
    ("STRIDED_SLICE", "bool", "bool", RANK_5, 4),
    ("TRANSPOSE", "float16 int32", "float16", RANK_7, 9),
    ("TRANSPOSE", "int4 int32", "int4", RANK_7, 8),
    ("TRANSPOSE", "bool int32", "bool", RANK_5, 4),
    ("RESIZE_NEAREST_NEIGHBOR", "int16 int32", "int16", {"options": {"align_corners": True}}, 4),
    ("SELECT", "uint32 int8 int8", "int8", RANK_5, 4),
    ("SELECT", "int8 int8 int8", "int8", RANK_5, 3),
]

ONLY_A_PART_HOLDS: list[Case] = [
    ("CONV_2D", "int8 int8 int32", "int8", {"options": BIAS_TYPE}, 3),
    ("CONV_2D", "int16 int8 int64", "int16", {"per_channel": True}, 1),
    ("DEPTHWISE_CONV_2D", "int8 int8 int32", "int8", {"per_channel": True}, 3),
    ("FULLY_CONNECTED", "int8 int8 int32", "int8", {"options": BIAS_TYPE}, 4),
    ("FULLY_CONNECTED", "float32 float32 float32", "float32", {"options": ASYMMETRIC}, 1),
    ("TRANSPOSE_CONV", "int16 int8 int16", "int16", {}, 2),
    ("BATCH_MATMUL", "float32 float32", "float32", {"options": ASYMMETRIC}, 1),
    ("SVDF", "float32 float32 float32", "float32", {"options": ASYMMETRIC}, 1),
    ("LSTM", "float32 float32 float32", "float32", {"options": ASYMMETRIC}, 1),
    ("UNIDIRECTIONAL_SEQUENCE_LSTM", "float32 float32 float32", "float32", {"options": ASYMMETRIC}, 1),
    ("BIDIRECTIONAL_SEQUENCE_LSTM", "int8 int8 int8", "int8", {"options": ASYMMETRIC}, 1),
    ("BIDIRECTIONAL_SEQUENCE_RNN", "int8 int8 int8", "int8", {"options": ASYMMETRIC}, 1),
    ("RNN", "int8 int8 int8", "int8", {"options": ASYMMETRIC}, 1),
    ("UNIDIRECTIONAL_SEQUENCE_RNN", "int8 int8 int8", "int8", {"options": ASYMMETRIC}, 1),
    ("DEQUANTIZE", "uint8", "float32", {"per_channel": True}, 1),
    ("ADD", "int8 int8", "int8", {"quantized": False}, 2),
    ("ADD", "int8 int8", "int8", {"options": NOT_POT}, 2),
    ("SUB", "int8 int8", "int8", {"options": NOT_POT}, 2),
    ("MUL", "int8 int8", "int8", {"quantized": False}, 2),
    ("SIGN", "float32", "float32", {}, 1),
    ("SIN", "float32", "float32", {}, 1),
    ("COS", "float32", "float32", {}, 1),
    ("RANGE", "int32 int32 int32", "int32", {}, 1),
    ("SPARSE_TO_DENSE", "int32 int32 float32 float32", "float32", {}, 1),
    ("LOGISTIC", "int16", "int8", {}, 1),
    ("AVERAGE_POOL_2D", "int16", "int8", {}, 1),
    ("MAX_POOL_2D", "int16", "int8", {}, 1),
    ("TANH", "int16", "int8", {}, 1),
]


@pytest.mark.parametrize(("operator", "inputs", "output", "more", "version"), FIRST_LINE_WINS + ONLY_A_PART_HOLDS)
def test_operator_version(operator: str, inputs: str, output: str, more: dict[str, Any], version: int) -> None:
    assert operator_version(Signature(operator, tuple(inputs.split()), (output,), **more)) == version

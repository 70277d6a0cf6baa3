"""The version rules: per operator a table whose first line with all conditions met gives the version.

Facts from `tflite/converter/tools/versioning/op_version.cc` of LiteRT at commit f67457790c. An operator
without a table has version 1. Two of its lines are left out because no operator can reach them: CONV_2D 4 and
DEPTHWISE_CONV_2D 5, which ask for the type of a second output.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ._version_conditions import (
    FLOAT8,
    Rules,
    Signature,
    any_of,
    either_side,
    grouped,
    input_is,
    negated,
    operands,
    option,
    option_is,
    output_is,
    per_channel,
    sparse,
    when,
)
from ._version_rules_activations import ARITHMETIC, MOVEMENT, ONE_INPUT

INT8 = operands("int8", "int8", "int8")
INT8_INT4 = operands("int8", "int4", "int8")
INT16_INT8 = operands("int16", "int8", "int16")
HYBRID = operands("float32", "int8", "float32")
ASYMMETRIC = option("asymmetric_quantize_inputs")

# Set means other than 0, FLOAT32, in the file. LiteRT compares after translation to its own type codes, where
# FLOAT32 is 1, so that the default, too, gives 8, 11 and 5 there. But what these versions stand for is
# the feature; they would keep files without it from runtimes before 2.15 for nothing.
BIAS_TYPE_SET = option("quantized_bias_type")


def _two_inputs(signature: Signature) -> bool:
    return len(signature.inputs) == 2


def _bias_present(signature: Signature) -> bool:
    return len(signature.inputs) == 4 and signature.input(3) is not None


_DILATED = any_of(negated(option_is("dilation_w_factor", 1)), negated(option_is("dilation_h_factor", 1)))

WEIGHT_OPERATORS: Mapping[str, Rules] = MappingProxyType(
    {
        "CONV_2D": (
            when(8, INT16_INT8, BIAS_TYPE_SET),
            when(6, grouped),
            when(3, INT8),
            when(7, INT8_INT4),
            when(5, HYBRID, per_channel),
            when(2, HYBRID),
        ),
        "DEPTHWISE_CONV_2D": (
            when(6, HYBRID, per_channel),
            when(4, HYBRID),
            when(3, INT8),
            when(7, INT8_INT4),
            when(2, _DILATED),
        ),
        "FULLY_CONNECTED": (
            when(14, input_is("int2", at=1)),
            when(13, operands("int16", "int4", "int16")),
            when(12, HYBRID, per_channel),
            when(11, INT16_INT8, BIAS_TYPE_SET),
            when(8, sparse),
            when(7, operands("int16", "int16", "int16")),
            when(6, _two_inputs),
            when(5, option("keep_num_dims")),
            when(4, INT8),
            when(10, INT8_INT4),
            when(9, HYBRID, ASYMMETRIC),
            when(3, HYBRID),
            when(2, option_is("weights_format", 1)),
        ),
        "TRANSPOSE_CONV": (  # input 0 is the output's shape, int32: the first line needs a strange file
            when(5, INT16_INT8, BIAS_TYPE_SET),
            when(4, option("fused_activation_function")),
            when(3, _bias_present),
            when(2, input_is("int8", at=1)),
        ),
        "EMBEDDING_LOOKUP": (
            when(4, any_of(input_is("int4", at=1), per_channel)),
            when(5, input_is("int2", at=1)),
        ),
        "BATCH_MATMUL": (
            when(3, input_is("int16")),
            when(2, input_is("int8")),
            when(4, HYBRID, ASYMMETRIC),
        ),
        "SVDF": (
            when(3, input_is("int8")),
            when(4, HYBRID, ASYMMETRIC),
            when(2, HYBRID),
        ),
    }
)

_LSTM_INT16 = operands("int16", "int8", "int16", weights_at=2)
_LSTM_HYBRID = operands("float32", "int8", "float32", weights_at=2)
_LSTM_FULL = option_is("kernel_type", 0)
_RNN_HYBRID = (input_is("int8", at=1), output_is("float32"))

RECURRENT_OPERATORS: Mapping[str, Rules] = MappingProxyType(
    {
        "LSTM": (
            when(5, _LSTM_FULL, _LSTM_INT16),
            when(4, _LSTM_FULL, _LSTM_HYBRID, ASYMMETRIC),
            when(3, _LSTM_FULL, _LSTM_HYBRID),
            when(2, option_is("kernel_type", 1)),
        ),
        "UNIDIRECTIONAL_SEQUENCE_LSTM": (
            when(5, _LSTM_INT16),
            when(4, option("diagonal_recurrent_tensors")),
            when(3, _LSTM_HYBRID, ASYMMETRIC),
            when(2, _LSTM_HYBRID),
        ),
        **dict.fromkeys(
            (
                "BIDIRECTIONAL_SEQUENCE_LSTM",
                "BIDIRECTIONAL_SEQUENCE_RNN",
                "RNN",
                "UNIDIRECTIONAL_SEQUENCE_RNN",
            ),
            (when(3, *_RNN_HYBRID, ASYMMETRIC), when(2, *_RNN_HYBRID)),
        ),
    }
)

CONVERSIONS: Mapping[str, Rules] = MappingProxyType(
    {
        "QUANTIZE": (
            when(5, either_side("uint4")),
            when(4, either_side("int4")),
            when(3, per_channel),
            when(2, output_is("int16")),
        ),
        "DEQUANTIZE": (
            when(9, input_is(*FLOAT8)),
            when(8, input_is("uint4")),
            when(7, input_is("int2")),
            when(6, input_is("int4")),
            when(3, input_is("int16", "float16")),
            when(5, input_is("int8"), per_channel),
            when(2, input_is("int8")),
        ),
        "CAST": (
            when(9, either_side(*FLOAT8)),
            when(8, either_side("int2", "uint4")),
            when(7, either_side("bfloat16")),
            when(6, input_is("int4"), output_is("float32")),
            when(5, either_side("float16", "float64")),
            when(4, either_side("uint16")),
            when(3, either_side("int8")),
            when(2, either_side("uint32")),
        ),
        "FAKE_QUANT": (when(2, option("narrow_range")),),
    }
)

RULES: Mapping[str, Rules] = MappingProxyType(
    {**WEIGHT_OPERATORS, **RECURRENT_OPERATORS, **CONVERSIONS, **ARITHMETIC, **ONE_INPUT, **MOVEMENT}
)
"""Operator -> its lines, first match wins; version 1 where none does."""

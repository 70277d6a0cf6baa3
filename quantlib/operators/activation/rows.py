"""Activation functions."""

from __future__ import annotations

import math

from ..row import FIXED, OWN, Integer, OperatorRow

_BYTES = ("INT8", "UINT8")
_RECTIFIED = (0.0, math.inf)
_EXPONENT = 2.0**-26  # tflite/kernels/internal/quantization_util.cc, PreprocessSoftmaxScaling
_SWISH = ("largest", 2.0**-7, 0.0)  # tflite/kernels/activations.cc, HardSwishPrepare

# Outputs whose scale the kernels insist on: tflite/kernels/activations.cc, log_softmax in the same file.
_SHARES = (("INT8", 1 / 256, -128), ("UINT8", 1 / 256, 0), ("INT16", 1 / 32768, 0))
_SIGNED = (("INT8", 1 / 128, 0), ("UINT8", 1 / 128, 128), ("INT16", 1 / 32768, 0))
_LOGARITHMS = (("INT8", 16 / 256, 127), ("UINT8", 16 / 256, 255))

# What is useful of an input: beyond, the output lies within half a step of where it ends.
# 1 / (1 + exp(-6.3)) > 1 - 1 / 512; tanh(3.2) > 1 - 1 / 256; at 16 bits 11.1 and 5.9.
ROWS = (
    OperatorRow("ELU", "", integer=Integer(OWN, ("INT8",))),
    OperatorRow("GELU", "GeluOptions", integer=Integer(OWN)),
    OperatorRow(
        "HARD_SWISH", "HardSwishOptions", integer=Integer(OWN, _BYTES, useful=(-3.0, math.inf), least=_SWISH)
    ),
    OperatorRow("LEAKY_RELU", "LeakyReluOptions", integer=Integer(OWN)),
    OperatorRow("LOGISTIC", "", integer=Integer(FIXED, fixed=_SHARES, useful=(-6.3, 6.3), useful16=(-11.1, 11.1))),
    OperatorRow(
        "LOG_SOFTMAX",
        "LogSoftmaxOptions",
        integer=Integer(FIXED, _BYTES, fixed=_LOGARITHMS, greatest=True, least_input=_EXPONENT),
    ),
    OperatorRow("PRELU", "", integer=Integer(OWN, _BYTES, data=(0, 1), symmetric=(1,))),
    OperatorRow("RELU", "", integer=Integer(OWN, useful=_RECTIFIED, useful16=_RECTIFIED)),
    OperatorRow("RELU6", "", integer=Integer(OWN, useful=(0.0, 6.0), useful16=(0.0, 6.0))),
    OperatorRow("RELU_0_TO_1", "", integer=Integer(OWN, _BYTES, useful=(0.0, 1.0))),
    OperatorRow("RELU_N1_TO_1", "", integer=Integer(OWN, _BYTES, useful=(-1.0, 1.0))),
    OperatorRow(
        "SOFTMAX", "SoftmaxOptions", integer=Integer(FIXED, fixed=_SHARES, greatest=True, least_input=_EXPONENT)
    ),
    OperatorRow("TANH", "", integer=Integer(FIXED, fixed=_SIGNED, useful=(-3.2, 3.2), useful16=(-5.9, 5.9))),
)

"""Activation functions."""

from __future__ import annotations

from ..row import OperatorRow

_OPTIONS = (
    ("ELU", ""),
    ("GELU", "GeluOptions"),
    ("HARD_SWISH", "HardSwishOptions"),
    ("LEAKY_RELU", "LeakyReluOptions"),
    ("LOGISTIC", ""),
    ("LOG_SOFTMAX", "LogSoftmaxOptions"),
    ("PRELU", ""),
    ("RELU", ""),
    ("RELU6", ""),
    ("RELU_0_TO_1", ""),
    ("RELU_N1_TO_1", ""),
    ("SOFTMAX", "SoftmaxOptions"),
    ("TANH", ""),
)

ROWS = tuple(OperatorRow(name, options) for name, options in _OPTIONS)

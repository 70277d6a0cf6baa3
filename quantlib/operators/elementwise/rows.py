"""Operators on single elements."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..row import NONE, OWN, SAME, Integer, OperatorRow

_BYTES = ("INT8", "UINT8")
_WORDS = ("INT8", "INT16")
_BOTH = (0, 1)
_BLIND = "its integer kernel computes with the stored integers, whatever they stand for"

#: Integer kernels, and why those that exist can't be used. Where a multiplier isn't below 1, the process ends
#: (tflite/kernels/internal/quantization_util.cc, QuantizeMultiplierSmallerThanOneExp).
_INTEGER: Mapping[str, Integer] = MappingProxyType(
    {
        "ABS": Integer(OWN, _WORDS),
        "ADD": Integer(OWN, data=_BOTH, least=("largest", 2.0**-19, 2.0**-14)),
        "DIV": Integer(OWN, data=_BOTH, divides=True),
        "EXP": Integer(OWN, _WORDS),
        "LOG": Integer(OWN, _WORDS),
        "MAXIMUM": Integer(SAME, data=_BOTH),
        "MINIMUM": Integer(SAME, data=_BOTH),
        "MUL": Integer(OWN, data=_BOTH),
        "RSQRT": Integer(OWN, _WORDS),
        "SELECT": Integer(SAME, data=(1, 2)),
        "SELECT_V2": Integer(SAME, data=(1, 2)),
        "SQRT": Integer(OWN, _WORDS),
        "SQUARED_DIFFERENCE": Integer(OWN, ("INT8",), data=_BOTH, least=("square", 2.0**-12, 0.0)),
        "SUB": Integer(OWN, data=_BOTH),
        # with 16 bits they compare the stored integers
        **dict.fromkeys(
            ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL"),
            Integer(NONE, _BYTES, data=_BOTH),
        ),
    }
)
_REFUSED: Mapping[str, str] = MappingProxyType(dict.fromkeys(("CAST", "FLOOR_DIV", "FLOOR_MOD", "NEG"), _BLIND))

_OPTIONS = (
    ("ABS", "AbsOptions"),
    ("ADD", "AddOptions"),
    ("ADD_N", "AddNOptions"),
    ("ATAN2", "ATan2Options"),
    ("BITWISE_XOR", "BitwiseXorOptions"),
    ("CAST", "CastOptions"),
    ("CEIL", ""),
    ("COS", "CosOptions"),
    ("DIV", "DivOptions"),
    ("EQUAL", "EqualOptions"),
    ("EXP", "ExpOptions"),
    ("FLOOR", ""),
    ("FLOOR_DIV", "FloorDivOptions"),
    ("FLOOR_MOD", "FloorModOptions"),
    ("GREATER", "GreaterOptions"),
    ("GREATER_EQUAL", "GreaterEqualOptions"),
    ("LESS", "LessOptions"),
    ("LESS_EQUAL", "LessEqualOptions"),
    ("LOG", ""),
    ("LOGICAL_AND", "LogicalAndOptions"),
    ("LOGICAL_NOT", "LogicalNotOptions"),
    ("LOGICAL_OR", "LogicalOrOptions"),
    ("MAXIMUM", "MaximumMinimumOptions"),
    ("MINIMUM", "MaximumMinimumOptions"),
    ("MUL", "MulOptions"),
    ("NEG", "NegOptions"),
    ("NOT_EQUAL", "NotEqualOptions"),
    ("POW", "PowOptions"),
    ("RIGHT_SHIFT", "RightShiftOptions"),
    ("ROUND", ""),
    ("RSQRT", ""),
    ("SELECT", "SelectOptions"),
    ("SELECT_V2", "SelectV2Options"),
    ("SIGN", "SignOptions"),
    ("SIN", ""),
    ("SQRT", ""),
    ("SQUARE", "SquareOptions"),
    ("SQUARED_DIFFERENCE", "SquaredDifferenceOptions"),
    ("SUB", "SubOptions"),
    ("ZEROS_LIKE", "ZerosLikeOptions"),
)

ROWS = tuple(
    OperatorRow(name, options, integer=_INTEGER.get(name), refused=_REFUSED.get(name, ""))
    for name, options in _OPTIONS
)

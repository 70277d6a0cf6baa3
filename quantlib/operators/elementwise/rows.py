"""Operators on single elements."""

from __future__ import annotations

from ..row import OperatorRow

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

ROWS = tuple(OperatorRow(name, options) for name, options in _OPTIONS)

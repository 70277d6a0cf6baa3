"""Shapes and granularities for every way in which arrays are walked."""

from __future__ import annotations

from quantlib.numerics import PerAxis, PerBlock, PerTensor
from quantlib.numerics._blocks import BLOCK

# Short and long rows, many channels and few, pieces
# that end in the middle of a row and of a channel, groups that don't divide evenly.
LAYOUTS = [
    ((), PerTensor()),
    ((0,), PerTensor()),
    ((3, 0), PerAxis(0)),
    ((3, 0), PerAxis(1)),
    ((0, 3), PerAxis(1)),
    ((7,), PerAxis(0)),
    ((BLOCK + 3,), PerTensor()),
    ((5, BLOCK // 3), PerAxis(0)),
    ((3, BLOCK + 5), PerAxis(0)),
    ((BLOCK // 2 + 1, 3), PerAxis(1)),
    ((BLOCK + 1, 1), PerAxis(1)),
    ((BLOCK // 8, 9), PerAxis(0)),
    ((2, BLOCK + 7), PerAxis(1)),
    ((700, 3, 64), PerAxis(1)),
    ((41, 30, 63), PerAxis(1)),
    ((3, BLOCK // 5, 7), PerAxis(1)),
    ((1, 3, 3, 24), PerAxis(3)),
    ((6, 3, 3, 5), PerAxis(0)),
    ((64, 96), PerBlock(1, 32)),
    ((64, 96), PerBlock(0, 32)),
    ((6, 8, 10), PerBlock(1, 4)),
    ((2, BLOCK * 2), PerBlock(1, BLOCK)),
    ((3000, 64), PerBlock(1, 4)),
]

"""Normalizations over channels."""

from __future__ import annotations

from ..row import FIXED, Integer, OperatorRow

# tflite/kernels/l2norm.cc insists on these.
_UNIT = (("INT8", 1 / 128, 0), ("UINT8", 1 / 128, 128))

ROWS = (
    OperatorRow("L2_NORMALIZATION", "L2NormOptions", integer=Integer(FIXED, ("INT8", "UINT8"), fixed=_UNIT)),
    OperatorRow("LOCAL_RESPONSE_NORMALIZATION", "LocalResponseNormalizationOptions"),
)

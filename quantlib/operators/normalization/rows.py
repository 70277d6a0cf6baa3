"""Normalizations over channels."""

from __future__ import annotations

from ..row import OperatorRow

ROWS = (
    OperatorRow("L2_NORMALIZATION", "L2NormOptions"),
    OperatorRow("LOCAL_RESPONSE_NORMALIZATION", "LocalResponseNormalizationOptions"),
)

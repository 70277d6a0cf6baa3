"""Reductions over axes, and running sums."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..row import NONE, OWN, SAME, Integer, OperatorRow

_INTEGER: Mapping[str, Integer] = MappingProxyType(
    {
        "MEAN": Integer(OWN),
        "REDUCE_MAX": Integer(SAME),
        "REDUCE_MIN": Integer(SAME),
        "REDUCE_PROD": Integer(OWN, ("INT8", "INT16")),
        "SUM": Integer(OWN, ("INT8", "UINT8")),
    }
)
#: tflite/kernels/reduce.cc, EvalSum of the reference kernels.
_REFUSED = MappingProxyType({"SUM": "LiteRT's reference kernel of SUM reads INT16 as UINT8"})
_REDUCERS = ("MEAN", "REDUCE_ALL", "REDUCE_ANY", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SUM")
_PLACES = Integer(NONE, ("INT8", "UINT8"))

ROWS = (
    *(
        OperatorRow(name, "ReducerOptions", integer=_INTEGER.get(name), refused=_REFUSED.get(name, ""))
        for name in _REDUCERS
    ),
    OperatorRow("ARG_MAX", "ArgMaxOptions", integer=_PLACES),
    OperatorRow("ARG_MIN", "ArgMinOptions", integer=_PLACES),
    OperatorRow("CUMSUM", "CumsumOptions"),
)

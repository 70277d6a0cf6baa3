"""All that is known of an operator: one folder per family, one row per operator."""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from . import convolution, matmul, movement, recurrent
from .convolution import rows as _convolution
from .matmul import rows as _matmul
from .movement import rows as _movement
from .recurrent import rows as _recurrent
from .row import OperatorRow, Weight
from .versions import Signature, accepted_versions, maximum_version, minimum_runtime, operator_version

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "OperatorRow",
    "Signature",
    "Weight",
    "accepted_versions",
    "convolution",
    "matmul",
    "maximum_version",
    "minimum_runtime",
    "movement",
    "operator_version",
    "recurrent",
    "row",
    "rows",
]


@cache
def rows() -> Mapping[str, OperatorRow]:
    """All rows by operator name."""
    families = (_convolution, _matmul, _movement, _recurrent)
    return MappingProxyType({row.name: row for family in families for row in family.ROWS})


def row(name: str) -> OperatorRow:
    """Row of an operator; an empty one for operators that have none."""
    return rows().get(name) or OperatorRow(name)

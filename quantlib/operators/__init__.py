"""All that is known of an operator: one folder per family, one row per operator."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from .integer import RUNTIMES, IntegerKernel, Operand, QuantizedOperator
from .kernel import Call, Kernel
from .row import ALL_TYPES, FIXED, NONE, OWN, SAME, Integer, OperatorRow, Recurrent, Weight
from .versions import Signature, accepted_versions, maximum_version, minimum_runtime, operator_version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = [
    "ALL_TYPES",
    "FAMILIES",
    "FIXED",
    "NONE",
    "OWN",
    "RUNTIMES",
    "SAME",
    "Call",
    "Integer",
    "IntegerKernel",
    "Kernel",
    "Operand",
    "OperatorRow",
    "QuantizedOperator",
    "Recurrent",
    "Signature",
    "Weight",
    "accepted_versions",
    "family",
    "integer_kernel",
    "kernel",
    "maximum_version",
    "minimum_runtime",
    "operator_version",
    "row",
    "rows",
]

#: The folders of this room; each has a ``rows.py``, and a ``floating.py`` where NumPy can run its operators.
FAMILIES = (
    "activation",
    "convolution",
    "detection",
    "elementwise",
    "matmul",
    "movement",
    "normalization",
    "pooling",
    "quantization",
    "recurrent",
    "reduction",
    "resize",
)


@cache
def _families() -> Mapping[str, Mapping[str, OperatorRow]]:
    found = {name: import_module(f".{name}.rows", __name__).ROWS for name in FAMILIES}
    return MappingProxyType({name: {row.name: row for row in rows} for name, rows in found.items()})


@cache
def rows() -> Mapping[str, OperatorRow]:
    """All rows by operator name."""
    return MappingProxyType({name: row for family in _families().values() for name, row in family.items()})


def row(name: str) -> OperatorRow:
    """Row of an operator; an empty one for operators that have none."""
    return rows().get(name) or OperatorRow(name)


def family(name: str) -> str | None:
    """Folder of an operator; None for operators without a row."""
    return next((folder for folder, found in _families().items() if name in found), None)


def kernel(name: str) -> Kernel | None:
    """Float kernel of an operator; None where there is none. Its module is loaded here, on first use."""
    found: Kernel | None = _kernels(name, "floating").get(name)
    return found


def integer_kernel(operator: QuantizedOperator) -> Kernel | None:
    """Make the integer kernel of an operator; None where there is none for its types and runtime.

    Its module is loaded here, on first use.

    Raises
    ------
    InvalidValue
        If the operator's scales, options or constants can't be computed with.
    """
    for candidate in _kernels(operator.name, "integer").get(operator.name, ()):
        if operator.runtime in candidate.runtimes and candidate.serves(operator):
            made: Kernel = candidate.prepare(operator)
            return made
    return None


def _kernels(name: str, kind: str) -> Mapping[str, Any]:
    """Table of kernels in an operator's folder; an empty one where it has none."""
    folder = family(name)
    if folder is None:
        return {}
    try:
        module = import_module(f".{folder}.{kind}", __name__)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{folder}.{kind}":
            raise
        return {}
    found: Mapping[str, Any] = module.KERNELS
    return found

"""All that is known of an operator: one folder per family, one row per operator."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from .kernel import Call, Kernel
from .row import OperatorRow, Weight
from .versions import Signature, accepted_versions, maximum_version, minimum_runtime, operator_version

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "FAMILIES",
    "Call",
    "Kernel",
    "OperatorRow",
    "Signature",
    "Weight",
    "accepted_versions",
    "family",
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
    folder = family(name)
    if folder is None:
        return None
    try:
        module = import_module(f".{folder}.floating", __name__)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{folder}.floating":
            raise
        return None
    found: Kernel | None = module.KERNELS.get(name)
    return found

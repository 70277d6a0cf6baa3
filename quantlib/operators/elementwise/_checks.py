"""Operands of operators on elements: their types and shapes."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeVar

    from ..kernel import Array

    T = TypeVar("T")

_KINDS = MappingProxyType({"f": "floats", "i": "integers", "u": "unsigned integers", "b": "booleans"})


def known(table: Mapping[str, T], operation: str) -> T:
    """Entry of a table of operations."""
    try:
        return table[operation]
    except KeyError:
        raise InvalidValue(f"no operation {operation!r} here; there are {', '.join(sorted(table))}") from None


def check_type(operation: str, kinds: str, *arrays: Array) -> None:
    """Refuse operands of a kind that the operation doesn't have, or of several types."""
    first = arrays[0].dtype
    if first.kind not in kinds or any(array.dtype != first for array in arrays):
        found = " and ".join(str(array.dtype) for array in arrays)
        required = " or ".join(_KINDS[kind] for kind in kinds)
        raise InvalidValue(f"{operation} of {found}: {required} of one type are required")


def check_shapes(operation: str, *arrays: Array) -> None:
    """Refuse operands that can't be broadcast against each other."""
    shapes = [array.shape for array in arrays]
    if all(shape == shapes[0] for shape in shapes):
        return
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        found = " and ".join(str(shape) for shape in shapes)
        raise InvalidValue(f"{operation} of shapes {found}: they can't be broadcast to one shape") from None

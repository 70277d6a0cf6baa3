"""Operands that say where: axes, shapes, counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import element_type

from ..kernel import Array, Call


def axis_of(axis: int, rank: int, what: str = "axis") -> int:
    """Axis counted from the front; negative ones count from the end."""
    if not -rank <= axis < rank:
        raise InvalidValue(f"{what} {axis} of rank {rank}: {-rank} to {rank - 1} are possible")
    return axis % rank


def integers(operand: Array, what: str, count: int | None = None) -> list[int]:
    """Elements of an operand that is a vector of integers, of a given length."""
    if operand.dtype.kind not in "iu" or operand.ndim != 1 or (count is not None and operand.size != count):
        wanted = "a vector of integers" if count is None else f"a vector of {count} integers"
        raise InvalidValue(f"{what} is {operand.dtype} of shape {operand.shape}: {wanted} is required")
    return [int(v) for v in operand]


def integer(operand: Array, what: str) -> int:
    """The single element of an operand."""
    if operand.dtype.kind not in "iu" or operand.size != 1:
        raise InvalidValue(f"{what} is {operand.dtype} of shape {operand.shape}: one integer is required")
    return int(operand.reshape(-1)[0])


def pairs(operand: Array, what: str, count: int) -> list[tuple[int, int]]:
    """Rows (before, after) of an operand of shape [count, 2]."""
    if operand.dtype.kind not in "iu" or operand.shape != (count, 2):
        raise InvalidValue(
            f"{what} is {operand.dtype} of shape {operand.shape}: integers of ({count}, 2) are required"
        )
    return [(int(before), int(after)) for before, after in operand]


def shape_of(extents: Iterable[int], what: str) -> tuple[int, ...]:
    """A shape; its extents must not be negative."""
    shape = tuple(int(v) for v in extents)
    if any(v < 0 for v in shape):
        raise InvalidValue(f"{what} {shape}: extents must not be negative")
    return shape


def check_indices(indices: Array, extent: int, what: str) -> None:
    """Refuse indices outside of [0, extent); negative ones don't count from the end."""
    if indices.dtype.kind not in "iu":
        raise InvalidValue(f"{what} of {indices.dtype}: integers are required")
    if indices.size and (np.min(indices) < 0 or np.max(indices) >= extent):
        raise InvalidValue(f"{what} from {np.min(indices)} to {np.max(indices)}: 0 to {extent - 1} are possible")


def output_dtype(call: Call, index: int = 0) -> np.dtype[Any]:
    """NumPy type of an output."""
    storage = element_type(call.types[index]).storage
    if storage is None:
        raise InvalidValue(f"output {index} is {call.types[index]}: NumPy has no such type")
    return storage

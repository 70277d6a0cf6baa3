"""Conversion between element types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import ElementType, element_type, from_bfloat16, to_bfloat16

if TYPE_CHECKING:
    from ..kernel import Array


def cast(x: Array, to: str, *, bfloat16: bool = False) -> Array:
    """Convert each element to another type.

    Floats become integers by truncation; beyond the type's range its nearest end stands, for NaN its greatest value.
    Integers wrap around. What isn't zero is true, NaN too. Of complex numbers the real part is taken. To float16
    and bfloat16 the way goes through float32.

    Parameters
    ----------
    x : ndarray
        Any shape; bool, integers, floats or complex.
    to : str
        Element type, such as ``INT32``.
    bfloat16 : bool
        Whether `x`, of uint16, holds the bits of bfloat16.

    Returns
    -------
    ndarray
        Shape of `x`, storage dtype of the type: types below 8 bits are not packed.

    Raises
    ------
    InvalidValue
        If the operator has no such conversion.

    Examples
    --------
    >>> cast(np.array([-1.7, 300.0, np.nan], np.float32), "INT8").tolist()
    [-1, 127, 127]
    """
    target = element_type(to)
    if bfloat16:
        x = from_bfloat16(x)
    if x.dtype.kind not in "biufc" or target.kind == "other" or (target.kind == "float" and target.bits < 16):
        raise InvalidValue(f"CAST of {x.dtype} to {to}: numbers of 16 bits and more, or integers, are required")
    if x.dtype.kind == "c" and target.kind != "complex":
        x = x.real
    if target.is_integer and x.dtype.kind == "f":
        return _saturated(x, target)
    if target.is_integer and target.bits < 8:
        raise InvalidValue(f"CAST of {x.dtype} to {to}: floats are required")
    with np.errstate(all="ignore"):
        if to in ("FLOAT16", "BFLOAT16"):
            x = x.astype(np.float32, copy=False)
        return to_bfloat16(x) if to == "BFLOAT16" else x.astype(target.storage, copy=False)


def _saturated(x: Array, target: ElementType) -> Array:
    """Truncate floats to integers of a type, within its range."""
    low, high = int(target.min or 0), int(target.max or 0)
    with np.errstate(all="ignore"):
        result = x.astype(target.storage)
        if not x.size or (low - 1 < float(np.min(x)) and float(np.max(x)) < high + 1):
            return result
        # Float32 holds zero and powers of two exactly, which both ends are, or are next to; float16 ends before.
        x = x.astype(np.promote_types(x.dtype, np.float32), copy=False)
        if target.bits > 16:
            np.copyto(result, low, where=x < float(low))
            np.copyto(result, high, where=~(x < float(high + 1)))
            return result
        clipped = np.asarray(np.clip(x, x.dtype.type(low), x.dtype.type(high)))
        result = clipped.astype(target.storage)
        if np.isnan(np.max(clipped)):
            np.copyto(result, high, where=np.isnan(x))
    return result

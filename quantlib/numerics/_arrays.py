"""What the functions of this room check of arrays that come in, and do for those that go out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from quantlib.errors import InvalidValue

#: The greatest float32 number, and the least normal one.
GREATEST, LEAST_NORMAL = float(np.finfo(np.float32).max), float(np.finfo(np.float32).smallest_normal)


def float_array(x: ArrayLike) -> NDArray[Any]:
    """`x` as an array of float16, float32 or float64; `InvalidValue` if it is of another dtype."""
    try:
        x = np.asarray(x)
    except ValueError:
        raise InvalidValue("rows of different lengths; pass a float16, float32 or float64 array") from None
    if x.dtype.kind != "f" or x.dtype.itemsize > 8:
        raise InvalidValue(f"dtype {x.dtype} is not float; pass a float16, float32 or float64 array")
    return x


def require_broadcast(**arrays: NDArray[Any]) -> None:
    """`InvalidValue` if arrays, by the names of their parameters, don't broadcast."""
    if len({array.shape for array in arrays.values()} - {()}) < 2:  # as a rule; the rest takes microseconds
        return
    try:
        np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = " and ".join(f"{name} of shape {array.shape}" for name, array in arrays.items())
        raise InvalidValue(f"{shapes} don't broadcast; extents that are equal, or 1, are required") from None


def contiguous(x: NDArray[Any]) -> NDArray[Any]:
    """`x` in C order and in the byte order of this machine, copied only if it is not."""
    return x if x.flags.c_contiguous and x.dtype.isnative else x.astype(x.dtype.newbyteorder("="), order="C")


def output(out: NDArray[Any] | None, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Make the array to fill, or check the one that the caller gave."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or not out.flags.writeable:
        held = "read-only" if isinstance(out, np.ndarray) else f"a {type(out).__name__}"
        raise InvalidValue(f"out is {held}; an array that can be written to is required")
    if out.shape != shape or out.dtype != dtype:
        raise InvalidValue(f"out is {out.dtype}{out.shape}; {np.dtype(dtype)}{shape} is required")
    return out


def flattened(out: NDArray[Any]) -> NDArray[Any]:
    """`out` as a flat array to fill: a view where that is possible; end with `settle`."""
    return out.reshape(-1) if out.flags.c_contiguous else np.empty(out.size, out.dtype)


def settle(flat: NDArray[Any], out: NDArray[Any]) -> None:
    """Bring what was filled to `out`, unless it is there already."""
    if not np.may_share_memory(flat, out):
        out[...] = flat.reshape(out.shape)

"""What recurrent kernels share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue

from ..kernel import Array

Floats: TypeAlias = npt.NDArray[np.float32]


def logistic(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), a new array."""
    with np.errstate(over="ignore"):
        out: Floats = np.exp(-x)
    out += 1
    return np.reciprocal(out, out=out)


def join(parts: Sequence[Array | None], rows: int, what: str) -> Floats:
    """Concatenate the gates' float32 weights, each with `rows` rows."""
    found = [part for part in parts if part is not None]
    if len(found) != len(parts) or any(p.shape != (rows, *found[0].shape[1:]) for p in found):
        shapes = ", ".join("none" if p is None else str(p.shape) for p in parts)
        raise InvalidValue(f"{what} {shapes}: one per gate, with {rows} rows each, is required")
    if any(p.dtype != np.float32 for p in found):
        raise InvalidValue(f"{what} of {', '.join(str(p.dtype) for p in found)}: float32 is required")
    return np.concatenate(found)


def state_of(state: Array, batch: int, width: int) -> Floats:
    """A state as [batch, width]."""
    if state.size != batch * width or state.dtype != np.float32:
        raise InvalidValue(
            f"a state of {state.dtype} {state.shape}: float32 of {batch} x {width} elements is required"
        )
    return state.reshape(batch, width)


def set_state(state: Array, value: Floats) -> None:
    """Write a state in place."""
    if not state.flags.writeable:
        raise InvalidValue(f"a state of shape {state.shape} that can't be written: a variable is required")
    state[...] = value.reshape(state.shape)


def time_first(x: Array, time_major: bool) -> Array:
    """A sequence as [T, B, I]: from [B, T, I] unless `time_major`; [B, I] is one step."""
    if x.dtype != np.float32 or x.ndim not in (2, 3):
        raise InvalidValue(f"an input of {x.dtype} {x.shape}: a float32 sequence is required")
    if x.ndim == 2:
        return x[np.newaxis]
    return x if time_major else x.swapaxes(0, 1)

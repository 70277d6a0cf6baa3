"""The bias of convolutions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

if TYPE_CHECKING:
    from ..kernel import Array


def check_bias(bias: Array | None, outputs: int) -> None:
    """Raise unless there is one bias per output channel, or none."""
    if bias is not None and bias.size != outputs:
        raise InvalidValue(f"a bias of {bias.size} elements for {outputs} output channels: one for each is required")


def add_bias(out: Array, bias: Array | None) -> Array:
    """Add a bias to the last axis, in place; `out` is C-contiguous."""
    if bias is None:
        return out
    # Few channels make short inner loops, so that several positions are taken at once.
    fold = math.gcd(out.size // bias.size, 64)
    rows = out.reshape(-1, fold * bias.size)
    rows += np.tile(bias.reshape(-1), fold)
    return out

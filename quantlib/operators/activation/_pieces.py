"""Chains of functions on pieces of an array that stay in the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..kernel import Array

# Elements of a piece: 64 KiB of float32, so that a chain with several temporaries stays in the second-level cache.
PIECE = 16384


def in_pieces(step: Callable[[Array, Array], None], x: Array) -> Array:
    """Compute a function of single elements, in float32.

    Parameters
    ----------
    step : callable
        Takes a piece of the input and the array to write its result to; both float32 vectors.
    x : ndarray
        Floats of any shape.

    Returns
    -------
    ndarray
        Shape and dtype of `x`.
    """
    flat = x.astype(np.float32, copy=False).reshape(-1)
    result = np.empty(flat.size, np.float32)
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, PIECE):
            cut = slice(start, start + PIECE)
            step(flat[cut], result[cut])
        return result.reshape(x.shape).astype(x.dtype, copy=False)

"""Transposed convolutions: one product, whose results are added where their windows lie."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..fused import clip_fused
from ..windows import plan
from .floating_bias import add_bias, check_bias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..kernel import Array
    from ..windows import PaddingName

_BLOCK_BYTES = 1 << 21


def transposed_convolve(
    shape: Sequence[int],
    filters: Array,
    x: Array,
    bias: Array | None = None,
    *,
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: PaddingName,
    activation: int = 0,
) -> Array:
    """Transposed convolution over any number of spatial axes.

    Parameters
    ----------
    shape : sequence of int
        Shape of the result, ``[batch, *spatial, outputs]``.
    filters : ndarray
        float32, shape ``[*kernel, outputs, channels]``.
    x : ndarray
        float32, shape ``[batch, *counts, channels]``: as many as there are windows in the result.
    bias : ndarray, optional
        float32, shape ``[outputs]``.
    strides, dilations : sequence of int
        One per spatial axis.
    padding : {"SAME", "VALID"}
        Of the convolution that this one transposes.
    activation : int
        ``ActivationFunctionType``.

    Returns
    -------
    ndarray
        float32, shape `shape`.

    Raises
    ------
    InvalidValue
        If ranks, channels or sizes don't fit.
    """
    *kernel, outputs, channels = filters.shape
    wanted = tuple(int(n) for n in shape)
    if not len(wanted) == x.ndim == filters.ndim == 2 + len(strides):
        raise InvalidValue(
            f"transposed convolution of {x.shape} with {filters.shape} to {wanted}: all need rank {2 + len(strides)}"
        )
    if min(wanted) < 0 or channels != x.shape[-1] or (wanted[0], wanted[-1]) != (len(x), outputs):
        raise InvalidValue(
            f"transposed convolution of {x.shape} with {filters.shape} to {wanted}: batch or channels differ"
        )
    check_bias(bias, outputs)
    axes = plan(wanted[1:-1], kernel, strides, dilations, padding)
    counts = tuple(a.count for a in axes)
    if counts != x.shape[1:-1]:
        raise InvalidValue(
            f"transposed convolution to {wanted}: an input of {counts} is required, not {x.shape[1:-1]}"
        )
    out = np.zeros((len(x), *(a.padded for a in axes), outputs), np.result_type(x, filters))
    matrix = filters.reshape(-1, channels).T
    for sample, result in zip(x, out, strict=True):
        _scatter(sample, matrix, (*kernel, outputs), strides, dilations, result)
    inside = tuple(slice(a.before, a.before + a.length) for a in axes)
    cropped = np.ascontiguousarray(out[(slice(None), *inside)])
    return clip_fused(add_bias(cropped, bias), activation)


def _scatter(
    sample: Array,
    matrix: Array,
    window: tuple[int, ...],
    strides: Sequence[int],
    dilations: Sequence[int],
    result: Array,
) -> None:
    """Multiply a sample, some rows at a time, and add each tap's products at its places in the padded result."""
    if sample.size == 0 or result.size == 0:
        return
    counts = sample.shape[:-1]
    row_bytes = sample[0].size // sample.shape[-1] * matrix.shape[1] * result.itemsize
    rows = min(counts[0], max(1, _BLOCK_BYTES // row_bytes))
    for start in range(0, counts[0], rows):
        part = sample[start : start + rows]
        products = np.matmul(part.reshape(-1, part.shape[-1]), matrix).reshape(*part.shape[:-1], *window)
        every = (slice(None),) * len(strides)
        for taps in product(*(range(k) for k in window[:-1])):
            first = [t * d for t, d in zip(taps, dilations, strict=True)]
            first[0] += start * strides[0]
            places = (
                slice(f, f + (n - 1) * s + 1, s) for f, n, s in zip(first, part.shape[:-1], strides, strict=True)
            )
            result[tuple(places)] += products[(*every, *taps)]

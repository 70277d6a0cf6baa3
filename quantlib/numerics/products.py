"""Scales of a product with which kernels for INT8 multiply as those for UINT8 do."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from ._arrays import LEAST_NORMAL
from .fixedpoint import MultiplierRounding, multiply_by_quantized_multiplier, quantize_multiplier

#: Sums that are compared one by one; beyond, multipliers must be equal.
_MOST_SUMS = 1 << 22
#: Results of 8 bits, less their zero point, lie within -255..255.
_MOST_STEPS = 256
#: Neighbours of a scale among which one is looked for.
_NEIGHBOURS = 1 << 14
_ROUNDINGS: tuple[MultiplierRounding, ...] = ("double", "upward")


@cache
def product_scales(x: float, weights: float, output: float) -> tuple[float, float]:
    """Scales of input and weights with which INT8 kernels scale sums of products as UINT8 kernels do.

    UINT8 kernels round the product of both scales to float32 before they divide by that of the output, INT8 kernels
    take it in float64 (tflite/kernels/kernel_util.cc, ``GetQuantizedConvolutionMultipler`` and
    ``PopulateConvolutionQuantizationParams``). XNNPACK rounds to float32 for both.

    Parameters
    ----------
    x, weights, output : float
        Scales as float32 holds them.

    Returns
    -------
    (float, float)
        `x` and `weights` where no sum is rounded otherwise; else the nearest float32 to `x`, and one for the weights,
        whose product is that of the UINT8 kernels.

    Examples
    --------
    >>> product_scales(0.5, 0.25, 0.125)  # the product is exact
    (0.5, 0.25)
    """
    first, second = np.float32(x), np.float32(weights)
    if min(x, weights, output, float(first * second)) < LEAST_NORMAL:
        return x, weights  # no kernel computes with such scales
    rounded = first * second
    wanted = quantize_multiplier(float(rounded) / output)
    if _same_results(wanted, quantize_multiplier(float(first) * float(second) / output), float(rounded) / output):
        return x, weights
    bits = np.array(first).view(np.int32) + np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1, dtype=np.int32)
    near = bits.view(np.float32)
    other = (float(rounded) / near.astype(np.float64)).astype(np.float32)
    product = near.astype(np.float64) * other.astype(np.float64)
    mantissa, shift = quantize_multiplier(product / output)
    equal = (mantissa == wanted[0]) & (shift == wanted[1]) & (product.astype(np.float32) == rounded)
    found = np.flatnonzero(equal)
    if not found.size:
        return x, weights
    best = found[np.abs(found - _NEIGHBOURS).argmin()]
    return float(near[best]), float(other[best])


_Pair = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]


def _same_results(a: _Pair, b: _Pair, multiplier: float) -> bool:
    if a == b:
        return True
    most = _MOST_STEPS / multiplier
    if most > _MOST_SUMS:
        return False
    sums = np.arange(-int(most) - 1, int(most) + 2, dtype=np.int64)
    return all(
        np.array_equal(
            multiply_by_quantized_multiplier(sums, *a, rounding=rounding),
            multiply_by_quantized_multiplier(sums, *b, rounding=rounding),
        )
        for rounding in _ROUNDINGS
    )

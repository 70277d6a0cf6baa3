"""Exact sums of integer products through BLAS, which multiplies floats alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine

from .integer_values import scale_of
from .kernel import Array
from .kernel_checks import INTEGERS, checked

#: Floats hold all integers up to here.
_LIMITS = ((np.float32, 1 << 24), (np.float64, 1 << 53))

#: Size of the largest integer of hybrid kernels' activations: int8 less a zero point of int8.
LARGEST_HYBRID = 255


@checked(divides_by=())
def reach(affine: Affine) -> int:
    """Size of the largest ``q - zero_point`` that a type can hold.

    Examples
    --------
    >>> reach(Affine("INT8", 0.1, -128))
    255
    """
    low, high, zero_point = affine.qmin, affine.qmax, affine.zero_point
    return int(max((high - zero_point).max(), (zero_point - low).max()))


def exact_type(most: int) -> np.dtype[np.floating]:
    """Float type in which integers add up exactly, whatever their order.

    Parameters
    ----------
    most : int
        What the sizes of all of them can sum up to.

    Returns
    -------
    dtype
        float32 below 2**24, else float64.

    Raises
    ------
    InvalidValue
        If it is 2**53 or more.

    Examples
    --------
    >>> exact_type(1 << 24)
    dtype('float64')
    """
    for dtype, limit in _LIMITS:
        if most < limit:
            return np.dtype(dtype)
    raise InvalidValue(f"sums of products can reach {most}; below 2**53 is required")


@checked(weights=INTEGERS, zero_point=INTEGERS)
def exact_weights(weights: Array, largest: int, zero_point: Array | int = 0) -> Array:
    """Weights less their zero point, as floats in which products with other integers add up exactly.

    That is float32 while the sum of the sizes of all products stays below 2**24, so that every partial sum does,
    whatever their order; else float64, below 2**53.

    Parameters
    ----------
    weights : int array of shape [outputs, ...]
        All that are multiplied for one output stand in its row.
    largest : int
        Size of the largest integer that they are multiplied with, see `reach`.
    zero_point : int or int array that broadcasts with `weights`

    Returns
    -------
    float32 or float64 array of the shape of `weights`

    Raises
    ------
    InvalidValue
        If sums can reach 2**53.

    Examples
    --------
    >>> exact_weights(np.array([[127, -127]], np.int8), 255).dtype, exact_weights(np.array([[127] * 600]), 255).dtype
    (dtype('float32'), dtype('float64'))
    """
    centered = weights.astype(np.int64) - zero_point
    rows = np.abs(centered).reshape(len(weights), -1).sum(axis=1) if weights.size else np.zeros(1, np.int64)
    return np.asarray(centered.astype(exact_type(int(rows.max(initial=0)) * largest)))


@checked()
def multiplier_of_product(first: Affine, second: Affine, output: Affine) -> npt.NDArray[np.float64]:
    """Real multipliers from sums of products to an output: ``s1 * s2 / s_out`` in float64.

    Parameters
    ----------
    first, second, output : Affine
        Of both factors and of the output. The second, of weights, may have a scale for each channel.

    Returns
    -------
    float64 array of shape (1,) or (channels,)

    Examples
    --------
    >>> multiplier_of_product(Affine("INT8", 0.5), Affine("INT8", 0.25), Affine("INT8", 1.0))
    array([0.125])
    """
    scales = second.scale.reshape(-1).astype(np.float64)
    return np.asarray(np.float64(scale_of(first)) * scales / np.float64(scale_of(output)))


def rounded_multiplier_of_product(first: Affine, second: Affine, output: Affine) -> np.float64:
    """Real multiplier of kernels with one for all channels: ``float32(s1 * s2) / s_out``, the quotient in float64.

    ``GetQuantizedConvolutionMultipler`` in ``tflite/kernels/kernel_util.cc``.

    Parameters
    ----------
    first, second, output : Affine
        Of both factors and of the output; one scale each.

    Examples
    --------
    >>> rounded_multiplier_of_product(Affine("UINT8", 0.5), Affine("UINT8", 0.25), Affine("UINT8", 1.0))
    np.float64(0.125)
    """
    return np.float64(scale_of(first) * scale_of(second)) / np.float64(scale_of(output))


def float_multiplier_of_product(first: Affine, second: Affine, output: Affine) -> np.float32:
    """Real multiplier of kernels of two elements: ``s1 * s2 / s_out``, both steps in float32.

    Parameters
    ----------
    first, second, output : Affine
        Of both factors and of the output; one scale each.

    Examples
    --------
    >>> float_multiplier_of_product(Affine("INT8", 0.5), Affine("INT8", 0.25), Affine("INT8", 1.0))
    np.float32(0.125)
    """
    with np.errstate(over="ignore"):  # an infinite one is refused where it is used
        return np.float32(scale_of(first) * scale_of(second) / scale_of(output))


def centered(x: Array, zero_point: int, dtype: np.dtype[np.floating]) -> Array:
    """Integers less their zero point, as floats.

    Examples
    --------
    >>> centered(np.array([3, 5], np.int8), 3, np.dtype(np.float32))
    array([0., 2.], dtype=float32)
    """
    out = x.astype(dtype)
    if zero_point:
        out -= zero_point
    return out

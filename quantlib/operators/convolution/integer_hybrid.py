"""Convolutions of floats with integer filters: the floats are quantized to int8 first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..fused import clip_fused
from ..integer_hybrid import quantize_rows
from ..kernel_checks import EXACT, FLOAT, checked
from .floating_dense import convolve
from .floating_depthwise import depthwise_convolve
from .floating_transposed import transposed_convolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..kernel import Array
    from ..windows import PaddingName


@checked(x=FLOAT, filters=EXACT, scales=FLOAT, bias=FLOAT)
def convolve_hybrid(
    x: Array,
    filters: Array,
    scales: Array,
    bias: Array | None = None,
    *,
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: PaddingName,
    activation: int = 0,
) -> Array:
    """Convolution of floats with integer filters; each sample is quantized to int8 over its own range.

    With scales that are all equal, and without groups, samples are quantized symmetrically and scaled by
    ``sample scale * filter scale``; else asymmetrically, and scaled first by the channel's, then by the sample's
    (``EvalHybrid`` and ``EvalHybridPerChannel`` in ``tflite/kernels/conv.cc``). Every float equals LiteRT's.

    Parameters
    ----------
    x : ndarray
        float32, shape ``[batch, *spatial, channels]``.
    filters : ndarray
        Shape ``[outputs, *kernel, channels / groups]``, in a float type in which sums are exact, see
        `exact_weights`.
    scales : ndarray
        float32, one for all outputs or one for each.
    bias : ndarray, optional
        float32, shape ``[outputs]``.
    strides, dilations, padding
        As in `convolve`.
    activation : int
        ``ActivationFunctionType``.

    Returns
    -------
    ndarray
        float32, shape ``[batch, *counts, outputs]``.

    Raises
    ------
    InvalidValue
        If ranks, channels or sizes don't fit, or groups share one scale.

    Examples
    --------
    >>> x, filters = np.array([[[[1.0], [-2.0]]]], np.float32), np.array([[[[3.0]]]], np.float32)
    >>> convolve_hybrid(x, filters, np.float32([0.5]), strides=(1, 1), dilations=(1, 1), padding="VALID").ravel()
    array([ 1.511811, -3.      ], dtype=float32)
    """
    by_channel = scales_by_channel(scales, grouped=x.shape[-1] != filters.shape[-1])
    values, sample_scales = _quantized(x, filters, asymmetric=by_channel)
    sums = convolve(values, filters, strides=strides, dilations=dilations, padding=padding).astype(np.float32)
    if by_channel:
        sums *= scales.reshape(-1)
        sums *= sample_scales
    else:
        sums *= sample_scales * scales.reshape(-1)[0]
    return _finish(sums, bias, activation)


def scales_by_channel(scales: Array, *, grouped: bool) -> bool:
    """Whether a CONV_2D scales by channel, and quantizes asymmetrically: with several scales, or in groups.

    Raises
    ------
    InvalidValue
        If groups share one scale.
    """
    if grouped and scales.size == 1:
        raise InvalidValue("a hybrid convolution in groups with one scale; one for each output is required")
    return grouped or not bool((scales == scales.reshape(-1)[0]).all())


@checked(x=FLOAT, filters=EXACT, scales=FLOAT, bias=FLOAT)
def depthwise_convolve_hybrid(
    x: Array,
    filters: Array,
    scales: Array,
    bias: Array | None = None,
    *,
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: PaddingName,
    activation: int = 0,
) -> Array:
    """Convolution of each channel of floats with integer filters of its own.

    Samples are quantized asymmetrically; sums are scaled by ``channel scale * sample scale``
    (``DepthwiseConvHybridPerChannel`` in ``tflite/kernels/internal/reference/integer_ops/depthwise_conv.h``). Every
    float equals LiteRT's. Parameters, result and errors are those of `convolve_hybrid`; the filters have the shape
    ``[1, kernel height, kernel width, channels * multiplier]``.

    Examples
    --------
    >>> x = np.array([1, 2, 3], np.float32).reshape(1, 1, 3, 1)
    >>> filters, scales = np.array([1, 2, -1, 3], np.float32).reshape(1, 1, 2, 2), np.array([0.5, 0.25], np.float32)
    >>> window = {"strides": (1, 1), "dilations": (1, 1), "padding": "VALID"}
    >>> depthwise_convolve_hybrid(x, filters, scales, **window)[0, 0]
    array([[-0.5 ,  2.  ],
           [-0.5 ,  3.25]], dtype=float32)
    """
    values, sample_scales = _quantized(x, filters, asymmetric=True)
    sums = depthwise_convolve(values, filters, strides=strides, dilations=dilations, padding=padding)
    return _finish(sums.astype(np.float32) * (scales.reshape(-1) * sample_scales), bias, activation)


@checked(x=FLOAT, filters=EXACT, scales=FLOAT, bias=FLOAT)
def transposed_convolve_hybrid(
    x: Array,
    filters: Array,
    scales: Array,
    bias: Array | None = None,
    *,
    shape: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: PaddingName,
    activation: int = 0,
) -> Array:
    """Transposed convolution of floats with integer filters; each sample is quantized to int8 over its own range.

    Sums are exact, then scaled. LiteRT scales each product and adds floats (``HybridTransposeConv`` in
    ``tflite/kernels/internal/reference/transpose_conv.h``), so that its result differs from this one by up to
    ``(n + 2) * 2**-24`` times the sum of the sizes of the n products that meet in an output.

    Parameters
    ----------
    x : ndarray
        float32, shape ``[batch, *counts, channels]``.
    filters : ndarray
        Shape ``[*kernel, outputs, channels]``, in a float type in which sums are exact, see `exact_weights`.
    scales : ndarray
        float32, one for each output.
    bias : ndarray, optional
        float32, shape ``[outputs]``.
    shape : sequence of int
        Shape of the result, ``[batch, *spatial, outputs]``.
    strides, dilations, padding
        As in `transposed_convolve`.
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
    values, sample_scales = _quantized(x, filters, asymmetric=True)
    sums = transposed_convolve(shape, filters, values, strides=strides, dilations=dilations, padding=padding)
    return _finish(sums.astype(np.float32) * scales.reshape(-1) * sample_scales, bias, activation)


def _quantized(x: Array, filters: Array, *, asymmetric: bool) -> tuple[Array, Array]:
    """Samples as integers less their zero points, in the type of the filters, and their scales."""
    rows = quantize_rows(x.reshape(len(x), math.prod(x.shape[1:])), asymmetric=asymmetric)
    values = rows.q.astype(filters.dtype)
    values -= rows.zero_point
    return values.reshape(x.shape), rows.scale.reshape(len(x), *(1,) * (x.ndim - 1))


def _finish(sums: Array, bias: Array | None, activation: int) -> Array:
    if bias is not None:
        sums += bias
    return clip_fused(sums, activation)

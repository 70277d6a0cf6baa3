"""Quantization of float activations while a model runs, for kernels whose weights alone are integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quantlib.numerics import round_half_away

from .fused import clip_fused
from .kernel import Array
from .kernel_checks import FLOAT, checked

_LEAST, _GREATEST = -128.0, 127.0
#: Values that LiteRT rounds at a time.
_VECTOR = 8


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedRows:
    """Rows of floats as int8: ``real = scale * (q - zero_point)``, one scale for each row.

    Attributes
    ----------
    q : int8 array of shape [rows, depth]
    scale : float32 array of shape [rows, 1]
    zero_point : int32 array of shape [rows, 1]
    """

    q: Array
    scale: Array
    zero_point: Array


@checked(x=FLOAT)
def quantize_rows(x: Array, *, asymmetric: bool) -> QuantizedRows:
    """Quantize each row to int8 over its own range, halves rounded away from zero.

    Asymmetric: the range includes zero, ``scale = (max - min) / 255``, the zero point is taken from the end whose
    error is less, and is added to what was rounded. Symmetric: ``scale = max|x| / 127``. A row of zeros has the scale
    1 and the zero point 0. LiteRT on x86 takes eight values at a time, to which it adds one half of their sign before
    it truncates, so that 0.49999997 becomes 1; what remains of a row is rounded exactly
    (``NeonSymmetricQuantizeFloats`` and ``NeonAsymmetricQuantizeFloats`` in
    ``tflite/kernels/internal/optimized/neon_tensor_utils.cc``, which x86 builds have through NEON_2_SSE.h).

    Parameters
    ----------
    x : ndarray
        float32, shape ``[rows, depth]``.
    asymmetric : bool

    Returns
    -------
    QuantizedRows

    Examples
    --------
    >>> rows = quantize_rows(np.array([[0, 1, 2.55], [0, 0, 0]], np.float32), asymmetric=True)
    >>> rows.q.tolist(), rows.zero_point.tolist()
    ([[-128, -28, 127], [0, 0, 0]], [[-128], [0]])
    """
    low = x.min(axis=1, keepdims=True, initial=0)
    high = x.max(axis=1, keepdims=True, initial=0)
    empty = low == high
    if not asymmetric:
        most = np.where(empty, np.float32(1), np.maximum(-low, high))
        q = _rounded(x * (np.float32(127) / most))
        scale = np.where(empty, np.float32(1), most / np.float32(127))
        np.clip(q, -_GREATEST, _GREATEST, out=q)
        return QuantizedRows(q.astype(np.int8), scale, np.zeros(scale.shape, np.int32))
    exact = np.where(empty, 1, (high - low).astype(np.float64) / (_GREATEST - _LEAST))
    below, above = low / exact, high / exact
    from_low = 128 + np.abs(below) < 127 + np.abs(above)
    point = np.clip(round_half_away(np.where(from_low, _LEAST - below, _GREATEST - above)), _LEAST, _GREATEST)
    point, scale = np.where(empty, 0, point).astype(np.float32), exact.astype(np.float32)
    q = _rounded(x * (1 / scale.astype(np.float64)).astype(np.float32))
    q += point
    np.clip(q, _LEAST, _GREATEST, out=q)
    return QuantizedRows(q.astype(np.int8), scale, point.astype(np.int32))


@checked(x=FLOAT)
def quantize_groups_even(x: Array, axes: int) -> tuple[Array, Array]:
    """Quantize floats to int8 as XNNPACK does, each group over its own range, halves to even.

    The range includes zero; the zero point is taken from the end whose error is less
    (``xnn_qd8_asymmetric_quantization_params`` in google/XNNPACK's ``src/xnnpack/quantization.h``).

    Parameters
    ----------
    x : ndarray
        float32.
    axes : int
        Trailing axes that make a group.

    Returns
    -------
    values : int16 array of the shape of `x`
        Less their zero point.
    scale : float32 array
        That of each group, of the rank of `x`.

    Examples
    --------
    >>> values, scale = quantize_groups_even(np.array([[0, 1, 2.55]], np.float32), 1)
    >>> values.tolist(), scale.shape
    ([[0, 100, 255]], (1, 1))
    """
    over = tuple(range(x.ndim - axes, x.ndim))
    low = np.min(x, axis=over, keepdims=True, initial=0)
    high = np.max(x, axis=over, keepdims=True, initial=0)
    span = np.where(low == high, np.float32(1), high - low)
    inverse = np.where(low == high, np.float32(1), np.float32(_GREATEST - _LEAST) / span).astype(np.float32)
    below, above = low * inverse, high * inverse
    from_low = np.float32(_LEAST) + below + (np.float32(_GREATEST) + above) > 0
    point = np.where(from_low, np.float32(_LEAST) - below, np.float32(_GREATEST) - above)
    point = np.rint(np.clip(point, _LEAST, _GREATEST))
    q = np.clip(np.rint(x * inverse) + point, _LEAST, _GREATEST)
    return (q - point).astype(np.int16), np.float32(1) / inverse


@checked(x=FLOAT, scales=FLOAT, bias=FLOAT)
def dynamic(
    x: Array,
    axes: int,
    product: Callable[[Array, Callable[[Array], Array]], Array],
    scales: Array | np.float32,
    bias: Array | None = None,
    *,
    activation: int = 0,
) -> Array:
    """Product of floats with integers as XNNPACK computes it: ``sum * scale of the group * channel's scale + bias``.

    Parameters
    ----------
    x : ndarray
        float32.
    axes : int
        Trailing axes of `x` that are quantized together, see `quantize_groups_even`.
    product : callable
        From the quantized values, and what makes floats of sums, to the result.
    scales : ndarray
        float32, one or one for each channel.
    bias : ndarray, optional
        float32, one for each channel.
    activation : int
        ``ActivationFunctionType``.

    Returns
    -------
    ndarray
        float32.
    """
    values, groups = quantize_groups_even(x, axes)

    def finish(sums: Array) -> Array:
        rows = groups if groups.ndim == sums.ndim else groups.reshape(-1, 1)
        floats = sums.astype(np.float32)
        floats *= rows
        floats *= scales
        if bias is not None:
            floats += bias
        return clip_fused(floats, activation)

    return product(values, finish)


def _rounded(x: Array) -> Array:
    """Round rows as LiteRT's vectors do."""
    whole = x.shape[1] - x.shape[1] % _VECTOR
    out = np.where(x < 0, np.float32(-0.5), np.float32(0.5))
    out += x
    out[:, whole:] = round_half_away(x[:, whole:])
    return np.asarray(np.trunc(out, out=out))

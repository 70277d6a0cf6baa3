"""Quantization of float activations while a model runs, for kernels whose weights alone are integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlib.numerics import round_half_away

from .kernel import Array

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


def _rounded(x: Array) -> Array:
    """Round rows as LiteRT's vectors do."""
    whole = x.shape[1] - x.shape[1] % _VECTOR
    out = np.where(x < 0, np.float32(-0.5), np.float32(0.5))
    out += x
    out[:, whole:] = round_half_away(x[:, whole:])
    return np.asarray(np.trunc(out, out=out))

"""The error function, which NumPy lacks, and GELU, which is made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._pieces import in_pieces

if TYPE_CHECKING:
    from ..kernel import Array

# Minimax fits by weighted least squares against float64 values of Python's math.erf and math.erfc.
# Below 1, erf(z) = z * P(z**2), with a relative error of 1.2e-9.
_CENTRE = tuple(
    np.float32(c)
    for c in (1.1283791, -0.37612626, 0.112835854, -0.026853811, 0.0051883264, -0.0008010179, 7.85381e-05)
)
# From 1 on, erfc(z) = exp(-z**2) * t * Q(t) with t = 1 / (1 + 0.4 z), with a relative error of 3.4e-8.
_TAIL = tuple(
    np.float32(c) for c in (0.22562543, 0.2267177, 0.19862318, 0.21357119, 0.007335146, 0.24445936, -0.116578616)
)
_SLOPE = np.float32(0.4)
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_ROOT_HALF = np.float32(0.5**0.5)
_ROOT_2_BY_PI = np.float32((2 / np.pi) ** 0.5)
_CUBIC = np.float32(0.044715)


def _polynomial(coefficients: tuple[np.float32, ...], x: Array) -> Array:
    value = np.multiply(x, coefficients[-1])
    for c in coefficients[-2:0:-1]:
        value += c
        value *= x
    value += coefficients[0]
    return value


def _parts(z: Array) -> tuple[Array, Array, Array, Array]:
    """Erf where z < 1 and erfc where z >= 1, both 0 elsewhere, and where that is, as 1 and 0; for z >= 0."""
    inside = np.less(z, _ONE).astype(np.float32)
    outside = np.subtract(_ONE, inside)
    small = np.clip(z, _ZERO, _ONE)
    centre = _polynomial(_CENTRE, np.square(small))
    centre *= small
    centre *= inside
    square = np.square(z)
    t = np.multiply(z, _SLOPE)
    t += _ONE
    np.reciprocal(t, out=t)
    tail = _polynomial(_TAIL, t)
    tail *= t
    np.negative(square, out=square)
    tail *= np.exp(square, out=square)
    tail *= outside
    return centre, tail, inside, outside


def _erf(x: Array, y: Array) -> None:
    centre, tail, _, outside = _parts(np.abs(x))
    np.subtract(outside, tail, out=y)
    y += centre
    np.copysign(y, x, out=y)


def _gelu(x: Array, y: Array) -> None:
    """Compute ``x * cdf(x)``: erfc keeps its relative precision where x is far below zero."""
    z = np.abs(x)
    z *= _ROOT_HALF
    centre, tail, inside, _ = _parts(z)
    np.subtract(inside, centre, out=centre)
    tail += centre
    tail *= _HALF
    # Now the tail is the normal distribution's cdf at -|x|; at x > 0 the cdf is one less that.
    np.subtract(np.greater(x, _ZERO).astype(np.float32), tail, out=y)
    np.abs(y, out=y)
    y *= x


def _gelu_tanh(x: Array, y: Array) -> None:
    np.square(x, out=y)
    y *= x
    y *= _CUBIC
    y += x
    y *= _ROOT_2_BY_PI
    np.tanh(y, out=y)
    y += _ONE
    y *= x
    y *= _HALF


def erf(x: Array) -> Array:
    """Error function.

    Parameters
    ----------
    x : ndarray
        float32 or float16, any shape.

    Returns
    -------
    ndarray
        Shape and dtype of `x`; within two units in the last place of 1.0, and for ``|x| < 1`` within five of the
        result.

    Examples
    --------
    >>> erf(np.array([-0.5, 0.0, 9.0], np.float32)).round(4).tolist()
    [-0.5205000042915344, 0.0, 1.0]
    """
    return in_pieces(_erf, x)


def gelu(x: Array, *, approximate: bool = False) -> Array:
    """Gaussian error linear unit: ``x / 2 * erfc(-x / sqrt(2))``.

    Parameters
    ----------
    x : ndarray
        float32 or float16, any shape.
    approximate : bool
        Compute ``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))`` instead.

    Returns
    -------
    ndarray
        Shape and dtype of `x`.

    Examples
    --------
    >>> gelu(np.array([-1.0, 0.0, 1.0], np.float32)).round(4).tolist()
    [-0.15870000422000885, 0.0, 0.8413000106811523]
    """
    return in_pieces(_gelu_tanh if approximate else _gelu, x)

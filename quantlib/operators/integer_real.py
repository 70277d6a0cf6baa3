"""Activations of quantized arrays whose tables the kernels compute from real numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quantlib.numerics import Affine

from .activation.real_functions import elu, gelu, gelu_tanh, logistic, tanh
from .elementwise.integer_unary import exponential
from .integer_unary import by_floats, by_steps
from .kernel import Array
from .kernel_checks import BYTES, INT8, NARROW, WORD, checked


def _integers(x: Array, function: Callable[[Array], Array], before: Affine, after: Affine) -> Array:
    return by_steps(function, before, after)(x) if x.dtype == np.int16 else by_floats(x, function, before, after)


@checked(x=BYTES)
def logistic_bytes(x: Array, before: Affine, after: Affine) -> Array:
    """Logistic function of 8-bit integers, see `by_floats`.

    Parameters
    ----------
    x : ndarray
        int8 or uint8, any shape.
    before, after : Affine
        Of `x` and of the result; one scale each. LOGISTIC has a scale of 1/256 there, and a zero point of -128 or 0.

    Returns
    -------
    ndarray
        Of the storage dtype of `after`, shape of `x`.

    Raises
    ------
    InvalidValue
        If `x` is of another dtype.

    Examples
    --------
    >>> logistic_bytes(np.array([-40, 0, 40], np.int8), Affine("INT8", 0.05), Affine("INT8", 1 / 256, -128))
    array([-97,   0,  97], dtype=int8)
    """
    return _integers(x, logistic, before, after)


@checked(x=BYTES)
def tanh_bytes(x: Array, before: Affine, after: Affine) -> Array:
    """Hyperbolic tangent of 8-bit integers; parameters, result and errors are those of `logistic_bytes`.

    Examples
    --------
    >>> tanh_bytes(np.array([-40, 0, 40], np.int8), Affine("INT8", 0.05), Affine("INT8", 1 / 128))
    array([-123,    0,  123], dtype=int8)
    """
    return _integers(x, tanh, before, after)


@checked(x=INT8)
def elu_bytes(x: Array, before: Affine, after: Affine) -> Array:
    """ELU of int8 integers; parameters, result and errors are those of `logistic_bytes`.

    Examples
    --------
    >>> elu_bytes(np.array([-40, 0, 40], np.int8), Affine("INT8", 0.05), Affine("INT8", 0.05))
    array([-17,   0,  40], dtype=int8)
    """
    return _integers(x, elu, before, after)


@checked(x=NARROW)
def gelu_integers(x: Array, before: Affine, after: Affine, *, approximate: bool = False) -> Array:
    """GELU of quantized arrays: by `by_floats`, or for int16 by `by_steps`.

    Parameters
    ----------
    x : ndarray
        int8, uint8 or int16, any shape.
    before, after : Affine
        Of `x` and of the result; one scale each.
    approximate : bool
        By the hyperbolic tangent.

    Returns
    -------
    ndarray
        Of the storage dtype of `after`, shape of `x`.

    Raises
    ------
    InvalidValue
        If `x` is of another dtype.

    Examples
    --------
    >>> gelu_integers(np.array([-40, 0, 40], np.int8), Affine("INT8", 0.05), Affine("INT8", 0.05))
    array([-1,  0, 39], dtype=int8)
    """
    return _integers(x, gelu_tanh if approximate else gelu, before, after)


@checked(x=INT8 + WORD)
def exponential_integers(x: Array, before: Affine, after: Affine) -> Array:
    """Exponential function of quantized arrays: by `by_floats`, or for int16 by `by_steps`.

    Parameters, result and errors are those of `gelu_integers`; `x` is int8 or int16.

    Examples
    --------
    >>> exponential_integers(np.array([-40, 0, 20], np.int8), Affine("INT8", 0.05), Affine("INT8", 0.025))
    array([  5,  40, 109], dtype=int8)
    """
    return _integers(x, exponential, before, after)

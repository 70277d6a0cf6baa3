"""Convolutions of integers: exact sums through the float ones, then requantized."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..integer_product import centered
from ..kernel_checks import EXACT, NARROW, checked
from .floating_dense import convolve
from .floating_depthwise import depthwise_convolve
from .floating_transposed import transposed_convolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..integer_requantize import Requantizer
    from ..kernel import Array
    from ..windows import PaddingName


@checked(x=NARROW, filters=EXACT)
def convolve_integers(
    x: Array,
    filters: Array,
    requantize: Requantizer,
    *,
    zero_point: int,
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: PaddingName,
) -> Array:
    """Convolution of integers.

    Parameters
    ----------
    x : ndarray
        int8, uint8 or int16, shape ``[batch, *spatial, channels]``. Padding has its zero point.
    filters : ndarray
        Shape ``[outputs, *kernel, channels / groups]``, less their zero point, in a float type in which sums are
        exact, see `exact_weights`.
    requantize : Requantizer
        From sums to the output; it has the bias.
    zero_point : int
        Of `x`.
    strides, dilations, padding
        As in `convolve`.

    Returns
    -------
    ndarray
        Dtype of `requantize`, shape ``[batch, *counts, outputs]``.

    Raises
    ------
    InvalidValue
        If ranks, channels or sizes don't fit.
    """
    floats = centered(x, zero_point, filters.dtype)
    return requantize(convolve(floats, filters, strides=strides, dilations=dilations, padding=padding))


@checked(x=NARROW, filters=EXACT)
def depthwise_convolve_integers(
    x: Array,
    filters: Array,
    requantize: Requantizer,
    *,
    zero_point: int,
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: PaddingName,
) -> Array:
    """Convolution of each channel of integers with filters of its own.

    Parameters, result and errors are those of `convolve_integers`; the filters have the shape
    ``[1, kernel height, kernel width, channels * multiplier]``.

    Examples
    --------
    >>> import numpy as np
    >>> from quantlib.numerics import Affine
    >>> from quantlib.operators.integer_requantize import fixed_point
    >>> x = np.array([1, 2, 3], np.int8).reshape(1, 1, 3, 1)
    >>> filters = np.array([1, 2, -1, 3], np.float32).reshape(1, 1, 2, 2)
    >>> window = {"strides": (1, 1), "dilations": (1, 1), "padding": "VALID"}
    >>> requantize = fixed_point(0.5, Affine("INT8", 1.0))
    >>> depthwise_convolve_integers(x, filters, requantize, zero_point=1, **window)[0, 0]
    array([[0, 2],
           [0, 4]], dtype=int8)
    """
    floats = centered(x, zero_point, filters.dtype)
    return requantize(depthwise_convolve(floats, filters, strides=strides, dilations=dilations, padding=padding))


@checked(x=NARROW, filters=EXACT)
def transposed_convolve_integers(
    x: Array,
    filters: Array,
    requantize: Requantizer,
    *,
    shape: Sequence[int],
    zero_point: int,
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: PaddingName,
) -> Array:
    """Transposed convolution of integers.

    Parameters, result and errors are those of `convolve_integers`; the filters have the shape
    ``[*kernel, outputs, channels]``, and `shape` is that of the result, ``[batch, *spatial, outputs]``.

    Examples
    --------
    >>> import numpy as np
    >>> from quantlib.numerics import Affine
    >>> from quantlib.operators.integer_requantize import fixed_point
    >>> x = np.array([1, 2, 3], np.int8).reshape(1, 1, 3, 1)
    >>> filters = np.array([1, 2], np.float32).reshape(1, 2, 1, 1)
    >>> window = {"strides": (1, 1), "dilations": (1, 1), "padding": "VALID"}
    >>> requantize = fixed_point(0.5, Affine("INT8", 1.0))
    >>> transposed_convolve_integers(x, filters, requantize, shape=(1, 1, 4, 1), zero_point=1, **window).ravel()
    array([0, 1, 2, 2], dtype=int8)
    """
    floats = centered(x, zero_point, filters.dtype)
    return requantize(
        transposed_convolve(shape, filters, floats, strides=strides, dilations=dilations, padding=padding)
    )

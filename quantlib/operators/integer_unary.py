"""Integer kernels of functions of one element, as tables of all values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from quantlib.numerics import Affine, round_half_away

from .integer import QuantizedOperator, per_tensor
from .integer_table import between, interpolation_table, tabulated
from .integer_values import less_zero_point, scale_of, zero_point_of
from .kernel import Array, Call, Kernel
from .kernel_checks import BYTES, checked


@checked(x=BYTES)
def by_floats(x: Array, function: Callable[[Array], Array], before: Affine, after: Affine) -> Array:
    """Apply a function of real numbers to 8-bit integers, as the tables of kernels are made.

    ``half_away(function(scale * (x - zero_point)) * (1 / output scale)) + output zero point``, all in float32
    (``LUTPopulateInt8`` in ``tflite/kernels/internal/common.h``).

    Parameters
    ----------
    x : ndarray
        int8 or uint8, any shape.
    function : callable
        Elementwise, from float32 to float32.
    before, after : Affine
        Of `x` and of the result; one scale each.

    Returns
    -------
    ndarray
        Of the storage dtype of `after`, shape of `x`.

    Examples
    --------
    >>> by_floats(np.array([-3, 4], np.int8), np.square, Affine("INT8", 0.5), Affine("INT8", 0.25, 1))
    array([10, 17], dtype=int8)
    """
    real = scale_of(before) * less_zero_point(x, before).astype(np.float32)
    steps = round_half_away(function(real) * (np.float32(1) / scale_of(after)))
    shifted = np.clip(steps + np.float32(zero_point_of(after)), after.qmin, after.qmax)
    return shifted.astype(after.type.storage)


@checked()
def by_steps(function: Callable[[Array], Array], before: Affine, after: Affine) -> Callable[[Array], Array]:
    """Make a table of a function of real numbers for INT16 values, between whose 513 entries kernels interpolate.

    The table is computed in float32 (``LUTPopulateInt16<float>``), see `interpolated`.

    Parameters
    ----------
    function : callable
        Elementwise, from float32 to float32.
    before, after : Affine
        Of the operand and of the result; one scale each.

    Returns
    -------
    callable
        From int16 to int16.

    Examples
    --------
    >>> negate = by_steps(np.negative, Affine("INT16", 1e-4), Affine("INT16", 1e-4))
    >>> negate(np.array([-300, 7], np.int16))
    array([300,  -7], dtype=int16)
    """
    return between(steps_table(function, before, after))


def steps_table(function: Callable[[Array], Array], before: Affine, after: Affine) -> npt.NDArray[np.int16]:
    """The table of `by_steps`, of 513 entries."""
    return interpolation_table(
        lambda x: function(x.astype(np.float32)),
        float(scale_of(before)),
        zero_point_of(before),
        float(scale_of(after)),
        zero_point_of(after),
        dtype=np.float32,
    )


def unary_kernel(function: Callable[[Array, Affine, Affine], Array]) -> Callable[[QuantizedOperator], Kernel]:
    """Make a kernel's `prepare` of a function of an array, its parameters and those of the output: a table.

    Parameters
    ----------
    function : callable
        Elementwise, from an array of 8 or 16 bits.

    Returns
    -------
    callable
        For `IntegerKernel.prepare`.
    """

    def prepare(operator: QuantizedOperator) -> Kernel:
        x = operator.operand(0)
        before, after = per_tensor(x, operator.output)
        look_up = tabulated(lambda values: function(values, before, after), x.dtype)

        def run(call: Call) -> Sequence[Array]:
            return (look_up(call.operand(0)),)

        return run

    return prepare


def real_kernel(function: Callable[[Array], Array]) -> Callable[[QuantizedOperator], Kernel]:
    """Make a kernel's `prepare` of a function of real numbers, by `by_floats` or, for INT16, `by_steps`.

    Parameters
    ----------
    function : callable
        Elementwise, from float32 to float32.

    Returns
    -------
    callable
        For `IntegerKernel.prepare`.
    """

    def integers(x: Array, before: Affine, after: Affine) -> Array:
        if x.dtype == np.int16:
            return by_steps(function, before, after)(x)
        return by_floats(x, function, before, after)

    return unary_kernel(integers)

"""What XNNPACK's integer kernels share, with which LiteRT's default interpreter runs what the delegate takes over.

The delegate (``tflite/delegates/xnnpack/xnnpack_delegate.cc``) looks at each operator: those that it doesn't take
over run on LiteRT's own kernels, which are those of the runtime ``builtin``. A table of kernels has both: the ones of
``xnnpack`` say in `serves` what the delegate takes over. Arithmetic: google/XNNPACK, ``src/microparams-init.c``,
``src/operators`` and ``src/reference``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from quantlib.numerics import Affine

from .fused import RANGES
from .integer import IntegerKernel, QuantizedOperator
from .integer_requantize import Requantizer, single_precision
from .integer_unary import unary_kernel
from .integer_values import scale_of, zero_point_of
from .kernel import Array, Kernel
from .kernel_checks import checked

_BYTES = ("INT8", "UINT8")


def xnnpack(
    serves: Callable[[QuantizedOperator], bool], prepare: Callable[[QuantizedOperator], Kernel]
) -> IntegerKernel:
    """A kernel of ``xnnpack``, whose `serves` says what the delegate takes over."""
    return IntegerKernel(serves, prepare, ("xnnpack",))


def of_bytes(operator: QuantizedOperator, inputs: Sequence[int] = (0,)) -> bool:
    """Whether operands and outputs are all INT8, or all UINT8, with one scale each, and an activation it knows.

    Parameters
    ----------
    operator : QuantizedOperator
    inputs : sequence of int
        Operands that are looked at; they must be there.
    """
    given = [operator.optional(i) for i in inputs]
    ends = [*given, *operator.outputs]
    kinds = {None if end is None else end.type for end in ends}
    single = all(end is not None and end.affine is not None and end.affine.scale.size == 1 for end in ends)
    fused = getattr(operator.options, "fused_activation_function", 0)
    return single and len(kinds) == 1 and kinds <= set(_BYTES) and fused in RANGES


@checked(divides_by=())
def float_range(activation: int, output: Affine) -> tuple[int, int]:
    """Least and greatest integer of an output: ``half_even(end / scale + zero_point)`` in float32.

    ``xnn_qs8_quantize`` in ``src/xnnpack/quantization.h``; LiteRT's own kernels round halves away from zero, see
    `activation_range`.

    Parameters
    ----------
    activation : int
        ``ActivationFunctionType``.
    output : Affine
        With one scale.

    Returns
    -------
    low, high : int

    Examples
    --------
    >>> float_range(3, Affine("INT8", 0.05, -128))
    (-128, -8)
    """
    with np.errstate(over="ignore"):  # what is beyond float32 is beyond the type
        ends = np.array(RANGES[activation], np.float32) / scale_of(output) + np.float32(zero_point_of(output))
    low, high = np.rint(np.clip(ends, output.qmin, output.qmax))
    return int(low), int(high)


def product_scale(operator: QuantizedOperator, x: int = 0, y: int = 1) -> Array:
    """Real multipliers of a product: ``s_x * s_y / s_out`` in float32, in that order.

    Returns
    -------
    ndarray
        float32, one or one for each channel.
    """
    scales = operator.operand(y).parameters.scale.reshape(-1).astype(np.float32)
    return np.asarray(operator.operand(x).scale * scales / operator.output.scale, np.float32)


def product_requantizer(
    operator: QuantizedOperator, bias: Array | None = None, *, x: int = 0, y: int = 1, activation: int = 0
) -> Requantizer:
    """From sums of products of operands `x` and `y` to the output.

    Parameters
    ----------
    operator : QuantizedOperator
    bias : int array of shape (C,), optional
    x, y : int
        Where the operands stand; `y` may have a scale for each channel.
    activation : int
        ``ActivationFunctionType``.

    Raises
    ------
    InvalidValue
        See `single_precision`.
    """
    to = operator.output.parameters
    return single_precision(product_scale(operator, x, y), to, float_range(activation, to), bias=bias)


@checked()
def by_reference(x: Array, function: Callable[[Array], Array], before: Affine, after: Affine) -> Array:
    """A function of real numbers as XNNPACK tabulates it for bytes (``src/reference/unary-elementwise.cc``).

    ``half_even(function((q - zero_point) * scale) * (1 / s_out) + zero_point)`` in float32, clipped.

    Parameters
    ----------
    x : ndarray
        int8 or uint8.
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
    >>> by_reference(np.array([-3, 5], np.int8), np.negative, Affine("INT8", 0.5), Affine("INT8", 0.25, 4))
    array([10, -6], dtype=int8)
    """
    real = (x.astype(np.float32) - np.float32(zero_point_of(before))) * scale_of(before)
    inverse = np.float32(1) / scale_of(after)
    steps = np.rint(function(real) * inverse + np.float32(zero_point_of(after)))
    return np.asarray(np.clip(np.nan_to_num(steps, nan=0.0), after.qmin, after.qmax).astype(after.type.storage))


def reference_kernel(function: Callable[[Array], Array]) -> Callable[[QuantizedOperator], Kernel]:
    """Make a kernel's `prepare` of a function of real numbers, by `by_reference`."""
    return unary_kernel(lambda x, before, after: by_reference(x, function, before, after))


def times_256(values: Array, real: np.float32) -> Array:
    """Integers times a multiplier of eight bits after the point: ``(x * half_even(256 * real) + 128) >> 8``.

    XNNPACK's kernels negate both factors, so that a multiplier of 128 fits 16 bits, and shift the first one to the
    left by 7 (``src/qs8-vcvt``, ``src/qs8-vlrelu``; the high half of a product that ``PMULHRSW`` rounds).

    Examples
    --------
    >>> times_256(np.array([3, -3]), np.float32(0.5))
    array([ 2, -1])
    """
    multiplier = int(np.rint(np.float32(256) * real))
    return np.asarray((values.astype(np.int64) * multiplier + 128) >> 8)

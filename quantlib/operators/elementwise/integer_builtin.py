"""Sums as LiteRT's optimized kernels compute them: by vectors, which round otherwise than the loop behind them."""

from __future__ import annotations

import math
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.numerics import Affine, multiply_by_quantized_multiplier, quantize_multiplier

from ..integer import per_tensor
from ..integer_requantize import activation_range
from ..integer_table import tabulated_pairs
from ..integer_values import less_zero_point, stored
from ._checks import check_shapes
from .integer_sums import add_integers, sum_multipliers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..integer import QuantizedOperator
    from ..kernel import Array, Call, Kernel

    Function = Callable[[Array, Array], Array]
    Shape = tuple[int, ...]

#: Values of a vector: where both operands go on, by type; where one of them stays.
_LANES: Mapping[str, int] = MappingProxyType({"INT8": 16, "UINT8": 8, "INT16": 16})
_SCALAR_LANES = 8
#: Loops over two shapes that broadcast; the second from within is over what the one repeats, the fourth the other.
_LOOPS = 5


def add_vectors(
    a: Array, b: Array, first: Affine, second: Affine, output: Affine, *, cut: bool, activation: int = 0
) -> Array:
    """Sum of quantized arrays as vectors of LiteRT's optimized kernels compute it.

    With `cut`, the scaled operands are shifted to the right without rounding; else they are shifted before they are
    scaled, and rounded once (``AddElementwise`` in ``tflite/kernels/internal/optimized/optimized_ops.h``,
    ``AddElementwiseInt8`` and ``AddScalarBroadcast`` in ``.../optimized/integer_ops/add.h``).

    Parameters
    ----------
    a, b : ndarray
        int8, uint8 or int16; they broadcast.
    first, second, output : Affine
        Of `a`, of `b`, of the result; one scale each.
    cut : bool
    activation : int
        ``ActivationFunctionType``.

    Returns
    -------
    ndarray
        Of the storage dtype of `output`.

    Raises
    ------
    InvalidValue
        As `add_integers`.
    """
    shift, reals, last = sum_multipliers(first, second, output)
    mantissas, shifts = (p.astype(np.int64) for p in quantize_multiplier(reals))

    def scaled(x: Array, affine: Affine, i: int) -> Array:
        room = shift if cut else shift + int(shifts[i])
        wide = less_zero_point(x, affine)
        wide = wide << room if room >= 0 else wide >> -room
        high = multiply_by_quantized_multiplier(wide, mantissas[i], 0).astype(np.int64)
        return np.asarray(high >> -int(shifts[i]) if cut else high)

    total = scaled(a, first, 0) + scaled(b, second, 1)
    steps = multiply_by_quantized_multiplier(total, *quantize_multiplier(last))
    return stored(steps, output, activation_range(activation, output))


def adder(operator: QuantizedOperator) -> Kernel:
    """Make the kernel of an ADD: by vectors, and what these leave by the reference kernel."""
    first, second = operator.operand(0), operator.operand(1)
    affines = per_tensor(first, second, operator.output)
    kind, activation = operator.output.type, operator.options.fused_activation_function

    def table(function: Function) -> Function:
        return function if kind == "INT16" else tabulated_pairs(function, first.dtype, second.dtype)

    plain = table(lambda a, b: add_integers(a, b, *affines, activation=activation))
    rounded = table(lambda a, b: add_vectors(a, b, *affines, cut=False, activation=activation))
    cut = table(lambda a, b: add_vectors(a, b, *affines, cut=True, activation=activation))
    along = cut if kind == "UINT8" else rounded

    def run(call: Call) -> Sequence[Array]:
        a, b = call.operand(0), call.operand(1)
        check_shapes("ADD", a, b)
        result = plain(a, b)
        for by_vectors, length, lanes in _runs(a.shape, b.shape, kind, along, cut):
            if whole := length - length % lanes:
                vectors = by_vectors(a, b).reshape(-1, length)
                result = result.reshape(-1, length)
                result[:, :whole] = vectors[:, :whole]
        return (result.reshape(np.broadcast_shapes(a.shape, b.shape)),)

    return run


def _runs(a: Shape, b: Shape, kind: str, along: Function, cut: Function) -> list[tuple[Function, int, int]]:
    """By what vectors, over how many values at a time, and how many a vector has; nothing for the plain loop."""
    if _extended(a, b)[0] == _extended(a, b)[1]:
        return [(along, math.prod(a), _LANES[kind])]
    fold = _fivefold(a, b)
    if fold is None or kind == "INT16" or not math.prod(fold):
        return []
    return [(along, fold[1], _LANES[kind])] if fold[1] > 1 else [(cut, fold[0], _SCALAR_LANES)]


def _extended(a: Shape, b: Shape) -> tuple[Shape, Shape]:
    rank = max(len(a), len(b))
    return (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b


@lru_cache(maxsize=256)
def _fivefold(a: Shape, b: Shape) -> tuple[int, int] | None:
    """Sizes of the last two of five loops over shapes that differ; None where five don't suffice.

    ``ProcessBroadcastShapes`` in ``tflite/kernels/internal/reference/process_broadcast_shapes.h``.
    """
    left, right = _extended(a, b)
    axis = max(i for i, (m, n) in enumerate(zip(left, right, strict=True)) if m != n)
    one, other = (left, right) if left[axis] == 1 else (right, left)
    sizes, i = [], len(one) - 1
    for loop in range(_LOOPS):
        size = 1
        while i >= 0 and (one[i] == 1 if loop == 1 else other[i] == 1 if loop == 3 else one[i] == other[i]):
            size *= max(one[i], other[i])
            i -= 1
        sizes.append(size)
    return None if i >= 0 else (sizes[1], sizes[0])

"""Sums as LiteRT's optimized kernels compute them: by vectors, which round otherwise than the loop behind them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.numerics import Affine, multiply_by_quantized_multiplier, quantize_multiplier

from ..integer import per_tensor
from ..integer_requantize import activation_range
from ..integer_table import tabulated_pairs
from ..integer_values import less_zero_point, stored
from ..kernel_checks import checked
from ._checks import check_shapes
from .integer_sums import add_integers, sum_multipliers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..integer import QuantizedOperator
    from ..kernel import Array, Call, Kernel

    Function = Callable[[Array, Array], Array]
    Shape = tuple[int, ...]

#: Values of a vector where both operands go on, by type.
_LANES: Mapping[str, int] = MappingProxyType({"INT8": 16, "UINT8": 8, "INT16": 16})
#: Values of a vector where one operand stays.
_SCALAR_LANES = 8
#: Loops over two shapes that broadcast; the second from within is over what the one repeats, the fourth the other.
_LOOPS = 5


@checked()
def add_vectors(
    a: Array, b: Array, first: Affine, second: Affine, output: Affine, *, cut: bool, activation: int = 0
) -> Array:
    """Sum of quantized arrays as vectors of LiteRT's optimized kernels compute it.

    With `cut`, the scaled operands are shifted to the right without rounding; else they are shifted before they are
    scaled, and rounded once (``AddElementwise`` in ``tflite/kernels/internal/optimized/optimized_ops.h``,
    ``AddElementwiseInt8`` and ``AddScalarBroadcast`` in ``.../optimized/integer_ops/add.h``).

    Parameters but for `cut`, result and errors are those of `add_integers`.

    Examples
    --------
    >>> a, b = np.array([-13], np.int8), np.array([90], np.int8)
    >>> affines = Affine("INT8", 0.3), Affine("INT8", 0.1), Affine("INT8", 0.2)
    >>> [add_vectors(a, b, *affines, cut=cut) for cut in (True, False)]
    [array([25], dtype=int8), array([26], dtype=int8)]
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

    def run(call: Call) -> Sequence[Array]:
        a, b = call.operand(0), call.operand(1)
        check_shapes("ADD", a, b)
        result = plain(a, b)
        found = run_of_vectors(a.shape, b.shape, kind)
        if found is not None and (whole := found.length - found.length % found.lanes):
            vectors = (cut if found.cut else rounded)(a, b).reshape(-1, found.length)
            result = result.reshape(-1, found.length)
            result[:, :whole] = vectors[:, :whole]
        return (result.reshape(np.broadcast_shapes(a.shape, b.shape)),)

    return run


@dataclass(frozen=True, slots=True)
class Run:
    """How vectors go over a sum: so many values in a row, of which whole vectors have `lanes` each.

    Attributes
    ----------
    length, lanes : int
    cut : bool
        See `add_vectors`.
    """

    length: int
    lanes: int
    cut: bool


def run_of_vectors(a: Shape, b: Shape, kind: str) -> Run | None:
    """How vectors go over a sum of arrays of these shapes and element type; None for the plain loop alone."""
    along = kind == "UINT8"
    if _extended(a, b)[0] == _extended(a, b)[1]:
        return Run(math.prod(a), _LANES[kind], along)
    fold = _fivefold(a, b)
    if fold is None or kind == "INT16" or not math.prod(fold):
        return None
    return Run(fold[1], _LANES[kind], along) if fold[1] > 1 else Run(fold[0], _SCALAR_LANES, True)


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

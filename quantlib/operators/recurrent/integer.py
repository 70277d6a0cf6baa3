"""Integer kernels of recurrent operators."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import multiply_by_quantized_multiplier, quantize_multiplier

from ..integer import IntegerKernel, takes
from ..kernel_checks import INT8, INT32, WORD, checked
from .integer_lstm import is_integer_lstm, prepare_lstm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..integer import QuantizedOperator
    from ..kernel import Array, Call, Kernel

#: Mantissa and shift of a multiplier.
Multiplier = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]


@checked(x=INT8, feature=INT8, time=WORD, bias=INT32, state=WORD)
def svdf_integers(
    x: Array,
    feature: Array,
    time: Array,
    bias: Array | None,
    state: Array,
    *,
    rank: int,
    multipliers: tuple[Multiplier, Multiplier],
    zero_points: tuple[int, int],
) -> Array:
    """SVDF of integers: one step (tflite/kernels/internal/reference/svdf.h, EvalIntegerSVDF).

    Parameters
    ----------
    x : ndarray
        int8 [B, I].
    feature : ndarray
        int8 [F, I], F = units * rank.
    time : ndarray
        int16 [F, M].
    bias : ndarray or None
        int32 [units].
    state : ndarray
        int16 [B, F * M]: the last M products with `feature`; updated in place.
    rank : int
        Filters per unit.
    multipliers : (Multiplier, Multiplier)
        From sums over features to the state, from sums over time to the output.
    zero_points : (int, int)
        Of `x` and of the output.

    Returns
    -------
    ndarray
        int8 [B, units].

    Raises
    ------
    InvalidValue
        If shapes don't fit, or the state can't be written.
    """
    filters, memory = time.shape
    fits = rank >= 1 and filters % rank == 0 and feature.shape == (filters, x.shape[-1])
    if not fits or x.ndim != 2 or state.size != len(x) * filters * memory or not state.flags.writeable:
        raise InvalidValue(
            f"filters {feature.shape} and {time.shape} of rank {rank} and a state {state.shape} don't fit input "
            f"{x.shape}; units * rank filters, and a variable for their last products are required"
        )
    history = np.roll(state.reshape(len(x), filters, memory), -1, axis=-1)
    sums = (x.astype(np.int64) - zero_points[0]) @ feature.astype(np.int64).T
    history[..., -1] = np.clip(multiply_by_quantized_multiplier(sums, *multipliers[0]), -(2**15), 2**15 - 1)
    state[...] = history.reshape(state.shape)
    total: npt.NDArray[Any] = np.einsum("bfm,fm->bf", history, time, dtype=np.int64)
    total = total.reshape(len(x), -1, rank).sum(-1)
    if bias is not None:
        total = total + bias
    out = multiply_by_quantized_multiplier(total, *multipliers[1]).astype(np.int64) + zero_points[1]
    return np.clip(out, -128, 127).astype(np.int8)


def svdf_multipliers(operator: QuantizedOperator) -> tuple[np.float64, np.float64]:
    """Real multipliers from sums over features to the state, and from sums over time to the output."""
    x, feature, time, state = (operator.operand(i) for i in (0, 1, 2, 4))
    last = state.scale * time.scale / operator.output.scale
    return np.float64(x.scale * feature.scale / state.scale), np.float64(last)


def _svdf(operator: QuantizedOperator) -> Kernel:
    options = operator.options
    if options.fused_activation_function != 1:
        raise InvalidValue("a fused activation other than RELU; the integer kernel has that alone")
    first, second = svdf_multipliers(operator)
    multipliers = quantize_multiplier(first), quantize_multiplier(second)
    points = operator.operand(0).zero_point, operator.output.zero_point

    def run(call: Call) -> Sequence[Array]:
        given = (call.operand(0), call.operand(1), call.operand(2), call.optional(3), call.operand(4))
        return (svdf_integers(*given, rank=options.rank, multipliers=multipliers, zero_points=points),)

    return run


_TYPES = (("INT8",), ("INT8",), ("INT16",), ("INT32", ""), ("INT16",))

KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {
        **dict.fromkeys(("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"), (IntegerKernel(is_integer_lstm, prepare_lstm),)),
        "SVDF": (IntegerKernel(takes(*_TYPES, to=("INT8",)), _svdf),),
    }
)

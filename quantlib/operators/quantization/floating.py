"""Kernels between float types, and of fake quantization.

QUANTIZE and DEQUANTIZE of integers need the scales of their tensors, and have integer kernels. DENSIFY needs the
sparsity of its operand, which is no part of a `Call`: a runner computes it itself.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import fake_quantize_nudged, from_float16

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..kernel import Array, Call, Kernel

__all__ = ["KERNELS", "dequantize_float16", "fake_quant"]


def dequantize_float16(x: Array) -> Array:
    """Widen float16 to float32, exactly.

    Parameters
    ----------
    x : ndarray
        float16, any shape.

    Returns
    -------
    ndarray
        float32, shape of `x`.

    Raises
    ------
    InvalidValue
        If `x` is of another type.
    """
    if x.dtype != np.float16:
        raise InvalidValue(f"DEQUANTIZE of {x.dtype} without a scale: float16 is required")
    return from_float16(x)


def fake_quant(x: Array, *, low: float, high: float, bits: int, narrow_range: bool = False) -> Array:
    """Round to the grid that a range and a number of bits give, as `quantlib.numerics.fake_quantize_nudged`.

    Parameters
    ----------
    x : ndarray
        float32, any shape.
    low, high : float
        ``low <= 0 <= high``.
    bits : int
        2 to 16.
    narrow_range : bool
        Leave the lowest step out. LiteRT runs no such operator.

    Returns
    -------
    ndarray
        float32, shape of `x`.

    Raises
    ------
    InvalidValue
        If `x` is of another type, or there is no such grid.
    """
    if x.dtype != np.float32:
        raise InvalidValue(f"FAKE_QUANT of {x.dtype}: float32 is required")
    return fake_quantize_nudged(x, low, high, bits, narrow_range)


def _dequantize(call: Call) -> Sequence[Array]:
    return (dequantize_float16(call.operand(0)),)


def _fake_quant(call: Call) -> Sequence[Array]:
    options = call.options
    x = call.operand(0)
    return (
        fake_quant(x, low=options.min, high=options.max, bits=options.num_bits, narrow_range=options.narrow_range),
    )


KERNELS: Mapping[str, Kernel] = MappingProxyType({"DEQUANTIZE": _dequantize, "FAKE_QUANT": _fake_quant})

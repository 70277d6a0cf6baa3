"""Functions of real numbers that kernels fill their tables with: from float32 to float32, element by element.

Transcendental functions are taken in float64 and rounded to float32: NumPy's of float32 err by more than those of the
C library, which the kernels call.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..kernel import Array


def logistic(x: Array) -> Array:
    """``1 / (1 + exp(-x))`` (``tflite/kernels/activations.cc``)."""
    with np.errstate(over="ignore"):
        power = np.exp(-x.astype(np.float64)).astype(np.float32)
    return np.asarray(np.float32(1) / (np.float32(1) + power))


def logistic_double(x: Array) -> Array:
    """XNNPACK's, in float64 (``SigmoidOp`` in ``src/reference/unary-elementwise.cc``)."""
    power = np.exp(np.clip(x, -100, 100).astype(np.float64))
    return np.asarray((power / (1 + power)).astype(np.float32))


def tanh(x: Array) -> Array:
    """Hyperbolic tangent."""
    return np.asarray(np.tanh(x.astype(np.float64)).astype(np.float32))


def elu(x: Array) -> Array:
    """``exp(x) - 1`` below zero, else `x`."""
    return np.where(x < 0, np.expm1(np.minimum(x, 0).astype(np.float64)).astype(np.float32), x)


def gelu(x: Array) -> Array:
    """``x / 2 * erfc(-x / sqrt(2))`` (``tflite/kernels/internal/reference/gelu.h``)."""
    argument = (x * np.float32(-(0.5**0.5))).astype(np.float64).reshape(-1)
    tail = np.array([math.erfc(v) for v in argument], np.float32).reshape(x.shape)
    return np.asarray(np.float32(0.5) * x * tail)


def gelu_tanh(x: Array) -> Array:
    """``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``, as `gelu`."""
    inner = np.float32((2 / math.pi) ** 0.5) * (x + np.float32(0.044715) * x * x * x)
    return np.asarray(np.float32(0.5) * x * (np.float32(1) + tanh(inner)))

"""Kernels of normalizations over channels."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..fused import clip_fused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..kernel import Array, Call, Kernel

__all__ = ["KERNELS", "l2_normalize", "local_response_normalize"]

# LiteRT's guard against a division by zero (tflite/kernels/l2norm.cc).
_LEAST_NORM = np.float32(1e-6)


def l2_normalize(x: Array, *, activation: int = 0) -> Array:
    """Divide by the Euclidean norm along the last axis, or by 1e-6 where that is greater.

    Parameters
    ----------
    x : ndarray
        float32, rank 1 or more.
    activation : int
        ``ActivationFunctionType``, see `clip_fused`. LiteRT takes none here.

    Returns
    -------
    ndarray
        float32, shape of `x`.

    Raises
    ------
    InvalidValue
        If `x` is a scalar or of another type.

    Examples
    --------
    >>> l2_normalize(np.array([3.0, -4.0], np.float32)).round(4).tolist()
    [0.6000000238418579, -0.800000011920929]
    """
    _check(x, "L2_NORMALIZATION", x.ndim >= 1, "at least one axis")
    with np.errstate(all="ignore"):
        norm = np.asarray(np.einsum("...c,...c->...", x, x))[..., np.newaxis]
        np.sqrt(norm, out=norm)
        return clip_fused(np.asarray(np.divide(x, np.maximum(norm, _LEAST_NORM, out=norm))), activation)


def local_response_normalize(
    x: Array, *, radius: int, bias: float, alpha: float, beta: float, symmetric: bool = False
) -> Array:
    """Multiply by ``(bias + alpha * s) ** -beta``, where s is the sum of squares over a window of channels.

    Parameters
    ----------
    x : ndarray
        float32, shape ``[batch, height, width, channels]``.
    radius : int
        The window of channel c is ``[c - radius, c + radius)``.
    bias, alpha, beta : float
    symmetric : bool
        Whether channel ``c + radius`` is part of the window, too. In TensorFlow it is, and in LiteRT's optimized
        kernel; in LiteRT's reference kernel (``LocalResponseNormalization``, reference_ops.h) it is not.

    Returns
    -------
    ndarray
        float32, shape of `x`.

    Raises
    ------
    InvalidValue
        If `x` is of another rank or type.
    """
    _check(x, "LOCAL_RESPONSE_NORMALIZATION", x.ndim == 4, "rank 4")
    channels = x.shape[-1]
    with np.errstate(all="ignore"):
        squares, total = np.square(x), np.zeros_like(x)
        for shift in range(max(-radius, 1 - channels), min(radius + symmetric, channels)):
            below, above = max(shift, 0), min(shift, 0)
            total[..., -above : channels - below] += squares[..., below : channels + above]
        total *= np.float32(alpha)
        total += np.float32(bias)
        np.power(total, np.float32(-beta), out=total)
        return np.multiply(total, x, out=total)


def _check(x: Array, operation: str, fits: bool, required: str) -> None:
    if not fits or x.dtype != np.float32:
        raise InvalidValue(f"{operation} of {x.dtype} of shape {x.shape}: float32 and {required} are required")


def _l2_normalization(call: Call) -> Sequence[Array]:
    return (l2_normalize(call.operand(0), activation=call.options.fused_activation_function),)


def _local_response_normalization(call: Call) -> Sequence[Array]:
    options = call.options
    x = call.operand(0)
    return (
        local_response_normalize(x, radius=options.radius, bias=options.bias, alpha=options.alpha, beta=options.beta),
    )


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "L2_NORMALIZATION": _l2_normalization,
        "LOCAL_RESPONSE_NORMALIZATION": _local_response_normalization,
    }
)

"""Kernels of activation functions."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from quantlib.errors import InvalidValue

from .floating_error import erf, gelu
from .floating_rectified import RECTIFIERS, leaky_relu, prelu, rectify
from .floating_smooth import elu, hard_swish, log_softmax, logistic, softmax, tanh

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..kernel import Array, Call, Kernel

__all__ = [
    "KERNELS",
    "RECTIFIERS",
    "elu",
    "erf",
    "gelu",
    "hard_swish",
    "leaky_relu",
    "log_softmax",
    "logistic",
    "prelu",
    "rectify",
    "softmax",
    "tanh",
]


def _input(call: Call) -> Array:
    x = call.operand(0)
    if x.dtype.kind != "f":
        raise InvalidValue(f"an activation of {x.dtype}: floats are required")
    return x


def _plain(function: Callable[[Array], Array], call: Call) -> Sequence[Array]:
    return (function(_input(call)),)


def _rectifier(operation: str, call: Call) -> Sequence[Array]:
    return (rectify(_input(call), *RECTIFIERS[operation]),)


def _gelu(call: Call) -> Sequence[Array]:
    return (gelu(_input(call), approximate=call.options.approximate),)


def _leaky_relu(call: Call) -> Sequence[Array]:
    return (leaky_relu(_input(call), call.options.alpha),)


def _prelu(call: Call) -> Sequence[Array]:
    return (prelu(_input(call), call.operand(1)),)


def _softmax(call: Call) -> Sequence[Array]:
    return (softmax(_input(call), call.options.beta),)


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        **{name: partial(_rectifier, name) for name in RECTIFIERS},
        "ELU": partial(_plain, elu),
        "GELU": _gelu,
        "HARD_SWISH": partial(_plain, hard_swish),
        "LEAKY_RELU": _leaky_relu,
        "LOGISTIC": partial(_plain, logistic),
        "LOG_SOFTMAX": partial(_plain, log_softmax),
        "PRELU": _prelu,
        "SOFTMAX": _softmax,
        "TANH": partial(_plain, tanh),
    }
)

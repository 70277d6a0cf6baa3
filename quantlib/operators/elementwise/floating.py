"""Kernels of operators on single elements."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.tflite import tensor_type_code

from .floating_binary import BINARY, add_n, binary
from .floating_cast import cast
from .floating_select import select, select_v2
from .floating_unary import UNARY, unary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..kernel import Array, Call, Kernel

__all__ = ["BINARY", "KERNELS", "UNARY", "add_n", "binary", "cast", "select", "select_v2", "unary"]

_FUSED = ("ADD", "DIV", "MUL", "SUB")


def _unary(operation: str, call: Call) -> Sequence[Array]:
    return (unary(operation, call.operand(0)),)


def _binary(operation: str, call: Call) -> Sequence[Array]:
    return (binary(operation, call.operand(0), call.operand(1)),)


def _arithmetic(operation: str, call: Call) -> Sequence[Array]:
    activation = call.options.fused_activation_function
    return (binary(operation, call.operand(0), call.operand(1), activation=activation),)


def _add_n(call: Call) -> Sequence[Array]:
    return (add_n([call.operand(i) for i in range(len(call.inputs))]),)


def _select(call: Call) -> Sequence[Array]:
    return (select(call.operand(0), call.operand(1), call.operand(2)),)


def _select_v2(call: Call) -> Sequence[Array]:
    return (select_v2(call.operand(0), call.operand(1), call.operand(2)),)


def _cast(call: Call) -> Sequence[Array]:
    x = call.operand(0)
    # The dtype doesn't tell bfloat16 from UINT16; the options do.
    bfloat16 = x.dtype == np.uint16 and call.options.in_data_type == tensor_type_code("BFLOAT16")
    return (cast(x, call.types[0], bfloat16=bfloat16),)


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        **{name: partial(_unary, name) for name in UNARY},
        **{name: partial(_arithmetic if name in _FUSED else _binary, name) for name in BINARY},
        "ADD_N": _add_n,
        "CAST": _cast,
        "SELECT": _select,
        "SELECT_V2": _select_v2,
    }
)

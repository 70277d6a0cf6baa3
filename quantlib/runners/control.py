"""Operators that run subgraphs or keep variables: they need the runner, not only arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.operators import Call
from quantlib.tflite import Table

from .protocol import Tap

if TYPE_CHECKING:
    from .numpy_runner import NumpyRunner

Control = Callable[["NumpyRunner", Call, Tap | None], Sequence[Any]]

#: Options that name a subgraph, by operator.
_CALLED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "IF": ("then_subgraph_index", "else_subgraph_index"),
        "WHILE": ("cond_subgraph_index", "body_subgraph_index"),
        "CALL_ONCE": ("init_subgraph_index",),
        "STABLEHLO_COMPOSITE": ("decomposition_subgraph_index",),
    }
)


def called(name: str, options: Table) -> list[int]:
    """Subgraphs that an operator runs."""
    return [int(getattr(options, field, -1)) for field in _CALLED.get(name, ())]


def _truth(values: Sequence[Any]) -> bool:
    if not values or getattr(values[0], "size", 0) != 1:
        found = f"{values[0].size} values" if values and hasattr(values[0], "size") else "nothing"
        raise InvalidValue(f"its condition is {found}; one is required")
    return bool(values[0].reshape(())[()])


def _if(runner: NumpyRunner, call: Call, tap: Tap | None) -> Sequence[Any]:
    then, other = called("IF", call.options)
    return runner.subgraph(then if _truth(call.inputs[:1]) else other, list(call.inputs[1:]), tap)


def _while(runner: NumpyRunner, call: Call, tap: Tap | None) -> Sequence[Any]:
    condition, body = called("WHILE", call.options)
    values: list[Any] = list(call.inputs)
    while _truth(runner.subgraph(condition, values, tap)):
        values = runner.subgraph(body, values, tap)
    return values


def _call_once(runner: NumpyRunner, call: Call, tap: Tap | None) -> Sequence[Any]:
    (target,) = called("CALL_ONCE", call.options)
    done = f"\0called once {target}"
    if done not in runner.resources:
        runner.resources[done] = True
        runner.subgraph(target, [], tap)
    return []


def _composite(runner: NumpyRunner, call: Call, tap: Tap | None) -> Sequence[Any]:
    (target,) = called("STABLEHLO_COMPOSITE", call.options)
    return runner.subgraph(target, list(call.inputs), tap)


def _handle(runner: NumpyRunner, call: Call, tap: Tap | None) -> Sequence[Any]:
    if call.options.kind != "VarHandleOptions":
        raise InvalidValue(
            f"its options are {call.options.kind}; VarHandleOptions are required: they name a variable"
        )
    return [f"{call.options.container or ''}/{call.options.shared_name or ''}"]


def _variable(call: Call) -> str:
    handle: Any = call.inputs[0] if call.inputs else None
    if not isinstance(handle, str):
        raise InvalidValue("its first operand is no handle of a variable; one that VAR_HANDLE gave is required")
    return handle


def _read(runner: NumpyRunner, call: Call, tap: Tap | None) -> Sequence[Any]:
    handle = _variable(call)
    if handle not in runner.resources:
        raise InvalidValue(f"variable {handle!r} is read before anything was assigned to it")
    return [runner.resources[handle]]


def _assign(runner: NumpyRunner, call: Call, tap: Tap | None) -> Sequence[Any]:
    handle, value = _variable(call), call.operand(1)
    if not isinstance(value, np.ndarray):
        raise InvalidValue("a handle is assigned to a variable; an array is required")
    runner.resources[handle] = value.copy()
    return []


#: By operator name; each takes the runner, the call and the tap.
CONTROL: Mapping[str, Control] = MappingProxyType(
    {
        "IF": _if,
        "WHILE": _while,
        "CALL_ONCE": _call_once,
        "STABLEHLO_COMPOSITE": _composite,
        "VAR_HANDLE": _handle,
        "READ_VARIABLE": _read,
        "ASSIGN_VARIABLE": _assign,
    }
)

"""Conditions that the rules of a profile are made of: TOML tables such as ``{at = "in1", per_channel = false}``.

With ``at`` (a selector of `Operation.at`, or several) the other keys are tests of each operand there. Without it they
are tests of the whole operation. A condition that has nothing to look at (an absent operand, no scale where scales
are compared) neither holds nor fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import ELEMENT_TYPES
from quantlib.tflite import enum_names

from .operation import Operand, Operation, Place

#: True, False, or None where there is nothing to look at; and the operand that fails.
Verdict = tuple[bool | None, Place | None]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition.

    Attributes
    ----------
    at : tuple of str
        Selectors of operands; empty for tests of the operation.
    tests : tuple of (str, Any)
        Names of tests, and what each requires.
    """

    at: tuple[str, ...]
    tests: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Condition:
        """Make a condition of a TOML table; InvalidValue where a test is unknown."""
        at = values.get("at", ())
        tests = tuple((k, v) for k, v in values.items() if k != "at")
        known = OPERAND_TESTS if at else OPERATION_TESTS
        for name, _ in tests:
            if name not in known:
                raise InvalidValue(f"condition {dict(values)}: unknown test {name!r}; known are {', '.join(known)}")
        return cls((at,) if isinstance(at, str) else tuple(at), tests)

    def verdict(self, operation: Operation) -> Verdict:
        """Whether the condition holds."""
        if not self.at:
            return _all(OPERATION_TESTS[name](operation, value) for name, value in self.tests)
        operands = [found for selector in self.at for found in operation.at(selector)]
        return _all(
            (OPERAND_TESTS[name](operand, value), place) for place, operand in operands for name, value in self.tests
        )


def _all(verdicts: Any) -> Verdict:
    """The first failure; else True where something holds."""
    held: bool | None = None
    for good, place in verdicts:
        if good is False:
            return False, place
        held = True if good else held
    return held, None


# ---- operands


def _within(low_high: list[float], values: Any) -> bool | None:
    array = np.asarray(values, np.float64)
    return bool(((array >= low_high[0]) & (array <= low_high[1])).all()) if array.size else None


def _integers(operand: Operand) -> bool:
    return ELEMENT_TYPES[operand.type].is_integer and ELEMENT_TYPES[operand.type].bits <= 16


def _fixed(operand: Operand, value: Mapping[str, list[float]]) -> bool | None:
    """Scale and zero point by element type, with a relative tolerance as an optional third number."""
    if operand.type not in value or not operand.scale.size:
        return None
    scale, point, tolerance = (*value[operand.type], 0.0)[:3]
    near = abs(float(operand.scale[0]) - scale) <= tolerance * scale
    return operand.scale.size == 1 and near and int(operand.zero_point[0]) == point


def _channels_fit(operand: Operand) -> bool:
    """Whether there are as many scales as channels along the axis."""
    axis = operand.quantization.quantized_dimension if operand.quantization is not None else 0
    return 0 <= axis < len(operand.shape) and operand.shape[axis] == operand.scale.size


def _stored(operand: Operand, test: Callable[[np.ndarray[Any, Any]], bool]) -> bool | None:
    if operand.values is None or not operand.constant or not ELEMENT_TYPES[operand.type].is_integer:
        return None
    return test(operand.values())


def _channel_sum(values: np.ndarray[Any, Any], axis: int) -> int:
    others = tuple(i for i in range(values.ndim) if i != axis % max(values.ndim, 1))
    return int(np.abs(values.astype(np.int64)).sum(axis=others).max(initial=0))


OPERAND_TESTS: Mapping[str, Callable[[Operand, Any], bool | None]] = MappingProxyType(
    {
        "type": lambda x, v: x.type in v,
        "not_type": lambda x, v: x.type not in v,
        "constant": lambda x, v: x.constant == v,
        "quantized": lambda x, v: (x.quantization is not None) == v,
        "per_channel": lambda x, v: x.per_channel == v,
        "activation_per_channel": lambda x, v: (x.per_channel and not x.constant) == v,
        "blockwise": lambda x, v: x.blockwise == v,
        "axis": lambda x, v: x.quantization.quantized_dimension == v if x.quantization and x.per_channel else None,
        "block_multiple": lambda x, v: x.quantization.block_size % v == 0 if x.quantization else None,
        "rank": lambda x, v: v[0] <= len(x.shape) <= v[1],
        "dimensions": lambda x, v: _within(v, x.shape),
        "batch": lambda x, v: x.shape[0] == v if len(x.shape) > 1 else None,
        "inner": lambda x, v: all(d == 1 for d in x.shape[:-v]),
        "zero_point": lambda x, v: bool(np.isin(x.zero_point, v).all()) if x.zero_point.size else None,
        "int8_zero_point": lambda x, v: bool((x.zero_point == v).all()) if x.type in ("INT8", "INT4") else None,
        "int16_zero_point": lambda x, v: bool((x.zero_point == v).all()) if x.type == "INT16" else None,
        "small_quantized": lambda x, v: (x.quantization is not None and _integers(x)) == v,
        "small_unquantized": lambda x, v: (x.quantization is None and _integers(x)) == v,
        "channels_fit": lambda x, v: _channels_fit(x) == v if x.per_channel else None,
        "one_scale_a_channel": lambda x, v: x.scale.size == x.shape[v] if v < len(x.shape) else None,
        "scale": lambda x, v: _within(v, x.scale),
        "activation_scale": lambda x, v: None if x.constant else _within(v, x.scale),
        "fixed": _fixed,
        "largest": lambda x, v: _stored(x, lambda a: bool(np.abs(a.astype(np.float64)).max(initial=0) <= v)),
        "channel_sum": lambda x, v: _stored(x, lambda a: _channel_sum(a, v[0]) <= v[1]),
        "values": lambda x, v: _stored(x, lambda a: bool(np.isin(a, v).all())),
    }
)
"""Name of a test -> what it asks of an operand, and of the value beside it."""

# ---- the operation


def _option(operation: Operation, value: Mapping[str, Any]) -> Verdict:
    """``{name, in = [...]}`` or ``{name, range = [low, high]}``; ``default`` is the schema's where it isn't 0."""
    found = operation.options.get(value["name"], value.get("default", 0))
    if "in" in value:
        return found in value["in"], None
    return value["range"][0] <= found <= value["range"][1], None


def _activation(operation: Operation, value: list[str]) -> Verdict:
    code = operation.options.get("fused_activation_function", 0)
    return enum_names("ActivationFunctionType").get(code, str(code)) in value, None


def _same(operation: Operation, value: Mapping[str, Any]) -> Verdict:
    """``{at = [...], tolerance}``: integer operands of one type have one scale and zero point."""
    found = [p for s in value["at"] for p in operation.at(s) if p[1].scale.size and _integers(p[1])]
    if len(found) < 2:
        return None, None
    _, first = found[-1] if value.get("to") == "last" else found[0]
    for place, other in found:
        near = abs(float(other.scale[0]) - float(first.scale[0])) <= value.get("tolerance", 0.0) * float(
            first.scale[0]
        )
        if other.type == first.type and not (near and int(other.zero_point[0]) == int(first.zero_point[0])):
            return False, place
    return True, None


def _ratio(operation: Operation, value: Mapping[str, Any]) -> Verdict:
    """``{of = [...], by = [...], range = [low, high]}``: product of scales over product of scales."""
    ratio: Any = np.float64(1)
    for key, sign in (("of", 1), ("by", -1)):
        for selector in value[key]:
            operands = operation.at(selector)
            if not operands or not operands[0][1].scale.size:
                return None, None
            scale = operands[0][1].scale.astype(np.float64)
            if np.size(ratio) > 1 < scale.size != np.size(ratio):
                return False, operands[0][0]
            with np.errstate(all="ignore"):  # what isn't finite lies in no range
                ratio = ratio * scale**sign
    return _within(value["range"], ratio), operation.at(value["by"][0])[0][0]


def hybrid_weight(operation: Operation) -> Place | None:
    """Place of a constant of integers with scales beside float activations; None where there is none."""
    inputs = [(place, x) for place, x in operation.operands() if place[0] == "input"]
    floats = any(x.type == "FLOAT32" and not x.constant for _, x in inputs)
    weights = (place for place, x in inputs if x.constant and x.quantization is not None and _integers(x))
    return next(weights, None) if floats else None


OPERATION_TESTS: Mapping[str, Callable[[Operation, Any], Verdict]] = MappingProxyType(
    {
        "option": _option,
        "activation": _activation,
        "same": _same,
        "ratio": _ratio,
        "same_type": lambda o, v: (len({x.type for s in v for _, x in o.at(s)}) == 1, None),
    }
)
"""Name of a test -> what it asks of an operation, and of the value beside it."""

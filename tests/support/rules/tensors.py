"""Rules of one tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from .finding import Finding, Findings, parameters
from .reader import Graph, Tensor
from .tables import BITS, WEIGHTED

_SMALLEST = float(np.finfo(np.float32).tiny)
_RANGES = MappingProxyType(
    {
        "INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-(2**15), 2**15 - 1), "INT4": (-8, 7), "UINT4": (0, 15),
        "INT2": (-2, 1), "INT32": (-(2**31), 2**31 - 1), "INT64": (-(2**63), 2**63 - 1),
    }
)  # fmt: skip


def scale_values(_: Graph, tensor: Tensor) -> Findings:
    """XNNPACK refuses a scale that is zero, negative, subnormal or not finite, and with it the whole model."""
    bad = [s for s in tensor.scale.tolist() if not (math.isfinite(s) and s >= _SMALLEST)]
    if bad:
        yield Finding(f"scale {bad[0]!r}", "finite, normal, above 0")


def scale_count(_: Graph, tensor: Tensor) -> Findings:
    """One scale, or one a channel; tflite/core/interpreter_builder.cc."""
    if not tensor.scale.size or tensor.scale.size == 1:
        return
    axis = tensor.axis
    if not 0 <= axis < len(tensor.shape):
        yield Finding(f"quantized_dimension {axis}", f"an axis of {tensor.shape}")
    elif tensor.scale.size != tensor.shape[axis]:
        yield Finding(f"{tensor.scale.size} scales", f"1 or {tensor.shape[axis]}")


def zero_point_count(_: Graph, tensor: Tensor) -> Findings:
    """As many zero points as scales."""
    if tensor.zero_point.size != tensor.scale.size:
        yield Finding(f"{tensor.zero_point.size} zero points", tensor.scale.size)


def zero_point_range(_: Graph, tensor: Tensor) -> Findings:
    """A zero point is a value of the storage type."""
    if tensor.type not in _RANGES:
        return
    low, high = _RANGES[tensor.type]
    bad = [z for z in tensor.zero_point.tolist() if not low <= z <= high]
    if bad:
        yield Finding(f"zero point {bad[0]}", f"{low}..{high} of {tensor.type}")


def symmetric_type(_: Graph, tensor: Tensor) -> Findings:
    """Kernels of INT16 activations, and of biases, know no zero point."""
    if tensor.type in ("INT16", "INT32", "INT64") and tensor.zero_point.any():
        yield Finding(f"zero point {tensor.zero_point.tolist()[0]}", f"0 for {tensor.type}")


def per_channel_zero(_: Graph, tensor: Tensor) -> Findings:
    """Channels have no zero points of their own."""
    if tensor.scale.size > 1 and tensor.zero_point.any():
        yield Finding("zero points of channels that aren't 0", "0 in every channel")


def per_channel_use(graph: Graph, tensor: Tensor) -> Findings:
    """Only constants that an operator reads as weights or bias have a scale a channel."""
    if tensor.scale.size <= 1:
        return
    if not tensor.constant:
        made_dense = any(tensor.index in o.outputs and o.name == "DENSIFY" for o in graph.operators)
        if not made_dense:
            yield Finding(f"an activation with {tensor.scale.size} scales", "one")
        return
    for operator, at in graph.readers.get(tensor.index, ()):
        known = WEIGHTED.get(operator.name)
        fits = known is not None and known.per_channel and (at in known.weights or at == known.bias)
        if not fits and operator.name not in ("DEQUANTIZE", "DENSIFY"):
            yield Finding(f"{tensor.scale.size} scales, read by {operator.name} as input {at}", "one scale")


def typed_scale(_: Graph, tensor: Tensor) -> Findings:
    """Only integers have a scale."""
    if tensor.quantized and tensor.type not in _RANGES:
        yield Finding(parameters(tensor), f"no scale on {tensor.type}")


def buffer_length(_: Graph, tensor: Tensor) -> Findings:
    """A constant's buffer holds what its shape and type ask for, packed where an element is below a byte."""
    if not tensor.size or tensor.sparse or tensor.type not in BITS:
        return
    needed = -(-math.prod(tensor.shape) * BITS[tensor.type] // 8)
    if tensor.size != needed:
        yield Finding(f"{tensor.size} bytes", f"{needed} for {tensor.type} {list(tensor.shape)}")


def variable_data(_: Graph, tensor: Tensor) -> Findings:
    """A variable begins at zero, not with data."""
    if tensor.variable and tensor.size:
        yield Finding(f"a variable with {tensor.size} bytes", "no data")


RULES: Mapping[str, Callable[[Graph, Tensor], Findings]] = MappingProxyType(
    {
        f.__name__: f
        for f in (
            scale_values, scale_count, zero_point_count, zero_point_range, symmetric_type, per_channel_zero,
            per_channel_use, typed_scale, buffer_length, variable_data,
        )
    }
)  # fmt: skip

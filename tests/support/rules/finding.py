"""What a rule reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .reader import Graph, Operator, Tensor


@dataclass(frozen=True, slots=True)
class Finding:
    """What stands in the file, and what should; `tensor` where it is about one."""

    found: Any
    required: Any
    tensor: Tensor | None = None


Findings = Iterator[Finding]


def parameters(tensor: Tensor) -> str:
    """A tensor's parameters, short."""
    shown = ", ".join(f"{s:.9g}" for s in tensor.scale[:3]) + ", ..." * (tensor.scale.size > 3)
    return f"{tensor.type} scale [{shown}] zero point {tensor.zero_point[:3].tolist()}"


def place(graph: Graph | None, operator: Operator | None, tensor: Tensor | None) -> str:
    """Where something stands."""
    parts = [] if graph is None else [f"subgraph {graph.index}"]
    if operator is not None:
        parts.append(f"operator {operator.index} {operator.name}")
    if tensor is not None:
        parts.append(f"tensor {tensor.index} {tensor.name!r}")
    return ", ".join(parts) or "file"

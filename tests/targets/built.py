"""Models of one operator, described by their tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantlib.operators import Signature, operator_version
from quantlib.tflite import Draft, Model, Table, tensor_type_code
from tests.support.models import constant, parameters


@dataclass(frozen=True)
class T:
    """One tensor: element type, shape, scale (None: not quantized), zero point; constant where it has values."""

    type: str
    shape: tuple[int, ...]
    scale: Any = None
    zero_point: Any = 0
    axis: int = 0
    values: Any = None
    fields: Any = None

    def add(self, draft: Draft, name: str) -> int:
        graph, extra = draft.graphs[0], dict(self.fields or {})
        if self.scale is not None:
            extra["quantization"] = parameters(self.scale, self.zero_point, self.axis)
        if self.values is None:
            return graph.add_tensor(name, self.type, self.shape, **extra)
        values = np.broadcast_to(np.asarray(self.values), self.shape)
        return constant(draft, graph, name, self.type, values, **extra)


#: dtypes of constants by element type
_STORED = {
    "FLOAT32": "f4", "FLOAT16": "f2", "INT8": "i1", "UINT8": "u1", "INT16": "i2", "INT32": "i4", "INT64": "i8",
    "INT4": "i1", "BOOL": "?",
}  # fmt: skip


def weights(type: str, shape: tuple[int, ...], scale: Any = None, zero_point: Any = 0, axis: int = 0) -> T:
    """A constant of ones and zeros."""
    values = (np.arange(int(np.prod(shape))) % 2).reshape(shape).astype(_STORED[type])
    return T(type, shape, scale, zero_point, axis, values)


def vector(*values: int, type: str = "INT32") -> T:
    """A constant of indices."""
    return T(type, (len(values),), values=np.array(values, _STORED[type]))


def single(
    operator: str,
    inputs: Sequence[T | None],
    outputs: Sequence[T],
    options: Table | None = None,
    version: int | None = None,
) -> Model:
    """A model of one operator; what isn't constant is its input."""
    draft = Draft()
    graph = draft.graphs[0]
    found = [-1 if x is None else x.add(draft, f"in{i}") for i, x in enumerate(inputs)]
    made = [y.add(draft, f"out{i}") for i, y in enumerate(outputs)]
    if version is None:
        scales = tuple(None if x is None or x.scale is None else float(np.ravel(x.scale)[0]) for x in inputs)
        version = operator_version(
            Signature(
                operator,
                tuple(None if x is None else x.type for x in inputs),
                tuple(y.type for y in outputs),
                {} if options is None else dict(options.stored()),
                tuple(None if x is None else x.shape for x in inputs),
                scales,
                any(x is not None and np.size(x.scale) > 1 for x in inputs[1:2]),
            )
        )
    graph.append(draft.operator(operator, found, made, options, version))
    graph.inputs = [t for t, x in zip(found, inputs, strict=True) if x is not None and x.values is None]
    graph.outputs = made
    return draft.done()


def retyped(model: Model, index: int, type: str) -> Model:
    """The model with one tensor's type changed and nothing else."""
    draft = Draft(model)
    graph = draft.graphs[0]
    graph.tensors[index] = graph.tensors[index].replace(type=tensor_type_code(type))
    return draft.done()

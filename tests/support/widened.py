"""INT8 files with INT16 activations: made, and run for the same real values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import quantlib as ql
from quantlib.passes import Edited, retype
from quantlib.tflite import Model
from tests.support.litert import interpreter
from tests.support.networks_integer import Integer

Array = npt.NDArray[Any]


def widened(model: Model, **options: Any) -> Edited:
    """Retype, and check what every result has in common."""
    edited = retype(model, activations="int16", **options)
    assert ql.check(edited.model, "litert").ok
    assert retype(model, activations="int16", **options).model.to_bytes() == edited.model.to_bytes()
    return edited


def types(model: Model, side: str) -> list[str]:
    return [model.tensor((0, int(t))).type for t in getattr(model.subgraphs[0], side)]


def answers(model: Model, fed: list[Array], resolver: str) -> list[Array]:
    """Real outputs for integer inputs of the INT8 model, whatever the ends' types."""
    made = interpreter(model.to_bytes(), resolver)
    for detail, values in zip(made.get_input_details(), fed, strict=True):
        made.set_tensor(detail["index"], values.astype(detail["dtype"]))
    made.invoke()
    found = []
    for detail in made.get_output_details():
        values, (scale, point) = made.get_tensor(detail["index"]), detail["quantization"]
        found.append((values.astype(np.float64) - point) * scale if scale else values)
    return found


def both(model: Model, made: Model, fed: Array, resolver: str) -> tuple[list[Array], list[Array]]:
    """Real outputs of an INT8 model with one input, and of the INT16 one, for the same real values."""
    old, new = (m.tensor((0, int(m.subgraphs[0].inputs[0]))).quantization for m in (model, made))
    steps = round(float(old.scale[0] / new.scale[0]))
    wide = (fed.astype(np.int64) - int(old.zero_point[0])) * steps + int(new.zero_point[0])
    return answers(model, [fed], resolver), answers(made, [wide], resolver)


def beside(net: Integer, y: int) -> int:
    """An operator that becomes INT16, so that there is one."""
    z = net.activation("wide", [int(n) for n in net.graph.tensors[y].shape], 0.3)
    net.op("ADD", [y, y], [z], 2, "AddOptions")
    return z

"""One quantized operator, or a whole model, in NumPy and in LiteRT: every integer must be equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from quantlib.numerics import element_type
from quantlib.operators import Signature, operator_version
from quantlib.runners import LiteRTRunner, NumpyRunner
from quantlib.tflite import Draft, Model, Table
from tests.support import models

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class End:
    """A tensor of a one-operator model: a constant where it has values, else an input that is drawn."""

    type: str
    shape: tuple[int, ...]
    scale: Any = None
    zero_point: Any = 0
    axis: int = 0
    values: Array | None = None


def int8(shape: tuple[int, ...], scale: Any, zero_point: int = 0, **fields: Any) -> End:
    return End("INT8", shape, scale, zero_point, **fields)


def int16(shape: tuple[int, ...], scale: Any, **fields: Any) -> End:
    return End("INT16", shape, scale, 0, **fields)


def uint8(shape: tuple[int, ...], scale: Any, zero_point: int = 128, **fields: Any) -> End:
    return End("UINT8", shape, scale, zero_point, **fields)


def indices(*values: Any) -> End:
    """Constant INT32 operand: axes, sizes, paddings."""
    array = np.array(*values, np.int32)
    return End("INT32", array.shape, values=array)


def operator(
    name: str, inputs: Sequence[End | None], output: End, options: Table | None = None, version: int | None = None
) -> Model:
    """A model of one operator."""
    draft = Draft()
    graph = draft.graphs[0]

    def added(end: End | None, label: str) -> int:
        if end is None:
            return -1
        fields = {} if end.scale is None else {"quantization": models.parameters(end.scale, end.zero_point, end.axis)}
        if end.values is not None:
            return models.constant(draft, graph, label, end.type, end.values, **fields)
        return graph.add_tensor(label, end.type, end.shape, **fields)

    given = [added(end, f"x{i}") for i, end in enumerate(inputs)]
    result = added(output, "y")
    types = tuple(None if end is None else end.type for end in inputs)
    shapes = tuple(None if end is None else end.shape for end in inputs)
    stored = {} if options is None else dict(options.stored())
    signature = Signature(name, types, (output.type,), stored, input_shapes=shapes)
    graph.append(draft.operator(name, given, [result], options, version or operator_version(signature)))
    graph.inputs = [i for i, end in zip(given, inputs, strict=True) if end is not None and end.values is None]
    graph.outputs = [result]
    return draft.done()


def drawn(type: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Random values over a type's whole range, ends included; Gaussian floats."""
    if type == "FLOAT32":
        return rng.standard_normal(shape).astype(np.float32)
    limits = np.iinfo(element_type(type).storage)
    values = rng.integers(limits.min, limits.max + 1, shape).astype(limits.dtype)
    if values.size > 2:
        values.reshape(-1)[:2] = limits.min, limits.max
    return values


def samples(model: Model, count: int = 3, seed: int = 0) -> list[list[Array]]:
    """Random samples of a model."""
    rng = np.random.default_rng(seed)
    ports = NumpyRunner(model).interface.inputs
    return [[drawn(p.type, tuple(abs(n) for n in p.shape), rng) for p in ports] for _ in range(count)]


def assert_equal(
    model: Model, given: Sequence[Any] | None = None, *, resolver: str = "reference", least: float = 80
) -> None:
    """Every integer that both show is equal; floats agree to so many decibels, or all where that is infinite."""
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed (the extra 'litert')")
    ours, theirs = NumpyRunner(model), LiteRTRunner(model, resolver=resolver)
    for sample in samples(model) if given is None else given:
        mine: dict[int, Array] = {}
        judged: set[int] = set()

        def keep(g: int, index: int, values: Array, mine: dict[int, Array] = mine) -> None:
            if g == ours.interface.subgraph:
                mine[index] = values.copy()

        def judge(
            g: int, index: int, values: Array, mine: dict[int, Array] = mine, judged: set[int] = judged
        ) -> None:
            equal(str(model.tensor((g, index))), mine[index], values, least)
            judged.add(index)

        ours.run(sample, tap=keep)
        theirs.run(sample, tap=judge)
        assert judged.issuperset(port.index for port in ours.interface.outputs)


def equal(where: str, ours: Array, theirs: Array, least: float = 80) -> None:
    """Judge one tensor."""
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), where
    if ours.dtype.kind != "f":
        wrong = np.flatnonzero(ours.reshape(-1) != theirs.reshape(-1))
        assert not wrong.size, f"{where}: {wrong.size} of {ours.size} differ, first at {wrong[0]}"
        return
    noise = np.square(ours.astype(np.float64) - theirs).sum()
    assert noise <= 10 ** (-least / 10) * np.square(theirs.astype(np.float64)).sum(), where

"""Small networks calibrated, planned, quantized and run: what tests of integer activations look at."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

import quantlib as ql
from quantlib.calibration import Statistics, merge
from quantlib.errors import CalibrationWarning
from quantlib.numerics import sqnr_db
from quantlib.recipes import OperatorPlan, Plan, Recipe, by_name
from quantlib.runners import NumpyRunner
from quantlib.tflite import Model
from tests.support.litert import RESOLVERS, interpreter
from tests.support.network import Network, gaussian
from tests.support.networks import Example
from tests.support.rules import unknown_to_reference, violations

Array = npt.NDArray[Any]


def samples(net: Network, count: int = 8, **given: Array) -> dict[str, Array]:
    """Gaussian samples of a network's inputs, but for those given."""
    tensors = [net.graph.tensors[t] for t in net.graph.inputs]
    return {t.name: given.get(t.name, gaussian((count, *t.shape.tolist()), i)) for i, t in enumerate(tensors)}


def calibrated(model: Model, data: Mapping[str, Array], **options: Any) -> Statistics:
    """Statistics whose ranges are the extremes; what calibration says of few samples is tested elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        return ql.calibrate(model, dict(data), **{"observer": "minmax", **options})


def of_example(example: Example) -> Statistics:
    """The same over all signatures."""
    return merge(*(calibrated(example.model, data, signature=key) for key, data in example.data.items()))


def recipe(mode: str = "int8", **changes: Any) -> Recipe:
    return by_name(mode).replace(**changes)


def planned(model: Model, data: Mapping[str, Array], mode: str = "int8", **changes: Any) -> Plan:
    return ql.plan(model, recipe(mode, **changes), calibrated(model, data))


def operator(plan: Plan, name: str) -> OperatorPlan:
    """The plan of the operator of a name."""
    return next(p for p in plan.operators if p.name == name)


def step(plan: Plan, name: str) -> float:
    """Scale of what an operator writes first."""
    affine = operator(plan, name).outputs[0]
    if affine is None:
        raise ValueError(f"{name} writes no integers")
    return float(affine.scale[0])


def names(model: Model, subgraph: int = 0) -> list[str]:
    """Types of a subgraph's operators."""
    return [model.operator_name(o) for o in model.subgraphs[subgraph].operators or ()]


def valid(made: Model, original: Model, resolvers: tuple[str, ...] = RESOLVERS) -> Model:
    """No rule is broken, and the resolvers that have the operators take the file."""
    data = made.to_bytes()
    found = violations(data, original.to_bytes())
    assert not found, "\n".join(found[:10])
    for resolver in resolvers:
        if resolver != "reference" or not unknown_to_reference(data):
            interpreter(data, resolver)
    return made


def run(model: Model, sample: Mapping[str, Array], resolver: str = "default", *, signature: str = "") -> list[Array]:
    """Real values of the outputs: what is integer is quantized on the way in and dequantized on the way out."""
    made = interpreter(model.to_bytes(), resolver)
    if signature:
        runner = made.get_signature_runner(signature)
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        given = {name: _stored(sample[detail["name"]], detail) for name, detail in inputs.items()}
        found = runner(**given)
        return [_real(found[name], detail) for name, detail in outputs.items()]
    for detail in made.get_input_details():
        made.set_tensor(detail["index"], _stored(sample[detail["name"]], detail))
    made.invoke()
    return [_real(made.get_tensor(d["index"]), d) for d in made.get_output_details()]


def _stored(values: Array, detail: Mapping[str, Any]) -> Array:
    scale, point = detail["quantization"]
    if detail["dtype"] == values.dtype or not scale:
        return values.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.rint(values / scale) + point, limits.min, limits.max).astype(detail["dtype"])


def _real(values: Array, detail: Mapping[str, Any]) -> Array:
    scale, point = detail["quantization"]
    return ((values.astype(np.float64) - point) * scale).astype(np.float32) if scale else values


def decibels(original: Model, made: Model, data: Mapping[str, Array], resolver: str = "default") -> list[float]:
    """SQNR of each float output over all samples, against the original in NumPy."""
    count = len(next(iter(data.values())))
    each = [{name: values[i] for name, values in data.items()} for i in range(count)]
    runner = NumpyRunner(original)
    wanted = [list(runner.run(sample).values()) for sample in each]
    found = [run(made, sample, resolver) for sample in each]
    pairs = [
        (np.stack(a), np.stack(b)) for a, b in zip(zip(*wanted, strict=True), zip(*found, strict=True), strict=True)
    ]
    return [float(sqnr_db(a, b)) for a, b in pairs if a.dtype == np.float32]

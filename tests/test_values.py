"""Values in a notebook or in another process: one line each, copied and pickled."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import inspect
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib import calibration, numerics, operators, passes, recipes, runners, targets, testing, tflite
from quantlib.errors import InvalidValue
from quantlib.frozen import Frozen
from quantlib.operators import kernels
from tests.house.test_public import DOORS


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    """One value of each kind that a verb returns."""
    model = ql.read(ql.demo.MODEL)
    statistics = ql.calibrate(model, ql.demo.CALIBRATION)
    plan = ql.plan(model, "int8", statistics)
    small = ql.quantize(model, plan)
    dynamic = ql.quantize(model, "dynamic")
    return {
        "model": small,
        "statistics": statistics,
        "plan": plan,
        "recipe": plan.recipe,
        "comparison": ql.compare(model, small, ql.demo.CALIBRATION, runner="numpy"),
        "findings": ql.check(dynamic, "tflite-micro"),
        "tuned": ql.tune(model, "int8", ql.demo.CALIBRATION, runner="numpy"),
        "mixed": ql.evaluation.mix(model, "int8", ql.demo.CALIBRATION, 44, runner="numpy"),
        "edited": ql.prune(model),
    }


@pytest.mark.parametrize(
    "name", ["model", "statistics", "plan", "comparison", "findings", "tuned", "mixed", "edited"]
)
def test_a_repr_is_one_short_line(values: dict[str, Any], name: str) -> None:
    assert "\n" not in repr(values[name])
    assert len(repr(values[name])) <= 120


@pytest.mark.parametrize(
    "name", ["model", "statistics", "plan", "recipe", "comparison", "findings", "tuned", "mixed", "edited"]
)
def test_a_value_can_be_copied_and_pickled(values: dict[str, Any], name: str) -> None:
    assert copy.deepcopy(values[name]) == values[name]
    assert pickle.loads(pickle.dumps(values[name])) == values[name]


def test_reprs_tell_the_main_thing(values: dict[str, Any]) -> None:
    assert repr(values["findings"]) == "<Findings of tflite-micro: 7 violations at 7 of 11 operators>"
    assert repr(values["edited"]) == "<Edited by prune: 3 changed, 4 left alone>"
    assert f"{values['tuned'].trials[0].sqnr_db:.1f} dB, best of 7" in repr(values["tuned"])


#: What holds functions of any kind, or is a place in a model that is being worked on.
AT_WORK = {
    *(numerics.Scores, operators.IntegerKernel, operators.Integer, operators.OperatorRow, operators.Recurrent),
    *(operators.Weight, kernels.IntegerLstm, kernels.Requantizer, recipes.Graph, recipes.Use, recipes.Cut),
    *(tflite.FileLayout, passes.Reading),
}


def inside(value: Any) -> Iterator[Any]:
    """Values of dataclasses in a value, at any depth."""
    if dataclasses.is_dataclass(value):
        yield value
        parts: Any = (getattr(value, field.name) for field in dataclasses.fields(value))
    elif isinstance(value, Mapping):
        parts = value.values()
    else:
        parts = value if isinstance(value, (tuple, list)) else ()
    for part in parts:
        yield from inside(part)


@pytest.fixture(scope="module")
def harvest(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What verbs and functions return, and whatever that is made of."""
    model, small, data = ql.read(ql.demo.MODEL), values["model"], ql.demo.CALIBRATION
    kernel = np.ones((2, 64), np.float32)
    gram = ql.evaluation.gram(model, data, ["dense/kernel"], runner="numpy")["dense/kernel"]
    ends = runners.model_ends(small, runners.interface_of(small), real=True)
    int8 = ql.recipes.int8(input_type="INT8")
    operand = targets.Operand("INT8", (1, 8))
    affine = numerics.Affine("INT8", [[1.0, 2.0], [3.0, 4.0]], 0, numerics.PerBlock(1, 32))
    rng = np.random.default_rng(0)
    return [
        *values.values(),
        *(targets.load(name) for name in targets.NAMES),
        *(ql.calibrate(model, data, observer=name) for name in ("minmax", "moving-average")),
        ql.compare(model, small, ql.demo.SAMPLES, labels=ql.demo.LABELS, runner="numpy", layers=True),
        *(
            calibration.MinMax(),
            calibration.Percentile(),
            calibration.Entropy(),
            calibration.MSE(),
            calibration.Blend(),
            calibration.Headroom(),
        ),
        *(calibration.Finding("constant", "x is constant"), ql.evaluation.Latency(1.0, 2.0, 0.9, 1.8, 9, 1)),
        *(ql.evaluation.costs(model), ql.evaluation.arithmetics(small), ql.plan(model, "dynamic")),
        ql.golden(small, ql.demo.SAMPLES, tmp_path_factory.mktemp("values") / "v"),
        *(gram, numerics.Refitted(kernel, None), numerics.Equations.of(gram), numerics.cluster_values(kernel, 2)),
        *(numerics.Cutoff(1.0, 3), affine, ql.plan(model, int8, values["statistics"]), ends),
        operators.Signature("CONV_2D", ("INT8", "INT8"), ("INT8",), Frozen({"stride_w": 1})),
        *(operators.Operand("INT8", affine), operators.Call((kernel,), tflite.Table("AddOptions"))),
        operators.QuantizedOperator("ADD", (), (), tflite.Table("AddOptions")),
        *(operand, targets.Operation("GELU", 2, (operand,), (operand,))),
        targets.load("tflite-micro").violations(targets.Operation("GELU", 2, (operand,), (operand,))),
        testing.random_operands(rng, (1, 8), (4, 8)),
        *(tflite.SparseLayout(0), tflite.without_unused(model)),
        *(small.tensor("conv1/kernel"), small.tensor("conv1/kernel").quantization),
    ]


def public() -> set[type]:
    """Frozen values that a door shows."""
    shown = (thing for door in map(importlib.import_module, DOORS) for thing in map(door.__dict__.get, door.__all__))
    return {c for c in shown if inspect.isclass(c) and dataclasses.is_dataclass(c) and c.__dataclass_params__.frozen}


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal, also where they hold arrays that can't be compared as one."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    with contextlib.suppress(ValueError):  # the truth of an array
        if a == b:
            return True
    return dataclasses.is_dataclass(a) and all(
        same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)
    )


def test_every_public_value_is_copied_and_pickled(harvest: list[Any]) -> None:
    found: dict[type, Any] = {}
    for value in inside(harvest):
        found.setdefault(type(value), value)
    assert {c.__name__ for c in public() - set(found) - AT_WORK} == set()
    failures = []
    for kind in sorted(public() & set(found), key=lambda kind: kind.__name__):
        for copied in (copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))):
            try:
                fine = same(copied(found[kind]), found[kind])
            except (TypeError, AttributeError, pickle.PicklingError) as error:
                fine = str(error)
            if fine is not True:
                failures.append((kind.__name__, fine))
    assert failures == []


def test_a_frozen_mapping_is_one() -> None:
    given = {"a": 1, "b": 2}
    frozen = Frozen(given)
    given["a"] = 3
    assert (dict(frozen), len(frozen), repr(frozen), frozen == {"a": 1, "b": 2}) == (
        {"a": 1, "b": 2},
        2,
        "{'a': 1, 'b': 2}",
        True,
    )
    with pytest.raises(TypeError, match="does not support item assignment"):
        frozen["a"] = 3  # type: ignore[index]  # on purpose
    assert copy.deepcopy(frozen) == pickle.loads(pickle.dumps(frozen)) == frozen


# ---- what isn't a model ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("thing", ["model.tflite", 5, None])
@pytest.mark.parametrize(
    "call",
    [
        lambda m: ql.plan(m, "dynamic"),
        lambda m: ql.quantize(m, "dynamic"),
        lambda m: ql.run(m, [0.0]),
        lambda m: ql.calibrate(m, [0.0]),
        lambda m: ql.check(m, "gpu"),
        lambda m: ql.compare(m, m, [0.0]),
        lambda m: ql.prune(m, 0.5),
        lambda m: ql.prune_channels(m, 0.5),
        lambda m: ql.cluster(m, 8),
        lambda m: ql.dequantize(m),
        lambda m: ql.retype(m, input_type="INT8"),
        lambda m: ql.tidy(m),
        lambda m: ql.golden(m, [0.0], "nowhere"),
        lambda m: ql.evaluation.refit(m, [0.0], ql.prune),
    ],
)
def test_what_is_no_model_is_refused(call: Callable[[Any], object], thing: object) -> None:
    with pytest.raises(InvalidValue, match=f"is a {type(thing).__name__}, and a Model is required; read the file"):
        call(thing)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, s: ql.plan(m, "dynamic", s),
        lambda m, s: ql.plan(m, "int8", s),
        lambda m, s: ql.prune(m, 0.5, statistics=s),
        lambda m, s: ql.prune_channels(m, 0.5, statistics=s),
    ],
)
def test_what_are_no_statistics_of_the_model_is_refused(call: Callable[[Any, Any], object]) -> None:
    model = ql.read(ql.demo.MODEL)
    with pytest.raises(InvalidValue, match="statistics is a str, and a Statistics is required"):
        call(model, "found.npz")
    with pytest.raises(InvalidValue, match="the statistics are of a model with SHA-256 0000"):
        call(model, ql.Statistics("0" * 64, 1, "histogram"))

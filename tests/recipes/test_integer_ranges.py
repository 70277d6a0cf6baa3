"""Where the range of an activation comes from, and what the plan says of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import quantlib as ql
from quantlib.calibration import HistogramState, Statistics
from quantlib.errors import InvalidRecipe, InvalidValue
from quantlib.recipes import Graph, Plan, plan_integer
from quantlib.recipes.measured import Measured
from quantlib.tflite import Model, Table
from tests.support.network import Network, gaussian
from tests.support.networks import EXAMPLES, example
from tests.support.planned import calibrated, operator, planned, recipe, run, samples, step, valid

Array = npt.NDArray[Any]


def dense(**options: Any) -> tuple[Network, Model]:
    net = Network()
    return net, net.done(net.fully_connected("y", net.input("x", (1, 8)), gaussian((6, 8), 1), **options))


def without(statistics: Statistics, *names: str) -> Statistics:
    """Statistics that lack some tensors."""
    known = {key: name for key, name in statistics.names.items() if name not in names}
    return replace(statistics, names=known, tensors={key: statistics.tensors[key] for key in known})


def sources(plan: Plan) -> set[str]:
    return {p.source for p in plan.operators if p.source}


# ---- choosers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chooser", ["minmax", "mse", "percentile", "entropy"])
@pytest.mark.parametrize("mode", ["int8", "int16x8", "uint8"])
def test_the_recipe_names_the_chooser(chooser: str, mode: str) -> None:
    net, model = dense()
    statistics = calibrated(model, samples(net, 20), observer="histogram")
    plan = ql.plan(model, recipe(mode, range=chooser), statistics)
    assert sources(plan) == {chooser}
    state = next(s for key, s in statistics.tensors.items() if statistics.names[key] == "y")
    kind = {"int8": "INT8", "int16x8": "INT16", "uint8": "UINT8"}[mode]
    lo, hi = recipe(mode).chooser_of(chooser).choose(state, symmetric=kind == "INT16", type=kind)
    levels = 255 if kind != "INT16" else 65534
    width = max(hi, 0) - min(lo, 0) if kind != "INT16" else 2 * max(-lo, hi)
    assert step(plan, "y") == pytest.approx(width / levels, rel=1e-6)


def shares(**statistics: Any) -> tuple[Model, Statistics]:
    """A share of eight classes, whose scores are moved on the way, and statistics with one score far above."""
    net = Network()
    scores = net.fully_connected("scores", net.input("x", (1, 8)), np.eye(8, dtype="f4"))
    shape = net.constant("shape", np.array([2, 4], "i4"))
    folded = net.op("RESHAPE", [scores, shape], "folded", (2, 4), Table("ReshapeOptions", new_shape=[2, 4]))
    model = net.done(net.op("SOFTMAX", [folded], "y", (2, 4), Table("SoftmaxOptions", beta=1.0)))
    data = samples(net, 6000)
    data["x"][7, ..., 0], data["x"][8, ..., 0] = 40, -40
    return model, calibrated(model, data, observer="histogram")


@pytest.mark.parametrize("chooser", ["blend", "mse"])
@pytest.mark.parametrize(
    "odd", [[1e200, -1.0], [np.nan, np.inf], []], ids=["beyond float32", "not finite", "nothing"]
)
def test_what_one_tensor_has_no_range_for_takes_none_from_another(chooser: str, odd: list[float]) -> None:
    """Although their ranges are chosen side by side."""
    net, model = dense()
    statistics = calibrated(model, samples(net, 20), observer="histogram")
    x = next(key for key, name in statistics.names.items() if name == "x")
    state = HistogramState().observe(np.array(odd, np.float64))
    other = replace(statistics, tensors={**statistics.tensors, x: state})
    found = [Measured(model, recipe(range=chooser), s) for s in (statistics, other)]
    y = next(t.index for t in model.tensors() if t.name == "y")
    assert len({m.range_of(Graph(model, 0), y, "INT8") for m in found}) == 1
    assert found[0].range_of(Graph(model, 0), y, "INT8") is not None
    assert found[1].range_of(Graph(model, 0), x[1], "INT8") is None


@pytest.mark.parametrize("chooser", ["blend", "mse", "percentile"])
def test_scores_of_softmax_are_cut_below_but_not_above(chooser: str) -> None:
    model, statistics = shares()
    plan = ql.plan(model, recipe(range=chooser), statistics)
    assert operator(plan, "scores").source == f"{chooser}, whole above for SOFTMAX"
    affine = operator(plan, "scores").outputs[0]
    assert affine is not None
    lo, hi = (float(affine.scale[0]) * (q - int(affine.zero_point[0])) for q in (-128, 127))
    least, most = next(s.range for key, s in statistics.tensors.items() if statistics.names[key] == "scores")
    assert hi == pytest.approx(1.1 * most, abs=float(affine.scale[0]) / 2)
    assert 0.9 * least < lo < 0
    whole = operator(ql.plan(model, recipe(range=chooser, symmetric_activations=True), statistics), "scores")
    assert whole.outputs[0] is not None
    assert float(whole.outputs[0].scale[0]) == pytest.approx(1.1 * most / 127, rel=1e-6)
    plain = operator(ql.plan(model, recipe(range="minmax"), statistics), "scores")
    assert plain.source == "minmax"


def test_16_bits_have_room_for_what_was_not_seen() -> None:
    net, model = dense()
    for statistics in (calibrated(model, samples(net, 20), observer="histogram"), calibrated(model, samples(net))):
        plan = ql.plan(model, "int16x8", statistics)
        assert sources(plan) == {"headroom"}
        least, most = next(s.range for key, s in statistics.tensors.items() if statistics.names[key] == "y")
        assert step(plan, "y") == pytest.approx(1.5 * max(-least, most) / 32767, rel=1e-6)
    statistics = calibrated(model, samples(net, 20), observer="histogram")
    assert sources(ql.plan(model, "int8", statistics)) == {"blend"}
    assert sources(ql.plan(model, "int8", calibrated(model, samples(net)))) == {"minmax"}  # it has no histogram


def test_what_was_seen_has_no_room_and_is_never_nothing() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    a = net.fully_connected("a", x, gaussian((8, 8), 1))
    model = net.done(a, net.fully_connected("zero", x, np.zeros((4, 8), "f4"), np.zeros(4, "f4")))
    statistics = calibrated(model, samples(net, 20))
    measured, graph = Measured(model, recipe("int16x8"), statistics), Graph(model, 0)
    found = {statistics.names[key]: (key[1], state.range) for key, state in statistics.tensors.items()}
    index, (least, most) = found["a"]
    seen, room = (f(graph, index, "INT16") for f in (measured.seen, measured.range_of))
    assert seen is not None
    assert room is not None
    assert (seen.lo, seen.hi) == (least, most)
    assert max(-room.lo, room.hi) == 1.5 * max(-least, most)
    zero = found["zero"][0]
    assert measured.seen(graph, zero, "INT16") == measured.range_of(graph, zero, "INT16")


def test_scores_near_the_greatest_number_keep_a_scale() -> None:
    model, statistics = shares()
    (key,) = (k for k, name in statistics.names.items() if name == "scores")
    state = HistogramState().observe(np.array([-1, 3.3e38], "f4"))
    plan = ql.plan(model, "int8", replace(statistics, tensors={**statistics.tensors, key: state}))
    assert np.isfinite(step(plan, "scores"))


@pytest.mark.parametrize(("fused", "reach"), [(0, 15), (1, 15), (2, 1), (3, 6)])
def test_room_ends_where_the_activation_does(fused: int, reach: float) -> None:
    net = Network()
    x = net.input("x", (1, 4))
    model = net.done(
        net.fully_connected("y", x, np.eye(4, dtype="f4"), np.zeros(4, "f4"), fused_activation_function=fused)
    )
    statistics = calibrated(model, {"x": np.full((2, 1, 4), [10.0, 5, 0, -1], "f4")}, observer="histogram")
    assert step(ql.plan(model, "int16x8", statistics), "y") == pytest.approx(reach / 32767, rel=1e-6)


@pytest.mark.parametrize("chooser", ["entropy", "mse", "percentile"])
def test_a_chooser_that_needs_a_histogram_says_which_tensor_has_none(chooser: str) -> None:
    net, model = dense()
    with pytest.raises(InvalidValue, match=r"tensor '[xy]': .*histogram"):
        ql.plan(model, recipe(range=chooser), calibrated(model, samples(net)))


# ---- tensors that say nothing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fused", "range_", "mode", "expected"),
    [
        (0, "-1..1", "int8", 2 / 255), (1, "0..1", "int8", 1 / 255), (2, "-1..1", "int8", 2 / 255),
        (3, "0..6", "int8", 6 / 255), (3, "0..6", "int16x8", 6 / 32767), (1, "0..1", "uint8", 1 / 255),
    ],
)  # fmt: skip
def test_a_tensor_that_was_always_0_has_a_sensible_range(fused: int, range_: str, mode: str, expected: float) -> None:
    net = Network()
    x = net.input("x", (1, 8))
    y = net.fully_connected("y", x, np.zeros((4, 8), "f4"), np.zeros(4, "f4"), fused_activation_function=fused)
    model = net.done(y)
    data = samples(net)
    plan = planned(model, data, mode)
    assert operator(plan, "y").source == f"always 0 in calibration, taken as {range_}"
    assert step(plan, "y") == pytest.approx(expected, rel=1e-6)
    made = valid(ql.quantize(model, plan), model)
    assert not run(made, {"x": data["x"][0]})[0].any()


def test_ranges_without_0_are_widened_to_it() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    y = net.op("ADD", [x, net.constant("k", np.full(8, 100, "f4"))], "y", (1, 8), Table("AddOptions"))
    model = net.done(y)
    affine = operator(planned(model, samples(net)), "y").outputs[0]
    assert affine is not None
    assert int(affine.zero_point[0]) == -128
    assert float(affine.scale[0]) == pytest.approx(104 / 255, rel=0.02)


# ---- ranges of neighbours ------------------------------------------------------------------------------------


def chain() -> tuple[Network, Model]:
    net = Network()
    wide = net.fully_connected("wide", net.input("x", (1, 8)), gaussian((8, 8), 1))
    shape = net.constant("shape", np.array([2, 4], "i4"))
    folded = net.op("RESHAPE", [wide, shape], "folded", (2, 4), Table("ReshapeOptions", new_shape=[2, 4]))
    order = net.constant("order", np.array([1, 0], "i4"))
    turned = net.op("TRANSPOSE", [folded, order], "turned", (4, 2), Table("TransposeOptions"))
    return net, net.done(net.op("ABS", [turned], "y", (4, 2), Table("AbsOptions")))


@pytest.mark.parametrize("missing", [("folded", "turned"), ("wide", "folded"), ("wide", "turned"), ("turned",)])
def test_what_is_moved_has_the_range_of_what_is_known_nearby(missing: tuple[str, ...]) -> None:
    net, model = chain()
    statistics = calibrated(model, samples(net))
    whole = ql.plan(model, recipe(), statistics)
    plan = ql.plan(model, recipe(), without(statistics, *missing))
    assert not plan.leftovers
    assert [p.outputs for p in plan.operators] == [p.outputs for p in whole.operators]
    nearby = {"as what it is made of", "as what is made of it"}
    assert bool(sources(plan) & nearby) == ("wide" in missing)


def test_nothing_known_nearby_either() -> None:
    net, model = chain()
    plan = ql.plan(model, recipe(), without(calibrated(model, samples(net)), "wide", "folded", "turned"))
    assert {p.name: p.mode for p in plan.operators} == dict.fromkeys(("wide", "folded", "turned", "y"), "FLOAT32")
    assert operator(plan, "wide").reason == "no range of wide: calibration never wrote it"


# ---- default ranges, one sign --------------------------------------------------------------------------------


def test_default_ranges_are_for_what_nothing_is_known_of_and_the_plan_warns() -> None:
    net, model = chain()
    plan = plan_integer(model, recipe(default_ranges=(-3, 5)), None)
    assert not plan.leftovers
    assert operator(plan, "wide").source == "default range"
    assert step(plan, "wide") == pytest.approx(8 / 255)
    assert any("-3..5" in note and "trials of speed only" in note for note in plan.notes)
    statistics = without(calibrated(model, samples(net)), "y")
    mixed = ql.plan(model, recipe(default_ranges=(0, 6)), statistics)
    assert (operator(mixed, "y").source, operator(mixed, "wide").source) == ("default range", "minmax")


@pytest.mark.parametrize("mode", ["int8", "int16x8", "uint8"])
@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"memory", "loop"}))
def test_default_ranges_make_any_model_integer(name: str, mode: str) -> None:
    model = example(name).model
    made = ql.quantize(model, recipe(mode, default_ranges=(-6, 6)))
    valid(made, model)


def test_activations_of_one_sign() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    y = net.fully_connected("y", x, gaussian((6, 8), 1), fused_activation_function=1)
    model = net.done(net.op("ADD", [y, net.constant("k", np.full(6, 3, "f4"))], "z", (1, 6), Table("AddOptions")))
    plan = planned(model, samples(net), symmetric_activations=True)
    affines = [a for p in plan.operators for a in (*p.inputs, *p.outputs) if a is not None]
    assert len(affines) >= 6
    assert not any(a.zero_point.any() for a in affines)
    valid(ql.quantize(model, plan), model)
    assert any(a.zero_point.any() for p in planned(model, samples(net)).operators for a in p.outputs if a is not None)


def test_an_infinite_default_range_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match="default_ranges"):
        recipe(default_ranges=(0, float("inf")))

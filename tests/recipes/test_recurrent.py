"""Plans for LSTM and SVDF: when they become integer, why not otherwise, and what their operands hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidRecipe
from quantlib.numerics import Affine
from quantlib.recipes import OperatorPlan, Recipe, plan_integer
from quantlib.tflite import Draft, Model, Table
from tests.support.network import Network, gaussian
from tests.support.recurrent import STEPS, UNITS, lstm, samples, svdf

INTEGER = ql.recipes.int8(recurrent="integer")


def planned(model: Model, recipe: Recipe | str = INTEGER, scale: float = 1.0, sequence: bool = False) -> OperatorPlan:
    """Plan of the first operator, from its own statistics over `scale` times Gaussian inputs."""
    data = [[scale * x] for x in samples(model, 10)]
    statistics = ql.calibrate(model, data, observer="minmax", sequence=sequence)
    return ql.plan(model, recipe, statistics).operators[0]


def of(plan: OperatorPlan, operand: int) -> Affine:
    found = plan.inputs[operand]
    assert found is not None
    return found


def changed(model: Model, operand: int, **given: Any) -> Model:
    """The model with other fields of a tensor that its first operator reads."""
    draft = Draft(model)
    graph = draft.graphs[0]
    t = int(graph.operators[0].inputs[operand])
    graph.tensors[t] = graph.tensors[t].replace(**given)
    return draft.done()


def test_lstm_stays_float_by_default_and_the_reason_names_the_option() -> None:
    plan = planned(lstm(), "int8")
    assert plan.mode == "FLOAT32"
    assert "--recurrent integer" in plan.reason
    assert not plan.left_out  # so that --strict sees it


def test_svdf_is_integer_by_default() -> None:
    assert planned(svdf(), "int8").mode == "INT8"


@pytest.mark.parametrize("mode", ["int16x8", "uint8"])
def test_other_modes_have_no_kernel(mode: str) -> None:
    for model in (lstm(), svdf()):
        plan = planned(model, Recipe(mode, weights="UINT8" if mode == "uint8" else "INT8", recurrent="integer"))
        assert plan.mode == "FLOAT32"
        assert "kernel of " in plan.reason


def test_the_field_is_checked() -> None:
    with pytest.raises(InvalidRecipe, match="recurrent is 'yes'"):
        Recipe("int8", recurrent="yes")
    with pytest.raises(InvalidRecipe, match="recurrent says nothing to mode 'dynamic'"):
        Recipe("dynamic", recurrent="integer")


def test_operands_of_an_lstm() -> None:
    plan = planned(lstm(peephole=True, projection=UNITS))
    types = [None if a is None else a.type.name for a in plan.inputs]
    assert types[:9] == ["INT8"] * 9
    assert types[9:12] == ["INT16"] * 3
    assert types[12:16] == ["INT32"] * 4
    assert types[16:20] == ["INT8", "INT32", "INT8", "INT16"]
    assert types[20:] == [None] * 4
    symmetric = [a for k, a in enumerate(plan.inputs) if a is not None and k not in (0, 18)]
    assert not any(a.zero_point.any() for a in symmetric)
    assert {a.scale.size for a in plan.inputs if a is not None} == {1}
    assert of(plan, 18) == plan.outputs[0]


@pytest.mark.parametrize("norm", [False, True])
def test_scales_of_biases(norm: bool) -> None:
    plan = planned(lstm(norm=norm, projection=10))
    for gate in range(4):
        factor = (
            np.float32(2**-10) * of(plan, 20 + gate).scale if norm else of(plan, 0).scale * of(plan, 1 + gate).scale
        )
        assert of(plan, 12 + gate).scale == factor
    hidden = plan.between[4]
    assert hidden is not None
    assert of(plan, 17).scale == hidden.scale * of(plan, 16).scale


def test_a_bias_that_would_overflow_raises_the_scale_of_its_weight() -> None:
    model = lstm()
    model = model.replace("constant0", data=np.float32(1e-9) * model.tensor("constant0").numpy())
    plan = planned(model)
    assert any("scale of operand 1 raised, whose bias would not fit INT32" in note for note in plan.notes)
    largest = np.abs(model.tensor("constant11").numpy()).max()
    assert largest / of(plan, 12).scale[0] == pytest.approx(2.0**30, rel=1e-6)


def test_cifg_has_no_input_gate() -> None:
    plan = planned(lstm(cifg=True))
    assert [k for k, a in enumerate(plan.inputs[:16]) if a is None] == [1, 5, 9, 10, 11, 12]


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("projection", [0, 10])
def test_intermediates(norm: bool, projection: int) -> None:
    plan = planned(lstm(cifg=True, norm=norm, projection=projection))
    assert len(plan.between) == 5
    gates, hidden = plan.between[:4], plan.between[4]
    assert [None if a is None else a.type.name for a in gates] == ["INT16" if norm else None] * 4
    assert hidden is not None
    assert not hidden.zero_point.any() if projection else hidden == plan.outputs[0]


def test_a_gate_before_layer_normalization_holds_all_that_its_weights_can_make() -> None:
    model = lstm(norm=True, peephole=True)
    plan = planned(model)

    def reach(weight: str, data: Affine) -> Any:
        """Least and greatest sum of each unit, with data at either end of its range."""
        ends = data.scale[0] * (np.array([data.qmin, data.qmax]) - data.zero_point[0])
        parts = model.tensor(weight).numpy()[..., None] * ends
        return np.stack([parts.min(-1).sum(-1), parts.max(-1).sum(-1)])

    peephole = np.abs(model.tensor("constant8").numpy()) * of(plan, 19).scale[0] * 2**15
    sums = np.abs(reach("constant0", of(plan, 0))).max(0) + np.abs(reach("constant4", of(plan, 18))).max(0) + peephole
    gate = plan.between[0]
    assert gate is not None
    assert gate.scale[0] * 32767 == pytest.approx(sums.max(), rel=1e-5)


def test_weights_are_rounded_to_nearest() -> None:
    """What the input has in common says nothing of the state, which half of the weights multiply."""
    assert planned(lstm()).moments is None
    assert INTEGER.balanced


def test_the_state_has_a_power_of_two_and_room_for_the_steps_between() -> None:
    model = lstm()
    statistics = ql.calibrate(model, [[x] for x in samples(model, 10)], observer="minmax")
    seen = statistics.tensors[0, int(model.subgraphs[0].operators[0].inputs[19])]
    most = max(-seen.min, seen.max)
    bound = of(ql.plan(model, INTEGER, statistics).operators[0], 19).scale[0] * 2**15
    assert np.log2(bound) % 1 == 0
    assert 2 * most <= bound < 4 * max(most, 2)


def test_outputs_of_all_steps_speak_of_the_state_too() -> None:
    """A sequence that ends in quiet has a small state at the end, and a great one before."""
    model = lstm().replace("constant12", data=np.full(UNITS, -4, np.float32))  # the forget gate shuts
    x = 3 * samples(model, 10)
    x[:, :, STEPS // 2 :] = 0
    statistics = ql.calibrate(model, [[v] for v in x], observer="minmax")
    operator = model.subgraphs[0].operators[0]
    state, out = (statistics.tensors[0, int(t)] for t in (operator.inputs[19], operator.outputs[0]))
    known = np.arctanh(max(-out.min, out.max))
    assert 2 * max(-state.min, state.max) < known
    assert of(ql.plan(model, INTEGER, statistics).operators[0], 19).scale[0] * 2**15 >= 2 * known


@pytest.mark.parametrize(("clip", "bound"), [(0.5, 1), (1.5, 2), (2, 2), (3, 4)])
def test_clip_bounds_the_state(clip: float, bound: int) -> None:
    assert of(planned(lstm(clip=clip)), 19).scale[0] * 2**15 == bound


def test_a_single_step_sees_its_state() -> None:
    assert "doubled" not in planned(lstm(operator="LSTM"), sequence=True).notes[0]


def test_operands_of_svdf() -> None:
    plan = planned(svdf(), sequence=True)
    assert [None if a is None else a.type.name for a in plan.inputs] == ["INT8", "INT8", "INT16", "INT32", "INT16"]
    assert of(plan, 3).scale == of(plan, 2).scale * of(plan, 4).scale
    assert plan.between == ()


@pytest.mark.parametrize(("memory", "rank", "largest"), [(5, 1, 511), (50, 2, 327), (2000, 1, 16)])
def test_sums_of_svdf_over_time_fit_32_bits(memory: int, rank: int, largest: int) -> None:
    model = svdf(rank, memory=memory)
    plan = planned(model)
    most = np.abs(model.tensor("time").numpy()).max() / of(plan, 2).scale[0]
    assert round(float(most)) == largest
    assert largest * memory * rank * 2**15 <= 2**30


def kernel_of_type_basic() -> Model:
    net = Network()
    x, previous = net.input("x", (1, 4)), net.input("previous", (1, 3))
    w, b = net.constant("w", gaussian((12, 7))), net.constant("b", gaussian((12,)))
    options = Table("LSTMOptions", kernel_type=1, fused_activation_function=4)
    return net.done(net.op("LSTM", [x, previous, w, b, net.input("state", (1, 3))], "y", (1, 3), options))


def with_another_reader() -> Model:
    """The cell's state is an operand of ABS too."""
    draft = Draft(lstm())
    graph = draft.graphs[0]
    out = graph.add_tensor("seen", "FLOAT32", (1, UNITS))
    graph.append(draft.operator("ABS", [int(graph.operators[0].inputs[19])], [out]))
    graph.outputs = [*graph.outputs, out]
    return draft.done()


def not_finite() -> Model:
    return lstm().replace("constant4", data=np.full((UNITS, UNITS), np.inf, np.float32))


REFUSED = (
    (lambda: lstm(fused_activation_function=1), "the fused activation TANH alone"),
    (lambda: svdf(activation=0), "the fused activation RELU alone"),
    (lambda: lstm(diagonal_recurrent_tensors=True), "no diagonal recurrent weights"),
    (lambda: lstm(peephole=True, projection=10), "peepholes for as many cells as outputs"),
    (kernel_of_type_basic, "kernel type BASIC"),
    (lambda: changed(lstm(), 19, is_variable=False), "operand 19, is no variable"),
    (lambda: changed(lstm(), 1, buffer=0), "operand 1 is no constant"),
    (with_another_reader, "others read its state, operand 19"),
    (not_finite, "constant4 has values that aren't finite"),
)


@pytest.mark.parametrize(("made", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_what_kernels_cannot_do_stays_float_with_a_reason(made: Callable[[], Model], reason: str) -> None:
    plan = ql.plan(made(), INTEGER.replace(default_ranges=(-1, 1))).operators[0]
    assert plan.mode == "FLOAT32"
    assert reason in plan.reason


def test_without_calibration_there_is_no_range() -> None:
    assert "no range of its state" in plan_integer(lstm(), INTEGER, None).operators[0].reason
    assert "no range of x" in plan_integer(lstm(clip=4), INTEGER, None).operators[0].reason

"""Plans for a target."""

from __future__ import annotations

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidRecipe, InvalidValue, NotFound
from quantlib.tflite import Table
from tests.support.network import Network


@pytest.fixture(scope="module")
def model():
    return ql.read(ql.demo.MODEL)


@pytest.fixture(scope="module")
def statistics(model):
    return ql.calibrate(model, ql.demo.CALIBRATION)


@pytest.mark.parametrize("mode", ["int8", "int16x8", "uint8"])
@pytest.mark.parametrize("target", ql.targets.NAMES)
def test_what_is_planned_for_a_target_passes_its_check(model, statistics, mode, target):
    profile = ql.targets.load(target)
    taken = {"int8": True, "int16x8": profile.int16_ok, "uint8": profile.uint8_ok}[mode]
    if not taken:
        with pytest.raises(InvalidRecipe, match=f"{target} takes no"):
            ql.plan(model, mode, statistics, target=target)
        return
    plan = ql.plan(model, mode, statistics, target=target)
    findings = ql.check(ql.quantize(model, plan), target)
    unmet = {(v.subgraph, v.operator) for v in findings.violations}
    # where a target neither takes an operator nor computes in float, the plan has said so
    assert findings.ok or (not profile.float_ok and len(plan.notes) >= len(unmet))


@pytest.mark.parametrize("mode", ["dynamic", "weight-only", "float16"])
def test_modes_that_a_microcontroller_does_not_take(model, mode):
    with pytest.raises(InvalidRecipe, match=r"tflite-micro takes no .*take int8"):
        ql.plan(model, mode, target="tflite-micro")


def test_dense_weights_have_one_scale_where_the_target_takes_one(model, statistics):
    plan = ql.plan(model, "int8", statistics, target="ethos-u")
    dense = next(p for p in plan.operators if p.type == "FULLY_CONNECTED")
    assert dense.inputs[1].scale.size == 1
    assert any("per_tensor_types" in note for note in plan.notes)
    convolution = next(p for p in plan.operators if p.type == "CONV_2D")
    assert convolution.inputs[1].scale.size > 1


def test_integer_targets_get_integer_ends(model, statistics):
    small = ql.quantize(model, "int8", statistics, target="edgetpu")
    assert small.tensor("image").type == "INT8"
    assert not any(t.type == "FLOAT32" for t in small.tensors())


def test_hybrid_weights_for_the_gpu_have_one_scale_in_dense_layers(model):
    plan = ql.plan(model, "dynamic", target="gpu")
    dense = [d for d in plan.quantized if "FULLY_CONNECTED" in d.readers]
    assert dense
    assert all(d.how == "per tensor" for d in dense)
    assert ql.check(ql.quantize(model, plan), "gpu").ok


def test_bad_requests(model, statistics):
    with pytest.raises(NotFound, match="tflite-micro"):
        ql.plan(model, "int8", statistics, target="toaster")
    with pytest.raises(InvalidValue, match="target is a float"):
        ql.plan(model, "int8", statistics, target=1.0)
    plan = ql.plan(model, "int8", statistics)
    with pytest.raises(InvalidValue, match="a plan was made with statistics and target of its own"):
        ql.quantize(model, plan, target="gpu")


@pytest.mark.filterwarnings("ignore::quantlib.errors.CalibrationWarning")
def test_an_operator_that_a_target_lacks_as_integer_stays_float():
    """TFLite Micro has EXP in float alone."""
    net = Network()
    x = net.input("x", (1, 4))
    h = net.op("RELU", [x], "h", (1, 4))
    y = net.op("EXP", [h], "y", (1, 4), Table("ExpOptions"))
    model = net.done(net.op("RELU6", [y], "z", (1, 4)))
    statistics = ql.calibrate(model, np.linspace(-1, 1, 40, dtype=np.float32).reshape(10, 1, 4))
    free, micro = (ql.plan(model, "int8", statistics, target=t) for t in (None, "tflite-micro"))
    assert [p.mode for p in free.operators] == ["INT8"] * 3
    assert [p.mode for p in micro.operators] == ["INT8", "FLOAT32", "INT8"]
    assert "tflite-micro" in micro.operators[1].reason
    assert ql.check(ql.quantize(model, micro), "tflite-micro").ok

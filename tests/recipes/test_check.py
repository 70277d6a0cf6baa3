"""Whole models against targets."""

from __future__ import annotations

import json

import numpy as np
import pytest

import quantlib as ql
from quantlib import targets
from quantlib.errors import InvalidValue, NotFound
from quantlib.recipes import Graph, operation
from quantlib.tflite import Draft, Model
from tests.support import models
from tests.support.network import Network
from tests.support.shared import SHARED, needs_shared

DEMO = ql.read(ql.demo.MODEL)


def test_a_float_model_runs_on_micro() -> None:
    found = ql.check(DEMO, "tflite-micro")
    assert found.ok
    assert str(found).startswith("tflite-micro: no violations in 11 operators\nnote: ")


def test_a_hybrid_model_does_not() -> None:
    found = ql.check(ql.quantize(DEMO, "dynamic"), "tflite-micro")
    first = found.violations[0]
    assert (first.type, first.name, first.tensor_name, first.subgraph, first.operator) == (
        *("CONV_2D", "conv1", "conv1/kernel"), 0, 0,
    )  # fmt: skip
    lines = str(found).splitlines()
    assert lines[0] == (
        f"CONV_2D conv1 (0, 0), tensor 'conv1/kernel' (0, {first.tensor}): holds integer weights for float "
        "activations (hybrid), FLOAT32 INT8 FLOAT32 -> FLOAT32; start from the float model, and quantize activations "
        "too: quantlib quantize --recipe int8"
    )
    assert lines[-2] == f"tflite-micro: {len(found.violations)} violations at 7 of 11 operators"


def test_a_half_model_does_not_but_the_gpu_takes_it() -> None:
    half = ql.quantize(DEMO, "float16")
    assert "is FLOAT16, which the target doesn't read" in ql.check(half, "tflite-micro").violations[0].reason
    assert ql.check(half, "gpu").ok
    dynamic = ql.check(ql.quantize(DEMO, "dynamic"), "gpu").violations
    assert {(v.type, "up to version 9" in v.reason) for v in dynamic} == {("FULLY_CONNECTED", True)}
    assert ql.check(ql.quantize(DEMO, ql.recipes.dynamic(granularity="tensor")), "gpu").ok


def test_findings_are_json() -> None:
    found = ql.check(ql.quantize(DEMO, "dynamic"), "edgetpu")
    values = json.loads(json.dumps(found.to_dict()))
    assert (values["target"], values["ok"], values["operators"]) == ("edgetpu", False, 11)
    assert values["violations"][0]["remedy"]
    assert len(values["violations"]) == len(found.violations)
    assert "unverified" in values["notes"][0]


def test_a_tensor_is_told_once() -> None:
    found = ql.check(DEMO, "ethos-u").violations
    places = [(v.subgraph, v.tensor, v.reason) for v in found if v.tensor is not None]
    assert len(places) == len(set(places)) > 10


@pytest.mark.parametrize("name", targets.NAMES)
def test_all_subgraphs_are_looked_at(name: str) -> None:
    net = Network()
    net.op("GELU", [net.input("x", (1, 4))], "y", (1, 4))
    other = net.done(1)
    draft = Draft(models.branches())
    draft.graphs[2].append(draft.operator("LOCAL_RESPONSE_NORMALIZATION", [0], [2], version=99))
    found = ql.check(draft.done(), name)
    assert any((v.subgraph, v.operator, v.type) == (2, 1, "LOCAL_RESPONSE_NORMALIZATION") for v in found.violations)
    assert ("GELU" in str(ql.check(other, name).violations)) is (name not in ("litert", "xnnpack", "gpu"))


def test_inputs_and_outputs() -> None:
    net = Network()
    x = net.input("x", (1, 4), "INT32")
    found = ql.check(net.done(x), "ethos-u")
    assert str(found.violations[0]) == (
        "tensor 'x' (0, 0): is INT32 and an input of the model; INT8, UINT8, INT16 are taken; quantize it: quantlib "
        "quantize --recipe int8 --input-type INT8"
    )
    assert ql.check(net.done(x), "tflite-micro").ok
    floats = [v for v in ql.check(DEMO, "ethos-u").violations if v.tensor_name == "image"]
    assert [(v.operator, v.reason) for v in floats] == [(0, "is FLOAT32, and the target computes in integers")]


def test_buffers_behind_the_flatbuffer() -> None:
    root = DEMO.root.replace(
        buffers=[b.replace(offset=64, size=8) if i == 1 else b for i, b in enumerate(DEMO.buffers)]
    )
    found = ql.check(Model(root), "tflite-micro")
    assert [v.reason[:16] for v in found.violations] == ["1 buffers stand "]
    assert ql.check(Model(root), "litert").ok


def test_dynamic_dimensions() -> None:
    assert ql.check(models.dynamic_shape(), "gpu").ok  # the batch counts 1
    draft = Draft(models.dynamic_shape())
    draft.graphs[0].tensors[0] = draft.graphs[0].tensors[0].replace(shape_signature=[1, -1])
    assert "known at run time" in ql.check(draft.done(), "gpu").violations[0].reason
    assert ql.check(draft.done(), "litert").ok


def test_parameters_that_do_not_fit_are_a_violation() -> None:
    draft = Draft(models.convolution())
    tensor = draft.graphs[0].tensors[0]
    broken = tensor.quantization.replace(scale=[0.5, 0.5, 0.5], zero_point=[1, 2])
    draft.graphs[0].tensors[0] = tensor.replace(quantization=broken)
    assert "3 scales and 2 zero points" in ql.check(draft.done(), "litert").violations[0].reason


def test_operation_of_a_model() -> None:
    found = operation(Graph(models.convolution(), 0), 0)
    assert (found.operator, found.version, found.accepted) == ("CONV_2D", 3, range(1, 9))
    assert [x.type for x in found.inputs if x] == ["INT8", "INT8", "INT32"]
    assert found.options["stride_w"] == 1
    weights = found.inputs[1]
    assert weights is not None
    assert (weights.constant, weights.per_channel, weights.shape) == (True, True, (4, 3, 3, 3))
    np.testing.assert_array_equal(weights.zero_point, np.zeros(4))


def test_misuse() -> None:
    with pytest.raises(NotFound, match="no target 'tpu'; known are litert"):
        ql.check(DEMO, "tpu")
    with pytest.raises(InvalidValue, match="model is a str"):
        ql.check("m.tflite", "litert")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(InvalidValue, match="target is a int"):
        ql.check(DEMO, 3)  # type: ignore[arg-type]  # the point of the test
    assert ql.check(DEMO, targets.load("litert")).ok


TWINS = ("ic_resnet8", "kws_dscnn", "vww_mobilenet_96", "ad_toycar")


@needs_shared
@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("target", ["tflite-micro", "cmsis-nn", "litert", "xnnpack"])
def test_the_int8_twins_of_mlperf_tiny_pass(name: str, target: str) -> None:
    assert ql.check(ql.read(SHARED / "models" / f"mlperf_{name}_int8.tflite"), target).ok


@needs_shared
@pytest.mark.parametrize("name", ["mlperf_kws_dscnn_dynamic", "mlperf_ad_toycar_dynamic", "dtln_1_dynamic"])
def test_dynamic_files_are_hybrid(name: str) -> None:
    found = ql.check(ql.read(SHARED / "models" / f"{name}.tflite"), "tflite-micro")
    assert found.violations
    assert all("hybrid" in v.reason for v in found.violations)


@needs_shared
@pytest.mark.parametrize("name", ["selfie_segmentation_fp16", "face_detection_short_range_fp16"])
def test_float16_files(name: str) -> None:
    model = ql.read(SHARED / "models" / f"{name}.tflite")
    assert any("is FLOAT16" in v.reason for v in ql.check(model, "tflite-micro").violations)
    assert ql.check(model, "gpu").ok

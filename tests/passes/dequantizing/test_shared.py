"""`dequantize` of files that converters made, beside the float files that they were made from."""

from __future__ import annotations

import numpy as np
import pytest

import quantlib as ql
from quantlib.recipes import by_name
from quantlib.tflite import Model, read
from tests.support.planned import run
from tests.support.shared import SHARED, needs_shared

pytestmark = needs_shared


def file(name: str) -> Model:
    return read(SHARED / "models" / f"{name}.tflite")


def layers(model: Model) -> list[tuple[str, int, float]]:
    """Type, fused activation, and the sum of the weights of each operator."""
    found = []
    for o in model.subgraphs[0].operators:
        options, weight = o.builtin_options, [model.tensor((0, int(t))) for t in o.inputs[1:2]]
        fused = 0 if options is None else options.stored().get("fused_activation_function", 0)
        sums = sum(float(w.numpy().astype("f8").sum()) for w in weight if w.is_constant and w.type == "FLOAT32")
        found.append((model.operator_name(o), fused, round(sums, 3)))
    return found


def test_ssd_has_its_activations_back_and_the_weights_of_its_float_twin() -> None:
    edited = ql.dequantize(file("ssd_mobilenet_v1_coco_qat_uint8"))
    twin = file("ssd_mobilenet_v1_coco_float_reconstructed")
    assert edited.totals["activations given back"] == 27
    assert edited.kept == ()
    assert layers(edited.model) == layers(twin)
    assert [t.type for t in edited.model.tensors() if t.type not in ("FLOAT32", "INT32")] == []


def test_mobilenet_v1_has_its_activations_back() -> None:
    edited = ql.dequantize(file("mobilenet_v1_0.25_224_qat_uint8"))
    twin = file("mobilenet_v1_0.25_224_float")  # trained on its own, the same otherwise
    fused = [layer[1] for layer in layers(edited.model) if "CONV" in layer[0]]
    assert fused == [layer[1] for layer in layers(twin) if "CONV" in layer[0]] == [3] * 27 + [0]
    assert edited.model.trailing == file("mobilenet_v1_0.25_224_qat_uint8").trailing


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("hello_world_int8", by_name("int8").replace(input_type="INT8", output_type="INT8")),
        ("mlperf_kws_dscnn_int8", by_name("int8").replace(input_type="INT8", output_type="INT8")),
        ("mlperf_ad_toycar_int8", by_name("int8").replace(input_type="INT8", output_type="INT8")),
        ("mlperf_ic_resnet8_int8", by_name("int8").replace(input_type="INT8", output_type="INT8")),
        ("mobilenet_v1_0.25_224_qat_uint8", by_name("uint8").replace(input_type="UINT8", output_type="UINT8")),
    ],
)
def test_quantizing_again_with_kept_ranges_gives_the_file_s_integers(name: str, recipe: ql.Recipe) -> None:
    model = file(name)
    kept = ql.dequantize(model, keep_ranges=True)
    again = ql.quantize(kept.model, recipe.replace(rounding="nearest"))
    weights = {t.name: t.numpy() for t in model.tensors() if t.is_constant and t.type in ("INT8", "UINT8")}
    assert weights
    for key, values in weights.items():
        np.testing.assert_array_equal(again.tensor(key).numpy(), values)
    (t,) = (model.tensor((0, int(i))) for i in model.subgraphs[0].inputs)
    limits, form = np.iinfo(t.dtype), t.quantization
    for seed in range(3):
        raw = np.random.default_rng(seed).integers(limits.min, limits.max + 1, t.shape)
        sample = {t.name: (form.scale * (raw - form.zero_point)).astype("f4")}
        np.testing.assert_array_equal(run(again, sample), run(model, sample))


@pytest.mark.parametrize("name", ["face_detection_short_range_fp16", "edge/mnist_quantized"])
def test_weights_behind_dequantize_compute_the_same(name: str) -> None:
    model = file(name)
    edited = ql.dequantize(model)
    assert edited.totals["operators removed"] == sum(
        model.operator_name(o) == "DEQUANTIZE" for o in model.subgraphs[0].operators
    )
    (t,) = (model.tensor((0, int(i))) for i in model.subgraphs[0].inputs)
    sample = {t.name: np.random.default_rng(0).standard_normal(t.shape).astype("f4")}
    for ours, theirs in zip(run(edited.model, sample), run(model, sample), strict=True):
        np.testing.assert_array_equal(ours, theirs)

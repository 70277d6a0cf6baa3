"""Quantized weights: the numbers in the file, and what LiteRT computes with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue
from quantlib.numerics import PerAxis, PerBlock, affine_from_range, quantize, sqnr_db, to_float16, weight_range
from quantlib.recipes import BEHIND, Recipe, dynamic, weight_only
from quantlib.tflite import Inline, Model, Table
from tests.support.litert import RESOLVERS, run
from tests.support.network import Network, classifier, gaussian
from tests.support.presets import WEIGHT_PRESETS
from tests.support.shared import MODELS, SHARED, needs_shared

FLOATS = [p for p in MODELS if p.parent.name == "models" and ("float" in p.stem or "fp16" in p.stem)]
#: Custom operators of MediaPipe, which only LiteRT's default resolver has.
ONLY_DEFAULT = ("hair_segmentation_float", "selfie_segmentation_fp16")


def codes(model: Model) -> dict[str, set[int]]:
    """Versions in use by operator name."""
    found: dict[str, set[int]] = {}
    for graph in model.subgraphs:
        for operator in graph.operators or ():
            version = model.root.operator_codes[operator.opcode_index].version
            found.setdefault(model.operator_name(operator), set()).add(version)
    return found


def in_place(model: Model, recipe: Recipe | str) -> Model:
    """The float model with every constant of the plan replaced by what a new form keeps of it."""
    plan = ql.plan(model, recipe)
    small = ql.quantize(model, plan)
    for d in plan.quantized:
        stored = small.tensor((d.subgraph, d.tensor))
        model = model.replace((d.subgraph, d.tensor), data=np.array(stored.real()))
    return model


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("recipe", ["float16", "weight-only", "weight-only-int4"])
def test_what_stands_behind_dequantize_computes_the_same(recipe: str, resolver: str) -> None:
    model = classifier()
    for ours, reference in zip(
        run(ql.quantize(model, recipe), resolver), run(in_place(model, recipe), resolver), strict=True
    ):
        if (recipe, resolver) == (
            "weight-only-int4",
            "default",
        ):  # XNNPACK doesn't fold int4, and sums in its own order
            np.testing.assert_allclose(ours, reference, rtol=1e-5)
        else:
            np.testing.assert_array_equal(ours, reference)


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize(("recipe", "least"), [("dynamic", 40.0), ("dynamic-int4", 20.0)])
def test_hybrid_kernels_come_close(recipe: str, least: float, resolver: str) -> None:
    model = classifier()
    for ours, reference in zip(run(ql.quantize(model, recipe), resolver), run(model), strict=True):
        assert sqnr_db(reference, ours) > least


@pytest.mark.parametrize("name", ["conv/kernel", "depthwise/kernel", "dense/kernel"])
def test_stored_integers_are_those_of_numerics(name: str) -> None:
    model = classifier()
    tensor = ql.quantize(model, "dynamic").tensor(name)
    weights = model.tensor(name).numpy()
    assert tensor.quantization is not None
    axis = PerAxis(tensor.quantization.quantized_dimension)
    affine = affine_from_range(
        *weight_range(weights, axis), "INT8", granularity=axis, symmetric=True, narrow_range=True
    )
    np.testing.assert_array_equal(tensor.quantization.scale, affine.scale)
    np.testing.assert_array_equal(tensor.numpy(), quantize(weights, affine))


def test_stored_halves_are_those_of_numerics() -> None:
    model = classifier()
    half, _ = to_float16(model.tensor("dense/kernel").numpy())
    np.testing.assert_array_equal(ql.quantize(model, "float16").tensor("dense/kernel").numpy(), half)


@pytest.mark.parametrize("shape", [(3, 1025, 1031), (1, 1, 1, 1_300_000), (1_300_000, 1, 1, 1), (1, 7, 11, 20_011)])
@pytest.mark.parametrize("kind", ["INT8", "INT4"])
@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_pieces_are_put_together_right(shape: tuple[int, ...], kind: str, granularity: str) -> None:
    """Large constants are produced piece by piece; odd rows of 4 bits don't end at a byte."""
    net = Network()
    x = net.input("x", (1, 4, 4, shape[-1]))
    if len(shape) == 4:
        out = net.convolution("c", x, gaussian(shape), depthwise=shape[0] == 1)
    else:
        w = net.constant("c/kernel", gaussian(shape))
        out = net.op("BATCH_MATMUL", [x, w], "c", shape, Table("BatchMatMulOptions"))
    model = net.done(out)
    recipe = weight_only(weights=kind, granularity=granularity, min_elements=0)
    plan = ql.plan(model, recipe)
    if not plan.quantized:
        assert "no fewer than" in plan.kept[0].reason + plan.kept[1].reason
        return
    small = ql.quantize(model, plan)
    streamed = ql.read(small.to_bytes()).tensor("c/kernel")
    weights, axis = model.tensor("c/kernel").numpy(), plan.quantized[0].granularity
    affine = affine_from_range(
        *weight_range(weights, axis), kind, granularity=axis, symmetric=True, narrow_range=True
    )
    np.testing.assert_array_equal(streamed.numpy(), quantize(weights, affine))
    np.testing.assert_array_equal(small.tensor("c/kernel").numpy(), streamed.numpy())


def test_blocks() -> None:
    net = Network()
    x = net.input("x", (2, 128))
    model = net.done(net.fully_connected("fc", x, gaussian((16, 128), 1, 0.1)))
    recipe = Recipe("dynamic", weights="INT4", granularity="block", block_size=32)
    small = ql.read(ql.quantize(model, recipe).to_bytes())
    tensor = small.tensor("fc/kernel")
    assert tensor.quantization is not None
    assert tensor.quantization.block_size == 32
    scales = small.tensor("fc/kernel_scales")
    assert (scales.type, scales.shape) == ("FLOAT16", (16, 4))
    error = np.abs(tensor.real() - model.tensor("fc/kernel").numpy())
    assert (error <= 0.51 * np.repeat(scales.real(), 32, axis=1) + 7 * 2.0**-8 * scales.real().max()).all()
    reference = run(model)[0]
    for resolver in ("default", "builtin"):
        assert sqnr_db(reference, run(small, resolver)[0]) > 18


@pytest.mark.parametrize(
    ("factor", "reason"), [(1.0, ""), (1e-2, ""), (1e-5, "too small for float16"), (1e7, "beyond float16")]
)
def test_blocks_whose_scales_float16_holds(factor: float, reason: str) -> None:
    net = Network()
    x = net.input("x", (2, 128))
    kernel = (gaussian((16, 128), 1, 1.0) * factor).astype(np.float32)
    model = net.done(net.fully_connected("fc", x, kernel))
    plan = ql.plan(model, Recipe("dynamic", weights="INT4", granularity="block", block_size=32))
    (found,) = plan.quantized
    assert found.granularity == (PerAxis(0) if reason else PerBlock(1, 32))
    assert reason in found.reason
    for resolver in ("default", "builtin"):
        assert sqnr_db(run(model)[0], run(ql.quantize(model, plan), resolver)[0]) > 17


def test_blocks_of_zeros_keep_their_scales() -> None:
    net = Network()
    kernel = gaussian((16, 128), 1, 1.0)
    kernel[:, :64] = 0
    model = net.done(net.fully_connected("fc", net.input("x", (2, 128)), kernel))
    (found,) = ql.plan(model, Recipe("dynamic", weights="INT4", granularity="block", block_size=32)).quantized
    assert found.granularity == PerBlock(1, 32)


def test_versions_and_runtime() -> None:
    draft_model = classifier()
    assert codes(ql.quantize(draft_model, "dynamic")) == {
        "CONV_2D": {5}, "DEPTHWISE_CONV_2D": {6}, "RESHAPE": {1}, "FULLY_CONNECTED": {12},
    }  # fmt: skip
    assert codes(ql.quantize(draft_model, "float16"))["DEQUANTIZE"] == {3}
    assert codes(ql.quantize(draft_model, "weight-only"))["DEQUANTIZE"] == {5}
    assert codes(ql.quantize(draft_model, weight_only(granularity="tensor")))["DEQUANTIZE"] == {2}
    assert codes(ql.quantize(draft_model, "weight-only-int4"))["DEQUANTIZE"] == {6}
    per_tensor = ql.quantize(draft_model, dynamic(granularity="tensor"))
    assert codes(per_tensor)["FULLY_CONNECTED"] == {9}  # the GPU delegate's highest
    only = codes(ql.quantize(draft_model, dynamic(only="dense")))
    assert only["CONV_2D"] == {1}


def test_min_runtime_version_follows() -> None:
    model = ql.read(ql.demo.MODEL)

    def runtime(m: Model) -> bytes:
        entry = next(e for e in m.root.metadata if e.name == "min_runtime_version")
        data = m.data(entry.buffer)
        assert data is not None
        assert data.nbytes == 16
        return data.numpy().tobytes().rstrip(b"\0")

    assert runtime(model) == b"1.6.0"
    assert runtime(ql.quantize(model, "dynamic")) == b"2.17.0"  # FULLY_CONNECTED 12
    assert runtime(ql.quantize(model, "float16")) == b"1.15.0"  # DEQUANTIZE 3
    assert runtime(ql.quantize(model, "weight-only")) == b"2.7.0"  # DEQUANTIZE 5


def test_float16_says_how_to_compute() -> None:
    entries = [e.name for e in ql.quantize(classifier(), "float16").root.metadata]
    assert entries == ["reduced_precision_support"]


@pytest.mark.parametrize("recipe", WEIGHT_PRESETS)
def test_the_same_input_gives_the_same_bytes(recipe: str) -> None:
    assert ql.quantize(classifier(), recipe).to_bytes() == ql.quantize(classifier(), recipe).to_bytes()


def test_constants_with_one_buffer_keep_one() -> None:
    net = Network()
    x = net.input("x", (4, 8))
    w = gaussian((8, 8))
    first = net.constant("first", w)
    second = net.constant("second", w, buffer=net.graph.tensors[first].buffer)
    model = net.done(net.fully_connected("b", net.fully_connected("a", x, first), second))
    for recipe in WEIGHT_PRESETS:
        small = ql.quantize(model, recipe)
        assert small.tensor("first").table.buffer == small.tensor("second").table.buffer
        assert small.tensor("first").type != "FLOAT32"


def test_a_skipped_reader_still_reads_floats() -> None:
    net = Network()
    x = net.input("x", (8, 8))
    w = net.constant("w", gaussian((8, 8)))
    model = net.done(net.fully_connected("b", net.fully_connected("a", x, w), w))
    small = ql.quantize(model, dynamic(skip="^b$"))
    readers = {small.operator_name(o): small.tensor((0, int(o.inputs[1]))).type for o in small.subgraphs[0].operators}
    assert readers == {"FULLY_CONNECTED": "FLOAT32"}  # the last one's
    types = [small.tensor((0, int(o.inputs[1]))).type for o in small.subgraphs[0].operators]
    assert types == ["INT8", "FLOAT32"]
    assert sqnr_db(run(model)[0], run(small)[0]) > 46


def test_a_weight_that_is_not_finite_is_refused_by_name() -> None:
    weights = gaussian((8, 8))
    weights[2, 5] = np.nan
    net = Network()
    model = net.done(net.fully_connected("fc", net.input("x", (1, 8)), weights))
    with pytest.raises(InvalidValue, match=r"tensor 'fc/kernel' \(0, 1\): nan at index \(2, 5\)"):
        ql.quantize(model, "dynamic")


def test_a_plan_of_another_model_is_refused() -> None:
    net = Network()
    other = net.done(net.fully_connected("fc", net.input("x", (1, 8)), gaussian((8, 8))))
    with pytest.raises(InvalidValue, match="doesn't fit this model"):
        ql.quantize(other, ql.plan(classifier(), "dynamic"))


def test_clipping_by_least_square_error_is_closer() -> None:
    weights = np.random.default_rng(0).standard_t(3, (16, 512)).astype(np.float32)
    net = Network()
    model = net.done(net.fully_connected("fc", net.input("x", (1, 512)), weights))
    errors = [
        float(
            np.mean(
                (ql.quantize(model, weight_only(weights="INT4", range=r)).tensor("fc/kernel").real() - weights) ** 2
            )
        )
        for r in ("minmax", "mse")
    ]
    assert errors[1] < 0.75 * errors[0]


def test_asymmetric_weights() -> None:
    weights = np.abs(gaussian((16, 256)))
    net = Network()
    model = net.done(net.fully_connected("fc", net.input("x", (1, 256)), weights))
    for resolver in RESOLVERS:
        both = [
            sqnr_db(run(model)[0], run(ql.quantize(model, weight_only(symmetric=s)), resolver)[0])
            for s in (True, False)
        ]
        assert both[1] > both[0] + 3  # all values on one side: one bit more
    tensor = ql.quantize(model, weight_only(symmetric=False)).tensor("fc/kernel")
    assert tensor.quantization is not None
    assert set(tensor.quantization.zero_point.tolist()) == {-128}


def float16_source() -> Model:
    """Weights and bias as float16 behind DEQUANTIZE, as converters leave them."""
    return ql.read(ql.quantize(classifier(), "float16").to_bytes())


@pytest.mark.parametrize("recipe", ["dynamic", "weight-only", "dynamic-int4"])
def test_float16_files_are_a_source(recipe: str) -> None:
    small = ql.quantize(float16_source(), recipe)
    names = [small.operator_name(o) for o in small.subgraphs[0].operators]
    assert len(small.to_bytes()) < 0.65 * len(float16_source().to_bytes())
    for resolver in RESOLVERS:
        least = 20 if "int4" in recipe else 40
        assert sqnr_db(run(float16_source())[0], run(small, resolver)[0]) > least
    # the old DEQUANTIZE of each weight is gone; dynamic has none left: biases became plain constants
    assert names.count("DEQUANTIZE") == (6 if recipe == "weight-only" else 0)
    assert {t.type for t in small.tensors() if t.name.endswith("bias")} <= {"FLOAT32", "FLOAT16"}


def test_control_dependencies_follow_the_operators() -> None:
    model = classifier()
    # version 1, one subgraph, one pair: operator 0 before operator 2 (zigzag: 0 and 4)
    entry = bytes([1, 1, 1, 0, 4])
    root = model.root.replace(
        buffers=[*model.buffers, Table("Buffer", data=Inline(entry))],
        metadata=[Table("Metadata", name="model_control_dependencies", buffer=len(model.buffers))],
    )
    small = ql.quantize(Model(root), "weight-only")
    moved = next(e for e in small.root.metadata if e.name == "model_control_dependencies")
    data = small.data(moved.buffer)
    assert data is not None
    assert data.numpy().tolist() == [1, 1, 1, 6, 10]  # three DEQUANTIZE operators came before


@needs_shared
@pytest.mark.parametrize("path", FLOATS, ids=lambda p: p.stem)
def test_real_models_in_every_mode_and_resolver(path: Path) -> None:
    model = ql.read(path)
    for recipe in WEIGHT_PRESETS:
        plan = ql.plan(model, recipe)
        content = ql.quantize(model, plan).to_bytes()
        assert not plan.quantized or ql.read(content).to_bytes(rebuild=True) == content
        for resolver in RESOLVERS[:1] if path.stem in ONLY_DEFAULT else RESOLVERS:
            assert all(np.isfinite(y).all() for y in run(content, resolver) if y.dtype.kind == "f"), (
                recipe,
                resolver,
            )


@needs_shared
@pytest.mark.parametrize("path", FLOATS, ids=lambda p: p.stem)
def test_float16_computes_as_the_rounded_float_model(path: Path) -> None:
    model = ql.read(path)
    if not ql.plan(model, "float16").quantized:
        pytest.skip("its constants are float16 already")
    rounded = model
    for d in ql.plan(model, "float16").decisions:
        tensor = model.tensor((d.subgraph, d.tensor))
        with np.errstate(over="ignore"):
            halves = tensor.numpy().astype(np.float16).astype(np.float32)
        rounded = rounded.replace((d.subgraph, d.tensor), data=halves)
    for a, b in zip(run(rounded), run(ql.quantize(model, "float16")), strict=True):
        assert a.dtype.kind != "f" or sqnr_db(a, b) >= 80
    if path.stat().st_size > 1_000_000:
        assert len(ql.quantize(model, "float16").to_bytes()) <= 0.52 * path.stat().st_size


@needs_shared
@pytest.mark.parametrize("recipe", WEIGHT_PRESETS)
@pytest.mark.parametrize("name", ["ic_resnet8", "vww_mobilenet_96", "kws_dscnn", "ad_toycar"])
def test_mlperf_tiny_really_shrinks(name: str, recipe: str) -> None:
    path = SHARED / "models" / f"mlperf_{name}_float.tflite"
    limit = {"float16": 0.64, "dynamic": 0.4, "weight-only": 0.42}.get(recipe, 0.32)
    assert len(ql.quantize(ql.read(path), recipe).to_bytes()) < limit * path.stat().st_size
    assert BEHIND in {d.action for d in ql.plan(ql.read(path), recipe).quantized} or "dynamic" in recipe

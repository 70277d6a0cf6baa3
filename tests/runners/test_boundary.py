"""Where float and integers meet: what is computed, and what is refused rather than computed wrongly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue, NotFound
from quantlib.runners import LiteRTRunner, NumpyRunner
from quantlib.tflite import Draft, Model, Table, read
from tests.runners import built
from tests.runners.accuracy import LEAST, compare, samples_of, signatures, tasks
from tests.runners.contract import X
from tests.support import models
from tests.support.network import Network, gaussian
from tests.support.shared import needs_shared

ALL = np.arange(-128, 128).astype(np.int8)
REFUSED = "values with scales, and NumPy has no integer kernel for it; run it with LiteRT$"


def between(name: str, ends: list[tuple[str, Any]], options: Table | None = None, size: int = 256) -> Model:
    """One operator; all ends but the last are its inputs, each with a type and quantization (or None)."""
    draft = Draft()
    graph = draft.graphs[0]
    made = [
        graph.add_tensor(f"t{i}", kind, (1, size), **({} if q is None else {"quantization": q}))
        for i, (kind, q) in enumerate(ends)
    ]
    graph.append(draft.operator(name, made[:-1], made[-1:], options))
    graph.inputs, graph.outputs = made[:-1], made[-1:]
    return draft.done()


def judged(model: Model, sample: Any) -> tuple[Any, Any]:
    """What NumPy and LiteRT's reference kernels compute."""
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed (the extra 'litert')")
    (ours,) = NumpyRunner(model).run(sample).values()
    (theirs,) = LiteRTRunner(model, resolver="reference").run(sample).values()
    assert ours.dtype == theirs.dtype
    return ours, theirs


class TestConversions:
    @pytest.mark.parametrize(("kind", "zero_point"), [("INT8", -7), ("UINT8", 130), ("INT16", 0)])
    def test_dequantize(self, kind: str, zero_point: int) -> None:
        model = between("DEQUANTIZE", [(kind, models.parameters(0.037, zero_point)), ("FLOAT32", None)])
        np.testing.assert_array_equal(*judged(model, ALL[None].astype(kind.lower())))

    @pytest.mark.parametrize(("kind", "zero_point"), [("INT8", -7), ("UINT8", 130), ("INT16", 0)])
    def test_quantize(self, kind: str, zero_point: int) -> None:
        model = between("QUANTIZE", [("FLOAT32", None), (kind, models.parameters(0.25, zero_point))])
        x = np.linspace(-40, 40, 255, dtype=np.float32)  # in steps that meet ties
        x = np.concatenate([x, [0.125]]).astype(np.float32)[None]
        np.testing.assert_array_equal(*judged(model, x))

    @pytest.mark.parametrize(
        ("before", "after", "points"),
        [
            ("INT8", "UINT8", (-5, 123)),
            ("UINT8", "INT8", (123, -5)),
            ("INT8", "INT8", (-5, 7)),
            ("INT8", "INT16", (3, 0)),
        ],
    )
    def test_another_zero_point(self, before: str, after: str, points: tuple[int, int]) -> None:
        ends = [(kind, models.parameters(0.1, point)) for kind, point in zip((before, after), points, strict=True)]
        model = between("QUANTIZE", ends)
        values = (ALL.astype(np.int16) + (128 if before == "UINT8" else 0)).astype(before.lower())
        np.testing.assert_array_equal(*judged(model, values[None]))

    def test_another_scale(self) -> None:
        model = between("QUANTIZE", [("INT8", models.parameters(0.1)), ("INT8", models.parameters(0.2))])
        np.testing.assert_array_equal(*judged(model, ALL[None]))

    def test_a_scale_for_each_channel(self) -> None:
        draft = Draft()
        graph = draft.graphs[0]
        x = graph.add_tensor("x", "FLOAT32", (2, 4))
        values = models.rng(1).integers(-128, 128, (2, 4)).astype(np.int8)
        quantization = models.parameters([0.1, 0.2, 0.3, 0.4], axis=1)
        q = models.constant(draft, graph, "q", "INT8", values, quantization=quantization)
        w, y = graph.add_tensor("w", "FLOAT32", (2, 4)), graph.add_tensor("y", "FLOAT32", (2, 4))
        graph.append(draft.operator("DEQUANTIZE", [q], [w], Table("DequantizeOptions"), 5))
        graph.append(draft.operator("ADD", [x, w], [y], Table("AddOptions")))
        graph.inputs, graph.outputs = [x], [y]
        expected = values * np.array([0.1, 0.2, 0.3, 0.4], np.float32)
        np.testing.assert_array_equal(NumpyRunner(draft.done()).run(np.zeros((2, 4), "f4"))["y"], expected)

    def test_a_scale_for_each_block(self) -> None:
        model = models.blockwise()
        draft = Draft(model)
        graph = draft.graphs[0]
        scales = graph.tensors[model.tensor("scales").index]
        graph.tensors[model.tensor("scales").index] = scales.replace(
            buffer=draft.add_buffer(np.linspace(0.1, 1.6, 16).astype(np.float16))
        )
        w = model.tensor("w").index
        full = graph.add_tensor("full", "FLOAT32", (8, 64))
        inputs = graph.operators[0].inputs.tolist()
        inputs[inputs.index(w)] = full
        dequantize = draft.operator("DEQUANTIZE", [w], [full], Table("DequantizeOptions"), 6)
        graph.operators[:] = [dequantize, graph.operators[0].replace(inputs=inputs)]
        made = draft.done()
        x = models.weights(1, 64)
        np.testing.assert_allclose(NumpyRunner(made).run(x)["y"], x @ made.tensor("w").real().T, rtol=1e-6, atol=1e-6)

    def test_integers_without_a_scale(self) -> None:
        for ends in ([("INT8", None), ("FLOAT32", None)], [("INT8", None), ("INT8", models.parameters(0.1))]):
            name = "DEQUANTIZE" if ends[1][0] == "FLOAT32" else "QUANTIZE"
            with pytest.raises(
                InvalidValue, match=rf"^{name} \(subgraph 0, operator 0\): {name} of int8 without a scale"
            ):
                NumpyRunner(between(name, ends)).run(ALL)

    def test_no_scale_to_go_to(self) -> None:
        with pytest.raises(InvalidValue, match=r"^QUANTIZE \(subgraph 0, operator 0\): .*to a tensor without a s"):
            NumpyRunner(between("QUANTIZE", [PLAIN, ("INT8", None)])).run(np.zeros((1, 256), np.float32))

    def test_nan_has_no_integer(self) -> None:
        model = between("QUANTIZE", [("FLOAT32", None), ("INT8", models.parameters(0.25))])
        with pytest.raises(InvalidValue, match=r"^QUANTIZE \(subgraph 0, operator 0\): .*NaN"):
            NumpyRunner(model).run(np.full((1, 256), np.nan, np.float32))


ONE = ("INT8", models.parameters(0.1, 3))
OTHER = ("INT8", models.parameters(0.2, 3))
SHIFTED = ("INT8", models.parameters(0.1, 4))
CHANNELS = ("INT8", models.parameters(np.linspace(0.1, 0.2, 256), axis=1))
PLAIN = ("FLOAT32", None)
CONCATENATION = Table("ConcatenationOptions", axis=1)


class TestIntegers:
    @pytest.mark.parametrize(
        ("name", "ends", "options"),
        [
            ("NEG", [ONE, ONE], None),
            ("RELU", [ONE, ("INT16", ONE[1])], None),
            ("MEAN", [ONE, ONE], None),
            ("LESS", [("INT16", ONE[1]), ("INT16", ONE[1]), ("BOOL", None)], None),
            ("CONCATENATION", [ONE, OTHER, ONE], CONCATENATION),
            ("CONCATENATION", [ONE, SHIFTED, ONE], CONCATENATION),
            ("CONCATENATION", [ONE, ONE, OTHER], CONCATENATION),
            ("CONCATENATION", [ONE, ONE, ("INT16", ONE[1])], CONCATENATION),
            ("CONCATENATION", [ONE, ONE, ONE], CONCATENATION.replace(fused_activation_function=1)),
            ("MAXIMUM", [ONE, ("INT16", ONE[1]), ONE], None),
            ("MINIMUM", [ONE, ONE, PLAIN], None),
            ("CONCATENATION", [CHANNELS, CHANNELS, CHANNELS], CONCATENATION),
            ("EMBEDDING_LOOKUP", [("INT32", None), ONE, PLAIN], None),
            ("FULLY_CONNECTED", [PLAIN, ("UINT8", ONE[1]), PLAIN], Table("FullyConnectedOptions")),
            ("PAD", [ONE, ("INT32", None), ("UINT8", ONE[1])], None),
        ],
    )
    def test_what_needs_scales_is_refused(self, name: str, ends: Any, options: Table | None) -> None:
        with pytest.raises(NotFound, match=rf"^{name} \(subgraph 0, operator 0\): it computes on .*{REFUSED}"):
            NumpyRunner(between(name, ends, options))

    @pytest.mark.parametrize(
        ("name", "ends", "options", "message"),
        [
            ("RELU", [CHANNELS, ONE], None, "an operand of INT8 with 256 scales; one is required"),
            ("ADD", [ONE, ("INT8", None), ONE], Table("AddOptions"), "an operand of INT8 without a scale; one is re"),
            ("MAX_POOL_2D", [ONE, ("INT8", None)], Table("Pool2DOptions"), "an operand of INT8 without a scale"),
        ],
    )
    def test_scales_that_are_missing_or_too_many(self, name: str, ends: Any, options: Table, message: str) -> None:
        with pytest.raises(InvalidValue, match=rf"^{name} \(subgraph 0, operator 0\): {message}"):
            NumpyRunner(between(name, ends, options))

    @pytest.mark.parametrize(
        ("name", "ends", "options"),
        [
            ("CONCATENATION", [ONE, ONE, ONE], CONCATENATION),
            ("MAXIMUM", [ONE, ONE, ONE], Table("MaximumMinimumOptions")),
            ("PACK", [ONE, ONE, ONE], Table("PackOptions", values_count=2, axis=1)),
        ],
    )
    def test_what_only_copies_them_runs(self, name: str, ends: Any, options: Table) -> None:
        ours, theirs = judged(between(name, ends, options), [ALL[None], ALL[None, ::-1]])
        np.testing.assert_array_equal(ours, theirs)

    def test_shapes_change_whatever_the_scale(self) -> None:
        draft = Draft()
        graph = draft.graphs[0]
        x = graph.add_tensor("x", "INT8", (1, 256), quantization=ONE[1])
        shape = models.constant(draft, graph, "shape", "INT32", np.array([16, 16], np.int32))
        y = graph.add_tensor("y", "INT8", (16, 16), quantization=ONE[1])
        graph.append(draft.operator("RESHAPE", [x, shape], [y], Table("ReshapeOptions", new_shape=[16, 16])))
        graph.inputs, graph.outputs = [x], [y]
        np.testing.assert_array_equal(NumpyRunner(draft.done()).run(ALL)["y"], ALL.reshape(16, 16))

    def test_plain_integers_are_no_business_of_scales(self) -> None:
        model = built.one("NEG", ("INT32", "INT32"))
        assert NumpyRunner(model).run(np.array([[1, -2, 3, 0]], np.int32))["y"].tolist() == [[-1, 2, -3, 0]]


class TestRecipes:
    def model(self) -> Model:
        net = Network()
        x = net.input("x", (1, 64))
        x = net.fully_connected("one", x, gaussian((48, 64), 1), fused_activation_function=1)
        return net.done(net.fully_connected("two", x, gaussian((32, 48), 2)))

    @pytest.mark.parametrize("recipe", ["float16", "weight-only", "weight-only-int4"])
    def test_weights_behind_dequantize_run(self, recipe: str) -> None:
        model = ql.quantize(self.model(), recipe)
        assert any(model.operator_name(o) == "DEQUANTIZE" for o in model.subgraphs[0].operators)
        ours, theirs = judged(read(model.to_bytes()), gaussian((1, 64), 3))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5)
        expected = NumpyRunner(self.model()).run(gaussian((1, 64), 3))["two"]
        assert 0 < np.abs(ours - expected).max() < 0.25 * np.abs(expected).max()

    @pytest.mark.parametrize("recipe", ["dynamic", "dynamic-int4"])
    def test_hybrid_weights_run(self, recipe: str) -> None:
        model = ql.quantize(self.model(), recipe)
        ours, theirs = judged(read(model.to_bytes()), gaussian((1, 64), 3))
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)

    @needs_shared
    def test_hybrid_convolutions_run(self) -> None:
        task = tasks()["mlperf_kws_dscnn_float"]
        model = ql.quantize(read(task.model), "dynamic")
        ours, theirs = judged(read(model.to_bytes()), task.samples("eval", 1)[0])
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)

    @needs_shared
    @pytest.mark.parametrize("recipe", ["float16", "weight-only", "weight-only-int4"])
    @pytest.mark.parametrize(
        "name",
        [
            "mlperf_kws_dscnn_float",
            "dtln_1_while_float",
            "recommendation_rnn_float",
            "movie_review_text_float",
            "lyra_soundstream_encoder_float",
            "kv_cache_two_signatures_float",
            "face_detection_short_range_fp16",
        ],
    )
    def test_real_models(self, name: str, recipe: str) -> None:
        pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed (the extra 'litert')")
        task = tasks()[name]
        model = read(ql.quantize(read(task.model), recipe).to_bytes())
        for i, signature in enumerate(signatures(model)):
            samples = samples_of(name)[:1] if i == 0 else None
            row = compare(name, model, signature, samples, "reference", keep_state=task.stateful)
            assert row.least >= LEAST
            assert not row.wrong


def test_the_caller_gets_integers_as_they_are() -> None:
    model = between("QUANTIZE", [PLAIN, ONE], size=4)
    outputs = NumpyRunner(model).run(X)
    assert outputs["t1"].dtype == np.int8
    assert outputs["t1"].tolist() == [[13, -17, 33, -37]]

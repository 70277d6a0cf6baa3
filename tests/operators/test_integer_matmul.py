"""Integer kernels of matrix products, against LiteRT's reference kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quantlib.errors import InvalidValue, NotFound
from quantlib.numerics import Affine
from quantlib.operators.integer_hybrid import quantize_rows
from quantlib.operators.integer_product import exact_weights
from quantlib.operators.integer_requantize import floating_point
from quantlib.operators.matmul.integer import fully_connected_blockwise, fully_connected_integers
from quantlib.runners import NumpyRunner
from quantlib.tflite import Draft, Model, Table
from tests.conformance.judge import End, assert_equal, operator
from tests.support import models

RANGES = {"INT8": (-127, 128), "INT4": (-7, 8), "INT2": (-1, 2), "UINT8": (0, 256), "INT16": (-32767, 32768)}


def model(
    kind: str = "INT8",
    weights: str = "INT8",
    *,
    units: int = 10,
    depth: int = 40,
    per_channel: bool = True,
    bias: str | None = "INT32",
    output_scale: float = 0.7,
    shape: tuple[int, ...] | None = None,
    point: int = 0,
    **fields: Any,
) -> Model:
    rng = np.random.default_rng(3)
    stored = {"UINT8": np.uint8, "INT16": np.int16}.get(weights, np.int8)
    matrix = rng.integers(*RANGES[weights], (units, depth)).astype(stored)
    scales = np.float32(0.02) * (1 + np.arange(units if per_channel else 1, dtype=np.float32))
    shape = shape or (3, depth)
    zero, zero_out = {"INT8": (-9, 5), "UINT8": (131, 100), "INT16": (0, 0), "FLOAT32": (0, 0)}[kind]
    scale = None if kind == "FLOAT32" else 0.05 if kind != "INT16" else 0.0005
    x = End(kind, shape, scale, zero)
    w = End(weights, matrix.shape, scales, point, 0, matrix)
    b = None
    if bias == "FLOAT32":
        b = End(bias, (units,), values=rng.standard_normal(units).astype(np.float32))
    elif bias is not None:
        values = rng.integers(-3000, 3000, units).astype(bias.lower())
        b = End(bias, (units,), np.float32(scale or 1) * scales, 0, 0, values)
    scale_out = None if kind == "FLOAT32" else output_scale if kind != "INT16" else output_scale / 100
    rows = (*shape[:-1], units) if fields.get("keep_num_dims") else (int(np.prod(shape)) // depth, units)
    y = End(kind, rows, scale_out, zero_out)
    return operator("FULLY_CONNECTED", [x, w, b], y, Table("FullyConnectedOptions", **fields))


@pytest.mark.parametrize("weights", ["INT8", "INT4", "INT2"])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("activation", [0, 1, 3])
def test_int8(activation: int, per_channel: bool, weights: str) -> None:
    assert_equal(model("INT8", weights, per_channel=per_channel, fused_activation_function=activation))


@pytest.mark.parametrize("output_scale", [0.0001, 0.001, 0.0625, 8.0])
@pytest.mark.parametrize("bias", ["INT32", None])
def test_multipliers_of_all_sizes(output_scale: float, bias: str | None) -> None:
    assert_equal(model(output_scale=output_scale, bias=bias))


def test_ties() -> None:
    x = np.array([[1, 2, 3, 5, 6], [-1, -2, -3, -5, -6]], np.int8).reshape(10, 1)
    w = End("INT8", (1, 1), 1.0, 0, 0, np.ones((1, 1), np.int8))
    ends = [End("INT8", (10, 1), 1.0), w, None], End("INT8", (10, 1), 4.0)
    made = operator("FULLY_CONNECTED", *ends, Table("FullyConnectedOptions"))
    assert NumpyRunner(made).run([x])["y"].ravel().tolist() == [0, 1, 1, 1, 2, 0, -1, -1, -1, -2]
    assert_equal(made, [[x]])


def test_asymmetric_weights_of_one_scale() -> None:
    assert_equal(model(per_channel=False, point=11))


def test_uint8() -> None:
    assert_equal(model("UINT8", "UINT8", per_channel=False, point=120))


@pytest.mark.parametrize("weights", ["INT8", "INT4"])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("bias", ["INT64", None])
def test_int16(bias: str | None, per_channel: bool, weights: str) -> None:
    assert_equal(model("INT16", weights, bias=bias, per_channel=per_channel))


def test_int16_with_int32_bias() -> None:
    assert_equal(model("INT16", quantized_bias_type=2))


@pytest.mark.parametrize("per_channel", [True, False])
def test_int16_weights(per_channel: bool) -> None:
    assert_equal(
        model("INT16", "INT16", bias="INT64", per_channel=per_channel, output_scale=100.0, quantized_bias_type=4)
    )


def test_an_int32_bias_that_litert_would_misread() -> None:
    with pytest.raises(
        InvalidValue, match=r"^FULLY_CONNECTED \(subgraph 0, operator 0\): a bias of INT32 with quant"
    ):
        NumpyRunner(model("INT16"))


@pytest.mark.parametrize("fields", [{}, {"keep_num_dims": True}])
def test_ranks(fields: Any) -> None:
    assert_equal(model(shape=(2, 3, 40), **fields))


def test_weights_that_are_computed() -> None:
    x, w = End("INT8", (3, 8), 0.1, 2), End("INT8", (5, 8), 0.2, 0)
    assert_equal(operator("FULLY_CONNECTED", [x, w, None], End("INT8", (3, 5), 0.9), Table("FullyConnectedOptions")))


@pytest.mark.parametrize("asymmetric", [True, False])
@pytest.mark.parametrize("weights", ["INT8", "INT4", "INT2"])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("bias", ["FLOAT32", None])
def test_float_activations(bias: str | None, per_channel: bool, weights: str, asymmetric: bool) -> None:
    made = model("FLOAT32", weights, bias=bias, per_channel=per_channel, asymmetric_quantize_inputs=asymmetric)
    rng = np.random.default_rng(5)
    given = [[np.zeros((3, 40), np.float32)], [rng.uniform(3, 4, (3, 40)).astype(np.float32)]]
    given += [[rng.standard_normal((3, 40)).astype(np.float32) * np.float32([[1], [0], [100]])] for _ in range(3)]
    assert_equal(made, given)


class TestFunctions:
    def test_product(self) -> None:
        weights = exact_weights(np.array([[1, 2], [-3, 4]], np.int8), 255)
        requantize = floating_point([0.5, 0.25], Affine("INT8", 0.1, 1))
        out = fully_connected_integers(np.array([[3, 5]], np.int8), weights, requantize, zero_point=3)
        assert out.tolist() == [[3, 3]]

    @pytest.mark.parametrize(
        ("largest", "expected"), [((1 << 24) // 127 // 2, np.float32), ((1 << 24) // 127 // 2 + 1, np.float64)]
    )
    def test_the_bound_of_float32(self, largest: int, expected: Any) -> None:
        assert exact_weights(np.array([[127, -127], [1, 1]], np.int8), largest).dtype == expected

    def test_beyond_float64(self) -> None:
        with pytest.raises(InvalidValue, match=r"^sums of products can reach \d+; below 2\*\*53 is required"):
            exact_weights(np.array([[1 << 30, 1 << 30]]), 1 << 30)

    def test_rows(self) -> None:
        rows = quantize_rows(np.array([[-1, 0, 1.27], [0, 0, 0]], np.float32), asymmetric=False)
        assert rows.q.tolist() == [[-100, 0, 127], [0, 0, 0]]
        assert rows.scale.ravel().tolist() == pytest.approx([0.01, 1])

    @pytest.mark.parametrize(("asymmetric", "least"), [(True, -128), (False, -127)])
    def test_ties_of_rows(self, asymmetric: bool, least: int) -> None:
        rows = quantize_rows(np.array([[least, 127, 0.5, 1.5, -0.5]], np.float32), asymmetric=asymmetric)
        assert rows.scale.tolist() == [[1.0]]
        assert rows.q.tolist() == [[least, 127, 1, 2, -1]]


class TestBatch:
    def model(self, kind: str, other: str, shapes: Any, out: float, *, adj: tuple[bool, bool], **ends: Any) -> Model:
        x, y = (0.05, 3), (0.02, -7)
        if kind == "INT16":
            x, y = (0.0005, 0), (0.0002, 0)
        left, right = (np.empty(s).swapaxes(-1, -2).shape if turn else s for s, turn in zip(shapes, adj, strict=True))
        result = (*np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2]), shapes[0][-2], shapes[1][-1])
        options = Table("BatchMatMulOptions", adj_x=adj[0], adj_y=adj[1], **ends.pop("options", {}))
        to = End(kind, result, out, 0 if kind == "INT16" else 11) if kind != "FLOAT32" else End(kind, result)
        first = End(kind, left, *x) if kind != "FLOAT32" else End(kind, left)
        if "values" in ends:
            ends["values"] = ends["values"].swapaxes(-1, -2) if adj[1] else ends["values"]
        return operator("BATCH_MATMUL", [first, End(other, right, *ends.pop("right", y), **ends)], to, options)

    @pytest.mark.parametrize("adj", [(False, False), (True, False), (False, True), (True, True)])
    @pytest.mark.parametrize(
        "shapes",
        [((4, 9), (9, 5)), ((3, 4, 9), (3, 9, 5)), ((2, 1, 4, 9), (3, 9, 5)), ((4, 9), (2, 2, 9, 5))],
    )
    @pytest.mark.parametrize(("kind", "other"), [("INT8", "INT8"), ("INT16", "INT16"), ("INT16", "INT8")])
    def test_integers(self, kind: str, other: str, shapes: Any, adj: tuple[bool, bool]) -> None:
        for out in (0.5, 0.001, 20.0):
            scale = out if kind == "INT8" else out / 100
            assert_equal(self.model(kind, other, shapes, scale, adj=adj))

    @pytest.mark.parametrize("depth", [258, 259, 3000])
    def test_long_sums(self, depth: int) -> None:
        assert_equal(self.model("INT8", "INT8", ((2, depth), (depth, 3)), 3.0, adj=(False, False)))
        assert_equal(self.model("INT16", "INT16", ((2, depth), (depth, 3)), 3.0, adj=(False, False)))

    @pytest.mark.parametrize("adj", [(False, False), (True, False), (False, True)])
    @pytest.mark.parametrize("asymmetric", [True, False])
    @pytest.mark.parametrize("shapes", [((4, 9), (9, 5)), ((3, 4, 9), (1, 9, 5)), ((1, 3, 4, 9), (3, 9, 5))])
    def test_hybrid(self, shapes: Any, asymmetric: bool, adj: tuple[bool, bool]) -> None:
        values = np.random.default_rng(2).integers(-127, 128, shapes[1]).astype(np.int8)
        options = {"asymmetric_quantize_inputs": asymmetric}
        made = self.model("FLOAT32", "INT8", shapes, 0, adj=adj, values=values, right=(0.02, 0), options=options)
        assert_equal(made, least=np.inf)

    def test_hybrid_with_long_sums(self) -> None:
        """What zero points contribute is rounded to float32, and so is the difference."""
        sign = np.where(np.arange(5000) < 2500, 1, -1)[:, None]
        values = (sign * np.random.default_rng(2).integers(100, 128, (5000, 3))).astype(np.int8)
        options = {"asymmetric_quantize_inputs": True}
        made = self.model(
            "FLOAT32", "INT8", ((4, 5000), (5000, 3)), 0,
            adj=(False, False), values=values, right=(0.02, 0), options=options,
        )  # fmt: skip
        x = (sign[:, 0] + np.random.default_rng(3).random((4, 5000)) / 2 + 1.5).astype(np.float32)
        assert_equal(made, [[x], [-x]], least=np.inf)

    def test_hybrid_with_long_columns(self) -> None:
        """Zero points times the sums of columns leave what float32 holds exactly."""
        values = np.random.default_rng(2).integers(30, 70, (5000, 3)).astype(np.int8)
        options = {"asymmetric_quantize_inputs": True}
        made = self.model(
            "FLOAT32", "INT8", ((4, 5000), (5000, 3)), 0,
            adj=(False, False), values=values, right=(0.02, 0), options=options,
        )  # fmt: skip
        x = (np.random.default_rng(3).random((4, 5000)) * 1.37 - np.float32(0.27)).astype(np.float32)
        assert_equal(made, [[x], [-x]], least=np.inf)

    def test_ties_of_a_product_in_float32(self) -> None:
        """The scales' product is rounded to float32, here so that odd sums are ties."""
        scales = np.float32(0.1), np.float32(0.3)
        x, y = End("INT8", (1, 255), scales[0]), End("INT8", (255, 1), scales[1])
        given = np.zeros((1, 255), np.int8), np.zeros((255, 1), np.int8)
        made = operator(
            "BATCH_MATMUL", [x, y], End("INT8", (1, 1), 2 * scales[0] * scales[1]), Table("BatchMatMulOptions")
        )
        cases = [[given[0].copy(), given[1].copy()] for _ in range(41)]
        for k, case in enumerate(cases):
            case[0][0, 0], case[1][0, 0] = k - 20, 1
        assert_equal(made, cases)

    def test_shapes_that_litert_computes_wrongly(self) -> None:
        values = np.ones((9, 5), np.int8)
        made = self.model(
            "FLOAT32", "INT8", ((2, 3, 4, 9), (9, 5)), 0, adj=(False, False), values=values, right=(1, 0)
        )
        with pytest.raises(InvalidValue, match=r"LiteRT 2\.3 takes the scales of other rows"):
            NumpyRunner(made).run([np.ones((2, 3, 4, 9), np.float32)])

    def test_a_matrix_that_changes(self) -> None:
        options = {"asymmetric_quantize_inputs": True}
        made = self.model("FLOAT32", "INT8", ((4, 9), (9, 5)), 0, adj=(False, False), right=(1, 0), options=options)
        with pytest.raises(NotFound, match="it computes on INT8 values with scales"):
            NumpyRunner(made)


def test_values_that_become_one_half() -> None:
    """LiteRT adds one half to eight values at a time, and rounds what remains of a row exactly."""
    x = np.full((1, 23), np.nextafter(np.float32(0.5), np.float32(0)))
    x[0, 0] = 127
    assert quantize_rows(x, asymmetric=False).q.tolist() == [[127, *[1] * 15, *[0] * 7]]


class TestBlockwise:
    def model(self, units: int, depth: int, block: int, *, bias: bool = True, activation: int = 0) -> Model:
        draft = Draft()
        graph = draft.graphs[0]
        rng = np.random.default_rng(1)
        x, y = graph.add_tensor("x", "FLOAT32", (3, depth)), graph.add_tensor("y", "FLOAT32", (3, units))
        halves = (rng.random((units, depth // block)) + 0.01).astype(np.float16)
        scales = models.constant(draft, graph, "scales", "FLOAT16", halves)
        details = Table("BlockwiseQuantization", scales=scales, zero_points=-1, block_size=block)
        values = rng.integers(-8, 8, (units, depth)).astype(np.int8)
        meaning = Table("QuantizationParameters", details=details)
        w = models.constant(draft, graph, "w", "INT4", values, quantization=meaning)
        b = models.constant(draft, graph, "b", "FLOAT32", rng.standard_normal(units).astype("f4")) if bias else -1
        options = Table("FullyConnectedOptions", fused_activation_function=activation)
        graph.append(draft.operator("FULLY_CONNECTED", [x, w, b], [y], options, 13))
        graph.inputs, graph.outputs = [x], [y]
        return draft.done()

    @pytest.mark.parametrize("sizes", [(8, 64, 32), (8, 128, 32), (12, 96, 32), (8, 64, 64), (5, 256, 128)])
    @pytest.mark.parametrize("bias", [True, False])
    def test_floats_are_equal(self, sizes: tuple[int, int, int], bias: bool) -> None:
        """To LiteRT's other kernels: the reference resolver has none."""
        assert_equal(self.model(*sizes, bias=bias), resolver="builtin", least=np.inf)

    def test_an_activation(self) -> None:
        with pytest.raises(InvalidValue, match="in blocks and a fused activation, which LiteRT leaves out"):
            NumpyRunner(self.model(8, 64, 32, activation=1))

    def test_shapes_must_fit(self) -> None:
        weights, scales = np.zeros((4, 6), np.int8), np.ones((4, 4), np.float32)
        with pytest.raises(InvalidValue, match="don't fit"):
            fully_connected_blockwise(np.zeros((2, 6), np.float32), weights, scales)

"""Integer kernels of convolutions, against LiteRT's reference kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quantlib.errors import InvalidValue, NotFound
from quantlib.numerics import Affine
from quantlib.operators.convolution.integer import convolve_integers
from quantlib.operators.integer_product import exact_weights
from quantlib.operators.integer_requantize import fixed_point
from quantlib.runners import NumpyRunner
from quantlib.tflite import Model, Table
from tests.conformance.judge import End, assert_equal, indices, operator

SIZE = 9


def options(name: str, *, stride: int = 1, dilation: int = 1, padding: int = 0, **fields: Any) -> Table:
    kind = "DepthwiseConv2DOptions" if name == "DEPTHWISE_CONV_2D" else "Conv2DOptions"
    multiplier = fields.pop("multiplier", 1)
    extra = {"depth_multiplier": multiplier} if name == "DEPTHWISE_CONV_2D" else {}
    return Table(
        kind,
        stride_w=stride,
        stride_h=stride,
        dilation_w_factor=dilation,
        dilation_h_factor=dilation,
        padding=padding,
        **extra,
        **fields,
    )


def model(
    name: str,
    kind: str = "INT8",
    *,
    channels: int = 4,
    outputs: int = 6,
    weights: str = "INT8",
    per_channel: bool = True,
    bias: str | None = "INT32",
    extent: int = SIZE,
    kernel: int = 3,
    groups: int = 1,
    output_scale: float = 0.7,
    **settings: Any,
) -> Model:
    rng = np.random.default_rng(7)
    depthwise = name == "DEPTHWISE_CONV_2D"
    shape = (1, kernel, kernel, outputs) if depthwise else (outputs, kernel, kernel, channels // groups)
    axis = 3 if depthwise else 0
    least, most = {"INT8": (-127, 128), "INT4": (-7, 8), "UINT8": (0, 256)}[weights]
    filters = rng.integers(least, most, shape).astype(np.uint8 if weights == "UINT8" else np.int8)
    scales = np.float32(0.02) * (1 + np.arange(outputs if per_channel else 1, dtype=np.float32))
    point = 120 if weights == "UINT8" else 0
    zero = {"INT8": -9, "UINT8": 131, "INT16": 0}[kind]
    scale = 0.05 if kind != "INT16" else 0.0005
    x = End(kind, (2, extent, extent, channels), scale, zero)
    w = End(weights, shape, scales, point, axis, values=filters)
    b = None
    if bias is not None:
        values = rng.integers(-3000, 3000, outputs).astype(bias.lower())
        b = End(bias, (outputs,), np.float32(scale) * scales, 0, 0, values)
    zero_out = {"INT8": 5, "UINT8": 100, "INT16": 0}[kind]
    scale_out = output_scale if kind != "INT16" else output_scale / 100
    step, dilation = settings.get("stride", 1), settings.get("dilation", 1)
    count = (
        -(-extent // step) if not settings.get("padding", 0) else (extent - (kernel - 1) * dilation - 1) // step + 1
    )
    y = End(kind, (2, count, count, outputs), scale_out, zero_out)
    return operator(name, [x, w] if b is None else [x, w, b], y, options(name, **settings))


BOTH = pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D"])


def sizes(name: str) -> dict[str, int]:
    return {"channels": 4, "outputs": 6} if name == "CONV_2D" else {"channels": 6, "outputs": 6}


@BOTH
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("activation", [0, 1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1])
def test_int8(name: str, padding: int, activation: int, per_channel: bool) -> None:
    settings: dict[str, Any] = {"padding": padding, "fused_activation_function": activation}
    assert_equal(model(name, per_channel=per_channel, **sizes(name), **settings))


@BOTH
@pytest.mark.parametrize(("stride", "dilation"), [(2, 1), (1, 2), (3, 1)])
@pytest.mark.parametrize("padding", [0, 1])
def test_strides_and_dilations(name: str, padding: int, stride: int, dilation: int) -> None:
    assert_equal(model(name, stride=stride, dilation=dilation, padding=padding, **sizes(name)))


@BOTH
@pytest.mark.parametrize("output_scale", [0.0001, 0.004, 0.0625, 8.0, 1000.0])
def test_multipliers_of_all_sizes(name: str, output_scale: float) -> None:
    assert_equal(model(name, output_scale=output_scale, **sizes(name)))


@BOTH
@pytest.mark.parametrize("activation", [0, 3])
def test_uint8(name: str, activation: int) -> None:
    made = model(
        name, "UINT8", weights="UINT8", per_channel=False, fused_activation_function=activation, **sizes(name)
    )
    assert_equal(made)


@BOTH
def test_the_multiplier_of_uint8_comes_from_a_product_in_float32(name: str) -> None:
    """Biases whose products with that multiplier and with the exact one lie on both sides of a half."""
    one, other, out = np.float32(0.0231), np.float32(0.0317), np.float32(1234.5)
    exact, rounded = float(one) * float(other) / float(out), float(one * other) / float(out)
    halves = np.arange(120) + 0.5
    bias = np.rint((halves / exact + halves / rounded) / 2).astype(np.int32)
    shape = (1, 1, 1, 120) if name == "DEPTHWISE_CONV_2D" else (120, 1, 1, 1)
    weights = End("UINT8", shape, other, 0, values=np.zeros(shape, np.uint8))
    ends = [End("UINT8", (1, 1, 1, 1), one, 0), weights, End("INT32", (120,), one * other, values=bias)]
    made = operator(name, ends, End("UINT8", (1, 1, 1, 120), out, 0), options(name, multiplier=120))
    (found,) = NumpyRunner(made).run([np.zeros((1, 1, 1, 1), np.uint8)]).values()
    step = int(rounded > exact)
    assert (found.ravel() == np.arange(120) + step).mean() > 0.9
    assert_equal(made)


@BOTH
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("output_scale", [0.07, 0.7, 70.0])
def test_int16_with_int64_bias(name: str, output_scale: float, per_channel: bool) -> None:
    made = model(name, "INT16", bias="INT64", per_channel=per_channel, output_scale=output_scale, **sizes(name))
    assert_equal(made)


def test_int16_with_int32_bias() -> None:
    assert_equal(model("CONV_2D", "INT16", quantized_bias_type=2))


@pytest.mark.parametrize("kind", ["INT8", "INT16"])
def test_int4_weights(kind: str) -> None:
    bias = "INT64" if kind == "INT16" else "INT32"
    assert_equal(model("CONV_2D", kind, weights="INT4", bias=bias))


def test_groups_and_multiples() -> None:
    assert_equal(model("CONV_2D", channels=4, outputs=6, groups=2))
    assert_equal(model("DEPTHWISE_CONV_2D", channels=3, outputs=6, multiplier=2))


def test_sums_beyond_float32() -> None:
    assert_equal(model("CONV_2D", channels=256, kernel=5, extent=5, output_scale=9.0))


def test_a_depthwise_convolution_without_bias() -> None:
    assert_equal(model("DEPTHWISE_CONV_2D", bias=None, **sizes("DEPTHWISE_CONV_2D")))


@pytest.mark.parametrize(("name", "fields"), [("CONV_2D", {}), ("DEPTHWISE_CONV_2D", sizes("DEPTHWISE_CONV_2D"))])
def test_a_bias_that_litert_would_misread(name: str, fields: Any) -> None:
    made = model(name, "INT16", bias="INT32", **fields)
    with pytest.raises(InvalidValue, match=rf"^{name} \(subgraph 0, operator 0\): a bias of INT32 with quantized_b"):
        NumpyRunner(made)


def test_function_of_plain_arrays() -> None:
    x, filters = np.full((1, 2, 2, 1), 5, np.int8), np.array([[[[2]]], [[[-3]]]], np.int8)
    requantize = fixed_point([0.5, 0.25], Affine("INT8", 0.1, 1), bias=np.array([1, 0]))
    out = convolve_integers(
        x, exact_weights(filters, 255), requantize, zero_point=3, strides=(1, 1), dilations=(1, 1), padding="VALID"
    )
    assert out.dtype == np.int8
    assert out[0, 0, 0].tolist() == [4, -1]  # (2 * 2 + 1) / 2 and 2 * -3 / 4, ties away from zero


def transposed(
    kind: str,
    *,
    weights: str = "INT8",
    per_channel: bool = True,
    bias: str | None = "INT32",
    stride: int = 2,
    kernel: int = 3,
    padding: int = 0,
    **fields: Any,
) -> Model:
    rng = np.random.default_rng(3)
    extent, channels, outputs = 5, 4, 3
    count = extent * stride if not padding else (extent - 1) * stride + kernel
    shape = (2, count, count, outputs)
    filters = rng.integers(-127 if weights == "INT8" else 0, 128, (outputs, kernel, kernel, channels))
    scales = np.float32(0.02) * (1 + np.arange(outputs if per_channel else 1, dtype=np.float32))
    zero, zero_out = {"INT8": (-9, 5), "UINT8": (131, 100)}.get(kind, (0, 0))
    scale, scale_out = (0.05, 0.7) if kind != "INT16" else (0.0005, 0.007)
    floats = kind == "FLOAT32"
    x = End(kind, (2, extent, extent, channels), *((None,) if floats else (scale, zero)))
    point = 120 if weights == "UINT8" else 0
    w = End(weights, filters.shape, scales, point, 0, values=filters.astype(weights.lower()))
    ends = [indices(shape), w, x]
    if bias is not None:
        values = rng.integers(-3000, 3000, outputs).astype(bias.lower())
        meaning = {} if floats else {"scale": np.float32(scale) * scales}
        ends.append(End(bias, (outputs,), **meaning, values=values))
    y = End(kind, shape, *((None,) if floats else (scale_out, zero_out)))
    options = Table("TransposeConvOptions", padding=padding, stride_w=stride, stride_h=stride, **fields)
    return operator("TRANSPOSE_CONV", ends, y, options)


class TestTransposed:
    @pytest.mark.parametrize("padding", [0, 1])
    @pytest.mark.parametrize(("stride", "kernel"), [(2, 3), (1, 3), (2, 2), (3, 4)])
    @pytest.mark.parametrize("bias", ["INT32", None])
    def test_int8(self, bias: str | None, stride: int, kernel: int, padding: int) -> None:
        for activation in (0, 1, 3):
            sizes = {"stride": stride, "kernel": kernel, "padding": padding, "fused_activation_function": activation}
            assert_equal(transposed("INT8", bias=bias, **sizes))
            assert_equal(transposed("INT8", bias=bias, per_channel=False, **sizes))

    @pytest.mark.parametrize("padding", [0, 1])
    def test_uint8(self, padding: int) -> None:
        assert_equal(transposed("UINT8", weights="UINT8", per_channel=False, padding=padding))

    @pytest.mark.parametrize("bias", ["INT64", None])
    def test_int16(self, bias: str | None) -> None:
        assert_equal(transposed("INT16", bias=bias))

    def test_int16_with_a_narrow_bias(self) -> None:
        assert_equal(transposed("INT16", bias="INT32", quantized_bias_type=2))
        with pytest.raises(InvalidValue, match="a bias of INT32 with quantized_bias_type 0"):
            NumpyRunner(transposed("INT16", bias="INT32"))

    @pytest.mark.parametrize("padding", [0, 1])
    @pytest.mark.parametrize("bias", ["FLOAT32", None])
    def test_hybrid(self, bias: str | None, padding: int) -> None:
        assert_equal(transposed("FLOAT32", bias=bias, padding=padding, fused_activation_function=1), least=138)


def hybrid(name: str, scales: Any, *, weights: str = "INT8", groups: int = 1, **settings: Any) -> Model:
    rng = np.random.default_rng(5)
    outputs = channels = 6
    depthwise = name == "DEPTHWISE_CONV_2D"
    shape = (1, 3, 3, outputs) if depthwise else (outputs, 3, 3, channels // groups)
    least, most = (-7, 8) if weights == "INT4" else (-127, 128)
    filters = rng.integers(least, most, shape).astype(np.int8)
    w = End(weights, shape, np.float32(scales), 0, 3 if depthwise else 0, values=filters)
    b = End("FLOAT32", (outputs,), values=rng.standard_normal(outputs).astype(np.float32))
    step, padding = settings.get("stride", 1), settings.get("padding", 0)
    count = -(-SIZE // step) if not padding else (SIZE - 3) // step + 1
    y = End("FLOAT32", (2, count, count, outputs))
    return operator(name, [End("FLOAT32", (2, SIZE, SIZE, channels)), w, b], y, options(name, **settings))


CHANNELS = np.linspace(0.01, 0.3, 6)


class TestHybrid:
    """Floats of hybrid convolutions are equal: they follow from integers by the same three products and sums."""

    @BOTH
    @pytest.mark.parametrize(("stride", "padding", "activation"), [(1, 0, 0), (2, 1, 1), (2, 0, 3), (1, 1, 2)])
    def test_per_channel(self, name: str, stride: int, padding: int, activation: int) -> None:
        settings = {"stride": stride, "padding": padding, "fused_activation_function": activation}
        assert_equal(hybrid(name, CHANNELS, **settings), least=np.inf)

    @pytest.mark.parametrize("scales", [[0.05], [0.05] * 6])
    @pytest.mark.parametrize("padding", [0, 1])
    def test_one_scale_for_all(self, padding: int, scales: list[float]) -> None:
        assert_equal(hybrid("CONV_2D", scales, padding=padding), least=np.inf)

    def test_int4(self) -> None:
        assert_equal(hybrid("CONV_2D", CHANNELS, weights="INT4"), least=np.inf)

    @pytest.mark.parametrize("scales", [CHANNELS, [0.05] * 6])
    def test_groups(self, scales: Any) -> None:
        assert_equal(hybrid("CONV_2D", scales, groups=2), least=np.inf)

    def test_groups_with_one_scale(self) -> None:
        """LiteRT reads scales behind the only one."""
        runner = NumpyRunner(hybrid("CONV_2D", [0.05], groups=2))
        with pytest.raises(InvalidValue, match="in groups with one scale; one for each output is required"):
            runner.run([np.zeros((2, SIZE, SIZE, 6), np.float32)])

    def test_depthwise_with_one_scale(self) -> None:
        with pytest.raises(NotFound, match="it computes on INT8 values with scales"):
            NumpyRunner(hybrid("DEPTHWISE_CONV_2D", [0.05]))

    @BOTH
    def test_samples_of_one_sign_ties_and_zeros(self, name: str) -> None:
        made = hybrid(name, CHANNELS)
        x = np.linspace(0.1, 25.5, 2 * SIZE * SIZE * 6).round(1).reshape(2, SIZE, SIZE, 6).astype(np.float32)
        ties = (np.arange(x.size).reshape(x.shape) % 255 / 255 - np.float32(0.25)).astype(np.float32)
        assert_equal(made, [[x], [-x], [ties], [np.zeros_like(x)], [x * [[[[1]]], [[[0]]]]]], least=np.inf)

"""`retype` of a UINT8 model to INT8: every integer less 128, in every resolver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue
from quantlib.passes import retype
from quantlib.tflite import Draft, Model, Table
from tests.support.litert import RESOLVERS, interpreter
from tests.support.models import constant, parameters
from tests.support.network import Network
from tests.support.planned import names
from tests.support.shared import MODELS, SHARED, name_of, needs_shared
from tests.support.single import type_name

Array = npt.NDArray[Any]
SHAPE = (2, 9, 8, 4)


class Bytes:
    """A network of UINT8 tensors."""

    def __init__(self) -> None:
        self.draft = Draft()
        self.graph = self.draft.graphs[0]

    def tensor(self, name: str, shape: Sequence[int], scale: float, point: int, **fields: Any) -> int:
        return self.graph.add_tensor(name, "UINT8", tuple(shape), quantization=parameters(scale, point), **fields)

    def input(self, shape: Sequence[int] = SHAPE, scale: float = 0.0235, point: int = 128, name: str = "x") -> int:
        self.graph.inputs.append(self.tensor(name, shape, scale, point))
        return self.graph.inputs[-1]

    def filter(self, values: Array, scale: float, point: int) -> int:
        return constant(self.draft, self.graph, "w", "UINT8", values, quantization=parameters(scale, point))

    def bias(self, values: Array, scale: float) -> int:
        return constant(self.draft, self.graph, "b", "INT32", values.astype("i4"), quantization=parameters(scale))

    def op(self, name: str, inputs: list[int], output: int, options: Table | None = None, version: int = 1) -> int:
        self.graph.append(self.draft.operator(name, inputs, [output], options, version))
        return output

    def done(self, *outputs: int) -> Model:
        self.graph.outputs = list(outputs)
        return self.draft.done()


def less(values: Array) -> Array:
    return (values.astype(np.int16) - 128).astype(np.int8) if values.dtype == np.uint8 else values


def answers(model: Model, fed: Sequence[Array], resolver: str) -> list[Array]:
    made = interpreter(model.to_bytes(), resolver)
    for detail, values in zip(made.get_input_details(), fed, strict=True):
        made.set_tensor(detail["index"], values)
    made.invoke()
    return [made.get_tensor(d["index"]) for d in made.get_output_details()]


def assert_same_integers(model: Model, seed: int = 0) -> ql.Model:
    """Retype, and compare on all bytes."""
    made: Model = retype(model, activations="int8").model
    rng = np.random.default_rng(seed)
    shapes = [model.tensor((0, int(t))).shape for t in model.subgraphs[0].inputs]
    fed = [rng.integers(0, 256, shape).astype(np.uint8) for shape in shapes]
    for resolver in RESOLVERS:
        for a, b in zip(answers(model, fed, resolver), answers(made, [less(f) for f in fed], resolver), strict=True):
            assert type_name(b) != "UINT8"
            np.testing.assert_array_equal(less(a), b, err_msg=resolver)
    assert ql.check(made, "litert").ok
    return made


def convolved(
    operator: str,
    values: Array,
    point: int,
    *,
    scale: float = 0.0117,
    repeat: int = 1,
    stride: int = 1,
    relu: int = 0,
) -> Model:
    net = Bytes()
    x = net.input()
    depthwise = operator == "DEPTHWISE_CONV_2D"
    channels = values.shape[3] if depthwise else values.shape[0]
    w, b = net.filter(values, scale, point), net.bias(np.linspace(-900, 900, channels), 0.0235 * scale)
    rows, columns = (-(-n // stride) for n in SHAPE[1:3])
    y = net.tensor("y", (2, rows, columns, channels), 0.09, 120)
    common = {"padding": 0, "stride_w": stride, "stride_h": stride, "fused_activation_function": relu}
    options = (
        Table("DepthwiseConv2DOptions", depth_multiplier=repeat, **common)
        if depthwise
        else Table("Conv2DOptions", **common)
    )
    return net.done(net.op(operator, [x, w, b], y, options))


def weights(shape: Sequence[int], low: int, high: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(low, high, tuple(shape)).astype(np.uint8)


#: Range of values, and zero point: centred, within eight bits though not centred, beyond, far beyond, the most.
FILTERS = {
    "centred": (1, 256, 128),
    "within": (20, 200, 100),
    "beyond": (0, 256, 100),
    "far": (0, 40, 255),
    "zero": (0, 255, 0),
}


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("size", [1, 3])
def test_convolutions_sum_the_same(kind: str, size: int) -> None:
    low, high, point = FILTERS[kind]
    model = convolved("CONV_2D", weights((5, size, size, 4), low, high), point)
    made = assert_same_integers(model)
    assert names(made)[-1] == "CONV_2D"
    filters = made.tensor((0, int(made.subgraphs[0].operators[-1].inputs[1])))
    assert filters.type == "INT8"
    assert filters.quantization.zero_point.tolist() == [0]


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("repeat", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_convolutions_sum_the_same(kind: str, repeat: int, stride: int) -> None:
    low, high, point = FILTERS[kind]
    values = weights((1, 3, 3, 4 * repeat), low, high)
    assert_same_integers(convolved("DEPTHWISE_CONV_2D", values, point, repeat=repeat, stride=stride, relu=3))


def test_only_channels_with_nine_bits_are_convolved_apart() -> None:
    values = weights((1, 3, 3, 4), 60, 180)
    values[0, 1, 1, 2] = 255
    made = assert_same_integers(convolved("DEPTHWISE_CONV_2D", values, 100))
    assert names(made) == ["GATHER", "CONV_2D", "DEPTHWISE_CONV_2D", "SPLIT_V", "CONCATENATION"]
    apart = made.subgraphs[0].operators[1]
    assert made.tensor((0, int(apart.inputs[1]))).shape == (1, 3, 3, 2)


def test_only_input_channels_with_nine_bits_are_there_twice() -> None:
    values = weights((5, 3, 3, 4), 60, 180)
    values[0, 1, 1, 2] = 255
    edited = retype(convolved("CONV_2D", values, 100), activations="int8")
    assert edited.model.tensor("x_twice").shape == (2, 9, 8, 5)
    assert str(edited.done[0]) == "y: 1 of 4 input channels twice: their weights need nine bits"
    assert_same_integers(convolved("CONV_2D", values, 100))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("operator", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_any_scale(operator: str, seed: int) -> None:
    """UINT8 kernels round the product of scales to float32, INT8 kernels don't."""
    rng = np.random.default_rng(seed)
    shape = (5, 3, 3, 4) if operator == "CONV_2D" else (1, 3, 3, 4)
    values = weights(shape, 0, 256, seed)
    point, scale = int(rng.integers(40, 215)), float(rng.uniform(0.001, 0.02))
    assert_same_integers(convolved(operator, values, point, scale=scale, relu=int(operator != "CONV_2D")), seed)


def test_halves_below_zero_of_a_depthwise_convolution_are_said() -> None:
    model = convolved("DEPTHWISE_CONV_2D", weights((1, 3, 3, 4), 0, 256, 1), 122, scale=0.01905881)
    edited = retype(model, activations="int8")
    assert "without XNNPACK halves below zero round up" in str(edited.done[0])
    found = set()
    for seed in range(8):
        fed = weights(SHAPE, 0, 256, seed)
        for resolver in RESOLVERS:
            (a,), (b,) = answers(model, [fed], resolver), answers(edited.model, [less(fed)], resolver)
            differences = b.astype(int) - less(a)
            assert set(np.unique(differences)) <= ({0, 1} if resolver == "builtin" else {0})
            found.update(np.unique(differences).tolist())
    assert found == {0, 1}


def test_a_transposed_convolution() -> None:
    net = Bytes()
    x = net.input((1, 4, 4, 4))
    shape = constant(net.draft, net.graph, "shape", "INT32", np.array([1, 8, 8, 3], "i4"))
    w = net.filter(weights((3, 2, 2, 4), 0, 256), 0.011, 90)
    y = net.tensor("y", (1, 8, 8, 3), 0.08, 130)
    options = Table("TransposeConvOptions", padding=0, stride_w=2, stride_h=2)
    assert_same_integers(net.done(net.op("TRANSPOSE_CONV", [shape, w, x], y, options)))


def test_a_weight_that_is_no_sum_of_two_stays_with_its_operator() -> None:
    values = weights((5, 3, 3, 4), 0, 255)
    values[0, 0, 0, 0] = 255
    edited = retype(convolved("CONV_2D", values, 0), activations="int8")
    assert names(edited.model) == ["QUANTIZE", "CONV_2D", "QUANTIZE"]
    assert "a weight 255 above its zero point" in str(edited.kept[0])
    assert_same_integers(convolved("CONV_2D", values, 0))


def test_dense_layers_keep_their_zero_point() -> None:
    net = Bytes()
    x = net.input((2, 8))
    w = net.filter(weights((6, 8), 0, 256), 0.0117, 90)
    y = net.tensor("y", (2, 6), 0.05, 130)
    made = assert_same_integers(net.done(net.op("FULLY_CONNECTED", [x, w, -1], y, Table("FullyConnectedOptions"))))
    assert made.tensor("w").quantization.zero_point.tolist() == [90 - 128]
    np.testing.assert_array_equal(made.tensor("w").numpy(), less(weights((6, 8), 0, 256)))


def joined(second: float) -> Model:
    net = Bytes()
    x, other = net.input(), net.input(scale=second, name="other")
    y = net.tensor("y", (2, 9, 8, 8), 0.0235, 128)
    return net.done(net.op("CONCATENATION", [x, other], y, Table("ConcatenationOptions", axis=3)))


def test_concatenation_of_other_scales_stays_uint8() -> None:
    assert names(assert_same_integers(joined(0.0235))) == ["CONCATENATION"]
    assert names(assert_same_integers(joined(0.03))) == ["QUANTIZE", "QUANTIZE", "CONCATENATION", "QUANTIZE"]


def test_constants_of_elementwise_operators() -> None:
    net = Bytes()
    x = net.input()
    k = constant(net.draft, net.graph, "k", "UINT8", weights((4,), 0, 256), quantization=parameters(0.03, 77))
    y = net.op("ADD", [x, k], net.tensor("y", SHAPE, 0.05, 100), Table("AddOptions"))
    z = net.op("MUL", [y, k], net.tensor("z", SHAPE, 0.11, 140), Table("MulOptions"))
    made = assert_same_integers(net.done(z))
    assert made.tensor("k").quantization.zero_point.tolist() == [77 - 128]


def test_what_rounds_otherwise_is_said() -> None:
    net = Bytes()
    x = net.input()
    options = Table("Pool2DOptions", padding=1, stride_w=2, stride_h=2, filter_width=2, filter_height=3)
    y = net.tensor("y", (2, 4, 4, 4), 0.0235, 128)
    model = net.done(net.op("AVERAGE_POOL_2D", [x], y, options))
    edited = retype(model, activations="int8")
    assert "they may differ by 1" in str(edited.done[0])
    fed = weights(SHAPE, 0, 256)
    for resolver in RESOLVERS:
        (a,), (b,) = answers(model, [fed], resolver), answers(edited.model, [less(fed)], resolver)
        assert np.abs(less(a).astype(int) - b).max() <= 1


def test_an_odd_window_needs_no_remark() -> None:
    net = Bytes()
    options = Table("Pool2DOptions", padding=1, stride_w=2, stride_h=2, filter_width=3, filter_height=3)
    model = net.done(net.op("AVERAGE_POOL_2D", [net.input()], net.tensor("y", (2, 4, 3, 4), 0.0235, 128), options))
    assert_same_integers(model)
    assert not retype(model, activations="int8").done


def test_floats_beside_are_left() -> None:
    net = Bytes()
    f = net.graph.add_tensor("f", "FLOAT32", SHAPE)
    g = net.graph.add_tensor("g", "FLOAT32", SHAPE)
    net.op("DEQUANTIZE", [net.input()], f)
    net.op("SIN", [f], g)
    model = net.done(g)
    made = retype(model, activations="int8").model
    assert {t.name: t.type for t in made.tensors()} == {"f": "FLOAT32", "g": "FLOAT32", "x": "INT8"}
    fed = weights(SHAPE, 0, 256)
    for resolver in RESOLVERS:  # DEQUANTIZE subtracts in another order
        (a,), (b,) = answers(model, [fed], resolver), answers(made, [less(fed)], resolver)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_what_has_no_uint8_is_refused() -> None:
    net = Network()
    model = net.done(net.op("SIN", [net.input("x", (1, 8))], "y", (1, 8)))
    with pytest.raises(InvalidValue, match="no UINT8 activations"):
        retype(model, activations="int8")
    with pytest.raises(InvalidValue, match="activations 'int4'"):
        retype(model, activations="int4")


FILES = ("mobilenet_v1_0.25_224_qat_uint8.tflite", "ssd_mobilenet_v1_coco_qat_uint8.tflite")


@needs_shared
@pytest.mark.parametrize("name", FILES)
def test_every_integer_of_trained_files(name: str) -> None:
    model = ql.read(next(p for p in MODELS if name_of(p) == name))
    made = retype(model, activations="int8").model
    data = np.load(SHARED / "data" / ("imagenet_224.npz" if "224" in name else "coco_det_300.npz"))
    image = np.ascontiguousarray(data["x_eval"][:1].transpose(0, 2, 3, 1))
    for resolver in ("builtin", "default"):
        found = []
        for one, fed in ((model, image), (made, less(image))):
            run = interpreter(one.to_bytes(), resolver)
            run.set_tensor(run.get_input_details()[0]["index"], fed)
            run.invoke()
            found.append([run.get_tensor(d["index"]) for d in run.get_output_details()])
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(less(a), b)

"""Small networks as quantization-aware training leaves them: FAKE_QUANT, QUANTIZE and DEQUANTIZE, tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.numerics import Affine, PerAxis
from quantlib.tflite import Model, Quantization, Table, quantization_table
from tests.support.network import Network, gaussian

Array = npt.NDArray[Any]


class Trained(Network):
    """A network with what training adds."""

    def fake_quant(self, name: str, x: int, lo: float, hi: float, bits: int = 8, *, narrow: bool = False) -> int:
        options = Table("FakeQuantOptions", min=lo, max=hi, num_bits=bits, narrow_range=narrow)
        return self.op("FAKE_QUANT", [x], name, self.shape(x), options)

    def rounded(self, name: str, x: int, affine: Affine) -> int:
        """QUANTIZE and DEQUANTIZE."""
        table = quantization_table(Quantization.of(affine))
        stored = self.graph.add_tensor(f"{name}/stored", affine.type.name, self.shape(x), quantization=table)
        self.graph.append(self.draft.operator("QUANTIZE", [x], [stored]))
        return self.op("DEQUANTIZE", [stored], name, self.shape(x))

    def annotate(self, t: int, **fields: Any) -> int:
        """Give a float tensor a quantization table."""
        table = Table("QuantizationParameters", **fields)
        self.graph.tensors[t] = self.graph.tensors[t].replace(quantization=table)
        return t

    def conv(self, name: str, x: int, w: int, *, activation: int = 0) -> int:
        """A convolution of stride 1 with SAME padding."""
        count = self.shape(w)[0]
        bias = self.constant(f"{name}/bias", np.linspace(-0.3, 0.4, count, dtype="f4"))
        options = Table("Conv2DOptions", stride_w=1, stride_h=1, fused_activation_function=activation)
        return self.op("CONV_2D", [x, w, bias], name, (*self.shape(x)[:3], count), options)

    def flat(self, name: str, x: int) -> int:
        size = int(np.prod(self.shape(x)))
        shape = self.constant(f"{name}/shape", np.array([1, size], np.int32))
        return self.op("RESHAPE", [x, shape], name, (1, size), Table("ReshapeOptions", new_shape=[1, size]))

    def pool(self, name: str, x: int) -> int:
        n, h, w, c = self.shape(x)
        options = Table("Pool2DOptions", stride_w=2, stride_h=2, filter_width=2, filter_height=2)
        return self.op("MAX_POOL_2D", [x], name, (n, h // 2, w // 2, c), options)

    def join(self, name: str, *parts: int) -> int:
        shape = (*self.shape(parts[0])[:-1], sum(self.shape(p)[-1] for p in parts))
        return self.op("CONCATENATION", list(parts), name, shape, Table("ConcatenationOptions", axis=len(shape) - 1))


KERNEL = gaussian((4, 3, 3, 3), 1, 0.2)
DENSE = gaussian((5, 64), 2, 0.1)


def operators() -> Model:
    """FAKE_QUANT behind each activation and weight, but for what only moves values."""
    net = Trained()
    x = net.fake_quant("x/fq", net.input("x", (1, 8, 8, 3)), -1.03, 0.97)
    w = net.fake_quant("w1/fq", net.constant("w1", KERNEL), -0.5, 0.5, narrow=True)
    x = net.fake_quant("conv/fq", net.conv("conv", x, w, activation=1), 0.0, 3.9)
    x = net.flat("flat", net.pool("pool", x))
    w = net.fake_quant("w2/fq", net.constant("w2", DENSE), -0.3, 0.3, narrow=True)
    return net.done(net.fake_quant("y", net.fully_connected("dense", x, w), -2.2, 2.9))


def four_bits() -> Model:
    """Weights of 4 bits: of an operator with kernels for them, and of one without."""
    net = Trained()
    x = net.fake_quant("x/fq", net.input("x", (1, 4, 4, 4)), -2.0, 2.0)
    w = net.fake_quant("w1/fq", net.constant("w1", gaussian((4, 3, 3, 4), 3, 0.2)), -0.4, 0.4, 4, narrow=True)
    x = net.fake_quant("conv/fq", net.conv("conv", x, w), -3.0, 3.0)
    w = net.fake_quant("w2/fq", net.constant("w2", gaussian((2, 3, 3, 4), 4, 0.2)), -0.4, 0.4, 4, narrow=True)
    shape = net.constant("shape", np.array([1, 8, 8, 2], np.int32))
    options = Table("TransposeConvOptions", stride_w=2, stride_h=2)
    return net.done(net.fake_quant("y", net.op("TRANSPOSE_CONV", [shape, w, x], "up", (1, 8, 8, 2), options), -3, 3))


def pairs() -> Model:
    """QUANTIZE and DEQUANTIZE instead, of unsigned integers, the weights' per channel: what TensorFlow writes."""
    net = Trained()
    x = net.rounded("x/q", net.input("x", (1, 8, 8, 3)), Affine("UINT8", 2 / 255, 131))
    scale = np.abs(KERNEL).max((1, 2, 3)) * np.float32(0.9) / 127
    w = net.rounded("w1/q", net.constant("w1", KERNEL), Affine("UINT8", scale, 128, PerAxis(0)))
    x = net.rounded("conv/q", net.conv("conv", x, w, activation=1), Affine("UINT8", 3.9 / 255, 0))
    x = net.flat("flat", net.pool("pool", x))
    w = net.rounded("w2/q", net.constant("w2", DENSE), Affine("INT8", 0.3 / 127, 0))
    return net.done(net.rounded("y", net.fully_connected("dense", x, w), Affine("UINT8", 0.02, 110)))


def stored_weights() -> Model:
    """Weights that are integers in the file already, behind DEQUANTIZE; FAKE_QUANT behind activations."""
    net = Trained()
    x = net.fake_quant("x/fq", net.input("x", (1, 64)), -1.0, 1.0)
    table = quantization_table(Quantization.of(Affine("INT8", np.full(5, 0.01) * np.arange(1, 6), 0, PerAxis(0))))
    values = np.random.default_rng(0).integers(-127, 128, (5, 64)).astype(np.int8)
    w = net.op("DEQUANTIZE", [net.constant("w", values, quantization=table)], "w/real", (5, 64))
    return net.done(net.fake_quant("y", net.fully_connected("dense", x, w), -40.0, 40.0))


def annotated() -> Model:
    """Float tensors with tables: scales (of weights per channel) and zero points, or ranges alone."""
    net = Trained()
    x = net.annotate(net.input("x", (1, 8, 8, 3)), scale=[np.float32(2 / 255)], zero_point=[3])
    scale = np.abs(KERNEL).max((1, 2, 3)) / np.float32(127)
    w = net.annotate(net.constant("w1", KERNEL), scale=scale, zero_point=[0] * 4, quantized_dimension=0)
    x = net.conv("conv", x, w, activation=1)
    net.annotate(x, min=[0.0], max=[3.9])
    x = net.flat("flat", net.pool("pool", x))
    bound = np.abs(DENSE).max(1)
    w = net.annotate(net.constant("w2", DENSE), min=-bound, max=bound, quantized_dimension=0)
    y = net.fully_connected("dense", x, w)
    return net.done(net.annotate(y, scale=[np.float32(0.02)], zero_point=[-18], min=[-2.2], max=[2.9]))


def conflicts() -> Model:
    """Tensors that must have one scale and were trained with several; one that is rounded in two ways."""
    net = Trained()
    x = net.input("x", (1, 4, 4, 3))
    first, second = net.fake_quant("x/first", x, -1.0, 1.0), net.fake_quant("x/second", x, -2.0, 2.0)
    w1 = net.fake_quant("w1/fq", net.constant("w1", KERNEL), -0.6, 0.6, narrow=True)
    w2 = net.fake_quant("w2/fq", net.constant("w2", 2 * KERNEL), -1.2, 1.2, narrow=True)
    small = net.fake_quant("small/fq", net.conv("small", first, w1, activation=1), 0, 1.5)
    large = net.fake_quant("large/fq", net.conv("large", second, w2), -2, 2)
    joined = net.fake_quant("joined/fq", net.join("joined", small, large), -1.8, 2.4)
    pooled = net.fake_quant("y", net.pool("pool", joined), -1.7, 2.6)
    return net.done(pooled, joined, small)


COMPLETE: Mapping[str, Callable[[], Model]] = MappingProxyType(
    {f.__name__: f for f in (operators, four_bits, pairs, stored_weights, annotated, conflicts)}
)
"""Networks with a range of every activation that needs one."""


def samples(model: Model, count: int = 12) -> dict[str, Array]:
    """Gaussian samples for a model."""
    inputs = [model.tensor((0, int(i))) for i in model.subgraphs[0].inputs]
    return {t.name: np.clip(gaussian((count, *t.shape), 7 + i, 0.7), -1, 1) for i, t in enumerate(inputs)}

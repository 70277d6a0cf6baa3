"""Small networks built in code, one constant for each thing that a plan has to decide."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.tflite import Draft, Model, Table
from tests.support.models import signature

Array = npt.NDArray[Any]


class Network:
    """One subgraph in the making; tensors are known by name.

    Examples
    --------
    >>> net = Network()
    >>> x = net.input("x", (1, 8))
    >>> y = net.fully_connected("fc", x, np.ones((4, 8), np.float32))
    >>> print(net.done(y))
    Model: 1 operator, 1 subgraph, 2 constants, 144 bytes of constants
    """

    def __init__(self) -> None:
        self.draft = Draft()
        self.graph = self.draft.graphs[0]

    def input(self, name: str, shape: tuple[int, ...], type: str = "FLOAT32") -> int:
        index = self.graph.add_tensor(name, type, shape)
        self.graph.inputs.append(index)
        return index

    def constant(self, name: str, values: Array, *, buffer: int | None = None, **fields: Any) -> int:
        types = {"f4": "FLOAT32", "f2": "FLOAT16", "i4": "INT32", "i1": "INT8"}
        buffer = self.draft.add_buffer(values) if buffer is None else buffer
        return self.graph.add_tensor(name, types[values.dtype.str[1:]], values.shape, buffer=buffer, **fields)

    def op(
        self,
        name: str,
        inputs: list[int],
        output: str,
        shape: tuple[int, ...],
        options: Table | None = None,
        **fields: Any,
    ) -> int:
        type = fields.pop("type", "FLOAT32")
        index = self.graph.add_tensor(output, type, shape)
        self.graph.append(self.draft.operator(name, inputs, [index], options, **fields))
        return index

    def shape(self, index: int) -> tuple[int, ...]:
        return tuple(self.graph.tensors[index].shape.tolist())

    def fully_connected(
        self, name: str, x: int, weights: Array | int, bias: Array | None = None, **options: Any
    ) -> int:
        w = weights if isinstance(weights, int) else self.constant(f"{name}/kernel", weights)
        outputs = self.shape(w)[0]
        b = self.constant(f"{name}/bias", np.linspace(-1, 1, outputs, dtype="f4") if bias is None else bias)
        table = Table("FullyConnectedOptions", **options)
        return self.op("FULLY_CONNECTED", [x, w, b], name, (*self.shape(x)[:-1], outputs), table)

    def convolution(self, name: str, x: int, filters: Array, *, depthwise: bool = False, **options: Any) -> int:
        """A convolution of stride 1 with SAME padding."""
        channels = filters.shape[3] if depthwise else filters.shape[0]
        bias = self.constant(f"{name}/bias", np.linspace(-1, 1, channels, dtype="f4"))
        w = self.constant(f"{name}/kernel", filters)
        kind = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
        extra = {"depth_multiplier": 1} if depthwise else {}
        table = Table(kind, stride_w=1, stride_h=1, **extra, **options)
        operator = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        return self.op(operator, [x, w, bias], name, (*self.shape(x)[:3], channels), table)

    def done(self, *outputs: int) -> Model:
        self.graph.outputs = list(outputs)
        return self.draft.done()


def gaussian(shape: tuple[int, ...], seed: int = 0, scale: float = 1.0) -> Array:
    """Seeded weights, float32."""
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def classifier() -> Model:
    """Convolution, depthwise convolution, fully connected: 16x16x3 in, 10 out."""
    net = Network()
    x = net.input("image", (1, 16, 16, 3))
    x = net.convolution("conv", x, gaussian((16, 3, 3, 3), 1, 0.2), fused_activation_function=1)
    x = net.convolution("depthwise", x, gaussian((1, 3, 3, 16), 2, 0.3), depthwise=True, fused_activation_function=3)
    shape = net.constant("shape", np.array([1, 16 * 16 * 16], np.int32))
    x = net.op("RESHAPE", [x, shape], "flat", (1, 16 * 16 * 16), Table("ReshapeOptions", new_shape=[1, 4096]))
    x = net.fully_connected("dense", x, gaussian((10, 4096), 3, 0.02))
    return net.done(x)


def served() -> tuple[Network, Model]:
    """A signature whose names aren't those of the tensors."""
    net = Network()
    x = net.input("image", (1, 4, 4, 3))
    conv = net.convolution("conv", x, gaussian((4, 3, 3, 3), 1, 0.3), fused_activation_function=1)
    shape = net.constant("shape", np.array([1, 64], "i4"))
    flat = net.op("RESHAPE", [conv, shape], "flat", (1, 64), Table("ReshapeOptions", new_shape=[1, 64]))
    scores = net.fully_connected("scores", flat, gaussian((5, 64), 2, 0.1))
    net.draft.signatures.append(signature("serve", {"pixels": x}, {"points": scores}))
    return net, net.done(scores)

"""Models to measure with: ``python -m benchmarks.models KIND OUT``.

``KIND`` is a number of 4096 x 4096 float32 layers (64 MiB each), or ``mobilenet``. Weights are Gaussian, and the
same for everybody: each MiB has a seed of its own, so that it can be made when it is written.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from quantlib.tflite import Deferred, Draft, Table

from . import WIDTH

_PIECE = 1 << 20
_RELU6 = 3
# Expansion, channels, repetitions and first stride of the stages (Sandler et al., 2018, table 2).
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class _Builder:
    """A model that grows operator by operator, from one input."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.draft = Draft()
        self.graph = self.draft.graphs[0]
        self.shape = shape
        self.last = self.graph.add_tensor("input", "FLOAT32", shape)
        self.graph.inputs = [self.last]

    def constant(self, name: str, shape: tuple[int, ...]) -> int:
        """Add Gaussian weights of variance 1 / (elements of a channel)."""
        nbytes, spread = 4 * int(np.prod(shape)), float(np.prod(shape[1:])) ** -0.5
        seed = len(self.graph.tensors)

        def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
            pieces = []
            for at in range(start, stop, _PIECE):
                random = np.random.Generator(np.random.SFC64((seed, at // _PIECE)))
                values = random.standard_normal((min(at + _PIECE, stop) - at) // 4, np.float32)
                pieces.append(np.multiply(values, np.float32(spread), out=values).view(np.uint8))
            return np.concatenate(pieces)

        buffer = self.draft.add_buffer(Deferred(nbytes, produce, granule=_PIECE))
        return self.graph.add_tensor(name, "FLOAT32", shape, buffer=buffer)

    def zeros(self, name: str, count: int) -> int:
        """Add a bias."""
        buffer = self.draft.add_buffer(np.zeros(count, np.float32))
        return self.graph.add_tensor(name, "FLOAT32", (count,), buffer=buffer)

    def integers(self, name: str, values: Sequence[int]) -> int:
        """Add a constant of int32."""
        buffer = self.draft.add_buffer(np.array(values, np.int32))
        return self.graph.add_tensor(name, "INT32", (len(values),), buffer=buffer)

    def operator(self, name: str, operands: list[int], shape: tuple[int, ...], options: Table) -> int:
        """Append an operator and return its result."""
        self.shape = shape
        self.last = self.graph.add_tensor(f"t{len(self.graph.operators)}", "FLOAT32", shape)
        self.graph.append(self.draft.operator(name, operands, [self.last], options))
        return self.last

    def convolution(self, kernel: int, filters: int, stride: int, activation: int, *, depthwise: bool = False) -> int:
        """Append CONV_2D or DEPTHWISE_CONV_2D with SAME padding."""
        n, height, width, channels = self.shape
        name = f"layer{len(self.graph.operators)}"
        lead, filters = (
            ((1, kernel, kernel, channels), channels) if depthwise else ((filters, kernel, kernel, channels), filters)
        )
        weights, bias = self.constant(f"{name}/kernel", lead), self.zeros(f"{name}/bias", filters)
        kind = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
        extra = {"depth_multiplier": 1} if depthwise else {}
        options = Table(kind, stride_h=stride, stride_w=stride, fused_activation_function=activation, **extra)
        return self.operator(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            [self.last, weights, bias],
            (n, -(-height // stride), -(-width // stride), filters),
            options,
        )

    def dense(self, units: int) -> int:
        """Append FULLY_CONNECTED."""
        name = f"layer{len(self.graph.operators)}"
        weights, bias = self.constant(f"{name}/weights", (units, self.shape[-1])), self.zeros(f"{name}/bias", units)
        return self.operator(
            "FULLY_CONNECTED", [self.last, weights, bias], (1, units), Table("FullyConnectedOptions")
        )

    def write(self, path: str) -> None:
        """Write the model."""
        self.graph.outputs = [self.last]
        ends = (("inputs", "image", self.graph.inputs[0]), ("outputs", "result", self.last))
        maps = {which: [Table("TensorMap", name=name, tensor_index=index)] for which, name, index in ends}
        self.draft.signatures.append(Table("SignatureDef", signature_key="serving_default", **maps))
        self.draft.done().write(path)


def fully_connected(layers: int) -> _Builder:
    """Build a chain of square FULLY_CONNECTED layers."""
    model = _Builder((1, WIDTH))
    for _ in range(layers):
        model.dense(WIDTH)
    return model


def mobilenet() -> _Builder:
    """Build the layers of MobileNet V2 1.0 224, 14 MB: for where the trained model isn't at hand."""
    model = _Builder((1, 224, 224, 3))
    model.convolution(3, 32, 2, _RELU6)
    for expansion, filters, repetitions, first in _STAGES:
        for i in range(repetitions):
            before, shape = model.last, model.shape
            if expansion > 1:
                model.convolution(1, expansion * shape[-1], 1, _RELU6)
            model.convolution(3, 0, first if i == 0 else 1, _RELU6, depthwise=True)
            after = model.convolution(1, filters, 1, 0)
            if model.shape == shape:
                model.operator("ADD", [before, after], shape, Table("AddOptions"))
    model.convolution(1, 1280, 1, _RELU6)
    axes = model.integers("axes", (1, 2))
    model.operator("MEAN", [model.last, axes], (1, 1280), Table("ReducerOptions"))
    model.dense(1001)
    return model


if __name__ == "__main__":
    (mobilenet() if sys.argv[1] == "mobilenet" else fully_connected(int(sys.argv[1]))).write(sys.argv[2])

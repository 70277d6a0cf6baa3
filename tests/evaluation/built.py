"""Small models for comparisons, and twins of them as a quantizer would leave them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.numerics import affine_from_range, quantize
from quantlib.tflite import Draft, Model, Quantization, Table, quantization_table
from tests.support.network import Network, gaussian

Array = npt.NDArray[Any]
#: Range of the input and of both layers of `dense`.
RANGES = {"x": (-4.0, 4.0), "hidden": (0.0, 12.0), "scores": (-20.0, 20.0)}


def samples(count: int = 20, seed: int = 0) -> Array:
    """Inputs of `dense`."""
    return np.clip(gaussian((count, 8), seed), -4, 4)


def dense() -> Model:
    """Two fully connected layers, 8 to 16 to 12, the first with RELU."""
    net = Network()
    x = net.input("x", (1, 8))
    x = net.fully_connected("hidden", x, gaussian((16, 8), 1, 0.5), fused_activation_function=1)
    return net.done(net.fully_connected("scores", x, gaussian((12, 16), 2, 0.5)))


def dense_int8(ranges: dict[str, tuple[float, float]] = RANGES, *, rename: bool = False) -> Model:
    """Twin of `dense` in INT8, as a converter makes it: float ends with QUANTIZE and DEQUANTIZE, biases in INT32."""
    model, draft = dense(), Draft()
    graph = draft.graphs[0]
    scales: dict[int, float] = {}

    def tensor(name: str, shape: tuple[int, ...], low: float, high: float) -> int:
        affine = affine_from_range(low, high, "INT8")
        index = graph.add_tensor(name, "INT8", shape, quantization=quantization_table(Quantization.of(affine)))
        scales[index] = float(affine.scale.reshape(-1)[0])
        return index

    def constant(name: str, values: Array, type: str, quantization: Quantization) -> int:
        table = quantization_table(quantization)
        return graph.add_tensor(name, type, values.shape, buffer=draft.add_buffer(values), quantization=table)

    given = graph.add_tensor("x", "FLOAT32", (1, 8))
    x = tensor("x_int8", (1, 8), *ranges["x"])
    graph.append(draft.operator("QUANTIZE", [given], [x]))
    for name, activation in (("hidden", 1), ("scores", 0)):
        kernel, bias = (model.tensor(f"{name}/{part}").numpy() for part in ("kernel", "bias"))
        affine = affine_from_range(-float(abs(kernel).max()), float(abs(kernel).max()), "INT8", symmetric=True)
        w = constant(f"{name}/kernel", quantize(kernel, affine), "INT8", Quantization.of(affine))
        scale = scales[x] * float(affine.scale.reshape(-1)[0])
        stored = np.rint(bias / scale).astype(np.int32)
        b = constant(f"{name}/bias", stored, "INT32", Quantization(np.float32(scale), np.int64(0)))
        y = tensor(f"{name}_renamed" if rename else name, (1, len(kernel)), *ranges[name])
        options = Table("FullyConnectedOptions", fused_activation_function=activation)
        graph.append(draft.operator("FULLY_CONNECTED", [x, w, b], [y], options, version=4))
        x = y
    out = graph.add_tensor("scores_float", "FLOAT32", (1, 12))
    graph.append(draft.operator("DEQUANTIZE", [x], [out], version=2))
    graph.inputs, graph.outputs = [given], [out]
    return draft.done()

"""Models to prune: layers before and behind those that are pruned, in every form that weights are stored in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import quantlib as ql
from quantlib.tflite import Model, Table
from tests.support.network import Network, gaussian
from tests.support.planned import calibrated, samples

Array = npt.NDArray[Any]

#: The weights of `layers` between the first and the last.
INNER = ("conv/kernel", "depthwise/kernel", "wide/kernel", "dense/kernel")


def layers() -> Network:
    """First and last layers, and between them a convolution, a depthwise one and products: 8x8x3 in, 5 out."""
    net = Network()
    x = net.input("image", (1, 8, 8, 3))
    x = net.convolution("first", x, gaussian((16, 3, 3, 3), 1, 0.3), fused_activation_function=1)
    x = net.convolution("conv", x, gaussian((32, 3, 3, 16), 2, 0.1), fused_activation_function=1)
    x = net.convolution("depthwise", x, gaussian((1, 3, 3, 32), 3, 0.3), depthwise=True)
    x = net.convolution("wide", x, gaussian((64, 1, 1, 32), 4, 0.2), fused_activation_function=1)
    axes = net.constant("axes", np.array([1, 2], np.int32))
    x = net.op("MEAN", [x, axes], "pool", (1, 64), Table("ReducerOptions"))
    x = net.fully_connected("dense", x, gaussian((48, 64), 5, 0.2), fused_activation_function=1)
    net.fully_connected("last", x, gaussian((5, 48), 6, 0.2))
    return net


def model(mode: str = "", **changes: Any) -> Model:
    """`layers` as floats, or quantized by a recipe."""
    net = layers()
    made = net.done(len(net.graph.tensors) - 1)
    if not mode:
        return made
    recipe = ql.recipes.by_name(mode).replace(**changes)
    return ql.quantize(made, recipe, calibrated(made, samples(net)) if recipe.activations else None)


def shared() -> Model:
    """Two layers on one buffer, and one whose weight has their tensor."""
    net = Network()
    x = net.input("x", (1, 64))
    w = net.constant("w", gaussian((64, 64)))
    other = net.constant("other", gaussian((64, 64)), buffer=net.graph.tensors[w].buffer)
    for i, weight in enumerate((w, other, w)):
        x = net.fully_connected(f"layer{i}", x, weight)
    return net.done(x)


def zeros(tensor: Any) -> int:
    """How many elements of a constant are zero: its zero point, where it has one."""
    stored, found = tensor.numpy(), tensor.quantization
    if found is None:
        return int((stored == 0).sum())
    shape = [1] * stored.ndim
    shape[found.quantized_dimension] = -1
    return int((stored == found.zero_point.reshape(shape)).sum())

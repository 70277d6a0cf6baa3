"""A small chain of layers to remove channels from, and what the account says of it."""

from __future__ import annotations

import numpy as np

from quantlib.passes import Edited
from quantlib.tflite import Model, Table
from tests.support.network import Array, Network, gaussian

DEAD = (1, 6)


def chain(dead: tuple[int, ...] = (), seed: int = 0, sizes: tuple[int, ...] = (8, 8)) -> Model:
    """Convolutions of 3x3, a mean over places, and a dense layer of 4: channels `dead` of the first ones are zero."""
    net = Network()
    x = net.input("x", (1, 6, 6, 3))
    for i, size in enumerate(sizes):
        filters = gaussian((size, 3, 3, net.shape(x)[3]), seed + i, 0.3)
        filters[list(dead)] = 0
        x = net.convolution(f"conv{i}", x, filters, fused_activation_function=1)
        bias = np.linspace(-1, 1, size, dtype=np.float32)
        bias[list(dead)] = 0
        at = net.graph.operators[-1].inputs[2]
        net.graph.tensors[at] = net.graph.tensors[at].replace(buffer=net.draft.add_buffer(bias))
    axes = net.constant("axes", np.array([1, 2], np.int32))
    x = net.op("MEAN", [x, axes], "mean", (1, sizes[-1]), Table("ReducerOptions"))
    return net.done(net.fully_connected("dense", x, gaussian((4, sizes[-1]), seed + 9)))


def samples(count: int = 16) -> dict[str, Array]:
    return {"x": gaussian((count, 6, 6, 3), 77)}


def kept_of(edited: Edited) -> dict[str, str]:
    """Why layers stay, by name."""
    return {line.where: line.what for line in edited.kept}


def left(edited: Edited, name: str) -> int:
    """Channels that a layer has left."""
    return edited.model.tensor(f"{name}/kernel").shape[0]

"""Small recurrent networks in code: an LSTM of every kind that has an integer kernel, and SVDF."""

from __future__ import annotations

from typing import Any

import numpy as np

from quantlib.tflite import Model, Table
from tests.support.network import Array, Network, gaussian

UNITS, INPUTS, STEPS = 16, 8, 12


class Recurrent(Network):
    """A network with states."""

    def state(self, name: str, shape: tuple[int, ...]) -> int:
        return self.graph.add_tensor(name, "FLOAT32", shape, is_variable=True)


def lstm(
    *,
    cifg: bool = False,
    peephole: bool = False,
    projection: int = 0,
    norm: bool = False,
    clip: float = 0.0,
    operator: str = "UNIDIRECTIONAL_SEQUENCE_LSTM",
    **options: Any,
) -> Model:
    """One LSTM of 16 units on 8 inputs; `projection` says to how many outputs."""
    net, outputs = Recurrent(), projection or UNITS
    single = operator == "LSTM"
    leading = (1,) if single else (STEPS, 1) if options.get("time_major") else (1, STEPS)
    x = net.input("x", (*leading, INPUTS))
    names = iter(range(100))

    def given(shape: tuple[int, ...], scale: float, middle: float = 0.0, absent: bool = False) -> int:
        seed = next(names)
        values = gaussian(shape, seed, scale) + np.float32(middle)
        return -1 if absent else net.constant(f"constant{seed}", values.astype(np.float32))

    inputs = [x, *(given((UNITS, INPUTS), 0.5, absent=cifg and g == 0) for g in range(4))]
    inputs += [given((UNITS, outputs), 0.3, absent=cifg and g == 0) for g in range(4)]
    inputs += [given((UNITS,), 0.2, absent=not peephole or (cifg and g == 0)) for g in range(3)]
    inputs += [given((UNITS,), 0.3, float(g == 1), absent=cifg and g == 0) for g in range(4)]
    inputs += [given((outputs, UNITS), 0.3, absent=not projection), given((outputs,), 0.1, absent=not projection)]
    inputs += [net.state("output_state", (1, outputs)), net.state("cell_state", (1, UNITS))]
    inputs += [given((UNITS,), 0.1, 1.0, absent=not norm or (cifg and g == 0)) for g in range(4)]
    kind = "LSTMOptions" if single else "UnidirectionalSequenceLSTMOptions"
    table = Table(kind, **{"fused_activation_function": 4, "cell_clip": clip, **options})
    return net.done(net.op(operator, inputs, "hidden", (*leading, outputs), table))


def svdf(rank: int = 1, activation: int = 1, memory: int = 5, bias: bool = True) -> Model:
    """SVDF of 6 units."""
    net = Recurrent()
    x = net.input("x", (1, INPUTS))
    feature = net.constant("feature", gaussian((6 * rank, INPUTS), 1, 0.5))
    time = net.constant("time", gaussian((6 * rank, memory), 2, 0.5))
    offset = net.constant("bias", gaussian((6,), 3, 0.5) + np.float32(0.5)) if bias else -1
    inputs = [x, feature, time, offset, net.state("memory", (1, 6 * rank * memory))]
    options = Table("SVDFOptions", rank=rank, fused_activation_function=activation)
    return net.done(net.op("SVDF", inputs, "units", (1, 6), options))


def samples(model: Model, count: int = 48) -> Array:
    """Inputs of the model, seeded: [count, ...]."""
    shape = model.tensor((0, int(model.subgraphs[0].inputs[0]))).shape
    return gaussian((count, *shape), 99)

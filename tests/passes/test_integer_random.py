"""Networks drawn at random: whatever is joined, branched and moved, the result is valid and near the float model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import quantlib as ql
from quantlib.errors import InvalidRecipe
from quantlib.numerics import sqnr_db
from quantlib.runners import NumpyRunner
from quantlib.tflite import Model, Table
from tests.support.network import Network, gaussian
from tests.support.planned import calibrated, recipe, run, samples, valid
from tests.support.rules import unknown_to_reference

from .test_integer import check_conversions

Array = npt.NDArray[Any]
SHAPE = (1, 4, 4, 4)
SAMPLES = 12


def _activation(name: str, options: str = "", **fields: Any) -> Callable[[Network, list[int], str, int], int]:
    def add(net: Network, read: list[int], label: str, seed: int) -> int:
        return net.op(name, read[:1], label, SHAPE, Table(options, **fields) if options else None)

    return add


def _binary(name: str, options: str, constant: bool) -> Callable[[Network, list[int], str, int], int]:
    def add(net: Network, read: list[int], label: str, seed: int) -> int:
        second = net.constant(f"{label}/k", gaussian((4,), seed)) if constant else read[1]
        return net.op(name, [read[0], second], label, SHAPE, Table(options))

    return add


def _convolution(depthwise: bool, fused: int) -> Callable[[Network, list[int], str, int], int]:
    def add(net: Network, read: list[int], label: str, seed: int) -> int:
        shape = (1, 3, 3, 4) if depthwise else (4, 3, 3, 4)
        scale = 0.4 if depthwise else 0.2
        weights = gaussian(shape, seed, scale)
        return net.convolution(label, read[0], weights, depthwise=depthwise, fused_activation_function=fused)

    return add


def _pool(name: str) -> Callable[[Network, list[int], str, int], int]:
    def add(net: Network, read: list[int], label: str, seed: int) -> int:
        options = Table("Pool2DOptions", stride_w=1, stride_h=1, filter_width=2, filter_height=2, padding=0)
        return net.op(name, read[:1], label, SHAPE, options)

    return add


def _turned(net: Network, read: list[int], label: str, seed: int) -> int:
    order = net.constant(f"{label}/order", np.array([0, 2, 1, 3], "i4"))
    return net.op("TRANSPOSE", [read[0], order], label, SHAPE, Table("TransposeOptions"))


def _folded(net: Network, read: list[int], label: str, seed: int) -> int:
    flat, back = ((1, 64), SHAPE)
    shapes = [net.constant(f"{label}/shape{i}", np.array(s, "i4")) for i, s in enumerate((flat, back))]
    inner = net.op(
        "RESHAPE", [read[0], shapes[0]], f"{label}/flat", flat, Table("ReshapeOptions", new_shape=list(flat))
    )
    return net.op("RESHAPE", [inner, shapes[1]], label, back, Table("ReshapeOptions", new_shape=list(back)))


def _joined(net: Network, read: list[int], label: str, seed: int) -> int:
    """Joined, and cut apart again: an operator with two outputs, of which the second is dropped or kept by chance."""
    axis = net.constant(f"{label}/axis", np.array(3, "i4"))
    options = Table("ConcatenationOptions", axis=3)
    joined = net.op("CONCATENATION", read[:2], f"{label}/joined", (*SHAPE[:3], 8), options)
    halves = [net.graph.add_tensor(f"{label}{part}", "FLOAT32", SHAPE) for part in ("/other", "")]
    net.graph.append(net.draft.operator("SPLIT", [axis, joined], halves, Table("SplitOptions", num_splits=2)))
    return halves[seed % 2]


def _padded(net: Network, read: list[int], label: str, seed: int) -> int:
    edges = net.constant(f"{label}/edges", np.array([[0, 0], [1, 0], [0, 1], [0, 0]], "i4"))
    bigger = net.op("PAD", [read[0], edges], f"{label}/padded", (1, 5, 5, 4), Table("PadOptions"))
    begin, size = (net.constant(f"{label}/{n}", np.array(v, "i4")) for n, v in (("b", [0, 1, 0, 0]), ("s", SHAPE)))
    return net.op("SLICE", [bigger, begin, size], label, SHAPE, Table("SliceOptions"))


KINDS: dict[str, Callable[[Network, list[int], str, int], int]] = {
    "conv": _convolution(False, 0), "conv relu": _convolution(False, 1), "conv relu6": _convolution(False, 3),
    "depthwise": _convolution(True, 0), "depthwise relu": _convolution(True, 1),
    "add": _binary("ADD", "AddOptions", False), "add constant": _binary("ADD", "AddOptions", True),
    "mul": _binary("MUL", "MulOptions", False), "mul constant": _binary("MUL", "MulOptions", True),
    "sub": _binary("SUB", "SubOptions", False), "minimum": _binary("MINIMUM", "MaximumMinimumOptions", True),
    "maximum": _binary("MAXIMUM", "MaximumMinimumOptions", False),
    "relu": _activation("RELU"), "relu6": _activation("RELU6"), "logistic": _activation("LOGISTIC"),
    "tanh": _activation("TANH"), "swish": _activation("HARD_SWISH", "HardSwishOptions"), "sin": _activation("SIN"),
    "softmax": _activation("SOFTMAX", "SoftmaxOptions", beta=1.0), "abs": _activation("ABS", "AbsOptions"),
    "max pool": _pool("MAX_POOL_2D"), "average pool": _pool("AVERAGE_POOL_2D"),
    "transpose": _turned, "reshape": _folded, "concatenation": _joined, "pad": _padded,
}  # fmt: skip


@st.composite
def networks(draw: st.DrawFn) -> tuple[Network, Model]:
    """Up to eight operators, each of which reads the input, a constant or what any before it made."""
    net = Network()
    made = [net.input("x", SHAPE)]
    if draw(st.booleans()):
        made.append(net.input("z", SHAPE))
    for i, kind in enumerate(draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=8))):
        # lately made tensors more often, so that there are chains as well as branches
        read = [made[-1 - min(draw(st.integers(0, 3)), len(made) - 1)] for _ in range(2)]
        made.append(KINDS[kind](net, read, f"{kind}{i}", draw(st.integers(0, 99))))
    outputs = draw(st.lists(st.sampled_from(made), min_size=0, max_size=2))
    return net, net.done(made[-1], *outputs)


RECIPES = st.fixed_dictionaries(
    {"mode": st.sampled_from(["int8", "int16x8", "uint8"])},
    optional={
        "input_type": st.sampled_from(["INT8", "UINT8", "INT16"]),
        "output_type": st.sampled_from(["INT8", "UINT8", "INT16"]),
        "granularity": st.just("tensor"),
        "rounding": st.just("nearest"),
        "tails": st.sampled_from(["keep", "int16"]),
    },
)
MIXED = st.fixed_dictionaries(
    {"mode": st.just("int8")},
    optional={"int16": st.just((r"[02468]$",)), "skip": st.just((r"[147]$",)), "output_type": st.just("INT8")},
)


def near(whole: Array, small: Array, steps: float) -> bool:
    """The error is less than what some steps of the output's whole range make; or than -15 dB of its own power."""
    width = max(float(whole.max()), 0) - min(float(whole.min()), 0)
    noise = float(np.sqrt(np.square(whole - small).mean()))
    return noise <= steps * width / 255 or float(sqnr_db(whole, small)) > 15


@pytest.mark.parametrize("recipes", [RECIPES, MIXED], ids=["whole", "mixed"])
def test_any_network_in_any_mode(recipes: st.SearchStrategy[dict[str, Any]]) -> None:
    @settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=60)
    @given(networks(), recipes)
    def check(drawn: tuple[Network, Model], changes: dict[str, Any]) -> None:
        quantize_and_compare(*drawn, dict(changes))

    check()


def quantize_and_compare(net: Network, model: Model, changes: dict[str, Any]) -> None:
    data = samples(net, SAMPLES)
    statistics = calibrated(model, data)
    try:
        plan = ql.plan(model, recipe(**changes), statistics)
    except InvalidRecipe:  # nothing has a number that a selector asks for
        assume("skip" not in changes and "int16" not in changes)
        raise
    made = valid(ql.quantize(model, plan), model)
    check_conversions(made, 0)
    runner = NumpyRunner(model)
    each = [{name: values[i] for name, values in data.items()} for i in range(SAMPLES)]
    outputs = [model.tensor((0, int(t))).name for t in model.subgraphs[0].outputs]  # of which some come twice
    wanted = [[found[name] for name in outputs] for found in map(runner.run, each)]
    for resolver in ("default", "reference"):
        if resolver == "reference" and unknown_to_reference(made.to_bytes()):
            continue
        found = [run(made, sample, resolver) for sample in each]
        for k, name in enumerate(outputs):
            whole, small = (np.stack([arrays[k] for arrays in o]) for o in (wanted, found))
            assert near(whole, small, 12.0), (resolver, name, float(sqnr_db(whole, small)))

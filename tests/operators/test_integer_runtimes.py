"""Arithmetic of the runtimes ``builtin`` and ``xnnpack``: ties, edges, and what XNNPACK doesn't take over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quantlib.errors import InvalidValue, NotFound
from quantlib.numerics import Affine
from quantlib.operators.integer_hybrid import quantize_groups_even
from quantlib.operators.integer_xnnpack import float_range, times_256
from quantlib.runners import LiteRTRunner, NumpyRunner
from quantlib.tflite import Model, Table
from tests.conformance.judge import End, equal, indices, int8, operator, samples, uint8

OTHERS = ("builtin", "xnnpack")
RESOLVERS = {"reference": "reference", "builtin": "builtin", "xnnpack": "default"}
RUNTIMES = tuple(RESOLVERS)


def judge(model: Model, runtime: str, given: Any = None, least: float = 80) -> Any:
    """Outputs, which equal LiteRT's."""
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed (the extra 'litert')")
    ours, theirs = NumpyRunner(model, runtime=runtime), LiteRTRunner(model, resolver=RESOLVERS[runtime])
    for sample in samples(model) if given is None else given:
        mine = ours.run(sample)
        for name, values in theirs.run(sample).items():
            equal(f"{name} in {runtime}", mine[name], values, least)
    return mine


#: Quarters of these: rounded by each runtime, see the last column of math in docs/explanation/runtimes.md.
TIES = np.array([1, 2, 3, 5, 6, -1, -2, -3, -5, -6], np.int8)
ROUNDED = {
    ("CONV_2D", "reference"): [1, 1, 1, 2, 2, 0, -1, -1, -1, -2],
    ("CONV_2D", "builtin"): [1, 1, 1, 2, 2, 0, 0, 0, -1, -1],
    ("CONV_2D", "xnnpack"): [0, 0, 1, 1, 2, 0, 0, -1, -1, -2],
    ("FULLY_CONNECTED", "reference"): [0, 1, 1, 1, 2, 0, -1, -1, -1, -2],
    ("FULLY_CONNECTED", "builtin"): [1, 1, 1, 2, 2, 0, 0, 0, -1, -1],
    ("FULLY_CONNECTED", "xnnpack"): [0, 0, 1, 1, 2, 0, 0, -1, -1, -2],
}


@pytest.mark.parametrize(("name", "runtime"), ROUNDED)
def test_ties_of_products(name: str, runtime: str) -> None:
    convolution = name == "CONV_2D"
    shape = (1, 10, 1, 1) if convolution else (10, 1)
    one = np.ones((1, 1, 1, 1) if convolution else (1, 1), np.int8)
    bias = End("INT32", (1,), 1.0, values=np.zeros(1, np.int32))
    ends = [int8(shape, 1.0), End("INT8", one.shape, 1.0, values=one), bias]
    fields = {"stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1} if convolution else {}
    options = Table("Conv2DOptions" if convolution else "FullyConnectedOptions", **fields)
    found = judge(operator(name, ends, int8(shape, 4.0), options), runtime, [[TIES.reshape(shape)]])
    assert found["y"].ravel().tolist() == ROUNDED[name, runtime]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL"])
@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
@pytest.mark.parametrize(
    "scales",
    [(0.5, 0.25, 1.0), (0.01, 0.3, 0.17), (0.25, 0.1, 0.2), (0.75, 0.5, 0.5), (0.25, 0.25, 1.5), (1, 0.001, 2)],
)
def test_all_pairs(name: str, kind: str, scales: tuple[float, float, float], runtime: str) -> None:
    values = np.arange(256).astype(kind.lower()) if kind == "UINT8" else np.arange(-128, 128).astype(np.int8)
    a, b = (v.reshape(1, -1) for v in np.meshgrid(values, values, indexing="ij"))
    point = 120 if kind == "UINT8" else -8
    ends = [End(kind, a.shape, scale, point) for scale in scales]
    options = Table({"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}[name])
    judge(operator(name, ends[:2], ends[2], options), runtime, [[a, b]])


@pytest.mark.parametrize(
    "shapes", [((2, 3, 40), (40,)), ((2, 3, 40), (2, 3, 1)), ((4, 1, 9), (1, 5, 9)), ((7, 33), ())]
)
@pytest.mark.parametrize("make", [int8, uint8])
def test_vectors_of_broadcast_sums(shapes: tuple[Any, Any], make: Any) -> None:
    """Where vectors begin and end follows from how shapes broadcast."""
    out = np.broadcast_shapes(*shapes)
    for swapped in (False, True):
        one, other = shapes[::-1] if swapped else shapes
        model = operator("ADD", [make(one, 0.25), make(other, 0.1)], make(out, 0.2), Table("AddOptions"))
        judge(model, "builtin", samples(model, 20))


@pytest.mark.parametrize("channels", [1, 7, 8, 16, 17, 40])
@pytest.mark.parametrize("name", ["MEAN", "SUM"])
@pytest.mark.parametrize("runtime", OTHERS)
def test_reductions_over_pixels(name: str, channels: int, runtime: str) -> None:
    ends = [int8((2, 2, 2, channels), 0.5, 3), indices([1, 2])]
    made = operator(name, ends, int8((2, 1, 1, channels), 0.5, -3), Table("ReducerOptions", keep_dims=True))
    judge(made, runtime, samples(made, 20))


@pytest.mark.parametrize("runtime", OTHERS)
@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 23])
def test_quantize(count: int, runtime: str) -> None:
    x = (np.arange(count) - 5).astype(np.float32) / 2
    judge(
        operator("QUANTIZE", [End("FLOAT32", (count,))], int8((count,), 1.0), Table("QuantizeOptions")),
        runtime,
        [[x]],
    )


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
@pytest.mark.parametrize("runtime", OTHERS)
def test_requantize_all_values(kind: str, runtime: str) -> None:
    values = np.arange(256).astype("u1").view("i1" if kind == "INT8" else "u1")[None]
    for before, after in ((0.25, 0.5), (0.5, 0.25), (0.0371, 0.9), (1.0, 0.01)):
        ends = [End(kind, (1, 256), before, 5)], End(kind, (1, 256), after, 12)
        judge(operator("QUANTIZE", *ends, Table("QuantizeOptions")), runtime, [[values]])


def test_what_xnnpack_leaves_runs_as_in_builtin() -> None:
    """A filter that isn't constant, and scales beyond what the delegate takes."""
    ends = [int8((1, 8), 0.5), int8((1, 8), 0.25)]
    judge(operator("ADD", ends, int8((1, 8), 0.25 * 2**-9), Table("AddOptions")), "xnnpack")
    ends = [int8((3, 4), 0.5), int8((2, 4), 0.25), End("INT32", (2,), 0.125, values=np.zeros(2, np.int32))]
    judge(operator("FULLY_CONNECTED", ends, int8((3, 2), 4.0), Table("FullyConnectedOptions")), "xnnpack")


def test_a_multiplier_that_xnnpack_refuses() -> None:
    w = End("INT8", (1, 1), 1.0, values=np.ones((1, 1), np.int8))
    made = operator(
        "FULLY_CONNECTED", [int8((1, 1), 1.0), w, None], int8((1, 1), 2**-8), Table("FullyConnectedOptions")
    )
    with pytest.raises(InvalidValue, match=r"a multiplier of 256\.0: XNNPACK requires less than 256"):
        NumpyRunner(made, runtime="xnnpack")


def test_an_unknown_runtime() -> None:
    made = operator("ADD", [int8((1,), 1.0), int8((1,), 1.0)], int8((1,), 1.0), Table("AddOptions"))
    with pytest.raises(NotFound, match="NumPy has no runtime 'fast'; it has reference, builtin, xnnpack"):
        NumpyRunner(made, runtime="fast")


def test_ends_of_activations_are_rounded_half_to_even() -> None:
    assert float_range(3, Affine("INT8", 4.0)) == (0, 2)  # 1.5
    assert float_range(2, Affine("INT8", 2.0)) == (0, 0)  # -0.5 and 0.5
    assert float_range(1, Affine("UINT8", 0.1, 7)) == (7, 255)


def test_multipliers_of_eight_bits() -> None:
    assert times_256(np.array([1, 2, -1, -3]), np.float32(0.5)).tolist() == [1, 1, 0, -1]


def test_groups_of_one_sign_and_zeros() -> None:
    values, scale = quantize_groups_even(np.array([[0, 0], [-1, -3], [2, 4]], np.float32), 1)
    assert values.tolist() == [[0, 0], [-85, -255], [128, 255]]
    np.testing.assert_allclose(scale.ravel(), [1, 3 / 255, 4 / 255])


@pytest.mark.parametrize("scales", [[0.1] * 6, [0.1, 0.2, 0.05, 0.3, 0.7, 0.01]])
@pytest.mark.parametrize("runtime", OTHERS)
def test_floats_by_integer_filters(runtime: str, scales: list[float]) -> None:
    rng = np.random.default_rng(2)
    w = End("INT8", (6, 3, 3, 4), np.float32(scales), 0, 0, rng.integers(-127, 128, (6, 3, 3, 4)).astype(np.int8))
    b = End("FLOAT32", (6,), values=rng.standard_normal(6).astype(np.float32))
    fields = {"stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1}
    ends = [End("FLOAT32", (2, 5, 5, 4)), w, b], End("FLOAT32", (2, 5, 5, 6))
    judge(operator("CONV_2D", *ends, Table("Conv2DOptions", **fields)), runtime, least=140)

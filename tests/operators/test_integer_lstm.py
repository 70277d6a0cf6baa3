"""The integer kernel of LSTM, against LiteRT's reference kernel: all of its kinds, outputs and states."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue, NotFound
from quantlib.operators.recurrent.integer_gates import normalize_gate, sigmoid_of_gate, tanh_of_gate
from quantlib.operators.recurrent.integer_lstm import Gate, IntegerLstm, Product, lstm_integers
from quantlib.runners import LiteRTRunner, NumpyRunner
from quantlib.tflite import Draft, Model
from tests.support.recurrent import lstm, samples

ALL = np.arange(-32768, 32768).astype(np.int16)
KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"cifg": True},
    {"peephole": True},
    {"projection": 10},
    {"projection": 10, "proj_clip": 0.1},
    {"norm": True},
    {"clip": 0.5},
    {"clip": 6.0},
    {"clip": 40.0},
    {"operator": "LSTM"},
    {"operator": "LSTM", "peephole": True, "projection": 16},
    {"time_major": True},
    {"norm": True, "projection": 10, "time_major": True},
    {"norm": True, "peephole": True, "projection": 16, "cifg": True},
)


@cache
def quantized(**kind: Any) -> tuple[Model, Any]:
    model = lstm(**kind)
    x = samples(model, 12)
    recipe = ql.recipes.int8(recurrent="integer", input_type="INT8", output_type="INT8")
    return ql.quantize(model, recipe, ql.calibrate(model, [[v] for v in x], observer="minmax")), x


@pytest.mark.parametrize("scale", [20, 60, 300])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(f"{k}={v}" for k, v in kind.items()) or "plain")
def test_every_integer_of_a_sequence_is_equal(kind: dict[str, Any], scale: int) -> None:
    judge(*quantized(**kind), scale)


def test_ties_of_peepholes() -> None:
    """With powers of two as scales and weights; LiteRT rounds sixteen products at a time upwards."""
    model = lstm(peephole=True)
    for i in (8, 9, 10):
        values = np.random.default_rng(i).choice([-16384, 16384], 16)
        values[0] = 32767
        model = model.replace(f"constant{i}", data=(values / 32768).astype(np.float32))
    x = samples(model, 12)
    recipe = ql.recipes.int8(recurrent="integer", input_type="INT8", output_type="INT8")
    made = ql.quantize(model, recipe, ql.calibrate(model, [[v] for v in x], observer="minmax"))
    scales = [made.tensor(f"constant{i}").quantization.scale.item() for i in (8, 9, 10)]
    assert scales == [2.0**-15] * 3
    judge(made, x, 60)


def test_a_zero_point_of_the_hidden_state() -> None:
    model, x = quantized(projection=10)
    draft = Draft(model)
    graph = draft.graphs[0]
    hidden = int(graph.operators[0].intermediates[4])
    meaning = graph.tensors[hidden].quantization.replace(zero_point=[9])
    graph.tensors[hidden] = graph.tensors[hidden].replace(quantization=meaning)
    judge(draft.done(), x, 60)


def test_scales_of_another_kernel() -> None:
    """Without the five intermediates it is LiteRT's kernel of 8-bit gates that would run, or none."""
    draft = Draft(quantized()[0])
    draft.graphs[0].operators[0] = draft.graphs[0].operators[0].replace(intermediates=[])
    with pytest.raises(NotFound, match="it computes on INT8, INT16 values with scales"):
        NumpyRunner(draft.done())


def judge(model: Model, x: Any, scale: int) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed (the extra 'litert')")
    ours, theirs = NumpyRunner(model), LiteRTRunner(model, resolver="reference")
    for given in np.clip(np.round(scale * x), -128, 127).astype(np.int8):
        seen: list[dict[int, np.ndarray]] = [{}, {}]
        for runner, found in zip((ours, theirs), seen, strict=True):
            runner.run([given], tap=lambda g, t, v, found=found: found.update({t: v.copy()}), keep_state=True)
        assert seen[0].keys() == seen[1].keys()
        assert len(seen[0]) == 4
        for t, values in seen[0].items():
            np.testing.assert_array_equal(values, seen[1][t], str(model.tensor((0, t))))


def test_the_logistic_function() -> None:
    exact = 32768 / (1 + np.exp(ALL / -4096))
    found = sigmoid_of_gate(ALL)
    assert np.abs(found - exact).max() < 6.5
    assert found[[0, 32768, -1]].tolist() == [11, 16384, 32756]


@pytest.mark.parametrize("bits", range(7))
def test_the_hyperbolic_tangent(bits: int) -> None:
    exact = 32768 * np.tanh(ALL * 2.0 ** (bits - 15))
    found = tanh_of_gate(ALL, bits)
    assert np.abs(found - np.clip(exact, -32768, 32767)).max() < 12.1
    np.testing.assert_array_equal(found[1:32768], -found[:32768:-1])


def test_integer_bits_without_a_function() -> None:
    with pytest.raises(InvalidValue, match="tanh of 7 integer bits; 0 to 6 are required"):
        tanh_of_gate(ALL, 7)


def test_normalization() -> None:
    x = np.array([[-3000, -1000, 1000, 3000]], np.int16)
    ones, half = np.full(4, 1 << 10, np.int16), (np.int64(1 << 30), np.int64(-9))
    found = normalize_gate(x, ones, np.zeros(4, np.int32), half, 1)
    np.testing.assert_allclose(found / 4096, x / np.std(x), rtol=0, atol=2e-4)
    still = normalize_gate(np.full((1, 4), 7), ones, np.array([0, 1 << 20, -(1 << 20), 0], np.int32), half, 1)
    assert still.tolist() == [[0, 4096, -4096, 0]]


def test_shapes_must_fit() -> None:
    product = Product(np.zeros((3, 2)), 1 << 30, 0), Product(np.zeros((3, 3)), 1 << 30, 0)
    gate = Gate(*product)
    made = IntegerLstm((None, gate, gate, gate), (0, 0), -12, 0, (1 << 30, 0), 0)
    states = np.zeros((1, 3), np.int8), np.zeros((1, 3), np.int16)
    for x in (np.zeros((4, 1, 3), np.int8), np.zeros((4, 2, 2), np.int8), np.zeros((4, 2), np.int8)):
        with pytest.raises(InvalidValue, match=r"an LSTM of 2 inputs, 3 cells and 3 outputs on .* they don't fit"):
            lstm_integers(x, made, *states)

"""What a plan says of the input of weights: mean and variance by channel, and whether the bias takes up the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.calibration import HistogramState, Statistics
from quantlib.recipes import Graph, Moments, OperatorPlan
from quantlib.recipes.measured import Measured
from quantlib.tflite import Model
from tests.support.network import Network, gaussian
from tests.support.planned import recipe

MEANS = np.array([0.5, -2.0, 0.0, 4.0])


def network() -> Model:
    net = Network()
    x = net.convolution("conv", net.input("x", (1, 6, 6, 4)), gaussian((8, 3, 3, 4), 1))
    x = net.convolution("depthwise", x, gaussian((1, 3, 3, 8), 2), depthwise=True)
    return net.done(net.fully_connected("dense", x, gaussian((3, 8), 3)))


def statistics(model: Model, **options: Any) -> Statistics:
    data = gaussian((40, 6, 6, 4), 5) + MEANS.astype(np.float32)
    return ql.calibrate(model, data, **options)


def planned(mode: str, found: Statistics | None = None, **changes: Any) -> dict[str, OperatorPlan]:
    model = network()
    plan = ql.plan(model, recipe(mode, **changes), found or statistics(model))
    return {p.name: p for p in plan.operators}


def moments(found: OperatorPlan) -> Moments:
    assert found.moments is not None
    return found.moments


def test_means_and_variances_by_channel() -> None:
    """A variance is what the mean leaves of the mean square of all values, and a tenth of the tensor's at least."""
    operators, found = planned("int8"), statistics(network())["x"]
    conv = moments(operators["conv"])
    assert isinstance(found, HistogramState)
    assert found.channels is not None
    np.testing.assert_array_equal(conv.mean, found.channels.mean)
    np.testing.assert_allclose(conv.mean, MEANS, atol=0.1)
    variance = found.mean_square - found.mean**2
    left = [max(found.mean_square - m**2, 0.1 * variance, m**2 / 100) for m in found.channels.mean]
    np.testing.assert_allclose(conv.variance, left)
    assert len(moments(operators["depthwise"]).mean) == len(moments(operators["dense"]).mean) == 8


@pytest.mark.parametrize("observer", ["histogram", "minmax"])
def test_without_channels_one_mean_serves(observer: str) -> None:
    """As of statistics saved by older versions."""
    full = statistics(network(), observer=observer)
    states = {key: replace(state, channels=None) for key, state in full.tensors.items()}
    old = Statistics(full.model, full.samples, full.observer, states, full.names)
    conv, state = moments(planned("int8", old)["conv"]), full["x"]
    variance = ((state.max - state.min) / 8) ** 2
    if isinstance(state, HistogramState):
        variance = state.mean_square - state.mean**2
    assert conv == Moments((state.mean,), (variance,))


def test_with_little_in_common_one_mean_says_nothing() -> None:
    model = network()
    full = ql.calibrate(model, gaussian((40, 6, 6, 4), 5))
    states = {key: replace(state, channels=None) for key, state in full.tensors.items()}
    old = Statistics(full.model, full.samples, full.observer, states, full.names)
    assert moments(planned("int8", old)["conv"]).mean == (0.0,)
    assert moments(planned("int8", full)["conv"]).mean != (0.0,)


def test_channels_of_another_number_do_not_count() -> None:
    """Such as those of a grouped convolution, whose filters see a part of them."""
    full = statistics(network())
    key = full.key("x")
    other = replace(full.tensors[key], channels=full["conv"].channels)
    found = Statistics(full.model, full.samples, full.observer, {**full.tensors, key: other}, full.names)
    assert len(moments(planned("int8", found)["conv"]).mean) == 1


@pytest.mark.parametrize("mode", ["int8", "uint8", "int16x8"])
def test_the_plan_says_what_is_done(mode: str) -> None:
    for operator in planned(mode).values():
        corrected = mode == "int16x8"
        assert operator.corrects_bias is corrected
        assert operator.notes[-1] == ("balanced, bias corrected" if corrected else "balanced")
    for operator in planned(mode, rounding="nearest").values():
        assert (operator.moments, operator.corrects_bias) == (None, False)
        assert not any("balanced" in note for note in operator.notes)


def test_statistics_that_are_not_finite_say_nothing() -> None:
    full = statistics(network())
    key = full.key("x")
    wide = HistogramState().observe(np.array([1e300, -1e300]))
    found = Statistics(full.model, full.samples, full.observer, {**full.tensors, key: wide}, full.names)
    model = network()
    assert Measured(model, recipe("int8"), found).moments(Graph(model, 0), key[1], 4) is None

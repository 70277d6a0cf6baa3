"""Networks drawn at random, quantized in any way: dequantizing gives the float graph back."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import quantlib as ql
from quantlib.runners import NumpyRunner
from quantlib.tflite import Model
from tests.support.network import Network
from tests.support.planned import calibrated, recipe, run, samples
from tests.support.presets import WEIGHT_PRESETS

from ..test_integer_random import RECIPES, SAMPLES, near, networks
from .test_dequantize import checked, same_graph

WEIGHTS = st.fixed_dictionaries({"mode": st.sampled_from(WEIGHT_PRESETS), "min_elements": st.just(1)})


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=80)
@given(networks(), RECIPES | WEIGHTS)
def test_the_float_graph_comes_back(drawn: tuple[Network, Model], changes: dict[str, Any]) -> None:
    model, data = drawn[1], samples(drawn[0], SAMPLES)
    if recipe(changes["mode"]).activations:
        changes = {**changes, "rounding": "nearest"}
        small = ql.quantize(model, recipe(**changes), calibrated(model, data))
    else:
        small = ql.quantize(model, recipe(**changes))
    checked(ql.dequantize(small))
    same_graph(model, small)
    made = ql.dequantize(small, recover_activations=False).model
    runner = NumpyRunner(model)
    outputs = [model.tensor((0, int(t))).name for t in model.subgraphs[0].outputs]
    for i in range(3):
        sample = {name: values[i] for name, values in data.items()}
        wanted = runner.run(sample)
        for name, found in zip(outputs, run(made, sample), strict=True):
            steps = 50.0 if "int4" in changes["mode"] else 12.0
            assert near(wanted[name], np.asarray(found), steps), name

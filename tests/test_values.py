"""Values in a notebook or in another process: one line each, copied and pickled."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import quantlib as ql


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    """One value of each kind that a verb returns."""
    model = ql.read(ql.demo.MODEL)
    statistics = ql.calibrate(model, ql.demo.CALIBRATION)
    plan = ql.plan(model, "int8", statistics)
    small = ql.quantize(model, plan)
    dynamic = ql.quantize(model, "dynamic")
    return {
        "model": small,
        "statistics": statistics,
        "plan": plan,
        "recipe": plan.recipe,
        "comparison": ql.compare(model, small, ql.demo.CALIBRATION, runner="numpy"),
        "findings": ql.check(dynamic, "tflite-micro"),
        "tuned": ql.tune(model, "int8", ql.demo.CALIBRATION, runner="numpy"),
        "edited": ql.prune(model),
    }


@pytest.mark.parametrize("name", ["model", "statistics", "plan", "comparison", "findings", "tuned", "edited"])
def test_a_repr_is_one_short_line(values: dict[str, Any], name: str) -> None:
    assert "\n" not in repr(values[name])
    assert len(repr(values[name])) <= 120


@pytest.mark.parametrize("name", ["model", "statistics", "plan", "recipe", "comparison", "findings", "tuned"])
def test_a_value_can_be_copied_and_pickled(values: dict[str, Any], name: str) -> None:
    assert copy.deepcopy(values[name]) == values[name]
    assert pickle.loads(pickle.dumps(values[name])) == values[name]


def test_reprs_tell_the_main_thing(values: dict[str, Any]) -> None:
    assert repr(values["findings"]) == "<Findings of tflite-micro: 7 violations at 7 of 11 operators>"
    assert repr(values["edited"]) == "<Edited by prune: 3 changed, 4 left alone>"
    assert f"{values['tuned'].trials[0].sqnr_db:.1f} dB, best of 7" in repr(values["tuned"])

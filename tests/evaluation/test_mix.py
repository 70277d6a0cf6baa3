"""Mixing 8 and 16 bits: the fewest operators at 16 bits that an error allows."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidRecipe, InvalidValue
from quantlib.evaluation import Mixed, mix
from tests.support.network import Network, gaussian

IMAGES = np.load(ql.demo.CALIBRATION)["image"]
MODEL = ql.read(ql.demo.MODEL)


@pytest.fixture(scope="module")
def statistics() -> ql.Statistics:
    return ql.calibrate(MODEL, IMAGES[:80])


def mixed(at_least: float, statistics: ql.Statistics, **options: Any) -> Mixed:
    return mix(MODEL, "int8", IMAGES[80:], at_least, statistics=statistics, runner="numpy", **options)


@pytest.mark.parametrize("at_least", [47.0, 49.0, 51.0])
def test_what_is_measured_is_what_the_recipe_gives(at_least: float, statistics: ql.Statistics) -> None:
    found = mixed(at_least, statistics)
    plan = ql.plan(MODEL, found.recipe, statistics)
    raised = {p.name for p in plan.operators if p.mode == "INT16"}
    assert raised == {r.name for r in found.raised}
    assert {p.mode for p in plan.operators if p.name not in raised} == {"INT8"}
    result = ql.compare(MODEL, ql.quantize(MODEL, plan), IMAGES[80:], runner="numpy")
    assert result.outputs[0].sqnr_db == found.sqnr_db >= at_least
    assert found.narrow_db < at_least
    assert (found.samples, found.runner, found.operators) == (20, "numpy", len(plan.operators))
    assert [r.alone_db for r in found.raised] == sorted(r.alone_db for r in found.raised)


def test_more_is_raised_for_more(statistics: ql.Statistics) -> None:
    counts = [len(mixed(d, statistics).raised) for d in (30.0, 47.0, 49.0, 51.0)]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert 0 < counts[1] < counts[-1] < 11
    assert math.isnan(mixed(30.0, statistics).wide_db)  # it wasn't needed


def noisy(statistics: bool = True) -> tuple[ql.Model, Any]:
    """Three layers, of which the second has one great weight: its output has coarse steps where it counts."""
    net = Network()
    x = net.input("x", (1, 16))
    a = net.fully_connected("a", x, gaussian((16, 16), 1))
    wide = gaussian((16, 16), 2) * np.where(np.arange(16) == 0, 300, 1).astype("f4")[:, None]
    b = net.fully_connected("b", a, wide)
    last = gaussian((4, 16), 3) / np.where(np.arange(16) == 0, 300, 1).astype("f4")
    model = net.done(net.fully_connected("c", b, last))
    return model, np.random.default_rng(0).standard_normal((40, 1, 16)).astype("f4")


def test_it_finds_the_smallest_set() -> None:
    model, x = noisy()
    statistics = ql.calibrate(model, x[:30])
    by_size: dict[int, float] = {}
    for count in range(4):
        for names in combinations("abc", count):
            recipe = ql.recipes.int8(int16=tuple(f"^{n}$" for n in names))
            small = ql.quantize(model, recipe, statistics)
            figure = ql.compare(model, small, x[30:], runner="numpy").outputs[0].sqnr_db
            by_size[count] = max(by_size.get(count, -math.inf), figure)
    for count in range(1, 4):
        found = mix(model, "int8", x[30:], by_size[count], statistics=statistics, runner="numpy")
        assert len(found.raised) == count
        assert found.sqnr_db == by_size[count]


def test_samples_are_held_back_from_calibration() -> None:
    found = mix(MODEL, "int8", IMAGES, 44.0, runner="numpy")
    assert found.statistics == ql.calibrate(MODEL, IMAGES[np.arange(100) % 5 != 0])
    assert found.samples == 20


def test_what_the_recipe_has_stays(statistics: ql.Statistics) -> None:
    recipe = ql.recipes.int8(int16=("^logits$",), skip=("^probabilities$",))
    found = mix(MODEL, recipe, IMAGES[80:], 45.0, statistics=statistics, runner="numpy")
    assert found.recipe.int16[0] == "^logits$"
    assert found.recipe.skip == recipe.skip
    assert found.operators == 9
    modes = {p.name: p.mode for p in ql.plan(MODEL, found.recipe, statistics).operators}
    assert (modes["logits"], modes["probabilities"]) == ("INT16", "FLOAT32")


def test_names_are_not_patterns() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    model = net.done(
        net.fully_connected("a.b", net.fully_connected("a+b", x, gaussian((8, 8), 1)), gaussian((4, 8), 2))
    )
    x = np.random.default_rng(0).standard_normal((40, 1, 8)).astype("f4")
    whole = mix(model, "int8", x, 44.0, runner="numpy")
    assert {r.name for r in whole.raised} == {"a.b", "a+b"}


def test_progress_counts_operators(statistics: ql.Statistics) -> None:
    seen: list[int] = []
    mixed(48.0, statistics, progress=seen.append)
    assert seen == [1] * 11


def test_it_prints_and_serializes(statistics: ql.Statistics) -> None:
    found = mixed(48.0, statistics)
    lines = str(found).splitlines()
    assert lines[0].split() == ["alone", "dB", "at", "16", "bits", "name"]
    assert len(lines) == len(found.raised) + 2
    assert lines[-1].startswith(f"{len(found.raised)} of 11 operators at 16 bits: ")
    shown = found.to_dict()
    assert [r["name"] for r in shown["raised"]] == [r.name for r in found.raised]
    assert (shown["at_least"], shown["sqnr_db"]) == (48.0, found.sqnr_db)
    assert mixed(30.0, statistics).to_dict()["wide_db"] is None


def test_bad_requests(statistics: ql.Statistics) -> None:
    with pytest.raises(
        InvalidValue, match=r"no mix of 8 and 16 bits gives outputs of 99 dB: the best has 5\d.*ask for"
    ):
        mixed(99.0, statistics)
    with pytest.raises(InvalidRecipe, match="mode 'int16x8' can't be mixed"):
        mix(MODEL, "int16x8", IMAGES, 30.0)
    for wrong in (math.nan, math.inf, "30", True):
        with pytest.raises(InvalidValue, match="a number of decibels is required"):
            mix(MODEL, "int8", IMAGES, wrong)  # type: ignore[arg-type]  # what mypy refuses, too
    with pytest.raises(InvalidValue, match="one sample"):
        mix(MODEL, "int8", IMAGES[:1], 30.0)
    with pytest.raises(InvalidValue, match="a Model and a Recipe"):
        mix("model.tflite", "int8", IMAGES, 30.0)  # type: ignore[arg-type]  # what mypy refuses, too

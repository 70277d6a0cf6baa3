"""Tuning: what is tried, on which samples it is measured, and that the best is kept."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.calibration import RANGES
from quantlib.errors import InvalidRecipe, InvalidValue, MissingExtra
from quantlib.evaluation import Tuned, tune
from quantlib.evaluation.compare import Reference
from tests.support.models import variables
from tests.support.network import Network, gaussian

IMAGES = np.load(ql.demo.CALIBRATION)["image"]


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    return tune(ql.read(ql.demo.MODEL), "int8", IMAGES, runner="numpy")


def test_every_rule_is_tried_once_and_the_best_comes_first(tuned: Tuned) -> None:
    by_range = [t for t in tuned.trials if t.recipe.weight_range == "minmax"]
    assert {str(t.recipe.range) for t in by_range} == set(RANGES) - {"headroom"}
    assert sorted(t.recipe.percentile for t in by_range if t.recipe.range == "percentile") == [99.99, 99.999]
    (other,) = [t for t in tuned.trials if t.recipe.weight_range == "mse"]
    assert other.recipe.chooser == max(by_range, key=lambda t: t.sqnr_db).recipe.chooser
    assert [t.sqnr_db for t in tuned.trials] == sorted((t.sqnr_db for t in tuned.trials), reverse=True)
    assert tuned.recipe == tuned.trials[0].recipe


@pytest.mark.parametrize("observer", ["histogram", "minmax"])
def test_room_is_tried_with_16_bits(observer: str) -> None:
    model = ql.read(ql.demo.MODEL)
    statistics = ql.calibrate(model, IMAGES[:20], observer=observer)
    found = tune(model, "int16x8", IMAGES[20:24], statistics=statistics, runner="numpy")
    assert {str(t.recipe.range) for t in found.trials} == (
        set(RANGES) if observer == "histogram" else {"minmax", "headroom"}
    )


def test_figures_are_those_of_compare_on_the_held_back_samples(tuned: Tuned) -> None:
    model = ql.read(ql.demo.MODEL)
    others = IMAGES[np.arange(100) % 5 != 0]
    assert (tuned.samples, tuned.runner) == (20, "numpy")
    assert tuned.statistics == ql.calibrate(model, others)
    for trial in (tuned.trials[0], tuned.trials[-1]):
        small = ql.quantize(model, trial.recipe, tuned.statistics)
        assert trial.sqnr_db == ql.compare(model, small, IMAGES[::5], runner="numpy").outputs[0].sqnr_db


def test_it_prints_a_table_and_serializes(tuned: Tuned) -> None:
    lines = str(tuned).splitlines()
    assert lines[0].split() == ["range", "weights", "SQNR", "dB"]
    assert len(lines) == len(tuned.trials) + 2
    assert lines[-1] == "20 samples held back, run by numpy"
    assert any(line.startswith("percentile 99.999 ") for line in lines)
    shown = tuned.to_dict()
    assert (shown["samples"], shown["runner"]) == (20, "numpy")
    assert [t["sqnr_db"] for t in shown["trials"]] == [t.sqnr_db for t in tuned.trials]


def watched(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """On what models are compared, and how."""
    seen: list[dict[str, Any]] = []

    class Watched(Reference):
        def __init__(self, model: ql.Model, kept: Any, **options: Any) -> None:
            super().__init__(model, kept, **options)
            self.asked = {"data": list(kept), **options}

        def compare(self, other: ql.Model) -> ql.Comparison:
            seen.append(self.asked)
            return super().compare(other)

    monkeypatch.setattr(sys.modules["quantlib.evaluation.tune"], "Reference", Watched)
    return seen


def small_network() -> ql.Model:
    net = Network()
    return net.done(net.fully_connected("fc", net.input("x", (1, 8)), gaussian((4, 8))))


def test_other_shares_generators_and_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, done = watched(monkeypatch), []
    data = gaussian((31, 8))
    result = tune(small_network(), "int8", iter(data), held_back=3, runner="numpy", progress=done.append)
    assert result.samples == 11
    assert (result.statistics.samples, sum(done)) == (20, 20)
    for call in seen:
        np.testing.assert_array_equal(np.stack(call["data"]), data[::3])


def test_two_samples_are_enough_and_one_is_not() -> None:
    model = small_network()
    with pytest.warns(ql.errors.CalibrationWarning):
        assert tune(model, "int8", gaussian((2, 8)), runner="numpy").samples == 1
    with pytest.raises(InvalidValue, match="one sample, which is held back"):
        tune(model, "int8", gaussian((1, 8)), runner="numpy")


def test_a_sequence_is_cut_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, data = watched(monkeypatch), gaussian((20, 6))
    result = tune(variables(), "int8", data, sequence=True, runner="numpy")
    assert result.statistics == ql.calibrate(variables(), data[:16], sequence=True)
    assert all(call["sequence"] for call in seen)
    np.testing.assert_array_equal(np.stack(seen[0]["data"]), data[16:])


def test_given_statistics_leave_all_samples_for_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, model, data = watched(monkeypatch), small_network(), gaussian((15, 8))
    statistics = ql.calibrate(model, data)
    result = tune(model, "int8", data, statistics=statistics, runner="numpy")
    assert result.statistics is statistics
    assert [len(call["data"]) for call in seen] == [15] * len(result.trials)


def test_statistics_without_histograms_serve_minmax_alone() -> None:
    model, data = small_network(), gaussian((15, 8))
    statistics = ql.calibrate(model, data, observer="minmax")
    result = tune(model, ql.recipes.int8(range="mse"), data, statistics=statistics, runner="numpy")
    assert {t.recipe.range for t in result.trials} == {"minmax"}
    assert {t.recipe.weight_range for t in result.trials} == {"minmax", "mse"}


def test_the_recipe_itself_is_among_what_is_tried() -> None:
    recipe = ql.recipes.int8(range=ql.ranges.Percentile(97.5), skip="logits", input_type="INT8")
    result = tune(ql.read(ql.demo.MODEL), recipe, IMAGES, runner="numpy")
    assert recipe in [t.recipe for t in result.trials]
    assert {(t.recipe.skip, t.recipe.input_type) for t in result.trials} == {(("logits",), "INT8")}


def test_several_outputs_count_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figure is the mean in decibels: large values of one output don't drown another; an exact one is finite."""
    net = Network()
    x = net.input("x", (1, 8))
    large = net.fully_connected("large", x, 1000 * gaussian((4, 8)))
    small = net.fully_connected("small", x, gaussian((4, 8), 1))
    model, data = net.done(large, small), gaussian((15, 8))
    result = tune(model, "int8", data, runner="numpy")
    found = ql.compare(model, ql.quantize(model, result.recipe, result.statistics), data[::5], runner="numpy")
    assert result.trials[0].sqnr_db == pytest.approx(np.mean([o.sqnr_db for o in found.outputs]), abs=1e-9)


def test_litert_measures_where_it_is_installed_else_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = small_network(), gaussian((15, 8))
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra 'litert')")
    assert tune(model, "int8", data).runner == "litert"

    def missing(*words: Any, **options: Any) -> None:
        raise MissingExtra("LiteRT isn't here")

    monkeypatch.setattr("quantlib.runners.litert_runner.LiteRTRunner.__init__", missing)
    assert tune(model, "int8", data).runner == "numpy"


def test_what_cannot_be_tuned() -> None:
    model = small_network()
    with pytest.raises(InvalidRecipe, match="mode 'dynamic' has no ranges of activations to tune"):
        tune(model, "dynamic", gaussian((15, 8)))
    for held_back in (1, 0, True, 2.5):
        with pytest.raises(InvalidValue, match="held_back is"):
            tune(model, "int8", gaussian((15, 8)), held_back=held_back)  # type: ignore[arg-type]  # what mypy refuses, too
    with pytest.raises(InvalidValue, match="a Model and a Recipe"):
        tune("m.tflite", "int8", gaussian((15, 8)))  # type: ignore[arg-type]  # what mypy refuses, too
    statistics = ql.calibrate(ql.read(ql.demo.MODEL), IMAGES[:10])
    with pytest.raises(InvalidValue, match="the statistics are of a model"):
        tune(model, "int8", gaussian((15, 8)), statistics=statistics)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_named(bad: float) -> None:
    model = ql.read(ql.demo.MODEL)
    with np.load(ql.demo.CALIBRATION) as found:
        (data,) = (found[name].copy() for name in found.files)
    data = data[:10].astype(np.float32)
    data[5, 0, 0, 0] = bad  # the first of those that are held back
    edit = functools.partial(ql.prune, sparsity=0.5)
    for verb in (
        lambda: ql.tune(model, "int8", data, runner="numpy"),
        lambda: ql.evaluation.mix(model, "int8", data, 30, runner="numpy"),
        lambda: ql.evaluation.sensitivity(model, data, edit, runner="numpy"),
    ):
        with pytest.raises(InvalidValue, match=r"sample 5: input '.*': 1 of .* values are NaN or infinite"):
            verb()

"""Findings in figures and in samples; and statistics on a screen."""

from __future__ import annotations

import json

import numpy as np
import pytest

from quantlib.calibration import (
    Finding,
    HistogramState,
    MinMaxState,
    MovingAverageState,
    SampleWatch,
    Statistics,
    findings,
    sample_findings,
    tail_ratio,
)
from quantlib.calibration.summary import end_share

from .strategies import MODEL, one


def kinds(state, samples=20):
    return [finding.kind for finding in findings(one(state, samples))]


def test_findings():
    good = HistogramState().observe(np.random.default_rng(0).normal(size=1000))
    assert findings(one(good)) == ()
    assert kinds(good, 10) == []
    assert kinds(good, 9) == ["few-samples"]
    assert kinds(HistogramState()) == ["never-written"]
    assert kinds(good.observe([np.nan])) == ["non-finite"]
    assert kinds(HistogramState().observe([np.inf])) == ["non-finite"]
    assert kinds(HistogramState().observe([2.0, 2.0])) == ["constant"]
    assert kinds(HistogramState().observe([0.0, 0.0])) == ["constant"]
    assert kinds(HistogramState().observe([2.0])) == []
    assert kinds(good.observe([500.0])) == ["outliers"]
    for state in (MinMaxState(), MovingAverageState()):
        assert kinds(state.observe([1.0, 1000.0])) == []
    finding = findings(one(good.observe([np.nan, np.inf]), name="conv/relu"))[0]
    assert finding == Finding("non-finite", finding.message, "conv/relu", (0, 0))
    assert str(finding).startswith("conv/relu: 2 of 1,002 values are NaN or infinite")


@pytest.mark.parametrize("sign", [1, -1])
def test_tail_ratio(sign):
    bulk = [*[0.99 * sign] * 999]
    assert tail_ratio(HistogramState().observe([*bulk, 64.0])) == 64
    assert tail_ratio(HistogramState().observe([*bulk, *[0.0] * 10**4, -64.0])) == 64
    assert kinds(HistogramState().observe([*bulk, 64.0])) == []
    assert kinds(HistogramState().observe([*bulk, 64.5])) == ["outliers"]
    # One in 999 and more is no tail: the percentile is the extreme itself.
    assert tail_ratio(HistogramState().observe([*bulk[1:], 64.0])) == 1
    assert tail_ratio(HistogramState().observe([0.0])) is None
    assert tail_ratio(MinMaxState().observe([1.0])) is None


def test_end_share():
    x = np.minimum(np.abs(np.random.default_rng(0).normal(size=4000)) * 6, 6)
    x[:1000] = 0
    share = end_share(HistogramState().observe(x))
    assert share == np.count_nonzero(x == 6) / 3000
    assert end_share(HistogramState().observe(-x)) == pytest.approx(share, rel=0.01)
    # What piles up next to zero saturates nothing.
    assert end_share(HistogramState().observe([*[-1e-6] * 100, *range(1, 101)])) == 1 / 200
    assert end_share(HistogramState().observe([0.0])) is None
    assert end_share(MinMaxState().observe([0.0])) is None


IMAGES = [{"image": np.full((2, 2), i, np.float32) + np.eye(2, dtype=np.float32)} for i in range(3)]


def test_samples_that_differ_are_fine():
    assert sample_findings(iter(IMAGES)) == ()
    assert sample_findings([]) == ()
    assert sample_findings(IMAGES[:1]) == ()
    assert sample_findings([{"id": np.array([7]), "text": np.array(["a", "b"])}]) == ()


def test_identical_samples():
    same = [IMAGES[0], {"image": IMAGES[0]["image"].copy(order="F")}]
    assert [f.kind for f in sample_findings(same)] == ["identical-samples"]
    assert sample_findings([*same, IMAGES[1]]) == ()
    assert sample_findings([IMAGES[1], *same]) == ()
    assert sample_findings([IMAGES[0], IMAGES[1], IMAGES[0]]) == ()
    # The same bytes in another shape, or as another type, are another sample.
    x = np.arange(4, dtype=np.int32)
    for other in ({"a": x.reshape(2, 2)}, {"a": x.view(np.uint32)}, {"b": x}):
        assert sample_findings([{"a": x}, other]) == ()
    assert "all 2 samples are identical" in sample_findings(same)[0].message


def test_constant_and_broken_samples():
    flat = [{"image": np.full(4, i, np.uint8)} for i in range(3)]
    assert [(f.kind, f.name) for f in sample_findings(flat)] == [("constant-samples", "image")]
    assert sample_findings([*flat, {"image": np.arange(4, dtype=np.uint8)}]) == ()
    broken = [*IMAGES, {"image": np.array([[np.nan, 1.0], [2.0, np.inf]], np.float32)}]
    assert [f.kind for f in sample_findings(broken)] == ["non-finite"]
    assert "2 of 16 values" in sample_findings(broken)[0].message


@pytest.mark.parametrize(
    ("lo", "hi", "expected", "odd"),
    [
        (0, 255, (0, 255), False),
        (0, 255, (0, 1), True),
        (0, 1, (0, 255), True),
        (0, 1, (0, 1), False),
        (0.1, 0.6, (0, 1), False),
        (0, 1, (-1, 1), True),
        (-1, 1, (0, 1), True),
        (-1, 1, (-1, 1), False),
        (-0.9, 0.5, (-1, 1), False),
        (-1.9, 2, (-1, 1), False),
        (-1, 2.1, (-1, 1), True),
        (-2.1, 2.6, (-2.118, 2.64), False),
        (0, 255, (-2.118, 2.64), True),
        (-1e-6, 1, (0, 1), False),
        (0, 0.2, (0, 1), True),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unexpected_ranges(lo, hi, expected, odd, dtype):
    samples = [{"image": np.array([lo, hi], dtype)}, {"image": np.array([hi, lo], dtype)}]
    found = sample_findings(samples, {"image": expected, "other": (0, 1)})
    assert [f.kind for f in found] == ["unexpected-range"] * odd


def test_the_watch_may_be_asked_at_any_time():
    watch = SampleWatch()
    assert watch.findings({"image": (0, 1)}) == ()
    for image in IMAGES:
        watch.observe(image)
    assert watch.findings() == ()
    assert [f.kind for f in watch.findings({"image": (0, 100)})] == ["unexpected-range"]


def many(count=60):
    rng, states = np.random.default_rng(0), {}
    for i in range(count):
        states[0, i] = HistogramState().observe(rng.normal(size=500))
    states[0, 10] = HistogramState().observe(1000 * rng.normal(size=500))
    states[0, 20] = HistogramState().observe([*rng.normal(size=5000), 400.0])
    states[0, 30] = HistogramState().observe(np.clip(rng.normal(size=500), -0.5, 0.5))
    states[0, 40] = HistogramState()
    states[0, 41] = HistogramState().observe([np.nan])
    names = {key: f"model/stage_{key[1]:02}/a_very_long_name_of_a_layer/BiasAdd" for key in states}
    return Statistics(MODEL, 5, "histogram", states, names, "1.0")


def test_it_prints_on_one_screen():
    lines = str(many()).splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 110
    assert lines[0] == "5 samples, 60 tensors, observer histogram, model 0123456789ab"
    # The widest, the one with an outlier, and the one that saturates.
    assert [line.split("/")[1] for line in lines[2:5]] == ["stage_10", "stage_20", "stage_30"]
    assert len({line[:40] for line in lines[2:20]}) == 18
    assert lines[20] == "and 42 more"
    assert [line.split(": ")[-1] for line in lines[21:]] == [
        "! 5 samples are few",
        "the greatest magnitude, 400, is 114 times the 99.9th percentile",
        "never written in calibration",
        "1 of 1 values are NaN or infinite and were left out",
    ]


def test_small_ones_print_too():
    assert str(Statistics(MODEL, 0, "minmax")).splitlines() == [
        "0 samples, 0 tensors, observer minmax, model 0123456789ab",
        "! 0 samples are few",
    ]
    lines = str(one(MinMaxState().observe([-1.0, 0.0, 0.5, 2.0]))).splitlines()
    assert lines[1].split() == ["tensor", "min", "max", "zeros", "max/p99.9", "at", "ends"]
    assert lines[2].split() == ["t", "-1", "2", "25.0%", "-", "-"]
    assert "never written" in str(one(MinMaxState()))
    assert "no finite value" in str(one(MinMaxState().observe([np.nan])))


def test_to_dict_is_json():
    figures = json.loads(json.dumps(many().to_dict(), allow_nan=False))
    assert (figures["samples"], figures["observer"], figures["quantlib"]) == (5, "histogram", "1.0")
    assert len(figures["tensors"]) == 60
    assert figures["tensors"][40]["min"] is None
    assert figures["tensors"][20]["max"] == 400
    assert {f["kind"] for f in figures["findings"]} == {"few-samples", "never-written", "non-finite", "outliers"}

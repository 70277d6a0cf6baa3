"""What the program that measures clustering says of a case."""

from __future__ import annotations

import pytest

import quantlib as ql
from benchmarks import cluster
from benchmarks.cluster import MODES, SHOWN, Case, losses, row
from benchmarks.pages import filled
from benchmarks.scoring import Lab, Outcome


def outcomes(*tops: float) -> list[Outcome]:
    return [Outcome("demo", "", {"sqnr_db": 12.34, "top1": top}, 1, 11, float_bytes=196_416) for top in tops]


def test_a_line_has_sizes_and_a_figure_for_each_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ql.read(ql.demo.MODEL)
    case = Case("demo", 16, "weight", model, dict.fromkeys(MODES, model), "16", "16 to 40")
    monkeypatch.setattr(cluster, "same", lambda lab, case: True)
    line = row(Lab.__new__(Lab), case, outcomes(99.0, 98.0, 97.0, 96.0, 95.0, 94.0))
    assert line[:4] == ("demo", "weight", "16", "16")
    assert line[5:11] == ("99.00", "12.3", "98.00", "yes", "97.00", "16 to 40")
    assert line[-3:] == ("96.00", "95.00", "94.00")
    assert len(case.models) == 1 + len(MODES)


def test_losses_are_against_the_same_clusters() -> None:
    model = ql.read(ql.demo.MODEL)
    found = [
        (Case("demo", clusters, way, model, {}), outcomes(top, *(top - 0.5 * i for i in range(len(MODES)))))
        for clusters, way, top in ((0, "not clustered", 90.0), (16, "weight", 10.0), (16, SHOWN, 50.0))
    ]
    assert losses(found)[1] == ("demo", "int16x8", "-0.50", "-0.50")
    assert [line[1] for line in losses(found)] == list(MODES)


def test_the_page_has_a_place_for_every_part() -> None:
    text = cluster.PAGE.read_text(encoding="utf-8")
    made = filled(text, dict.fromkeys(("conditions", "sizes and accuracy", "losses"), "x"))
    assert made.count("<!-- measured: ") == 3

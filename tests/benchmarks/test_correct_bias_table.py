"""What the program that measures corrected biases says of a task."""

from __future__ import annotations

from benchmarks.correct_bias import row
from benchmarks.scoring import Outcome


def test_a_line_has_figures_before_and_after() -> None:
    before, after = (
        Outcome("demo", "", {"sqnr_db": db, "top1": p, "top1_float": 95.0}) for db, p in ((14.0, 90.0), (15.5, 93.0))
    )
    line = ("demo", "int8", "14.0", "15.5", "+1.5", "95.00", "90.00", "93.00")
    assert row("demo", "int8", before, after, True) == line
    assert row("demo", "int8", before, before, False)[3:5] == ("14.0", "as it was")
    assert row("demo", "int8", Outcome("demo", "", {"sqnr_db": 1.0}), after, True)[5:7] == ("", "")

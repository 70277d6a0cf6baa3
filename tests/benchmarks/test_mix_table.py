"""What the program that measures mixes of 8 and 16 bits says of a task."""

from __future__ import annotations

from benchmarks.mix import row
from benchmarks.scoring import Outcome


def test_a_line_has_size_over_that_of_int8() -> None:
    one = Outcome("demo", "", {"sqnr_db": 21.5, "top1": 90.0, "top1_float": 95.0, "size_ratio": 0.275})
    whole = Outcome("demo", "", {"size_ratio": 0.25})
    line = ("demo", "20 dB", "3 of 9", "21.5", "95.00", "90.00", "1.100")
    assert row("demo", "20 dB", "3 of 9", one, whole) == line

"""What the program that measures pruning says of a case."""

from __future__ import annotations

import quantlib as ql
from benchmarks.prune import Case, row
from benchmarks.scoring import Outcome


def test_a_line_has_sizes_figures_and_whether_outputs_are_the_same() -> None:
    model = ql.read(ql.demo.MODEL)
    dense, encoded = (ql.prune(model, 0.75, encode=e) for e in (False, True))
    score = {"sqnr_db": 12.34, "top1": 90.0}
    outcome = Outcome("demo", "", score, 1, 11, float_bytes=196_416)
    case = Case("demo", "each weight", 0.75, dense, encoded, "int8")
    line = row(case, outcome, [])
    assert line[:6] == ("demo", "each weight, int8", "75", "75.0", "72,160", "0.367")
    assert line[-3:] == ("90.0", "12.3", "yes")
    exact = Outcome("demo", "", {**score, "sqnr_db": 318.9}, 1, 11, float_bytes=196_416)
    assert row(case, exact, ["default"])[-2:] == ("no error", "not with default")

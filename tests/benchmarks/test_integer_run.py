"""The line about integers in NumPy."""

from __future__ import annotations

from pathlib import Path

import quantlib as ql
from benchmarks.integer_run import markdown, measure


def test_a_line_about_the_demo_model(tmp_path: Path) -> None:
    model = ql.read(ql.demo.MODEL)
    ql.quantize(model, "int8", ql.calibrate(model, ql.demo.CALIBRATION)).write(tmp_path / "int8.tflite")
    found = measure(Path(ql.demo.MODEL), tmp_path / "int8.tflite", repetitions=2)
    assert found["ratio"] == found["integer"] / found["float"]
    assert 0 < found["requantization"] < 1
    assert markdown({"float": 0.1, "integer": 0.19, "ratio": 1.9, "requantization": 0.402, "promise": 2.5})[4:] == [
        "| 100.0 | 190.0 | 1.90 | 40 % |",
        "",
        "Aim: runtime `reference` in at most 2.5 times the float run.",
    ]

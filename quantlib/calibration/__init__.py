"""Calibration: named arrays in, ranges out.

This room knows no model: a tensor is a (subgraph, index) with a name, and its values are arrays. States are
values; but for moving averages, merging them gives the same bits in every order and grouping.

===========  ===================================================================================================
states       `MinMaxState`, `HistogramState`, `MovingAverageState`, `Channels`, `OBSERVERS`, `new_state`
statistics   `Collector`, `Statistics`, `merge`, `load`, `Key`
ranges       `MinMax`, `Percentile`, `Entropy`, `MSE`, `Blend`, `Headroom`, `RangeChooser`, `RANGES`, `choose_all`
findings     `Finding`, `findings`, `tail_ratio`, `SampleWatch`, `sample_findings`
===========  ===================================================================================================

Examples
--------
>>> import numpy as np
>>> collector = Collector("0" * 64, {(0, 7): "relu"})
>>> for sample in np.random.default_rng(0).normal(size=(100, 4, 4, 8)).astype(np.float32):
...     collector.observe((0, 7), np.maximum(sample, 0))
...     collector.end_sample()
>>> statistics = collector.finish()
>>> lo, hi = statistics.choose("relu", Percentile(99.9))
>>> print(lo, round(hi, 3), round(statistics["relu"].max, 3))
0.0 3.141 3.946
"""

from __future__ import annotations

from .channels import Channels
from .collector import Collector
from .mistakes import Finding, SampleWatch, findings, sample_findings, tail_ratio
from .ranges import MSE, RANGES, Blend, Entropy, Headroom, MinMax, Percentile, RangeChooser, choose_all
from .states import OBSERVERS, HistogramState, MinMaxState, MovingAverageState, new_state
from .statistics import Key, Statistics, load, merge, require_own

__all__ = [
    "MSE",
    "OBSERVERS",
    "RANGES",
    "Blend",
    "Channels",
    "Collector",
    "Entropy",
    "Finding",
    "Headroom",
    "HistogramState",
    "Key",
    "MinMax",
    "MinMaxState",
    "MovingAverageState",
    "Percentile",
    "RangeChooser",
    "SampleWatch",
    "Statistics",
    "choose_all",
    "findings",
    "load",
    "merge",
    "require_own",
    "new_state",
    "sample_findings",
    "tail_ratio",
]

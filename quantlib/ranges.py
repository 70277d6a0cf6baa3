"""How a range is chosen from the statistics: the choosers of `quantlib.calibration`, where they are easy to find.

Examples
--------
>>> from quantlib.ranges import Percentile
>>> Percentile(99.9)
Percentile(p=99.9)
"""

from __future__ import annotations

from quantlib.calibration import MSE, RANGES, Blend, Entropy, Headroom, MinMax, Percentile, RangeChooser

__all__ = ["MSE", "RANGES", "Blend", "Entropy", "Headroom", "MinMax", "Percentile", "RangeChooser"]

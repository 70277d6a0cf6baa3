"""Images brought to another size."""

from __future__ import annotations

from ..row import SAME, Integer, OperatorRow

ROWS = (
    OperatorRow("RESIZE_BILINEAR", "ResizeBilinearOptions", integer=Integer(SAME)),
    OperatorRow("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions", integer=Integer(SAME)),
)

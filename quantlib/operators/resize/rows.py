"""Images brought to another size."""

from __future__ import annotations

from ..row import OperatorRow

ROWS = (
    OperatorRow("RESIZE_BILINEAR", "ResizeBilinearOptions"),
    OperatorRow("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
)

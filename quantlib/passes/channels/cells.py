"""Channels that must stay or go together: a cell for each index of a tensor's channel axis, tied across operators."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Shape = tuple[int, ...]

#: Longest axis whose indices are followed one by one: a damaged file may claim any.
MOST = 1 << 18


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """The channels of a tensor.

    Attributes
    ----------
    axis : int
        Where they lie; not negative.
    cells : int64 array of shape (size of the axis,)
        The cell of each index. A cell may come several times: a flattened tensor has each channel at every place.
    """

    axis: int
    cells: Labels


@dataclass
class Cells:
    """Sets of cells, and why some of them can't be removed."""

    _parent: list[int] = field(default_factory=list)
    _reason: dict[int, str] = field(default_factory=dict)

    def fresh(self, count: int) -> Labels:
        """New cells, each in a set of its own."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count, dtype=np.int64)

    def root(self, cell: int) -> int:
        """The cell that stands for a set."""
        while self._parent[cell] != cell:
            self._parent[cell] = self._parent[self._parent[cell]]
            cell = self._parent[cell]
        return cell

    def roots(self, cells: Labels) -> Labels:
        """Roots of several cells, in their order."""
        once, places = np.unique(cells, return_inverse=True)
        found = np.array([self.root(c) for c in once.tolist()], np.int64)
        return found[places.reshape(-1)] if cells.size else cells

    def tie(self, first: Labels, second: Labels) -> None:
        """Let cells at the same place of two arrays of one length go together."""
        if first is second or np.array_equal(first, second):
            return
        for a, b in np.unique(np.stack([first, second]), axis=1).T.tolist():
            keep, gone = sorted((self.root(a), self.root(b)))
            if keep != gone:
                self._parent[gone] = keep
                reason = self._reason.pop(gone, "")
                if reason:
                    self._reason.setdefault(keep, reason)

    def pin(self, cells: Labels, reason: str) -> None:
        """Keep cells, and all that are or will be tied to them; the first reason counts."""
        for root in np.unique(self.roots(cells)).tolist():
            self._reason.setdefault(root, reason)

    def reason(self, cell: int) -> str:
        """Why a cell is kept; empty where it isn't."""
        return self._reason.get(self.root(cell), "")


def reshaped(shape: Shape, channels: Axis, target: Shape) -> Axis | None:
    """Where the channels of a tensor lie once it is reshaped; None where no axis holds them alone.

    An index of an axis names one channel where the axis steps through whole runs and whole periods of them: with
    `inner` elements below one channel and `period` channels that repeat, ``inner`` must be a multiple of the target
    axis' own inner size, and the axis must span a multiple of ``inner * period``.
    """
    if math.prod(shape) != math.prod(target) or not math.prod(shape):
        return None
    run, cells = _pattern(channels.cells)
    inner = run * math.prod(shape[channels.axis + 1 :])
    for k in reversed(range(len(target))):
        below = math.prod(target[k + 1 :])
        if target[k] <= MOST and inner % below == 0 and (below * target[k]) % (inner * cells.size) == 0:
            return Axis(k, cells[np.arange(target[k]) * below // inner % cells.size])
    return None


def _pattern(cells: Labels) -> tuple[int, Labels]:
    """How often each cell comes in a row, and the shortest sequence of them that repeats."""
    changes = np.flatnonzero(cells[1:] != cells[:-1]) + 1
    run = math.gcd(cells.size, *changes.tolist())
    short = cells[::run]
    for period in range(1, short.size // 2 + 1):
        if short.size % period == 0 and np.array_equal(short[period:], short[:-period]):
            return run, short[:period]
    return run, short

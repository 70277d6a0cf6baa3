"""Rounding that keeps sums: weights to integers whose errors cancel within each output channel.

An output of a product is a sum over many inputs. What an input always is (its mean; in a window of an image nearly
all of it) meets the sum of the weights' rounding errors, not each error for itself, and rounding to nearest leaves
that sum as large as chance makes it. Rounding a few weights the other way, those that lie nearest to the middle
between two integers and whose inputs vary least beside their mean, brings the sum near zero. Guo et al., "SQuant:
On-the-Fly Data-Free Quantization via Diagonal Hessian Approximation", ICLR 2022, derive it for inputs of which
nothing is known; here the gain is weighed against what the moves cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidValue

from .affine import Affine, require_affine
from .granularity import PerAxis, PerTensor
from .mapping import quantize

#: Rows up to this length are searched element by element, longer ones by a threshold.
_SHORT = 64
#: Elements that are worked on at once, in whole output channels: what is known of them stays in the cache.
_BLOCK = 1 << 17
#: Share of the variance of neighbouring pixels that they have in common; images and feature maps have more.
_NEIGHBOURS = 0.5

#: Least variance, as part of the largest squared mean or variance: nothing is free.
_LEAST = 1e-6
#: Three roundings of float32 lie between a weight on the grid and its quotient: part of the greatest integers.
_ON_GRID = np.float32(2.0**-22)
#: Price of what can't help, because its input's mean is 0.
_NO_USE = np.float32(1e30)

_Floats = NDArray[np.float32]


def quantize_balanced(w: _Floats, affine: Affine, *, mean: ArrayLike, variance: ArrayLike) -> NDArray[Any]:
    """Quantize weights so that the rounding errors of each output channel cancel.

    With e what is left of each weight, in steps, an output's squared error is ``sum(mean * e)**2 +
    sum(variance * e**2)`` on average, where inputs vary independently. From the nearest integers, weights are moved
    one step towards where they lie, those first that add least to the second term for what they take from
    ``|sum(mean * e)|``, each if the whole falls by it. (In rows of more than 64 that ends, too, where what is left is
    less than an average mean.)

    Parameters
    ----------
    w : float32 array of shape (C, ...)
        Weights, output channels first. With four dimensions, (C, H, W, I), errors cancel within each window (H, W)
        first: pixels of a window share half of their variance, which counts as if it were squared mean.
    affine : Affine
        Per tensor, or per axis 0.
    mean, variance : float or float array
        Of the inputs that the weights are multiplied with; they broadcast to the shape of `w`, as (I,) does for
        (C, H, W, I). Within a window they're one number; for a depthwise filter, (C, H, W, 1), of shape (C, 1, 1, 1).
        A variance counts as a millionth of the largest, or of the largest squared mean, at least.

    Returns
    -------
    array of the type's storage dtype and the shape of `w`
        No weight is more than one step away from its nearest integer, and one that lies on an integer stays there.
        With a mean of 0 and no windows, the same as from `quantize`.

    Raises
    ------
    InvalidValue
        If a mean or variance is not finite, a variance negative, their shape doesn't fit, or the granularity is
        another one.

    Examples
    --------
    >>> from quantlib.numerics import Affine, quantize
    >>> w, affine = np.array([[0.42, 0.3, 0.45, 0.4]], np.float32), Affine("INT8", 1.0)  # sum 1.57
    >>> print(quantize(w, affine), quantize_balanced(w, affine, mean=1.0, variance=0.1))
    [[0 0 0 0]] [[1 0 1 0]]
    >>> print(quantize_balanced(w, affine, mean=[0.0, 0.0, 1.0, 1.0], variance=0.1))
    [[0 0 1 0]]
    """
    require_affine(affine)
    if not isinstance(affine.granularity, PerTensor) and affine.granularity != PerAxis(0):
        raise InvalidValue(
            f"granularity is {affine.granularity}; one scale, or one for each row of axis 0, is required"
        )
    w = np.asarray(w, np.float32, order="C")
    if not w.ndim:
        raise InvalidValue("weights have shape (); output channels first, (C, ...), is required")
    m, v = _moments(mean, variance, w.shape)
    q = quantize(w, affine)
    if not q.size:
        return q
    job = _Job.of(w.shape, affine, m, v)
    step = max(_BLOCK // (w.size // len(w)), 1)
    for first in range(0, len(w), step):
        part = slice(first, first + step)
        job.balance(w[part], q[part], part)
    return q


def _moments(mean: ArrayLike, variance: ArrayLike, shape: tuple[int, ...]) -> tuple[_Floats, _Floats]:
    """Means and variances with as many dimensions as the weights, in a unit that makes the largest 1."""
    m, v = _moment("mean", mean, shape), _moment("variance", variance, shape)
    if v.min(initial=0.0) < 0:
        raise InvalidValue(f"variance is {v.min()}; 0 or more is required")
    unit = max(np.abs(m).max(initial=0.0), np.sqrt(v.max(initial=0.0))) or 1.0
    return (m / unit).astype(np.float32), np.maximum(v / unit / unit, _LEAST).astype(np.float32)


def _moment(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    found = np.asarray(value, np.float64)
    try:
        fits = np.broadcast_shapes(found.shape, shape) == shape
    except ValueError:
        fits = False
    found = found.reshape((1,) * (len(shape) - found.ndim) + found.shape) if fits else found
    if not fits or (len(shape) == 4 and found.shape[1] * found.shape[2] != 1):
        raise InvalidValue(
            f"{name} has shape {np.shape(value)}; one that broadcasts to that of the weights, {shape}, is required, "
            "and one number for a window"
        )
    if not np.isfinite(found).all():
        raise InvalidValue(f"{name} is not finite everywhere; finite numbers are required")
    return found


def _within_window(mean: _Floats, variance: _Floats) -> tuple[_Floats, _Floats]:
    """What counts as mean and as variance within a window, where neighbours share a part of the variance."""
    c = np.float32(_NEIGHBOURS)
    return np.sqrt(mean * mean + c * variance), (1 - c) * variance


def _as_rows(moment: _Floats, shape: tuple[int, ...]) -> _Floats:
    """Means or variances for weights as rows: (1 or C, 1 or the row's length)."""
    if moment.shape[1:] == (1,) * (moment.ndim - 1):
        return moment.reshape(-1, 1)
    full = np.broadcast_to(moment, (moment.shape[0], *shape[1:]))
    return np.ascontiguousarray(full).reshape(moment.shape[0], -1)


@dataclass(frozen=True, slots=True)
class _Means:
    """Signs and magnitudes of means, and variances over magnitudes: each (1 or rows, 1 or length)."""

    sign: _Floats
    size: _Floats
    ratio: _Floats

    @classmethod
    def of(cls, mean: _Floats, variance: _Floats) -> _Means:
        mean, variance = np.broadcast_arrays(mean, variance)
        size = np.abs(mean)
        ratio = np.divide(variance, size, out=np.full(size.shape, _NO_USE), where=size > 0)
        return cls(np.where(mean < 0, np.float32(-1), np.float32(1)), size, ratio)

    def rows(self, rows: NDArray[np.intp] | slice) -> _Means:
        """Those of some rows."""
        return self if len(self.size) == 1 else _Means(self.sign[rows], self.size[rows], self.ratio[rows])


@dataclass(frozen=True, slots=True)
class _Job:
    """How a tensor is balanced, some output channels at a time.

    Attributes
    ----------
    affine : Affine
    inverse, points : float32 array of shape (1 or C, 1, ...)
        Reciprocals of the scales, and zero points.
    windows : pair of float32 array of shape (1 or C, 1, 1, 1 or I), or None
        Mean and variance within windows; None where there are none to be looked at by themselves.
    whole : _Means or None
        Of the inputs of a channel; None where all means are 0.
    """

    affine: Affine
    inverse: _Floats
    points: _Floats
    windows: tuple[_Floats, _Floats] | None
    whole: _Means | None

    @property
    def reach(self) -> np.float32:
        """How far from an integer a weight may seem that lies on it, in steps."""
        greatest = max(abs(self.affine.qmin), abs(self.affine.qmax)) + float(np.abs(self.points).max(initial=0))
        return np.float32(greatest) * _ON_GRID

    @classmethod
    def of(cls, shape: tuple[int, ...], affine: Affine, mean: _Floats, variance: _Floats) -> _Job:
        columns = (-1,) + (1,) * (len(shape) - 1)
        inverse = (np.float32(1) / affine.scale).reshape(columns)
        points = affine.zero_point.astype(np.float32).reshape(columns)
        windows = None
        if len(shape) == 4 and shape[3] == 1:  # a row is one window (depthwise)
            mean, variance = _within_window(mean, variance)
        elif len(shape) == 4 and shape[1] * shape[2] > 1:
            windows = _within_window(mean, variance)
        whole = _Means.of(_as_rows(mean, shape), _as_rows(variance, shape)) if mean.any() else None
        return cls(affine, inverse, points, windows, whole)

    def balance(self, w: _Floats, q: NDArray[Any], part: slice) -> None:
        """Move the integers of some output channels."""
        left = self._left(w, q, part)
        if self.windows is not None:
            self._in_windows(q, left, *(a if len(a) == 1 else a[part] for a in self.windows))
        if self.whole is not None:
            moved = self.windows is not None
            rows, errors = (a.reshape(len(q), -1) for a in (q, left))
            _flip(rows, errors, self.affine, self.whole.rows(part), moved=moved)

    def _left(self, w: _Floats, q: NDArray[Any], part: slice) -> _Floats:
        """What is left of each weight, in steps."""
        inverse, points = (a if len(a) == 1 else a[part] for a in (self.inverse, self.points))
        left: _Floats = w * inverse
        if points.any():
            left += points
        left -= q
        # What lies on the grid, as pruned and clustered weights do, stays there: the rest is what float32 rounds off.
        left *= np.abs(left) > self.reach
        return left

    def _in_windows(self, q: NDArray[Any], left: _Floats, mean: _Floats, variance: _Floats) -> None:
        """Let errors cancel within each window."""
        c, h, w, i = q.shape
        rows, errors = (np.ascontiguousarray(np.moveaxis(a, 3, 1)).reshape(c * i, h * w) for a in (q, left))
        m, v = (np.broadcast_to(a, (c, 1, 1, i)).reshape(-1, 1) for a in (mean, variance))
        if not m.any():
            return
        _flip(rows, errors, self.affine, _Means.of(m, v), moved=False)
        for whole, part in ((q, rows), (left, errors)):
            whole[...] = np.moveaxis(part.reshape(c, i, h, w), 1, 3)


def _flip(q: NDArray[Any], left: _Floats, affine: Affine, means: _Means, *, moved: bool) -> None:
    """Move elements of each row by one step, as long as the row's error falls; both arrays change in place.

    With S the sum of ``mean * left`` over a row, moving an element with mean m takes ``|S|`` down by ``|m|``, and
    ``S**2 + sum(variance * left**2)`` by ``|m| * (2 |S| - |m|) - variance * (1 - 2 |left|)``. Elements go by their
    price, ``variance * (1 - 2 |left|) / |m|``; what doesn't help when its turn comes never will, as |S| only falls.

    Rows up to `_SHORT` are searched element by element. Of longer ones, only elements below a price that is expected
    to do; where it doesn't, those below the greatest. Where elements have been `moved` before, to move them back may
    be worth something by itself.
    """
    signed = means.sign * means.size
    total = (left * signed).sum(axis=1, dtype=np.float64)
    rest, way = np.abs(total), np.where(total < 0, np.float32(-1), np.float32(1))
    least = means.size.min(axis=1, where=means.size > 0, initial=np.inf)
    rows = np.flatnonzero(2 * rest > least) if not moved else np.arange(len(q))
    if not rows.size:
        return
    means, way, rest = means.rows(rows), way[rows], rest[rows]
    if q.shape[1] <= _SHORT:
        _flip_below(q, left, affine, rows, means, way, rest, 2 * rest)
        return
    gain = means.size / means.ratio  # squared mean over variance
    full = gain.mean(axis=1, dtype=np.float64) * q.shape[1]
    average = (gain * means.size).mean(axis=1, dtype=np.float64) * q.shape[1] / np.maximum(full, _LEAST)
    # where errors are spread evenly over a step, what lies below a price has means of half of `price * full` in all
    wanted = 2 * (rest + 4 * np.sqrt(rest * average) + 4 * average)
    price = np.minimum(wanted / np.maximum(full, _LEAST), 2 * rest)
    rest = _flip_below(q, left, affine, rows, means, way, rest, price)
    again = np.flatnonzero(2 * rest > price + average)
    if again.size:  # they aren't
        rest = rest[again]
        _flip_below(q, left, affine, rows[again], means.rows(again), way[again], rest, 2 * rest)


def _flip_below(
    q: NDArray[Any],
    left: _Floats,
    affine: Affine,
    rows: NDArray[np.intp],
    means: _Means,
    way: _Floats,
    rest: NDArray[np.float64],
    price: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Move elements of some rows below a price for each; what is left of each row's sum."""
    some = left if rows.size == len(left) else left[rows]
    most = some * (way[:, None] if (means.sign > 0).all() else way[:, None] * means.sign)
    below = price.astype(np.float32)[:, None] * (np.float32(0.5) / means.ratio)
    np.subtract(np.float32(0.5), below, out=below)
    found = np.flatnonzero(most > np.maximum(below, 0, out=below))
    row, at = np.divmod(found, q.shape[1])
    towards, size, ratio = (_taken(a, row, at) for a in (means.sign, means.size, means.ratio))
    cost = (1 - 2 * most.reshape(-1)[found]) * ratio
    places = found if some is left else rows[row] * q.shape[1] + at
    moves = _Moves(places, row, towards * way[row], size, cost)
    integers, errors = q.reshape(-1), left.reshape(-1)
    end = np.where(moves.towards > 0, affine.qmax, affine.qmin)
    useful = np.flatnonzero((size > 0) & (integers[places] != end) & moves.help(rest))
    moves = moves.some(useful[_by_price(row[useful], cost[useful], len(rows))])
    while moves.row.size:
        go = _leading(moves, rest)
        now = moves.some(go)
        integers[now.found] += now.towards.astype(np.int32).astype(q.dtype)
        errors[now.found] -= now.towards
        rest = rest - np.bincount(now.row, weights=now.size, minlength=len(rest))
        moves = moves.some(np.flatnonzero(~go & moves.help(rest)))
    return rest


@dataclass(frozen=True, slots=True)
class _Moves:
    """Elements that may move, by their place among all and in which row; which way, for what gain, at what cost."""

    found: NDArray[np.intp]
    row: NDArray[np.intp]
    towards: _Floats
    size: _Floats
    cost: _Floats

    def some(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> _Moves:
        """Some of them."""
        return _Moves(self.found[which], self.row[which], self.towards[which], self.size[which], self.cost[which])

    def help(self, rest: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each alone helps, with what is left of the rows' sums."""
        helps: NDArray[np.bool_] = self.cost + self.size < 2 * rest[self.row]
        return helps


def _by_price(row: NDArray[np.intp], cost: _Floats, rows: int) -> NDArray[np.intp]:
    """Order of elements by row, then by cost; the first of equals first."""
    if rows > 1 << 15 or row.size > 1 << 16:
        return np.lexsort((cost, row))
    # One number for each element, in the order of row, cost and place: the bits of a float are in its order, once
    # those of negative ones are turned round.
    bits = cost.view(np.int32)
    bits = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    keys = row.astype(np.int64) << 48
    keys += (bits.astype(np.int64) + (1 << 31)) << 16
    keys += np.arange(row.size)
    keys.sort()
    return keys & 0xFFFF


def _leading(moves: _Moves, rest: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which elements help when all before them in their row have moved, up to the first that doesn't."""
    counts = np.bincount(moves.row, minlength=len(rest))
    first = (np.cumsum(counts) - counts)[moves.row]
    sums = np.cumsum(moves.size, dtype=np.float64)
    before = sums - moves.size
    fails = moves.cost + moves.size >= 2 * (rest[moves.row] - before + before[first])
    count = np.cumsum(fails)
    leading: NDArray[np.bool_] = count - (count - fails)[first] == 0
    return leading


def _taken(a: _Floats, row: NDArray[np.intp], at: NDArray[np.intp]) -> _Floats:
    """Elements of what is (1 or rows, 1 or length)."""
    if a.shape[1] == 1:
        return np.take(a[:, 0], row if len(a) > 1 else np.zeros_like(row))
    taken: _Floats = np.take(a[0], at) if len(a) == 1 else a[row, at]
    return taken

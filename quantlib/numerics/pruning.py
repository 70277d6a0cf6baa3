"""Which weights become zero: those of least magnitude, one by one, m of every n, or in blocks.

Magnitude as the measure of what a weight is worth: Han et al., "Learning both Weights and Connections for Efficient
Neural Networks", NeurIPS 2015. m of every n: Zhou et al., "Learning N:M Fine-grained Structured Sparse Neural
Networks From Scratch", ICLR 2021. All masks are True where a weight stays.

`cutoffs` finds where to cut without sorting, piece by piece and over several arrays at once: magnitudes are float32,
whose bits order as their values do where they aren't negative, so counting the upper and then the lower 16 bits
finds the k-th smallest exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidValue

#: Scores that are looked at in one piece.
_PIECE = 1 << 20
_HALF = 1 << 16

_Floats = NDArray[np.float32]
_Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scores:
    """What the elements, or blocks, of one array are worth.

    Attributes
    ----------
    size : int
        How many there are.
    read : callable
        ``read(start, stop)`` gives the float32 scores of these, not negative and finite, in shape (stop - start,).
    """

    size: int
    read: Callable[[int, int], _Floats]


@dataclass(frozen=True, slots=True)
class Cutoff:
    """What goes of one array: all scores below a value, and of those that equal it the first ones.

    Attributes
    ----------
    value : float
    last : int
        Place of the last that goes of those that equal `value`; -1 where none does.
    """

    value: float
    last: int

    def stays(self, scores: _Floats, first: int = 0) -> _Mask:
        """Tell which stay.

        Parameters
        ----------
        scores : float32 array of shape (n,)
        first : int
            Place of the first of them in the whole array.

        Returns
        -------
        bool array of shape (n,)
        """
        value = np.float32(self.value)
        mask = scores > value
        equal = np.flatnonzero(scores == value)
        mask[equal[equal + first > self.last]] = True
        return mask


def zeros_of(count: int, sparsity: float) -> int:
    """How many of `count` elements a sparsity asks for: the nearest whole number, halves upward.

    Parameters
    ----------
    count : int
    sparsity : float
        Share of zeros, 0 or more and less than 1.

    Returns
    -------
    int

    Raises
    ------
    InvalidValue
        If the sparsity is none.

    Examples
    --------
    >>> zeros_of(9, 0.5), zeros_of(1000, 0.75)
    (5, 750)
    """
    number = isinstance(sparsity, (int, float, np.number)) and not isinstance(sparsity, (bool, np.bool_))
    if not number or not 0 <= sparsity < 1:
        raise InvalidValue(f"sparsity is {sparsity!r}; a number of 0 or more and less than 1 is required")
    return min(math.floor(float(sparsity) * count + 0.5), count)


def cutoffs(parts: Sequence[Scores], count: int) -> tuple[Cutoff, ...]:
    """Find where to cut several arrays so that the `count` least scores of all go.

    Of equal scores those of the first array go first, and within an array those that stand first. Each array is read
    two or three times, in pieces.

    Parameters
    ----------
    parts : sequence of Scores
    count : int
        How many go, 0 to the sum of the sizes.

    Returns
    -------
    tuple of Cutoff, one for each array

    Raises
    ------
    InvalidValue
        If a score isn't finite, or the count is beyond what there is.

    Examples
    --------
    >>> scores = [np.array(s, np.float32) for s in ([1, 2, 2], [2, 0])]
    >>> found = cutoffs([Scores(s.size, lambda a, b, s=s: s[a:b]) for s in scores], 3)
    >>> [cut.stays(s).tolist() for cut, s in zip(found, scores)]
    [[False, False, True], [True, False]]
    """
    total = sum(part.size for part in parts)
    if not 0 <= count <= total:
        raise InvalidValue(f"{count:,} of {total:,} are to go; as many as there are is the most")
    if count == 0:
        return tuple(Cutoff(-1.0, -1) for _ in parts)
    upper = sum((_counted(part, None) for part in parts), np.zeros(_HALF, np.int64))
    high = int(np.searchsorted(np.cumsum(upper), count))
    left = count - int(upper[:high].sum())
    lower = [_counted(part, high) for part in parts]
    sums = np.cumsum(sum(lower, np.zeros(_HALF, np.int64)))
    low = int(np.searchsorted(sums, left))
    left -= int(sums[low - 1]) if low else 0
    value = float(np.array([high << 16 | low], np.uint32).view(np.float32)[0])
    found = []
    for part, counts in zip(parts, lower, strict=True):
        going = min(left, int(counts[low]))
        found.append(Cutoff(value, _place(part, value, going)))
        left -= going
    return tuple(found)


def _pieces(part: Scores) -> list[tuple[int, int]]:
    return [(start, min(start + _PIECE, part.size)) for start in range(0, part.size, _PIECE)]


def _counted(part: Scores, high: int | None) -> NDArray[np.int64]:
    """How many scores have each upper half of their bits; or of those with one upper half, each lower half."""
    found = np.zeros(_HALF, np.int64)
    for start, stop in _pieces(part):
        scores = part.read(start, stop)
        if not np.isfinite(scores).all():
            raise InvalidValue("weights that aren't finite have no magnitude; mend them, or leave them out by skip")
        # + 0.0 makes -0.0 positive, whose bits would be the largest
        bits = (scores + np.float32(0)).view(np.uint32)
        upper = bits >> 16
        halves = upper if high is None else bits[upper == high] & (_HALF - 1)
        found += np.bincount(halves, minlength=_HALF)
    return found


def _place(part: Scores, value: float, count: int) -> int:
    """Place of the `count`-th score that equals a value; -1 for none."""
    for start, stop in _pieces(part) if count else ():
        equal = np.flatnonzero(part.read(start, stop) == np.float32(value))
        if equal.size >= count:
            return start + int(equal[count - 1])
        count -= equal.size
    return -1


def magnitudes(w: ArrayLike, block: int = 1) -> _Floats:
    """What elements, or blocks of neighbours, are worth: absolute value, or L2 norm.

    Parameters
    ----------
    w : real array of any shape
        Integers count from 0: take the zero point off before.
    block : int
        Elements of a block along the last axis, which a multiple of it is long.

    Returns
    -------
    float32 array of shape (w.size / block,)
        Norms are summed in float64.
    """
    flat = np.asarray(w).reshape(-1)
    if block == 1:
        return np.abs(flat.astype(np.float32))
    rows = flat.reshape(-1, block).astype(np.float64)
    norms: _Floats = np.sqrt(np.einsum("ij,ij->i", rows, rows)).astype(np.float32)
    return norms


def magnitude_mask(w: ArrayLike, sparsity: float, *, block: int = 1) -> _Mask:
    """Keep the weights, or blocks of weights, of greatest magnitude.

    Parameters
    ----------
    w : real array of any shape
    sparsity : float
        Share of the elements, or blocks, that go: exactly the number that `zeros_of` says. Of equal ones the first
        go.
    block : int
        Elements along the last axis that go together, ranked by their L2 norm.

    Returns
    -------
    bool array of the shape of `w`
        True where a weight stays.

    Raises
    ------
    InvalidValue
        If the sparsity is none, blocks don't fill the last axis, or a weight isn't finite.

    Examples
    --------
    >>> magnitude_mask([3, -1, 1, -2], 0.5)
    array([ True, False, False,  True])
    >>> magnitude_mask([[3, 0, 2, 2], [1, 1, 4, 0]], 0.5, block=2).astype(int)
    array([[1, 1, 0, 0],
           [0, 0, 1, 1]])
    """
    w = np.asarray(w)
    _check_groups(w, block, "blocks")
    scores = magnitudes(w, block)
    cut = cutoffs([Scores(scores.size, lambda a, b: scores[a:b])], zeros_of(scores.size, sparsity))[0]
    return np.repeat(cut.stays(scores), block).reshape(w.shape)


def pattern_mask(w: ArrayLike, keep: int, group: int, *, axis: int = -1) -> _Mask:
    """Keep the `keep` greatest of every `group` neighbours along an axis: 2 and 4 for 2:4.

    Parameters
    ----------
    w : real array
        A multiple of `group` long along the axis.
    keep, group : int
        Of equal magnitudes the first go.
    axis : int
        The one that products are summed along.

    Returns
    -------
    bool array of the shape of `w`
        True where a weight stays.

    Raises
    ------
    InvalidValue
        If groups don't fill the axis, or keep isn't less than group.

    Examples
    --------
    >>> pattern_mask([[1, -5, 2, 3, 0, 0, 0, 7]], 2, 4).astype(int)
    array([[0, 1, 0, 1, 0, 0, 1, 1]])
    """
    if not 0 < keep < group:
        raise InvalidValue(f"pattern {keep}:{group}; 1 or more, and less than the group's size, are to be kept")
    w = np.asarray(w)
    if not -w.ndim <= axis < w.ndim:
        raise InvalidValue(f"axis {axis} of shape {list(w.shape)} doesn't exist; give one of {w.ndim}")
    moved = np.moveaxis(w, axis, -1)
    _check_groups(moved, group, "groups")
    values = np.abs(moved.reshape(-1, group).astype(np.float32))
    going = np.argsort(values, axis=1, kind="stable")[:, : group - keep]
    mask = np.ones(values.shape, np.bool_)
    np.put_along_axis(mask, going, False, axis=1)
    return np.moveaxis(mask.reshape(moved.shape), -1, axis)


def _check_groups(w: NDArray[Any], size: int, what: str) -> None:
    if size < 1 or (size > 1 and (not w.ndim or w.shape[-1] % size)):
        raise InvalidValue(f"{what} of {size} don't fill an axis of shape {list(w.shape)}; a divisor is required")

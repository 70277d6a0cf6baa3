"""Where channels lie once a tensor is reshaped, against every element looked at; sets of cells and their reasons."""

import itertools
import math

import numpy as np
import pytest

from quantlib.passes.channels.cells import Axis, Cells, reshaped

SIZES = (1, 2, 3, 4, 6)
SHAPES = [s for rank in (1, 2, 3) for s in itertools.product(SIZES, repeat=rank) if math.prod(s) in (12, 24)]


def looked_up(shape, axis, target):
    """The last axis of the target on which each index sees one channel only, by looking at every element."""
    place = [1] * len(shape)
    place[axis] = shape[axis]
    labels = np.broadcast_to(np.arange(shape[axis]).reshape(place), shape).reshape(target)
    for k in reversed(range(len(target))):
        rows = np.moveaxis(labels, k, 0).reshape(target[k], -1)
        if (rows == rows[:, :1]).all():
            return k, rows[:, 0]
    return None


def test_reshaped_is_what_every_element_says():
    held = refused = 0
    for shape, target in itertools.product(SHAPES, SHAPES):
        if math.prod(shape) != math.prod(target):
            continue
        for axis in range(len(shape)):
            if shape[axis] == 1:
                continue
            expected = looked_up(shape, axis, target)
            found = reshaped(shape, Axis(axis, np.arange(shape[axis])), target)
            assert (found is None) == (expected is None), (shape, axis, target)
            if found is not None:
                assert found.axis == expected[0]
                np.testing.assert_array_equal(found.cells, expected[1])
            held, refused = held + (expected is not None), refused + (expected is None)
    assert held > 300
    assert refused > 300


@pytest.mark.parametrize("shape", [(1, 3, 3, 4), (1, 4, 3, 3)])
def test_flattening_can_be_undone(shape):
    axis = shape.index(4)
    flat = reshaped(shape, Axis(axis, np.arange(4)), (1, 36))
    back = reshaped((1, 36), flat, shape)
    assert back.axis == axis
    np.testing.assert_array_equal(back.cells, np.arange(4))


def test_other_sizes_and_empty_shapes_hold_nothing():
    assert reshaped((2, 3), Axis(1, np.arange(3)), (2, 4)) is None
    assert reshaped((0, 3), Axis(1, np.arange(3)), (3, 0)) is None


def test_a_reason_spreads_to_all_that_is_tied_before_and_after():
    cells = Cells()
    a, b, c = (cells.fresh(2) for _ in range(3))
    cells.tie(a, b)
    cells.pin(b[:1], "first")
    cells.tie(b, c)
    cells.pin(c, "second")
    assert [cells.reason(x) for x in a.tolist()] == ["first", "second"]
    np.testing.assert_array_equal(cells.roots(a), cells.roots(c))
    d = cells.fresh(1)
    assert cells.reason(int(d[0])) == ""
    cells.tie(d, a[1:])
    assert cells.reason(int(d[0])) == "second"


def test_axes_that_are_too_long_are_not_followed():
    """What a damaged file claims costs no memory."""
    huge = (1, 1 << 40, 8)
    assert reshaped(huge, Axis(2, np.arange(8)), (1, 1 << 43)) is None
    assert reshaped(huge, Axis(2, np.arange(8)), (1 << 20, 1 << 20, 8)).axis == 2  # the axis itself is short

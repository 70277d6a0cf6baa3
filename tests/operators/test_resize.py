"""Resizing against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.operators.resize.floating import resize_bilinear, resize_nearest_neighbor
from quantlib.tflite import Table
from tests.support.examples import examples
from tests.support.single import litert, ours, type_name

SIZES = st.one_of(st.integers(1, 9), st.integers(10, 70))


@st.composite
def images(draw, both):
    shape = (draw(st.integers(1, 2)), draw(SIZES), draw(SIZES), draw(st.integers(1, 3)))
    size = np.array([draw(SIZES), draw(SIZES)], np.int32)
    align = draw(st.booleans())
    half = draw(st.booleans()) and (both or not align)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng, shape, size, {"align_corners": align, "half_pixel_centers": half}


def both_ways(operator, x, size, options):
    name = type_name(x)
    (reference,) = litert(operator, [x, size], options, [name], constants=(1,))
    (other,) = ours(operator, [x, size], options, [name])
    assert (other.dtype, other.shape) == (x.dtype, reference.shape)
    return reference, other


def stays_inside(length, size, *, align_corners, half_pixel_centers):
    """Whether LiteRT's rounded scale of integers leads to no element beyond the last, which it would read."""
    spans, steps = (length - 1, size - 1) if align_corners and size > 1 else (length, size)
    scale = (1024 * spans + steps // 2) // steps
    return (size - 1) * scale + (scale // 2 - 512) * half_pixel_centers < 1024 * length


@examples(50)
@given(images(both=False))
def test_bilinear_floats(drawn):
    rng, shape, size, options = drawn
    x = rng.standard_normal(shape).astype(np.float32)
    reference, other = both_ways("RESIZE_BILINEAR", x, size, Table("ResizeBilinearOptions", **options))
    # Weights of an axis add up to 1, at most 2 in magnitude (before the first center); on either side each of the
    # 4 terms passes 4 roundings and 3 additions.
    np.testing.assert_allclose(other, reference, rtol=0, atol=2 * 7 * 4 * 2.0**-24 * float(abs(x).max()))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@examples()
@given(drawn=images(both=False))
def test_bilinear_integers(dtype, drawn):
    rng, shape, size, options = drawn
    if dtype != "uint8":
        assume(all(stays_inside(n, m, **options) for n, m in zip(shape[1:3], size.tolist(), strict=True)))
    span = np.iinfo(dtype)
    x = rng.integers(span.min, span.max, shape, dtype, endpoint=True)
    reference, other = both_ways("RESIZE_BILINEAR", x, size, Table("ResizeBilinearOptions", **options))
    np.testing.assert_array_equal(other, reference)


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "int16", "int32"])
@examples()
@given(drawn=images(both=True))
def test_nearest_neighbor(dtype, drawn):
    rng, shape, size, options = drawn
    x = rng.integers(0, 100, shape).astype(dtype)
    table = Table("ResizeNearestNeighborOptions", **options)
    reference, other = both_ways("RESIZE_NEAREST_NEIGHBOR", x, size, table)
    np.testing.assert_array_equal(other, reference)


@pytest.mark.parametrize("resize", [resize_bilinear, resize_nearest_neighbor])
def test_edges(resize):
    x = np.array([1, np.nan, np.inf, 2], np.float32).reshape(1, 1, 4, 1)
    with np.errstate(invalid="ignore"):
        same = resize(x, (1, 4))
    np.testing.assert_array_equal(same[0, 0, [0, 3], 0], [1, 2])
    assert resize(np.zeros((0, 3, 4, 2), np.float32), (6, 2)).shape == (0, 6, 2, 2)
    for bad in ((0, 3), (3,)):
        with pytest.raises(InvalidValue, match="two positive sizes"):
            resize(x, bad)
    with pytest.raises(InvalidValue, match="rank 4"):
        resize(x[0], (2, 2))
    with pytest.raises(InvalidValue, match="no neighbours"):
        resize(np.zeros((1, 0, 4, 2), np.float32), (6, 2))


def test_integers_beyond_the_last_element_repeat_it():
    x = np.array([7], np.int8).reshape(1, 1, 1, 1)
    assert not stays_inside(1, 65, align_corners=False, half_pixel_centers=False)
    assert resize_bilinear(x, (1, 65)).ravel().tolist() == [7] * 65


def test_what_does_not_fit_is_refused():
    x = np.zeros((1, 2, 2, 1), np.float32)
    with pytest.raises(InvalidValue, match="only one of them"):
        resize_bilinear(x, (3, 3), align_corners=True, half_pixel_centers=True)
    with pytest.raises(InvalidValue, match="x is an array of int32; float32, int8, uint8 or int16 is required"):
        resize_bilinear(x.astype(np.int32), (3, 3))
    with pytest.raises(InvalidValue, match="two INT32"):
        ours("RESIZE_BILINEAR", [x, np.array([3, 3])], Table("ResizeBilinearOptions"))

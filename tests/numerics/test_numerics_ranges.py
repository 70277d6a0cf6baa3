"""Ranges, scales from ranges, and the range of least error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quantlib.errors import InvalidRange, InvalidValue
from quantlib.numerics import (
    PerAxis,
    PerBlock,
    PerTensor,
    absmax,
    affine_from_range,
    as_channels,
    dequantize,
    element_type,
    fake_quantize,
    mse_range,
    parameter_shape,
    quantize,
    weight_range,
)
from quantlib.numerics._blocks import BLOCK
from tests.support.layouts import LAYOUTS

NORMAL = np.finfo(np.float32).smallest_normal
FLT_MAX = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(("shape", "granularity"), LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
def test_weight_range_on_every_layout(shape, granularity, dtype):
    w = np.asarray(np.random.default_rng(2).normal(0, 3, shape), dtype)
    lo, hi = weight_range(w, granularity)
    assert lo.dtype == hi.dtype == np.float32
    assert lo.shape == hi.shape == parameter_shape(granularity, shape)
    if w.size:
        grouped = as_channels(w.astype(np.float32), granularity)
        np.testing.assert_array_equal(lo.ravel(), grouped.min(axis=(0, 2)))
        np.testing.assert_array_equal(hi.ravel(), grouped.max(axis=(0, 2)))
    np.testing.assert_array_equal(absmax(w, granularity), np.maximum(np.abs(lo), np.abs(hi)))
    if w.ndim > 1:
        back = tuple(range(w.ndim))[::-1]
        strided = np.ascontiguousarray(w.transpose(back)).transpose(back)
        np.testing.assert_array_equal(weight_range(strided, granularity), (lo, hi))


@pytest.mark.parametrize(("shape", "granularity"), [(s, g) for s, g in LAYOUTS if np.prod(s)], ids=str)
def test_weight_range_sees_every_end(shape, granularity):
    w = np.zeros(shape, np.float32)
    for index in ((0,) * w.ndim, (-1,) * w.ndim, np.unravel_index(w.size // 2, shape)):
        for value in (-1, 1):
            w[index] = value
            lo, hi = weight_range(w, granularity)
            # Where a channel is one element, that is both ends.
            alone = lo.size == w.size
            assert lo.sum() == (value if alone else min(value, 0))
            assert hi.sum() == (value if alone else max(value, 0))
            w[index] = 0


@pytest.mark.parametrize(("shape", "granularity"), [(s, g) for s, g in LAYOUTS if np.prod(s)], ids=str)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weight_range_names_the_first_bad_value(shape, granularity, bad):
    w = np.ones(shape, np.float32)
    index = np.unravel_index(w.size * 2 // 3, shape)
    w[index] = bad
    w[(-1,) * w.ndim] = bad
    at = str(tuple(map(int, index))).replace("(", r"\(").replace(")", r"\)")
    for function in (weight_range, absmax):
        with pytest.raises(InvalidRange, match=f"{bad} at index {at} is not finite"):
            function(w, granularity)


def test_weight_range_refuses():
    with pytest.raises(InvalidRange, match=r"1e\+39 at index"):
        weight_range(np.array([0.0, 1e39]))
    with pytest.raises(InvalidValue, match="int64 is not float"):
        weight_range([1, 2])
    with pytest.raises(InvalidValue, match="needs an axis 1"):
        weight_range([1.0], PerAxis(1))


def test_known_results_of_the_converter():
    zero = affine_from_range(0.0, 0.0, "INT8")
    assert zero.scale[0] == np.float32(7.843137e-09)
    assert zero.zero_point[0] == 0
    assert affine_from_range(0.0, 0.0, "INT8", symmetric=True).scale[0] == np.float32(3.937008e-09)
    one = affine_from_range(1.0, 1.0, "INT8")
    assert one.scale[0] == np.float32(1) / np.float32(255)
    assert one.zero_point[0] == -128
    assert quantize([1.0], one) == [127]


@given(
    st.floats(-(2.0**100), 2.0**100, width=32),
    st.floats(-(2.0**100), 2.0**100, width=32),
    st.sampled_from(["INT8", "UINT8", "INT16", "UINT16", "INT4", "UINT4", "INT2"]),
    st.booleans(),
)
@example(0.0, 0.0, "INT8", False)
@example(-1.4e-45, 1.4e-45, "UINT8", True)
@example(5e-7, 6e-7, "INT4", False)
def test_asymmetric_formula(a, b, name, narrow):
    lo, hi = min(a, b), max(a, b)
    affine = affine_from_range(lo, hi, name, narrow_range=narrow)
    kind = element_type(name)
    qmin, qmax = kind.min + narrow, kind.max
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    if hi - lo < 1e-6:
        lo, hi = lo - 1e-6, hi + 1e-6
    scale = (np.float32(hi) - np.float32(lo)) / np.float32(qmax - qmin)
    position = float(np.float32(qmin - lo / float(scale)))
    zero_point = int(np.sign(position) * np.floor(abs(position) + 0.5))
    assert affine.scale[0] == scale >= NORMAL
    assert affine.zero_point[0] == min(max(zero_point, qmin), qmax)
    assert (affine.qmin, affine.qmax) == (qmin, qmax)
    # Zero is on the grid, and the ends are no more than a step from it.
    assert fake_quantize([0.0], affine)[0] == 0
    ends = dequantize(np.array([qmin, qmax]).astype(kind.storage), affine).astype(float)
    assert np.all(np.abs(ends - [lo, hi]) <= 0.5001 * scale)


def test_uint8_is_int8_moved_by_128():
    rng = np.random.default_rng(0)
    lo, hi = -rng.exponential(1, 2000), rng.exponential(1, 2000)
    signed = affine_from_range(lo, hi, "INT8", granularity=PerAxis(0))
    unsigned = affine_from_range(lo, hi, "UINT8", granularity=PerAxis(0))
    np.testing.assert_array_equal(signed.scale, unsigned.scale)
    ties = np.abs(np.modf(-lo / signed.scale.astype(float))[0] - 0.5) < 1e-4
    np.testing.assert_array_equal(signed.zero_point[~ties] + 128, unsigned.zero_point[~ties])


@given(
    st.floats(-FLT_MAX, FLT_MAX, width=32),
    st.floats(-FLT_MAX, FLT_MAX, width=32),
    st.sampled_from(["INT8", "UINT8", "INT16", "INT4", "UINT4", "INT2", "INT32", "INT64"]),
)
@example(0.0, 0.0, "INT16")
@example(-1.4e-45, 0.0, "INT8")
@example(-5e-7, 0.0, "INT8")
@example(-FLT_MAX, FLT_MAX, "INT2")
def test_symmetric_formula(a, b, name):
    lo, hi = min(a, b), max(a, b)
    affine = affine_from_range(lo, hi, name, symmetric=True, narrow_range=True)
    kind = element_type(name)
    middle = 2 ** (kind.bits - 1) if name[0] == "U" else 0
    bound = max(abs(lo), abs(hi))
    bound = 5e-7 if 2 * bound <= 1e-6 else bound
    assert affine.scale[0] == np.float32(bound / (2 ** (kind.bits - 1) - 1)) >= NORMAL
    assert affine.zero_point[0] == middle
    assert affine.granularity == PerTensor()


@pytest.mark.parametrize("name", ["INT8", "UINT8", "INT16", "INT4", "INT2"])
def test_widest_ranges(name):
    affine = affine_from_range(-FLT_MAX, FLT_MAX, name)
    kind = element_type(name)
    assert affine.scale[0] == np.float32(2 * FLT_MAX / (kind.max - kind.min))
    assert quantize([FLT_MAX, -FLT_MAX, 0.0], affine)[2] == affine.zero_point[0]
    assert affine_from_range(0.0, FLT_MAX, name).scale[0] == np.float32(FLT_MAX / (kind.max - kind.min))


@pytest.mark.parametrize(
    ("lo", "hi"),
    [
        (1.0, 0.0),
        (np.nan, 0.0),
        (0.0, np.nan),
        (-np.inf, 0.0),
        (0.0, np.inf),
        (0.0, 1e39),
        (-1e39, 0.0),
        (1e-300, 0.0),
    ],
)
@pytest.mark.parametrize("symmetric", [True, False])
def test_ranges_that_are_none(lo, hi, symmetric):
    with pytest.raises(InvalidRange, match=r"range \[.*\] of channel 1 gives no scale"):
        affine_from_range([0.0, lo], [1.0, hi], "INT8", granularity=PerAxis(0), symmetric=symmetric)


def test_affine_from_range_refuses():
    with pytest.raises(InvalidValue, match="FLOAT16 has no scale"):
        affine_from_range(0.0, 1.0, "FLOAT16")
    with pytest.raises(InvalidValue, match="INT32 has no asymmetric scale"):
        affine_from_range(0.0, 1.0, "INT32")
    with pytest.raises(InvalidValue, match="give as many of each"):
        affine_from_range([0.0], [1.0, 2.0], "INT8")
    with pytest.raises(InvalidValue, match="don't fit PerTensor"):
        affine_from_range([0.0, 0.0], [1.0, 2.0], "INT8")


def test_shapes_of_the_result():
    lo, hi = np.zeros((4, 2)), np.ones((4, 2))
    assert affine_from_range(lo, hi, "INT4", granularity=PerBlock(1, 32)).scale.shape == (4, 2)
    assert affine_from_range([], [], "INT8", granularity=PerAxis(0)).scale.shape == (0,)


def errors(w, lo, hi, granularity, name, symmetric, narrow):
    affine = affine_from_range(lo, hi, name, granularity=granularity, symmetric=symmetric, narrow_range=narrow)
    difference = fake_quantize(w, affine).astype(np.float64) - w.astype(np.float32)
    return np.array([np.square(as_channels(difference, granularity)[:, c]).sum() for c in range(lo.size)])


@pytest.mark.parametrize(("name", "symmetric"), [("INT8", True), ("INT4", True), ("INT2", True), ("INT4", False)])
@pytest.mark.parametrize(
    ("shape", "granularity"),
    [
        ((5000,), PerTensor()),
        ((6, 700), PerAxis(0)),
        ((300, 20), PerAxis(1)),
        ((40, 5, 30), PerAxis(1)),
        ((8, 64), PerBlock(1, 32)),
        ((64, 8), PerBlock(0, 32)),
        ((2, 2 * BLOCK + 9), PerAxis(0)),
        ((3, 0), PerAxis(0)),
        ((0, 3), PerAxis(1)),
    ],
    ids=str,
)
def test_mse_range_is_the_best_candidate(shape, granularity, name, symmetric):
    w = np.random.default_rng(4).standard_t(3, shape).astype(np.float32)
    candidates, options = (0.9, 0.5, 0.3), (granularity, name, symmetric, True)
    full = weight_range(w, granularity)
    lo, hi = mse_range(w, granularity, name, symmetric=symmetric, candidates=candidates)
    assert lo.shape == hi.shape == parameter_shape(granularity, shape)
    assert lo.dtype == hi.dtype == np.float32
    chosen = errors(w, lo, hi, *options)
    tried = [errors(w, *(v * np.float32(f) for v in full), *options) for f in (1, *candidates)]
    # Sums of n terms in different orders.
    np.testing.assert_allclose(chosen, np.min(tried, axis=0), rtol=1e-12)
    assert np.all(chosen <= tried[0] * (1 + 1e-12))
    if w.size and name == "INT2":
        assert np.mean(chosen < tried[0]) > 0.9
    again = mse_range(w, granularity, name, symmetric=symmetric, candidates=candidates)
    np.testing.assert_array_equal(again, (lo, hi))


def test_mse_range_keeps_the_full_range_on_ties():
    w = np.array([-1.0, 0.0, 1.0], np.float32)
    assert [v[0] for v in mse_range(w, PerTensor(), "INT2")] == [-1, 1]
    # So small that every candidate is widened to the same grid.
    assert [v[0] for v in mse_range(np.array([-1e-8, 2e-8], np.float32))] == [
        np.float32(-1e-8),
        np.float32(2e-8),
    ]
    zeros = np.zeros(7, np.float32)
    assert [v[0] for v in mse_range(zeros, PerTensor(), "INT8")] == [0, 0]


def test_mse_range_needs_no_candidates():
    w = np.random.default_rng(4).normal(size=100).astype(np.float32)
    np.testing.assert_array_equal(mse_range(w, candidates=[]), weight_range(w))


@pytest.mark.parametrize("candidates", [[0.0], [1.5], [-1.0], [np.nan]])
def test_mse_range_refuses(candidates):
    with pytest.raises(InvalidValue, match="use factors in"):
        mse_range([1.0], candidates=candidates)

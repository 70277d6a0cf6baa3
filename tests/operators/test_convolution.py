"""Convolutions against LiteRT's reference kernels.

Whole numbers make every float32 sum exact, so that results are equal whatever the order of additions. For others
the bound is that of float32 sums: n additions of products err by at most n halves of an ulp of the sum of magnitudes.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.operators.convolution import floating_dense, floating_depthwise, floating_transposed
from quantlib.operators.convolution.floating import convolve, depthwise_convolve, transposed_convolve
from quantlib.operators.windows import plan_axis
from quantlib.tflite import Table
from tests.support.examples import examples
from tests.support.single import litert, ours

PADDINGS = ("SAME", "VALID")
OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "CONV_3D": "Conv3DOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions",
}


def whole(rng, *shape):
    return rng.integers(-9, 10, shape).astype(np.float32)


def options_of(operator, drawn):
    fields = {
        "padding": PADDINGS.index(drawn["padding"]),
        "fused_activation_function": drawn["activation"],
    }
    letters = "dhw"[-len(drawn["strides"]) :]
    fields |= {f"stride_{a}": s for a, s in zip(letters, drawn["strides"], strict=True)}
    if operator != "TRANSPOSE_CONV":
        fields |= {f"dilation_{a}_factor": d for a, d in zip(letters, drawn["dilations"], strict=True)}
    if operator == "DEPTHWISE_CONV_2D":
        fields["depth_multiplier"] = drawn["outputs"] // drawn["channels"]
    return Table(OPTIONS[operator], **fields)


@st.composite
def geometries(draw, spatial, *, dilated=True, largest=9):
    """Sizes of windows that fit at least once."""
    padding = draw(st.sampled_from(PADDINGS))
    kernels = draw(st.tuples(*[st.integers(1, 4)] * spatial))
    strides = draw(st.tuples(*[st.integers(1, 4)] * spatial))
    dilations = draw(st.tuples(*[st.integers(1, 3 if dilated else 1)] * spatial))
    extents = [(k - 1) * d + 1 for k, d in zip(kernels, dilations, strict=True)]
    least = [1 if padding == "SAME" else e for e in extents]
    lengths = tuple(n + draw(st.integers(0, largest)) for n in least)
    return {
        "padding": padding,
        "kernels": kernels,
        "strides": strides,
        "dilations": dilations,
        "lengths": lengths,
        "batch": draw(st.integers(1, 3)),
        "activation": draw(st.integers(0, 5)),
        "biased": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


def assert_equal(operator, inputs, options, constants=()):
    (reference,), (other,) = litert(operator, inputs, options, constants=constants), ours(operator, inputs, options)
    assert other.dtype == np.float32
    np.testing.assert_array_equal(other, reference)


@examples(40)
@given(geometries(2), st.integers(1, 4), st.integers(1, 4), st.sampled_from([1, 1, 2, 3]))
def test_conv_2d(drawn, depth, outputs, groups):
    rng = np.random.default_rng(drawn["seed"])
    x = whole(rng, drawn["batch"], *drawn["lengths"], depth * groups)
    filters = whole(rng, outputs * groups, *drawn["kernels"], depth)
    assert_equal("CONV_2D", [x, filters, whole(rng, outputs * groups)], options_of("CONV_2D", drawn), (1, 2))


@examples(40)
@given(geometries(2, largest=12), st.integers(1, 5), st.integers(1, 3))
def test_depthwise_conv_2d(drawn, channels, multiplier):
    rng = np.random.default_rng(drawn["seed"])
    drawn |= {"channels": channels, "outputs": channels * multiplier}
    x = whole(rng, drawn["batch"], *drawn["lengths"], channels)
    filters = whole(rng, 1, *drawn["kernels"], channels * multiplier)
    bias = [whole(rng, channels * multiplier)] if drawn["biased"] else []
    assert_equal("DEPTHWISE_CONV_2D", [x, filters, *bias], options_of("DEPTHWISE_CONV_2D", drawn))


@examples()
@given(geometries(3, largest=4), st.integers(1, 3), st.integers(1, 3))
def test_conv_3d(drawn, depth, outputs):
    rng = np.random.default_rng(drawn["seed"])
    x = whole(rng, drawn["batch"], *drawn["lengths"], depth)
    filters = whole(rng, *drawn["kernels"], depth, outputs)
    bias = [whole(rng, outputs)] if drawn["biased"] else []
    assert_equal("CONV_3D", [x, filters, *bias], options_of("CONV_3D", drawn))


def counts(drawn):
    sizes = zip(drawn["lengths"], drawn["kernels"], drawn["strides"], drawn["dilations"], strict=True)
    return tuple(plan_axis(*s, drawn["padding"]).count for s in sizes)


@examples(40)
@given(geometries(2, dilated=False), st.integers(1, 4), st.integers(1, 4))
def test_transpose_conv(drawn, channels, outputs):
    rng = np.random.default_rng(drawn["seed"])
    shape = np.array([drawn["batch"], *drawn["lengths"], outputs], np.int32)
    x = whole(rng, drawn["batch"], *counts(drawn), channels)
    filters = whole(rng, outputs, *drawn["kernels"], channels)
    bias = [whole(rng, outputs)] if drawn["biased"] else []
    assert_equal("TRANSPOSE_CONV", [shape, filters, x, *bias], options_of("TRANSPOSE_CONV", drawn), (0, 1))


@examples()
@given(geometries(3, largest=4), st.integers(1, 3), st.integers(1, 3))
def test_conv_3d_transpose(drawn, channels, outputs):
    rng = np.random.default_rng(drawn["seed"])
    shape = np.array([drawn["batch"], *drawn["lengths"], outputs], np.int32)
    x = whole(rng, drawn["batch"], *counts(drawn), channels)
    filters = whole(rng, *drawn["kernels"], outputs, channels)
    bias = [whole(rng, outputs)] if drawn["biased"] else []
    assert_equal("CONV_3D_TRANSPOSE", [shape, filters, x, *bias], options_of("CONV_3D_TRANSPOSE", drawn), (0, 1))


@pytest.mark.parametrize(
    ("operator", "x_shape", "filter_shape", "terms"),
    [
        ("CONV_2D", (2, 9, 8, 40), (24, 3, 3, 40), 361),
        ("CONV_2D", (1, 14, 14, 64), (32, 1, 1, 64), 65),
        ("CONV_2D", (1, 8, 8, 12), (6, 3, 3, 4), 37),
        ("DEPTHWISE_CONV_2D", (2, 15, 14, 24), (1, 5, 3, 24), 16),
    ],
)
@pytest.mark.parametrize("stride", [1, 2])
def test_fractions_agree_within_the_bound_of_float32_sums(operator, x_shape, filter_shape, terms, stride):
    rng = np.random.default_rng(3)
    outputs = filter_shape[3] if operator.startswith("DEPTH") else filter_shape[0]
    x, filters, bias = (rng.standard_normal(s).astype(np.float32) for s in (x_shape, filter_shape, (outputs,)))
    drawn = {"padding": "SAME", "activation": 0, "strides": (stride, stride), "dilations": (1, 1)}
    options = options_of(operator, drawn | {"outputs": 1, "channels": 1})
    (reference,) = litert(operator, [x, filters, bias], options, constants=(1, 2))
    (other,) = ours(operator, [x, filters, bias], options)
    (magnitude,) = ours(operator, [abs(x), abs(filters), abs(bias)], options)
    assert np.all(abs(other - reference) <= 2 * terms * 2.0**-24 * magnitude)


@pytest.mark.parametrize("batch", [2, 5])
def test_a_sample_of_a_batch_is_computed_as_if_alone(batch):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((batch, 13, 11, 7)).astype(np.float32)
    dense, separate = (rng.standard_normal(s).astype(np.float32) for s in ((9, 3, 3, 7), (1, 3, 3, 7)))
    how = {"strides": (1, 2), "dilations": (1, 1), "padding": "SAME"}
    for function, filters in ((convolve, dense), (depthwise_convolve, separate)):
        together = function(x, filters, **how)
        for i in range(batch):
            np.testing.assert_array_equal(function(x[i : i + 1], filters, **how)[0], together[i])


def test_blocks_do_not_show(monkeypatch):
    rng = np.random.default_rng(6)
    x, dense, separate = whole(rng, 1, 11, 9, 6), whole(rng, 4, 3, 3, 3), whole(rng, 1, 3, 3, 12)
    shape, transposed = (1, 22, 18, 5), whole(rng, 3, 3, 5, 6)
    how = {"dilations": (1, 1), "padding": "SAME"}

    def results():
        yield convolve(x, dense, strides=(1, 1), **how)
        yield from (depthwise_convolve(x, separate, strides=s, **how) for s in ((1, 1), (2, 3)))
        yield transposed_convolve(shape, transposed, x, strides=(2, 2), **how)

    whole_ones = list(results())
    monkeypatch.setattr(floating_dense, "_BLOCK_BYTES", 4096)
    monkeypatch.setattr(floating_transposed, "_BLOCK_BYTES", 4096)
    monkeypatch.setattr(floating_depthwise, "_BLOCK", 128)
    monkeypatch.setattr(floating_depthwise, "_FILTERS", 300)
    for one, other in zip(whole_ones, results(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_inputs_are_left_alone_even_where_they_are_not_contiguous():
    rng = np.random.default_rng(7)
    x = whole(rng, 2, 6, 8, 5).transpose(0, 2, 1, 3)
    kept, filters = x.copy(), whole(rng, 4, 1, 1, 5)
    x.flags.writeable = False
    how = {"strides": (1, 1), "dilations": (1, 1), "padding": "VALID"}
    np.testing.assert_array_equal(convolve(x, filters, **how), np.einsum("nhwi,oi->nhwo", kept, filters[:, 0, 0]))
    separate = whole(rng, 1, 1, 1, 5)
    np.testing.assert_array_equal(depthwise_convolve(x, separate, **how), kept * separate)
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("operator", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_infinity_and_nan_reach_the_windows_that_read_them(operator):
    x = np.ones((1, 5, 5, 2), np.float32)
    x[0, 0, 0, 0], x[0, 4, 4, 1] = np.inf, np.nan
    filters = np.ones((2, 2, 2, 2) if operator == "CONV_2D" else (1, 2, 2, 2), np.float32)
    drawn = {"padding": "VALID", "activation": 1, "strides": (1, 1), "dilations": (1, 1), "outputs": 1, "channels": 1}
    options, bias = options_of(operator, drawn), np.zeros(2, np.float32)
    (reference,) = litert(operator, [x, filters, bias], options, constants=(1, 2))
    (other,) = ours(operator, [x, filters, bias], options)
    # LiteRT's reference kernels clip infinity to the largest float32; those it uses by default don't.
    reference[reference == np.finfo(np.float32).max] = np.inf
    np.testing.assert_array_equal(other, reference)


def test_a_batch_of_none():
    how = {"strides": (1, 1), "dilations": (1, 1), "padding": "SAME"}
    none, filters = np.zeros((0, 4, 4, 3), np.float32), np.zeros((2, 3, 3, 3), np.float32)
    assert convolve(none, filters, **how).shape == (0, 4, 4, 2)
    assert depthwise_convolve(none, filters[:1], **how).shape == (0, 4, 4, 3)
    back = transposed_convolve((0, 4, 4, 2), filters.transpose(1, 2, 0, 3), none, **how)
    assert back.shape == (0, 4, 4, 2)


def test_what_does_not_fit_is_refused():
    x, filters = np.zeros((1, 4, 4, 3), np.float32), np.zeros((2, 3, 3, 3), np.float32)
    how = {"strides": (1, 1), "dilations": (1, 1), "padding": "VALID"}
    with pytest.raises(InvalidValue, match="rank 4"):
        convolve(x[0], filters, **how)
    with pytest.raises(InvalidValue, match="groups"):
        convolve(x, filters[..., :2], **how)
    with pytest.raises(InvalidValue, match="bias of 3 elements for 2"):
        convolve(x, filters, np.zeros(3, np.float32), **how)
    with pytest.raises(InvalidValue, match="no window fits"):
        convolve(x, np.zeros((2, 6, 3, 3), np.float32), **how)
    with pytest.raises(InvalidValue, match="stride 0"):
        convolve(x, filters, **how | {"strides": (0, 1)})
    with pytest.raises(InvalidValue, match="multiple"):
        depthwise_convolve(x, np.zeros((1, 3, 3, 4), np.float32), **how)
    with pytest.raises(InvalidValue, match=r"input of \(2, 2\) is required"):
        transposed_convolve((1, 4, 4, 2), filters.transpose(1, 2, 0, 3), x, **how)
    with pytest.raises(InvalidValue, match="float32 is required"):
        ours("CONV_2D", [x.astype(np.int8), filters], Table("Conv2DOptions", stride_w=1, stride_h=1))


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "dilation"), list(itertools.product((1, 4, 7), (1, 3), (1, 2, 3), (1, 2)))
)
@pytest.mark.parametrize("padding", PADDINGS)
def test_valid_taps_are_those_inside(length, kernel, stride, dilation, padding):
    if padding == "VALID" and length < (kernel - 1) * dilation + 1:
        return
    axis = plan_axis(length, kernel, stride, dilation, padding)
    for tap in range(kernel):
        windows, elements = axis.valid(tap)
        read = [(o, o * stride + tap * dilation - axis.before) for o in range(axis.count)]
        inside = [(o, e) for o, e in read if 0 <= e < length]
        found = list(zip(range(*windows.indices(axis.count)), range(*elements.indices(length)), strict=True))
        assert found == inside

"""Constants in a new form: the same integers however they are asked for, in the layout of their operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from quantlib.numerics import (
    Affine,
    PerAxis,
    PerTensor,
    dequantize,
    element_type,
    quantize,
    quantize_balanced,
    unpack,
)
from quantlib.passes.balanced import Balanced
from quantlib.passes.stored import stored_integer
from quantlib.recipes import Moments
from quantlib.tflite import Tensor
from tests.support.network import Network, gaussian

#: Shape and axis of the output channels: CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, rows of half bytes, CONV_3D.
LAYOUTS = [((6, 3, 3, 4), 0), ((1, 3, 3, 6), 3), ((1, 5, 1, 8), 3), ((7, 30), 0), ((5, 3), 0), ((2, 2, 2, 3, 4), 4)]
#: With the number of channels of the input, each of which may be read several times.
BALANCED = [
    *(((6, 3, 3, 4), 0, 4), ((6, 3, 3, 4), 0, 1), ((1, 3, 3, 6), 3, 6), ((1, 3, 3, 6), 3, 3), ((1, 5, 1, 8), 3, 1)),
    *(((7, 30), 0, 30), ((7, 30), 0, 10), ((8, 90), 0, 90), ((5, 3), 0, 3)),
]


def constant(values: npt.NDArray[np.float32]) -> Tensor:
    net = Network()
    index = net.constant("w", values)
    return next(t for t in net.done(index).tensors() if t.name == "w")


def parameters(kind: str, channels: int, axis: int) -> Affine:
    steps = np.linspace(0.02, 0.05, channels).astype(np.float32) * 2.0 ** (8 - element_type(kind).bits)
    points = 128 if kind == "UINT8" else 0
    if channels == 1:
        return Affine(kind, steps, points)  # type: ignore[arg-type]  # a name is turned into its type
    return Affine(kind, steps, points, PerAxis(axis), narrow_range=kind != "UINT8")  # type: ignore[arg-type]  # as above


def integers(data: Any, kind: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    stored, wanted = np.frombuffer(bytes(data.load(0, data.nbytes)), np.uint8), element_type(kind)
    count = int(np.prod(shape))
    return (unpack(stored, wanted, count) if wanted.bits < 8 else stored.view(wanted.storage)).reshape(shape)


def weight(values: npt.NDArray[np.float32], affine: Affine, axis: int, channels: int) -> Balanced:
    """A weight to be balanced for an input with a number of channels, each with a mean and a variance of its own."""
    mean, variance = np.linspace(-0.5, 2.0, channels), np.linspace(0.2, 0.4, channels)
    return Balanced(constant(values), values.shape, affine, axis, Moments(tuple(mean), tuple(variance)))


def expected(values: npt.NDArray[np.float32], made: Balanced) -> npt.NDArray[Any]:
    """What the formula takes: output channels first; a depthwise filter is a window of one input."""
    first, affine, axis = np.ascontiguousarray(np.swapaxes(values, 0, made.axis)), made.affine, made.axis
    if affine.scale.size > 1:
        affine = Affine(affine.type, affine.scale, affine.zero_point, PerAxis(0), affine.narrow_range)
    mean, variance = np.array(made.moments.mean), np.array(made.moments.variance)
    if mean.size > 1 and axis == 0:  # (H, W, C) flattened: the last axis goes round
        mean, variance = np.resize(mean, values.shape[-1]), np.resize(variance, values.shape[-1])
    elif mean.size > 1:  # output channel c reads input channel c // multiplier
        each = [np.array([m[c * m.size // len(first)] for c in range(len(first))]) for m in (mean, variance)]
        mean, variance = (m.reshape(-1, 1, 1, 1) for m in each)
    return np.swapaxes(quantize_balanced(first, affine, mean=mean, variance=variance), 0, axis)


@pytest.mark.parametrize("kind", ["INT8", "INT4", "UINT8"])
@pytest.mark.parametrize("one", [False, True], ids=["by channel", "one scale"])
@pytest.mark.parametrize(("shape", "axis", "channels"), BALANCED, ids=str)
def test_balanced_weights_cancel_within_each_output_channel(
    shape: tuple[int, ...], axis: int, channels: int, kind: str, one: bool
) -> None:
    values = gaussian(shape, 1, 0.5)
    affine = parameters(kind, 1 if one else shape[axis], axis)
    made = weight(values, affine, axis, channels)
    found = integers(made.stored().data, kind, shape)
    np.testing.assert_array_equal(found, expected(values, made))
    nearest = quantize(values, affine)
    assert (found != nearest).any()
    assert np.abs(found.astype(int) - nearest).max() == 1


def test_a_depthwise_filter_keeps_the_sum_of_its_window() -> None:
    """What all pixels of a window have in common meets the sum of its errors."""
    values = gaussian((1, 3, 3, 50), 2)
    affine = Affine("INT8", np.full(50, 0.05), granularity=PerAxis(3))  # type: ignore[arg-type]  # as above
    for mean, least in ((0.0, 0.4), (10.0, 0.5)):
        made = Balanced(constant(values), values.shape, affine, 3, Moments((mean,), (1.0,)))
        found = integers(made.stored().data, "INT8", values.shape)
        left = (values / np.float32(0.05) - found).sum(axis=(0, 1, 2))
        assert np.median(np.abs(left)) < least
        if mean:
            assert np.abs(left).max() <= 0.5001


@pytest.mark.parametrize("written", [False, True], ids=["alone", "after the weight"])
@pytest.mark.parametrize("kind", ["INT8", "INT4"])
@pytest.mark.parametrize(("shape", "axis", "channels"), BALANCED, ids=str)
def test_the_bias_takes_up_what_is_left(
    shape: tuple[int, ...], axis: int, channels: int, kind: str, written: bool
) -> None:
    """With inputs at their means, outputs are those of the float weights, but for the rounding of the bias."""
    values, count = gaussian(shape, 1, 0.5), shape[axis]
    bias = gaussian((count,), 2)
    made = weight(values, parameters(kind, count, axis), axis, channels)
    form = Affine("INT32", made.affine.scale / np.float32(2**14), granularity=PerAxis(0))  # type: ignore[arg-type]  # as above
    for moments in (made.moments, Moments((0.7,), (1.0,))):  # its own, and those of another reader
        stored = made.corrected(constant(bias), form, moments).data
        whole = made.stored().data
        if written:
            for start in range(0, whole.nbytes, whole.granule):
                whole.load(start, min(start + whole.granule, whole.nbytes))
        found = dequantize(integers(stored, "INT32", (count,)), form)
        left = np.swapaxes(values - dequantize(expected(values, made), made.affine), 0, axis).astype(np.float64)
        mean = np.array(moments.mean)
        if mean.size > 1 and axis == 0:
            mean = np.resize(mean, shape[-1])
        elif mean.size > 1:
            mean = np.repeat(mean, count // mean.size).reshape(-1, 1, 1, 1)
        shift = (left * mean).reshape(count, -1).sum(axis=1)
        assert np.abs(shift).max() > 100 * form.scale.max()
        assert np.abs(found - bias - shift).max() <= form.scale.max()


@pytest.mark.parametrize("kind", ["INT8", "INT4", "UINT8"])
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize(("shape", "axis"), LAYOUTS, ids=str)
def test_pieces_are_parts_of_the_whole(shape: tuple[int, ...], axis: int, kind: str, balanced: bool) -> None:
    origin, affine = constant(gaussian(shape, 3)), parameters(kind, shape[axis], axis)
    if balanced:
        data = Balanced(origin, shape, affine, axis, Moments((1.0,), (0.3,))).stored().data
    else:
        data = stored_integer(origin, shape, affine).data
    whole = bytes(data.load(0, data.nbytes))
    assert len(whole) == element_type(kind).nbytes(int(np.prod(shape)))
    step = data.granule
    for start in range(0, data.nbytes, step):
        stop = min(start + step, data.nbytes)
        assert bytes(data.load(start, stop)) == whole[start:stop]


def test_one_scale_of_a_large_constant() -> None:
    values = gaussian((3, 5), 1)
    affine = Affine("INT16", 0.001, granularity=PerTensor())  # type: ignore[arg-type]  # as above
    stored = stored_integer(constant(values), (3, 5), affine)
    np.testing.assert_array_equal(integers(stored.data, "INT16", (3, 5)), quantize(values, affine))

"""MediaPipe's custom operators, as a user would bring them: kernels for `NumpyRunner(model, kernels=...)`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.operators import Call, Kernel, kernel
from quantlib.tflite import Table

Array = Any


def _numbers(call: Call, count: int) -> list[int]:
    """The first fields of the C structure that these operators have as options."""
    return np.frombuffer(call.attributes["custom_options"], "<i4", count).tolist()


def convolution_transpose_bias(call: Call) -> list[Array]:
    """TRANSPOSE_CONV with a bias, whose output shape follows from the input's."""
    same, width, height = _numbers(call, 3)
    x, filters, bias = (call.operand(i) for i in range(3))
    steps = zip(x.shape[1:3], filters.shape[1:3], (height, width), strict=True)
    inner = [size * step if same == 1 else (size - 1) * step + taps for size, taps, step in steps]
    shape = np.array([x.shape[0], *inner, filters.shape[0]], np.int32)
    options = Table("TransposeConvOptions", padding=int(same != 1), stride_w=width, stride_h=height)
    builtin = kernel("TRANSPOSE_CONV")
    assert builtin is not None
    return list(builtin(Call((shape, filters, x, bias), options, call.types)))


def _windows(call: Call, x: Array) -> Array:
    """Windows that don't overlap, as the models have them: [batch, rows, columns, window, channels]."""
    _, width, height, taps_x, taps_y = _numbers(call, 5)
    batch, rows, columns, channels = x.shape
    assert (width, height) == (taps_x, taps_y)
    assert rows % height == columns % width == 0
    split = x.reshape(batch, rows // height, height, columns // width, width, channels)
    return split.swapaxes(2, 3).reshape(batch, rows // height, columns // width, height * width, channels)


def max_pooling_with_argmax(call: Call) -> list[Array]:
    """Maxima, and their places within the window as floats."""
    windows = _windows(call, call.operand(0))
    return [windows.max(3), windows.argmax(3).astype(np.float32)]


def max_unpooling(call: Call) -> list[Array]:
    """Put each value at its place within the window; zeros elsewhere."""
    _, width, height = _numbers(call, 3)
    x, places = call.operand(0), call.operand(1).astype(np.intp)
    batch, rows, columns, channels = x.shape
    windows = np.zeros((batch, rows, columns, height * width, channels), np.float32)
    np.put_along_axis(windows, places[:, :, :, None], x[:, :, :, None], 3)
    split = windows.reshape(batch, rows, columns, height, width, channels).swapaxes(2, 3)
    return [split.reshape(batch, rows * height, columns * width, channels)]


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "Convolution2DTransposeBias": convolution_transpose_bias,
        "MaxPoolingWithArgmax2D": max_pooling_with_argmax,
        "MaxUnpooling2D": max_unpooling,
    }
)

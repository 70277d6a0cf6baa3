"""What TensorFlow's converter makes of a graph trained with fake quantization, and what we make of its float file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.tflite import Model
from tests.support.network import gaussian


def _graph(tf: Any, *, narrow: bool, bound: float) -> Any:
    """A function of one input: products with weights per channel and per tensor, a join, fixed outputs."""
    fake, channels = (
        tf.quantization.fake_quant_with_min_max_vars,
        tf.quantization.fake_quant_with_min_max_vars_per_channel,
    )
    filters, depthwise = gaussian((3, 3, 3, 4), 1, 0.3), gaussian((3, 3, 4, 1), 2, 0.3)
    dense, ends = gaussian((128, 5), 3, 0.1), np.abs(filters).max((0, 1, 2)) * np.float32(0.9)

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32, name="x")])
    def run(x: Any) -> Any:
        x = fake(x, -1.03, 0.97)
        w = channels(filters, -ends, ends, narrow_range=True)
        a = fake(tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, w, 1, "SAME"), gaussian((4,), 4, 0.2))), 0.0, bound)
        a = tf.nn.max_pool2d(a, 2, 2, "VALID")
        w = fake(depthwise, -0.8, 0.8, narrow_range=narrow)
        b = tf.nn.relu6(tf.nn.bias_add(tf.nn.depthwise_conv2d(a, w, (1, 1, 1, 1), "SAME"), gaussian((4,), 5, 0.2)))
        b = fake(b, 0.0, 5.3)
        # joined in one range: of several the converter takes one for all readers, where we insert a QUANTIZE each
        joined = fake(tf.concat([fake(a + b, 0.0, bound), a], -1), 0.0, bound)
        y = tf.matmul(tf.reshape(joined, (1, 128)), fake(dense, -0.3, 0.3, narrow_range=True))
        y = fake(tf.nn.bias_add(y, gaussian((5,), 6, 0.2)), -6.0, 6.5)
        return fake(tf.nn.softmax(y), 0.0, 1.0)

    return run.get_concrete_function()


def _convert(tf: Any, graph: Any, *, integers: bool) -> Model:
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph])
    if integers:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return ql.read(converter.convert())


@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
@pytest.mark.parametrize(("narrow", "bound"), [(True, 3.9), (True, 6.0), (False, 2.5)])
def test_tensors_agree_with_the_converter(narrow: bool, bound: float) -> None:
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed; nothing of quantlib needs it")
    graph = _graph(tf, narrow=narrow, bound=bound)
    theirs, ours = _convert(tf, graph, integers=True), ql.quantize(_convert(tf, graph, integers=False), "int8")
    pairs = list(zip(_kernels(ours), _kernels(theirs), strict=True))
    assert len(ours.subgraphs[0].operators) == len(theirs.subgraphs[0].operators)
    for mine, other in pairs:
        assert ours.operator_name(mine) == theirs.operator_name(other)
        for i, j in zip((*mine.inputs, *mine.outputs), (*other.inputs, *other.outputs), strict=True):
            _same(ours, int(i), theirs, int(j))
    assert len(pairs) == 8


def _kernels(model: Model) -> list[Any]:
    """All but operators that convert, which stand in another order."""
    return [o for o in model.subgraphs[0].operators if model.operator_name(o) not in ("QUANTIZE", "DEQUANTIZE")]


def _same(ours: Model, i: int, theirs: Model, j: int) -> None:
    mine, other = ours.tensor((0, i)), theirs.tensor((0, j))
    assert mine.type == other.type
    if mine.quantization is not None and other.quantization is not None:
        np.testing.assert_array_equal(mine.quantization.zero_point, other.quantization.zero_point)
        # the converter multiplies a bias's scales in float64
        apart = 1 if mine.type == "INT32" else 0
        np.testing.assert_array_max_ulp(mine.quantization.scale, other.quantization.scale, apart)
    if mine.is_constant:
        np.testing.assert_array_equal(mine.numpy(), other.numpy())

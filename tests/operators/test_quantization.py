"""Conversions that need no scales, against LiteRT."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quantlib.errors import InvalidRange, InvalidValue
from quantlib.operators import kernel, row
from quantlib.operators.quantization.floating import dequantize_float16, fake_quant
from quantlib.tflite import Table
from tests.support.examples import examples
from tests.support.single import litert, ours

F, H = np.float32, np.float16
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, max_side=6)


def assert_equal(reference, other):
    assert other.shape == reference.shape
    assert other.dtype == reference.dtype
    np.testing.assert_array_equal(other, reference)


@given(
    SHAPES,
    st.integers(0, 2**32 - 1),
    st.floats(-50, 0, width=32),
    st.floats(0.125, 50, width=32),
    st.integers(2, 16),
)
@examples(40)
def test_fake_quant(shape, seed, low, high, bits):
    x = (np.random.default_rng(seed).standard_normal(shape) * 30).astype(F)
    options = Table("FakeQuantOptions", min=low, max=high, num_bits=bits)
    assert_equal(*litert("FAKE_QUANT", [x], options), *ours("FAKE_QUANT", [x], options))


def test_fake_quant_of_special_values():
    x = np.array([np.nan, np.inf, -np.inf, -0.0], F)
    options = Table("FakeQuantOptions", min=-1.0, max=3.0, num_bits=8)
    assert_equal(*litert("FAKE_QUANT", [x], options), *ours("FAKE_QUANT", [x], options))


def test_narrow_range():
    # LiteRT runs no such operator; the grid then is symmetric around zero.
    options = Table("FakeQuantOptions", min=-1.0, max=1.0, num_bits=2, narrow_range=True)
    assert ours("FAKE_QUANT", [np.array([-5, -0.4, 0.6], F)], options)[0].tolist() == [-1, 0, 1]


def test_dequantize_all_of_float16():
    x = np.arange(2**16, dtype=np.uint16).view(H).reshape(256, 256)
    assert_equal(*litert("DEQUANTIZE", [x]), *ours("DEQUANTIZE", [x]))


def test_the_others_are_left_to_runners():
    for name in ("QUANTIZE", "DENSIFY"):
        assert row(name).options
        assert kernel(name) is None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dequantize_float16(np.ones(3, np.int8)), InvalidValue, "without a scale"),
        (lambda: fake_quant(np.ones(3, H), low=-1, high=1, bits=8), InvalidValue, "float32 is required"),
        (lambda: fake_quant(np.ones(3, F), low=1, high=2, bits=8), InvalidRange, "nudged"),
        (lambda: fake_quant(np.ones(3, F), low=-1, high=2, bits=0), InvalidValue, "bits is 0"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()

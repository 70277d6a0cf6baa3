"""Fused activations."""

from __future__ import annotations

import numpy as np
import pytest

from quantlib.errors import InvalidValue
from quantlib.operators.fused import apply_fused, clip_fused

VALUES = np.float32([-np.inf, -7, -1, -0.5, -0.0, 0, 0.5, 1, 6, 7, np.inf, np.nan])
EXPECTED = (
    VALUES,
    np.maximum(VALUES, 0),
    np.clip(VALUES, -1, 1),
    np.clip(VALUES, 0, 6),
    np.tanh(VALUES),
    np.signbit(VALUES).astype(np.float32),
)


@pytest.mark.parametrize("code", range(6))
def test_in_place_on_floats(code):
    x = VALUES.copy()
    assert apply_fused(x, code) is x
    np.testing.assert_array_equal(x, EXPECTED[code])
    y = VALUES.copy()
    assert clip_fused(y, code) is y
    np.testing.assert_array_equal(y, EXPECTED[code] if code < 4 else VALUES)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"])
@pytest.mark.parametrize("code", range(4))
def test_in_place_on_integers(dtype, code):
    x = np.array([3, 0, 6, 7, 100, 1]).astype(dtype)
    if x.dtype.kind == "i":
        x -= 2
    low, high = ((None, None), (0, None), (-1, 1), (0, 6))[code]
    expected = np.clip(x.astype(np.int64), -(2**40) if low is None else low, 2**40 if high is None else high)
    assert apply_fused(x, code) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("code", [-1, 6])
def test_unknown_codes_are_refused(code):
    for function in (apply_fused, clip_fused):
        with pytest.raises(InvalidValue, match="0 to 5"):
            function(VALUES.copy(), code)


def test_integers_have_no_tanh():
    with pytest.raises(InvalidValue, match="floats are required"):
        apply_fused(np.zeros(3, np.int32), 4)

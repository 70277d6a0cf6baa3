"""Integer kernels of functions of one element, against LiteRT's reference kernels: all values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.operators.integer_functions import inverse_sqrt_multiplier, logarithm
from quantlib.runners import NumpyRunner
from quantlib.tflite import Model
from tests.conformance.judge import End, assert_equal, operator

BYTES = np.arange(-128, 128).astype(np.int8)
WORDS = np.arange(-32768, 32768).astype(np.int16)
SCALES = (0.004, 0.0235, 0.05, 0.37, 1.5)
ROOTS = ("SQRT", "RSQRT")


def unary(name: str, kind: str, before: tuple[float, int], after: tuple[float, int], count: int) -> Model:
    return operator(name, [End(kind, (1, count), *before)], End(kind, (1, count), *after))


def judge(name: str, kind: str, before: tuple[float, int], after: tuple[float, int]) -> None:
    values = WORDS if kind == "INT16" else BYTES
    if name in ROOTS:
        values = values[values >= before[1]]
    assert_equal(unary(name, kind, before, after, values.size), [[values[None]]])


@pytest.mark.parametrize("name", ["ABS", "EXP", "LOG", "SQRT", "RSQRT"])
@pytest.mark.parametrize("scale", SCALES)
def test_int8(name: str, scale: float) -> None:
    for point in (-128, -9, 0, 40, 126):
        for after in ((scale, point), (0.0117, -128), (0.05, 3), (0.0031, 90), (2.5, -7)):
            judge(name, "INT8", (scale, point), after)


@pytest.mark.parametrize("name", ["ABS", "EXP", "LOG", "SQRT", "RSQRT"])
@pytest.mark.parametrize("scale", [1e-5, 3.1e-4, 2**-12, 7e-3])
def test_int16(name: str, scale: float) -> None:
    for after in (scale, 3e-4, 0.01, 1e-5):
        judge(name, "INT16", (scale, 0), (after, 0))


@pytest.mark.parametrize("name", ROOTS)
@pytest.mark.parametrize("kind", ["INT8", "INT16"])
def test_below_zero(name: str, kind: str) -> None:
    runner = NumpyRunner(unary(name, kind, (0.1, 0), (0.1, 0), 2))
    with pytest.raises(InvalidValue, match=rf"{name} of -3, less than the zero point 0"):
        runner.run([np.array([[-3, 5]], kind.lower())])


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 2**31 - 1))
def test_inverse_square_root(x: int) -> None:
    mantissa, shift = inverse_sqrt_multiplier(np.array([x]))
    assert (mantissa / 2**31 * 2.0**shift).item() == pytest.approx(x**-0.5, rel=2e-6, abs=2e-12)


def test_inverse_square_root_of_zero() -> None:
    assert [v.tolist() for v in inverse_sqrt_multiplier(np.array([0, 1]))] == [[2**31 - 1] * 2, [0, 0]]
    with pytest.raises(InvalidValue, match=r"^1 / sqrt of -1\.\.3; 0 to"):
        inverse_sqrt_multiplier(np.array([-1, 3]))


@settings(max_examples=200, deadline=None)
@given(st.integers(1 << 19, 2**31 - 1))
def test_logarithm(x: int) -> None:
    assert (logarithm(np.array([x]), 12, 5) / 2**26).item() == pytest.approx(np.log(x / 2**19), abs=1e-6)


SCALE = st.floats(1e-4, 10).map(np.float32)
POINT = st.integers(-128, 127)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["ABS", "EXP", "LOG", "SQRT", "RSQRT"]), SCALE, POINT, SCALE, POINT)
def test_any_scales(name: str, scale: np.float32, point: int, other: np.float32, end: int) -> None:
    judge(name, "INT8", (float(scale), point), (float(other), end))

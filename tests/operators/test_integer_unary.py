"""Integer kernels of functions of one element, against LiteRT's reference kernels: all values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
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


SCALE = st.floats(1e-4, 10).map(np.float32)
POINT = st.integers(-128, 127)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["ABS", "EXP", "LOG", "SQRT", "RSQRT"]), SCALE, POINT, SCALE, POINT)
def test_any_scales(name: str, scale: np.float32, point: int, other: np.float32, end: int) -> None:
    judge(name, "INT8", (float(scale), point), (float(other), end))

"""Integer kernels of elementwise operators, against LiteRT's reference kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine
from quantlib.operators.elementwise.integer import add_integers, multiply_integers
from quantlib.runners import NumpyRunner
from quantlib.tflite import Table
from tests.conformance.judge import End, assert_equal, int8, int16, operator, uint8

PAIRS = np.stack(np.meshgrid(np.arange(-128, 128), np.arange(-128, 128), indexing="ij")).reshape(2, -1)
OPTIONS = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}
# (s1, z1), (s2, z2), (s_out, z_out)
SCALES = [
    ((0.1, 3), (0.1, 3), (0.1, 3)),
    ((0.5, -128), (0.25, 127), (0.5, 0)),  # powers of two: ties
    ((0.0123, -5), (0.31, 17), (0.4, -77)),
    ((0.02, 0), (0.0001, 5), (0.01, -1)),
]


def ends(kind: str, scales: Any, shape: tuple[int, ...]) -> list[End]:
    offset = 128 if kind == "UINT8" else 0
    return [End(kind, shape, s, 0 if kind == "INT16" else z + offset) for s, z in scales]


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("activation", [0, 1, 2, 3])
@pytest.mark.parametrize("name", sorted(OPTIONS))
class TestPairs:
    @pytest.mark.parametrize("kind", ["INT8", "UINT8"])
    def test_all_pairs_of_bytes(self, name: str, activation: int, scales: Any, kind: str) -> None:
        a, b, y = ends(kind, scales, (1, 65536))
        options = Table(OPTIONS[name], fused_activation_function=activation)
        values = [p[None].astype(np.int8) if kind == "INT8" else (p[None] + 128).astype(np.uint8) for p in PAIRS]
        assert_equal(operator(name, [a, b], y, options), [values])

    def test_int16(self, name: str, activation: int, scales: Any) -> None:
        a, b, y = ends("INT16", [(s / 256, 0) for s, _ in scales], (1, 20000))
        extra = {} if name == "MUL" else {"pot_scale_int16": False}
        options = Table(OPTIONS[name], fused_activation_function=activation, **extra)
        assert_equal(operator(name, [a, b], y, options))


@pytest.mark.parametrize("name", ["ADD", "SUB"])
@pytest.mark.parametrize(("first", "second"), [(-15, -12), (-12, -15), (-12, -12)])
def test_scales_that_are_powers_of_two(name: str, first: int, second: int) -> None:
    shape = (1, 20000)
    a, b, y = (int16(shape, 2.0**e) for e in (first, second, -12))
    assert_equal(operator(name, [a, b], y, Table(OPTIONS[name], pot_scale_int16=True), version=2))


@pytest.mark.parametrize("kind", [int8, uint8])
@pytest.mark.parametrize("shapes", [((2, 3, 4), (1, 1)), ((1, 3, 1), (2, 1, 4)), ((4,), (2, 3, 4)), ((), (2, 2))])
@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_broadcast(name: str, shapes: Any, kind: Any) -> None:
    out = np.broadcast_shapes(*shapes)
    a, b = (kind(s, 0.1, 5) for s in shapes)
    assert_equal(operator(name, [a, b], kind(out, 0.2, 7), Table(OPTIONS[name])))


def test_a_constant_operand() -> None:
    values = np.arange(-6, 6, dtype=np.int8).reshape(1, 12)
    model = operator("MUL", [int8((5, 12), 0.1, 3), int8((1, 12), 0.3, -4, values=values)], int8((5, 12), 0.5, 2))
    assert_equal(model)


@pytest.mark.parametrize("name", ["ADD", "SUB"])
def test_sums_do_not_scale_up(name: str) -> None:
    model = operator(name, [int8((4,), 1.0), int8((4,), 1.0)], int8((4,), 1e-8), Table(OPTIONS[name]))
    with pytest.raises(
        InvalidValue, match=rf"^{name} \(subgraph 0, operator 0\): an output scale of 1e-08: more than"
    ):
        NumpyRunner(model)


def test_shapes_that_do_not_broadcast() -> None:
    model = operator("ADD", [int8((1, 3), 0.1), int8((1, 4), 0.1)], int8((1, 4), 0.1), Table("AddOptions"))
    with pytest.raises(InvalidValue, match="can't be broadcast"):
        NumpyRunner(model).run([np.zeros((1, 3), np.int8), np.zeros((1, 4), np.int8)])


def test_functions_of_plain_arrays() -> None:
    a, b = np.array([10, -20, 127], np.int8), np.array([5, 5, 127], np.int8)
    same = Affine("INT8", 0.1)
    assert add_integers(a, b, same, same, same).tolist() == [15, -15, 127]
    assert add_integers(a, b, same, same, same, subtract=True).tolist() == [5, -25, 0]
    assert multiply_integers(a, b, same, same, same).tolist() == [5, -10, 127]


QUOTIENTS = [
    *SCALES,
    ((3.0, -128), (0.01, 7), (5.0, 3)),
    ((0.001, 20), (0.05, -3), (0.02, 100)),  # small quotients, which LiteRT gets wrong
    ((300.0, 0), (0.1, -100), (0.9, 0)),
]


def divisible(values: np.ndarray, zero_point: int, other: int) -> np.ndarray:
    """Divisors, with another one in place of the zero point."""
    return np.where(values == zero_point, other, values).astype(values.dtype)


@pytest.mark.parametrize("scales", QUOTIENTS)
@pytest.mark.parametrize("activation", [0, 1, 3])
class TestDivision:
    @pytest.mark.parametrize("kind", ["INT8", "UINT8"])
    def test_all_pairs_of_bytes(self, activation: int, scales: Any, kind: str) -> None:
        a, b, y = ends(kind, scales, (1, 65536))
        x, divisors = (p[None].astype(np.int8) if kind == "INT8" else (p[None] + 128).astype(np.uint8) for p in PAIRS)
        options = Table("DivOptions", fused_activation_function=activation)
        assert_equal(operator("DIV", [a, b], y, options), [[x, divisible(divisors, b.zero_point, 55)]])

    def test_int16(self, activation: int, scales: Any) -> None:
        a, b, y = ends("INT16", [(s / 256, 0) for s, _ in scales], (1, 20000))
        rng = np.random.default_rng(4)
        x, divisors = rng.integers(-32768, 32768, (2, 1, 20000)).astype(np.int16)
        small = rng.integers(-20, 21, (1, 20000)).astype(np.int16)
        options = Table("DivOptions", fused_activation_function=activation)
        given = [[v, divisible(w, 0, 9)] for v, w in ((x, divisors), (small, divisors), (x, small))]
        assert_equal(operator("DIV", [a, b], y, options), given)


def test_division_by_what_stands_for_zero() -> None:
    runner = NumpyRunner(operator("DIV", [int8((3,), 0.1), int8((3,), 0.1, 7)], int8((3,), 0.1), Table("DivOptions")))
    with pytest.raises(InvalidValue, match="DIV by 7, which stands for zero"):
        runner.run([np.zeros(3, np.int8), np.array([1, 7, 2], np.int8)])


@pytest.mark.parametrize("scales", [*SCALES, ((0.1, 3), (0.2, -9), (7.0, -128))])
def test_squared_difference(scales: Any) -> None:
    a, b, y = ends("INT8", scales, (1, 65536))
    values = [p[None].astype(np.int8) for p in PAIRS]
    assert_equal(operator("SQUARED_DIFFERENCE", [a, b], y, Table("SquaredDifferenceOptions")), [values])


def test_squared_differences_do_not_scale_up() -> None:
    model = operator("SQUARED_DIFFERENCE", [int8((4,), 3.0), int8((4,), 1.0)], int8((4,), 2e-3))
    with pytest.raises(InvalidValue, match=r"an output scale of 0\.002: more than 0\.00219727 is required"):
        NumpyRunner(model)


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
@pytest.mark.parametrize("scales", [s[:2] for s in SCALES] + [((0.9999, 0), (0.001, 0)), ((1e-6, 0), (1e-5, 3))])
@pytest.mark.parametrize("name", ["EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"])
def test_comparisons(name: str, scales: Any, kind: str) -> None:
    a, b = ends(kind, scales, (1, 65536))
    values = [p[None].astype(np.int8) if kind == "INT8" else (p[None] + 128).astype(np.uint8) for p in PAIRS]
    assert_equal(operator(name, [a, b], End("BOOL", (1, 65536))), [values])


def test_comparisons_with_a_scale_of_one() -> None:
    with pytest.raises(InvalidValue, match="LESS of integers with a scale of 1: less than 1 is required"):
        NumpyRunner(operator("LESS", [int8((4,), 0.5), int8((4,), 1.0)], End("BOOL", (4,))))


@pytest.mark.parametrize("name", ["DIV", "SQUARED_DIFFERENCE", "LESS"])
def test_others_broadcast(name: str) -> None:
    a, b = int8((1, 3, 1), 0.1, 5), int8((2, 1, 4), 0.2, 5)
    y = End("BOOL", (2, 3, 4)) if name == "LESS" else int8((2, 3, 4), 0.5, 7)
    x, other = np.arange(3, dtype=np.int8).reshape(1, 3, 1), np.arange(8, 16, dtype=np.int8).reshape(2, 1, 4)
    assert_equal(operator(name, [a, b], y, Table("DivOptions") if name == "DIV" else None), [[x, other]])


SCALE = st.floats(1e-4, 0.99).map(np.float32)
POINT = st.integers(-128, 127)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["DIV", "SQUARED_DIFFERENCE", "LESS", "EQUAL"]), *[SCALE] * 3, *[POINT] * 3)
def test_any_scales(name: str, s1: Any, s2: Any, s3: Any, z1: int, z2: int, z3: int) -> None:
    if name == "SQUARED_DIFFERENCE":  # less, and LiteRT ends the process
        s3 = max(s3, np.float32(4) * max(s1, s2) ** 2 / (1 << 14) * np.float32(1.001))
    a, b = (int8((1, 65536), float(s), z) for s, z in ((s1, z1), (s2, z2)))
    y = End("BOOL", (1, 65536)) if name in ("LESS", "EQUAL") else int8((1, 65536), float(s3), z3)
    x, other = (p[None].astype(np.int8) for p in PAIRS)
    given_ = [x, divisible(other, z2, 55 if z2 != 55 else 54)] if name == "DIV" else [x, other]
    assert_equal(operator(name, [a, b], y, Table("DivOptions") if name == "DIV" else None), [given_])

"""Error metrics against exact sums."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quantlib.errors import InvalidValue
from quantlib.numerics import cosine, max_error_in_steps, mse, sqnr_db
from quantlib.numerics._blocks import BLOCK

RNG = np.random.default_rng(11)
A = RNG.normal(size=(3, BLOCK + 7)).astype(np.float32)
B = A + RNG.normal(0, 0.01, A.shape).astype(np.float32)


def test_against_exact_sums():
    a, b = A.ravel().astype(float), B.ravel().astype(float)
    signal, noise = math.fsum(a * a), math.fsum((a - b) ** 2)
    assert mse(A, B) == pytest.approx(noise / a.size, rel=1e-13)
    assert sqnr_db(A, B) == pytest.approx(10 * math.log10(signal / noise), rel=1e-13)
    expected = math.fsum(a * b) / math.sqrt(signal * math.fsum(b * b))
    assert cosine(A, B) == pytest.approx(expected, rel=1e-13)
    assert max_error_in_steps(A, B, 0.25) == np.max(np.abs(a - b)) / 0.25
    scale = np.array([0.5, 0.25, 0.125])[:, None]
    assert max_error_in_steps(A, B, scale) == np.max(np.abs(A.astype(float) - B) / scale)
    assert max_error_in_steps(A.T, B.T, scale.T) == max_error_in_steps(A, B, scale)


def test_integers_do_not_wrap():
    a, b = np.array([127, -128], np.int8), np.array([-128, 127], np.int8)
    assert mse(a, b) == 255**2
    assert max_error_in_steps(a, b, 1) == 255
    assert sqnr_db(np.array([200], np.uint8), np.array([220], np.uint8)) == 20


def test_small_errors_on_large_values():
    a = np.full(1000, 2.0**20)
    b = a + 2.0**-20
    assert mse(a, b) == 2.0**-40
    assert sqnr_db(a, b) == pytest.approx(20 * 40 * math.log10(2), rel=1e-14)


def test_edges():
    z, one = np.zeros(3), np.ones(3)
    assert sqnr_db(one, one) == math.inf
    assert sqnr_db(z, z) == math.inf
    assert sqnr_db(z, one) == -math.inf
    assert sqnr_db(one, z) == 0
    assert (cosine(z, z), cosine(z, one), cosine(one, -one)) == (1, 0, -1)
    assert (mse([], []), sqnr_db([], []), cosine([], []), max_error_in_steps([], [], 1)) == (
        0,
        math.inf,
        1,
        0,
    )
    assert mse(1.0, 3.0) == 4


@pytest.mark.parametrize("where", [0, BLOCK + 1, 3 * BLOCK])
def test_nan_is_not_hidden(where):
    b = B.copy()
    b.flat[where] = np.nan
    assert math.isnan(mse(A, b))
    assert math.isnan(sqnr_db(A, b))
    assert math.isnan(cosine(A, b))
    assert math.isnan(max_error_in_steps(A, b, 1))


def test_infinities():
    a, b = np.array([1.0, np.inf]), np.array([1.0, 2.0])
    assert mse(a, b) == mse(b, a) == max_error_in_steps(a, b, 1) == math.inf
    assert sqnr_db(b, a) == -math.inf
    assert all(math.isnan(f(a, a)) for f in (mse, sqnr_db, cosine))
    assert math.isnan(max_error_in_steps(a, a, 1))


@pytest.mark.parametrize("metric", [mse, sqnr_db, cosine, lambda a, b: max_error_in_steps(a, b, 1)])
def test_what_is_refused(metric):
    with pytest.raises(InvalidValue, match=r"shapes \(2,\) and \(1, 2\) differ"):
        metric([1.0, 2.0], [[1.0, 2.0]])
    with pytest.raises(InvalidValue, match="complex128 has no error metric"):
        metric([1j], [1.0])


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (0, "not positive"),
        ([1, -1], "not positive"),
        (np.nan, "not positive"),
        ([1, 2, 3], "don't broadcast"),
    ],
)
def test_steps_that_are_none(scale, message):
    with pytest.raises(InvalidValue, match=message):
        max_error_in_steps([1.0, 2.0], [1.0, 2.0], scale)


def test_steps_of_every_channel_are_found_piece_by_piece():
    a = np.random.default_rng(0).standard_normal((300, 700))
    b, scale = a.copy(), np.linspace(0.5, 2, 300)[:, None]
    b[250, 699] += 3.0
    assert max_error_in_steps(a, b, scale) == pytest.approx(3.0 / scale[250, 0], rel=1e-12)
    assert max_error_in_steps(a, b, np.broadcast_to(scale, a.shape)) == max_error_in_steps(a, b, scale)

"""Refitting: least squares on what stays, exact where inputs are constant; what weights are worth, by brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quantlib.errors import InvalidValue
from quantlib.numerics import Equations, Gram, refit_rows, saliencies


def data(rows: int, inputs: int, seed: int = 0) -> Any:
    """Inputs that depend on each other and have means, so that something can make up for what goes."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, inputs)) @ rng.standard_normal((inputs, inputs)) + rng.standard_normal(inputs)


def products(x: Any, z: Any = None) -> Gram:
    x, z = (None if a is None else np.concatenate([a, np.ones((*a.shape[:-1], 1))], axis=-1) for a in (x, z))
    x, z = (None if a is None else a.reshape(-1, *a.shape[-2:]) for a in (x, z))
    return Gram(x.swapaxes(1, 2) @ x, None if z is None else x.swapaxes(1, 2) @ z)


def layer(outputs: int, inputs: int, share: float = 0.5, seed: int = 1) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((outputs, inputs)), rng.standard_normal(outputs), rng.random((outputs, inputs)) > share


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("other", [True, False])
def test_it_is_least_squares_on_the_columns_that_stay(with_bias: bool, other: bool) -> None:
    z = data(200, 12)
    x = z + 0.1 * data(200, 12, 5) if other else z
    w, bias, mask = layer(6, 12)
    equations = Equations.of(products(x, z if other else None), bias=with_bias, damping=1e-13)
    found, made = refit_rows(w, bias if with_bias else None, mask, equations)
    for r in range(6):
        columns = x[:, mask[r]]
        if with_bias:
            columns = np.concatenate([columns, np.ones((200, 1))], axis=1)
        wanted = np.linalg.lstsq(columns, z @ w[r] + bias[r] * with_bias, rcond=None)[0]
        np.testing.assert_allclose(found[r, mask[r]], wanted[: mask[r].sum()], rtol=1e-7, atol=1e-8)
        assert not found[r, ~mask[r]].any()
        if with_bias:
            assert made is not None
            assert made[r] == pytest.approx(wanted[-1], rel=1e-7, abs=1e-8)
    assert (made is None) == (not with_bias)


def test_each_group_has_its_own_products() -> None:
    x = np.stack([data(100, 9, seed) for seed in range(4)])
    w, bias, mask = layer(8, 9)
    found, made = refit_rows(w, bias, mask, Equations.of(products(x)))
    for g in range(4):
        rows = slice(2 * g, 2 * g + 2)
        alone, bias_alone = refit_rows(w[rows], bias[rows], mask[rows], Equations.of(products(x[g])))
        np.testing.assert_allclose(found[rows], alone, rtol=1e-12)
        assert made is not None
        np.testing.assert_allclose(made[rows], bias_alone, rtol=1e-12)


def test_constant_inputs_go_into_the_bias_exactly() -> None:
    mean = np.array([1.0, -2.0, 0.5, 4.0])
    w, bias, mask = layer(3, 4)
    found, made = refit_rows(w, bias, mask, Equations.of(products(np.tile(mean, (16, 1)))))
    np.testing.assert_allclose(found, np.where(mask, w, 0), rtol=1e-12)
    np.testing.assert_allclose(made, bias + np.where(mask, 0, w) @ mean, rtol=1e-12)


def test_nothing_is_known_of_inputs_that_are_always_zero() -> None:
    w, bias, mask = layer(3, 4)
    found, made = refit_rows(w, bias, mask, Equations.of(products(np.zeros((5, 4)))))
    np.testing.assert_array_equal(found, np.where(mask, w, 0))
    np.testing.assert_array_equal(made, bias)


@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize("whole", [True, False])
def test_what_a_block_is_worth_is_the_error_without_it(block: int, whole: bool) -> None:
    """By brute force: refit to the layer as it is, with one block fewer."""
    equations = Equations.of(products(data(100, 6)), damping=1e-12)
    w, _, mask = layer(2, 6)
    mask = np.ones_like(mask) if whole else np.repeat(np.array([[True, False], [False, True]]), 3, axis=1)
    w = np.where(mask, w, 0)
    found = saliencies(w, mask, equations, block=block)
    for r in range(2):
        for b in range(6 // block):
            less = mask[r].copy()
            less[b * block : (b + 1) * block] = False
            fitted, _ = refit_rows(w[r : r + 1], None, less[None], equations)
            wanted = equations.energy(w[r : r + 1] - fitted)
            assert found[r, b] == pytest.approx(wanted, rel=1e-6, abs=1e-8)


def test_one_inverse_serves_all_rows_where_that_is_asked() -> None:
    equations = Equations.of(products(data(100, 6)))
    w, _, mask = layer(4, 6)
    whole = saliencies(w, np.ones_like(mask), equations)
    np.testing.assert_allclose(saliencies(w, mask, equations, shared=True), whole, rtol=1e-9)
    assert not np.allclose(saliencies(w, mask, equations)[mask], whole[mask], rtol=1e-3)


def test_energy_is_the_sum_of_squares_about_the_mean() -> None:
    x, (w, _, _) = data(50, 5), layer(3, 5)
    y = x @ w.T
    assert Equations.of(products(x)).energy(w) == pytest.approx(((y - y.mean(axis=0)) ** 2).sum())
    assert Equations.of(products(x), bias=False).energy(w) == pytest.approx((y**2).sum())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((1, 3, 3), np.float32), "products of float32"),
        (np.zeros((3, 3)), r"float64 \(G, D \+ 1, D \+ 1\) is required"),
        (np.zeros((1, 3, 4)), "products of shape"),
        (np.full((1, 3, 3), np.nan), "aren't all finite"),
    ],
)
def test_products_are_checked(values: Any, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        Gram(values)
    with pytest.raises(InvalidValue):
        Gram(np.eye(3)[None], values[..., :2])


def test_shapes_must_fit() -> None:
    equations = Equations.of(products(data(50, 5)))
    with pytest.raises(InvalidValue, match=r"matrices \(R, 5\)"):
        refit_rows(np.ones((2, 4)), None, np.ones((2, 4), bool), equations)
    with pytest.raises(InvalidValue, match="blocks of 2 don't fill rows of 5"):
        saliencies(np.ones((2, 5)), np.ones((2, 5), bool), equations, block=2)

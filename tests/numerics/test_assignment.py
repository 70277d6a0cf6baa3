"""Weights that take one of few values: step by step as the definition has it, and against the best of all."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.numerics import Equations, Gram, assign_rows, refit_bias
from tests.support.examples import examples

VALUES = np.array([-1.5, -0.4, 0.0, 0.3, 1.2])


def nearest(x: Any) -> Any:
    return VALUES[np.argmin(np.abs(np.asarray(x) - VALUES), axis=-1)]


def inputs(groups: int, d: int, seed: int, rows: int = 60) -> Any:
    """(groups, rows, d + 1) that depend on each other, of different sizes, and a 1."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((groups, rows, d)) @ rng.standard_normal((groups, d, d)) * np.exp(rng.standard_normal(d))
    return np.concatenate([x + rng.standard_normal(d), np.ones((groups, rows, 1))], axis=2)


def products(x: Any, z: Any = None) -> Gram:
    return Gram(x.swapaxes(1, 2) @ x, None if z is None else x.swapaxes(1, 2) @ z)


def plain(w: Any, fixed: Any) -> Any:
    return np.where(np.isnan(fixed), nearest(w[..., None]), fixed)


def errors_of(rows: Any, wanted: Any, form: Any) -> Any:
    return np.einsum("ni,ij,nj->n", rows - wanted, form, rows - wanted)


def step_by_step(row: Any, fixed: Any, form: Any) -> Any:
    """Those without a value yet are where the error is least, and the next one takes the value nearest to that."""
    out, order = np.empty_like(row), np.argsort(-np.diag(form), kind="stable")
    for i in range(len(order)):
        done, free = order[:i], order[i:]
        errors = row[done] - out[done]
        wanted = row[free] + np.linalg.solve(form[np.ix_(free, free)], form[np.ix_(free, done)] @ errors)
        out[free[0]] = plain(wanted[:1], fixed[free[:1]])[0]
    return out


def one_by_one(row: Any, fixed: Any, form: Any, out: Any) -> Any:
    """Each takes the best of all values beside what the others have, four times."""
    out = out.copy()
    for i in [*range(len(row))] * 4:
        tried = np.repeat(out[None], VALUES.size, axis=0)
        tried[:, i] = VALUES
        if np.isnan(fixed[i]):
            out = tried[np.argmin(errors_of(tried, row, form))]
    return out


def by_definition(w: Any, fixed: Any, equations: Equations) -> Any:
    found = []
    for r, row in enumerate(w):
        g = r * len(equations.within) // len(w)
        form = equations.within[g]
        wanted = np.linalg.solve(form, equations.across[g] @ row)
        both = np.stack([step_by_step(wanted, fixed[r], form), plain(row, fixed[r])])
        best = both[np.argmin(errors_of(both, wanted, form))]
        found.append(one_by_one(wanted, fixed[r], form, best))
    return np.stack(found)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.booleans(), st.booleans(), st.integers(0, 10**6))
@examples(60)
def test_values_are_those_of_the_definition(
    groups: int, rows: int, d: int, other: bool, bias: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((groups * rows, d))
    fixed = np.where(rng.random(w.shape) < 0.3, rng.choice([*VALUES, 7.0], w.shape), np.nan)
    x = inputs(groups, d, seed)
    z = x + 0.3 * np.append(rng.standard_normal(d), 0.0) if other else None
    equations = Equations.of(products(x, z), bias=bias)
    found = assign_rows(w, equations, nearest, fixed=fixed)
    np.testing.assert_array_equal(found, by_definition(w, fixed, equations), strict=True)
    for r in range(len(w)):
        form, wanted = equations.within[r // rows], w[r]
        if other:
            wanted = np.linalg.solve(form, equations.across[r // rows] @ w[r])
        ours, simple = errors_of(np.stack([found[r], plain(w[r], fixed[r])]), wanted, form)
        assert ours <= simple * (1 + 1e-9)


@pytest.mark.parametrize("other", [False, True])
def test_rows_longer_than_what_is_taken_at_once(other: bool) -> None:
    w = np.random.default_rng(5).standard_normal((2, 150))
    x = inputs(1, 150, 3, 400)
    equations = Equations.of(products(x, x[:, ::-1] if other else None))
    fixed = np.full(w.shape, np.nan)
    fixed[0, 70] = 5.0
    np.testing.assert_array_equal(
        assign_rows(w, equations, nearest, fixed=fixed), by_definition(w, fixed, equations), strict=True
    )


def test_outputs_are_nearer_than_with_nearest_values_and_close_to_the_best() -> None:
    ratios = []
    for seed in range(20):
        w = np.random.default_rng(seed).uniform(-1, 1, (3, 6))
        equations = Equations.of(products(inputs(1, 6, seed)))
        every = np.array(list(itertools.product(VALUES, repeat=6)))
        for row, found in zip(w, assign_rows(w, equations, nearest), strict=True):
            form = equations.within[0]
            best, simple, ours = (
                errors_of(rows, row, form).min() for rows in (every, [nearest(row[:, None])], [found])
            )
            ratios.append((ours / best, simple / best))
    ours, simple = np.exp(np.log(ratios).mean(axis=0))  # geometric means: layers' errors differ by magnitudes
    assert ours < 1.2
    assert simple > 2 * ours


def test_by_hand() -> None:
    """The first is 0.3 short, and the second, which is half as large, makes up for it by 0.6; the third can't."""
    x = np.array([[2.0, 1.0, 0.0], [-2.0, -1.0, 0.0], [0.0, 0.0, 0.5], [0.0, 0.0, -0.5]])
    x = np.concatenate([x, np.ones((4, 1))], axis=1)[None]
    equations = Equations.of(products(x), damping=1e-9)
    assert assign_rows([[0.3, 0.0, 0.4]], equations, np.rint).tolist() == [[0.0, 1.0, 0.0]]
    assert assign_rows([[0.3, 0.0, 0.4]], equations, np.rint, fixed=[[1.0, np.nan, np.nan]]).tolist() == [[1, -1, 0]]
    form = equations.within[:, [1, 0, 2]][:, :, [1, 0, 2]]
    turned = Equations(form, form, form, equations.mean, equations.wanted)
    assert assign_rows([[0.0, 0.3, 0.4]], turned, np.rint).tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("bias", [True, False])
def test_nothing_is_known_of_inputs_that_are_always_zero(bias: bool) -> None:
    w, zeros = np.random.default_rng(1).standard_normal((6, 4)), np.zeros((2, 5, 4))
    equations = Equations.of(products(np.concatenate([zeros, np.ones((2, 5, 1))], axis=2)), bias=bias)
    np.testing.assert_array_equal(assign_rows(w, equations, nearest), nearest(w[..., None]))


@pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-5, 1e-3])
def test_inputs_that_hardly_vary(noise: float) -> None:
    """What float32 products leave of their variance may be anything, and isn't taken for it."""
    x = np.tile(np.linspace(3, 50, 48), (40, 1)) + noise * np.random.default_rng(2).standard_normal((40, 48))
    x = np.concatenate([x, np.ones((40, 1))], axis=1).astype(np.float32)
    equations = Equations.of(Gram((x.T @ x).astype(np.float64)[None]))
    w = np.random.default_rng(3).standard_normal((4, 48))
    found = assign_rows(w, equations, nearest)
    bias = refit_bias(np.zeros(4), w, found, equations)
    np.testing.assert_allclose(x[:, :-1] @ found.T + bias, x[:, :-1] @ w.T, rtol=0, atol=60 * noise + 2e-3)


def test_the_bias_brings_means_to_what_they_were() -> None:
    rng = np.random.default_rng(4)
    z, w, bias = inputs(2, 6, 1), rng.standard_normal((4, 6)), rng.standard_normal(4)
    x = z * np.append(rng.random(6), 1.0) + np.append(rng.standard_normal(6), 0.0)
    equations = Equations.of(products(x, z))
    found = assign_rows(w, equations, nearest)
    made = refit_bias(bias, w, found, equations)
    for r in range(4):
        old, new = (a[r // 2, :, :6] @ v[r] + b for a, v, b in ((z, w, bias[r]), (x, found, made[r])))
        assert new.mean() == pytest.approx(old.mean(), abs=1e-9)
    np.testing.assert_array_equal(refit_bias(bias, w, found, Equations.of(products(x, z), bias=False)), bias)


def test_what_is_given_is_not_changed() -> None:
    w, equations = np.ones((2, 6)), Equations.of(products(inputs(1, 6, 1)))
    fixed, within = np.full((2, 6), 0.5), equations.within.copy()
    assert (assign_rows(w, equations, nearest, fixed=fixed) == 0.5).all()
    assert (w == 1).all()
    assert (fixed == 0.5).all()
    np.testing.assert_array_equal(equations.within, within)


def test_what_does_not_fit_is_refused() -> None:
    equations = Equations.of(products(inputs(2, 5, 1)))
    for w, fixed in ((np.ones((2, 4)), None), (np.ones((3, 5)), None), (np.ones((2, 5)), np.ones((2, 4)))):
        with pytest.raises(InvalidValue, match=r"products of 2 groups of 5; matrices \(R, 5\), R a multiple of 2"):
            assign_rows(w, equations, nearest, fixed=fixed)
    indefinite = Equations.of(Gram(np.array([[[1.0, 9, 0], [9, 1, 0], [0, 0, 1]]])))
    with pytest.raises(InvalidValue, match="they aren't positive definite; measure them"):
        assign_rows(np.ones((1, 2)), indefinite, nearest)

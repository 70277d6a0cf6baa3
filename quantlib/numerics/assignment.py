"""Assignment that makes up for itself: weights take one of few values, and those that follow take over its error.

Of a layer's outputs ``w @ x + b`` the squared error is a quadratic form of what the weights change by (`Equations`).
Column by column each weight takes the value that is nearest to where the error is least with all columns before it as
they are, and those behind it free: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", ICLR 2023, there for grids; the same for any values. It is Babai's nearest plane, so that a
Cholesky factor of the form itself says where that is, without an inverse: Chen et al., "The Geometry of LLM
Quantization: GPTQ as Babai's Nearest Plane Algorithm", 2025. Afterwards each weight in turn takes the value that is
best beside all others, which lessens the error by another quarter or so.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue

from .refit import Equations

_Floats = npt.NDArray[np.float64]

#: Columns that errors before them reach in one product.
_BLOCK = 64
#: How often all weights are looked at again, at most; more brings little.
_SWEEPS = 4


def assign_rows(
    weights: npt.ArrayLike,
    equations: Equations,
    nearest: Callable[[_Floats], npt.ArrayLike],
    *,
    fixed: npt.ArrayLike | None = None,
) -> _Floats:
    """Give each weight one of the values that it may have, with little error of the outputs.

    In no row is the error greater than with the value for each weight that is nearest to it.

    Parameters
    ----------
    weights : float array of shape (R, D)
        Of the float layer; R is a multiple of the groups, whose rows follow each other.
    equations : Equations
        Of what the layer reads, and what the float layer did.
    nearest : callable
        Gives for a float64 array of shape (R, 1), a number of each row, the nearest value that each may have.
    fixed : float array of shape (R, D), optional
        Values that are given already; NaN where there is none.

    Returns
    -------
    float64 array of shape (R, D)

    Raises
    ------
    InvalidValue
        If the shapes don't fit each other, or the products aren't positive definite.

    Examples
    --------
    >>> from quantlib.numerics import Gram
    >>> x = np.array([[1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 1.0]])  # two samples of three inputs that are the same
    >>> equations = Equations.of(Gram((x.T @ x)[None]))
    >>> assign_rows([[0.4, 0.4, 0.4]], equations, np.round)  # a sum of 1 where 1.2 is wanted; each rounded gives 0
    array([[0., 1., 0.]])
    """
    w = np.asarray(weights, np.float64)
    given = np.full(w.shape, np.nan) if fixed is None else np.asarray(fixed, np.float64)
    groups, d = equations.mean.shape
    if w.ndim != 2 or given.shape != w.shape or w.shape[1] != d or len(w) % groups:
        raise InvalidValue(
            f"weights {w.shape} and fixed values {given.shape} for products of {groups} groups of {d}; matrices "
            f"(R, {d}), R a multiple of {groups}, are required"
        )
    # what matters most goes first, while there are others to make up for it
    order = np.argsort(-np.einsum("gii->gi", equations.within), axis=1, kind="stable")[:, :, None]
    factor = _factor(equations.within, order)
    columns, known = (_columns_of(a, groups) for a in (w, given))
    near = np.stack([_known_or(known[:, i], nearest(columns[:, i].reshape(-1, 1))) for i in range(d)], axis=1)
    if equations.across is not equations.within:
        # what is wanted of weights that could be anything, where what the layer reads has changed
        columns = np.asarray(np.linalg.solve(equations.within, equations.across @ columns), np.float64)
    sorted_columns, sorted_known = (np.take_along_axis(a, order, axis=1) for a in (columns, known))
    found = np.empty_like(columns)
    np.put_along_axis(found, order, _in_order(sorted_columns, sorted_known, factor, nearest), axis=1)
    best = _in_turn(columns, known, _better(columns, found, near, equations.within), equations.within, nearest)
    return best.swapaxes(1, 2).reshape(w.shape)


def _columns_of(rows: _Floats, groups: int) -> _Floats:
    """Rows (R, D) as the columns of each group: (groups, D, R / groups)."""
    return np.ascontiguousarray(rows.reshape(groups, -1, rows.shape[1]).swapaxes(1, 2))


def _factor(within: _Floats, order: npt.NDArray[np.intp]) -> _Floats:
    """The upper triangular U with ``U @ U^T`` the products in an order; each column over its diagonal element."""
    last_first = order[:, ::-1]
    turned = np.take_along_axis(
        np.take_along_axis(within, last_first, axis=1), last_first.reshape(len(order), 1, -1), axis=2
    )
    try:
        factor = np.linalg.cholesky(turned)[:, ::-1, ::-1]
    except np.linalg.LinAlgError:
        raise InvalidValue(
            "products that no samples have: they aren't positive definite; measure them by quantlib.evaluation.gram"
        ) from None
    return np.asarray(factor / np.einsum("gii->gi", factor)[:, None])


def _known_or(known: _Floats, values: npt.ArrayLike) -> _Floats:
    """What is known; where that is NaN, other values."""
    return np.where(np.isnan(known), np.asarray(values, np.float64).reshape(known.shape), known)


def _in_order(
    wanted: _Floats, known: _Floats, factor: _Floats, nearest: Callable[[_Floats], npt.ArrayLike]
) -> _Floats:
    """Values for columns (groups, D, R): by how much one misses what was wanted of it moves those behind it."""
    d = wanted.shape[1]
    out, errors, moved = np.empty_like(wanted), np.empty_like(wanted), wanted.copy()
    for start in range(0, d, _BLOCK):
        stop = min(start + _BLOCK, d)
        moved[:, start:stop] += factor[:, :start, start:stop].swapaxes(1, 2) @ errors[:, :start]
        for i in range(start, stop):
            moved[:, i] += (factor[:, None, start:i, i] @ errors[:, start:i])[:, 0]
            out[:, i] = _known_or(known[:, i], nearest(moved[:, i].reshape(-1, 1)))
            errors[:, i] = wanted[:, i] - out[:, i]
    return out


def _better(wanted: _Floats, one: _Floats, other: _Floats, within: _Floats) -> _Floats:
    """Of each row the values with the smaller error, the first where they are alike."""
    errors = [np.einsum("gdr,gdr->gr", within @ moved, moved) for moved in (one - wanted, other - wanted)]
    return np.where((errors[1] < errors[0])[:, None], other, one)


def _in_turn(
    wanted: _Floats, known: _Floats, out: _Floats, within: _Floats, nearest: Callable[[_Floats], npt.ArrayLike]
) -> _Floats:
    """Let each column take what is best beside all others as they are, until nothing changes."""
    d = wanted.shape[1]
    slope = within @ (out - wanted)
    for _ in range(_SWEEPS):
        before = out.copy()
        for start in range(0, d, _BLOCK):
            stop = min(start + _BLOCK, d)
            for i in range(start, stop):
                best = out[:, i] - slope[:, i] / within[:, i, i, None]
                value = _known_or(known[:, i], nearest(best.reshape(-1, 1)))
                slope[:, start:stop] += within[:, start:stop, i, None] * (value - out[:, i])[:, None]
                out[:, i] = value
            moved = out[:, start:stop] - before[:, start:stop]
            for rest in (slice(start), slice(stop, d)):
                slope[:, rest] += within[:, rest, start:stop] @ moved
        if np.array_equal(out, before):
            break
    return out

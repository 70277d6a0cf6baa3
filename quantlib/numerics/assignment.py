"""Assignment that makes up for itself: weights take one of few values, and those that follow take over its error.

Of a layer's outputs ``w @ x + b`` the squared error is a quadratic form of what the weights change by (`Equations`).
Column by column each weight takes the value that is nearest to what is wanted of it by then; the columns that follow
are moved to where the error is least with all before them as they are. With the Cholesky factor of the inverse that
is one step each: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", ICLR 2023, there for grids; the same for any values.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue

from .refit import Equations

_Floats = npt.NDArray[np.float64]

#: Columns whose errors reach those behind them in one product.
_BLOCK = 64


def assign_rows(
    weights: npt.ArrayLike,
    equations: Equations,
    nearest: Callable[[_Floats], npt.ArrayLike],
    *,
    fixed: npt.ArrayLike | None = None,
) -> _Floats:
    """Give each weight one of the values that it may have, with little error of the outputs.

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
        If the shapes don't fit each other.

    Examples
    --------
    >>> from quantlib.numerics import Gram
    >>> x = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 1.0], [3.0, 3.0, 1.0]])  # two inputs that are the same
    >>> equations = Equations.of(Gram((x.T @ x)[None]))
    >>> assign_rows([[0.4, 0.4]], equations, np.round)  # 0 and 1 give 1, where 0.8 is wanted; 0 and 0 give 0
    array([[0., 1.]])
    """
    w = np.array(weights, np.float64)
    given = np.full(w.shape, np.nan) if fixed is None else np.asarray(fixed, np.float64)
    groups, d = equations.mean.shape
    if w.ndim != 2 or given.shape != w.shape or w.shape[1] != d or len(w) % groups:
        raise InvalidValue(
            f"weights {w.shape} and fixed values {given.shape} for products of {groups} groups of {d}; matrices "
            f"(R, {d}), R a multiple of {groups}, are required"
        )
    # what matters most goes first, while there are others to make up for it
    order = np.argsort(-np.einsum("gii->gi", equations.within), axis=1, kind="stable")
    rows: _Floats = w.reshape(groups, -1, d)
    if equations.across is not equations.within:
        # what is wanted of weights that could be anything, where what the layer reads has changed
        free = np.linalg.solve(equations.within, equations.across @ rows.swapaxes(1, 2))
        rows = np.asarray(free.swapaxes(1, 2), np.float64)
    at = order[:, None]
    rows, given = (np.take_along_axis(a.reshape(rows.shape), at, axis=2) for a in (rows, given))
    sorted_within = np.take_along_axis(
        np.take_along_axis(equations.within, order[:, :, None], axis=1), order[:, None], axis=2
    )
    out = _columns(rows, given, _factor(sorted_within), nearest)
    found = np.empty_like(out)
    np.put_along_axis(found, at, out, axis=2)
    return found.reshape(w.shape)


def _factor(within: _Floats) -> _Floats:
    """The upper triangular U with ``U^T U`` the inverse; each row over its diagonal element."""
    factor = np.linalg.cholesky(np.linalg.inv(within)).swapaxes(1, 2)
    return np.asarray(factor / np.einsum("gii->gi", factor)[:, :, None])


def _columns(rows: _Floats, given: _Floats, factor: _Floats, nearest: Callable[[_Floats], npt.ArrayLike]) -> _Floats:
    groups, count, d = rows.shape
    out = np.empty_like(rows)
    for start in range(0, d, _BLOCK):
        stop = min(start + _BLOCK, d)
        errors = np.empty((groups, count, stop - start))
        for i in range(start, stop):
            wanted = rows[:, :, i]
            near = np.asarray(nearest(wanted.reshape(-1, 1)), np.float64).reshape(wanted.shape)
            out[:, :, i] = np.where(np.isnan(given[:, :, i]), near, given[:, :, i])
            errors[:, :, i - start] = error = wanted - out[:, :, i]
            rows[:, :, i + 1 : stop] -= error[:, :, None] * factor[:, None, i, i + 1 : stop]
        rows[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    return out

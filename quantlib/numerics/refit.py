"""Refitting: the weights that pruning leaves take over what those that go gave, by least squares.

A layer's outputs are ``w @ x + b``. Of the samples nothing is needed but the sums of ``x x^T`` (`Gram`): the weights
that stay are those with the least squared error against the float layer's own outputs, found from the normal
equations of each output channel. What a weight is worth is the error that is left when it goes and the others make up
for it: LeCun et al., "Optimal Brain Damage", NIPS 1989; Hassibi et al., "Optimal Brain Surgeon", ICNN 1993; layer by
layer: Frantar and Alistarh, "Optimal Brain Compression", NeurIPS 2022.

Weights are matrices here: a row for each output channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue

_Floats = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]

#: What is added to the diagonal of the normal equations, as part of its mean.
DAMPING = 1e-3
#: The least part of the mean square of inputs that counts as their variance: below, it may be what float32 products
#: have lost of it.
_LEAST = 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class Gram:
    """Sums of products of what a layer's weights are multiplied with.

    Attributes
    ----------
    values : float64 array of shape (G, D + 1, D + 1)
        Sums of ``x x^T`` over all samples and places; each x ends with the 1 that the bias is multiplied with. One
        group; or one for each input channel of a depthwise filter.
    across : float64 array of the same shape, optional
        Sums of ``x z^T``, where z is what the layer whose outputs are wanted reads at the same place: where it isn't
        what this one reads, because layers before were changed.

    Raises
    ------
    InvalidValue
        If an array has another dtype or shape, or isn't finite.
    """

    values: _Floats
    across: _Floats | None = None

    def __post_init__(self) -> None:
        for array in (self.values, self.across):
            if array is None:
                continue
            if array.dtype != np.float64 or array.ndim != 3 or array.shape != self.values.shape:
                raise InvalidValue(f"products of {array.dtype} {array.shape}; float64 (G, D + 1, D + 1) is required")
            if array.shape[1] != array.shape[2] or array.shape[1] < 2 or not array.shape[0]:
                raise InvalidValue(f"products of shape {array.shape}; (G, D + 1, D + 1), D 1 or more, is required")
            if not np.isfinite(array).all():
                raise InvalidValue("products that aren't all finite; samples must give finite activations")


@dataclass(frozen=True, slots=True, eq=False)
class Refitted:
    """A weight as it is to be stored, and the bias beside it.

    Attributes
    ----------
    weights : float32 array
        In the shape of the constant; what is 0 is pruned.
    bias : float32 array of shape (output channels,), optional
        None where the bias stays as it is.
    """

    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Equations:
    """The normal equations of a layer, the bias eliminated where it may change.

    Attributes
    ----------
    within : float64 array of shape (G, D, D)
        Damped.
    across : float64 array of shape (G, D, D)
        Times the float weights: the right-hand side; `within` itself where the layer reads what the float layer did.
    plain : float64 array of shape (G, D, D)
        What the float layer's outputs vary by.
    mean, wanted : float64 array of shape (G, D)
        Means of what this layer reads, and of what the float layer does; 0 where the bias stays.
    """

    within: _Floats
    across: _Floats
    plain: _Floats
    mean: _Floats
    wanted: _Floats

    @classmethod
    def of(cls, gram: Gram, *, bias: bool = True, damping: float = DAMPING) -> Equations:
        """Prepare the equations.

        Parameters
        ----------
        gram : Gram
        bias : bool
            Whether the bias is refitted too.
        damping : float
            What is added to the diagonal, as part of its mean. It draws weights to their old values.
        """
        g, c = gram.values, gram.values if gram.across is None else gram.across
        d, count = g.shape[1] - 1, np.maximum(g[:, -1, -1], 1.0)[:, None]
        within, across = g[:, :d, :d], c[:, :d, :d]
        least = _LEAST * _mean_diagonal(within)
        mean, wanted = g[:, :d, d] / count, c[:, d, :d] / count
        if bias:
            within = within - _outer(mean, mean * count)
            across = across - _outer(mean, wanted * count)
        else:
            mean = wanted = np.zeros_like(mean)
        level = np.maximum(_mean_diagonal(within), least)
        ridge = damping * np.where(level > 0, level, 1.0)
        damped = _ridged(within, ridge)
        return cls(damped, damped if gram.across is None else _ridged(across, ridge), within, mean, wanted)

    def group(self, row: int, rows: int) -> int:
        """The group of an output channel."""
        return row * len(self.within) // rows

    def energy(self, weights: _Floats) -> float:
        """How much the outputs vary: the sum of squares, about their mean where the bias is refitted."""
        parts = np.split(weights, len(self.plain))
        return float(
            sum(np.einsum("ri,ij,rj->", w, g, w, optimize=True) for w, g in zip(parts, self.plain, strict=True))
        )


def _mean_diagonal(products: _Floats) -> _Floats:
    """Mean of the diagonal of each group: (G, D, D) to (G,)."""
    found: _Floats = np.einsum("gii->gi", products).mean(axis=1)
    return found


def _ridged(products: _Floats, ridge: _Floats) -> _Floats:
    """Products with a number of each group added to its diagonal."""
    made = products.copy()
    made.reshape(len(made), -1)[:, :: made.shape[1] + 1] += ridge[:, None]
    return made


def _outer(a: _Floats, b: _Floats) -> _Floats:
    return a[:, :, None] * b[:, None, :]


def refit_rows(
    weights: npt.ArrayLike, bias: npt.ArrayLike | None, mask: _Mask, equations: Equations
) -> tuple[_Floats, _Floats | None]:
    """Refit the weights that stay, and the bias, to the outputs of the whole.

    Parameters
    ----------
    weights : float array of shape (R, D)
        Of the float layer; R is a multiple of the groups, whose rows follow each other.
    bias : float array of shape (R,), or None
        Changed where the equations were made with it.
    mask : bool array of shape (R, D)
        True where a weight stays.
    equations : Equations

    Returns
    -------
    weights : float64 array of shape (R, D)
    bias : float64 array of shape (R,), or None

    Raises
    ------
    InvalidValue
        If the shapes don't fit each other.

    Examples
    --------
    >>> x = np.array([[1.0, 2.0, 1.0], [2.0, 4.0, 1.0], [3.0, 6.0, 1.0]])  # two inputs, the second twice the first
    >>> equations = Equations.of(Gram((x.T @ x)[None]), damping=1e-9)
    >>> refit_rows([[1.0, 1.0]], [0.5], np.array([[False, True]]), equations)
    (array([[0. , 1.5]]), array([0.5]))
    """
    w = _matrix(weights, mask, equations)
    out = np.zeros_like(w)
    for r, stays in enumerate(mask):
        g, keep = equations.group(r, len(w)), np.flatnonzero(stays)
        if keep.size:
            right = equations.across[g][keep] @ w[r]
            out[r, keep] = np.linalg.solve(equations.within[g][np.ix_(keep, keep)], right)
    return out, None if bias is None else refit_bias(bias, w, out, equations)


def refit_bias(bias: npt.ArrayLike, weights: _Floats, now: _Floats, equations: Equations) -> _Floats:
    """The bias that brings the mean of each output to what it is with the float layer's weights.

    Parameters
    ----------
    bias : float array of shape (R,)
        Of the float layer.
    weights, now : float64 array of shape (R, D)
        Of the float layer; and as they have become.
    equations : Equations

    Returns
    -------
    float64 array of shape (R,)
    """
    groups = [equations.group(r, len(weights)) for r in range(len(weights))]
    moved: _Floats = (weights * equations.wanted[groups] - now * equations.mean[groups]).sum(axis=1)
    return np.asarray(bias, np.float64) + moved


def saliencies(
    weights: npt.ArrayLike, mask: _Mask, equations: Equations, *, block: int = 1, shared: bool = False
) -> _Floats:
    """What weights are worth: the squared error of the outputs when one goes and the others make up for it.

    Parameters
    ----------
    weights : float array of shape (R, D)
    mask : bool array of shape (R, D)
        True where a weight is there; what isn't is worth 0.
    equations : Equations
    block : int
        Neighbours in a row that go together.
    shared : bool
        Let weights that are gone make up, too: one inverse for all rows of a group, instead of one for each.

    Returns
    -------
    float64 array of shape (R, D / block)

    Raises
    ------
    InvalidValue
        If the shapes don't fit each other.
    """
    w = _matrix(weights, mask, equations)
    if w.shape[1] % block:
        raise InvalidValue(f"blocks of {block} don't fill rows of {w.shape[1]}; a divisor is required")
    found = np.zeros((len(w), w.shape[1] // block))
    known: dict[int, _Floats] = {}
    for r, stays in enumerate(mask):
        g = equations.group(r, len(w))
        if shared or stays.all():
            if g not in known:
                known = {g: _inverse_blocks(np.linalg.inv(equations.within[g]), block)}
            found[r] = _worth(w[r].reshape(-1, block), known[g])
            continue
        there = stays.reshape(-1, block).any(axis=1)
        keep = np.flatnonzero(np.repeat(there, block))
        if keep.size:
            inverse = np.linalg.inv(equations.within[g][np.ix_(keep, keep)])
            found[r, there] = _worth(w[r, keep].reshape(-1, block), _inverse_blocks(inverse, block))
    return found


def _inverse_blocks(inverse: _Floats, block: int) -> _Floats:
    """Blocks along the diagonal of an inverse, inverted again: (blocks, block, block)."""
    if block == 1:
        single: _Floats = 1 / np.diag(inverse).reshape(-1, 1, 1)
        return single
    count = len(inverse) // block
    at = np.arange(count)
    diagonal = inverse.reshape(count, block, count, block)[at, :, at, :]
    return np.asarray(np.linalg.inv(diagonal), np.float64)


def _worth(blocks: _Floats, inner: _Floats) -> _Floats:
    found: _Floats = np.maximum(np.einsum("bi,bij,bj->b", blocks, inner, blocks), 0.0)
    return found


def _matrix(weights: npt.ArrayLike, mask: _Mask, equations: Equations) -> _Floats:
    w = np.asarray(weights, np.float64)
    groups, d = equations.mean.shape
    if w.ndim != 2 or w.shape != mask.shape or w.shape[1] != d or len(w) % groups:
        raise InvalidValue(
            f"weights {w.shape} and mask {mask.shape} for products of {groups} groups of {d}; matrices (R, {d}), R a "
            f"multiple of {groups}, are required"
        )
    return w

"""Plain recurrent networks, and SVDF."""

from __future__ import annotations

import numpy as np

from quantlib.errors import InvalidValue

from ..fused import NONE, TANH, apply_fused
from ..kernel import Array
from ._steps import Floats, join, set_state, state_of


def rnn(
    x: Array,
    weights: Array,
    recurrent: Array,
    bias: Array,
    state: Array,
    *,
    activation: int = TANH,
    backward: bool = False,
    auxiliary: Array | None = None,
    auxiliary_weights: Array | None = None,
) -> Floats:
    """Run a plain recurrent network over a sequence.

    Parameters
    ----------
    x : ndarray
        float32 [T, B, I].
    weights, recurrent, bias : ndarray
        float32 [C, I], [C, C] and [C].
    state : ndarray
        float32 [B, C]; updated in place.
    activation : int
        ``ActivationFunctionType``.
    backward : bool
        From the last step to the first.
    auxiliary, auxiliary_weights : ndarray, optional
        A second input: float32 [T, B, J] and [C, J].

    Returns
    -------
    ndarray
        float32 [T, B, C].
    """
    units = weights.shape[0]
    if recurrent.shape != (units, units) or x.shape[-1] != weights.shape[-1]:
        raise InvalidValue(f"weights {weights.shape}, recurrent {recurrent.shape} don't fit input {x.shape}")
    out: Floats = np.matmul(x, join([weights], units, "weights").T)
    if auxiliary is not None and auxiliary_weights is not None:
        out += np.matmul(auxiliary, join([auxiliary_weights], units, "auxiliary weights").T)
    out += bias
    h = state_of(state, x.shape[1], units)
    for t in range(len(out) - 1, -1, -1) if backward else range(len(out)):
        out[t] += h @ recurrent.T
        h = apply_fused(out[t], activation)
    set_state(state, h)
    return out


def svdf(
    x: Array,
    feature: Array,
    time: Array,
    bias: Array | None,
    state: Array,
    *,
    rank: int,
    activation: int = NONE,
) -> Floats:
    """SVDF: one step of a fully-connected layer over the last M inputs, in low rank.

    Parameters
    ----------
    x : ndarray
        float32 [B, I].
    feature, time : ndarray
        float32 [F, I] and [F, M], F = units * rank.
    bias : ndarray or None
        float32 [units].
    state : ndarray
        float32 [B, F * M]: the last M products with `feature`; updated in place.
    rank : int
        Filters per unit.
    activation : int
        ``ActivationFunctionType``.

    Returns
    -------
    ndarray
        float32 [B, units].
    """
    filters = feature.shape[0]
    if rank < 1 or filters % rank or time.shape[0] != filters or x.shape[-1] != feature.shape[-1]:
        raise InvalidValue(f"filters {feature.shape} and {time.shape} of rank {rank} don't fit input {x.shape}")
    old = state_of(state, len(x), filters * time.shape[1]).reshape(len(x), *time.shape)
    new = np.empty_like(old)
    new[..., :-1] = old[..., 1:]
    new[..., -1] = x @ join([feature], filters, "filters").T
    set_state(state, new)
    out: Floats = np.einsum("bfm,fm->bf", new, time).reshape(len(x), -1, rank).sum(-1, dtype=np.float32)
    if bias is not None:
        out += bias
    return apply_fused(out, activation)

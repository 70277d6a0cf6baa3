"""First and last step of kernels that compute on single values: integers less their zero point, and back."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from quantlib.numerics import Affine

from .kernel import Array

_Float = TypeVar("_Float", np.float32, np.float64)


def scale_of(affine: Affine) -> np.float32:
    """Scale, the first where there are several."""
    return np.float32(affine.scale.flat[0])


def zero_point_of(affine: Affine) -> int:
    """Zero point, the first where there are several."""
    return int(affine.zero_point.flat[0])


def ratio(before: Affine, after: Affine, kind: type[_Float]) -> _Float:
    """How many steps of `after` one step of `before` is, the real multiplier from one to the other.

    Parameters
    ----------
    before, after : Affine
        One scale each.
    kind : type
        ``numpy.float32`` or ``numpy.float64``: in which it is computed. What is beyond it is infinite.

    Examples
    --------
    >>> ratio(Affine("INT8", 0.5), Affine("INT8", 0.25), np.float32)
    np.float32(2.0)
    """
    with np.errstate(over="ignore"):
        return kind(kind(scale_of(before)) / kind(scale_of(after)))


def less_zero_point(x: Array, affine: Affine) -> Array:
    """Integers less their one zero point, as int64.

    Examples
    --------
    >>> less_zero_point(np.array([-128, 127], np.int8), Affine("INT8", 0.1, -128))
    array([  0, 255])
    """
    return np.asarray(x.astype(np.int64) - zero_point_of(affine))


def stored(steps: Array, output: Affine, limits: tuple[int, int] | None = None) -> Array:
    """Add the one zero point of an output, clip, and store.

    Parameters
    ----------
    steps : ndarray
        Integers, or floats with integral values: in steps of the output's scale.
    output : Affine
    limits : (int, int), optional
        Least and greatest integer; those of the type otherwise.

    Returns
    -------
    ndarray
        Of the storage dtype of `output`, shape of `steps`.

    Examples
    --------
    >>> stored(np.array([-3, 0, 200]), Affine("INT8", 0.1, 5))
    array([  2,   5, 127], dtype=int8)
    """
    # Wide, as the zero point can lead beyond 32 bits; floats stay floats, since an int64 doesn't hold the largest.
    wide = steps.astype(np.float64 if steps.dtype.kind == "f" else np.int64)
    low, high = limits or (output.qmin, output.qmax)
    return np.asarray(np.clip(wide + zero_point_of(output), low, high).astype(output.type.storage))

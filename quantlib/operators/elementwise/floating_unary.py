"""Functions of one element."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ._checks import check_type, known

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..kernel import Array


def _rsqrt(x: Array) -> Array:
    root = np.asarray(np.sqrt(x))
    return np.asarray(np.reciprocal(root, out=root))


#: What computes an operator, and the kinds of dtype that it takes.
UNARY: Mapping[str, tuple[Callable[[Array], Array], str]] = MappingProxyType(
    {
        "ABS": (np.abs, "fi"),
        "CEIL": (np.ceil, "f"),
        "COS": (np.cos, "f"),
        "EXP": (np.exp, "f"),
        "FLOOR": (np.floor, "f"),
        "LOG": (np.log, "f"),
        "LOGICAL_NOT": (np.logical_not, "b"),
        "NEG": (np.negative, "fi"),
        "ROUND": (np.rint, "f"),
        "RSQRT": (_rsqrt, "f"),
        "SIGN": (np.sign, "fi"),
        "SIN": (np.sin, "f"),
        "SQRT": (np.sqrt, "f"),
        "SQUARE": (np.square, "f"),
        "ZEROS_LIKE": (np.zeros_like, "fiub"),
    }
)


def unary(operation: str, x: Array) -> Array:
    """Apply an operator of one operand to each element.

    Parameters
    ----------
    operation : str
        An operator of `UNARY`, such as ``RSQRT``. ROUND takes ties to the even integer.
    x : ndarray
        Any shape. Floats; ABS, NEG and SIGN also take integers, LOGICAL_NOT booleans, ZEROS_LIKE anything.

    Returns
    -------
    ndarray
        Shape and dtype of `x`. Where a function is undefined stands NaN.

    Raises
    ------
    InvalidValue
        If there is no such operation, or it isn't defined for the dtype.

    Examples
    --------
    >>> unary("RSQRT", np.array([4.0, 0.25], np.float32)).tolist()
    [0.5, 2.0]
    """
    function, kinds = known(UNARY, operation)
    check_type(operation, kinds, x)
    with np.errstate(all="ignore"):
        return np.asarray(function(x))

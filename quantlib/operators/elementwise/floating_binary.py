"""Functions of two elements, broadcast: arithmetic, comparisons, logic."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..fused import clip_fused
from ._checks import check_shapes, check_type, known

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..kernel import Array


def _nonzero(operation: str, divisor: Array) -> None:
    if not divisor.all():
        raise InvalidValue(f"{operation} by zero of {divisor.dtype}: other divisors are required")


def truncated_quotient(a: Array, b: Array | int) -> Array:
    """Quotient of integers, rounded towards zero as in C."""
    quotient, remainder = np.divmod(a, b)
    return np.asarray(quotient + ((remainder != 0) & (quotient < 0)))


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.asarray(np.divide(a, b))
    _nonzero("DIV", b)
    return truncated_quotient(a, b)


def _floor_divide(a: Array, b: Array) -> Array:
    _nonzero("FLOOR_DIV", b)
    if a.dtype.kind != "f":
        return np.asarray(np.floor_divide(a, b))
    # The quotient is rounded to float64 before the floor, not to float32: 1 / 0.1 is 9.
    quotient = np.asarray(np.divide(a, b, dtype=np.float64))
    return np.asarray(np.floor(quotient, out=quotient).astype(a.dtype))


def _floor_modulo(a: Array, b: Array) -> Array:
    if a.dtype.kind != "f":
        _nonzero("FLOOR_MOD", b)
    return np.asarray(np.remainder(a, b))


def _second_if_nan(result: Array, a: Array, b: Array) -> Array:
    """Make a comparison with NaN choose the second operand, as ``a > b ? a : b`` does."""
    if result.dtype.kind == "f" and result.size and np.isnan(np.max(result)):
        np.copyto(result, b, where=np.isnan(a))
    return result


def _maximum(a: Array, b: Array) -> Array:
    return _second_if_nan(np.asarray(np.maximum(a, b)), a, b)


def _minimum(a: Array, b: Array) -> Array:
    return _second_if_nan(np.asarray(np.minimum(a, b)), a, b)


def _power(a: Array, b: Array) -> Array:
    if b.dtype.kind == "i" and b.size and np.min(b) < 0:
        raise InvalidValue(f"POW of {a.dtype} with the exponent {np.min(b)}: none below zero can be had")
    return np.asarray(np.power(a, b))


def _right_shift(a: Array, b: Array) -> Array:
    # Arithmetic; counts beyond the width shift out all bits but one, those below zero none.
    counts = np.asarray(np.minimum(b, b.dtype.type(8 * a.dtype.itemsize - 1)))
    return np.asarray(np.right_shift(a, np.maximum(counts, b.dtype.type(0))))


def _squared_difference(a: Array, b: Array) -> Array:
    difference = np.asarray(np.subtract(a, b))
    return np.asarray(np.square(difference, out=difference))


#: What computes an operator, and the kinds of dtype that it takes.
BINARY: Mapping[str, tuple[Callable[[Array, Array], Array], str]] = MappingProxyType(
    {
        "ADD": (np.add, "fiu"),
        "ATAN2": (np.arctan2, "f"),
        "BITWISE_XOR": (np.bitwise_xor, "iu"),
        "DIV": (_divide, "fiu"),
        "EQUAL": (np.equal, "fiub"),
        "FLOOR_DIV": (_floor_divide, "fiu"),
        "FLOOR_MOD": (_floor_modulo, "fiu"),
        "GREATER": (np.greater, "fiu"),
        "GREATER_EQUAL": (np.greater_equal, "fiu"),
        "LESS": (np.less, "fiu"),
        "LESS_EQUAL": (np.less_equal, "fiu"),
        "LOGICAL_AND": (np.logical_and, "b"),
        "LOGICAL_OR": (np.logical_or, "b"),
        "MAXIMUM": (_maximum, "fiu"),
        "MINIMUM": (_minimum, "fiu"),
        "MUL": (np.multiply, "fiu"),
        "NOT_EQUAL": (np.not_equal, "fiub"),
        "POW": (_power, "fi"),
        "RIGHT_SHIFT": (_right_shift, "iu"),
        "SQUARED_DIFFERENCE": (_squared_difference, "fiu"),
        "SUB": (np.subtract, "fiu"),
    }
)


def binary(operation: str, a: Array, b: Array, *, activation: int = 0) -> Array:
    """Apply an operator of two operands to each pair of elements.

    Integers wrap around; DIV of integers truncates, FLOOR_DIV rounds down, RIGHT_SHIFT is arithmetic. Of a number
    and NaN, MAXIMUM and MINIMUM take the second operand.

    Parameters
    ----------
    operation : str
        An operator of `BINARY`, such as ``ADD``.
    a, b : ndarray
        Of one dtype, and of shapes that broadcast: floats, and integers or booleans where they make sense.
    activation : int
        ``ActivationFunctionType``, see `clip_fused`.

    Returns
    -------
    ndarray
        The common shape. Dtype of the operands; bool for comparisons.

    Raises
    ------
    InvalidValue
        If there is no such operation, it isn't defined for the dtype, shapes don't broadcast, or integers (for
        FLOOR_DIV, anything) are divided by zero.

    Examples
    --------
    >>> binary("SUB", np.array([1.0, 5.0], np.float32), np.array([3.0], np.float32), activation=1).tolist()
    [0.0, 2.0]
    """
    function, kinds = known(BINARY, operation)
    check_type(operation, kinds, a, b)
    check_shapes(operation, a, b)
    with np.errstate(all="ignore"):
        return clip_fused(np.asarray(function(a, b)), activation)


def add_n(arrays: Sequence[Array]) -> Array:
    """Sum of several arrays, added in order.

    Parameters
    ----------
    arrays : sequence of ndarray
        Two or more, of one shape and dtype, float or integer.

    Returns
    -------
    ndarray
        Shape and dtype of the operands.

    Raises
    ------
    InvalidValue
        If there are fewer than two, or shapes or types differ.
    """
    if len(arrays) < 2:
        raise InvalidValue(f"ADD_N of {len(arrays)} operands: two or more are required")
    check_type("ADD_N", "fiu", *arrays)
    if any(array.shape != arrays[0].shape for array in arrays):
        raise InvalidValue(f"ADD_N of shapes {', '.join(str(a.shape) for a in arrays)}: one shape is required")
    with np.errstate(all="ignore"):
        total = np.asarray(np.add(arrays[0], arrays[1]))
        for array in arrays[2:]:
            np.add(total, array, out=total)
    return total

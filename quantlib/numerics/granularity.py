"""Granularity: how many scales a tensor has, and which elements share one."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any, SupportsIndex, Union

import numpy as np
from numpy.typing import NDArray

from quantlib.errors import InvalidValue


@dataclass(frozen=True, slots=True)
class PerTensor:
    """One scale for the whole tensor."""


@dataclass(frozen=True, slots=True)
class PerAxis:
    """One scale for each index along `axis` (`quantized_dimension` in the schema).

    Attributes
    ----------
    axis : int
        Zero or positive: a file can't say "the last axis".
    """

    axis: int

    def __post_init__(self) -> None:
        _require_integer("axis", self.axis, 0)


@dataclass(frozen=True, slots=True)
class PerBlock:
    """One scale for each run of `size` elements along `axis`.

    Attributes
    ----------
    axis : int
        Zero or positive.
    size : int
        Elements of a block; must divide the tensor's extent along `axis`.
    """

    axis: int
    size: int

    def __post_init__(self) -> None:
        _require_integer("axis", self.axis, 0)
        _require_integer("size", self.size, 1)


Granularity = Union[PerTensor, PerAxis, PerBlock]  # noqa: UP007 - evaluated, and must stay usable on 3.10
"""How many scales a tensor has: `PerTensor`, `PerAxis` or `PerBlock`."""

PER_TENSOR = PerTensor()


def parameter_shape(granularity: Granularity, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the scales and zero points of a tensor.

    Parameters
    ----------
    granularity : Granularity
    shape : tuple of int
        Shape of the tensor.

    Returns
    -------
    tuple of int
        ``(1,)`` for `PerTensor`, ``(shape[axis],)`` for `PerAxis`, and for `PerBlock` `shape` with the
        extent along `axis` divided by the block size.

    Raises
    ------
    InvalidValue
        If the tensor has no such axis, blocks don't divide it, or the granularity is something else.

    Examples
    --------
    >>> parameter_shape(PerAxis(0), (8, 3, 3, 16))
    (8,)
    >>> parameter_shape(PerBlock(1, 32), (8, 128))
    (8, 4)
    """
    if isinstance(granularity, PerTensor):
        return (1,)
    require_granularity(granularity)
    axis = granularity.axis
    if axis >= len(shape):
        raise InvalidValue(
            f"{granularity} needs an axis {axis}, but the shape is {shape}; use an axis below {len(shape)}"
        )
    if isinstance(granularity, PerAxis):
        return (shape[axis],)
    if shape[axis] % granularity.size:
        raise InvalidValue(
            f"{granularity} needs an extent that is a multiple of {granularity.size} along axis {axis}, "
            f"but the shape is {shape}; use a block size that divides {shape[axis]}"
        )
    return (*shape[:axis], shape[axis] // granularity.size, *shape[axis + 1 :])


def require_granularity(granularity: object) -> None:
    """`InvalidValue` if it is none."""
    if not isinstance(granularity, (PerTensor, PerAxis, PerBlock)):
        raise InvalidValue(f"granularity is {granularity!r}; use PerTensor(), PerAxis(...) or PerBlock(...)")


def channels(granularity: Granularity, shape: tuple[int, ...]) -> int:
    """Count the scales of a tensor of `shape`; raises as `parameter_shape` does.

    Examples
    --------
    >>> channels(PerTensor(), (8, 3)), channels(PerAxis(1), (8, 3)), channels(PerBlock(0, 2), (8, 3))
    (1, 3, 12)
    """
    return math.prod(parameter_shape(granularity, shape))


def as_channels(x: NDArray[Any], granularity: Granularity) -> NDArray[Any]:
    """View an array as (outer, channels, inner): everything at ``[:, c, :]`` shares scale `c`.

    Parameters
    ----------
    x : ndarray
        Any dtype and shape.
    granularity : Granularity

    Returns
    -------
    ndarray of shape (outer, channels, inner)
        The channels stand in the order of the flattened scales. A view of a C-contiguous `x`, except for
        blocks along another axis than the last, whose elements are not evenly spaced: that is a copy.

    Raises
    ------
    InvalidValue
        As `parameter_shape`.

    Examples
    --------
    >>> import numpy as np
    >>> as_channels(np.zeros((2, 3, 4)), PerAxis(1)).shape
    (2, 3, 4)
    >>> as_channels(np.zeros((2, 64)), PerBlock(1, 32)).shape
    (1, 4, 32)
    """
    count = channels(granularity, x.shape)
    if isinstance(granularity, PerTensor):
        return x.reshape(1, 1, x.size)
    axis = granularity.axis
    outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    if isinstance(granularity, PerAxis):
        return x.reshape(outer, count, inner)
    blocks = x.reshape(outer, x.shape[axis] // granularity.size, granularity.size, inner)
    moved = blocks if inner == 1 else np.ascontiguousarray(blocks.swapaxes(2, 3))
    grouped: NDArray[Any] = moved.reshape(1, count, granularity.size)
    return grouped


def from_channels(y: NDArray[Any], granularity: Granularity, shape: tuple[int, ...]) -> NDArray[Any]:
    """Invert `as_channels`: bring (outer, channels, inner) back to `shape`."""
    if isinstance(granularity, PerBlock):
        axis = granularity.axis
        outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        y = y.reshape(outer, shape[axis] // granularity.size, inner, granularity.size).swapaxes(2, 3)
    return y.reshape(shape)


def _require_integer(name: str, value: SupportsIndex, least: int) -> None:
    try:
        index = operator.index(value)
    except TypeError:
        raise InvalidValue(f"{name} is {value!r}; use an integer >= {least}") from None
    if index < least:
        raise InvalidValue(f"{name} is {index}; use an integer >= {least}")

"""For unit tests of kernels: assertions in steps and in units in the last place, and random quantized operands.

==========  ====================================================================================================
assertions  `assert_within_steps` (integers), `assert_within_ulp` (floats)
operands    `random_affine`, `random_quantized`, `random_operands`, `Operands`
==========  ====================================================================================================

The kernels themselves are plain functions in `quantlib.operators.kernels`, the arithmetic below them in
`quantlib.numerics`.

Examples
--------
>>> from quantlib.operators.kernels import exact_weights, fixed_point, multiplier_of_product, reach
>>> from quantlib.operators.kernels import convolve_integers
>>> given = random_operands(np.random.default_rng(0), (1, 5, 5, 3), (4, 3, 3, 3))
>>> real = multiplier_of_product(given.of_x, given.of_weights, given.of_output)
>>> requantize = fixed_point(real, given.of_output, bias=given.bias)
>>> filters = exact_weights(given.weights, reach(given.of_x))
>>> window = {"strides": (1, 1), "dilations": (1, 1), "padding": "SAME"}
>>> output = convolve_integers(given.x, filters, requantize, zero_point=int(given.of_x.zero_point[0]), **window)
>>> output.shape, output.dtype
((1, 5, 5, 4), dtype('int8'))
>>> assert_within_steps(output, output)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, PerAxis, element_type

__all__ = [
    "Operands",
    "assert_within_steps",
    "assert_within_ulp",
    "random_affine",
    "random_operands",
    "random_quantized",
]

_Array = npt.NDArray[Any]

#: Places that a message names.
_SHOWN = 5
#: Steps that the standard deviation of a random output has: most of 8 bits, without much saturation.
_SPREAD = 40.0


def assert_within_steps(actual: npt.ArrayLike, expected: npt.ArrayLike, steps: int = 0) -> None:
    """Raise unless integers are equal, or differ by a few steps at most.

    Parameters
    ----------
    actual, expected : int array of any shape
        Of one dtype and shape: nothing broadcasts.
    steps : int
        The greatest difference that passes.

    Raises
    ------
    AssertionError
        If an element differs by more: the message says how many do, where, and by how much; or if dtypes or shapes
        differ.
    InvalidValue
        If `expected` has no integers, or `steps` is negative.

    Examples
    --------
    >>> assert_within_steps(np.array([1, 5], np.int8), np.array([1, 4], np.int8), steps=1)
    >>> assert_within_steps(np.array([[1, 4], [7, 7]], np.int8), np.array([[1, 4], [9, 7]], np.int8))
    Traceback (most recent call last):
    AssertionError: 1 of 4 elements differ by more than 0 steps, at most by 2: at [1, 0] 7, not 9 (-2)
    """
    found, wanted = _alike(actual, expected, "iu", "integers")
    _check_bound(steps, "steps")
    _raise_beyond(found, wanted, np.asarray(_wide(found) - _wide(wanted)), steps, "steps")


def assert_within_ulp(actual: npt.ArrayLike, expected: npt.ArrayLike, ulp: int = 1) -> None:
    """Raise unless floats are as good as equal: as many representable numbers apart at most.

    Parameters
    ----------
    actual, expected : float array of any shape
        float16, float32 or float64, of one dtype and shape: nothing broadcasts. Both zeros are one number; a NaN
        equals a NaN.
    ulp : int
        Units in the last place: numbers of the dtype from one to the other.

    Raises
    ------
    AssertionError
        If an element differs by more: the message says how many do, where, and by how much; or if dtypes or shapes
        differ.
    InvalidValue
        If `expected` has no floats, or `ulp` is negative.

    Examples
    --------
    >>> one = np.float32([1, 2])
    >>> assert_within_ulp(np.nextafter(one, np.float32(3)), one)
    >>> assert_within_ulp(np.float32([1, 2.000001]), one)
    Traceback (most recent call last):
    AssertionError: 1 of 2 elements differ by more than 1 ulp, at most by 4: at [1] 2.000001, not 2.0 (+4)
    """
    found, wanted = _alike(actual, expected, "f", "floats")
    _check_bound(ulp, "ulp")
    if found.dtype.itemsize > 8:
        raise InvalidValue(f"floats of {found.dtype}; float16, float32 or float64 are required")
    difference = np.asarray(_ordinal(found) - _ordinal(wanted))
    nan, other = np.isnan(found), np.isnan(wanted)
    difference[nan & other] = 0
    difference[nan ^ other] = 1 << (8 * found.dtype.itemsize)  # farther than any number is from another
    _raise_beyond(found, wanted, difference, ulp, "ulp")


def random_affine(
    rng: np.random.Generator,
    type: str = "INT8",
    *,
    channels: int | None = None,
    axis: int = 0,
    symmetric: bool | None = None,
) -> Affine:
    """Random scales, from 1/256 to 1, and zero points.

    Parameters
    ----------
    rng : numpy.random.Generator
    type : str
        Element type, such as ``INT8``.
    channels : int, optional
        So many scales, one for each index along `axis`; else one for all.
    axis : int
    symmetric : bool, optional
        Zero points of 0; by default with several scales, and for types of 16 bits or more.

    Returns
    -------
    Affine

    Raises
    ------
    InvalidValue
        If there is no such type of integers, or `rng` is something else.

    Examples
    --------
    >>> random_affine(np.random.default_rng(0), "INT8").zero_point.shape
    (1,)
    >>> random_affine(np.random.default_rng(0), "INT8", channels=3).zero_point
    array([0, 0, 0])
    """
    _check_generator(rng)
    kind = element_type(type)
    if not kind.is_integer:
        raise InvalidValue(f"scales for {type}; a type of integers is required")
    count = 1 if channels is None else channels
    scale = np.exp2(rng.uniform(-8, 0, count)).astype(np.float32)
    if symmetric is None:
        symmetric = channels is not None or kind.bits >= 16
    plain = Affine(kind, np.ones(1, np.float32))
    points = np.zeros(count, np.int64) if symmetric else rng.integers(plain.qmin, plain.qmax + 1, count)
    return Affine(kind, scale, points) if channels is None else Affine(kind, scale, points, PerAxis(axis))


def random_quantized(rng: np.random.Generator, shape: tuple[int, ...], affine: Affine) -> _Array:
    """Random integers over the whole range of a type; both ends are among them, where there is room.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
    affine : Affine
        Whose type and range they have.

    Returns
    -------
    ndarray
        Of the storage dtype of `affine`, shape `shape`.

    Raises
    ------
    InvalidValue
        If NumPy has no such arrays, or `rng` is something else.

    Examples
    --------
    >>> random_quantized(np.random.default_rng(0), (2, 3), Affine("INT4", 0.1))
    array([[-8,  2,  0],
           [-4, -4,  7]], dtype=int8)
    """
    _check_generator(rng)
    storage = affine.type.storage
    if storage is None:
        raise InvalidValue(f"an array of {affine.type.name}; NumPy has no such arrays")
    values = rng.integers(affine.qmin, affine.qmax + 1, shape).astype(storage)
    if values.size > 1:
        values.flat[0], values.flat[-1] = affine.qmin, affine.qmax
    return values


@dataclass(frozen=True, slots=True, eq=False)
class Operands:
    """Random operands of a convolution or a dense layer.

    Attributes
    ----------
    x, weights : ndarray
    bias : ndarray
        int32, or int64 for int16 `x`: one for each output channel.
    of_x, of_weights, of_output : Affine
        What the integers stand for. Outputs fill most of their range, and a few saturate.
    """

    x: _Array
    weights: _Array
    bias: _Array
    of_x: Affine
    of_weights: Affine
    of_output: Affine


def random_operands(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    weights_shape: tuple[int, ...],
    *,
    type: str = "INT8",
    weights_type: str = "INT8",
    axis: int = 0,
    per_channel: bool = True,
) -> Operands:
    """Random operands of a convolution or a dense layer, of scales that go together.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        Of the activations.
    weights_shape : tuple of int
        ``[outputs, height, width, channels]``, ``[1, height, width, outputs]`` with `axis` 3 (depthwise), or
        ``[units, depth]``.
    type : str
        ``INT8``, ``UINT8`` or ``INT16``: of activations and output.
    weights_type : str
        ``INT8`` or ``INT4``; ``UINT8``, which has a zero point, with one scale.
    axis : int
        Of the output channels in the weights.
    per_channel : bool
        A scale for each of them.

    Returns
    -------
    Operands

    Raises
    ------
    InvalidValue
        If there is no such type of integers, the shapes don't go together, or `rng` is something else.

    Examples
    --------
    >>> given = random_operands(np.random.default_rng(0), (2, 8), (4, 8), type="INT16")
    >>> given.x.dtype, given.weights.shape, given.bias.dtype, given.of_weights.scale.shape
    (dtype('int16'), (4, 8), dtype('int64'), (4,))
    """
    _check_depths(shape, weights_shape, axis)
    of_x, of_y = (_centered(rng, random_affine(rng, type), 4) for _ in range(2))
    of_weights = random_affine(rng, weights_type, symmetric=True)
    outputs = weights_shape[axis]
    if weights_type == "UINT8":
        of_weights = _centered(rng, of_weights, 16)
    elif per_channel:  # of one order, so that no channel drowns the others
        scales = of_weights.scale * rng.uniform(0.5, 1.5, outputs).astype(np.float32)
        points, along = np.zeros(outputs, np.int64), PerAxis(axis % len(weights_shape))
        of_weights = Affine(of_weights.type, scales, points, along, narrow_range=True)
    x, weights = random_quantized(rng, shape, of_x), random_quantized(rng, weights_shape, of_weights)
    depth = max(1, math.prod(weights_shape) // max(outputs, 1))
    spread = math.sqrt(depth) * _size(x, of_x) * _size(weights, of_weights) or 1.0
    wide = of_x.type.bits == 16
    bias = np.rint(rng.normal(0, spread, outputs)).astype(np.int64 if wide else np.int32)
    fill = spread / (_SPREAD * (256 if wide else 1))
    scale = float(of_x.scale.flat[0]) * float(of_weights.scale.mean()) * fill
    of_output = Affine(of_x.type, np.full(1, scale, np.float32), of_y.zero_point)
    return Operands(x, weights, bias, of_x, of_weights, of_output)


def _centered(rng: np.random.Generator, affine: Affine, part: int) -> Affine:
    """The same with a zero point in the middle of the range, give or take a part of it; 0 stays for wide types."""
    if affine.type.bits >= 16:
        return affine
    span = affine.qmax - affine.qmin + 1
    middle = affine.qmin + span // 2
    return Affine(affine.type, affine.scale, rng.integers(middle - span // part, middle + span // part, 1))


def _size(q: _Array, affine: Affine) -> float:
    """Root of the mean square of what integers are beyond their zero point."""
    return float(np.sqrt(np.mean((q.astype(np.float64) - affine.zero_point.flat[0]) ** 2))) if q.size else 0.0


def _alike(actual: npt.ArrayLike, expected: npt.ArrayLike, kinds: str, what: str) -> tuple[_Array, _Array]:
    """Both as arrays, after a look at dtypes and shapes."""
    found, wanted = np.asarray(actual), np.asarray(expected)
    if wanted.dtype.kind not in kinds:
        raise InvalidValue(f"an array of {wanted.dtype} is expected; {what} are required here")
    if found.dtype != wanted.dtype:
        raise AssertionError(f"an array of {found.dtype}, not {wanted.dtype}")
    if found.shape != wanted.shape:
        raise AssertionError(f"an array of shape {list(found.shape)}, not {list(wanted.shape)}")
    return found, wanted


def _check_generator(rng: object) -> None:
    if not isinstance(rng, np.random.Generator):
        raise InvalidValue(f"rng is {rng!r}; a Generator is required, such as np.random.default_rng(0)")


def _check_depths(shape: tuple[int, ...], weights_shape: tuple[int, ...], axis: int) -> None:
    """Refuse weights that no operator multiplies with such activations: depths fit, or are those of groups."""
    depthwise = len(weights_shape) > 1 and axis in (-1, len(weights_shape) - 1)
    whole, part = (weights_shape, shape) if depthwise else (shape, weights_shape)
    if not whole or not part or whole[-1] % max(part[-1], 1):
        raise InvalidValue(
            f"activations of shape {list(shape)} and weights of shape {list(weights_shape)}; the last axis of "
            f"{'weights' if depthwise else 'activations'} must be a multiple of that of the other"
        )


def _check_bound(bound: int, what: str) -> None:
    if bound < 0:
        raise InvalidValue(f"{bound} {what}; 0 or more are required")


def _ordinal(x: _Array) -> _Array:
    """Place of floats among all numbers of their dtype, from 0 for both zeros."""
    x = x.astype(x.dtype.newbyteorder("="), copy=False)
    bits = _wide(np.ascontiguousarray(x).view(f"i{x.dtype.itemsize}").reshape(x.shape))
    least = -(1 << (8 * x.dtype.itemsize - 1))
    return np.asarray(np.where(bits < 0, least - bits, bits))


def _wide(x: _Array) -> _Array:
    """Integers whose differences can't overflow: those of 64 bits need one more."""
    return x.astype(object if x.dtype.itemsize == 8 else np.int64)


def _raise_beyond(found: _Array, wanted: _Array, difference: _Array, bound: int, unit: str) -> None:
    size = np.abs(difference)
    beyond = size > bound
    count = int(np.count_nonzero(beyond))
    if not count:
        return
    flat = size.reshape(-1)  # of Python integers for 64 bits
    worst = np.flatnonzero(beyond)
    worst = worst[np.argsort(-flat[worst], kind="stable")][:_SHOWN]
    places = []
    for at in worst.tolist():
        index = [int(i) for i in np.unravel_index(at, found.shape)]
        by = int(difference.reshape(-1)[at])
        places.append(f"at {index} {found.flat[at]!s}, not {wanted.flat[at]!s} ({by:+d})")
    more = "; ..." if count > len(places) else ""
    raise AssertionError(
        f"{count} of {found.size} elements differ by more than {bound} {unit}, at most by {int(flat.max())}: "
        + "; ".join(places)
        + more
    )

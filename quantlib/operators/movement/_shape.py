"""Shapes: the same elements in another arrangement."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue

from ..kernel import Array, Call, Kernel
from ._checks import axis_of, integer, integers, output_dtype, shape_of


def reshape(x: Array, shape: Sequence[int]) -> Array:
    """RESHAPE.

    Parameters
    ----------
    x : ndarray
        Any type and shape.
    shape : sequence of int
        One extent may be -1: it takes what remains. The extents that are zero are left out of that division.

    Returns
    -------
    ndarray
        A view where possible.

    Raises
    ------
    InvalidValue
        If the elements don't fill that shape.
    """
    wanted = list(shape)
    if wanted.count(-1) > 1 or any(v < -1 for v in wanted):
        raise InvalidValue(f"shape {tuple(wanted)}: one extent may be -1, the others must not be negative")
    if -1 in wanted:
        given = [v for v in wanted if v != -1]
        if x.size == 0 and 0 not in given:
            rest = 0
        else:
            rest = math.prod(v for v in x.shape if v) // math.prod(v for v in given if v)
        wanted[wanted.index(-1)] = rest
    if math.prod(wanted) != x.size:
        raise InvalidValue(f"{x.size} elements can't have shape {tuple(shape)}")
    return x.reshape(wanted)


def transpose(x: Array, permutation: Sequence[int]) -> Array:
    """TRANSPOSE: axis i of the result is axis ``permutation[i]`` of `x`; a view."""
    axes = [axis_of(axis, x.ndim, "permuted axis") for axis in permutation]
    if sorted(axes) != list(range(x.ndim)):
        raise InvalidValue(f"permutation {list(permutation)} of rank {x.ndim}: each axis is required once")
    return x.transpose(axes)


def expand_dims(x: Array, axis: int) -> Array:
    """EXPAND_DIMS: a new axis of extent 1 before `axis`; a view."""
    return np.expand_dims(x, axis_of(axis, x.ndim + 1))


def squeeze(x: Array, axes: Sequence[int] = ()) -> Array:
    """SQUEEZE: without the given axes of extent 1, all of them where none is given; a view."""
    chosen = {axis_of(axis, x.ndim) for axis in axes} or {i for i, extent in enumerate(x.shape) if extent == 1}
    if any(x.shape[axis] != 1 for axis in chosen):
        raise InvalidValue(f"axes {list(axes)} of shape {x.shape} can't be squeezed: extent 1 is required")
    return x.reshape([extent for i, extent in enumerate(x.shape) if i not in chosen])


def broadcast_to(x: Array, shape: Sequence[int]) -> Array:
    """BROADCAST_TO: repeat axes of extent 1 until `x` has a shape; a view."""
    wanted = shape_of(shape, "broadcast shape")
    try:
        return np.broadcast_to(x, wanted)
    except ValueError:
        raise InvalidValue(f"shape {x.shape} can't be broadcast to {wanted}") from None


def broadcast_args(first: Array, second: Array) -> Array:
    """BROADCAST_ARGS: the shape, as a vector, that two shapes broadcast to."""
    shapes = integers(first, "first shape"), integers(second, "second shape")
    length = max(len(s) for s in shapes)
    long = [[1] * (length - len(s)) + s for s in shapes]
    if any(a != b and 1 not in (a, b) for a, b in zip(*long, strict=True)):
        raise InvalidValue(f"shapes {shapes[0]} and {shapes[1]} can't be broadcast together")
    return np.array([b if a == 1 else a for a, b in zip(*long, strict=True)], first.dtype)


def bitcast(x: Array, dtype: npt.DTypeLike) -> Array:
    """BITCAST: the same bytes as another type; a narrower type adds a last axis, a wider one takes it away."""
    target = np.dtype(dtype)
    whole = np.asarray(x, order="C")
    if target.itemsize < x.itemsize:
        return whole[..., np.newaxis].view(target)
    if target.itemsize > x.itemsize:
        ratio = target.itemsize // x.itemsize
        if x.ndim == 0 or x.shape[-1] != ratio:
            raise InvalidValue(f"{x.dtype} of shape {x.shape} as {target}: a last axis of extent {ratio} is required")
        return whole.view(target)[..., 0]
    return whole.view(target)


def _reshape(call: Call) -> list[Array]:
    shape = call.optional(1)
    if shape is not None and shape.ndim == 1 and shape.dtype == np.int32:
        return [reshape(call.operand(0), shape.tolist())]
    stored = call.options.new_shape
    wanted = [] if stored is None else stored.tolist()
    # Old converters wrote a scalar's shape as [0].
    return [reshape(call.operand(0), [] if wanted == [0] else wanted)]


def _squeeze(call: Call) -> list[Array]:
    axes = call.options.squeeze_dims
    return [squeeze(call.operand(0), () if axes is None else axes.tolist())]


def _transpose(call: Call) -> list[Array]:
    x = call.operand(0)
    return [transpose(x, integers(call.operand(1), "permutation", x.ndim))]


def _shape(call: Call) -> list[Array]:
    return [np.array(call.operand(0).shape, output_dtype(call))]


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "BITCAST": lambda call: [bitcast(call.operand(0), output_dtype(call))],
        "BROADCAST_ARGS": lambda call: [broadcast_args(call.operand(0), call.operand(1))],
        "BROADCAST_TO": lambda call: [broadcast_to(call.operand(0), integers(call.operand(1), "shape"))],
        "EXPAND_DIMS": lambda call: [expand_dims(call.operand(0), integer(call.operand(1), "axis"))],
        "RANK": lambda call: [np.array(call.operand(0).ndim, np.int32)],
        "RESHAPE": _reshape,
        "SHAPE": _shape,
        "SQUEEZE": _squeeze,
        "TRANSPOSE": _transpose,
    }
)

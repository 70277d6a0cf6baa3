"""Float kernels of pools; integers of one scale and zero point are pooled as plain values."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..fused import clip_fused
from ..windows import PADDINGS, Axis, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from ..kernel import Array, Call, Kernel
    from ..windows import PaddingName

_INTEGERS = ("int8", "uint8", "int16")


def _axes(
    x: Array, kernel: Sequence[int], strides: Sequence[int], padding: PaddingName, activation: int, integers: bool
) -> tuple[Axis, ...]:
    """Windows of a pool, after a check of its operand."""
    if x.ndim != 4:
        raise InvalidValue(f"a pool of {x.shape}: rank 4 is required")
    if x.dtype.name not in ("float32", *(_INTEGERS if integers else ())):
        raise InvalidValue(f"a pool of {x.dtype}: float32{', int8, uint8 or int16' if integers else ''} is required")
    if activation and x.dtype.kind != "f":
        raise InvalidValue(
            f"a pool of {x.dtype} with a fused activation: its bounds depend on the scale; use float32"
        )
    return plan(x.shape[1:3], kernel, strides, (1, 1), padding)


def _reduce(x: Array, axes: Sequence[Axis], ufunc: np.ufunc, start: float, dtype: Any) -> Array:
    """Reduce each window to one value: first along the columns, then along the rows."""
    for place, axis in ((2, axes[1]), (1, axes[0])):
        if axis.count == 1 and axis.before == axis.after == 0 and axis.kernel == axis.length:
            x = ufunc.reduce(x, axis=place, keepdims=True, dtype=dtype)
            continue
        out = np.full((*x.shape[:place], axis.count, *x.shape[place + 1 :]), start, dtype)
        lead = (slice(None),) * place
        # only taps that meet the input: a kernel may be far larger
        first, stop = (
            max(0, axis.before - (axis.count - 1) * axis.stride),
            min(axis.kernel, axis.length + axis.before),
        )
        for tap in range(first, stop):
            targets, sources = axis.valid(tap)
            if targets.stop > targets.start:
                part = out[(*lead, targets)]
                ufunc(part, x[(*lead, sources)], out=part)
        x = out
    return x


def _counts(axes: Sequence[Axis], dtype: Any) -> Array:
    """Elements of each window that lie inside: shape ``[rows, columns, 1]``."""
    inside = []
    for axis in axes:
        starts = np.arange(axis.count) * axis.stride - axis.before
        inside.append(np.minimum(starts + axis.kernel, axis.length) - np.maximum(starts, 0))
    counts: Array = np.multiply.outer(*inside)[..., None]
    return counts.astype(dtype)


def average_pool(
    x: Array, *, kernel: Sequence[int], strides: Sequence[int], padding: PaddingName, activation: int = 0
) -> Array:
    """Mean of each window; padding doesn't count.

    Parameters
    ----------
    x : ndarray
        Shape ``[batch, height, width, channels]``; float32, or int8, uint8 or int16, whose means are rounded
        to the nearest, halves away from zero.
    kernel, strides : sequence of int
        Of height and width.
    padding : {"SAME", "VALID"}
    activation : int
        ``ActivationFunctionType``; 0 for integers.

    Returns
    -------
    ndarray
        Dtype of `x`, shape ``[batch, rows, columns, channels]``.

    Raises
    ------
    InvalidValue
        If the rank, dtype, a size or the activation isn't acceptable.
    """
    axes = _axes(x, kernel, strides, padding, activation, True)
    if x.dtype.kind == "f":
        out = _reduce(x, axes, np.add, 0, x.dtype)
        out /= _counts(axes, x.dtype)
        return clip_fused(out, activation)
    sums, counts = _reduce(x, axes, np.add, 0, np.int64), _counts(axes, np.int64)
    means = (np.abs(sums) + counts // 2) // counts
    signed: Array = np.sign(sums) * means
    return signed.astype(x.dtype)


def max_pool(
    x: Array, *, kernel: Sequence[int], strides: Sequence[int], padding: PaddingName, activation: int = 0
) -> Array:
    """Maximum of each window; a NaN is passed on. Parameters are those of `average_pool`.

    Examples
    --------
    >>> x = np.arange(6, dtype=np.int8).reshape(1, 2, 3, 1)
    >>> max_pool(x, kernel=(2, 2), strides=(1, 1), padding="VALID").ravel()
    array([4, 5], dtype=int8)
    """
    axes = _axes(x, kernel, strides, padding, activation, True)
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return clip_fused(_reduce(x, axes, np.maximum, least, x.dtype), activation)


def l2_pool(
    x: Array, *, kernel: Sequence[int], strides: Sequence[int], padding: PaddingName, activation: int = 0
) -> Array:
    """Root of the mean square of each window, of float32. Parameters are those of `average_pool`."""
    axes = _axes(x, kernel, strides, padding, activation, False)
    out = _reduce(np.square(x), axes, np.add, 0, x.dtype)
    out /= _counts(axes, x.dtype)
    return clip_fused(np.sqrt(out, out=out), activation)


def _adapter(pool: Callable[..., Array]) -> Kernel:
    def run(call: Call) -> Sequence[Array]:
        x, options = call.inputs[0], call.options
        if x is None:
            raise InvalidValue("a pool without its input")
        kernel, strides = (options.filter_height, options.filter_width), (options.stride_h, options.stride_w)
        padding, activation = PADDINGS[options.padding], options.fused_activation_function
        return (pool(x, kernel=kernel, strides=strides, padding=padding, activation=activation),)

    return run


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "AVERAGE_POOL_2D": _adapter(average_pool),
        "MAX_POOL_2D": _adapter(max_pool),
        "L2_POOL_2D": _adapter(l2_pool),
    }
)

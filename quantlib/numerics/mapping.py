"""Between real numbers and integers: quantize, dequantize, and both in one go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidValue

from ._arrays import LEAST_NORMAL, float_array, output
from ._blocks import BLOCK, walk
from .affine import Affine, require_affine
from .granularity import Granularity, as_channels, from_channels, parameter_shape
from .rounding import Rounding, round_half_even

# 1.5 * 2**23. Floats from 2**23 to 2**24 are 1 apart: adding this number rounds what is within +-2**22 to an
# integer, ties to even, and the sum's bits are those of this number plus the integer.
_ROUNDER = np.float32(12582912)
_ROUNDER_BITS = int(_ROUNDER.view(np.int32))
# How far from it that holds, with a zero point of 16 bits added: 2**22 - 2**16.
_ROUNDER_REACH = 0x3F0000


def quantize(
    x: ArrayLike,
    affine: Affine,
    *,
    rounding: Rounding = round_half_even,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Quantize: ``q = clip(round(x * (1 / scale)) + zero_point, qmin, qmax)``.

    The arithmetic is float32, as in the TensorFlow Lite converter and in XNNPACK: `x` is rounded to float32,
    multiplied by the float32 reciprocal of the scale, and rounded before the zero point is added. Dividing
    by the scale instead gives other integers near ties. Values outside the range saturate, infinities too.

    NumPy releases the GIL for nearly all of the time, so that threads may each do a part.

    Parameters
    ----------
    x : float16, float32 or float64 array of any shape
    affine : Affine
    rounding : Rounding
        `round_half_even` (XNNPACK) or `round_half_away` (the converter, reference kernels).
    out : array of the shape of `x` and of the type's storage dtype, optional
        Where to write.

    Returns
    -------
    array of the shape of `x`
        Of dtype ``affine.type.storage``: int8 for INT8, INT4 and INT2.

    Raises
    ------
    InvalidValue
        If `x` is not float or has a NaN (`out` is then undefined), if `affine` is something else, if a scale is not a
        normal float32 number, or if shapes don't agree.

    Examples
    --------
    >>> quantize([-100.0, -0.75, 0.0, 1.25], Affine("INT8", 0.5, 3))
    array([-128,    1,    3,    5], dtype=int8)
    """
    x = float_array(x)
    require_affine(affine)
    _check_shape(affine, x.shape)
    storage = np.dtype(affine.type.storage)
    out = output(out, x.shape, storage)
    grouped, target = as_channels(x, affine.granularity), _flat_view(out, affine.granularity)
    result = np.empty(x.size, storage) if target is None else target
    wide, quick = affine.type.bits > 16, rounding is round_half_even and affine.type.bits <= 16
    if not (quick and x.dtype == np.float32 and _quantize_narrow(grouped, affine, result)):
        for cut, levels, _, _ in _levels(grouped, affine, rounding, x):
            if wide:
                _store_wide(levels, affine, result[cut].reshape(levels.shape))
            else:
                np.copyto(result[cut].reshape(levels.shape), levels, casting="unsafe")
    if target is None:
        out[...] = from_channels(result, affine.granularity, x.shape)
    return out


def dequantize(q: ArrayLike, affine: Affine, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Dequantize: ``real = scale * (q - zero_point)``.

    The product is rounded to float32 once, and is infinite beyond it. That of 32 and 64-bit integers is formed in
    float64 first, as LiteRT does: differences are exact below 2**53, and a product within half a float64 step.

    Parameters
    ----------
    q : array of the type's storage dtype, any shape
    affine : Affine
    out : float32 array of the shape of `q`, optional
        Where to write.

    Returns
    -------
    float32 array of the shape of `q`

    Raises
    ------
    InvalidValue
        If `q` is of another dtype, `affine` is something else, or shapes don't agree.

    Examples
    --------
    >>> dequantize(np.array([-128, 3, 5], np.int8), Affine("INT8", 0.5, 3))
    array([-65.5,   0. ,   1. ], dtype=float32)
    """
    q = np.asarray(q)
    require_affine(affine)
    if q.dtype != affine.type.storage:
        raise InvalidValue(f"{q.dtype} values for {affine.type.name}; pass its storage dtype, {affine.type.storage}")
    _check_shape(affine, q.shape)
    out = output(out, q.shape, np.float32)
    grouped, target = as_channels(q, affine.granularity), _flat_view(out, affine.granularity)
    result = np.empty(q.size, np.float32) if target is None else target
    flat, work = grouped.reshape(-1), np.float64 if affine.type.bits > 16 else np.float32
    scale, zero_point = affine.scale.reshape(-1).astype(work), affine.zero_point.reshape(-1).astype(work)
    scratch = np.empty(min(BLOCK, q.size), work)
    for cut, shape, (s, z) in walk(grouped.shape, scale, zero_point):
        piece = result[cut].reshape(shape)
        real = piece if work is np.float32 else scratch[: piece.size].reshape(shape)
        np.copyto(real, flat[cut].reshape(shape), casting="unsafe")
        _to_real(real, s, z, piece)
    if target is None:
        out[...] = from_channels(result, affine.granularity, q.shape)
    return out


def fake_quantize(x: ArrayLike, affine: Affine, *, rounding: Rounding = round_half_even) -> NDArray[np.float32]:
    """Quantize and dequantize: what is left of `x` after a round trip through the integers.

    Parameters
    ----------
    x : float16, float32 or float64 array of any shape
    affine : Affine
    rounding : Rounding

    Returns
    -------
    float32 array of the shape of `x`
        Equal to ``dequantize(quantize(x, affine, rounding=rounding), affine)``, without the integers.

    Raises
    ------
    InvalidValue
        As `quantize`.

    Examples
    --------
    >>> fake_quantize([-100.0, -0.7, 0.0, 1.2], Affine("INT8", 0.5, 3))
    array([-65.5,  -0.5,   0. ,   1. ], dtype=float32)
    """
    x = float_array(x)
    require_affine(affine)
    _check_shape(affine, x.shape)
    grouped = as_channels(x, affine.granularity)
    result = np.empty(x.size, np.float32)
    wide = affine.type.bits > 16
    integers = np.empty(min(BLOCK, x.size), affine.type.storage)
    for cut, levels, scale, zero_point in _levels(grouped, affine, rounding, x):
        if wide:
            q = integers[: levels.size].reshape(levels.shape)
            _store_wide(levels, affine, q)
            np.copyto(levels, q, casting="unsafe")
        _to_real(levels, scale, zero_point, result[cut].reshape(levels.shape))
    return from_channels(result, affine.granularity, x.shape)


def _quantize_narrow(grouped: NDArray[np.float32], affine: Affine, result: NDArray[Any]) -> bool:
    """Quantize to 16 bits or less in two thirds of the time of `_levels`, with the same integers.

    Tells whether it was done: not where a value is NaN, or millions of steps away. One look at the least and
    the greatest of a piece shows that, and also whether anything saturates; weights don't, as a rule.
    """
    scale, shifted = affine.scale.reshape(-1), bool(affine.zero_point.any())
    if not np.all(scale >= LEAST_NORMAL):
        return False
    qmin, qmax = affine.qmin + _ROUNDER_BITS, affine.qmax + _ROUNDER_BITS
    flat, scratch = grouped.reshape(-1), np.empty(min(BLOCK, grouped.size), np.float32)
    zero_point = affine.zero_point.reshape(-1).astype(np.float32)
    for cut, shape, (inverse, z) in walk(grouped.shape, np.float32(1) / scale, zero_point):
        flat_piece = scratch[: cut.stop - cut.start]
        piece, bits = flat_piece.reshape(shape), flat_piece.view(np.int32)
        with np.errstate(over="ignore", invalid="ignore"):
            np.multiply(flat[cut].reshape(shape), inverse, out=piece)
            np.add(piece, _ROUNDER, out=piece)
            if shifted:
                np.add(piece, z, out=piece)
        least, greatest = int(bits.min()), int(bits.max())
        if least < _ROUNDER_BITS - _ROUNDER_REACH or greatest > _ROUNDER_BITS + _ROUNDER_REACH:
            return False
        if least < qmin or greatest > qmax:
            np.clip(bits, qmin, qmax, out=bits)
        # What a narrow type keeps of the bits is the integer: the low half of the rounder's is zero.
        np.copyto(result[cut], bits, casting="unsafe")
    return True


def _levels(
    grouped: NDArray[Any], affine: Affine, rounding: Rounding, x: NDArray[Any]
) -> Iterator[tuple[slice, NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Piece by piece, the integers as floats, with the scales and zero points that go with them.

    Types up to 16 bits come as float32 and clipped, wider ones as float64 and not yet clipped.
    """
    work: type[np.floating[Any]] = np.float64 if affine.type.bits > 16 else np.float32
    scale = affine.scale.reshape(-1)
    if not np.all(scale >= LEAST_NORMAL):
        index = int(np.argmin(scale))
        raise InvalidValue(
            f"scale {scale[index]} of channel {index} is not a normal float32 number, so that nothing can be "
            "quantized to it; use affine_from_range, which never gives such a scale"
        )
    inverse, shifted = np.float32(1) / scale, bool(affine.zero_point.any())
    zero_point = affine.zero_point.reshape(-1).astype(work)
    flat = grouped.reshape(-1)
    scratch = np.empty(min(BLOCK, flat.size), np.float32)
    wide = np.empty(scratch.size if work is np.float64 else 0, np.float64)
    parameters = inverse, scale.astype(work), zero_point
    for cut, shape, (inv, s, z) in walk(grouped.shape, *parameters):
        piece: NDArray[Any] = scratch[: cut.stop - cut.start].reshape(shape)
        # Overflow is saturation, and NaN is found below: neither is worth a warning.
        with np.errstate(over="ignore", invalid="ignore"):
            if flat.dtype == np.float32:
                np.multiply(flat[cut].reshape(shape), inv, out=piece)
            else:
                np.copyto(piece, flat[cut].reshape(shape), casting="unsafe")
                np.multiply(piece, inv, out=piece)
            rounding(piece, out=piece)
            if work is np.float64:
                np.copyto(wide[: piece.size].reshape(shape), piece)
                piece = wide[: piece.size].reshape(shape)
            if shifted:
                np.add(piece, z, out=piece)
            if work is np.float32:
                np.clip(piece, affine.qmin, affine.qmax, out=piece)
            if np.isnan(piece.max()):
                raise _nan_found(x)
        yield cut, piece, s, z


def _store_wide(levels: NDArray[np.float64], affine: Affine, out: NDArray[Any]) -> None:
    # 2**63 - 1 is no float64: clip to the float below, and put the ends in as integers.
    least, greatest = float(affine.qmin), float(affine.qmax)
    if affine.type.bits == 64:
        clipped = np.clip(levels, np.nextafter(least, 0), np.nextafter(greatest, 0))
    else:
        clipped = np.clip(levels, least, greatest)
    np.copyto(out, clipped, casting="unsafe")
    out[levels <= least] = affine.qmin
    out[levels >= greatest] = affine.qmax


def _to_real(q: NDArray[Any], scale: NDArray[Any], zero_point: NDArray[Any], out: NDArray[np.float32]) -> None:
    np.subtract(q, zero_point, out=q)
    with np.errstate(over="ignore"):  # what is beyond float32 is infinite, as the scale says
        np.multiply(q, scale, out=out, casting="same_kind")


def _flat_view(out: NDArray[Any], granularity: Granularity) -> NDArray[Any] | None:
    """`out` flattened in channel order, or None where only a copy could have that order."""
    view = as_channels(out, granularity) if out.flags.c_contiguous else None
    return view.reshape(-1) if view is not None and np.may_share_memory(view, out) else None


def _check_shape(affine: Affine, shape: tuple[int, ...]) -> None:
    required = parameter_shape(affine.granularity, shape)
    if affine.scale.shape != required:
        raise InvalidValue(
            f"scales of shape {affine.scale.shape} for a tensor of shape {shape}, {affine.granularity}; "
            f"{required} is required"
        )


def _nan_found(x: NDArray[Any]) -> InvalidValue:
    index = np.unravel_index(int(np.argmax(np.isnan(x))), x.shape)
    return InvalidValue(f"NaN at index {tuple(map(int, index))} can't be quantized; remove or replace it")

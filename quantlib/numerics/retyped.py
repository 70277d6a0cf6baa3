"""The same real numbers in another integer type: a shift where bits are as many, else a power of two."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue

from ._arrays import GREATEST, LEAST_NORMAL
from .affine import Affine, require_affine
from .granularity import PerTensor
from .types import ElementType, element_type

_SHIFT = 128
#: From one to all of 16 bits' steps in one of 8 bits'.
_WIDE = 256


def retyped(affine: Affine, type: str | ElementType) -> Affine:
    """Parameters that let another integer type hold the same numbers.

    INT8 and UINT8 differ by 128 in the stored integer and in nothing else. INT16 has zero point 0, as kernels require
    (``tflite/kernels/quantize.cc``); its scale is that of 8 bits divided by the largest power of two with which
    all 256 values fit, so each of them is kept exactly: 256 with the zero point in the middle, else 128, with which
    they fit whatever it is. From INT16 to 8 bits the scale is multiplied by 256.

    Parameters
    ----------
    affine : Affine
        Of INT8, UINT8 or INT16, one scale for the whole tensor; of INT16 with zero point 0.
    type : str or ElementType
        INT8, UINT8 or INT16.

    Returns
    -------
    Affine

    Raises
    ------
    InvalidValue
        If a type is another, there are several scales, the zero point of INT16 isn't 0, or the scale would be
        beyond the normal float32 numbers.

    Examples
    --------
    >>> retyped(Affine("UINT8", 0.5, 130), "INT8").zero_point
    array([2])
    >>> retyped(Affine("UINT8", 0.5, 130), "INT16").scale  # 130 * 128 fits 16 bits, 130 * 256 doesn't
    array([0.00390625], dtype=float32)
    """
    require_affine(affine)
    kind = element_type(type)
    known = ("INT8", "UINT8", "INT16")
    if affine.type.name not in known or kind.name not in known:
        raise InvalidValue(f"{affine.type.name} as {kind.name}: one of INT8, UINT8, INT16 is required for either")
    if affine.scale.size != 1 or not isinstance(affine.granularity, PerTensor):
        raise InvalidValue(f"{affine.scale.size} scales; a tensor with one is required to have it in {kind.name}")
    if affine.type == kind:
        return affine
    point = int(affine.zero_point[0])
    if affine.type.bits == kind.bits:
        shift = _SHIFT if kind.name == "UINT8" else -_SHIFT
        return Affine(kind, affine.scale, np.array([point + shift]))
    if kind.name == "INT16":
        highest, lowest = int(affine.type.max or 0) - point, int(affine.type.min or 0) - point
        fits = highest * _WIDE <= (kind.max or 0) and lowest * _WIDE >= (kind.min or 0)
        return Affine(kind, _times(affine.scale, 1 / (_WIDE if fits else _WIDE // 2)))
    if point:
        raise InvalidValue(f"INT16 with zero point {point}; 0 is required")
    return Affine(kind, _times(affine.scale, _WIDE), np.array([_SHIFT if kind.name == "UINT8" else 0]))


def _times(scale: npt.NDArray[np.float32], power: float) -> npt.NDArray[np.float32]:
    """A scale times a power of two."""
    found = scale.astype(np.float64) * power
    if not ((found >= LEAST_NORMAL) & (found <= GREATEST)).all():
        raise InvalidValue(
            f"scale {scale[0]:g} times {power:g} is beyond the normal float32 numbers; a usual one is required"
        )
    return found.astype(np.float32)

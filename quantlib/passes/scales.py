"""Scales of stored integers, checked: what a damaged file says of them ends in a named error."""

from __future__ import annotations

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, PerAxis
from quantlib.recipes import affine_of
from quantlib.tflite import Tensor


def scales_of(tensor: Tensor) -> Affine | None:
    """Scales and zero points of a tensor of integers; None where it has none, or blocks.

    Raises
    ------
    InvalidValue
        If they can't be.
    """
    try:
        return affine_of(tensor)
    except InvalidValue as error:
        text = str(error)
        raise InvalidValue(text if text.startswith(str(tensor)) else f"{tensor}: {text}") from None


def require_channels(tensor: Tensor, affine: Affine) -> None:
    """Refuse scales that aren't as many as a tensor has channels.

    Raises
    ------
    InvalidValue
        If there is neither one nor one for each index of their dimension.
    """
    if not isinstance(affine.granularity, PerAxis):
        return
    axis, count, shape = affine.granularity.axis, affine.scale.size, tensor.shape
    if not (axis < len(shape) and shape[axis] == count):
        raise InvalidValue(f"{tensor}: {count} scales don't fit dimension {axis} of shape {list(shape)}")

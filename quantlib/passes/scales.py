"""Scales of stored integers, checked: what a damaged file says of them ends in a named error."""

from __future__ import annotations

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, PerAxis
from quantlib.recipes import affine_of
from quantlib.tflite import Tensor

#: Types whose values stand for real ones where the tensor has a scale.
SCALED = frozenset({"INT8", "UINT8", "INT16", "INT4", "INT2", "UINT4"})
#: Sums of products: biases, and what QUANTIZE makes of INT16.
SUMS = frozenset({"INT32", "INT64"})


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


def bounds(tensor: Tensor) -> tuple[float, float, float] | None:
    """Least and greatest real value that a tensor's integers can hold, and their step; None where it has several."""
    affine = None if tensor.type not in SCALED | SUMS else scales_of(tensor)
    if affine is None or affine.scale.size != 1:
        return None
    step, point = float(affine.scale[0]), int(affine.zero_point[0])
    return step * (int(affine.type.min or 0) - point), step * (int(affine.type.max or 0) - point), step


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

"""The parameters of affine quantization, ``real = scale * (q - zero_point)``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidValue

from ._arrays import GREATEST
from .granularity import Granularity, PerAxis, PerBlock, PerTensor, require_granularity
from .types import ElementType, element_type


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """The affine map between real numbers and the integers of one element type.

    Parameters
    ----------
    type : ElementType or str
        An integer type.
    scale : float32 array of shape (C,)
        Real size of one step; finite and not negative. (0 and subnormal scales stand in some files, which LiteRT
        reads: such values can be dequantized, but nothing can be quantized to them.) For `PerBlock` the shape is
        that of the tensor with the extent along `axis` divided by the block size. Kept as a read-only copy.
    zero_point : int64 array of the shape of `scale`
        The integer that stands for 0.0; within the type's range, and 0 for 64-bit types. A scalar is
        spread to all channels. Kept as a read-only copy.
    granularity : Granularity
        Which elements share a scale.
    narrow_range : bool
        Whether the type's least value is left out, as it is for weights: -127..127 for INT8.

    Raises
    ------
    InvalidValue
        If a part is not as said above.

    Examples
    --------
    >>> Affine("INT8", 0.5, 3)
    Affine(type=element_type('INT8'), scale=array([0.5], dtype=float32), zero_point=array([3]), \
granularity=PerTensor(), narrow_range=False)
    """

    type: ElementType
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    granularity: Granularity = field(default_factory=PerTensor)
    narrow_range: bool = False
    _known: tuple[object, ...] = field(default=(), init=False, repr=False)
    _hash: int = field(default=0, init=False, repr=False)

    if TYPE_CHECKING:  # what is taken is wider than what is kept

        def __init__(
            self,
            type: ElementType | str,
            scale: ArrayLike,
            zero_point: ArrayLike = 0,
            granularity: Granularity = ...,
            narrow_range: bool = False,
        ) -> None: ...

    def __post_init__(self) -> None:
        kind = element_type(self.type)
        if not kind.is_integer:
            raise InvalidValue(f"{kind.name} has no affine map; use an integer type such as INT8")
        scale = _scales(self.scale, self.granularity)
        zero_point = _zero_points(self.zero_point, scale.shape, kind)
        for name, value in (("type", kind), ("scale", scale), ("zero_point", zero_point)):
            object.__setattr__(self, name, value)

    @property
    def qmin(self) -> int:
        """Least integer used: the type's, or one more if the range is narrow."""
        return int(self.type.min or 0) + self.narrow_range

    @property
    def qmax(self) -> int:
        """Greatest integer used."""
        return int(self.type.max or 0)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Affine) else NotImplemented

    def __hash__(self) -> int:
        if not self._hash:
            object.__setattr__(self, "_hash", hash(self._key()))
        return self._hash

    def __reduce__(self) -> tuple[object, ...]:  # another process hashes otherwise
        return Affine, (self.type, self.scale, self.zero_point, self.granularity, self.narrow_range)

    def _key(self) -> tuple[object, ...]:
        if not self._known:
            arrays = self.scale.shape, self.scale.tobytes(), self.zero_point.tobytes()
            object.__setattr__(self, "_known", (self.type, self.granularity, self.narrow_range, *arrays))
        return self._known


def require_affine(affine: object) -> None:
    """`InvalidValue` if it is none."""
    if not isinstance(affine, Affine):
        raise InvalidValue(f"affine is a {type(affine).__name__}; an Affine is required, such as Affine('INT8', 0.5)")


def _scales(scale: ArrayLike, granularity: Granularity) -> NDArray[np.float32]:
    if isinstance(scale, np.ndarray) and scale.dtype == np.float32:
        scale = np.array(scale, ndmin=1, order="C")
    else:
        try:
            with np.errstate(over="ignore"):
                scale = np.array(scale, np.float32, ndmin=1, order="C")
        except (TypeError, ValueError):
            raise InvalidValue(f"scale is {scale!r}; a number, or an array of numbers, is required") from None
    require_granularity(granularity)
    if isinstance(granularity, PerBlock):
        fits = granularity.axis < scale.ndim
    else:
        fits = scale.ndim == 1 and (scale.size == 1 or isinstance(granularity, PerAxis))
    if not fits:
        raise InvalidValue(f"scales of shape {scale.shape} don't fit {granularity}; see parameter_shape")
    index = _outside(scale, 0, GREATEST)
    if index is not None:
        raise InvalidValue(
            f"scale {scale.reshape(-1)[index]} of channel {index} is no step size; "
            "use a positive finite float32 number"
        )
    scale.flags.writeable = False
    return scale


def _zero_points(zero_point: ArrayLike, shape: tuple[int, ...], kind: ElementType) -> NDArray[np.int64]:
    given = np.asarray(zero_point)
    if given.dtype.kind not in "iu" or (given.size != 1 and given.shape != shape):
        raise InvalidValue(
            f"zero points are {given.dtype}{given.shape}; "
            f"one integer, or integers of the shape of the scales, {shape}, are required"
        )
    low, high = (int(kind.min or 0), int(kind.max or 0)) if kind.bits < 64 else (0, 0)
    index = _outside(given, low, high)
    if index is not None:
        raise InvalidValue(
            f"zero point {given.reshape(-1)[index]} of channel {index} is outside {low}..{high}, "
            f"the range for {kind.name}; choose it within"
        )
    zero_points = given.astype(np.int64)
    if given.shape != shape:
        zero_points = np.full(shape, zero_points.item())
    zero_points.flags.writeable = False
    return zero_points


def _outside(values: NDArray[Any], low: float, high: float) -> int | None:
    """Index, in flat order, of the first value that isn't within bounds; None where all are."""
    if values.size == 1:  # most often; an array's methods take ten times as long as the comparison
        return None if low <= values.item() <= high else 0
    good = (values >= low) & (values <= high)
    return None if good.all() else int(np.argmin(good))

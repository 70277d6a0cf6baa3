"""What is noted beside floats that were integers, for those who quantize them again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from quantlib.numerics import Affine, PerAxis
from quantlib.operators import row
from quantlib.tflite import Model, Quantization, Table

from ..scales import scales_of
from ..weight_sites import WeightSite, weight_sites

_Floats = npt.NDArray[np.float32]

#: The greatest integer of INT8 weights, whose kernels take no zero point; the least one is its negative.
_END = 127


def range_table(
    lo: _Floats, hi: _Floats, scale: _Floats, zero_point: npt.NDArray[np.int64], axis: int | None
) -> Table:
    """Table of the range, scale and zero point of each channel."""
    return Table(
        "QuantizationParameters", min=lo, max=hi, scale=scale, zero_point=zero_point, quantized_dimension=axis or 0
    )


def ranges_of(affine: Affine) -> Table:
    """Table that notes, beside floats, the integers that they were."""
    found, kind = Quantization.of(affine), affine.type
    with np.errstate(over="ignore"):  # a scale near the end of float32
        lo, hi = (
            found.scale * (int(edge or 0) - found.zero_point).astype(np.float32) for edge in (kind.min, kind.max)
        )
    axis = found.quantized_dimension if found.scale.size > 1 else None
    return range_table(lo, hi, found.scale, found.zero_point, axis)


def weight_grids(model: Model) -> dict[tuple[int, int], Table]:
    """Scales with which the weights of a model are INT8 again and nothing is rounded a second time.

    Floats that were integers lie on a grid, whatever becomes of the activations. Who quantizes them finds scales by
    the greatest value of each channel, and these give other steps where that isn't 127 steps of the old ones, as for
    UINT8 with a zero point or one scale for the tensor. So the old scale is noted with zero point 0; for a channel
    that reaches further than 127 of its steps, one by its greatest value.

    Returns
    -------
    dict of (subgraph, tensor) to Table
        Of weights for which this differs from what their values say themselves.

    Raises
    ------
    InvalidValue
        If a weight can't be read.
    """
    return dict(_grids(model))


def _grids(model: Model) -> Iterator[tuple[tuple[int, int], Table]]:
    for site in weight_sites(model):
        if not site.reason and site.tensor.type in ("INT8", "UINT8") and (found := _grid(site)) is not None:
            yield (site.graph.index, site.tensor.index), found


def _grid(site: WeightSite) -> Table | None:
    shape, form = site.tensor.shape, scales_of(site.tensor)
    weights = (row(site.graph.names[u.operator]).weight(u.operand) for u in site.readers)
    axes = {None if w is None else w.channel_axis(len(shape)) for w in weights}
    axis = axes.pop() if len(axes) == 1 else None
    if form is None or not all(shape) or not _fits(form, axis, shape):
        return None
    values, others = site.tensor.numpy(), tuple(a for a in range(len(shape)) if a != axis)
    low, high = (
        edge(axis=others).reshape(-1).astype(np.int64) - form.zero_point for edge in (values.min, values.max)
    )
    reach = np.maximum(-low, high)
    if np.isin(reach, (0, _END)).all():  # its values say the same
        return None
    scale = form.scale
    if (reach > _END).any():
        if axis is None:
            return None
        scale = np.where(reach > _END, scale * (reach / _END), scale).astype(np.float32)
    return range_table(
        -_END * scale, _END * scale, scale, np.zeros(scale.size, np.int64), axis if scale.size > 1 else None
    )


def _fits(form: Affine, axis: int | None, shape: tuple[int, ...]) -> bool:
    """Whether there is one scale, or one for each of the channels that kernels have."""
    if not isinstance(form.granularity, PerAxis):
        return axis is None or axis < len(shape)
    return form.granularity.axis == axis and axis < len(shape) and shape[axis] == form.scale.size

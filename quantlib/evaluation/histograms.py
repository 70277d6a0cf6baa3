"""What values a tensor takes, and the range that its grid has: what a page draws."""

from __future__ import annotations

import numpy as np

from quantlib.calibration import HistogramState
from quantlib.errors import InvalidValue
from quantlib.numerics import Affine
from quantlib.operators import row
from quantlib.runners import affine_of, folded, indices_of
from quantlib.tflite import Model, Table, Tensor

from .values import Histogram, Spread

#: Bins of a histogram.
_BINS = 64


def ends_of(affine: Affine) -> tuple[float, float]:
    """Least and greatest real value of a grid; the widest of several."""
    scale, zero_point = affine.scale.astype(np.float64), affine.zero_point.astype(np.float64)
    return float(((affine.qmin - zero_point) * scale).min()), float(((affine.qmax - zero_point) * scale).max())


def histogram(state: HistogramState) -> Histogram | None:
    """A coarser histogram of what an observer saw, over the range that it saw; None where it saw nothing."""
    if not state.count:
        return None
    low, high = state.min, state.max
    if state.exponent is None or low == high:
        return Histogram(low, high, (state.count,))
    half = state.counts.size // 2
    width = 2.0**state.exponent
    centres = (np.arange(-half, half) + 0.5) * width
    counts = state.counts.copy()
    counts[half] += state.zeros
    places = np.clip(((centres - low) / (high - low) * _BINS).astype(int), 0, _BINS - 1)
    return Histogram(low, high, tuple(np.bincount(places, counts, _BINS).astype(int).tolist()))


def weight_spread(a: tuple[Model, int, Table], b: tuple[Model, int, Table]) -> Spread | None:
    """Values of a float operator's weights, and the range of the grid that its twin has them on.

    Parameters
    ----------
    a, b : (Model, int, Table)
        Model, subgraph and operator.

    Returns
    -------
    Spread or None
        None where there are no constant weights that can be read.
    """
    first, second = _weight(*a), _weight(*b)
    if first is None or second is None or first.shape != second.shape:
        return None
    try:
        values, affine = first.real(), affine_of(second)
    except InvalidValue:  # a type that NumPy doesn't have
        return None
    found = histogram(HistogramState().observe(values))
    if found is None:
        return None
    low, high = (None, None) if affine is None else ends_of(affine)
    return Spread(first.name, second.type, 0 if affine is None else int(affine.scale.size), low, high, found)


def _weight(model: Model, g: int, operator: Table) -> Tensor | None:
    """First constant among the weights of an operator, looked for behind DEQUANTIZE, too."""
    inputs, behind = indices_of(operator.inputs), folded(model, g)
    for weight in row(model.operator_name(operator)).weights:
        index = inputs[weight.operand] if weight.operand < len(inputs) else -1
        if index in behind:
            index = next(
                indices_of(o.inputs)[0] for o in model.subgraphs[g].operators if index in indices_of(o.outputs)
            )
        if index >= 0 and Tensor(model, g, index).is_constant:
            return Tensor(model, g, index)
    return None

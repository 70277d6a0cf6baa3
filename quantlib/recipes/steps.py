"""The least scale that kernels take for what they write."""

from __future__ import annotations

from collections.abc import Sequence

from quantlib.operators import Integer

#: Beyond the limit, as XNNPACK fails a little before it (BATCH_MATMUL with a multiplier of 255.7).
_MARGIN = 1.01


def least_step(integer: Integer, kind: str, steps: Sequence[float], weight: float) -> float:
    """Least scale of an operator's output; 0 where its kernels take any.

    Parameters
    ----------
    integer : Integer
    kind : str
        Element type of the activations.
    steps : sequence of float
        Scales of the data operands, constants included.
    weight : float
        Greatest scale of the weight; 0 where there is none.
    """
    if integer.least is None or not steps:
        return 0.0
    what, eight, sixteen = integer.least
    largest = max(steps)
    other = weight or (steps[1] if len(steps) > 1 else 0.0)
    reference = {"largest": largest, "square": largest**2, "product": steps[0] * other}[what]
    return _MARGIN * reference * (sixteen if kind == "INT16" else eight)

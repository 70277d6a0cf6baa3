"""Biases beside pruned weights: what these gave on average."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quantlib.calibration import Statistics

from ..reading import Reading, bias_of
from ..weight_sites import real_elements
from .job import PruneJob


def corrected_bias(job: PruneJob, reading: Reading, statistics: Statistics) -> npt.NDArray[np.float32] | str:
    """The bias of the operator that reads a weight, with what goes of the weight times the mean of what it meets.

    Parameters
    ----------
    job : PruneJob
    reading : Reading
        Of its weight.
    statistics : Statistics
        Of the model.

    Returns
    -------
    float32 array of shape (output channels,), or str
        Why there is none.
    """
    site = job.site
    bias = bias_of(site.graph, reading)
    if isinstance(bias, str):
        return bias
    state = statistics.tensors.get((reading.subgraph, reading.input))
    channels = None if state is None else state.channels
    if channels is None or not channels.count.size:
        return "the statistics have no means by channel of what it reads"
    means = channels.mean
    per, rest = divmod(reading.outputs if reading.depthwise else reading.inputs, means.size)
    if rest:
        return f"the statistics have {means.size} channels of what it reads"
    shift = np.zeros(reading.outputs)
    for start, stop in job.pieces():
        at = np.arange(start, stop)
        out = at % reading.outputs if reading.depthwise else at // reading.inputs
        met = means[out // per] if reading.depthwise else means[at % means.size]
        gone = np.where(job.stays(start, stop), 0.0, real_elements(site.tensor)(start, stop))
        shift += np.bincount(out, gone * met, reading.outputs)
    made: npt.NDArray[np.float32] = (bias + shift).astype(np.float32)
    return made

"""Arrays that find what is wrong with an observer: of all magnitudes, with zeros and values that aren't finite."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from quantlib.calibration import Collector, Statistics

MODEL = "0123456789abcdef" * 4
NAMES = {(0, 1): "conv1", (0, 7): "relu", (1, 0): "body/add"}

DTYPES = ("float16", "float32", "float64")
SPECIAL = (0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0, 1024.0, -1024.0, 0.5, 65504.0)


@st.composite
def arrays(draw, dtypes=DTYPES, most=40):
    """One array: values of one scale, any values of the type, a few special ones, or a mix."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    width = dtype.itemsize * 8
    everything = st.floats(width=width) | st.sampled_from(SPECIAL)
    subnormal = st.integers(-5, 5).map(lambda k: float(np.finfo(dtype).smallest_subnormal) * k)
    size = draw(st.integers(0, most))
    kind = draw(st.sampled_from(["scaled", "any", "subnormal"]))
    if kind != "scaled":
        values = draw(st.lists(everything if kind == "any" else subnormal, min_size=size, max_size=size))
        return np.array(values, dtype)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    with np.errstate(over="ignore", under="ignore"):
        x = (rng.normal(size=size) * 2.0 ** draw(st.integers(-30, 30))).astype(dtype)
    return np.where(rng.random(size) < draw(st.sampled_from([0.0, 0.5])), dtype.type(0), x)


def trees(draw, states, join):
    """Join a list of values pairwise, in a drawn order and grouping."""
    states = list(states)
    while len(states) > 1:
        i = draw(st.integers(0, len(states) - 1))
        a = states.pop(i)
        j = draw(st.integers(0, len(states) - 1))
        b = states.pop(j)
        states.insert(draw(st.integers(0, len(states))), join(a, b) if draw(st.booleans()) else join(b, a))
    return states[0]


def gather(samples, observer="histogram", **options) -> Statistics:
    """Statistics of samples, each a list of (key, array)."""
    collector = Collector(MODEL, NAMES, observer, version="1.0", **options)
    for sample in samples:
        for key, x in sample:
            collector.observe(key, x)
        collector.end_sample()
    return collector.finish()


def one(state, samples=20, name="t") -> Statistics:
    """Statistics of one tensor."""
    return Statistics(MODEL, samples, state.observer, {(0, 0): state}, {(0, 0): name})

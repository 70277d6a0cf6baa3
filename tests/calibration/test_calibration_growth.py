"""Long runs: ranges that grow a thousandfold, exact counts, constant memory; and the speed that was promised."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from quantlib.calibration import HistogramState


def grow(steps, size):
    """Observe arrays whose range grows a thousandfold; return the state, the peak of memory and direct counts."""
    rng, state = np.random.default_rng(7), HistogramState()
    exponent = 3  # 1,000 * 4.5 deviations stay below 1024 * 2**3
    counts, total = np.zeros(2048, np.int64), 0
    peak = 0
    for step in range(steps):
        x = rng.normal(size=size).astype(np.float32)
        np.clip(x, -4.5, 4.5, out=x)
        x *= np.float32(1000 ** (step / (steps - 1)))
        x[:: step + 2] = 0
        if step == steps - 1:
            x[1] = 4500
        k = np.floor(x * np.float32(2.0**-exponent))[x != 0].astype(np.intp)
        counts += np.bincount(k + 1024, minlength=2048)
        total += size
        del k
        tracemalloc.start()
        state = state.observe(x)
        peak = max(peak, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert state.exponent == exponent
    np.testing.assert_array_equal(state.counts, counts)
    assert state.count == total
    assert state.zeros == total - counts.sum()
    return peak


def test_growth_in_constant_memory():
    # Indices, a scaled copy and a mask of one piece of 65,536, and two histograms; the array itself has 1.2 MB.
    assert grow(40, 300_000) < 65536 * (8 + 4 + 1) + 200_000


@pytest.mark.slow
def test_growth_at_full_size():
    assert grow(200, 1_000_000) < 65536 * (8 + 4 + 1) + 200_000


def best(run, times):
    """Least duration of several, in seconds."""
    least = np.inf
    for _ in range(times):
        start = time.perf_counter()
        run()
        least = min(least, time.perf_counter() - start)
    return least


@pytest.mark.slow
def test_it_is_faster_than_numpys_histogram():
    from quantlib.calibration._bins import Bins
    from quantlib.calibration._scan import BLOCK

    x = np.random.default_rng(0).normal(size=1_000_000).astype(np.float32)
    state = HistogramState().observe(x)
    bins = Bins(state.exponent, state.counts)

    def count():
        for start in range(0, x.size, BLOCK):
            bins.add(x[start : start + BLOCK], state.min, state.max, 0)

    theirs = best(lambda: np.histogram(x, bins=2048, range=(-8, 8)), 15)
    assert theirs / best(count, 15) > 3
    # With extremes, zeros, the sum and the search for NaN, which np.histogram doesn't give.
    assert theirs / best(lambda: state.observe(x), 15) > 1.8

"""Calibrate once and say how long it took: ``python calibrate_one.py WHO MODEL SAMPLES``, a process of its own.

WHO is ``peer`` (litert-quantizer's documented way, in the environment that has it), or one of ours, as
``numpy-minmax``, ``numpy-histogram`` or ``litert-histogram``. Prints JSON: seconds of the calibration without
imports and start-up (of workers too), and the peak resident memory of all processes in bytes, samples included.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]


def peer(path: str, samples: Samples) -> Callable[[], object]:
    """Prepare the peer's calibration: moving averages of least and greatest value, on XNNPACK."""
    from litert_quantizer import quantizer, recipe

    job = quantizer.Quantizer(path)
    job.load_quantization_recipe(recipe.static_wi8_ai8())
    data = {"serving_default": [{"image": sample[None]} for sample in samples]}
    return lambda: job.calibrate(data)


def ours(path: str, samples: Samples, runner: str, observer: str, executor: Executor) -> Callable[[], object]:
    """Prepare quantlib's calibration, with a process for each core, as ``quantlib calibrate --jobs`` has it."""
    import quantlib as ql

    model = ql.read(path)
    return lambda: ql.calibrate(model, samples, runner=runner, observer=observer, executor=executor)


def main(who: str, path: str, data: str) -> None:
    """Run it, on a few samples to load what is loaded on first use, and then on all."""
    samples = np.load(data)
    warnings.simplefilter("ignore")
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn")) as executor:
        make: Callable[[str, Samples], Callable[[], object]] = peer
        if who != "peer":
            runner, observer = who.split("-")
            make = functools.partial(ours, runner=runner, observer=observer, executor=executor)
        make(path, samples[: 8 * cores])()
        job = make(path, samples)
        start = time.perf_counter()
        job()
        seconds = time.perf_counter() - start
    own, worker = (resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    peak = 1024 * (own if who == "peer" else own + cores * worker)
    print(json.dumps({"seconds": seconds, "peak": peak, "samples": len(samples), "data": samples.nbytes}))


if __name__ == "__main__":
    main(*sys.argv[1:4])

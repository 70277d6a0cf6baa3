"""Quantize with ready ranges and say how long it took: ``python static_one.py WHO MODEL RANGES OUT ROUNDS``.

WHO is ``ours``, ``alike`` (ours, with the ranges and the rounding of the peer: min-max and nearest), or ``peer``
in the environment that has it. Prints JSON: seconds of the first round and of the median of the others, and processor
seconds of that; each from the model's file to the quantized file, without imports and
without reading the ranges.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable


def peer(path: str, ranges: str, out: str) -> Callable[[], object]:
    """Prepare what litert-quantizer's documentation shows."""
    from litert_quantizer import quantizer, recipe
    from litert_quantizer.utils import calibration_utils

    found, _ = calibration_utils.load_calibration_results(ranges)

    def job() -> None:
        made = quantizer.Quantizer(path)
        made.load_quantization_recipe(recipe.static_wi8_ai8())
        made.quantize(found, enable_progress_report=False).export_model(out, overwrite=True)

    return job


def ours(path: str, ranges: str, out: str) -> Callable[[], object]:
    """Prepare plan, quantize and write."""
    import quantlib as ql

    statistics = ql.calibration.load(ranges)
    return lambda: ql.quantize(ql.read(path), "int8", statistics).write(out)


def alike(path: str, ranges: str, out: str) -> Callable[[], object]:
    """Prepare the same with the peer's choices instead of our defaults, which are more work."""
    import quantlib as ql

    statistics, recipe = ql.calibration.load(ranges), ql.recipes.int8(range="minmax", rounding="nearest")
    return lambda: ql.quantize(ql.read(path), recipe, statistics).write(out)


def main(who: str, path: str, ranges: str, out: str, rounds: int) -> None:
    """Do it so many times and once before."""
    job = {"peer": peer, "ours": ours, "alike": alike}[who](path, ranges, out)
    taken = []
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        for _ in range(rounds + 1):
            with contextlib.suppress(FileNotFoundError):
                os.remove(out)
            start, busy = time.perf_counter(), time.process_time()
            job()
            taken.append((time.perf_counter() - start, time.process_time() - busy))
    seconds, cpu = zip(*taken[1:], strict=True)
    print(json.dumps({"first": taken[0][0], "next": statistics.median(seconds), "cpu": statistics.median(cpu)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))

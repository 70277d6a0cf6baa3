"""How long both models take in LiteRT, measured in turn so that both meet the same machine."""

from __future__ import annotations

import statistics
import time

from quantlib.errors import InvalidValue
from quantlib.runners import Array, LiteRTRunner
from quantlib.tflite import Model

from .ports import known_signature
from .values import Latency

#: Seconds that the measurement may take, and the rounds that it makes at least and at most.
_SECONDS = 5.0
_LEAST, _MOST = 10, 200


def measure(
    a: Model,
    b: Model,
    fed: tuple[dict[str, Array], dict[str, Array]],
    signature: str | None = None,
    *,
    threads: int = 1,
) -> Latency:
    """Run both models in turn in LiteRT with its default delegates, and take medians.

    Parameters
    ----------
    a, b : Model
    fed : tuple of dict
        A sample for each, as it takes it.
    signature : str, optional
    threads : int

    Returns
    -------
    Latency

    Raises
    ------
    InvalidValue
        If there are fewer than one thread.
    MissingExtra
        If LiteRT isn't installed.
    """
    if threads < 1:
        raise InvalidValue(f"{threads} threads; 1 or more is required")
    runners = [LiteRTRunner(m, known_signature(m, signature), resolver="default", threads=threads) for m in (a, b)]
    for runner, sample in zip(runners, fed, strict=True):
        runner.run(sample)  # the first run allocates
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + _SECONDS
    while len(times[0]) < _LEAST or (len(times[0]) < _MOST and time.perf_counter() < end):
        for runner, sample, found in zip(runners, fed, times, strict=True):
            start = time.perf_counter()
            runner.run(sample)
            found.append(1000 * (time.perf_counter() - start))
    middle = [statistics.median(t) for t in times]
    return Latency(middle[0], middle[1], min(times[0]), min(times[1]), len(times[0]), threads)

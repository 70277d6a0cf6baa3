"""Runners execute a model: in NumPy with nothing installed, or in LiteRT. One protocol, one contract.

=========  =====================================================================================================
runners    `Runner`, `NumpyRunner`, `LiteRTRunner`
samples    `Interface`, `Port`, `Tap`, `interface_of`, `feed`, `samples`, `sample_count`
verbs      `calibrate`, `run`: over a whole data set
=========  =====================================================================================================
"""

from __future__ import annotations

from .calibrate import calibrate
from .data import sample_count, samples
from .litert_runner import LiteRTRunner
from .numpy_runner import NumpyRunner
from .protocol import Interface, Port, Runner, Tap, feed, interface_of
from .run import run

__all__ = [
    "Interface",
    "LiteRTRunner",
    "NumpyRunner",
    "Port",
    "Runner",
    "Tap",
    "calibrate",
    "feed",
    "interface_of",
    "run",
    "sample_count",
    "samples",
]

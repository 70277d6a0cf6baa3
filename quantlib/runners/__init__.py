"""Runners execute a model: in NumPy with nothing installed, or in LiteRT. One protocol, one contract.

=========  =====================================================================================================
runners    `Runner`, `NumpyRunner`, `LiteRTRunner`, `make_runner`
samples    `Interface`, `Port`, `Tap`, `Array`, `interface_of`, `feed`, `samples`, `sample_count`
real       `End`, `Ends`, `end_of`, `model_ends`, `encode`, `decode`: quantized inputs and outputs as real numbers
tensors    `affine_of`, `single_affine`, `folded`, `indices_of`; `quantized_operator`, `options_of`
verbs      `calibrate`, `run`: over a whole data set
threads    `one_blas_thread`
=========  =====================================================================================================
"""

from __future__ import annotations

from .blas import one_blas_thread
from .boundary import affine_of, options_of, quantized_operator
from .calibrate import calibrate
from .collect import finite_samples, make_runner
from .data import sample_count, samples
from .ends import End, Ends, decode, encode, end_of, model_ends, single_affine
from .litert_runner import LiteRTRunner
from .numpy_runner import NumpyRunner
from .protocol import Array, Interface, Port, Runner, Tap, feed, folded, indices_of, interface_of
from .run import run

__all__ = [
    "Array",
    "End",
    "Ends",
    "Interface",
    "LiteRTRunner",
    "NumpyRunner",
    "Port",
    "Runner",
    "Tap",
    "affine_of",
    "calibrate",
    "decode",
    "encode",
    "end_of",
    "feed",
    "finite_samples",
    "folded",
    "indices_of",
    "interface_of",
    "make_runner",
    "model_ends",
    "one_blas_thread",
    "options_of",
    "quantized_operator",
    "run",
    "sample_count",
    "samples",
    "single_affine",
]

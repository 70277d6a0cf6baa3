"""Random models of one operator: every integer in NumPy equals LiteRT's, for each runtime.

``make conformance`` multiplies the cases, so that there are 500 and more of each operator and type.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from quantlib.errors import QuantlibError
from quantlib.runners import LiteRTRunner, NumpyRunner
from tests.conformance.cases import CASES, case
from tests.conformance.judge import drawn, equal
from tests.conformance.table import RESOLVERS

#: Cases of each operator, type and runtime, times the environment's QUANTLIB_EXAMPLES.
COUNT = max(1, round(4 * float(os.environ.get("QUANTLIB_EXAMPLES", "1"))))
#: What LiteRT's reference resolver computes wrongly or hasn't: SUM reads signed integers as UINT8; there is no ELU.
ABSENT = {("SUM", "INT8", "reference"), ("SUM", "INT16", "reference"), ("ELU", "INT8", "reference")}
#: What it refuses in part: its DEPTHWISE_CONV_2D ends with version 6, before INT4 weights.
REFUSED = {("DEPTHWISE_CONV_2D", "INT8", "reference")}
#: Steps by which integers may differ: LiteRT takes ``erfcf`` from the system's libm, whose versions differ.
STEPS = {("GELU", "INT16"): 1}
ALL = [
    (name, kind, runtime)
    for name, (_, kinds) in CASES.items()
    for kind in kinds
    for runtime in RESOLVERS
    if (name, kind, runtime) not in ABSENT
]


@pytest.mark.parametrize(("name", "kind", "runtime"), ALL)
def test_every_integer_is_equal(name: str, kind: str, runtime: str) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed (the extra 'litert')")
    run = sum(_is_judged(name, kind, runtime, seed) for seed in range(COUNT))
    least = COUNT / 3 if (name, kind, runtime) in REFUSED else COUNT
    assert run >= least, f"LiteRT ran {run} of {COUNT} cases"


def _is_judged(name: str, kind: str, runtime: str, seed: int) -> bool:
    """Compare one case; False where LiteRT refuses it, as it may."""
    model = case(name, kind, seed)
    try:
        theirs = LiteRTRunner(model, resolver=RESOLVERS[runtime])
    except QuantlibError:
        if (name, kind, runtime) in REFUSED:
            return False
        raise
    ours = NumpyRunner(model, runtime=runtime)
    rng = np.random.default_rng(seed)
    x: list[Any] = [drawn(port.type, port.shape, rng) for port in ours.interface.inputs]
    mine = ours.run(x)
    for label, values in theirs.run(x).items():
        where = f"{name} {kind} {runtime}, seed {seed}"
        if (name, kind) in STEPS:
            assert np.abs(mine[label].astype(np.int64) - values).max() <= STEPS[name, kind], where
        else:
            equal(where, mine[label], values)
    return True

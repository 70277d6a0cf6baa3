"""The integer kernel of SVDF, against LiteRT's reference kernel."""

from __future__ import annotations

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue
from quantlib.operators.recurrent.integer import svdf_integers
from quantlib.runners import LiteRTRunner, NumpyRunner
from tests.support.recurrent import samples, svdf


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
@pytest.mark.parametrize(("rank", "memory", "bias"), [(1, 5, True), (2, 7, True), (2, 1, False), (1, 300, True)])
def test_every_integer_of_a_sequence_is_equal(rank: int, memory: int, bias: bool, scale: float) -> None:
    """Output and state after each of many steps; with small ranges both saturate."""
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed (the extra 'litert')")
    recipe = ql.recipes.int8(default_ranges=(-3, 3), input_type="INT8", output_type="INT8")
    model = ql.quantize(svdf(rank, memory=memory, bias=bias), recipe)
    ours, theirs = NumpyRunner(model), LiteRTRunner(model, resolver="reference")
    for x in np.clip(np.round(scale * 40 * samples(model, 30)), -128, 127).astype(np.int8):
        seen: list[dict[int, np.ndarray]] = [{}, {}]
        for runner, found in zip((ours, theirs), seen, strict=True):
            runner.run([x], tap=lambda g, t, v, found=found: found.update({t: v.copy()}), keep_state=True)
        assert seen[0].keys() == seen[1].keys()
        assert len(seen[0]) == 3
        for t, values in seen[0].items():
            np.testing.assert_array_equal(values, seen[1][t])


def test_shapes_must_fit() -> None:
    one = (np.array(1 << 30, np.int32), np.array(1, np.int32))
    x, feature, time = np.zeros((1, 4), np.int8), np.zeros((6, 4), np.int8), np.zeros((6, 5), np.int16)
    for rank, state in ((4, np.zeros((1, 30), np.int16)), (1, np.zeros((1, 29), np.int16))):
        with pytest.raises(InvalidValue, match="don't fit input"):
            svdf_integers(x, feature, time, None, state, rank=rank, multipliers=(one, one), zero_points=(0, 0))


def test_the_real_values_are_those_of_the_float_kernel() -> None:
    model = svdf()
    x = samples(model, 20)
    small = ql.quantize(model, "int8", ql.calibrate(model, [[v] for v in x], sequence=True))
    a, b = (NumpyRunner(m) for m in (model, small))
    pairs = [next(iter(r.run([v], keep_state=True).values())) for v in x for r in (a, b)]
    assert ql.numerics.sqnr_db(np.stack(pairs[::2]), np.stack(pairs[1::2])) > 40

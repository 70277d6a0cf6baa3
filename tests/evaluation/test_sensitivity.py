"""Sensitivity: what the outputs lose when each weight is edited alone, and that an edit by it costs less."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue
from quantlib.evaluation import sensitivity
from tests.support import pruned
from tests.support.network import gaussian
from tests.support.planned import samples

EDIT = functools.partial(ql.prune, sparsity=0.6, min_elements=0)
DATA = samples(pruned.layers(), 12)


@pytest.mark.parametrize("runner", ["numpy", "litert"])
def test_each_weight_is_measured_alone(runner: str) -> None:
    if runner == "litert":
        pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra 'litert')")
    model = pruned.model()
    seen: list[int] = []
    found = sensitivity(model, DATA, EDIT, runner=runner, progress=seen.append)
    assert tuple(found) == pruned.INNER
    assert seen == [1] * 4
    for name, error in found.items():
        alone = EDIT(model).model.tensor(name).numpy()
        other = ql.compare(model, model.replace(name, data=alone), DATA, runner=runner)
        assert error == pytest.approx(10 ** (-other.outputs[0].sqnr_db / 10), rel=1e-9)


def test_shared_out_by_it_the_output_loses_less() -> None:
    model = pruned.model()
    errors = sensitivity(model, DATA, EDIT, runner="numpy")
    held_back = {"image": gaussian((12, 8, 8, 3), 99)}
    alike, guided = (
        ql.compare(model, EDIT(model, sensitivity=s).model, held_back, runner="numpy").outputs[0].sqnr_db
        for s in (None, errors)
    )
    assert EDIT(model, sensitivity=errors).totals["zeros"] == pytest.approx(EDIT(model).totals["zeros"], abs=2)
    assert guided > alike + 0.5


def test_what_changes_nothing_costs_nothing() -> None:
    model = pruned.model()
    half = EDIT(model).model
    found = sensitivity(half, DATA, functools.partial(EDIT, sparsity=0.7), runner="numpy")
    assert all(0 < error < math.inf for error in found.values())
    model = model.replace("dense/kernel", data=np.zeros((48, 64), np.float32))
    found = sensitivity(model, DATA, EDIT, runner="numpy")
    assert "dense/kernel" not in found
    assert set(found.values()) == {0.0}  # what is behind them is all the same


def test_an_edit_that_changes_nothing_is_refused() -> None:
    with pytest.raises(InvalidValue, match="leaves all weights alone"):
        sensitivity(pruned.model(), DATA, functools.partial(ql.prune, sparsity=0.0))


def test_outputs_that_are_not_finite_have_the_largest_error() -> None:
    model = pruned.model()
    bias = np.full(5, np.inf, np.float32)
    found = sensitivity(model.replace("last/bias", data=bias), DATA, EDIT, runner="numpy")
    assert set(found.values()) == {1e10}
    assert EDIT(model, sensitivity=found).totals["zeros"] == EDIT(model, ranking="global").totals["zeros"]

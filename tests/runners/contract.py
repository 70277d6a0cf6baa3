"""What every runner must do. Each check is given a way to make the runner, and raises where it fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from quantlib.errors import InvalidValue, NotFound
from quantlib.runners import Runner
from tests.runners import built
from tests.support import models

Make = Callable[..., Runner]
Array = Any

X = np.array([[1, -2, 3, -4]], np.float32)
N = np.array([[5, 6, 7]], np.int32)


def seen(runner: Runner, sample: Any, **options: Any) -> list[tuple[int, int, Array]]:
    """All that a tap is shown, in order, copied."""
    found: list[tuple[int, int, Array]] = []
    runner.run(sample, tap=lambda g, i, v: found.append((g, i, v.copy())), **options)
    return found


def same(a: dict[str, Array], b: dict[str, Array]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name])


# ---- inputs --------------------------------------------------------------------------------------------------


def inputs_come_by_name_alias_or_position(make: Make) -> None:
    runner = make(built.ends())
    expected = runner.run({"x": X, "n": N})
    np.testing.assert_array_equal(expected["twice"], 2 * N)
    for sample in (
        {"left": X, "right": N},
        {"x": X, "right": N},
        {"n": N, "x": X},
        [X, N],
        (X, N),
        [X[0], N],
        {"x": X, "n": N[0]},
        {"x": X.astype(np.float64), "n": N.astype(">i4")},
        {"x": X.tolist(), "n": N},
    ):
        same(runner.run(sample), expected)


def one_array_serves_one_input(make: Make) -> None:
    runner = make(models.dense())
    sample = models.weights(1, 32)
    expected = runner.run({"x": sample})
    for other in (
        sample,
        sample[0],
        [sample],
        {"input": sample[0]},
        np.asfortranarray(sample),
        sample[:, ::-1][:, ::-1],
    ):
        same(runner.run(other), expected)


def names_go_before_aliases(make: Make) -> None:
    one, two = np.full((1, 2), 1, "f4"), np.full((1, 2), 2, "f4")
    runner = make(built.crossed(("b", "a")))
    assert runner.run({"a": one, "b": two})["y"][0, 0] == -1
    runner = make(built.crossed(("b", "c")))
    assert runner.run({"a": one, "b": two})["y"][0, 0] == -1
    assert runner.run({"b": one, "c": two})["y"][0, 0] == -1
    assert runner.run({"a": one, "c": two})["y"][0, 0] == -1
    with pytest.raises(InvalidValue, match="the sample has one array for two inputs"):
        runner.run({"b": one})


REFUSED = [
    ({"x": X}, "no array for the input 'right'; the sample has x"),
    ({}, "no array for the input 'left'; the sample has none"),
    ({"x": X, "n": N, "z": N}, "an array 'z' too many, and the model has 2 inputs: left, right"),
    ({"x": X, "left": X, "n": N}, "an array 'left' too many"),
    ([X], "a sample of 1 array, and the model has 2 inputs: left, right"),
    ([X, N, N], "a sample of 3 arrays"),
    (X, "a sample of one array, and the model has 2 inputs: left, right; give a mapping"),
    ([N, X], "input 'left': int32 values where FLOAT32 is required; give floats, scaled as those"),
    ([X, N.astype(np.int64)], "input 'right': int64 values where INT32 is required; cast them"),
    ([X, N.astype(np.float32)], "input 'right': float32 values where INT32 is required; cast them"),
    (["samples.npz", N], "input 'left': <U11 values where FLOAT32 is required; give numbers; the path"),
    ([X.astype(np.complex64), N], "input 'left': complex64 values"),
    ([X[:, :3], N], "input 'left': shape [1, 3] where [1, 4] is required"),
    ([X[0, 0], N], "input 'left': shape [] where [1, 4] is required; an array's first axis counts samples"),
    ([X[None], N], "input 'left': shape [1, 1, 4]"),
    ([X, None], "input 'right': object values where INT32 is required"),
    ([[[1.0, 2.0], [3.0]], N], "input 'left': a list that is no array"),
]


def what_does_not_fit_is_named(make: Make) -> None:
    runner = make(built.ends())
    for sample, message in REFUSED:
        with pytest.raises(InvalidValue, match=re.escape(message)):
            runner.run(sample)
    same(runner.run([X, N]), runner.run([X, N]))  # and it goes on


def a_refused_sample_leaves_state_alone(make: Make) -> None:
    runner = make(built.counter())
    runner.run(np.ones((1, 2), "f4"))
    with pytest.raises(InvalidValue):
        runner.run(np.ones((1, 3), "f4"))
    assert runner.run(np.ones((1, 2), "f4"), keep_state=True)["new"][0, 0] == built.START + 2


def inputs_are_not_modified(make: Make) -> None:
    runner = make(built.ends())
    x, n = X.copy(), N.copy()
    outputs = runner.run([x, n])
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(n, N)
    for value in outputs.values():
        assert not np.shares_memory(value, x)
    x.flags.writeable = False
    same(runner.run([x, n]), outputs)


def a_batch_may_be_resized(make: Make) -> None:
    runner = make(models.dense())
    batch = models.weights(5, 32, seed=5)
    together = runner.run(batch)["y"]
    assert together.shape == (5, 8)
    for sample, row in zip(batch, together, strict=True):
        np.testing.assert_allclose(runner.run(sample)["y"][0], row, rtol=1e-5, atol=1e-5)


def shapes_may_be_dynamic(make: Make) -> None:
    runner = make(models.dynamic_shape())
    assert runner.interface.inputs[0].shape == (-1, 4)
    for rows in (3, 1, 2):
        x = models.weights(rows, 4, seed=rows)
        np.testing.assert_array_equal(runner.run(x)["y"], np.maximum(x, 0))
    np.testing.assert_array_equal(runner.run(X[0])["y"], np.maximum(X, 0))


# ---- outputs -------------------------------------------------------------------------------------------------


def outputs_have_names_and_types(make: Make) -> None:
    runner = make(built.ends())
    outputs = runner.run([X, N])
    assert {name: (v.dtype.name, v.shape) for name, v in outputs.items()} == {
        "total": ("float32", (1, 4)),
        "twice": ("int32", (1, 3)),
        "positive": ("bool", (1, 4)),
    }
    np.testing.assert_array_equal(outputs["positive"], outputs["total"] > 0)
    assert list(outputs) == [port.name for port in runner.interface.outputs]


def repeated_names_get_their_index(make: Make) -> None:
    outputs = make(built.repeated_names()).run(X)
    assert list(outputs) == ["y#1", "y#0"]
    np.testing.assert_array_equal(outputs["y#1"], -X)
    np.testing.assert_array_equal(outputs["y#0"], X)


def one_tensor_may_be_two_outputs(make: Make) -> None:
    outputs = make(built.listed_twice()).run(X)
    assert list(outputs) == ["y"]
    np.testing.assert_array_equal(outputs["y"], -X)


def nameless_ends_can_be_used(make: Make) -> None:
    np.testing.assert_array_equal(make(models.nameless()).run(X)[""], np.maximum(X, 0))


def results_are_the_callers_own(make: Make) -> None:
    for model, sample in ((built.views(), X), (built.repeated_names(), X), (built.counter(), X[:, :2])):
        runner = make(model)
        first = runner.run(sample)
        kept = {name: value.copy() for name, value in first.items()}
        runner.run(10 * sample, keep_state=True)
        same(first, kept)
        for value in first.values():
            assert value.flags.writeable
            value[...] = 77
        assert sample.max() < 70
        same(runner.run(sample), kept)


# ---- state ---------------------------------------------------------------------------------------------------


def resource_variables_are_reset_or_kept(make: Make) -> None:
    runner = make(built.counter())
    ones = np.ones((1, 2), np.float32)

    def step(keep: bool) -> float:
        return float(runner.run(ones, keep_state=keep)["new"][0, 0])

    expected = [(False, 1), (False, 1), (True, 2), (True, 3), (False, 1), (True, 2)]
    assert [step(keep) for keep, _ in expected] == [built.START + count for _, count in expected]


def state_is_not_the_callers_array(make: Make) -> None:
    runner = make(built.counter(delay=True))
    x = np.ones((1, 2), np.float32)
    assert runner.run(x)["new"][0, 0] == built.START + 1
    x[...] = 5
    assert runner.run(x, keep_state=True)["new"][0, 0] == 1 + 5


def recurrent_state_is_reset_or_kept(make: Make) -> None:
    runner = make(models.variables())
    x = models.weights(1, 6, seed=7)
    first, again = runner.run(x), runner.run(x)
    same(first, again)
    kept = runner.run(x, keep_state=True)
    assert np.abs(kept["y"] - first["y"]).max() > 1e-3
    same(runner.run(x), first)
    same(runner.run(x, keep_state=True), kept)


def runners_of_one_model_share_no_state(make: Make) -> None:
    model = built.counter()
    one, two = make(model), make(model)
    ones = np.ones((1, 2), np.float32)
    one.run(ones)
    assert two.run(ones, keep_state=True)["new"][0, 0] == built.START + 1


# ---- signatures and control flow -----------------------------------------------------------------------------


def each_signature_runs(make: Make) -> None:
    model = built.two_signatures()
    np.testing.assert_array_equal(make(model, "negate").run({"input": X})["y"], -X)
    np.testing.assert_array_equal(make(model, "square").run({"input": X})["y"], X * X)
    runner = make(model, "square_again")
    np.testing.assert_array_equal(runner.run({"other": X})["y"], X * X)
    batch = models.weights(3, 4)
    np.testing.assert_array_equal(runner.run(batch)["y"], batch * batch)
    np.testing.assert_array_equal(runner.run(X)["y"], X * X)


def a_signature_must_be_named(make: Make) -> None:
    with pytest.raises(NotFound, match="signatures negate, square, square_again; name one"):
        make(built.two_signatures())
    with pytest.raises(NotFound, match="no signature 'cube'; the model has negate, square, square_again"):
        make(built.two_signatures(), "cube")
    with pytest.raises(NotFound, match="no signature 'main'; the model has none"):
        make(built.counter(), "main")


def control_flow_runs(make: Make) -> None:
    runner = make(built.loop(3))
    outputs = runner.run([np.zeros(1, np.int32), X])
    assert outputs["count"].tolist() == [3]
    np.testing.assert_array_equal(outputs["result"], X * np.float32(1.5) ** 3)
    assert runner.run([np.array([9], np.int32), X])["count"].tolist() == [9]
    branches = make(models.branches(), "main")
    k = models.weights(1, 4, seed=5)
    np.testing.assert_array_equal(branches.run([np.array(True), X])["y"], X + k)
    np.testing.assert_array_equal(branches.run([np.array(False), X])["y"], X * k)


# ---- taps ----------------------------------------------------------------------------------------------------


def a_tap_sees_each_tensor_once(make: Make) -> None:
    found = seen(make(built.ends()), [X, N])
    assert sorted((g, i) for g, i, _ in found) == [(0, i) for i in range(5)]
    by_index = {i: v for _, i, v in found}
    np.testing.assert_array_equal(by_index[0], X)
    np.testing.assert_array_equal(by_index[1], N)
    outputs = make(built.ends()).run([X, N])
    for index, name in ((2, "total"), (3, "twice"), (4, "positive")):
        np.testing.assert_array_equal(by_index[index], outputs[name])
    assert [i for _, i, _ in found][:2] == [0, 1]


def a_tap_sees_inner_tensors(make: Make) -> None:
    model, x = models.dense(), models.weights(1, 32)
    found = {i: v for _, i, v in seen(make(model), x)}
    assert list(found) == [0, 1, 2]
    w1, b1 = (model.tensor(name).numpy() for name in ("w1", "b1"))
    np.testing.assert_allclose(found[1], np.maximum(x @ w1.T + b1, 0), rtol=1e-6, atol=1e-6)


def a_tap_sees_recurrent_state(make: Make) -> None:
    runner = make(models.variables())
    x = models.weights(1, 6, seed=7)
    found = seen(runner, x)
    assert [i for _, i, _ in found] == [0, 5, 4]
    state = {i: v for _, i, v in found}
    np.testing.assert_array_equal(state[4], state[5])
    later = {i: v for _, i, v in seen(runner, x, keep_state=True)}
    assert np.abs(later[4] - state[4]).max() > 1e-3


def a_tap_sees_no_constants(make: Make) -> None:
    found = seen(make(built.half_weights()), models.weights(1, 8))
    assert [i for _, i, _ in found] == [0, 3, 4]


def a_tap_sees_the_signature_that_runs(make: Make) -> None:
    found = seen(make(built.two_signatures(), "square"), X)
    assert [(g, i) for g, i, _ in found] == [(1, 1), (1, 0)]
    np.testing.assert_array_equal(found[1][2], X * X)


CHECKS = (
    inputs_come_by_name_alias_or_position,
    one_array_serves_one_input,
    names_go_before_aliases,
    what_does_not_fit_is_named,
    a_refused_sample_leaves_state_alone,
    inputs_are_not_modified,
    a_batch_may_be_resized,
    shapes_may_be_dynamic,
    outputs_have_names_and_types,
    repeated_names_get_their_index,
    one_tensor_may_be_two_outputs,
    nameless_ends_can_be_used,
    results_are_the_callers_own,
    resource_variables_are_reset_or_kept,
    state_is_not_the_callers_array,
    recurrent_state_is_reset_or_kept,
    runners_of_one_model_share_no_state,
    each_signature_runs,
    a_signature_must_be_named,
    control_flow_runs,
)
#: For runners that can show tensors.
TAPS = (
    a_tap_sees_each_tensor_once,
    a_tap_sees_inner_tensors,
    a_tap_sees_recurrent_state,
    a_tap_sees_no_constants,
    a_tap_sees_the_signature_that_runs,
)

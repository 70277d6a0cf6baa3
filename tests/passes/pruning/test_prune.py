"""Pruning: which weights lose how much, in every form that they are stored in; what is left alone, and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue
from quantlib.numerics import magnitude_mask, pattern_mask, zeros_of
from quantlib.passes.pruning import job
from quantlib.tflite import Table
from tests.support import pruned
from tests.support.litert import RESOLVERS, run
from tests.support.network import Network, gaussian
from tests.support.planned import calibrated, samples
from tests.support.pruned import INNER, zeros

#: All weights but those of the first and last layers.
ALL: dict[str, Any] = {"min_elements": 0}


def reasons(edited: Any) -> dict[str, str]:
    return {line.where: line.what for line in edited.kept}


# ---- what goes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.75, 0.97])
def test_each_weight_loses_its_least(sparsity: float) -> None:
    model = pruned.model()
    edited = ql.prune(model, sparsity, **ALL)
    assert tuple(line.where for line in edited.done) == INNER
    for name in INNER:
        before, after = model.tensor(name).numpy(), edited.model.tensor(name).numpy()
        assert np.array_equal(after, np.where(magnitude_mask(before, sparsity), before, 0))
        assert zeros(edited.model.tensor(name)) == zeros_of(before.size, sparsity)
    for name in ("first/kernel", "last/kernel", "conv/bias"):
        assert np.array_equal(model.tensor(name).numpy(), edited.model.tensor(name).numpy())
    for resolver in RESOLVERS:
        assert np.isfinite(run(edited.model, resolver)[0]).all()


@pytest.mark.parametrize(
    ("pattern", "mask"),
    [
        ("2:4", lambda w: pattern_mask(w, 2, 4)),
        ("1:4", lambda w: pattern_mask(w, 1, 4)),
        ("1x4", lambda w: magnitude_mask(w, 0.5, block=4)),
        ("1x16", lambda w: magnitude_mask(w, 0.5, block=16)),
    ],
)
def test_patterns_lie_along_the_axis_that_is_summed(pattern: str, mask: Any) -> None:
    model = pruned.model()
    edited = ql.prune(model, pattern=pattern, **ALL)
    for name in ("conv/kernel", "wide/kernel", "dense/kernel"):
        before = model.tensor(name).numpy()
        assert np.array_equal(edited.model.tensor(name).numpy(), np.where(mask(before), before, 0))
    assert "DEPTHWISE_CONV_2D sums" in reasons(edited)["depthwise/kernel"]


def test_ranked_together_the_least_of_all_go() -> None:
    model = pruned.model()
    edited = ql.prune(model, 0.6, ranking="global", **ALL)
    before = np.concatenate([model.tensor(n).numpy().ravel() for n in INNER])
    after = np.concatenate([edited.model.tensor(n).numpy().ravel() for n in INNER])
    assert np.array_equal(after, np.where(magnitude_mask(before, 0.6), before, 0))
    shares = [line.figures["sparsity"] for line in edited.done]
    assert max(shares) - min(shares) > 0.2


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "1x4"])
def test_pieces_make_no_difference(monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    model = pruned.model()
    whole = ql.prune(model, pattern=pattern).model.to_bytes()
    monkeypatch.setattr(job, "_PIECE", 100)
    edited = ql.prune(model, pattern=pattern).model
    assert edited.to_bytes() == whole
    data = edited.tensor("conv/kernel").data
    assert data is not None
    parts = [data.read(i, min(i + 3 * data.granule, data.nbytes)) for i in range(0, data.nbytes, 3 * data.granule)]
    assert np.array_equal(np.concatenate(parts), data.numpy())


def test_the_same_bytes_each_time() -> None:
    model = pruned.model()
    assert ql.prune(model, 0.5, encode=True).model.to_bytes() == ql.prune(model, 0.5, encode=True).model.to_bytes()


def test_what_is_sparse_enough_is_left_alone() -> None:
    once = ql.prune(pruned.model(), 0.5).model
    again = ql.prune(ql.read(once.to_bytes()), 0.4)
    assert not again.done
    assert again.model.to_bytes() == once.to_bytes()
    assert reasons(again)["conv/kernel"] == "2,304 of 4,608 are zero already"
    assert ql.prune(once, 0.75).model.to_bytes() == ql.prune(pruned.model(), 0.75).model.to_bytes()


# ---- sensitivity -------------------------------------------------------------------------------------------------


def test_the_sparsity_is_shared_out_at_the_least_summed_error() -> None:
    """No other shares of the same number of zeros cost less, where an error grows with the energy that goes."""
    model = pruned.model()
    errors = {"conv/kernel": 4.0, "wide/kernel": 0.5, "dense/kernel": 0.01}
    edited = ql.prune(model, 0.5, sensitivity=errors)
    assert {line.where for line in edited.done} == set(errors)
    assert reasons(edited)["depthwise/kernel"].startswith("288 elements")
    squares = {n: np.sort(model.tensor(n).numpy().astype(np.float64).ravel() ** 2) for n in errors}
    unit = {n: e / squares[n][: zeros_of(squares[n].size, 0.5)].sum() for n, e in errors.items()}
    found = {line.where: int(line.figures["zeros"]) for line in edited.done}
    assert sum(found.values()) == zeros_of(sum(s.size for s in squares.values()), 0.5)
    assert found["dense/kernel"] > 0.9 * squares["dense/kernel"].size > found["conv/kernel"]
    # moving one zero from any layer to any other costs something
    for gives, takes in ((a, b) for a in errors for b in errors if a != b):
        saved = unit[gives] * squares[gives][found[gives] - 1]
        if found[takes] < squares[takes].size:
            assert saved <= unit[takes] * squares[takes][found[takes]] * (1 + 1e-5)


def test_one_layer_alone_gets_the_sparsity_that_is_asked() -> None:
    model = pruned.model()
    edited = ql.prune(model, 0.3, sensitivity={"wide/kernel": 1.0})
    assert [line.where for line in edited.done] == ["wide/kernel"]
    assert reasons(edited)["conv/kernel"] == "no sensitivity is given for it"
    assert zeros(edited.model.tensor("wide/kernel")) == zeros_of(2048, 0.3)


def test_layers_without_any_error_share_what_is_free() -> None:
    edited = ql.prune(pruned.model(), 0.5, sensitivity={"conv/kernel": 0.0, "wide/kernel": 0.0})
    assert edited.totals["sparsity"] == 0.5


# ---- forms of storage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["float16", "dynamic", "weight-only", "int8", "int16x8", "uint8"])
@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "1x4"])
def test_weights_in_other_types(mode: str, pattern: str) -> None:
    model = pruned.model(mode)
    edited = ql.prune(model, pattern=pattern)
    names = ("conv/kernel", "wide/kernel", "dense/kernel")
    assert tuple(line.where for line in edited.done) == names
    for name in names:
        before, after = model.tensor(name), edited.model.tensor(name)
        assert after.type == before.type
        assert after.quantization == before.quantization
        assert zeros(after) >= before.numpy().size // 2
        same = after.numpy() == before.numpy()
        assert np.abs(before.real()[~same]).max() <= np.abs(before.real()[same]).max()
        if pattern == "2:4":
            assert (np.abs(after.real()).reshape(-1, 4) > 0).sum(axis=1).max() <= 2
    for resolver in RESOLVERS:
        assert np.isfinite(run(edited.model, resolver)[0].astype(np.float32)).all()


def test_the_zero_point_is_the_zero() -> None:
    model = pruned.model("uint8")
    before, after = (m.tensor("conv/kernel") for m in (model, ql.prune(model, 0.5).model))
    point = int(before.quantization.zero_point[0])
    assert 0 < point < 255
    changed = after.numpy() != before.numpy()
    assert set(after.numpy()[changed].tolist()) == {point}
    assert zeros(after) == zeros_of(4608, 0.5)


def test_channels_are_ranked_by_real_values() -> None:
    """In a file whose channels have scales of their own, an integer of 100 may be less than one of 2."""
    model = pruned.model("int8")
    before, after = (m.tensor("conv/kernel") for m in (model, ql.prune(model, 0.5).model))
    mask = magnitude_mask(before.real(), 0.5)
    assert np.array_equal(after.numpy(), np.where(mask, before.numpy(), 0))


@pytest.mark.parametrize("mode", ["float16", "dynamic", "weight-only", "int8", "int8-int4", "int16x8", "uint8"])
@pytest.mark.parametrize("rounding", [None, "nearest"])
def test_zeros_stay_zeros_when_the_result_is_quantized(mode: str, rounding: str | None) -> None:
    recipe = ql.recipes.by_name(mode)
    if rounding:
        if not recipe.activations:
            pytest.skip("the mode has no rounding to choose")
        recipe = recipe.replace(rounding=rounding)
    edited = ql.prune(pruned.model(), 0.5, **ALL).model
    net = pruned.layers()
    small = ql.quantize(edited, recipe, calibrated(edited, samples(net)) if recipe.activations else None)
    for name in INNER:
        mask = edited.tensor(name).numpy() == 0
        assert not small.tensor(name).real()[mask].any(), name


# ---- what is left alone ------------------------------------------------------------------------------------------


def test_first_and_last_layers_and_small_weights() -> None:
    edited = ql.prune(pruned.model())
    assert reasons(edited) == {
        "first/kernel": "432 elements, fewer than 1,024",
        "depthwise/kernel": "288 elements, fewer than 1,024",
        "last/kernel": "240 elements, fewer than 1,024",
    }
    edited = ql.prune(pruned.model(), min_elements=250)
    assert reasons(edited) == {"first/kernel": "first layer", "last/kernel": "240 elements, fewer than 250"}
    assert not ql.prune(pruned.model(), first_last=True, **ALL).kept


def test_every_branch_has_a_last_layer() -> None:
    net = Network()
    x = net.input("x", (1, 64))
    a = net.fully_connected("a", x, gaussian((64, 64), 1))
    b = net.fully_connected("b", a, gaussian((64, 64), 2))
    heads = [net.fully_connected(f"head{i}", b, gaussian((32, 64), i)) for i in range(2)]
    assert reasons(ql.prune(net.done(*heads))) == {
        "a/kernel": "first layer",
        "head0/kernel": "last layer",
        "head1/kernel": "last layer",
    }


SKIPPED, UNASKED = "left out by skip", "not among those asked for"


@pytest.mark.parametrize(
    ("options", "conv", "wide", "dense"),
    [
        ({"only": "conv"}, "", UNASKED, UNASKED),
        ({"only": ["^wide$", "dense"]}, UNASKED, "", ""),
        ({"skip": "wide|dense"}, "", SKIPPED, SKIPPED),
        ({"only_types": "FULLY_CONNECTED"}, UNASKED, UNASKED, ""),
        ({"skip_types": ("CONV_2D",)}, SKIPPED, SKIPPED, ""),
        ({"only_types": "CONV_2D", "skip": "wide"}, "", SKIPPED, UNASKED),
    ],
)
def test_selectors(options: dict[str, Any], conv: str, wide: str, dense: str) -> None:
    edited = ql.prune(pruned.model(), **options)
    wanted = {"conv/kernel": conv, "wide/kernel": wide, "dense/kernel": dense}
    assert [line.where for line in edited.done] == [name for name, why in wanted.items() if not why]
    assert {name: reasons(edited).get(name, "") for name in wanted} == wanted


def test_a_weight_that_somebody_reads_otherwise() -> None:
    net = Network()
    w = net.constant("w", gaussian((64, 64)))
    x = net.op("ADD", [net.input("x", (1, 64)), w], "sum", (64, 64), Table("AddOptions"))
    model = net.done(net.op("FULLY_CONNECTED", [x, w, -1], "y", (64, 64), Table("FullyConnectedOptions")))
    edited = ql.prune(model, first_last=True)
    assert reasons(edited) == {"w": "ADD reads it too, and not as a weight"}
    assert edited.model is model


def test_shared_buffers_stay_shared() -> None:
    edited = ql.prune(pruned.shared(), first_last=True)
    assert [line.where for line in edited.done] == ["w", "other"]
    tables = [edited.model.tensor(name).table for name in ("w", "other")]
    assert tables[0].buffer == tables[1].buffer
    assert edited.totals["elements"] == 4096


def test_of_a_shared_buffer_one_may_stay() -> None:
    model = pruned.shared()
    edited = ql.prune(model, first_last=True, skip="^layer1$")
    assert reasons(edited)["other"] == "left out by skip"
    assert np.array_equal(edited.model.tensor("other").numpy(), model.tensor("other").numpy())
    assert zeros(edited.model.tensor("w")) == 2048


def test_names_that_repeat_are_told_apart() -> None:
    net = Network()
    x = net.input("x", (1, 64))
    for seed in range(4):
        x = net.op(
            "FULLY_CONNECTED",
            [x, net.constant("w", gaussian((64, 64), seed)), -1],
            f"y{seed}",
            (1, 64),
            Table("FullyConnectedOptions"),
        )
    edited = ql.prune(net.done(x))
    assert [line.where for line in edited.done] == ["w (0, 3)", "w (0, 5)"]


def test_signatures_and_metadata_stay() -> None:
    from tests.support.models import dense

    edited = ql.prune(dense(), first_last=True, min_elements=0)
    assert edited.model.root.signature_defs == dense().root.signature_defs
    assert edited.model.root.description == "two layers"
    assert [e.name for e in edited.model.root.metadata] == [e.name for e in dense().root.metadata]


# ---- the account -------------------------------------------------------------------------------------------------


def test_the_account_is_of_what_was_done() -> None:
    model = pruned.model()
    edited = ql.prune(model, 0.75)
    assert edited.totals["elements"] == sum(line.figures["elements"] for line in edited.done) == 4608 + 2048 + 3072
    assert edited.totals["zeros"] == sum(line.figures["zeros"] for line in edited.done)
    assert edited.totals["sparsity"] == 0.75
    assert edited.totals["deflated"] < 0.6 * edited.totals["deflated_before"]
    assert str(edited.done[0]) == "conv/kernel: 3,456 of 4,608 are zero (75.0 %)"


# ---- bad requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1.5}, "sparsity is 1.5; a number of 0 or more and less than 1"),
        ({"sparsity": -0.5}, "sparsity is -0.5"),
        ({"pattern": "4:2"}, "pattern is '4:2'; unstructured, m:n with m less than n"),
        ({"pattern": "2x4"}, "pattern is '2x4'"),
        ({"pattern": "1x1"}, "pattern is '1x1'"),
        ({"pattern": 4}, "pattern is 4"),
        ({"pattern": "2:4", "sparsity": 0.75}, "sparsity 0.75 beside pattern '2:4', which has 0.5"),
        ({"pattern": "2:4", "ranking": "global"}, "ranking 'global' says nothing beside pattern '2:4'"),
        ({"pattern": "2:4", "sensitivity": {}}, "a sensitivity says nothing beside"),
        ({"ranking": "layer"}, "ranking is 'layer'; one of tensor, global"),
        ({"min_elements": -1}, "min_elements is -1"),
        ({"min_elements": 0.5}, "min_elements is 0.5"),
        ({"sensitivity": {"conv/kernel": float("nan")}}, "sensitivity of 'conv/kernel' is nan"),
        ({"sensitivity": [1.0]}, "sensitivity is a list; a mapping"),
        ({"only": "nothing"}, "only 'nothing' matches no operator or constant among the weights"),
        ({"skip_types": "CONV_3D"}, "skip_types 'CONV_3D' matches no operator type among the weights"),
        ({"only": "("}, "no regular expression"),
    ],
    ids=str,
)
def test_bad_requests(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=r"^[^\n]*$") as caught:
        ql.prune(pruned.model(), **options)
    assert message in str(caught.value)


@pytest.mark.parametrize("options", [{}, {"pattern": "2:4"}, {"ranking": "global"}, {"pattern": "1x4"}], ids=str)
def test_weights_that_are_not_finite(options: dict[str, Any]) -> None:
    model = pruned.model()
    values = model.tensor("wide/kernel").numpy().copy()
    values[0, 0, 0, 0] = np.nan
    model = model.replace("wide/kernel", data=values)
    with pytest.raises(InvalidValue, match="wide/kernel: its values aren't all finite"):
        ql.prune(model, **options)
    assert len(ql.prune(model, skip="wide", **options).done) == 2

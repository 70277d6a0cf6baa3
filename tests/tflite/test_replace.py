"""One tensor replaced: a new model; everything else as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantlib.errors import InvalidValue, NotFound
from quantlib.tflite import Draft, Model, Quantization, read
from tests.support import litert
from tests.support.models import built, weights


def others(model: Model, but: str) -> list[tuple[str, Any]]:
    """All other constants."""
    return [(t.name, t.data.numpy().tobytes()) for t in model.tensors() if t.data is not None and t.name != but]


def test_new_data(tmp_path: Path) -> None:
    model = read(built("dense"))
    array = weights(48, 32, seed=50)
    changed = model.replace("w1", data=array)
    assert np.array_equal(model.tensor("w1").numpy(), weights(48, 32, seed=1))
    array[:] = 0  # the model has its own
    changed.write(tmp_path / "m.tflite")
    back = read(tmp_path / "m.tflite")
    assert np.array_equal(back.tensor("w1").numpy(), weights(48, 32, seed=50))
    assert others(back, "w1") == others(model, "w1")
    assert back.tensor("w1").table.replace(buffer=None) == model.tensor("w1").table.replace(buffer=None)
    assert len(back.buffers) == len(model.buffers)


def test_litert_computes_with_the_new_data() -> None:
    model = read(built("dense"))
    (before,) = litert.run(model)
    doubled = model.replace("w2", data=2 * model.tensor("w2").numpy())
    (after,) = litert.run(doubled)
    np.testing.assert_allclose(after, 2 * before, rtol=1e-6)


def test_a_buffer_that_others_share_is_left_to_them() -> None:
    model = read(built("convolution"))
    assert model.tensor("w").table.buffer == model.tensor("w_again").table.buffer
    kernel = np.full((4, 3, 3, 3), 9, np.int8)
    changed = read(model.replace("w", data=kernel).to_bytes())
    assert np.array_equal(changed.tensor("w").numpy(), kernel)
    assert np.array_equal(changed.tensor("w_again").numpy(), model.tensor("w_again").numpy())
    assert changed.tensor("w").quantization == model.tensor("w").quantization
    assert len(changed.buffers) == len(model.buffers) + 1
    both = changed.replace("w_again", data=kernel)
    assert len(both.buffers) == len(model.buffers) + 1  # the old one lost its last user


def test_a_buffer_that_metadata_shares_is_left_to_it() -> None:
    model = read(built("dense"))
    entry = model.root.metadata[0].replace(buffer=model.tensor("w2").table.buffer)
    model = read(Model(model.root.replace(metadata=[entry])).to_bytes())
    changed = read(model.replace("w2", data=weights(8, 48, seed=1)).to_bytes())
    kept = changed.data(changed.root.metadata[0].buffer)
    assert kept is not None
    assert kept.numpy().tobytes() == weights(8, 48, seed=3).tobytes()


def test_a_vector_that_two_buffers_share_is_left_to_the_other() -> None:
    model = read(built("shared_vector"))
    changed = read(model.replace("a", data=weights(1, 64, seed=99)).to_bytes())
    assert np.array_equal(changed.tensor("b").numpy(), model.tensor("b").numpy())
    assert np.array_equal(changed.tensor("a").numpy(), weights(1, 64, seed=99))


def test_new_quantization_alone() -> None:
    model = read(built("convolution"))
    quantization = Quantization(np.full(4, 0.5, np.float32), np.zeros(4, np.int64), 0)
    changed = read(model.replace("w", quantization=quantization).to_bytes())
    assert changed.tensor("w").quantization == quantization
    assert changed.tensor("w_again").quantization == model.tensor("w_again").quantization
    assert changed.tensor("w").table.buffer == changed.tensor("w_again").table.buffer


def test_quantization_removed() -> None:
    empty = Quantization(np.zeros(0, np.float32), np.zeros(0, np.int64))
    changed = read(read(built("convolution")).replace("w", quantization=empty).to_bytes())
    assert changed.tensor("w").quantization is None


def test_floats_become_integers_with_their_scales() -> None:
    model = read(built("dense"))
    quantization = Quantization(np.array([0.03], np.float32), np.array([0], np.int64))
    data = np.round(model.tensor("w1").numpy() / 0.03).astype(np.int8)
    changed = read(model.replace("w1", data=data, quantization=quantization).to_bytes())
    assert changed.tensor("w1").type == "INT8"
    assert np.array_equal(changed.tensor("w1").numpy(), data)
    np.testing.assert_allclose(changed.tensor("w1").real(), data * np.float32(0.03), rtol=1e-6)
    # a hybrid kernel quantizes the input too: half a step of it, through both layers, is all that may differ
    (expected,) = litert.run(model.replace("w1", data=changed.tensor("w1").real()))
    x = np.random.default_rng(0).standard_normal((1, 32))
    step = np.abs(changed.tensor("w1").real()).sum(1) * np.abs(x).max() / 127 / 2
    bound = np.abs(model.tensor("w2").numpy()) @ step
    assert (np.abs(litert.run(changed)[0] - expected) <= bound * 1.001).all()


@pytest.mark.parametrize("type", ["INT4", "INT2"])
def test_narrow_integers_are_packed(type: str) -> None:
    model = read(built("dense"))
    data = (np.arange(48 * 32) % 4 - 2).astype(np.int8).reshape(48, 32)
    changed = read(model.replace("w1", data=data, type=type).to_bytes())
    assert changed.tensor("w1").type == type
    assert np.array_equal(changed.tensor("w1").numpy(), data)
    held = changed.tensor("w1").data
    assert held is not None
    assert held.nbytes == 48 * 32 // (2 if type == "INT4" else 4)


def test_a_narrow_tensor_stays_narrow() -> None:
    model = read(built("blockwise"))
    data = np.full((8, 64), -3, np.int8)
    changed = read(model.replace("w", data=data).to_bytes())
    assert changed.tensor("w").type == "INT4"
    assert np.array_equal(changed.tensor("w").real(), np.full((8, 64), -0.375, np.float32))


def test_a_sparse_tensor_becomes_dense() -> None:
    model = read(built("sparse"))
    changed = read(model.replace("w_sparse", data=weights(8, 16, seed=60)).to_bytes())
    assert changed.tensor("w_sparse").table.sparsity is None
    assert np.array_equal(changed.tensor("w_sparse").numpy(), weights(8, 16, seed=60))


def test_data_of_any_layout_and_byte_order() -> None:
    model, array = read(built("dense")), weights(48, 32, seed=70)
    for given in (np.asfortranarray(array), array[::-1][::-1], array.T.copy().T):
        assert np.array_equal(read(model.replace("w1", data=given).to_bytes()).tensor("w1").numpy(), array)


W1 = weights(48, 32, seed=1)
ONE = Quantization(np.ones(1, np.float32), np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "nothing to replace"),
        ({"data": W1.T}, r"data of shape \[32, 48\] where \[48, 32\] is required"),
        ({"data": W1.reshape(-1)}, r"data of shape \[1536\]"),
        ({"data": W1.astype(np.float64)}, "FLOAT32 takes float32 values, and the data is float64"),
        ({"data": W1, "type": "INT8"}, "INT8 takes int8 values"),
        ({"data": W1.astype(np.int8), "type": "INT5"}, "'INT5' is unknown"),
        ({"data": np.full((48, 32), 8, np.int8), "type": "INT4"}, "value 8 at flat index 0 is outside -8..7"),
        ({"type": "INT8"}, "its FLOAT32 bytes would mean something else; give data too"),
        ({"type": "STRING"}, "would mean something else"),
        ({"quantization": ONE}, "FLOAT32 has no scale"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        read(built("dense")).replace("w1", **changes)


@pytest.mark.parametrize(
    ("scale", "points", "axis", "message"),
    [
        ([1, 1], [0], 0, "2 scales and 1 zero points"),
        ([1, 1], [0, 0], 0, r"2 scales don't fit dimension 0 of shape \[4, 3, 3, 3\]"),
        ([1, 1, 1, 1], [0] * 4, 1, "4 scales don't fit dimension 1"),
        ([1, 1, 1, 1], [0] * 4, 4, "4 scales don't fit dimension 4"),
        ([1, 1, 1, 1], [0] * 4, -4, "4 scales don't fit dimension -4"),
        ([0], [0], 0, "finite and positive"),
        ([-1], [0], 0, "finite and positive"),
        ([np.nan], [0], 0, "finite and positive"),
        ([np.inf], [0], 0, "finite and positive"),
        ([1], [128], 0, "zero point 128..128 beyond INT8's range"),
    ],
)
def test_scales_that_do_not_fit_are_refused(scale: list[float], points: list[int], axis: int, message: str) -> None:
    quantization = Quantization(np.array(scale, np.float32), np.array(points, np.int64), axis)
    with pytest.raises(InvalidValue, match=message):
        read(built("convolution")).replace("w", quantization=quantization)


def test_blockwise_scales_are_set_through_a_recipe() -> None:
    model = read(built("blockwise"))
    with pytest.raises(InvalidValue, match="through a recipe"):
        model.replace("w", quantization=model.tensor("w").quantization)


@pytest.mark.parametrize(("name", "tensor"), [("dense", "x"), ("dense", "hidden"), ("variables", "state")])
def test_what_is_computed_takes_no_data(name: str, tensor: str) -> None:
    model = read(built(name))
    with pytest.raises(InvalidValue, match="not a constant"):
        model.replace(tensor, data=np.zeros(model.tensor(tensor).shape, np.float32))


def test_narrow_bytes_are_not_taken_for_wide_ones() -> None:
    with pytest.raises(InvalidValue, match="as INT8 its INT4 bytes would mean something else"):
        read(built("blockwise")).replace("w", type="INT8")


def test_names_that_are_not_unique() -> None:
    model = read(built("branches"))
    with pytest.raises(NotFound, match="2 tensors have that name"):
        model.replace("k", data=np.zeros((1, 4), np.float32))
    changed = model.replace((2, 1), data=np.zeros((1, 4), np.float32))
    assert not changed.tensor((2, 1)).numpy().any()
    assert changed.tensor((1, 1)).numpy().any()


def test_informational_ranges_are_kept() -> None:
    draft = Draft(read(built("convolution")))
    w = draft.model.tensor("w")
    table = w.table.quantization.replace(min=[-1.0], max=[2.0])
    draft.graphs[0].tensors[w.index] = w.table.replace(quantization=table)
    quantization = Quantization(np.ones(1, np.float32), np.zeros(1, np.int64))
    changed = read(draft.done().replace("w", quantization=quantization).to_bytes()).tensor("w")
    assert changed.quantization == quantization
    kept = changed.table.quantization
    assert (kept.min.tolist(), kept.max.tolist()) == ([-1.0], [2.0])

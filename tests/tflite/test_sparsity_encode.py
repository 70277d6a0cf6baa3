"""Sparse forms: what is stored comes back, literally as the format says, and LiteRT reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.tflite import (
    Deferred,
    Draft,
    Inline,
    SparseLayout,
    Table,
    read,
    sparse_size,
    sparsify,
    sparsify_data,
    sparsity_encode,
    stored_counts,
)
from tests.support import litert
from tests.support.examples import examples
from tests.support.models import constant, rng
from tests.tflite.test_sparsity import compressed, tensor_of

TYPES = {"FLOAT32": "f4", "FLOAT16": "f2", "INT8": "i1"}


def dense_of(shape: tuple[int, ...], dtype: str, share: float = 0.3, seed: int = 0) -> Any:
    return (rng(seed).integers(-9, 10, shape) * (rng(seed + 1).random(shape) < share)).astype(dtype)


@examples(100)
@given(st.data())
def test_what_is_encoded_comes_back(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    axis = data.draw(st.integers(0, len(shape) - 1))
    block = data.draw(st.sampled_from([b for b in range(1, 7) if shape[axis] % b == 0]))
    type = data.draw(st.sampled_from(list(TYPES)))
    dense = dense_of(shape, TYPES[type], data.draw(st.floats(0, 1)), data.draw(st.integers(0, 99)))
    layout = SparseLayout(axis, block)
    values, sparsity = sparsify(dense, layout)
    assert values.dtype == dense.dtype
    assert np.array_equal(tensor_of(values, sparsity, shape, type).numpy(), dense)
    vectors = [v.values.nbytes for d in sparsity.dim_metadata for v in (d.array_segments, d.array_indices) if v]
    stored = values.size // block
    assert sparse_size(shape, dense.itemsize, layout, stored) == values.nbytes + sum(vectors)
    if axis == len(shape) - 1 and dense.any():
        assert stored_counts(Inline(dense), dense.dtype, shape, [block])[block][0] == stored


@pytest.mark.parametrize(("axis", "block"), [(1, 1), (1, 4), (0, 1), (0, 2), (1, 16)])
def test_it_is_what_a_literal_traversal_stores(axis: int, block: int) -> None:
    dense = dense_of((8, 32), "f4", 0.1)
    values, sparsity = sparsify(dense, SparseLayout(axis, block))
    order = [1 - axis, axis] + ([2] if block > 1 else [])
    blocks = ([axis], [block]) if block > 1 else ([], [])
    wanted, table = compressed(dense, order, *blocks, [0, 1, 0][: len(order)], "Uint8Vector")
    assert np.array_equal(values, wanted.reshape(-1))
    assert sparsity == table


@pytest.mark.parametrize(
    ("width", "rows", "kinds"),
    [
        (256, 1, ("Uint16Vector", "Uint8Vector")),
        (255, 1, ("Uint8Vector", "Uint8Vector")),
        (257, 1, ("Uint16Vector", "Uint16Vector")),
        (16, 4096, ("Int32Vector", "Uint8Vector")),
        (65537, 1, ("Int32Vector", "Int32Vector")),
    ],
)
def test_vectors_are_as_narrow_as_they_can_be(width: int, rows: int, kinds: tuple[str, str]) -> None:
    dense = np.ones((rows, width), np.int8)
    values, sparsity = sparsify(dense, SparseLayout(1))
    level = sparsity.dim_metadata[1]
    assert (level.array_segments.kind, level.array_indices.kind) == kinds
    assert np.array_equal(tensor_of(values, sparsity, dense.shape, "INT8").numpy(), dense)


@pytest.mark.parametrize("resolver", litert.RESOLVERS)
@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("layout", [SparseLayout(3), SparseLayout(0), SparseLayout(3, 4), SparseLayout(2)], ids=str)
def test_litert_expands_it(layout: SparseLayout, type: str, resolver: str) -> None:
    dense = dense_of((5, 3, 2, 8), TYPES[type])
    values, sparsity = sparsify(dense, layout)
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", type, dense.shape)
    buffer = draft.add_buffer(values)
    w = graph.add_tensor("w", type, dense.shape, buffer=buffer, sparsity=sparsity)
    full, y = (graph.add_tensor(name, type, dense.shape) for name in ("full", "y"))
    graph.append(draft.operator("DENSIFY", [w], [full], Table("DensifyOptions")))
    if type == "INT8":
        axes = constant(draft, graph, "axes", "INT32", np.array([0], np.int32))
        graph.append(draft.operator("REVERSE_V2", [full, axes], [y], Table("ReverseV2Options"), version=2))
        dense = dense[::-1]
    else:
        # a shape that nobody folds: the tensor as it is
        shape = constant(draft, graph, "shape", "INT32", np.array(dense.shape, np.int32))
        graph.append(draft.operator("RESHAPE", [full, shape], [y], Table("ReshapeOptions")))
    graph.inputs, graph.outputs = [x], [y]
    interpreter = litert.interpreter(draft.done().to_bytes(), resolver)
    interpreter.invoke()
    assert np.array_equal(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), dense)


def test_of_nothing_but_zeros_a_block_is_stored() -> None:
    """A constant without data would be taken for one that is computed."""
    values, sparsity = sparsify(np.zeros((3, 8), np.float32), SparseLayout(1, 4))
    assert values.tolist() == [0, 0, 0, 0]
    assert sparsity.dim_metadata[1].array_segments.values.tolist() == [0, 1, 1, 1]
    assert sparse_size((3, 8), 4, SparseLayout(1, 4), 0) == 16 + 4 + 1


@pytest.mark.parametrize(
    "layout", [SparseLayout(2), SparseLayout(-1), SparseLayout(1, 3), SparseLayout(1, 0)], ids=str
)
def test_layouts_that_do_not_fit_are_refused(layout: SparseLayout) -> None:
    with pytest.raises(InvalidValue, match="don't fit; give an axis"):
        sparsify(np.ones((2, 8), np.float32), layout)


def test_a_file_of_it_is_read_back() -> None:
    dense = dense_of((8, 16), "f4")
    values, sparsity = sparsify(dense, SparseLayout(1))
    tensor = tensor_of(values, sparsity, dense.shape, "FLOAT32")
    assert np.array_equal(read(tensor.model.to_bytes()).tensor("t").numpy(), dense)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    "layout", [SparseLayout(1), SparseLayout(1, 4), SparseLayout(0), SparseLayout(0, 2)], ids=str
)
def test_pieces_make_no_difference(monkeypatch: pytest.MonkeyPatch, layout: SparseLayout, share: float) -> None:
    dense = dense_of((40, 32), "f4", share)
    wanted, table = sparsify(dense, layout)
    monkeypatch.setattr(sparsity_encode, "_PIECE", 70)
    raw = Inline(dense)
    data, found = sparsify_data(Deferred(raw.nbytes, raw.read, granule=16), dense.dtype, dense.shape, layout)
    assert found == table
    step = 3 * data.granule
    parts = [data.read(a, min(a + step, data.nbytes)) for a in range(0, data.nbytes, step)]
    assert np.concatenate(parts).tobytes() == wanted.tobytes()


def test_byte_order_makes_no_difference() -> None:
    dense = np.array([[0, 5, 0, 0], [0, 0, 256, 7]], ">i4")
    values, table = sparsify(dense, SparseLayout(1))
    assert values.tolist() == [5, 256, 7]
    assert table == sparsify(dense.astype(np.int32), SparseLayout(1))[1]

"""Sparse tensors become dense, against a reference that takes the traversal literally."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.tflite import Draft, Table, Tensor, read
from tests.support import litert
from tests.support.models import built, csr, relu, rng, weights

VECTORS = ("Int32Vector", "Uint16Vector", "Uint8Vector")


def blocked(dense: Any, order: list[int], block_map: list[int], block: list[int]) -> Any:
    """A dense array with block dimensions split off, its dimensions in the order of traversal."""
    shape, sizes = list(dense.shape), dict(zip(block_map, block, strict=True))
    split = []
    for d, size in enumerate(shape):
        split += [size // sizes[d], sizes[d]] if d in sizes else [size]
    axes, at = {}, 0
    for d in range(len(shape)):
        axes[d], at = at, at + (2 if d in sizes else 1)
    for j, d in enumerate(block_map):
        axes[len(shape) + j] = axes[d] + 1
    return dense.reshape(split).transpose([axes[d] for d in order])


def compressed(
    dense: Any, order: list[int], block_map: list[int], block: list[int], formats: list[int], kind: str
) -> Any:
    """Store an array level by level: its stored values and the ``SparsityParameters``, the slow and literal way."""
    array = blocked(dense, order, block_map, block)
    parents: list[tuple[int, ...]] = [()]
    levels = []
    for level, format in enumerate(formats):
        size = array.shape[level]
        if format == 0:
            levels.append(Table("DimensionMetadata", format=0, dense_size=size))
            parents = [(*p, i) for p in parents for i in range(size)]
            continue
        segments, indices, children = [0], [], []
        for p in parents:
            kept = [i for i in range(size) if np.any(array[(*p, i)])]
            indices += kept
            segments.append(len(indices))
            children += [(*p, i) for i in kept]
        levels.append(
            Table(
                "DimensionMetadata",
                format=1,
                array_segments=Table(kind, values=segments),
                array_indices=Table(kind, values=indices),
            )
        )
        parents = children
    values = np.array([array[p] for p in parents], dense.dtype)
    table = Table("SparsityParameters", traversal_order=order, block_map=block_map or None, dim_metadata=levels)
    return values, table


def tensor_of(values: Any, sparsity: Table, shape: tuple[int, ...], type: str) -> Tensor:
    draft = Draft()
    graph = draft.graphs[0]
    relu(draft, graph)
    buffer = draft.add_buffer(np.concatenate([values, np.zeros(1, values.dtype)]))
    graph.outputs.append(graph.add_tensor("t", type, shape, buffer=buffer, sparsity=sparsity))
    return read(draft.done().to_bytes()).tensor("t")


CASES = {
    "csr": ([0, 1], [], [], [0, 1]),
    "csc": ([1, 0], [], [], [0, 1]),
    "both compressed": ([0, 1], [], [], [1, 1]),
    "all dense": ([0, 1], [], [], [0, 0]),
    "block 1x4": ([0, 1, 2], [1], [4], [0, 1, 0]),
    "block 2x4": ([0, 1, 2, 3], [0, 1], [2, 4], [0, 1, 0, 0]),
    "block 2x4, turned": ([1, 0, 3, 2], [0, 1], [2, 4], [1, 1, 0, 0]),
    "block 4 of rows": ([0, 1, 2], [0], [4], [0, 1, 0]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("type", "dtype"), [("FLOAT32", "f4"), ("FLOAT16", "f2"), ("INT8", "i1"), ("INT32", "i4")])
@pytest.mark.parametrize("kind", VECTORS)
def test_what_was_pruned_comes_back(case: str, type: str, dtype: str, kind: str) -> None:
    order, block_map, block, formats = CASES[case]
    dense = (rng(1).integers(-9, 10, (8, 12)) * (rng(2).random((8, 12)) < 0.2)).astype(dtype)
    values, sparsity = compressed(dense, order, block_map, block, formats, kind)
    tensor = tensor_of(values, sparsity, (8, 12), type)
    assert np.array_equal(tensor.numpy(), dense)
    assert tensor.numpy().dtype == dense.dtype
    assert not tensor.numpy().flags.writeable
    assert values.size > 0
    assert case == "all dense" or values.size < dense.size


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_traversal_comes_back(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3))
    block_map = sorted(data.draw(st.sets(st.integers(0, rank - 1))))
    block = [data.draw(st.integers(1, 3)) for _ in block_map]
    shape = tuple(
        data.draw(st.integers(1, 3)) * (block[block_map.index(d)] if d in block_map else 1) for d in range(rank)
    )
    # blocks come behind all original dimensions, in an order of their own
    order = [*data.draw(st.permutations(range(rank))), *data.draw(st.permutations(range(rank, rank + len(block))))]
    formats = [data.draw(st.integers(0, 1)) if d < rank else 0 for d in order]
    dense = rng(data.draw(st.integers(0, 99))).integers(-1, 2, shape).astype(np.int8)
    values, sparsity = compressed(dense, order, block_map, block, formats, "Int32Vector")
    assert np.array_equal(tensor_of(values, sparsity, shape, "INT8").numpy(), dense)


def test_litert_expands_the_same() -> None:
    raw = built("sparse")
    interpreter = litert.interpreter(raw, "builtin")
    x = rng(5).standard_normal((1, 16)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    dense = read(raw).tensor("w_sparse").numpy()
    np.testing.assert_allclose(
        interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), x @ dense.T, rtol=1e-5, atol=1e-6
    )
    assert np.array_equal(dense, weights(8, 16, seed=9) * (rng(10).random((8, 16)) < 0.2))


# ---- what contradicts itself -----------------------------------------------------------------------------------


def broken(**changes: Any) -> tuple[Any, Table]:
    """Stored values and a valid CSR description, some of it changed."""
    dense = np.eye(4, dtype=np.float32)
    values, sparsity = csr(dense)
    rows, columns = sparsity.dim_metadata
    level = {k: v for k, v in changes.items() if k in ("array_segments", "array_indices", "format", "dense_size")}
    rows = rows.replace(dense_size=changes.get("rows", 4))
    return values, sparsity.replace(
        dim_metadata=changes.get("levels", [rows, columns.replace(**level)]),
        traversal_order=changes.get("order", [0, 1]),
        block_map=changes.get("block_map"),
    )


def ints(*values: int) -> Table:
    return Table("Int32Vector", values=values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": [0, 0]}, "doesn't fit shape"),
        ({"order": [0, 5]}, "doesn't fit shape"),
        ({"order": [0]}, "doesn't fit shape"),
        ({"levels": []}, "doesn't fit shape"),
        ({"block_map": [1]}, "doesn't fit shape"),
        ({"array_segments": ints(0, 1, 2, 3)}, "don't rise over their 4 parents"),
        ({"array_segments": ints(1, 1, 2, 3, 4)}, "don't rise"),
        ({"array_segments": ints(0, 3, 2, 3, 4)}, "don't rise"),
        ({"array_segments": ints(0, 1, 2, 3, 40)}, "count 40 indices and 4 are stored"),
        ({"array_segments": ints(0, 1, 2, 3, -4)}, "don't rise"),
        ({"array_segments": None}, "without its segments or indices"),
        ({"array_indices": None}, "without its segments or indices"),
        ({"array_indices": Table("Uint8Vector")}, "without its segments or indices"),
        ({"array_indices": ints(0, 1, 2, 4)}, "lies outside dimension 1"),
        ({"array_indices": ints(0, 1, 2, -1)}, "lies outside dimension 1"),
        ({"rows": 3}, "dense level of 3 where dimension 0 of shape"),
        ({"rows": 1 << 30}, "dense level of 1,073,741,824"),
        ({"rows": -1}, "dense level of -1"),
        ({"format": 0, "dense_size": 1 << 30}, "dense level of 1,073,741,824 where dimension 1"),
        ({"format": 0, "dense_size": 4}, "16 sparse elements are due and 5 stored"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    values, sparsity = broken(**changes)
    with pytest.raises(InvalidValue, match=message):
        tensor_of(values, sparsity, (4, 4), "FLOAT32").numpy()


def test_a_block_map_beyond_the_shape_is_refused() -> None:
    values, sparsity = compressed(np.eye(4, dtype=np.float32), [0, 1, 2], [1], [4], [0, 1, 0], "Int32Vector")
    with pytest.raises(InvalidValue, match="block map"):
        tensor_of(values, sparsity.replace(block_map=[2]), (4, 4), "FLOAT32").numpy()


@pytest.mark.parametrize("size", [0, -4, 3, 8])
def test_blocks_that_do_not_fit_are_refused(size: int) -> None:
    values, sparsity = compressed(np.eye(4, dtype=np.float32), [0, 1, 2], [1], [4], [0, 1, 0], "Int32Vector")
    rows, columns, block = sparsity.dim_metadata
    for changed in (block.replace(dense_size=size), columns.replace(dense_size=size)):
        table = sparsity.replace(dim_metadata=[rows, columns, changed])
        with pytest.raises(InvalidValue, match=f"blocks of {size} along dimension 1"):
            tensor_of(values, table, (4, 4), "FLOAT32").numpy()


def test_a_tensor_that_would_explode_is_refused() -> None:
    values, sparsity = csr(np.eye(4, dtype=np.float32))
    with pytest.raises(InvalidValue, match="can't stand for a tensor of shape"):
        tensor_of(values, sparsity, (1 << 20, 1 << 20), "FLOAT32").numpy()


@pytest.mark.parametrize("type", ["INT4", "INT2"])
def test_narrow_sparse_types_are_refused(type: str) -> None:
    values, sparsity = csr(np.eye(4, dtype=np.int8))
    with pytest.raises(InvalidValue, match=f"sparse {type} can't be expanded"):
        tensor_of(values, sparsity, (4, 4), type).numpy()


def test_the_reference_is_literal() -> None:
    """`blocked` is what the schema's comments say: element (i, j) stands at (i, j // 4, j % 4)."""
    dense = np.arange(32).reshape(4, 8)
    split = blocked(dense, [0, 1, 2], [1], [4])
    for i, j in itertools.product(range(4), range(8)):
        assert split[i, j // 4, j % 4] == dense[i, j]

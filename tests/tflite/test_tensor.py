"""One tensor: its values as an array, dequantized, and its scales."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantlib import demo
from quantlib.errors import InvalidValue, NotFound
from quantlib.numerics import element_type, pack, to_bfloat16
from quantlib.tflite import Draft, Table, Tensor, read, tensor_types
from tests.support import litert
from tests.support.models import built, constant, parameters, relu, rng, weights
from tests.support.shared import each_model, name_of


def one(type: str, array: Any, shape: tuple[int, ...] | None = None, **fields: Any) -> Tensor:
    """The tensor ``t`` of a model that has been written and read."""
    draft = Draft()
    graph = draft.graphs[0]
    relu(draft, graph)
    fields.setdefault("buffer", draft.add_buffer(np.asarray(array)))
    index = graph.add_tensor("t", type, np.shape(array) if shape is None else shape, **fields)
    graph.outputs.append(index)
    return read(draft.done().to_bytes()).tensor("t")


# ---- finding -----------------------------------------------------------------------------------------------------


def test_by_name_and_by_place() -> None:
    model = read(built("branches"))
    assert model.tensor("condition").index == 0
    tensor = model.tensor((2, 1))
    assert (tensor.subgraph, tensor.index, tensor.name) == (2, 1, "k")
    assert [t.index for t in model.tensors(1)] == [0, 1, 2]
    assert len(list(model.tensors())) == 9


def test_names_that_are_not_unique() -> None:
    with pytest.raises(NotFound, match=r"'k': 2 tensors have that name; give one of \(1, 1\), \(2, 1\) instead"):
        read(built("branches")).tensor("k")


def test_names_that_are_not_there() -> None:
    with pytest.raises(NotFound, match=r"'hiden': no tensor has that name; similar ones are 'hidden'"):
        read(built("dense")).tensor("hiden")


@pytest.mark.parametrize("place", [(0, 99), (3, 0), (-1, 0), (0, -1)])
def test_places_that_are_not_there(place: tuple[int, int]) -> None:
    with pytest.raises(NotFound, match="3 tensors in subgraph 0, 3 tensors in subgraph 1"):
        read(built("branches")).tensor(place)


def test_tensors_without_a_name() -> None:
    model = read(built("nameless"))
    assert [t.name for t in model.tensors()] == ["", ""]
    with pytest.raises(NotFound, match="2 tensors have that name"):
        model.tensor("")


# ---- values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["dense", "outside"])
def test_values_are_views_of_the_mapped_file(form: str, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(built(form))
    model = read(path)
    array = model.tensor("w1").numpy()
    assert np.shares_memory(array, model.source.bytes(0, model.source.size))
    assert array.dtype == np.float32
    assert np.array_equal(array, weights(48, 32, seed=1))
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        array.flags.writeable = True


def test_the_view_outlives_the_model(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(built("dense"))
    array = read(path).tensor("w1").numpy()
    path.unlink()
    assert np.array_equal(array, weights(48, 32, seed=1))


def test_unaligned_data_is_copied() -> None:
    raw = built("outside")
    shifted = bytearray(raw)
    at = raw.index(weights(48, 32, seed=1).tobytes())
    field = raw.index(at.to_bytes(8, "little"))
    shifted[at + 1 : at + 1] = raw[at : at + 48 * 32 * 4]
    shifted[field : field + 8] = (at + 1).to_bytes(8, "little")
    tensor = read(bytes(shifted)).tensor("w1")
    assert np.array_equal(tensor.numpy(), weights(48, 32, seed=1))
    assert not tensor.numpy().flags.writeable
    assert tensor.numpy().flags.aligned


@pytest.mark.parametrize("type", [t for t in tensor_types() if element_type(t).bits >= 8])
def test_every_type_with_a_dtype_comes_back(type: str) -> None:
    kind = element_type(type)
    array = rng(1).integers(0, 2, (2, 3, 5)).astype(kind.storage)
    tensor = one(type, array)
    assert tensor.type == type
    assert tensor.dtype == kind.storage == tensor.numpy().dtype
    assert np.array_equal(tensor.numpy(), array)


@pytest.mark.parametrize("type", ["INT4", "UINT4", "INT2"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (4, 4), (2, 0, 3)])
def test_narrow_integers_are_unpacked(type: str, shape: tuple[int, ...]) -> None:
    kind = element_type(type)
    array = rng(2).integers(kind.min, kind.max, shape, endpoint=True).astype(kind.storage)
    packed = pack(array, type)
    if not packed.size:
        packed = np.zeros(1, np.uint8)  # an empty buffer would be no constant
    tensor = one(type, packed, shape)
    assert np.array_equal(tensor.numpy(), array)
    assert tensor.numpy().dtype == kind.storage
    assert not tensor.numpy().flags.writeable


def test_bfloat16_is_raw_bits_and_real_values() -> None:
    array = weights(3, 4)
    tensor = one("BFLOAT16", to_bfloat16(array))
    assert tensor.numpy().dtype == np.uint16
    assert np.array_equal(tensor.numpy(), to_bfloat16(array))
    np.testing.assert_allclose(tensor.real(), array, rtol=2**-8)
    assert tensor.real().dtype == np.float32


def test_longer_data_is_cut_and_shorter_data_refused() -> None:
    assert one("INT32", np.arange(9, dtype=np.int32), (2, 3)).numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(InvalidValue, match=r"tensor 't' \(0, 2\): 36 bytes of data where INT32 \[2, 5\] needs 40"):
        one("INT32", np.arange(9, dtype=np.int32), (2, 5)).numpy()


@pytest.mark.parametrize("type", ["STRING", "RESOURCE", "VARIANT"])
def test_types_that_numpy_does_not_have(type: str) -> None:
    tensor = one(type, np.arange(8, dtype=np.uint8), (1,))
    assert tensor.dtype is None
    with pytest.raises(InvalidValue, match=f"NumPy has no arrays of {type}; read .data instead"):
        tensor.numpy()
    assert tensor.data is not None
    assert tensor.data.numpy().tolist() == list(range(8))


@pytest.mark.parametrize("name", ["dense", "empty_vectors"])
def test_what_is_no_constant_has_no_values(name: str) -> None:
    for reference in ("x", "y"):
        tensor = read(built(name)).tensor(reference)
        assert not tensor.is_constant
        assert tensor.data is None
        with pytest.raises(InvalidValue, match="not a constant"):
            tensor.numpy()


def test_what_stands_in_another_file_is_said_to() -> None:
    with pytest.raises(InvalidValue, match="in another file"):
        read(built("two_axes")).tensor("elsewhere").numpy()


@pytest.mark.parametrize("shape", [(0, *[2**31 - 1] * 4), (1,) * 70])
def test_shapes_beyond_numpy_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidValue, match="beyond what NumPy holds"):
        one("INT8", np.zeros(1, np.int8), shape).numpy()


# ---- quantization ------------------------------------------------------------------------------------------------


def test_real_values_per_tensor() -> None:
    tensor = one("INT8", np.array([-128, 0, 127], np.int8), quantization=parameters(0.5, -3))
    assert tensor.real().tolist() == [-62.5, 1.5, 65.0]
    assert tensor.real().dtype == np.float32


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_real_values_per_axis(axis: int) -> None:
    array = rng(3).integers(-128, 128, (2, 3, 4)).astype(np.int8)
    scale = (1 + np.arange(array.shape[axis])).astype(np.float32) / 8
    points = np.arange(array.shape[axis]) - 1
    tensor = one("INT8", array, quantization=parameters(scale, points, axis))
    shape = [-1 if d == axis else 1 for d in range(3)]
    expected = (array - points.reshape(shape)) * scale.reshape(shape).astype(np.float64)
    assert np.array_equal(tensor.real(), expected.astype(np.float32))
    quantization = tensor.quantization
    assert quantization is not None
    assert np.array_equal(quantization.scale, scale)
    assert quantization.zero_point.tolist() == points.tolist()
    assert quantization.quantized_dimension == axis


def test_real_values_of_floats() -> None:
    assert one("FLOAT16", np.array([1.5, -2], np.float16)).real().tolist() == [1.5, -2]
    assert one("FLOAT64", np.array([1.5, -2])).real().dtype == np.float32


@pytest.mark.parametrize("type", ["FLOAT8_E4M3FN", "FLOAT8_E5M2"])
def test_bits_of_small_floats_are_not_taken_for_values(type: str) -> None:
    with pytest.raises(InvalidValue, match="can't be converted yet"):
        one(type, np.arange(4, dtype=np.uint8)).real()


def test_what_is_beyond_float32_is_infinite() -> None:
    assert one("FLOAT64", np.array([1e300, -1e300])).real().tolist() == [np.inf, -np.inf]
    assert one("INT8", np.array([100, -100], np.int8), quantization=parameters(3e38)).real().tolist() == [
        np.inf,
        -np.inf,
    ]


def test_integers_without_a_scale_have_no_real_values() -> None:
    for quantization in (None, Table("QuantizationParameters"), Table("QuantizationParameters", scale=[])):
        tensor = one("INT32", np.arange(4, dtype=np.int32), quantization=quantization)
        assert tensor.quantization is None
        with pytest.raises(InvalidValue, match="INT32 without a scale"):
            tensor.real()


def test_zero_points_left_out_or_given_once() -> None:
    array = np.arange(6, dtype=np.int8).reshape(2, 3)
    for points, expected in ((None, [0, 0]), ([5], [5, 5]), ([1, 2], [1, 2])):
        table = Table("QuantizationParameters", scale=[1, 2], zero_point=points)
        quantization = one("INT8", array, quantization=table).quantization
        assert quantization is not None
        assert quantization.zero_point.tolist() == expected
    table = Table("QuantizationParameters", scale=[1, 2], zero_point=[1, 2, 3])
    with pytest.raises(InvalidValue, match="2 scales and 3 zero points"):
        _ = one("INT8", array, quantization=table).quantization


def test_scales_that_do_not_fit_the_shape() -> None:
    array = np.arange(6, dtype=np.int8).reshape(2, 3)
    for scale, axis in (([1, 2], 1), ([1, 2], 7), ([1, 2, 3], -9)):
        table = Table("QuantizationParameters", scale=scale, zero_point=[0] * len(scale), quantized_dimension=axis)
        with pytest.raises(InvalidValue):
            one("INT8", array, quantization=table).real()


def blockwise(scales: Any, points: Any = None, block: int = 32, **fields: Any) -> Tensor:
    """Blockwise INT4 weights of 8 x 64, with scales and zero points in tensors of their own."""
    draft = Draft()
    graph = draft.graphs[0]
    relu(draft, graph)
    s = scales if isinstance(scales, int) else constant(draft, graph, "s", "FLOAT16", scales)
    z = -1 if points is None else constant(draft, graph, "z", "INT8", points)
    details = Table("BlockwiseQuantization", scales=s, zero_points=z, block_size=block, **fields)
    values = rng(11).integers(-8, 8, (8, 64)).astype(np.int8)
    quantization = Table("QuantizationParameters", details=details)
    graph.outputs.append(constant(draft, graph, "t", "INT4", values, quantization=quantization))
    return read(draft.done().to_bytes()).tensor("t")


@pytest.mark.parametrize("with_points", [False, True])
def test_real_values_per_block(with_points: bool) -> None:
    scales = (1 + np.arange(16)).reshape(8, 2).astype(np.float16) / 4
    points = (np.arange(16).reshape(8, 2) - 5).astype(np.int8) if with_points else None
    tensor = blockwise(scales, points)
    expected = np.empty((8, 64), np.float32)
    for i in range(8):
        for j in range(64):
            zero = points[i, j // 32] if points is not None else 0
            expected[i, j] = (int(tensor.numpy()[i, j]) - int(zero)) * scales[i, j // 32]
    assert np.array_equal(tensor.real(), expected)
    assert tensor.quantization is not None
    assert tensor.quantization.block_size == 32


@pytest.mark.parametrize(
    ("scales", "points", "block", "message"),
    [
        (np.ones((8, 2), np.float16), None, 0, "blocks of 0"),
        (np.ones((8, 2), np.float16), None, -32, "blocks of -32"),
        (np.ones((8, 2), np.float16), None, 1 << 30, "blocks of 1073741824"),
        (np.ones((8, 2), np.float16), None, 24, "blocks of 24"),
        (np.ones((8, 3), np.float16), None, 32, "24 scales for blocks of 32"),
        (np.ones((8, 2), np.float16), np.zeros(3, np.int8), 32, "zero points"),
        (1, None, 32, "not a constant"),
        (2, None, 32, "INT4; a float type is required"),
    ],
)
def test_blocks_that_do_not_fit(scales: Any, points: Any, block: int, message: str) -> None:
    tensor = blockwise(scales, points, block)
    with pytest.raises(InvalidValue, match=message):
        _ = tensor.quantization
    with pytest.raises(InvalidValue, match=message):
        tensor.real()


def test_blocks_of_several_dimensions_are_not_misread() -> None:
    with pytest.raises(InvalidValue, match=r"blocks of shape \[4, 8\]"):
        _ = blockwise(np.ones((8, 2), np.float16), block_shape=[4, 8]).quantization


def test_scales_only_their_author_can_read() -> None:
    quantization = read(built("custom_quantization")).tensor("x").quantization
    assert quantization is not None
    assert quantization.scale.tolist() == [0.25]


# ---- against LiteRT ------------------------------------------------------------------------------------------------


def constants_agree(raw: bytes) -> int:
    """Compare all constants of the first subgraph with those that LiteRT holds; gives their number."""
    model, interpreter, count = read(raw), litert.interpreter(raw, "builtin"), 0
    details = {d["index"]: d for d in interpreter.get_tensor_details()}
    for tensor in model.tensors(0):
        narrow = element_type(tensor.type).bits < 8 or tensor.type == "BFLOAT16"
        if not tensor.is_constant or narrow or tensor.table.sparsity is not None:
            continue
        assert np.array_equal(
            interpreter.get_tensor(tensor.index), tensor.numpy(), equal_nan=tensor.dtype.kind == "f"
        )
        ours, theirs = tensor.quantization, details[tensor.index]["quantization_parameters"]
        assert (ours is not None) == bool(theirs["scales"].size)
        if ours is not None:
            assert np.array_equal(ours.scale, theirs["scales"])
            assert np.array_equal(ours.zero_point, theirs["zero_points"])
            assert ours.quantized_dimension == theirs["quantized_dimension"]
        count += 1
    return count


def test_litert_holds_the_same_constants_of_the_demo_model() -> None:
    assert constants_agree(Path(demo.MODEL).read_bytes()) > 5


@each_model(most=1_500_000)
def test_litert_holds_the_same_constants(path: Path) -> None:
    if any(code.custom_code for code in read(path).root.operator_codes):
        pytest.skip(f"LiteRT doesn't have the custom operators of {name_of(path)}")
    constants_agree(path.read_bytes())


def test_the_model_prints_in_one_line() -> None:
    assert str(read(built("dense"))).startswith("Model: 2 operators, 1 subgraph, ")
    assert str(read(built("branches"))).startswith("Model: 3 operators, 3 subgraphs, ")


@pytest.mark.parametrize(
    "given",
    [
        np.ma.masked_array(np.array([1, 8, 8, 1], np.int32), [0, 1, 0, 0]),
        np.array([[1, 8], [8, 1]], np.int32).T,
        np.broadcast_to(np.array([1, 8, 8, 1], np.int32), (1, 4)),
        np.frombuffer(np.array([[1, 8], [8, 1]], np.int32).tobytes(), np.int32).reshape(2, 2).T,
        np.array([1, 8, 8, 1], ">i4"),
    ],
    ids=["masked", "turned round", "broadcast", "frozen and turned round", "big-endian"],
)
def test_any_array_becomes_a_plain_frozen_vector(given: Any) -> None:
    """Whatever else its class, its layout and its flags say."""
    given.flags.writeable = False
    shape = Table("Tensor", shape=given).shape
    assert (type(shape), shape.dtype, shape.ndim) == (np.ndarray, np.dtype(np.int32), 1)
    assert sorted(shape.tolist()) == [1, 1, 8, 8]
    assert not shape.flags.writeable

"""`retype` of shapes: another batch, a batch that the caller chooses, other dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue, NotFound
from quantlib.passes import retype
from quantlib.tflite import Draft, Model, Table
from tests.support.litert import interpreter
from tests.support.models import custom_operator, signature, variables
from tests.support.network import Network, classifier, gaussian
from tests.support.planned import planned

Array = npt.NDArray[Any]


def run(model: Model, values: Array) -> list[Array]:
    made = interpreter(model.to_bytes(), "reference")
    detail = made.get_input_details()[0]
    if tuple(detail["shape"]) != values.shape:
        made.resize_tensor_input(detail["index"], values.shape)
        made.allocate_tensors()
    made.set_tensor(detail["index"], values)
    made.invoke()
    return [made.get_tensor(d["index"]) for d in made.get_output_details()]


def assert_each_alone(model: Model, batched: Model, count: int) -> None:
    """A batch gives what its samples give one by one."""
    first = model.tensor((0, int(model.subgraphs[0].inputs[0])))
    values = np.random.default_rng(0).standard_normal((count, *first.shape[1:])).astype(np.float32)
    if first.type == "INT8":
        values = np.random.default_rng(0).integers(-128, 128, values.shape).astype(np.int8)  # type: ignore[assignment]  # of another type
    for whole, *parts in zip(
        run(batched, values), *(run(model, values[i : i + 1]) for i in range(count)), strict=True
    ):
        np.testing.assert_allclose(
            whole, np.concatenate(parts), rtol=0, atol=1e-5 if whole.dtype == np.float32 else 0
        )


def quantized() -> Model:
    model = classifier()
    data = {"image": np.random.default_rng(0).standard_normal((8, 16, 16, 3)).astype(np.float32)}
    return ql.quantize(model, planned(model, data, "int8", input_type="INT8", output_type="INT8"))


@pytest.mark.parametrize("build", [classifier, quantized])
def test_a_batch(build: Any) -> None:
    model = build()
    edited = retype(model, batch=3)
    made = edited.model
    assert made.tensor("image").shape == (3, 16, 16, 3)
    assert made.tensor("depthwise").shape == (3, 16, 16, 16)
    assert made.tensor("dense").shape == (3, 10)
    assert all(t.table.shape_signature is None for t in made.tensors())
    assert [str(line) for line in edited.done] == [
        "input image: [1, 16, 16, 3] -> [3, 16, 16, 3]",
        "flat: RESHAPE [1, 4096] -> [-1, 4096]",
    ]
    assert_each_alone(model, made, 3)


@pytest.mark.parametrize("build", [classifier, quantized])
def test_a_batch_that_the_caller_chooses(build: Any) -> None:
    model = build()
    made = retype(model, batch="dynamic").model
    assert made.tensor("image").shape == (1, 16, 16, 3)
    assert made.tensor("image").table.shape_signature.tolist() == [-1, 16, 16, 3]
    assert made.tensor("flat").table.shape_signature.tolist() == [-1, 4096]
    assert_each_alone(model, made, 5)
    assert retype(made, batch="dynamic").model is made
    fixed = retype(made, batch=2).model
    assert fixed.tensor("flat").shape == (2, 4096)
    assert fixed.tensor("flat").table.shape_signature is None


def sliced() -> Model:
    """Operands that say the batch: SLICE, STRIDED_SLICE, RESHAPE without an operand, TRANSPOSE_CONV."""
    net = Network()
    x = net.input("x", (1, 4, 4, 3))
    zeros, size = (net.constant(n, np.array(v, "i4")) for n, v in (("zeros", [0] * 4), ("size", [1, 4, 4, 2])))
    x = net.op("SLICE", [x, zeros, size], "slice", (1, 4, 4, 2), Table("SliceOptions"))
    end, steps = (net.constant(n, np.array(v, "i4")) for n, v in (("end", [1, 2, 4, 2]), ("steps", [1] * 4)))
    x = net.op("STRIDED_SLICE", [x, zeros, end, steps], "strided", (1, 2, 4, 2), Table("StridedSliceOptions"))
    x = net.op("RESHAPE", [x], "wide", (1, 4, 2, 2), Table("ReshapeOptions", new_shape=[1, 4, -1, 2]))
    shape, w = net.constant("shape", np.array([1, 8, 4, 5], "i4")), net.constant("w", gaussian((5, 2, 2, 2)))
    options = Table("TransposeConvOptions", padding=0, stride_w=2, stride_h=2)
    return net.done(net.op("TRANSPOSE_CONV", [shape, w, x], "y", (1, 8, 4, 5), options))


def test_operands_that_say_the_batch() -> None:
    model = sliced()
    edited = retype(model, batch=4)
    assert [line.what for line in edited.done[1:]] == [
        "SLICE [1, 4, 4, 2] -> [-1, 4, 4, 2]",
        f"STRIDED_SLICE [1, 2, 4, 2] -> [{2**31 - 1}, 2, 4, 2]",
        "RESHAPE [1, 4, -1, 2] -> [-1, 4, 2, 2]",
        "TRANSPOSE_CONV [1, 8, 4, 5] -> [4, 8, 4, 5]",
    ]
    assert_each_alone(model, edited.model, 4)
    with pytest.raises(InvalidValue, match=r"TRANSPOSE_CONV 'y' says its shape \[1, 8, 4, 5\]"):
        retype(model, batch="dynamic")


def test_a_shape_constant_that_others_read_stays_for_them() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    shape = net.constant("shape", np.array([1, 2, 4], "i4"))
    a = net.op("RESHAPE", [x, shape], "a", (1, 2, 4), Table("ReshapeOptions"))
    b = net.op("RESHAPE", [net.constant("k", gaussian((8,))), shape], "b", (1, 2, 4), Table("ReshapeOptions"))
    model = net.done(net.op("ADD", [a, b], "y", (1, 2, 4), Table("AddOptions")))
    made = retype(model, batch=3).model
    assert made.tensor("shape").numpy().tolist() == [1, 2, 4]
    assert made.tensor("b").shape == (1, 2, 4)
    assert_each_alone(model, made, 3)


def test_other_dimensions() -> None:
    net = Network()
    x = net.input("image", (1, 8, 8, 3))
    x = net.convolution("conv", x, gaussian((4, 3, 3, 3), 1, 0.2))
    axes = net.constant("axes", np.array([1, 2], "i4"))
    model = net.done(net.op("MEAN", [x, axes], "y", (1, 4), Table("ReducerOptions")))
    made = retype(model, shapes={"image": (1, 12, 10, 3)}).model
    assert made.tensor("conv").shape == (1, 12, 10, 4)
    assert run(made, np.zeros((1, 12, 10, 3), np.float32))[0].shape == (1, 4)
    free = retype(model, shapes={"image": (1, -1, -1, 3)}).model
    assert free.tensor("conv").table.shape_signature.tolist() == [1, -1, -1, 4]
    assert free.tensor("y").table.shape_signature is None
    assert run(free, np.zeros((1, 20, 6, 3), np.float32))[0].shape == (1, 4)


def test_a_state_has_the_batch_too() -> None:
    model = variables()
    made = retype(model, batch=3).model
    assert made.tensor("state").shape == (3, 5)
    assert_each_alone(model, made, 3)
    with pytest.raises(InvalidValue, match="its batch must be known"):
        retype(model, batch="dynamic")


def test_a_batch_that_is_more_than_one_already() -> None:
    net = Network()
    x = net.input("x", (2, 8))
    shape = net.constant("shape", np.array([2, 2, 4], "i4"))
    model = net.done(net.op("RESHAPE", [x, shape], "y", (2, 2, 4), Table("ReshapeOptions")))
    made = retype(model, batch=6).model
    assert (made.tensor("x").shape, made.tensor("y").shape) == ((6, 8), (6, 2, 4))
    values = gaussian((6, 8))
    np.testing.assert_array_equal(run(made, values)[0], values.reshape(6, 2, 4))
    less = retype(made, batch=1).model
    assert (less.tensor("x").shape, less.tensor("y").shape) == ((1, 8), (1, 2, 4))
    broad = broadcast(2)
    assert retype(broad, batch=6).model.tensor("y").shape == (6, 3, 4)


def broadcast(batch: int = 1) -> Model:
    net = Network()
    x = net.input("x", (batch, 1, 4))
    shape = net.constant("shape", np.array([batch, 3, 4], "i4"))
    return net.done(net.op("BROADCAST_TO", [x, shape], "y", (batch, 3, 4), version=2))


def test_broadcasts_say_the_batch() -> None:
    model = broadcast()
    edited = retype(model, batch=2)
    assert [line.what for line in edited.done[1:]] == ["BROADCAST_TO [1, 3, 4] -> [2, 3, 4]"]
    assert edited.model.tensor("y").shape == (2, 3, 4)
    assert_each_alone(model, edited.model, 2)
    with pytest.raises(InvalidValue, match="its batch must be known"):
        retype(model, batch="dynamic")


def test_an_input_of_rank_0_has_no_batch() -> None:
    net = Network()
    x, k = net.input("x", (1, 4)), net.input("k", ())
    model = net.done(net.op("MUL", [x, k], "y", (1, 4), Table("MulOptions")))
    made = retype(model, batch=2).model
    assert [made.tensor(name).shape for name in ("x", "k", "y")] == [(2, 4), (), (2, 4)]
    free = retype(model, batch="dynamic").model
    assert free.tensor("y").table.shape_signature.tolist() == [-1, 4]
    assert free.tensor("k").table.shape_signature is None
    assert free.tensor("k").shape == ()


def test_one_input_with_another_batch_and_one_with_another_width() -> None:
    net = Network()
    x, k = net.input("x", (1, 4)), net.input("k", (1, 1))
    model = net.done(net.op("MUL", [x, k], "y", (1, 4), Table("MulOptions")))
    made = retype(model, shapes={"x": (3, 6)}).model
    assert [made.tensor(name).shape for name in ("x", "k", "y")] == [(3, 6), (1, 1), (3, 6)]
    made = retype(model, shapes={"x": (2, 4), "k": (1, 4)}).model
    assert [made.tensor(name).shape for name in ("x", "k", "y")] == [(2, 4), (1, 4), (2, 4)]
    assert all(t.table.shape_signature is None for t in made.tensors())


def test_a_shape_constant_that_is_the_first_tensor() -> None:
    net = Network()
    shape = net.constant("shape", np.array([1, 2, 4], "i4"))
    model = net.done(net.op("RESHAPE", [net.input("x", (1, 8)), shape], "y", (1, 2, 4), Table("ReshapeOptions")))
    assert retype(model, batch=3).model.tensor("y").shape == (3, 2, 4)


def test_a_shape_that_is_computed_needs_no_change() -> None:
    net = Network()
    x = net.input("x", (1, 4))
    shape = net.op("SHAPE", [x], "shape", (2,), Table("ShapeOptions", out_type=2), type="INT32")
    zero = net.constant("zero", np.float32(0.5))
    filled = net.op("FILL", [shape, zero], "filled", (1, 4))
    model = net.done(net.op("ADD", [x, filled], "y", (1, 4), Table("AddOptions")))
    made = retype(model, batch=3).model
    assert [made.tensor(name).shape for name in ("shape", "filled", "y")] == [(2,), (3, 4), (3, 4)]


def test_a_state_that_comes_first_or_has_no_batch() -> None:
    model = variables()
    draft = Draft(model)
    graph = draft.graphs[0]
    at = next(i for i, t in enumerate(graph.tensors) if t.name == "state")
    swap = {at: 0, 0: at}
    graph.tensors[0], graph.tensors[at] = graph.tensors[at], graph.tensors[0]
    graph.operators = [
        o.replace(inputs=[swap.get(int(t), int(t)) for t in o.inputs], outputs=[int(t) for t in o.outputs])
        for o in graph.operators
    ]
    graph.inputs = [swap[0]]
    first = draft.done()
    assert first.tensor((0, 0)).name == "state"
    made = retype(first, batch=3).model
    assert made.tensor("state").shape == (3, 5)
    assert_each_alone(first, made, 3)


def test_more_than_can_be_tried_is_refused() -> None:
    net = Network()
    model = net.done(net.op("RELU", [net.input("x", (1, 4096))], "y", (1, 4096)))
    with pytest.raises(InvalidValue, match=r"'x' \[1, 16777217\]: more than 16,777,216 elements of an input"):
        retype(model, shapes={"x": (1, (1 << 24) + 1)})


def test_a_signature_of_another_rank_is_an_error() -> None:
    draft = Draft(classifier())
    tables = draft.graphs[0].tensors
    draft.graphs[0].tensors = [t.replace(shape=[]) if t.name == "image" else t for t in tables]
    draft.graphs[0].tensors = [
        t.replace(shape_signature=[1, 16, 16, 3]) if t.name == "image" else t for t in draft.graphs[0].tensors
    ]
    with pytest.raises(InvalidValue, match="differ in rank"):
        retype(draft.done(), batch=2)


def test_values_that_are_not_finite_are_the_same_for_each_sample() -> None:
    net = Network()
    x = net.op("LOG", [net.input("x", (1, 64))], "log", (1, 64))
    x = net.op("MUL", [x, net.constant("k", np.full((1, 64), 3e38, "f4"))], "y", (1, 64), Table("MulOptions"))
    model = net.done(x)
    with np.errstate(all="ignore"):
        assert retype(model, batch=2).model.tensor("y").shape == (2, 64)


def mixed() -> Model:
    net = Network()
    x = net.input("x", (1, 4))
    axes = net.constant("axes", np.array([0], "i4"))
    return net.done(net.op("MEAN", [x, axes], "y", (1, 4), Table("ReducerOptions", keep_dims=True)))


def two_inputs() -> Model:
    net = Network()
    x, y = net.input("x", (1, 4)), net.input("y", (3, 4))
    net.draft.signatures.append(signature("s", {"a": x, "b": y}, {"c": 2}))
    return net.done(net.op("ADD", [x, y], "z", (3, 4), Table("AddOptions")))


def narrowed() -> Model:
    net = Network()
    options = Table("Pool2DOptions", filter_height=3, filter_width=1, stride_h=1, stride_w=1, padding=1)
    return net.done(net.op("MAX_POOL_2D", [net.input("x", (1, 4, 2, 1))], "y", (1, 2, 2, 1), options))


def test_a_batch_beside_a_shape_that_begins_with_it() -> None:
    shape = (2, 16, 16, 3)
    assert retype(classifier(), batch=2, shapes={"image": shape}).model.tensor("image").shape == shape


@pytest.mark.parametrize(
    ("model", "wish", "error", "message"),
    [
        (mixed, {"batch": 2}, InvalidValue, "isn't what its samples give one by one"),
        (custom_operator, {"batch": 2}, InvalidValue, "there is no kernel for it"),
        (classifier, {"batch": 0}, InvalidValue, "batch 0: a positive number or 'dynamic'"),
        (classifier, {"batch": "many"}, InvalidValue, "batch 'many'"),
        (classifier, {"shapes": {"image": (1, 16, 16)}}, InvalidValue, r"one like \[1, 16, 16, 3\]"),
        (classifier, {"shapes": {"image": (1, 0, 16, 3)}}, InvalidValue, "positive numbers are required"),
        (classifier, {"shapes": {"image": (1, 12, 16, 3)}}, InvalidValue, "RESHAPE"),
        (classifier, {"shapes": {"picture": (1,)}}, NotFound, "no input 'picture'; the model has image"),
        (two_inputs, {"batch": 2}, InvalidValue, "one batch is required"),
        (narrowed, {"shapes": {"x": (1, 2, 2, 1)}}, InvalidValue, r"left of it, shape \[1, 0, 2, 1\]"),
        (classifier, {"batch": 2, "shapes": {"image": (3, 16, 16, 3)}}, InvalidValue, "leave the batch out"),
        (classifier, {"batch": "dynamic", "target": "edgetpu"}, InvalidValue, "edgetpu takes no dimension"),
        (classifier, {"batch": 2, "target": "edgetpu"}, InvalidValue, "edgetpu doesn't take the result"),
    ],
)
def test_what_cannot_be_is_said(model: Any, wish: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        retype(model(), **wish)

"""`retype` of weights: one scale instead of one per channel; UINT8 of old files as INT8."""

from __future__ import annotations

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue
from quantlib.numerics import dequantize, quantize
from quantlib.passes import retype
from quantlib.runners import affine_of
from quantlib.tflite import Model, Quantization, Table, quantization_table
from tests.support.litert import RESOLVERS, run
from tests.support.models import constant, parameters
from tests.support.network import Network, classifier, gaussian
from tests.support.networks_integer import VALID, Integer
from tests.support.planned import names, planned


def per_channel(mode: str = "int8") -> Model:
    model = classifier()
    data = {"image": np.random.default_rng(0).standard_normal((8, 16, 16, 3)).astype(np.float32)}
    return ql.quantize(model, planned(model, data, mode))


@pytest.mark.parametrize("mode", ["int8", "int16x8"])
def test_weights_have_one_scale_and_the_bias_follows(mode: str) -> None:
    model = per_channel(mode)
    edited = retype(model, weights="per-tensor")
    made = edited.model
    for operator in made.subgraphs[0].operators:
        if made.operator_name(operator) not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        x, w, b = (made.tensor((0, int(t))) for t in operator.inputs)
        assert w.quantization.scale.shape == b.quantization.scale.shape == (1,)
        assert b.quantization.scale[0] == x.quantization.scale[0] * w.quantization.scale[0]
        old, was = model.tensor(w.name), model.tensor(b.name)
        assert np.abs(old.real() - w.real()).max() <= w.quantization.scale[0] / 2 * 1.0001
        assert np.abs(w.numpy()).max() == 127
        stored = was.numpy() * was.quantization.scale.astype(np.float64)
        assert (
            np.abs(b.numpy() * float(b.quantization.scale[0]) - stored).max() <= b.quantization.scale[0] / 2 * 1.0001
        )
    assert [line.where for line in edited.done][:2] == ["conv/kernel", "conv/bias"]
    figures = edited.done[0].figures
    kernel = model.tensor("conv/kernel")
    affine = affine_of(made.tensor("conv/kernel"))
    assert affine is not None
    expected = ql.numerics.sqnr_db(kernel.real(), dequantize(quantize(kernel.real(), affine), affine))
    assert figures["sqnr_db"] == expected
    for resolver in RESOLVERS:
        assert ql.numerics.sqnr_db(run(model, resolver)[0], run(made, resolver)[0]) > 35


def test_a_weight_that_two_read_is_stored_once_and_each_bias_follows_its_input() -> None:
    net = Network()
    w = net.constant("w", gaussian((8, 8), 1) * np.linspace(0.1, 3, 8, dtype="f4")[:, None])
    x = net.fully_connected("a", net.input("image", (1, 8)), w, fused_activation_function=1)
    model = net.done(net.fully_connected("b", x, w))
    data = {"image": gaussian((8, 1, 8), 3)}
    made = retype(ql.quantize(model, planned(model, data, "int8")), weights="per-tensor").model
    dense = [o for o in made.subgraphs[0].operators if made.operator_name(o) == "FULLY_CONNECTED"]
    for operator in dense:
        x_, w_, b_ = (made.tensor((0, int(t))).quantization.scale for t in operator.inputs)
        assert b_[0] == x_[0] * w_[0]
    assert len({made.tensor((0, int(o.inputs[1]))).table.buffer for o in dense}) == 1


def test_weights_behind_dequantize_and_of_hybrid_operators() -> None:
    for mode in ("weight-only", "dynamic"):
        model = ql.quantize(classifier(), mode)
        edited = retype(model, weights="per-tensor")
        made = edited.model
        assert made.tensor("conv/kernel").quantization.scale.size == 1
        kept = [str(line) for line in edited.kept]
        depthwise = made.tensor("depthwise/kernel").quantization
        if mode == "dynamic":
            assert kept == ["depthwise/kernel: DEPTHWISE_CONV_2D on floats takes a scale per channel alone"]
            assert depthwise.scale.size == 16
        else:
            assert depthwise.scale.size == 1
        assert ql.numerics.sqnr_db(run(model)[0], run(made)[0]) > 42


def test_int4_stays_int4() -> None:
    model = ql.quantize(classifier(), "dynamic-int4")
    made = retype(model, weights="per-tensor").model
    dense = made.tensor("dense/kernel")
    assert (dense.type, dense.quantization.scale.size) == ("INT4", 1)
    assert dense.data.nbytes == 10 * 4096 // 2
    run(made)


def old(point: int, operator: str = "FULLY_CONNECTED", *, behind: bool = False) -> Model:
    """Weights of UINT8 as files of 2018 have them."""
    net = Network()
    x = net.input("x", (1, 8))
    values = np.random.default_rng(0).integers(0, 256, (4, 8)).astype(np.uint8)
    w = net.graph.add_tensor(
        "w", "UINT8", (4, 8), buffer=net.draft.add_buffer(values),
        quantization=quantization_table(Quantization(np.float32(0.01), np.int64(point))),
    )  # fmt: skip
    if behind:
        w = net.op("DEQUANTIZE", [w], "real", (4, 8))
    return net.done(net.op(operator, [x, w, -1], "y", (1, 4), Table("FullyConnectedOptions")))


def test_old_bytes_that_kernels_read_as_int8_are_int8() -> None:
    model = old(0)
    edited = retype(model, weights="int8")
    made = edited.model
    assert made.tensor("w").type == "INT8"
    np.testing.assert_array_equal(made.tensor("w").numpy().view(np.uint8), model.tensor("w").numpy())
    assert "the same bytes" in str(edited.done[0])
    for resolver in ("builtin", "reference"):
        np.testing.assert_array_equal(run(model, resolver)[0], run(made, resolver)[0])
    # XNNPACK takes INT8 alone, and quantizes the activations in another way
    assert ql.numerics.sqnr_db(run(model)[0], run(made)[0]) > 40


def test_a_zero_point_of_128_is_shifted() -> None:
    model = old(128)
    made = retype(model, weights="int8").model
    np.testing.assert_array_equal(made.tensor("w").real(), model.tensor("w").real())
    assert made.tensor("w").quantization.zero_point.tolist() == [0]
    x = np.random.default_rng(0).standard_normal((1, 8)).astype(np.float32)
    assert ql.numerics.sqnr_db(x @ model.tensor("w").real().T, run(made)[0]) > 46


def test_behind_dequantize_any_zero_point_is_shifted() -> None:
    model = old(77, behind=True)
    made = retype(model, weights="int8").model
    assert (made.tensor("w").type, made.tensor("w").quantization.zero_point.tolist()) == ("INT8", [77 - 128])
    for resolver in RESOLVERS:
        np.testing.assert_allclose(run(model, resolver)[0], run(made, resolver)[0], rtol=0, atol=1e-6)


def test_a_zero_point_that_kernels_ignore_stays_and_is_named() -> None:
    model = old(77)
    edited = retype(model, weights="int8")
    assert edited.model is model
    assert str(edited.kept[0]) == "w: UINT8 with zero point 77, which kernels on floats don't look at"


def test_nothing_to_do_is_said() -> None:
    model = classifier()
    for form in ("per-tensor", "int8"):
        edited = retype(model, weights=form)
        assert edited.model is model
        assert [str(line) for line in edited.kept] == [f"weights: nothing to make {form}"]
    with pytest.raises(InvalidValue, match="weights 'int4': one of per-tensor, int8"):
        retype(model, weights="int4")


def test_integers_of_a_uint8_model_are_not_weights_of_floats() -> None:
    model = per_channel("uint8")
    edited = retype(model, weights="int8")
    assert edited.model is model
    assert "CONV_2D" in names(edited.model)


# ---- what is looked at, and what isn't ----------------------------------------------------------------------------


def small(bias: bool = True, *, first: str = "x", scale: float = 0.1) -> Integer:
    """FULLY_CONNECTED of INT8 with two scales; which tensor is the first one, a weight or a bias, doesn't matter."""
    net = Integer()
    made = {}
    if first == "w":
        made["w"] = net.weights("w", (2, 8))
    if first == "b":
        made["b"] = constant(
            net.draft, net.graph, "b", "INT32", np.array([500, -700], np.int32),
            quantization=parameters(np.float32([0.001, 0.002])),
        )  # fmt: skip
    x = net.input("x", (1, 8), scale)
    w = made["w"] if "w" in made else net.weights("w", (2, 8))
    inputs = [x, w]
    if bias:
        inputs.append(made["b"] if "b" in made else net.bias("b", x, w, 2))
    y = net.activation("y", (1, 2), 0.5)
    net.op("FULLY_CONNECTED", inputs, [y], 4, "FullyConnectedOptions")
    net.graph.outputs = [y]
    return net


@pytest.mark.parametrize("first", ["x", "w", "b"])
def test_two_channels_are_enough_and_any_tensor_may_be_the_first(first: str) -> None:
    model = small(first=first).draft.done()
    edited = retype(model, weights="per-tensor")
    made = edited.model
    was, now = (m.tensor("b").numpy() * m.tensor("b").quantization.scale.astype(np.float64) for m in (model, made))
    assert made.tensor("w").quantization.scale.size == made.tensor("b").quantization.scale.size == 1
    assert str(edited.done[0]).startswith("w: 2 scales -> 1: ")
    worst = float(np.abs(was - now).max())
    assert worst <= made.tensor("b").quantization.scale[0] / 2
    assert edited.done[1].figures["worst"] == pytest.approx(worst, rel=1e-6)
    assert str(edited.done[1]) == f"b: bias rescaled: at most {worst:.3g} from what it was"
    if first == "b":
        assert worst > 0


@pytest.mark.parametrize("left_out", [False, True])
def test_an_operator_without_a_bias(left_out: bool) -> None:
    net = small(bias=False)
    if left_out:
        net.graph.operators = [o.replace(inputs=[*o.inputs, -1]) for o in net.graph.operators]
    edited = retype(net.draft.done(), weights="per-tensor")
    assert [line.where for line in edited.done] == ["w"]
    assert edited.model.tensor("w").quantization.scale.size == 1


def test_one_scale_stays_as_it_is() -> None:
    net = Integer()
    x = net.input("x", (1, 8))
    w, y = net.weights("w", (2, 8), None), net.activation("y", (1, 2), 0.5)
    net.op("FULLY_CONNECTED", [x, w, -1], [y], 4, "FullyConnectedOptions")
    model = net.done(y)
    assert retype(model, weights="per-tensor").model is model


def test_blocks_stay_and_are_named() -> None:
    edited = retype(VALID["blockwise"](), weights="per-tensor")
    assert any("has a scale per block, not per channel" in str(line) for line in edited.kept)
    assert not edited.done


def test_a_bias_without_scales_is_named() -> None:
    net = small()
    net.graph.tensors = [t.replace(quantization=None) if t.name == "b" else t for t in net.graph.tensors]
    edited = retype(net.draft.done(), weights="per-tensor")
    assert [str(line) for line in edited.kept] == ["b: a bias without scales; it can't be rescaled"]


@pytest.mark.parametrize(("which", "scale"), [("b", np.inf), ("b", np.nan), ("x", 0.0), ("x", np.inf)])
def test_scales_that_cannot_be_are_an_error(which: str, scale: float) -> None:
    net = small()
    broken = parameters(np.float32([scale, 0.1] if which == "b" else [scale]), 0)
    net.graph.tensors = [t.replace(quantization=broken) if t.name == which else t for t in net.graph.tensors]
    with pytest.raises(InvalidValue, match=r"'b' .*: a bias whose scales .* can't become|scale"):
        retype(net.draft.done(), weights="per-tensor")


def test_a_sparse_weight_stays() -> None:
    model = per_channel()
    sparse = ql.prune(model, 0.9, encode=True, min_elements=1, first_last=True).model
    edited = retype(sparse, weights="per-tensor")
    for tensor in sparse.tensors():
        if tensor.table.sparsity is not None:
            assert edited.model.tensor(tensor.name).quantization == tensor.quantization


def test_old_weights_without_a_scale_are_named() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    values = np.zeros((4, 8), np.uint8)
    w = net.graph.add_tensor("w", "UINT8", (4, 8), buffer=net.draft.add_buffer(values))
    model = net.done(net.op("FULLY_CONNECTED", [x, w, -1], "y", (1, 4), Table("FullyConnectedOptions")))
    edited = retype(model, weights="int8")
    assert edited.model is model
    assert str(edited.kept[0]) == "w: UINT8 without a scale, or with several"


def test_operators_that_take_no_such_weights_are_named() -> None:
    net = Integer("UINT8")
    x = net.plain("x", (1, 4, 4, 4, 1))
    net.graph.inputs = [x]
    values = np.zeros((1, 1, 1, 1, 1), np.uint8)
    w = constant(net.draft, net.graph, "w", "UINT8", values, quantization=parameters(0.1, 128))
    y = net.plain("y", (1, 4, 4, 4, 1))
    net.op("CONV_3D", [x, w], [y], 1, Table("Conv3DOptions", stride_d=1, stride_w=1, stride_h=1))
    model = net.done(y)
    edited = retype(model, weights="int8")
    assert edited.model is model
    assert str(edited.kept[0]) == "w: CONV_3D on floats takes no weights of INT8"


def test_versions_follow_the_weights() -> None:
    made = retype(old(128), weights="int8").model
    code = made.root.operator_codes[made.subgraphs[0].operators[0].opcode_index]
    assert code.version >= 3  # with weights of INT8 (tflite/tools/versioning/op_version.cc)
    assert ql.check(made, "litert").ok


@pytest.mark.parametrize("count", [0, 1])
def test_operators_with_too_few_operands_have_no_weights(count: int) -> None:
    net = Network()
    x = net.input("x", (1, 8))
    y = net.op("FULLY_CONNECTED", [x][:count], "y", (1, 4), Table("FullyConnectedOptions"))
    model = net.done(y)
    for form in ("per-tensor", "int8"):
        assert retype(model, weights=form).model is model

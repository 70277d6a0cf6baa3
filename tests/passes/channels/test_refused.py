"""What `prune_channels` refuses, and names: operators that break channels, bad requests, damaged files."""

import numpy as np
import pytest

from quantlib.errors import InvalidValue
from quantlib.passes import prune_channels
from quantlib.tflite import Model, Table
from tests.support.channels import chain, kept_of, left
from tests.support.litert import run
from tests.support.network import Network, gaussian


def behind(build, channels=8, shape=(1, 4, 4, 3)):
    """A layer, and what refuses its channels."""
    net = Network()
    x = net.input("x", shape)
    made = net.convolution("made", x, gaussian((channels, 1, 1, shape[3]), 1))
    return net.done(build(net, made))


def softmax(net, x):
    return net.op("SOFTMAX", [x], "end", net.shape(x), Table("SoftmaxOptions", beta=1.0))


def arg_max(net, x):
    axis = net.constant("axis", np.array(3, np.int32))
    return net.op("ARG_MAX", [x, axis], "end", net.shape(x)[:3], Table("ArgMaxOptions", output_type=2), type="INT32")


def mean_of_channels(net, x):
    axes = net.constant("axes", np.array([3], np.int32))
    return net.op("MEAN", [x, axes], "end", net.shape(x)[:3], Table("ReducerOptions"))


def split_in_heads(net, x):
    shape = net.constant("shape", np.array([1, 16, 2, 4], np.int32))
    return net.op("RESHAPE", [x, shape], "end", (1, 16, 2, 4), Table("ReshapeOptions"))


def computed_shape(net, x):
    shape = net.op("SHAPE", [net.graph.inputs[0]], "shape", (4,), Table("ShapeOptions"), type="INT32")
    return net.op("RESHAPE", [x, shape], "end", net.shape(x), Table("ReshapeOptions"))


def asks_for_shape(net, x):
    return net.op("SHAPE", [x], "end", (4,), Table("ShapeOptions"), type="INT32")


def custom(net, x):
    like = Table("OperatorCode", builtin_code=32, custom_code="Unheard-of")
    y = net.graph.add_tensor("end", "FLOAT32", net.shape(x))
    net.graph.append(Table("Operator", opcode_index=net.draft.coded(like, 1), inputs=[x], outputs=[y]))
    return y


def grouped(net, x):
    return net.convolution("end", x, gaussian((4, 1, 1, 4), 2))


def with_input(net, x):
    other = net.input("other", (1, 4, 4, 8))
    return net.op("ADD", [x, other], "end", net.shape(x), Table("AddOptions"))


def other_axes(net, x):
    order = net.constant("order", np.array([0, 3, 2, 1], np.int32))
    other = net.convolution("other", net.graph.inputs[0], gaussian((4, 1, 1, 3), 2))
    other = net.op("RESIZE_BILINEAR", [other, net.constant("size", np.array([8, 4], np.int32))], "wide", (1, 8, 4, 4),
                   Table("ResizeBilinearOptions"))  # fmt: skip
    turned = net.op("TRANSPOSE", [x, order], "turned", (1, 8, 4, 4), Table("TransposeOptions"))
    return net.op("ADD", [turned, other], "end", (1, 8, 4, 4), Table("AddOptions"))


def some_channels(net, x):
    values = ([0, 0, 0, 2], [1, 4, 4, 8], [1, 1, 1, 1])
    operands = [x, *(net.constant(f"s{i}", np.array(v, np.int32)) for i, v in enumerate(values))]
    return net.op("STRIDED_SLICE", operands, "end", (1, 4, 4, 6), Table("StridedSliceOptions"))


def new_axis(net, x):
    values = ([0, 0, 0, 0, 0], [1, 1, 4, 4, 8], [1, 1, 1, 1, 1])
    operands = [x, *(net.constant(f"s{i}", np.array(v, np.int32)) for i, v in enumerate(values))]
    options = Table("StridedSliceOptions", new_axis_mask=1)
    return net.op("STRIDED_SLICE", operands, "end", (1, 1, 4, 4, 8), options)


def channels_as_rows(net, x):
    rows = net.op("RESHAPE", [x, net.constant("shape", np.array([16, 8], np.int32))], "rows", (16, 8))
    order = net.constant("order", np.array([1, 0], np.int32))
    turned = net.op("TRANSPOSE", [rows, order], "turned", (8, 16), Table("TransposeOptions"))
    return net.fully_connected("end", turned, gaussian((2, 16), 2))


def padded_by_value(net, x):
    pads = net.constant("pads", np.array([[0, 0], [0, 0], [0, 0], [1, 0]], np.int32))
    value = net.constant("value", np.float32(3).reshape(()))
    return net.op("PADV2", [x, pads, value], "end", (1, 4, 4, 9), Table("PadV2Options"))


def dynamic_places(net, x):
    order = net.constant("order", np.array([0, 3, 1, 2], np.int32))
    turned = net.op("TRANSPOSE", [x, order], "turned", (1, 8, 4, 4), Table("TransposeOptions"))
    net.graph.tensors[turned] = net.graph.tensors[turned].replace(shape_signature=[1, 8, -1, 4])
    return net.op("RELU", [turned], "end", (1, 8, 4, 4))


def computed_weights(net, x):
    return net.op("CONV_2D", [x, net.input("w", (2, 1, 1, 8))], "end", (1, 4, 4, 2), Table("Conv2DOptions"))


REFUSED = {
    softmax: "SOFTMAX 'end' isn't known to carry channels through",
    arg_max: "ARG_MAX 'end' isn't known to carry channels through",
    mean_of_channels: "MEAN 'end' reduces over the channels",
    split_in_heads: "RESHAPE 'end' lays channels of [1, 4, 4, 8] across axes of [1, 16, 2, 4]",
    computed_shape: "RESHAPE 'end' computes its shape when it runs",
    asks_for_shape: "SHAPE 'end' isn't known to carry channels through",
    custom: "Unheard-of 'end' isn't known to carry channels through",
    grouped: "CONV_2D 'end' reads [1, 4, 4, 8] with filters of 4 channels: grouped, or of unknown shape",
    with_input: "ADD 'end' joins its channels with those of other, which all stay",
    other_axes: "ADD 'end' joins channels that lie along different axes",
    some_channels: "STRIDED_SLICE 'end' takes some of the channels",
    new_axis: "STRIDED_SLICE 'end' has an ellipsis or new axes",
    channels_as_rows: "FULLY_CONNECTED 'end' reads [8, 16] with channels along axis 0 as rows of 16",
    padded_by_value: "PADV2 'end' adds channels that aren't zero",
    computed_weights: "CONV_2D 'end' computes operand 1, w, when it runs",
    dynamic_places: "TRANSPOSE 'turned' has a dimension of unknown size at or behind the channels",
}


@pytest.mark.parametrize("build", REFUSED, ids=lambda f: f.__name__)
def test_what_breaks_keeps_its_channels_and_is_named(build):
    model = behind(build)
    edited = prune_channels(model, 0.5, first_last=True)
    assert edited.model is model
    assert REFUSED[build] in kept_of(edited)["made"]


def test_part_of_the_channels_is_held():
    """A CONCATENATION goes to an output in one half, through SPLIT_V: the other half is free."""
    net = Network()
    x = net.input("x", (1, 4, 4, 3))
    made = net.convolution("made", x, gaussian((8, 1, 1, 3), 1))
    operands = [made, *(net.constant(n, np.array(v, np.int32)) for n, v in (("sizes", [3, 5]), ("axis", 3)))]
    parts = [net.graph.add_tensor(f"part{i}", "FLOAT32", (1, 4, 4, n)) for i, n in enumerate((3, 5))]
    net.graph.append(net.draft.operator("SPLIT_V", operands, parts, Table("SplitVOptions", num_splits=2)))
    last = net.convolution("last", parts[1], gaussian((2, 1, 1, 5), 2))
    edited = prune_channels(net.done(parts[0], last), 0.5, first_last=True)
    assert left(edited, "made") == 6
    assert kept_of(edited)["made"] == "3 of 8 channels: part0 is an output of the model"
    before, after = run(net.draft.done())[0], run(edited.model)[0]
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 1.0}, "a fraction of 1.0 of the channels"),
        ({"fraction": 1.5}, "a fraction of 1.5 of the channels"),
        ({"fraction": -0.1}, "a fraction of -0.1 of the channels"),
        ({"fraction": float("nan")}, "a fraction of nan of the channels"),
        ({"ranking": "both"}, "ranking 'both' is unknown"),
        ({"norm": "l3"}, "norm 'l3' is unknown"),
        ({"fraction": "half"}, "a fraction of 'half' of the channels"),
        ({"fraction": False}, "a fraction of False of the channels"),
        ({"multiple": 0}, "multiple of 0"),
        ({"multiple": 2.5}, "multiple of 2.5; a whole number"),
        ({"only": "nothing"}, "only 'nothing' matches no"),
        ({"skip_types": "ABS"}, "skip_types 'ABS' matches no"),
        ({"only": "("}, "no regular expression"),
    ],
)
def test_bad_requests(options, message):
    with pytest.raises(InvalidValue, match=message) as error:
        prune_channels(chain(), **options)
    assert "\n" not in str(error.value)


def test_a_model_without_layers_is_said_to_be_one():
    net = Network()
    model = net.done(net.op("ABS", [net.input("x", (1, 4))], "y", (1, 4), Table("AbsOptions")))
    edited = prune_channels(model, 0.5)
    assert edited.model is model
    assert [line.where for line in edited.kept] == ["model"]
    assert "no CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, TRANSPOSE_CONV in it" in edited.kept[0].what


def test_a_filter_that_is_not_finite_is_named():
    model = chain()
    filters = model.tensor("conv1/kernel").numpy().copy()
    filters[3, 0, 0, 0] = np.nan
    with pytest.raises(InvalidValue, match=r"conv1/kernel.*filter 3 isn't finite"):
        prune_channels(model.replace("conv1/kernel", data=filters), 0.5)


def test_operators_that_lack_operands_are_kept():
    """What a damaged file may hold; selectors look at names all the same."""
    model = chain()
    table = model.subgraphs[0]
    operators = [o.replace(inputs=o.inputs[:1]) if i == 1 else o for i, o in enumerate(table.operators)]
    broken = Model(model.root.replace(subgraphs=[table.replace(operators=operators)]))
    edited = prune_channels(broken, 0.5, first_last=True, skip="dense")
    assert "has operands, shapes or options that its kernel wouldn't take" in kept_of(edited)["conv1"]
    assert not edited.done


def test_a_constant_that_is_shorter_than_its_shape_is_named():
    """What is left of it would take more memory than the file has."""
    model = chain()
    graph = model.subgraphs[0]
    bias = model.tensor("conv1/bias")
    tensors = list(graph.tensors)
    tensors[bias.index] = bias.table.replace(shape=[8, 2, 12642, 2, 12919])
    with pytest.raises(InvalidValue, match="32 bytes of data where FLOAT32"):
        prune_channels(Model(model.root.replace(subgraphs=[graph.replace(tensors=tensors)])), 0.5)


def test_filters_that_a_damaged_file_claims_are_not_followed():
    """No memory is taken for them."""
    net = Network()
    x = net.convolution("made", net.input("x", (1, 4, 4, 3)), gaussian((8, 1, 1, 3), 1))
    deep = net.convolution("deep", x, gaussian((1, 3, 3, 8), 2), depthwise=True)
    weights = int(net.graph.operators[-1].inputs[1])
    net.graph.tensors[weights] = net.graph.tensors[weights].replace(shape=[1, 3, 3, 1 << 30])
    edited = prune_channels(net.done(net.convolution("last", deep, gaussian((2, 1, 1, 8), 3))), 0.5, first_last=True)
    assert "has 1073741824 filters for 8 channels" in kept_of(edited)["made"]

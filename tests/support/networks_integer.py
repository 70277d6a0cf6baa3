"""Small integer-quantized files, written tensor by tensor: what a rewriter's output has to look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.tflite import Draft, GraphDraft, Model, Table
from tests.support.models import blockwise, constant, parameters, rng, signature

Array = npt.NDArray[Any]


class Integer:
    """A file in the making; `graph` is the subgraph that tensors and operators go to.

    Every activation is a tensor (index) whose type, scale and zero point are looked up where a bias needs them.
    """

    def __init__(self, type: str = "INT8", *names: str) -> None:
        self.draft = Draft()
        self.draft.graphs += [GraphDraft.of(Table("SubGraph", name=name)) for name in names]
        self.graph = self.draft.graphs[0]
        self.type = type

    def activation(
        self, name: str, shape: Sequence[int], scale: float = 0.1, zero_point: int = 3, **given: Any
    ) -> int:
        type = given.pop("type", self.type)
        point = 0 if type in ("INT16", "INT32", "INT64") else zero_point
        return self.graph.add_tensor(name, type, tuple(shape), quantization=parameters(scale, point), **given)

    def input(self, name: str, shape: Sequence[int], scale: float = 0.1, zero_point: int = 3, **given: Any) -> int:
        self.graph.inputs.append(self.activation(name, shape, scale, zero_point, **given))
        return self.graph.inputs[-1]

    def plain(self, name: str, shape: Sequence[int], type: str = "FLOAT32") -> int:
        return self.graph.add_tensor(name, type, tuple(shape))

    def indices(self, name: str, values: Any) -> int:
        return constant(self.draft, self.graph, name, "INT32", np.array(values, np.int32))

    def weights(
        self, name: str, shape: Sequence[int], axis: int | None = 0, type: str = "INT8", zero: int = 0
    ) -> int:
        """A constant with a scale a channel, or one for all where `axis` is None."""
        high = {"INT4": 7, "INT16": 511}.get(type, 127)
        values = (
            rng(len(name)).integers(-high, high + 1, tuple(shape)).astype(np.int16 if type == "INT16" else np.int8)
        )
        scale = 0.01 if axis is None else 0.01 * (1 + np.arange(shape[axis]))
        return constant(self.draft, self.graph, name, type, values, quantization=parameters(scale, zero, axis or 0))

    def scale(self, index: int) -> Array:
        return np.asarray(self.graph.tensors[index].quantization.scale)

    def bias(self, name: str, x: int, w: int, count: int, type: str = "INT32", factor: float | None = None) -> int:
        scale = (np.float32(self.scale(x)[0] if factor is None else factor) * self.scale(w)).astype(np.float32)
        values = np.arange(count, dtype=np.int64 if type == "INT64" else np.int32)
        return constant(self.draft, self.graph, name, type, values, quantization=parameters(scale))

    def op(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        version: int = 1,
        options: Any = None,
        **k: Any,
    ) -> None:
        table = Table(options) if isinstance(options, str) else options
        self.graph.append(self.draft.operator(name, list(inputs), list(outputs), table, version, **k))

    def done(self, *outputs: int) -> Model:
        self.graph.outputs = list(outputs)
        return self.draft.done()


def layers() -> Model:
    """INT8 between float ends: three kinds of convolution, sums, joins, a dense layer, SOFTMAX."""
    net = Integer()
    start = net.plain("x", (1, 6, 6, 3))
    net.graph.inputs = [start]
    x = net.activation("x_int8", (1, 6, 6, 3))
    net.op("QUANTIZE", [start], [x], 1, "QuantizeOptions")
    w = net.weights("conv/w", (4, 3, 3, 3))
    conv = net.activation("conv", (1, 6, 6, 4), 0.2, -5)
    net.op(
        "CONV_2D",
        [x, w, net.bias("conv/b", x, w, 4)],
        [conv],
        3,
        Table("Conv2DOptions", stride_w=1, stride_h=1, fused_activation_function=1),
    )
    w = net.weights("depthwise/w", (1, 3, 3, 4), 3)
    depthwise = net.activation("depthwise", (1, 6, 6, 4), 0.3, 1)
    options = Table("DepthwiseConv2DOptions", stride_w=1, stride_h=1, depth_multiplier=1)
    net.op("DEPTHWISE_CONV_2D", [conv, w, net.bias("depthwise/b", conv, w, 4)], [depthwise], 3, options)
    total = net.activation("sum", (1, 6, 6, 4), 0.4, 2)
    net.op("ADD", [conv, depthwise], [total], 2, "AddOptions")
    again = net.activation("requantized", (1, 6, 6, 4), 0.3, 1)
    net.op("QUANTIZE", [total], [again], 1, "QuantizeOptions")
    joined = net.activation("joined", (1, 6, 6, 8), 0.3, 1)
    net.op("CONCATENATION", [again, depthwise], [joined], 2, Table("ConcatenationOptions", axis=3))
    halves = [net.activation(f"half{i}", (1, 6, 6, 4), 0.3, 1) for i in range(2)]
    net.op("SPLIT", [net.indices("axis", 3), joined], halves, 2, Table("SplitOptions", num_splits=2))
    bound = constant(
        net.draft, net.graph, "bound", "INT8", np.full((1, 1, 1, 4), 9, "i1"), quantization=parameters(0.3, 1)
    )
    lower = net.activation("minimum", (1, 6, 6, 4), 0.3, 1)
    net.op("MINIMUM", [halves[0], bound], [lower], 2, "MaximumMinimumOptions")
    shape = net.indices("shape", [1, 144])
    flat = net.activation("flat", (1, 144), 0.3, 1)
    net.op("RESHAPE", [lower, shape], [flat], 1, Table("ReshapeOptions", new_shape=[1, 144]))
    w = net.weights("dense/w", (10, 144))
    dense = net.activation("dense", (1, 10), 0.5, 0)
    net.op("FULLY_CONNECTED", [flat, w, net.bias("dense/b", flat, w, 10)], [dense], 4, "FullyConnectedOptions")
    classes = net.activation("classes", (1, 10), 1 / 256, -128)
    net.op("SOFTMAX", [dense], [classes], 2, Table("SoftmaxOptions", beta=1.0))
    y = net.plain("y", (1, 10))
    net.op("DEQUANTIZE", [classes], [y], 2, "DequantizeOptions")
    best = net.plain("best", (1,), "INT64")
    net.op("ARG_MAX", [dense, net.indices("last", 1)], [best], 2, Table("ArgMaxOptions", output_type=4))
    net.draft.signatures.append(signature("serving_default", {"in": start}, {"probabilities": y, "best": best}))
    net.draft.set_metadata("min_runtime_version", b"1.14.0".ljust(16, b"\0"))
    return net.done(y, best, halves[1])


def singles() -> Model:
    """INT8 operators on one input: HARD_SWISH, PADV2, SQUARED_DIFFERENCE, LESS, SCATTER_ND, PRELU; INT4 weights."""
    net = Integer()
    x = net.input("x", (1, 8))
    outputs = [net.activation("swish", (1, 8), 0.1, 0)]
    net.op("HARD_SWISH", [x], outputs, 1, "HardSwishOptions")
    value = constant(net.draft, net.graph, "pad", "INT8", np.int8(-7), quantization=parameters(0.1, 3))
    outputs.append(net.activation("padded", (1, 10)))
    net.op("PADV2", [x, net.indices("paddings", [[0, 0], [1, 1]]), value], outputs[-1:], 2, "PadV2Options")
    outputs.append(net.activation("difference", (1, 8), 0.7, -90))
    net.op("SQUARED_DIFFERENCE", [x, outputs[0]], outputs[-1:], 2, "SquaredDifferenceOptions")
    outputs.append(net.plain("less", (1, 8), "BOOL"))
    net.op("LESS", [x, outputs[0]], outputs[-1:], 2, "LessOptions")
    outputs.append(net.activation("scattered", (4, 8), 0.1, 0))
    net.op("SCATTER_ND", [net.indices("at", [[2]]), outputs[0], net.indices("extent", [4, 8])], outputs[-1:])
    w = net.weights("w4", (6, 8), type="INT4")
    outputs.append(net.activation("dense4", (1, 6), 0.6, 0))
    net.op("FULLY_CONNECTED", [x, w, net.bias("b4", x, w, 6)], outputs[-1:], 10, "FullyConnectedOptions")
    w = net.weights("alpha", (1, 8), None)
    outputs.append(net.activation("prelu", (1, 8), 0.2, 5))
    net.op("PRELU", [x, w], outputs[-1:])
    return net.done(*outputs)


def wide() -> Model:
    """INT16 activations: INT64 bias, INT32 bias by option, a sum of general scales, a comparison."""
    net = Integer("INT16")
    x = net.input("x", (1, 6, 6, 3), 1e-4)
    w = net.weights("conv/w", (4, 3, 3, 3))
    conv = net.activation("conv", (1, 6, 6, 4), 3e-4)
    options = Table("Conv2DOptions", stride_w=1, stride_h=1)
    net.op("CONV_2D", [x, w, net.bias("conv/b", x, w, 4, "INT64")], [conv], 1, options)
    flat = net.activation("flat", (1, 144), 3e-4)
    net.op("RESHAPE", [conv, net.indices("shape", [1, 144])], [flat], 1, Table("ReshapeOptions", new_shape=[1, 144]))
    w = net.weights("dense/w", (10, 144))
    dense = net.activation("dense", (1, 10), 1e-3)
    options = Table("FullyConnectedOptions", quantized_bias_type=2)
    net.op("FULLY_CONNECTED", [flat, w, net.bias("dense/b", flat, w, 10)], [dense], 11, options)
    total = net.activation("sum", (1, 10), 2e-3)
    net.op("ADD", [dense, dense], [total], 3, Table("AddOptions", pot_scale_int16=False))
    less = net.plain("less", (1, 10), "BOOL")
    net.op("LESS", [total, total], [less], 3, "LessOptions")
    return net.done(total, less)


def legacy() -> Model:
    """UINT8: asymmetric weights, one scale; CONCATENATION of different scales."""
    net = Integer("UINT8")
    x = net.input("x", (1, 8), 0.1, 100)
    values = rng(5).integers(0, 256, (4, 8)).astype(np.uint8)
    w = constant(net.draft, net.graph, "w", "UINT8", values, quantization=parameters(0.02, 120))
    dense = net.activation("dense", (1, 4), 0.5, 128)
    net.op("FULLY_CONNECTED", [x, w, net.bias("b", x, w, 4)], [dense], 1, "FullyConnectedOptions")
    joined = net.activation("joined", (1, 12), 0.6, 90)
    net.op("CONCATENATION", [x, dense], [joined], 1, Table("ConcatenationOptions", axis=1))
    return net.done(joined)


def hybrid() -> Model:
    """Float activations with INT8 weights: dense, depthwise, recurrent; a weight behind DEQUANTIZE."""
    net = Integer()
    x = net.plain("x", (1, 4, 4, 4))
    state, y, z = net.plain("flat", (1, 64)), net.plain("y", (1, 6)), net.plain("z", (1, 6))
    net.graph.inputs = [x]
    w = net.weights("depthwise/w", (1, 3, 3, 4), 3)
    conv = net.plain("depthwise", (1, 4, 4, 4))
    options = Table("DepthwiseConv2DOptions", stride_w=1, stride_h=1, depth_multiplier=1)
    bias = constant(net.draft, net.graph, "depthwise/b", "FLOAT32", np.ones(4, "f4"))
    net.op("DEPTHWISE_CONV_2D", [x, w, bias], [conv], 6, options)
    shape = net.indices("shape", [1, 64])
    net.op("RESHAPE", [conv, shape], [state], 1, Table("ReshapeOptions", new_shape=[1, 64]))
    options = Table("FullyConnectedOptions", asymmetric_quantize_inputs=True)
    net.op("FULLY_CONNECTED", [state, net.weights("dense/w", (6, 64)), -1], [y], 12, options)
    operands = [net.weights("rnn/w", (6, 6), None), net.weights("rnn/r", (6, 6), None)]
    operands.append(constant(net.draft, net.graph, "rnn/b", "FLOAT32", np.ones(6, "f4")))
    operands.append(net.graph.add_tensor("rnn/state", "FLOAT32", (1, 6), is_variable=True))
    options = Table("RNNOptions", fused_activation_function=4, asymmetric_quantize_inputs=True)
    net.op("RNN", [y, *operands], [z], 3, options)
    stored, factor, out = net.weights("factor_int8", (6,)), net.plain("factor", (6,)), net.plain("out", (1, 6))
    net.op("DEQUANTIZE", [stored], [factor], 5, "DequantizeOptions")
    net.op("MUL", [z, factor], [out], 1, "MulOptions")
    return net.done(out)


def loop() -> Model:
    """WHILE and IF with INT8 in their bodies."""
    net = Integer("INT8", "condition", "body", "then", "else")
    main, condition, body, then, other = net.draft.graphs
    for graph in (main, condition, body):
        net.graph = graph
        graph.inputs = [net.plain("i", (1,), "INT32"), net.activation("x", (1, 4))]
    net.graph = condition
    less = net.plain("less", (1,), "BOOL")
    net.op("LESS", [condition.inputs[0], net.indices("limit", [3])], [less], 1, "LessOptions")
    condition.outputs = [less]
    net.graph = body
    body.outputs = [net.plain("next", (1,), "INT32"), net.activation("y", (1, 4))]
    net.op("ADD", [body.inputs[0], net.indices("one", [1])], body.outputs[:1], 1, "AddOptions")
    net.op("ABS", body.inputs[1:], body.outputs[1:], 2, "AbsOptions")
    for graph, name in ((then, "ABS"), (other, "RELU")):
        net.graph = graph
        graph.inputs, graph.outputs = [net.activation("x", (1, 4))], [net.activation("y", (1, 4), 0.2, 1)]
        net.op(name, graph.inputs, graph.outputs, 2)
    net.graph = main
    ends = [net.plain("count", (1,), "INT32"), net.activation("looped", (1, 4))]
    net.op("WHILE", main.inputs, ends, 1, Table("WhileOptions", cond_subgraph_index=1, body_subgraph_index=2))
    decision, chosen = net.plain("decision", (1,), "BOOL"), net.activation("chosen", (1, 4), 0.2, 1)
    net.op("LESS", [ends[0], net.indices("limit", [3])], [decision], 1, "LessOptions")
    options = Table("IfOptions", then_subgraph_index=3, else_subgraph_index=4)
    net.op("IF", [decision, ends[1]], [chosen], 1, options)
    return net.done(ends[0], chosen)


def variable() -> Model:
    """A resource variable that holds INT8, set once by a subgraph of its own."""
    net = Integer("INT8", "init")
    main, init = net.draft.graphs
    options = Table("VarHandleOptions", container="", shared_name="state")
    net.graph = init
    handle = net.plain("handle", (), "RESOURCE")
    start = constant(net.draft, init, "start", "INT8", np.full((1, 4), 5, "i1"), quantization=parameters(0.1, 3))
    net.op("VAR_HANDLE", [], [handle], 1, options)
    net.op("ASSIGN_VARIABLE", [handle, start], [], 1, "AssignVariableOptions")
    net.graph = main
    x, handle = net.input("x", (1, 4)), net.plain("handle", (), "RESOURCE")
    old, total = net.activation("old", (1, 4)), net.activation("total", (1, 4))
    net.op("CALL_ONCE", [], [], 1, Table("CallOnceOptions", init_subgraph_index=1))
    net.op("VAR_HANDLE", [], [handle], 1, options)
    net.op("READ_VARIABLE", [handle], [old], 1, "ReadVariableOptions")
    net.op("ADD", [x, old], [total], 2, "AddOptions")
    net.op("ASSIGN_VARIABLE", [handle, total], [], 1, "AssignVariableOptions")
    return net.done(total)


def rarer() -> Model:
    """INT8 operators with weights that `layers` lacks: grouped CONV_2D, TRANSPOSE_CONV, tables, INT16."""
    net = Integer()
    x = net.input("x", (1, 4, 4, 4))
    w = net.weights("grouped/w", (6, 3, 3, 2))
    grouped = net.activation("grouped", (1, 4, 4, 6), 0.4, 2)
    options = Table("Conv2DOptions", stride_w=1, stride_h=1)
    net.op("CONV_2D", [x, w, net.bias("grouped/b", x, w, 6)], [grouped], 6, options)
    w = net.weights("up/w", (2, 3, 3, 6))
    up = net.activation("up", (1, 8, 8, 2), 0.9, 1)
    options = Table("TransposeConvOptions", stride_w=2, stride_h=2)
    net.op(
        "TRANSPOSE_CONV",
        [net.indices("shape", [1, 8, 8, 2]), w, grouped, net.bias("up/b", grouped, w, 2)],
        [up],
        3,
        options,
    )
    ids, rows = net.plain("ids", (3,), "INT32"), net.plain("rows", (3, 6))
    net.graph.inputs.append(ids)
    net.op("EMBEDDING_LOOKUP", [ids, net.weights("table", (20, 6))], [rows], 4)
    wide = net.activation("wide", (1, 4, 4, 4), 1e-3, type="INT16")
    net.op("QUANTIZE", [x], [wide], 2, "QuantizeOptions")
    w = net.weights("wide/w", (4, 1, 1, 4))
    out = net.activation("out", (1, 4, 4, 4), 2e-3, type="INT16")
    options = Table("Conv2DOptions", stride_w=1, stride_h=1, quantized_bias_type=2)
    net.op("CONV_2D", [wide, w, net.bias("wide/b", wide, w, 4)], [out], 8, options)
    return net.done(up, rows, out)


def _lstm(normalized: bool, projected: bool) -> Model:
    net = Integer()
    x = net.input("x", (1, 2, 4), 0.02, 1)
    size = 3 if projected else 5
    gates = [net.weights(f"w{i}", (5, 4), None) for i in range(4)]
    recurrent = [net.weights(f"r{i}", (5, size), None) for i in range(4)]
    norms = [net.weights(f"norm{i}", (5,), None, "INT16") if normalized else -1 for i in range(4)]
    of_bias = [(x, norms[i], 2.0**-10) if normalized else (x, gates[i], None) for i in range(4)]
    biases = [net.bias(f"b{i}", start, w, 5, factor=factor) for i, (start, w, factor) in enumerate(of_bias)]
    state = net.activation("state", (1, size), 1 / 128, 0, is_variable=True)
    cell = net.activation("cell", (1, 5), 2.0**-14, type="INT16", is_variable=True)
    out = net.activation("out", (1, 2, size), 1 / 128, 0)
    between = [
        net.activation(f"gate{i}", (), 1e-3, type="INT16") if normalized else net.plain(f"gate{i}", ())
        for i in range(4)
    ]
    between.append(net.activation("hidden", (), 1 / 64 if projected else 1 / 128, 0))
    projection, projection_bias = -1, -1
    if projected:
        projection = net.weights("projection", (3, 5), None)
        projection_bias = net.bias("projection/b", between[-1], projection, 3)
    inputs = [x, *gates, *recurrent, -1, -1, -1, *biases, projection, projection_bias, state, cell, *norms]
    options = Table("UnidirectionalSequenceLSTMOptions", fused_activation_function=4, cell_clip=10.0)
    net.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [out], 1, options, intermediates=between)
    return net.done(out)


def lstm() -> Model:
    """A full-integer LSTM without peephole, projection or layer normalization."""
    return _lstm(normalized=False, projected=False)


def lstm_normalized() -> Model:
    """A full-integer LSTM with layer normalization and a projection."""
    return _lstm(normalized=True, projected=True)


def svdf() -> Model:
    """A full-integer SVDF of rank 1."""
    net = Integer()
    x = net.input("x", (1, 4), 0.05, 0)
    feature, time = net.weights("feature", (6, 4), None), net.weights("time", (6, 5), None, "INT16")
    state = net.activation("state", (1, 30), 1e-3, type="INT16", is_variable=True)
    bias = net.bias("bias", state, time, 6)
    out = net.activation("out", (1, 6), 0.1, -128)
    net.op(
        "SVDF", [x, feature, time, bias, state], [out], 3, Table("SVDFOptions", rank=1, fused_activation_function=1)
    )
    return net.done(out)


VALID: Mapping[str, Callable[[], Model]] = MappingProxyType(
    {
        f.__name__: f
        for f in (
            layers,
            singles,
            rarer,
            wide,
            legacy,
            hybrid,
            blockwise,
            loop,
            variable,
            lstm,
            lstm_normalized,
            svdf,
        )
    }
)

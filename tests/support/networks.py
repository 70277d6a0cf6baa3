"""Small float networks of many operators, with data to calibrate them: what a quantizer has to decide, in code.

Each has something that a plan can get wrong; `EXAMPLES` has them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.tflite import Draft, GraphDraft, Model, Table
from tests.support.models import constant, signature
from tests.support.network import Network, gaussian

Array = npt.NDArray[Any]

#: Samples of every example.
COUNT = 8


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A float model, and samples for it.

    Attributes
    ----------
    model : Model
    data : mapping
        By signature (None for a model without), the samples: arrays by input name, whose first axis counts them.
    """

    model: Model
    data: Mapping[str | None, Mapping[str, Array]]


def _samples(seed: int = 0, **shapes: tuple[int, ...]) -> dict[str, Array]:
    return {name: gaussian((COUNT, *shape), seed + i) for i, (name, shape) in enumerate(shapes.items())}


def _plain(net: Network, outputs: list[int], seed: int = 0) -> Example:
    """Example of a network without a signature, with Gaussian inputs."""
    tensors = [net.graph.tensors[i] for i in net.graph.inputs]
    shapes = {t.name: tuple(t.shape.tolist()) for t in tensors}
    return Example(net.done(*outputs), {None: _samples(seed, **shapes)})


def _flat(net: Network, x: int, name: str) -> int:
    size = int(np.prod(net.shape(x)))
    shape = net.constant(f"{name}/shape", np.array([1, size], np.int32))
    return net.op("RESHAPE", [x, shape], name, (1, size), Table("ReshapeOptions", new_shape=[1, size]))


def branches() -> Example:
    """Branches of different ranges that meet: CONCATENATION, residual ADD, fused RELU6, one input of two readers."""
    net = Network()
    x = net.input("x", (1, 6, 6, 4))
    narrow = net.convolution("narrow", x, gaussian((4, 1, 1, 4), 1, 0.02))
    broad = net.convolution("broad", x, gaussian((4, 3, 3, 4), 2, 3.0), fused_activation_function=3)
    joined = net.op("CONCATENATION", [narrow, broad], "joined", (1, 6, 6, 8), Table("ConcatenationOptions", axis=3))
    deep = net.convolution("deep", joined, gaussian((1, 3, 3, 8), 3, 0.3), depthwise=True)
    total = net.op("ADD", [joined, deep], "sum", (1, 6, 6, 8), Table("AddOptions", fused_activation_function=1))
    options = Table("Pool2DOptions", stride_w=2, stride_h=2, filter_width=2, filter_height=2)
    pooled = net.op("MAX_POOL_2D", [total], "pooled", (1, 3, 3, 8), options)
    averaged = net.op("AVERAGE_POOL_2D", [total], "averaged", (1, 3, 3, 8), options)
    product = net.op("MUL", [pooled, averaged], "product", (1, 3, 3, 8), Table("MulOptions"))
    axes = net.constant("axes", np.array([1, 2], np.int32))
    mean = net.op("MEAN", [product, axes], "mean", (1, 8), Table("ReducerOptions"))
    return _plain(net, [net.fully_connected("dense", mean, gaussian((5, 8), 4)), joined])


def fixed_outputs() -> Example:
    """Outputs whose scale the kernel fixes, some of which meet other tensors in operators of one scale."""
    net = Network()
    x = net.input("x", (1, 8))
    logits = net.fully_connected("logits", x, gaussian((8, 8), 1))
    gate = net.op("LOGISTIC", [logits], "gate", (1, 8))
    squashed = net.op("TANH", [logits], "squashed", (1, 8))
    both = net.op("CONCATENATION", [gate, squashed], "both", (1, 16), Table("ConcatenationOptions", axis=1))
    gated = net.op("MUL", [gate, logits], "gated", (1, 8), Table("MulOptions"))
    classes = net.op("SOFTMAX", [gated], "classes", (1, 8), Table("SoftmaxOptions", beta=1.0))
    logs = net.op("LOG_SOFTMAX", [gated], "logs", (1, 8), Table("LogSoftmaxOptions"))
    unit = net.op("L2_NORMALIZATION", [gated], "unit", (1, 8), Table("L2NormOptions"))
    larger = net.op("MAXIMUM", [gate, squashed], "larger", (1, 8), Table("MaximumMinimumOptions"))
    return _plain(net, [both, classes, logs, unit, larger])


def one_scale() -> Example:
    """Operators of one scale for all operands, one after the other: constants, several outputs, PAD, PACK, SELECT."""
    net = Network()
    x = net.convolution("conv", net.input("x", (1, 4, 4, 6)), gaussian((6, 1, 1, 6), 1))
    axis = net.constant("axis", np.array(3, np.int32))
    halves = [net.graph.add_tensor(f"half{i}", "FLOAT32", (1, 4, 4, 3)) for i in range(2)]
    net.graph.append(net.draft.operator("SPLIT", [axis, x], halves, Table("SplitOptions", num_splits=2)))
    options = Table("MaximumMinimumOptions")
    low = net.op("MINIMUM", [halves[0], net.constant("cap", np.full(3, 0.5, "f4"))], "capped", (1, 4, 4, 3), options)
    high = net.op("MAXIMUM", [halves[1], net.constant("floor", np.full(3, 9, "f4"))], "raised", (1, 4, 4, 3), options)
    paddings = net.constant("paddings", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    padded = net.op("PAD", [low, paddings], "padded", (1, 6, 6, 3), Table("PadOptions"))
    value = net.constant("value", np.float32(-20.0).reshape(()))
    filled = net.op("PADV2", [high, paddings, value], "filled", (1, 6, 6, 3), Table("PadV2Options"))
    size = net.constant("size", np.array([4, 4], np.int32))
    options = Table("ResizeBilinearOptions", half_pixel_centers=True)
    small = net.op("RESIZE_BILINEAR", [filled, size], "resized", (1, 4, 4, 3), options, version=3)
    order = net.constant("order", np.array([0, 3, 1, 2], np.int32))
    turned = net.op("TRANSPOSE", [padded, order], "turned", (1, 3, 6, 6), Table("TransposeOptions"))
    packed = net.op("PACK", [low, small], "packed", (2, 1, 4, 4, 3), Table("PackOptions", values_count=2))
    parts = [net.graph.add_tensor(f"part{i}", "FLOAT32", (1, 4, 4, 3)) for i in range(2)]
    net.graph.append(net.draft.operator("UNPACK", [packed], parts, Table("UnpackOptions", num=2)))
    options = Table("GreaterOptions")
    condition = net.op("GREATER", parts, "condition", (1, 4, 4, 3), options, type="BOOL")
    chosen = net.op("SELECT_V2", [condition, *parts], "chosen", (1, 4, 4, 3), Table("SelectV2Options"))
    return _plain(net, [turned, chosen, parts[0]])


def shared_weights() -> Example:
    """Weights that two layers read behind inputs of different ranges, once as a tensor and once as a buffer."""
    net = Network()
    x, other = net.input("x", (1, 8)), net.input("other", (1, 8))
    w = net.constant("kernel", gaussian((8, 8), 1))
    large = net.op("MUL", [x, net.constant("factor", np.full(1, 30, "f4"))], "large", (1, 8), Table("MulOptions"))
    bias = gaussian((8,), 2)
    first = net.fully_connected("first", large, w, bias)
    second = net.fully_connected("second", other, w, bias)
    twin = net.constant("twin", gaussian((8, 8), 1), buffer=net.graph.tensors[w].buffer)
    third = net.fully_connected("third", first, twin, bias, fused_activation_function=1)
    return _plain(net, [third, second])


def integer_outputs() -> Example:
    """Outputs that aren't float: classes, indices of the largest, a comparison, a shape."""
    net = Network()
    x = net.input("x", (1, 12))
    scores = net.fully_connected("scores", x, gaussian((10, 12), 1))
    last = net.constant("last", np.array(1, np.int32))
    best = net.op("ARG_MAX", [scores, last], "best", (1,), Table("ArgMaxOptions", output_type=2), type="INT32")
    count = net.constant("count", np.array(3, np.int32))
    top = [net.graph.add_tensor("top", "FLOAT32", (1, 3)), net.graph.add_tensor("where", "INT32", (1, 3))]
    net.graph.append(net.draft.operator("TOPK_V2", [scores, count], top, Table("TopKV2Options")))
    bound = net.constant("bound", np.full(10, 0.25, "f4"))
    sure = net.op("GREATER", [scores, bound], "sure", (1, 10), Table("GreaterOptions"), type="BOOL")
    options = Table("ShapeOptions", out_type=2)
    shape = net.op("SHAPE", [scores], "shape", (2,), options, type="INT32")
    return _plain(net, [best, *top, sure, shape])


def islands() -> Example:
    """Operators without a safe integer kernel among others, and constants that only they read."""
    net = Network()
    x = net.input("x", (1, 8))
    dense = net.fully_connected("dense", x, gaussian((8, 8), 1))
    negative = net.op("NEG", [dense], "negative", (1, 8), Table("NegOptions"))
    wave = net.op("SIN", [negative], "wave", (1, 8))
    total = net.op("ADD", [wave, dense], "sum", (1, 8), Table("AddOptions"))
    lengths = net.constant("lengths", np.array([5], np.int32))
    options = Table("ReverseSequenceOptions", seq_dim=1, batch_dim=0)
    backwards = net.op("REVERSE_SEQUENCE", [total, lengths], "backwards", (1, 8), options)
    at, extent = net.constant("at", np.array([[1]], np.int32)), net.constant("extent", np.array([3, 8], np.int32))
    spread = net.op("SCATTER_ND", [at, backwards, extent], "spread", (3, 8), Table("ScatterNdOptions"))
    power = net.op("SQUARE", [total], "power", (1, 8), Table("SquareOptions"))
    last = net.fully_connected("last", power, gaussian((4, 8), 2))
    return _plain(net, [spread, last, negative])


def arithmetic() -> Example:
    """Elementwise operators that rescale, with constants of other ranges, and products of two activations."""
    net = Network()
    x, y = net.input("x", (1, 4, 8)), net.input("y", (1, 8, 4))
    product = net.op("BATCH_MATMUL", [x, y], "product", (1, 4, 4), Table("BatchMatMulOptions"))
    k = net.constant("k", gaussian((4, 4), 1, 5.0))
    difference = net.op("SUB", [product, k], "difference", (1, 4, 4), Table("SubOptions"))
    square = net.op("SQUARED_DIFFERENCE", [product, difference], "square", (1, 4, 4))
    divided = net.op("DIV", [product, net.constant("d", np.full(4, 2.5, "f4"))], "quotient", (1, 4, 4))
    leaky = net.op("LEAKY_RELU", [difference], "leaky", (1, 4, 4), Table("LeakyReluOptions", alpha=0.1))
    swish = net.op("HARD_SWISH", [leaky], "swish", (1, 4, 4), Table("HardSwishOptions"))
    alpha = net.constant("alpha", np.full(4, 0.25, "f4"))
    prelu = net.op("PRELU", [divided, alpha], "prelu", (1, 4, 4))
    size = net.op("ABS", [prelu], "size", (1, 4, 4), Table("AbsOptions"))
    six = net.op("RELU6", [size], "six", (1, 4, 4))
    axes = net.constant("axes", np.array([1], np.int32))
    total = net.op("SUM", [six, axes], "total", (1, 4), Table("ReducerOptions"))
    most = net.op("REDUCE_MAX", [square, axes], "most", (1, 4), Table("ReducerOptions"))
    table = net.constant("w", gaussian((4, 4), 2))
    mixed = net.op("BATCH_MATMUL", [swish, table], "mixed", (1, 4, 4), Table("BatchMatMulOptions"))
    return _plain(net, [total, most, mixed])


def upsampling() -> Example:
    """TRANSPOSE_CONV with and without a bias, an output that is also read inside, RESIZE_NEAREST_NEIGHBOR."""
    net = Network()
    x = net.input("x", (1, 4, 4, 3))
    shape = net.constant("shape", np.array([1, 8, 8, 2], np.int32))
    w = net.constant("kernel", gaussian((2, 3, 3, 3), 1, 0.3))
    options = Table("TransposeConvOptions", stride_w=2, stride_h=2)
    plain = net.op("TRANSPOSE_CONV", [shape, w, x], "plain", (1, 8, 8, 2), options, version=1)
    bias = net.constant("bias", gaussian((2,), 2))
    biased = net.op("TRANSPOSE_CONV", [shape, w, x, bias], "biased", (1, 8, 8, 2), options, version=3)
    total = net.op("ADD", [plain, biased], "sum", (1, 8, 8, 2), Table("AddOptions"))
    size = net.constant("size", np.array([4, 4], np.int32))
    options = Table("ResizeNearestNeighborOptions")
    return _plain(net, [net.op("RESIZE_NEAREST_NEIGHBOR", [total, size], "small", (1, 4, 4, 2), options), biased])


def embedding() -> Example:
    """Integer inputs, a table that GATHER reads, rows that the samples never touch."""
    net = Network()
    ids = net.input("ids", (1, 6), "INT32")
    table = net.constant("table", gaussian((20, 8), 1) * np.linspace(0.1, 4, 20, dtype="f4")[:, None])
    rows = net.op("GATHER", [table, ids], "rows", (1, 6, 8), Table("GatherOptions"))
    axes = net.constant("axes", np.array([1], np.int32))
    mean = net.op("MEAN", [rows, axes], "mean", (1, 8), Table("ReducerOptions"))
    classes = net.op("SOFTMAX", [net.fully_connected("dense", mean, gaussian((3, 8), 2))], "classes", (1, 3),
                     Table("SoftmaxOptions", beta=1.0))  # fmt: skip
    ids_data = np.random.default_rng(0).integers(0, 10, (COUNT, 1, 6)).astype(np.int32)
    return Example(net.done(classes), {None: {"ids": ids_data}})


def degenerate() -> Example:
    """Tensors and weights of zeros, a channel of zeros, an input that is an output and is read by nobody."""
    net = Network()
    x, spare = net.input("x", (1, 6)), net.input("spare", (1, 3))
    nothing = net.op("MUL", [x, net.constant("zero", np.zeros(1, "f4"))], "nothing", (1, 6), Table("MulOptions"))
    kernel = gaussian((5, 6), 1)
    kernel[2] = 0
    dense = net.fully_connected("dense", nothing, kernel, gaussian((5,), 2))
    dead = net.fully_connected("dead", dense, np.zeros((4, 5), "f4"), np.zeros(4, "f4"))
    return _plain(net, [dense, dead, spare])


def two_signatures() -> Example:
    """Two subgraphs of their own signatures that share the weights' buffer."""
    draft = Draft()
    draft.graphs.append(GraphDraft.of(Table("SubGraph", name="second")))
    shared = draft.add_buffer(gaussian((6, 8), 1))
    data = {}
    for i, (graph, key) in enumerate(zip(draft.graphs, ("encode", "decode"), strict=True)):
        x = graph.add_tensor(f"{key}/x", "FLOAT32", (1, 8))
        w = graph.add_tensor("w", "FLOAT32", (6, 8), buffer=shared)
        b = constant(draft, graph, "b", "FLOAT32", gaussian((6,), 2 + i))
        h, y = graph.add_tensor("hidden", "FLOAT32", (1, 6)), graph.add_tensor(f"{key}/y", "FLOAT32", (1, 6))
        graph.append(draft.operator("FULLY_CONNECTED", [x, w, b], [h], Table("FullyConnectedOptions")))
        graph.append(draft.operator(("RELU", "LOGISTIC")[i], [h], [y]))
        graph.inputs, graph.outputs = [x], [y]
        draft.signatures.append(signature(key, {"x": x}, {"y": y}, i))
        data[key] = _samples(i, x=(1, 8))
    return Example(draft.done(), data)


def loop() -> Example:
    """WHILE with a layer in its body: what goes in, comes back and goes out again keeps one scale."""
    draft = Draft()
    draft.graphs += [GraphDraft.of(Table("SubGraph", name=name)) for name in ("condition", "body")]
    main, condition, body = draft.graphs
    x = main.add_tensor("x", "FLOAT32", (1, 4))
    start = constant(draft, main, "start", "INT32", np.array([0], np.int32))
    dense = main.add_tensor("dense", "FLOAT32", (1, 4))
    w, b = (constant(draft, main, n, "FLOAT32", gaussian(s, 1)) for n, s in (("w", (4, 4)), ("b", (4,))))
    main.append(draft.operator("FULLY_CONNECTED", [x, w, b], [dense], Table("FullyConnectedOptions")))
    for graph in (condition, body):
        graph.inputs = [graph.add_tensor("i", "INT32", (1,)), graph.add_tensor("state", "FLOAT32", (1, 4))]
    limit = constant(draft, condition, "limit", "INT32", np.array([3], np.int32))
    condition.outputs = [condition.add_tensor("go on", "BOOL", (1,))]
    condition.append(draft.operator("LESS", [condition.inputs[0], limit], condition.outputs, Table("LessOptions")))
    one = constant(draft, body, "one", "INT32", np.array([1], np.int32))
    w, b = (constant(draft, body, n, "FLOAT32", gaussian(s, 2)) for n, s in (("body/w", (4, 4)), ("body/b", (4,))))
    body.outputs = [body.add_tensor("next", "INT32", (1,)), body.add_tensor("squashed", "FLOAT32", (1, 4))]
    body.append(draft.operator("ADD", [body.inputs[0], one], body.outputs[:1], Table("AddOptions")))
    layer = body.add_tensor("layer", "FLOAT32", (1, 4))
    body.append(draft.operator("FULLY_CONNECTED", [body.inputs[1], w, b], [layer], Table("FullyConnectedOptions")))
    body.append(draft.operator("TANH", [layer], body.outputs[1:]))
    ends = [main.add_tensor("count", "INT32", (1,)), main.add_tensor("result", "FLOAT32", (1, 4))]
    options = Table("WhileOptions", cond_subgraph_index=1, body_subgraph_index=2)
    main.append(draft.operator("WHILE", [start, dense], ends, options))
    y = main.add_tensor("y", "FLOAT32", (1, 4))
    main.append(draft.operator("RELU", ends[1:], [y]))
    main.inputs, main.outputs = [x], [y]
    return Example(draft.done(), {None: _samples(x=(1, 4))})


def memory() -> Example:
    """A resource variable that is read, added to and assigned; a subgraph that begins it."""
    draft = Draft()
    draft.graphs.append(GraphDraft.of(Table("SubGraph", name="init")))
    main, init = draft.graphs
    options = Table("VarHandleOptions", container="", shared_name="total")
    handle = init.add_tensor("handle", "RESOURCE", ())
    start = constant(draft, init, "start", "FLOAT32", np.zeros((1, 4), "f4"))
    init.append(draft.operator("VAR_HANDLE", [], [handle], options))
    init.append(draft.operator("ASSIGN_VARIABLE", [handle, start], [], Table("AssignVariableOptions")))
    x, handle = main.add_tensor("x", "FLOAT32", (1, 4)), main.add_tensor("handle", "RESOURCE", ())
    old, new, y = (main.add_tensor(name, "FLOAT32", (1, 4)) for name in ("old", "new", "y"))
    w, b = (constant(draft, main, n, "FLOAT32", gaussian(s, 1)) for n, s in (("w", (4, 4)), ("b", (4,))))
    main.append(draft.operator("CALL_ONCE", [], [], Table("CallOnceOptions", init_subgraph_index=1)))
    main.append(draft.operator("VAR_HANDLE", [], [handle], options))
    main.append(draft.operator("READ_VARIABLE", [handle], [old], Table("ReadVariableOptions")))
    main.append(draft.operator("ADD", [old, x], [new], Table("AddOptions")))
    main.append(draft.operator("ASSIGN_VARIABLE", [handle, new], [], Table("AssignVariableOptions")))
    main.append(draft.operator("FULLY_CONNECTED", [new, w, b], [y], Table("FullyConnectedOptions")))
    main.inputs, main.outputs = [x], [y]
    return Example(draft.done(), {None: _samples(x=(1, 4))})


EXAMPLES: Mapping[str, Callable[[], Example]] = MappingProxyType(
    {
        f.__name__: f
        for f in (
            branches, fixed_outputs, one_scale, shared_weights, integer_outputs, islands, arithmetic, upsampling,
            embedding, degenerate, two_signatures, loop, memory,
        )
    }
)  # fmt: skip


@cache
def example(name: str) -> Example:
    """One of `EXAMPLES`, made once."""
    return EXAMPLES[name]()

"""Networks of a layer, an operator that carries its channels on, and a layer that sums over them; some are dead.

A channel whose filter and bias are zero, and which stays zero up to the layer that sums over it, adds nothing.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from quantlib.tflite import Table
from tests.support.network import Network

DEAD = (1, 6)
#: Layers that may have dead channels.
LAYERS = ("made", "other", "gate", "one", "two")
#: Where halves must lose the same channels.
HALVES = (1, 5)


def integers(shape, seed, low=-3, high=4):
    """Float32 integers: products and their sums are exact in any order."""
    values = np.random.default_rng(seed).integers(low, high, shape).astype(np.float32)
    return np.where(values == 0, np.float32(1), values)


def alive(shape, dead, seed, axis=0):
    """Integers that are zero for dead channels."""
    values = np.moveaxis(integers(shape, seed), axis, 0).copy()
    values[list(dead)] = 0
    return np.ascontiguousarray(np.moveaxis(values, 0, axis))


def conv(net, name, x, filters, bias, **options):
    w, b = net.constant(f"{name}/kernel", filters), net.constant(f"{name}/bias", bias)
    table = Table("Conv2DOptions", stride_w=1, stride_h=1, **options)
    return net.op("CONV_2D", [x, w, b], name, (*net.shape(x)[:3], len(filters)), table)


def made(net, dead, name="made", x=None, size=3):
    """A layer of eight channels."""
    x = net.graph.inputs[0] if x is None else x
    count = net.shape(x)[3]
    return conv(net, name, x, alive((8, size, size, count), dead, 11), alive((8,), dead, 12))


def numbers(net, name, values):
    return net.constant(name, np.array(values, np.int32))


def unary(operator, options=None):
    return lambda net, x, dead: net.op(operator, [x], "moved", net.shape(x), options and Table(options))


def with_constant(operator, options="", values=None, at=1):
    """A constant by channel, zero where a dead channel would not stay zero."""

    def build(net, x, dead):
        array = alive((8,), dead, 13) if values is None else np.full(8, values, np.float32)
        operands = [x]
        operands.insert(at, net.constant("constant", array))
        return net.op(operator, operands, "moved", net.shape(x), Table(options) if options else None)

    return build


def times_three(net, x, dead):
    """One number for all channels."""
    three = net.constant("constant", np.full(1, 3, np.float32))
    return net.op("MUL", [x, three], "moved", net.shape(x), Table("MulOptions"))


def joined(operator, options=""):
    """Two layers of the same channels."""

    def build(net, x, dead):
        other = made(net, dead, "other", size=1)
        return net.op(operator, [x, other], "moved", net.shape(x), Table(options) if options else None)

    return build


def gated(net, x, dead):
    """Squeeze and excite: means of channels scale them."""
    axes = numbers(net, "axes", [1, 2])
    mean = net.op("MEAN", [x, axes], "mean", (1, 1, 1, 8), Table("ReducerOptions", keep_dims=True))
    gate = conv(net, "gate", mean, alive((8, 1, 1, 8), dead, 14), alive((8,), dead, 15))
    gate = net.op("LOGISTIC", [gate], "open", (1, 1, 1, 8))
    return net.op("MUL", [x, gate], "moved", net.shape(x), Table("MulOptions"))


def depthwise(multiplier):
    def build(net, x, dead):
        many = [c * multiplier + m for c in dead for m in range(multiplier)]
        filters = alive((1, 3, 3, 8 * multiplier), many, 16, axis=3)
        w, b = net.constant("deep/kernel", filters), net.constant("deep/bias", alive((8 * multiplier,), many, 17))
        options = Table("DepthwiseConv2DOptions", stride_w=1, stride_h=1, depth_multiplier=multiplier)
        return net.op("DEPTHWISE_CONV_2D", [x, w, b], "moved", (*net.shape(x)[:3], 8 * multiplier), options)

    return build


def pooled(operator):
    options = Table("Pool2DOptions", stride_w=2, stride_h=2, filter_width=2, filter_height=2)
    return lambda net, x, dead: net.op(operator, [x], "moved", (1, 2, 2, 8), options)


def resized(operator, options):
    return lambda net, x, dead: net.op(
        operator, [x, numbers(net, "size", [6, 6])], "moved", (1, 6, 6, 8), Table(options)
    )


def reduced(operator, keep):
    def build(net, x, dead):
        shape = (1, 1, 1, 8) if keep else (1, 8)
        axes = numbers(net, "axes", [1, -2])
        return net.op(operator, [x, axes], "moved", shape, Table("ReducerOptions", keep_dims=keep))

    return build


def padded(pads, operator="PAD", options="PadOptions"):
    def build(net, x, dead):
        shape = tuple(n + sum(p) for n, p in zip(net.shape(x), pads, strict=True))
        return net.op(operator, [x, numbers(net, "paddings", pads)], "moved", shape, Table(options))

    return build


def concatenated(net, x, dead):
    """Beside the model's input, whose channels stay, and twice: offsets change."""
    options = Table("ConcatenationOptions", axis=-1)
    return net.op("CONCATENATION", [x, net.graph.inputs[0], x], "moved", (1, 4, 4, 19), options)


def stacked(net, x, dead):
    """Along rows, of two layers of the same channels."""
    other = made(net, dead, "other", size=1)
    return net.op("CONCATENATION", [x, other], "moved", (1, 8, 4, 8), Table("ConcatenationOptions", axis=1))


def several(net, operator, operands, shapes, options):
    outputs = [net.graph.add_tensor(f"part{i}", "FLOAT32", s) for i, s in enumerate(shapes)]
    net.graph.append(net.draft.operator(operator, operands, outputs, options))
    return outputs


def split(net, x, dead):
    options = Table("SplitOptions", num_splits=2)
    parts = several(net, "SPLIT", [numbers(net, "axis", 3), x], [(1, 4, 4, 4)] * 2, options)
    return net.op("CONCATENATION", parts[::-1], "moved", (1, 4, 4, 8), Table("ConcatenationOptions", axis=3))


def split_sizes(net, x, dead):
    operands = [x, numbers(net, "sizes", [5, 3]), numbers(net, "axis", -1)]
    parts = several(net, "SPLIT_V", operands, [(1, 4, 4, 5), (1, 4, 4, 3)], Table("SplitVOptions", num_splits=2))
    options = Table("ConcatenationOptions", axis=3)
    return net.op("CONCATENATION", parts[::-1], "moved", (1, 4, 4, 8), options)


def sliced(net, x, dead):
    """Channels 2 to 6, of which one goes, behind one that goes."""
    operands = [x, numbers(net, "begin", [0, 1, 0, 2]), numbers(net, "extent", [1, 3, 4, 5])]
    return net.op("SLICE", operands, "moved", (1, 3, 4, 5), Table("SliceOptions"))


def strided(net, x, dead):
    values = ([0, 0, 1, 0], [1, 4, 4, 8], [1, 2, 1, 1])
    operands = [x, *(numbers(net, n, v) for n, v in zip(("begin", "end", "strides"), values, strict=True))]
    options = Table("StridedSliceOptions", shrink_axis_mask=1 << 2)
    return net.op("STRIDED_SLICE", operands, "moved", (1, 2, 8), options)


def reshape(*shape, stored=None):
    def build(net, x, dead):
        target = numbers(net, "shape", list(stored or shape))
        options = Table("ReshapeOptions", new_shape=list(stored or shape))
        return net.op("RESHAPE", [x, target], "moved", shape, options)

    return build


def squeezed(net, x, dead):
    small = reduced("MEAN", True)(net, x, dead)
    return net.op("SQUEEZE", [small], "flat", (1, 8), Table("SqueezeOptions", squeeze_dims=[1, -2]))


def expanded(net, x, dead):
    small = reduced("SUM", False)(net, x, dead)
    wide = net.op("EXPAND_DIMS", [small, numbers(net, "axis", 1)], "wide", (1, 1, 8), Table("ExpandDimsOptions"))
    return net.op("EXPAND_DIMS", [wide, numbers(net, "axis2", -2)], "wider", (1, 1, 1, 8), Table("ExpandDimsOptions"))


def turned(net, x, dead):
    """Channels first, and flattened there: each is a run of columns."""
    order = numbers(net, "order", [0, 3, 1, 2])
    first = net.op("TRANSPOSE", [x, order], "first", (1, 8, 4, 4), Table("TransposeOptions"))
    return reshape(1, 128)(net, first, dead)


def packed(net, x, dead):
    other = made(net, dead, "other", size=1)
    both = net.op("PACK", [x, other], "both", (1, 2, 4, 4, 8), Table("PackOptions", values_count=2, axis=1))
    parts = several(net, "UNPACK", [both], [(1, 4, 4, 8)] * 2, Table("UnpackOptions", num=2, axis=1))
    return net.op("SUB", parts, "moved", (1, 4, 4, 8), Table("SubOptions"))


def batches(net, x, dead):
    block, none = numbers(net, "block", [2, 2]), numbers(net, "none", [[0, 0], [0, 0]])
    parts = net.op("SPACE_TO_BATCH_ND", [x, block, none], "parts", (4, 2, 2, 8), Table("SpaceToBatchNDOptions"))
    return net.op("BATCH_TO_SPACE_ND", [parts, block, none], "moved", (1, 4, 4, 8), Table("BatchToSpaceNDOptions"))


def into_depth(net, x, dead):
    options = Table("SpaceToDepthOptions", block_size=2)
    return net.op("SPACE_TO_DEPTH", [x], "moved", (1, 2, 2, 32), options)


def out_of_depth(net, x, dead):
    return net.op("DEPTH_TO_SPACE", [x], "moved", (1, 8, 8, 2), Table("DepthToSpaceOptions", block_size=2))


def transposed(net, x, dead):
    """TRANSPOSE_CONV as what reads the channels, and as what makes others that go."""
    w = net.constant("up/kernel", integers((4, 3, 3, 8), 18))
    options = Table("TransposeConvOptions", stride_w=2, stride_h=2)
    return net.op("TRANSPOSE_CONV", [numbers(net, "up/shape", [1, 8, 8, 4]), w, x], "up", (1, 8, 8, 4), options)


def residual(net, x, dead):
    """Three layers that share channels, over two additions, as residual networks have them."""
    one = made(net, dead, "one", x)
    total = net.op("ADD", [x, one], "total", net.shape(x), Table("AddOptions", fused_activation_function=1))
    two = made(net, dead, "two", total)
    return net.op("ADD", [two, total], "moved", net.shape(x), Table("AddOptions"))


CARRIERS = MappingProxyType(
    {
        **{f: unary(f) for f in ("RELU", "RELU6", "RELU_N1_TO_1", "HARD_SWISH", "TANH")},
        **{f: unary(f, o) for f, o in (("ABS", "AbsOptions"), ("NEG", "NegOptions"), ("SQUARE", "SquareOptions"))},
        "LEAKY_RELU": unary("LEAKY_RELU", "LeakyReluOptions"),
        "ADD constant": with_constant("ADD", "AddOptions"),
        "SUB constant": with_constant("SUB", "SubOptions"),
        "SUB from constant": with_constant("SUB", "SubOptions", at=0),
        "MUL constant": with_constant("MUL", "MulOptions", 3.0),
        "MUL one constant": times_three,
        "DIV constant": with_constant("DIV", "DivOptions", 2.0),
        "MAXIMUM constant": with_constant("MAXIMUM", "MaximumMinimumOptions", -2.0),
        "PRELU": with_constant("PRELU", "", 0.25),
        "ADD": joined("ADD", "AddOptions"),
        "MUL": joined("MUL", "MulOptions"),
        "MINIMUM": joined("MINIMUM", "MaximumMinimumOptions"),
        "SQUARED_DIFFERENCE": joined("SQUARED_DIFFERENCE"),
        "gate": gated,
        "depthwise": depthwise(1),
        "depthwise of two": depthwise(2),
        "AVERAGE_POOL_2D": pooled("AVERAGE_POOL_2D"),
        "MAX_POOL_2D": pooled("MAX_POOL_2D"),
        "RESIZE_BILINEAR": resized("RESIZE_BILINEAR", "ResizeBilinearOptions"),
        "RESIZE_NEAREST_NEIGHBOR": resized("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
        "MEAN": reduced("MEAN", False),
        "MEAN kept": reduced("MEAN", True),
        "SUM": reduced("SUM", False),
        "REDUCE_MAX": reduced("REDUCE_MAX", False),
        "PAD": padded([[0, 0], [1, 2], [0, 1], [0, 0]]),
        "PAD channels": padded([[0, 0], [0, 0], [0, 0], [2, 3]]),
        "MIRROR_PAD": padded([[0, 0], [1, 1], [1, 1], [0, 0]], "MIRROR_PAD", "MirrorPadOptions"),
        "CONCATENATION": concatenated,
        "CONCATENATION of rows": stacked,
        "SPLIT": split,
        "SPLIT_V": split_sizes,
        "SLICE": sliced,
        "STRIDED_SLICE": strided,
        "flatten": reshape(1, 128),
        "flatten, free batch": reshape(1, 128, stored=(-1, 128)),
        "flatten, free columns": reshape(1, 128, stored=(1, -1)),
        "places in one": reshape(1, 16, 8),
        "SQUEEZE": squeezed,
        "EXPAND_DIMS": expanded,
        "TRANSPOSE": turned,
        "PACK, UNPACK": packed,
        "SPACE_TO_BATCH_ND": batches,
        "SPACE_TO_DEPTH": into_depth,
        "DEPTH_TO_SPACE": out_of_depth,
        "TRANSPOSE_CONV": transposed,
        "residual": residual,
    }
)
#: Which channels are dead where not `DEAD`: whatever is tied must be.
TIED: Mapping[str, tuple[int, ...]] = MappingProxyType({"SPLIT": HALVES, "DEPTH_TO_SPACE": (1, 3, 5, 7)})


def network(name):
    """A layer, a carrier, and a layer that sums over what it carried."""
    dead = TIED.get(name, DEAD)
    net = Network()
    net.input("x", (1, 4, 4, 3))
    x = CARRIERS[name](net, made(net, dead), dead)
    shape = net.shape(x)
    if len(shape) == 4:
        last = conv(net, "last", x, integers((4, 1, 1, shape[3]), 19), integers((4,), 20))
    else:
        last = net.fully_connected("last", x, integers((4, shape[-1]), 19), keep_num_dims=len(shape) > 2)
    return net.done(last), dead

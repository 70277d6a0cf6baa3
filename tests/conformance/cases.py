"""Random models of one quantized operator, for each operator and type: shapes, scales, options, weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.tflite import Model, Table
from tests.conformance.judge import End, indices, operator

KINDS = ("INT8", "UINT8", "INT16")
BYTES = ("INT8", "UINT8")
SIGNED = ("INT8", "INT16")
_RANGES = {"INT8": (-127, 128), "INT4": (-7, 8), "INT2": (-1, 2), "UINT8": (0, 256), "INT16": (-32767, 32768)}
_SHARES = {"INT8": (1 / 256, -128), "UINT8": (1 / 256, 0), "INT16": (1 / 32768, 0)}


@dataclass(frozen=True)
class Draw:
    """Random choices for operands of one type."""

    rng: np.random.Generator
    kind: str

    def pick(self, *values: Any) -> Any:
        return values[self.rng.integers(len(values))]

    def size(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    @property
    def wide(self) -> bool:
        return self.kind == "INT16"

    def scale(self, low: float = 0.002, high: float = 0.5) -> float:
        """Log-uniform, a power of two in one case of four: those make ties; smaller for 16 bits."""
        found = float(np.exp(self.rng.uniform(np.log(low), np.log(high))))
        if self.rng.random() < 0.25:
            found = float(2.0 ** np.round(np.log2(found)))
        return found / 256 if self.wide else found

    def near(self, scale: float, spread: float = 2.0) -> float:
        """A scale near another one, equal to it or a power of two away in some cases."""
        ratio = float(2.0 ** self.rng.uniform(-spread, spread))
        how = self.rng.random()
        return scale if how < 0.15 else scale * 2.0 ** round(np.log2(ratio)) if how < 0.4 else scale * ratio

    def point(self) -> int:
        """A zero point; the ends of the range are frequent."""
        low = {"INT8": -128, "UINT8": 0, "INT16": 0}[self.kind]
        return 0 if self.wide else low + int(self.pick(0, 255, 128, *self.rng.integers(0, 256, 4)))

    def end(self, shape: tuple[int, ...], scale: float | None = None) -> End:
        return End(self.kind, shape, self.scale() if scale is None else scale, self.point())

    def shape(self, low: int = 1, high: int = 4, most: int = 9) -> tuple[int, ...]:
        return tuple(self.size(1, most) for _ in range(self.size(low, high)))

    def activation(self) -> int:
        return int(self.pick(0, 0, 1, 2, 3))


def _weights(draw: Draw, shape: tuple[int, ...], axis: int, *narrow: str) -> End:
    kind = "UINT8" if draw.kind == "UINT8" else draw.pick("INT8", "INT8", *narrow)
    values = draw.rng.integers(*_RANGES[kind], shape).astype(np.uint8 if kind == "UINT8" else np.int8)
    if draw.rng.random() < 0.3:
        values = np.where(draw.rng.random(shape) < 0.9, 0, values).astype(values.dtype)  # few terms: ties are near
    single = kind == "UINT8" or (kind != "INT2" and draw.rng.random() < 0.3)
    low = draw.scale() * (256 if draw.wide else 1)
    scales = np.float32(low) if single else np.float32([draw.near(low, 1) for _ in range(shape[axis])])
    point = draw.size(0, 255) if kind == "UINT8" else 0
    # XNNPACK leaves UINT8 weights with another quantized dimension than 0 to LiteRT's own kernels
    return End(kind, shape, np.atleast_1d(scales), point, 0 if single else axis, values)


def _bias(draw: Draw, x: End, w: End, outputs: int, *, optional: bool) -> tuple[End | None, dict[str, Any]]:
    kind = draw.pick("INT64", "INT32") if draw.wide else "INT32"
    fields = {"quantized_bias_type": 2} if draw.wide and kind == "INT32" else {}
    if optional and not fields and draw.rng.random() < 0.2:
        return None, fields
    values = draw.rng.integers(-3000, 3000, outputs).astype(kind.lower())
    return End(kind, (outputs,), np.float32(x.scale) * w.scale, 0, 0, values), fields


def _result(draw: Draw, x: End, w: End, terms: int, shape: tuple[int, ...]) -> End:
    """An output whose range what's summed fills more or less; sometimes far too small or large."""
    spread = float(np.max(w.scale)) * x.scale * np.sqrt(terms) * _RANGES[w.type][1]
    return draw.end(shape, draw.near(spread, draw.pick(1, 1, 4)))


def _window(draw: Draw, size: int, kernel: int, stride: int, dilation: int, padding: int) -> int:
    return -(-size // stride) if padding == 0 else (size - (kernel - 1) * dilation - 1) // stride + 1


def _spatial(draw: Draw, kernel: int) -> tuple[int, dict[str, Any], int]:
    stride = draw.size(1, 3)
    dilation = draw.size(1, 2) if stride == 1 else 1
    size, padding = draw.size((kernel - 1) * dilation + 1, 9), draw.size(0, 1)
    fields = {"stride_w": stride, "stride_h": stride, "padding": padding}
    fields |= {"dilation_w_factor": dilation, "dilation_h_factor": dilation}
    return size, fields, _window(draw, size, kernel, stride, dilation, padding)


def _conv(draw: Draw) -> Model:
    kernel, groups = draw.size(1, 3), draw.pick(1, 1, 1, 2) if draw.kind == "INT8" else 1
    channels, outputs = groups * draw.size(1, 12), groups * draw.size(1, 20)
    size, fields, out = _spatial(draw, kernel)
    x = draw.end((draw.size(1, 2), size, size, channels))
    w = _weights(draw, (outputs, kernel, kernel, channels // groups), 0, "INT4")
    b, more = _bias(draw, x, w, outputs, optional=False)
    y = _result(draw, x, w, kernel * kernel * channels // groups, (x.shape[0], out, out, outputs))
    options = Table("Conv2DOptions", fused_activation_function=draw.activation(), **fields, **more)
    return operator("CONV_2D", [x, w, b], y, options)


def _depthwise(draw: Draw) -> Model:
    kernel, channels, multiplier = draw.size(1, 4), draw.size(1, 18), draw.size(1, 3)
    size, fields, out = _spatial(draw, kernel)
    outputs = channels * multiplier
    x = draw.end((draw.size(1, 2), size, size, channels))
    w = _weights(draw, (1, kernel, kernel, outputs), 3, *(() if draw.wide else ("INT4",)))
    b, more = _bias(draw, x, w, outputs, optional=False)
    if b is not None and b.values is not None and more:  # this operator has no such option
        b = End("INT64", (outputs,), b.scale, 0, 0, b.values.astype(np.int64))
    y = _result(draw, x, w, kernel * kernel, (x.shape[0], out, out, outputs))
    fields |= {"depth_multiplier": multiplier, "fused_activation_function": draw.activation()}
    return operator("DEPTHWISE_CONV_2D", [x, w, b], y, Table("DepthwiseConv2DOptions", **fields))


def _transposed(draw: Draw) -> Model:
    kernel, stride, padding = draw.size(1, 4), draw.size(1, 3), draw.size(0, 1)
    channels, outputs, size = draw.size(1, 8), draw.size(1, 20), draw.size(1, 6)
    out = size * stride if padding == 0 else (size - 1) * stride + max(kernel, stride)
    x = draw.end((draw.size(1, 2), size, size, channels))
    w = _weights(draw, (outputs, kernel, kernel, channels), 0)
    b, more = _bias(draw, x, w, outputs, optional=True)
    y = _result(draw, x, w, kernel * kernel * channels, (x.shape[0], out, out, outputs))
    fields = {"stride_w": stride, "stride_h": stride, "padding": padding}
    options = Table("TransposeConvOptions", fused_activation_function=draw.activation(), **fields, **more)
    ends = [indices(y.shape), w, x]
    return operator("TRANSPOSE_CONV", ends if b is None else [*ends, b], y, options)


def _dense(draw: Draw) -> Model:
    rows, depth, units = draw.size(1, 5), draw.size(1, 70), draw.size(1, 20)
    x = draw.end((rows, depth))
    w = _weights(draw, (units, depth), 0, "INT4", "INT2")
    b, more = _bias(draw, x, w, units, optional=True)
    y = _result(draw, x, w, depth, (rows, units))
    options = Table("FullyConnectedOptions", fused_activation_function=draw.activation(), **more)
    return operator("FULLY_CONNECTED", [x, w, b], y, options)


def _batch(draw: Draw) -> Model:
    stack, rows, depth, columns = draw.size(1, 3), draw.size(1, 6), draw.size(1, 40), draw.size(1, 9)
    adj_x, adj_y = draw.rng.random(2) < 0.5
    x = draw.end((stack, depth, rows) if adj_x else (stack, rows, depth))
    w = draw.end((stack, columns, depth) if adj_y else (stack, depth, columns))
    spread = x.scale * w.scale * np.sqrt(depth) * _RANGES[draw.kind][1]
    y = draw.end((stack, rows, columns), draw.near(spread))
    return operator("BATCH_MATMUL", [x, w], y, Table("BatchMatMulOptions", adj_x=bool(adj_x), adj_y=bool(adj_y)))


def _pair(name: str, options: str, *, fused: bool = True) -> Callable[[Draw], Model]:
    def case(draw: Draw) -> Model:
        shape = draw.shape(1, 4)
        other = tuple(1 if draw.rng.random() < 0.2 else n for n in shape) if draw.rng.random() < 0.5 else shape
        a, b = draw.end(shape), draw.end(other)
        scale = draw.near(max(a.scale, b.scale)) if name in ("ADD", "SUB") else draw.near(a.scale * b.scale * 128)
        fields = {"fused_activation_function": draw.activation()} if fused else {}
        if draw.wide and name in ("ADD", "SUB"):
            fields["pot_scale_int16"] = False
        return operator(name, [a, b], draw.end(shape, scale), Table(options, **fields))

    return case


def _compare(name: str, options: str) -> Callable[[Draw], Model]:
    def case(draw: Draw) -> Model:
        shape = draw.shape()
        a = draw.end(shape)
        b = draw.end(shape, min(draw.near(a.scale), 0.99))  # scales of 1 and more LiteRT gets wrong
        return operator(name, [a, b], End("BOOL", shape), Table(options))

    return case


def _pool(name: str) -> Callable[[Draw], Model]:
    def case(draw: Draw) -> Model:
        rows, columns = draw.size(1, 4), draw.size(1, 4)
        down, along, padding = draw.size(1, rows), draw.size(1, columns), draw.size(0, 1)
        x = draw.end((draw.size(1, 2), draw.size(rows, 9), draw.size(columns, 9), draw.size(1, 40)))
        out = [_window(draw, x.shape[i], k, s, 1, padding) for i, k, s in ((1, rows, down), (2, columns, along))]
        fields = {"stride_w": along, "stride_h": down, "filter_width": columns, "filter_height": rows}
        options = Table("Pool2DOptions", padding=padding, fused_activation_function=draw.activation(), **fields)
        return operator(name, [x], End(draw.kind, (x.shape[0], *out, x.shape[3]), x.scale, x.zero_point), options)

    return case


def _reduce(name: str, *, own: bool = True) -> Callable[[Draw], Model]:
    def case(draw: Draw) -> Model:
        shape = draw.shape(1, 4, 20)
        axes = sorted({draw.size(0, len(shape) - 1) for _ in range(draw.size(1, 3))})
        if len(shape) == 4 and draw.rng.random() < 0.4:
            axes = [1, 2]
        keep = bool(draw.rng.random() < 0.5)
        out = tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)
        count = int(np.prod([shape[a] for a in axes]))
        x = draw.end(shape)
        scale = draw.near(x.scale * (np.sqrt(count) if name == "SUM" else 1)) if own else x.scale
        y = draw.end(out, scale) if own else End(draw.kind, out, x.scale, x.zero_point)
        return operator(name, [x, indices(axes)], y, Table("ReducerOptions", keep_dims=keep))

    return case


def _unary(
    name: str, options: str | None = None, share: float | None = None, point: int = 0
) -> Callable[[Draw], Model]:
    """All kinds of one operand; with `share` the output is fixed for bytes, that of 16 bits is 1/32768."""

    def case(draw: Draw) -> Model:
        shape = (draw.size(1, 3), draw.size(1, 80))
        x = draw.end(shape)
        y = draw.end(shape, draw.near(x.scale))
        if share is not None:
            scale, zero = (share, point + 128 * (draw.kind == "UINT8")) if not draw.wide else _SHARES["INT16"]
            y = End(draw.kind, shape, scale, zero)
        fields = {"LeakyReluOptions": {"alpha": float(draw.rng.uniform(-0.5, 1.5))}}.get(options or "", {})
        fields |= {"GeluOptions": {"approximate": bool(draw.rng.random() < 0.5)}}.get(options or "", {})
        fields |= {"SoftmaxOptions": {"beta": 1.0}}.get(options or "", {})
        return operator(name, [x], y, Table(options, **fields) if options else None)

    return case


def _hard_swish(draw: Draw) -> Model:
    shape = (draw.size(1, 3), draw.size(1, 80))
    x = draw.end(shape)
    return operator("HARD_SWISH", [x], draw.end(shape, max(draw.near(x.scale), x.scale / 100)))


def _prelu(draw: Draw) -> Model:
    x = draw.end((draw.size(1, 2), draw.size(1, 5), draw.size(1, 5), draw.size(1, 20)))
    alpha = draw.end((1, 1, x.shape[3]))
    return operator("PRELU", [x, alpha], draw.end(x.shape, draw.near(x.scale)))


def _resize(name: str, options: str) -> Callable[[Draw], Model]:
    def case(draw: Draw) -> Model:
        x = draw.end((draw.size(1, 2), draw.size(1, 12), draw.size(1, 12), draw.size(1, 20)))
        size = (x.shape[1] * 2, x.shape[2] * 2) if draw.rng.random() < 0.3 else (draw.size(1, 17), draw.size(1, 17))
        corners, half = draw.pick((False, False), (True, False), (False, True))
        y = End(draw.kind, (x.shape[0], *size, x.shape[3]), x.scale, x.zero_point)
        return operator(name, [x, indices(size)], y, Table(options, align_corners=corners, half_pixel_centers=half))

    return case


def _quantize(draw: Draw) -> Model:
    shape = (draw.size(1, 3), draw.size(1, 80))
    return operator(
        "QUANTIZE", [End("FLOAT32", shape)], draw.end(shape, draw.scale(0.01, 0.1)), Table("QuantizeOptions")
    )


def _requantize(draw: Draw) -> Model:
    shape = (draw.size(1, 3), draw.size(1, 80))
    x = draw.end(shape)
    other = Draw(draw.rng, draw.pick("INT8", "INT16") if draw.wide else draw.pick(*KINDS))
    ratio = {(False, True): 1 / 256, (True, False): 256}.get((draw.wide, other.wide), 1.0)
    return operator("QUANTIZE", [x], other.end(shape, draw.near(x.scale * ratio)), Table("QuantizeOptions"))


def _dequantize(draw: Draw) -> Model:
    x = draw.end(draw.shape())
    return operator("DEQUANTIZE", [x], End("FLOAT32", x.shape), Table("DequantizeOptions"))


def _concatenate(draw: Draw) -> Model:
    shape, count = draw.shape(1, 4), draw.size(2, 5)
    axis = draw.size(0, len(shape) - 1)
    y = draw.end((*shape[:axis], count * shape[axis], *shape[axis + 1 :]))
    own = draw.kind == "UINT8" and draw.rng.random() < 0.5
    ends = [draw.end(shape) if own else End(draw.kind, shape, y.scale, y.zero_point) for _ in range(count)]
    return operator("CONCATENATION", ends, y, Table("ConcatenationOptions", axis=axis))


def _pad(draw: Draw) -> Model:
    x = draw.end(draw.shape(1, 4))
    around = [[draw.size(0, 3), draw.size(0, 3)] for _ in x.shape]
    shape = tuple(n + sum(pair) for n, pair in zip(x.shape, around, strict=True))
    return operator("PAD", [x, indices(around)], End(draw.kind, shape, x.scale, x.zero_point), Table("PadOptions"))


def _product(draw: Draw) -> Model:
    shape = draw.shape(1, 3, 5)
    x = draw.end(shape)
    y = draw.end(shape[:-1], draw.near(x.scale))
    return operator("REDUCE_PROD", [x, indices([len(shape) - 1])], y, Table("ReducerOptions"))


_COMPARED = {
    "EQUAL": "EqualOptions", "GREATER": "GreaterOptions", "GREATER_EQUAL": "GreaterEqualOptions",
    "LESS": "LessOptions", "LESS_EQUAL": "LessEqualOptions", "NOT_EQUAL": "NotEqualOptions",
}  # fmt: skip

#: Random models of each operator, and the types of its activations.
CASES: Mapping[str, tuple[Callable[[Draw], Model], tuple[str, ...]]] = MappingProxyType(
    {
        "ABS": (_unary("ABS"), SIGNED),
        "ADD": (_pair("ADD", "AddOptions"), KINDS),
        "AVERAGE_POOL_2D": (_pool("AVERAGE_POOL_2D"), KINDS),
        "BATCH_MATMUL": (_batch, SIGNED),
        "CONCATENATION": (_concatenate, KINDS),
        "CONV_2D": (_conv, KINDS),
        "DEPTHWISE_CONV_2D": (_depthwise, KINDS),
        "DEQUANTIZE": (_dequantize, KINDS),
        "ELU": (_unary("ELU"), ("INT8",)),
        "EXP": (_unary("EXP"), SIGNED),
        "FULLY_CONNECTED": (_dense, KINDS),
        "GELU": (_unary("GELU", "GeluOptions"), KINDS),
        "HARD_SWISH": (_hard_swish, BYTES),
        "L2_NORMALIZATION": (_unary("L2_NORMALIZATION", "L2NormOptions", 1 / 128), BYTES),
        "LEAKY_RELU": (_unary("LEAKY_RELU", "LeakyReluOptions"), KINDS),
        "LOG": (_unary("LOG"), SIGNED),
        "LOGISTIC": (_unary("LOGISTIC", None, 1 / 256, -128), KINDS),
        "LOG_SOFTMAX": (_unary("LOG_SOFTMAX", "LogSoftmaxOptions", 16 / 256, 127), BYTES),
        "MAX_POOL_2D": (_pool("MAX_POOL_2D"), KINDS),
        "MEAN": (_reduce("MEAN"), KINDS),
        "MUL": (_pair("MUL", "MulOptions"), KINDS),
        "PAD": (_pad, KINDS),
        "PRELU": (_prelu, BYTES),
        "QUANTIZE": (_quantize, KINDS),
        "QUANTIZE integers": (_requantize, KINDS),
        "REDUCE_MAX": (_reduce("REDUCE_MAX", own=False), KINDS),
        "REDUCE_MIN": (_reduce("REDUCE_MIN", own=False), KINDS),
        "REDUCE_PROD": (_product, SIGNED),
        "RELU": (_unary("RELU"), KINDS),
        "RELU6": (_unary("RELU6"), KINDS),
        "RELU_0_TO_1": (_unary("RELU_0_TO_1"), BYTES),
        "RELU_N1_TO_1": (_unary("RELU_N1_TO_1"), BYTES),
        "RESIZE_BILINEAR": (_resize("RESIZE_BILINEAR", "ResizeBilinearOptions"), KINDS),
        "RESIZE_NEAREST_NEIGHBOR": (_resize("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"), KINDS),
        "SOFTMAX": (_unary("SOFTMAX", "SoftmaxOptions", 1 / 256, -128), KINDS),
        "SQUARED_DIFFERENCE": (_pair("SQUARED_DIFFERENCE", "SquaredDifferenceOptions", fused=False), ("INT8",)),
        "SUB": (_pair("SUB", "SubOptions"), KINDS),
        "SUM": (_reduce("SUM"), KINDS),
        "TANH": (_unary("TANH", None, 1 / 128, 0), KINDS),
        "TRANSPOSE_CONV": (_transposed, KINDS),
        **{name: (_compare(name, options), BYTES) for name, options in _COMPARED.items()},
    }
)


def case(name: str, kind: str, seed: int) -> Model:
    """Make the model of a seed."""
    return CASES[name][0](Draw(np.random.default_rng(seed), kind))

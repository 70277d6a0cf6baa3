"""Operators as LiteRT takes them, and what spoils them: (what, operator as it runs, changes, words of the reason)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quantlib.tflite import Model, Table

from .built import T, single, vector, weights


@dataclass(frozen=True)
class Op:
    """An operator and its tensors; `spoiled` returns it with some tensors or options changed."""

    name: str
    inputs: tuple[T | None, ...]
    outputs: tuple[T, ...]
    options: Table | None = None
    version: int | None = None

    def model(self) -> Model:
        return single(self.name, self.inputs, self.outputs, self.options, self.version)

    def spoiled(self, version: int | None = None, **changes: dict[str, Any] | None) -> Op:
        """Changes by place: ``in1={"scale": 0}``; None takes an input away."""
        inputs, outputs = list(self.inputs), list(self.outputs)
        for place, change in changes.items():
            side, at = (inputs, int(place[2:])) if place.startswith("in") else (outputs, int(place[3:]))
            old = side[at]
            side[at] = None if change is None or old is None else replace(old, **change)
        return replace(self, inputs=tuple(inputs), outputs=tuple(outputs), version=version or self.version)


def _conv(type: str = "INT8", bias: str = "INT32", **options: Any) -> Op:
    point = 3 if type == "INT8" else 0
    return Op(
        "CONV_2D",
        (
            T(type, (1, 4, 4, 2), 0.5, point),
            weights("INT8", (3, 1, 1, 2), [0.1, 0.2, 0.3]),
            weights(bias, (3,), np.float32(0.5) * np.float32([0.1, 0.2, 0.3])),
        ),
        (T(type, (1, 4, 4, 3), 0.25, point),),
        Table("Conv2DOptions", stride_w=1, stride_h=1, **options),
    )


def _dense(scale: Any = 0.1) -> Op:
    return Op(
        "FULLY_CONNECTED",
        (
            T("INT8", (1, 8), 0.5, 3),
            weights("INT8", (2, 8), scale),
            weights("INT32", (2,), np.float32(0.5) * np.float32(scale)),
        ),
        (T("INT8", (1, 2), 0.25, 1),),
        Table("FullyConnectedOptions"),
    )


def _depthwise(type: str = "INT8", bias: str = "INT32", scale: Any = (0.1, 0.2)) -> Op:
    floats = type == "FLOAT32"
    own = None if floats else 0.5
    bias_scale = None if floats else np.float32(0.5) * np.float32(scale)
    return Op(
        "DEPTHWISE_CONV_2D",
        (T(type, (1, 4, 4, 2), own), weights("INT8", (1, 1, 1, 2), scale, axis=3), weights(bias, (2,), bias_scale)),
        (T(type, (1, 4, 4, 2), own),),
        Table("DepthwiseConv2DOptions", stride_w=1, stride_h=1, depth_multiplier=1),
    )


def unary(name: str, type: str = "INT8", shape: tuple[int, ...] = (1, 4, 4, 4), **options: Any) -> Op:
    """One input and one output of one scale."""
    table = Table(options.pop("table"), **options) if "table" in options else None
    same = T(type, shape, 0.5, 3 if type != "INT16" else 0)
    return Op(name, (same,), (same,), table)


def binary(name: str, type: str = "INT8", table: str | None = None) -> Op:
    """Two inputs and one output of one scale."""
    same = T(type, (1, 8), 0.5, 3 if type != "INT16" else 0)
    return Op(name, (same, same), (same,), None if table is None else Table(table))


def _fixed(name: str, scale: float, point: int, type: str = "INT8", table: str | None = None) -> Op:
    x = T(type, (1, 8), 0.5, 3 if type != "INT16" else 0)
    return Op(name, (x,), (T(type, (1, 8), scale, point),), None if table is None else Table(table, beta=1.0))


def _with(name: str, *operands: T, out: tuple[int, ...], table: str | None = None, **options: Any) -> Op:
    x = T("INT8", (1, 4, 4, 4), 0.5, 3)
    return Op(name, (x, *operands), (replace(x, shape=out),), None if table is None else Table(table, **options))


SAME = T("INT8", (1, 4), 0.5, 3)
CONV, DENSE = _conv(), _dense()
CONV16 = _conv("INT16", "INT64")
DEPTHWISE = _depthwise()
HYBRID_DEPTHWISE = _depthwise("FLOAT32", "FLOAT32")
POOL = unary("MAX_POOL_2D", table="Pool2DOptions", stride_w=1, stride_h=1, filter_width=1, filter_height=1)
PAD = _with("PAD", T("INT32", (4, 2), values=np.zeros((4, 2), "i4")), out=(1, 4, 4, 4), table="PadOptions")
MIRROR = _with(
    "MIRROR_PAD", T("INT32", (4, 2), values=np.zeros((4, 2), "i4")), out=(1, 4, 4, 4), table="MirrorPadOptions"
)
TRANSPOSE = _with("TRANSPOSE", vector(0, 1, 2, 3), out=(1, 4, 4, 4), table="TransposeOptions")
SLICE = _with("SLICE", vector(0, 0, 0, 0), vector(1, 4, 4, 4), out=(1, 4, 4, 4), table="SliceOptions")
EXPAND = _with("EXPAND_DIMS", vector(0), out=(1, 1, 4, 4, 4), table="ExpandDimsOptions")
LARGEST = _with("REDUCE_MAX", vector(1), out=(1, 4, 4), table="ReducerOptions")
RESIZE = _with("RESIZE_BILINEAR", vector(8, 8), out=(1, 8, 8, 4), table="ResizeBilinearOptions")
TO_BATCH = _with(
    "SPACE_TO_BATCH_ND",
    vector(1, 1),
    T("INT32", (2, 2), values=np.zeros((2, 2), "i4")),
    out=(1, 4, 4, 4),
    table="SpaceToBatchNDOptions",
)
SPLIT = Op(
    "SPLIT",
    (T("INT32", (), values=np.int32(1)), SAME),
    (replace(SAME, shape=(1, 2)),) * 2,
    Table("SplitOptions", num_splits=2),
)
UNPACK = Op(
    "UNPACK", (replace(SAME, shape=(2, 4)),), (replace(SAME, shape=(4,)),) * 2, Table("UnpackOptions", num=2, axis=0)
)
JOIN = Op("CONCATENATION", (SAME, SAME), (replace(SAME, shape=(1, 8)),), Table("ConcatenationOptions", axis=1))
PACK = Op("PACK", (SAME, SAME), (replace(SAME, shape=(2, 1, 4)),), Table("PackOptions", values_count=2))
LOGISTIC = _fixed("LOGISTIC", 1 / 256, -128)
SOFTMAX = _fixed("SOFTMAX", 1 / 256, -128, table="SoftmaxOptions")
LOG_SOFTMAX = _fixed("LOG_SOFTMAX", 16 / 256, 127)
TANH16 = _fixed("TANH", 1 / 32768, 0, "INT16")
L2 = Op("L2_NORMALIZATION", (SAME,), (T("INT8", (1, 4), 1 / 128, 0),), Table("L2NormOptions"))
ADD = binary("ADD", table="AddOptions")
QUANTIZE16 = Op("QUANTIZE", (T("INT8", (1, 4), 0.5, 3),), (T("INT16", (1, 4), 0.5, 0),))

other_scale = {"out0": {"scale": 0.25}}

#: Refused by the builtin kernels, and by the default resolver as well.
REFUSED = {
    "conv without bias": (CONV, CONV.spoiled(in2=None), "has types"),
    "conv with int16 weights": (CONV, CONV.spoiled(in1={"type": "INT16"}), "has types"),
    "conv with a filter zero point": (CONV, CONV.spoiled(in1={"zero_point": [0, 1, 0]}), "zero point 0..1"),
    "conv with too few scales": (CONV, CONV.spoiled(in1={"scale": [0.1, 0.2]}), "not as many as channels"),
    "int16 conv with a zero point": (CONV16, CONV16.spoiled(in0={"zero_point": 5}), "zero point 5"),
    "depthwise int16 with a 32-bit bias": (
        _depthwise("INT16", "INT64"),
        _depthwise("INT16", "INT32"),
        "has types",
    ),
    "hybrid depthwise per tensor": (HYBRID_DEPTHWISE, _depthwise("FLOAT32", "FLOAT32", 0.1), "one a channel"),
    "pack of other scales": (PACK, PACK.spoiled(in0={"scale": 0.25}), "unlike the output"),
    "concatenation of other scales": (JOIN, JOIN.spoiled(in1={"scale": 0.25}), "unlike the output"),
    "unpack to another scale": (UNPACK, UNPACK.spoiled(out1={"scale": 0.25}), "unlike the input"),
    "expand dims": (EXPAND, EXPAND.spoiled(**other_scale), "unlike the input"),
    "mirror pad": (MIRROR, MIRROR.spoiled(**other_scale), "unlike the input"),
    "space to batch": (TO_BATCH, TO_BATCH.spoiled(**other_scale), "unlike the input"),
    "softmax": (SOFTMAX, SOFTMAX.spoiled(**other_scale), "SOFTMAX writes"),
    "log softmax": (LOG_SOFTMAX, LOG_SOFTMAX.spoiled(**other_scale), "LOG_SOFTMAX writes"),
    "int16 tanh": (TANH16, TANH16.spoiled(**other_scale), "TANH writes"),
    "l2 normalization": (L2, L2.spoiled(**other_scale), "L2_NORMALIZATION writes"),
    "add of two types": (ADD, ADD.spoiled(in1={"type": "UINT8"}), "has types"),
    "quantize int8 to int64": (QUANTIZE16, QUANTIZE16.spoiled(out0={"type": "INT64"}), "has types"),
    "version too high": (DENSE, DENSE.spoiled(version=15), "versions 1 to 14"),
    "reverse sequence": (
        unary("ABS"),
        Op(
            "REVERSE_SEQUENCE",
            (T("INT8", (2, 3), 0.5, 3), vector(3, 3)),
            (T("INT8", (2, 3), 0.5, 3),),
            Table("ReverseSequenceOptions", seq_dim=1),
        ),
        "no such kernel",
    ),
    **{
        f"int16 {name}": (unary("ABS"), unary(name, "INT16", **options), "no such kernel")
        for name, options in (
            ("RELU_N1_TO_1", {}),
            ("ELU", {}),
            ("HARD_SWISH", {}),
            ("L2_NORMALIZATION", {"table": "L2NormOptions"}),
            ("SPACE_TO_DEPTH", {"table": "SpaceToDepthOptions", "block_size": 2}),
        )
    },
    **{
        f"int8 {name}": (unary("ABS"), unary(name), "no such kernel")
        for name in ("SIN", "FLOOR", "CEIL", "ROUND", "SQUARE", "COS")
    },
    "uint8 abs": (unary("ABS"), unary("ABS", "UINT8"), "no such kernel"),
}

#: Refused by the builtin kernels; XNNPACK takes it.
BUILTIN_ONLY = {"logistic": (LOGISTIC, LOGISTIC.spoiled(**other_scale), "LOGISTIC writes")}

#: Refused by the builtin kernels; XNNPACK computes something else.
BUILTIN = {
    "reduce max": (LARGEST, LARGEST.spoiled(**other_scale), "unlike the input"),
    "bias of a dense layer": (DENSE, DENSE.spoiled(in2={"scale": 0.3}), "is a bias with scale 0.3"),
}

#: Refused by XNNPACK, and with it the whole model; the builtin kernels give wrong numbers.
XNNPACK = {
    "max pool": (POOL, POOL.spoiled(**other_scale), "unlike the input"),
    "transpose": (TRANSPOSE, TRANSPOSE.spoiled(**other_scale), "unlike the input"),
    "pad": (PAD, PAD.spoiled(**other_scale), "unlike the input"),
    "slice": (SLICE, SLICE.spoiled(**other_scale), "unlike the input"),
    "split": (SPLIT, SPLIT.spoiled(**other_scale), "unlike the input"),
    "resize": (RESIZE, RESIZE.spoiled(**other_scale), "unlike the input"),
    "space to depth": (
        unary("ABS"),
        Op(
            "SPACE_TO_DEPTH",
            (T("INT8", (1, 4, 4, 4), 0.5, 3),),
            (T("INT8", (1, 2, 2, 16), 0.25, 3),),
            Table("SpaceToDepthOptions", block_size=2),
        ),
        "unlike the input",
    ),
    "scale 0": (PAD, PAD.spoiled(in0={"scale": 0.0}, out0={"scale": 0.0}), "has scale 0;"),
    "subnormal scale": (PAD, PAD.spoiled(in0={"scale": 1e-40}, out0={"scale": 1e-40}), "normal float32"),
}

#: Loads, and computes nonsense.
NONSENSE = {
    "int16 conv whose option hides the bias": (
        _conv("INT16", "INT32", quantized_bias_type=2),
        _conv("INT16", "INT32"),
        "reads 64 bits",
    ),
    "maximum": (binary("MAXIMUM"), binary("MAXIMUM").spoiled(in1={"scale": 0.25}), "unlike the output"),
    "neg": (unary("ABS"), unary("NEG"), "as if there were no scale"),
    "bias with a scale of its own": (
        CONV,
        CONV.spoiled(in2={"scale": [0.3, 0.2, 0.1]}),
        "is a bias with scale 0.1..0.3",
    ),
    "int16 less": (
        ADD,
        Op(
            "LESS",
            (T("INT16", (1, 8), 0.5), T("INT16", (1, 8), 0.25)),
            (T("BOOL", (1, 8)),),
            Table("LessOptions"),
        ),
        "compares INT16 values",
    ),
    "scatter with a zero point": (
        unary("ABS"),
        Op(
            "SCATTER_ND",
            (T("INT32", (1, 1), values=np.int32(0)), T("INT8", (1,), 0.5, 3), vector(4)),
            (T("INT8", (4,), 0.5, 3),),
            Table("ScatterNdOptions"),
        ),
        "fills the background",
    ),
}

#: Operators of one input and one output of the same shape and, where integers, of the same scale.
UNARY = (
    *("ABS", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "ELU", "HARD_SWISH", "GELU", "EXP", "LOG"),
    *("SQRT", "RSQRT", "SQUARE", "SIN", "COS", "FLOOR", "CEIL", "ROUND", "SIGN", "ZEROS_LIKE"),
)
#: Operators of two inputs.
BINARY = ("ADD", "SUB", "MUL", "DIV", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", "POW", "PRELU")

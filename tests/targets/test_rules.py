"""Rules that no run of LiteRT holds: each with an operation that it refuses, next to one that passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quantlib import targets
from quantlib.recipes import Graph, operation
from quantlib.targets import Operand, Operation
from quantlib.tflite import Quantization

from . import cases


def t(
    type: str = "INT8",
    shape: tuple[int, ...] = (1, 4, 4, 4),
    scale: Any = 0.5,
    point: Any = 0,
    axis: int = 0,
    block: int = 0,
    **fields: Any,
) -> Operand:
    points = np.broadcast_to(point, np.shape(scale) or (1,))
    return Operand(type, shape, quantization=Quantization(scale, points, axis, block), **fields)


def plain(*values: int, type: str = "INT32", shape: tuple[int, ...] | None = None) -> Operand:
    array = np.array(values)
    return Operand(type, array.shape if shape is None else shape, constant=True, values=lambda: array)


def op(
    name: str, *inputs: Operand | None, out: Operand | tuple[Operand, ...] | None = None, **options: Any
) -> Operation:
    first = next(x for x in inputs if x is not None)
    outputs = out if isinstance(out, tuple) else (out or replace(first, constant=False),)
    return Operation(name, 1, inputs, outputs, options, accepted=range(1, 10))


X, HALF, INDEX = t(), t(scale=0.25), plain(0)
ROW = t(shape=(1, 4))
FLOAT = Operand("FLOAT32", (1, 4))
DENSE = t(shape=(4, 4), scale=0.1, constant=True)
FILTER = t(shape=(4, 1, 1, 4), scale=[0.1] * 4, constant=True)
DEPTHWISE = t(shape=(1, 1, 1, 4), scale=[0.1] * 4, axis=3, constant=True)
BLOCKS = t("INT4", (1, 64), [0.5, 0.5], block=32, constant=True)
ONES = np.ones((1, 1, 1, 8323073), np.int8)
SLICE = (plain(0), plain(1), plain(1))
STRIDES = {"stride_w": 1, "stride_h": 1}
ETHOS, MICRO = "ethos-u", "tflite-micro"


def conv(x: Operand = X, w: Operand = FILTER, b: Operand | None = None, **options: Any) -> Operation:
    return op("CONV_2D", x, w, b, **{**STRIDES, **options})


def dense(x: Operand = ROW, w: Operand = DENSE, b: Operand | None = None, **options: Any) -> Operation:
    return op("FULLY_CONNECTED", x, w, b, **options)


def pool(name: str = "MAX_POOL_2D", x: Operand = X, **options: Any) -> Operation:
    return op(name, x, **{**STRIDES, "filter_height": 2, **options})


def transposed(w: Operand, x: Operand = X, **options: Any) -> Operation:
    return op("TRANSPOSE_CONV", plain(1, 8, 8, 4), w, x, out=x, **{"stride_w": 2, "stride_h": 2, **options})


#: target, rule, passes, is refused
RULES: list[tuple[str, str, Operation, Operation]] = [
    ("litert", "scale", pool(), pool(x=t(scale=0.0))),
    ("litert", "scale", pool(), pool(x=t(scale=np.inf))),
    (
        "litert",
        "dense-zero-point",
        dense(w=t(scale=0.1, point=3)),
        dense(w=t(shape=(4, 4), scale=[0.1] * 4, point=3)),
    ),
    ("litert", "channel-axis-0", conv(), conv(w=replace(FILTER, quantization=Quantization([0.1] * 4, [0] * 4, 3)))),
    (
        *("litert", "channel-axis-3", op("DEPTHWISE_CONV_2D", X, DEPTHWISE, None)),
        op("DEPTHWISE_CONV_2D", X, replace(DEPTHWISE, quantization=Quantization([0.1] * 4, [0] * 4, 0))),
    ),
    ("litert", "one-scale", pool(), pool(x=t(scale=[0.5] * 4, axis=3))),
    ("litert", "one-scale-activation", conv(), conv(x=t(scale=[0.5] * 4, axis=3))),
    ("litert", "same-first", op("RESHAPE", X, INDEX), op("RESHAPE", X, INDEX, out=HALF)),
    ("litert", "same-window", pool(), op("PAD", X, INDEX, out=HALF)),
    ("litert", "same-split", op("SPLIT", INDEX, X, out=(X, X)), op("SPLIT", INDEX, X, out=(X, HALF))),
    ("litert", "same-parts", op("SPLIT_V", X, INDEX, INDEX), op("SPLIT_V", X, INDEX, INDEX, out=(X, HALF))),
    (
        *("litert", "same-chosen", op("SELECT_V2", plain(1, type="BOOL"), X, X, out=X)),
        op("SELECT_V2", plain(1, type="BOOL"), X, HALF, out=X),
    ),
    ("litert", "same-padding", op("PADV2", X, INDEX, X), op("PADV2", X, INDEX, HALF)),
    ("litert", "same-filling", op("FILL", INDEX, X, out=X), op("FILL", INDEX, X, out=HALF)),
    ("litert", "same-hot", op("ONE_HOT", INDEX, INDEX, X, X, out=X), op("ONE_HOT", INDEX, INDEX, X, HALF, out=X)),
    (
        *("litert", "fixed-wide-softmax", op("SOFTMAX", X, out=t("INT16", scale=1 / 65536, point=-32768))),
        op("SOFTMAX", X, out=t("INT16", scale=1 / 32768, point=0)),
    ),
    ("litert", "hard-swish", op("HARD_SWISH", X), op("HARD_SWISH", X, out=t(scale=0.5 / 128))),
    (
        "litert",
        "no-int16-values",
        op("SCATTER_ND", INDEX, X, INDEX, out=X),
        op("SCATTER_ND", INDEX, t("INT16"), INDEX),
    ),
    ("litert", "blocks", dense(FLOAT, BLOCKS, out=FLOAT), dense(w=BLOCKS)),
    (
        *("litert", "blocks", dense(FLOAT, BLOCKS, out=FLOAT)),
        dense(FLOAT, t("INT4", (1, 32), [0.5, 0.5], block=16, constant=True), out=FLOAT),
    ),
    (
        *("xnnpack", "fixed-logistic-16", op("LOGISTIC", X, out=HALF)),
        op("LOGISTIC", t("INT16"), out=t("INT16", scale=0.25)),
    ),
    ("xnnpack", "same-split", op("SPLIT", INDEX, X), op("SPLIT", INDEX, X, out=(X, t(scale=0.50000006)))),
    (MICRO, "no-blocks", dense(w=t("INT4", (4, 4), 0.1)), dense(w=BLOCKS)),
    (MICRO, "transposed-channels", transposed(FILTER), transposed(replace(DENSE, shape=(4, 1, 1, 4)))),
    (MICRO, "quantize-once", op("DEQUANTIZE", X, out=FLOAT), op("DEQUANTIZE", FILTER, out=FLOAT)),
    (MICRO, "quantized-filter", conv(), conv(w=replace(FILTER, quantization=None))),
    (
        *(MICRO, "table-zero-point", op("EMBEDDING_LOOKUP", INDEX, DENSE, out=FLOAT)),
        op("EMBEDDING_LOOKUP", INDEX, t(shape=(4, 4), point=3, constant=True), out=FLOAT),
    ),
    (MICRO, "five-dimensions", op("BATCH_MATMUL", X, X), op("BATCH_MATMUL", t(shape=(1,) * 6), t(shape=(1,) * 6))),
    (
        *("cmsis-nn", "constant-weights", op("SVDF", X, DENSE, t("INT16"), None, t("INT16"))),
        op("SVDF", X, replace(DENSE, constant=False), t("INT16"), None, t("INT16")),
    ),
    (ETHOS, "transposed-channels", transposed(DENSE), transposed(replace(DENSE, quantization=None))),
    (ETHOS, "quantized", op("RELU", X), op("RELU", replace(X, quantization=None))),
    (ETHOS, "constant-weights", conv(), conv(w=replace(FILTER, constant=False))),
    (ETHOS, "batch", conv(), conv(x=t(shape=(2, 4, 4, 4)))),
    (ETHOS, "dimensions", op("RELU", X), op("RELU", t(shape=(1, 70000)))),
    (ETHOS, "fused", conv(fused_activation_function=3), conv(fused_activation_function=5)),
    (ETHOS, "stride-convolution", conv(stride_w=4), conv(stride_w=5)),
    (ETHOS, "stride-convolution", conv(stride_h=4), conv(stride_h=5)),
    (ETHOS, "stride-window", pool(stride_h=3), pool(stride_h=4)),
    (ETHOS, "stride-transposed", transposed(FILTER), transposed(FILTER, stride_w=1)),
    (ETHOS, "pool-height", pool(filter_height=256), pool(filter_height=257)),
    (ETHOS, "beta", op("SOFTMAX", X, out=t(scale=1 / 256, point=-128), beta=1.0), op("SOFTMAX", X, out=HALF)),
    (ETHOS, "same-first-npu", op("RESHAPE", X, INDEX), op("RESHAPE", X, INDEX, out=t(scale=0.50000006))),
    (
        *(ETHOS, "weight-sum", conv(w=replace(FILTER, values=lambda: np.ones((2, 1, 1, 8323072), np.int8)))),
        conv(w=replace(FILTER, values=lambda: np.full((1, 1, 1, 8323073), -1, np.int8))),
    ),
    (
        *(
            ETHOS,
            "bias-40-bit",
            dense(b=replace(plain(2**39 - 1, type="INT64"), quantization=Quantization([0.05], [0]))),
        ),
        dense(b=replace(plain(2**39, type="INT64"), quantization=Quantization([0.05], [0]))),
    ),
    (
        *(
            ETHOS,
            "weight-sum-depthwise",
            op("DEPTHWISE_CONV_2D", X, replace(DEPTHWISE, values=lambda: ONES), **STRIDES),
        ),
        op("DEPTHWISE_CONV_2D", X, replace(DEPTHWISE, values=lambda: ONES.transpose(3, 0, 1, 2)), **STRIDES),
    ),
    (ETHOS, "slice-whole", op("STRIDED_SLICE", X, *SLICE), op("STRIDED_SLICE", X, *SLICE, ellipsis_mask=1)),
    (ETHOS, "slice-step", op("STRIDED_SLICE", X, *SLICE), op("STRIDED_SLICE", X, *SLICE[:2], plain(2))),
    ("gpu", "one-scale-activation", op("ABS", X), op("ABS", t(scale=[0.5] * 4))),
    ("gpu", "blocks", dense(), dense(w=replace(BLOCKS, type="INT8"))),
    ("gpu", "softmax-beta", op("SOFTMAX", FLOAT, beta=1.0), op("SOFTMAX", FLOAT, beta=2.0)),
    ("gpu", "dense-format", dense(), dense(weights_format=1)),
    ("gpu", "dense-input", dense(), dense(replace(DENSE, shape=(1, 4)))),
    *(
        ("gpu", "slice-masks", op("STRIDED_SLICE", X, *SLICE), op("STRIDED_SLICE", X, *SLICE, **{mask: 1}))
        for mask in ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    ),
    ("edgetpu", "three-dimensions", op("RELU", X), op("RELU", t(shape=(2, 4, 4, 4)))),
    ("edgetpu", "fused", pool(), pool(fused_activation_function=1)),
    ("edgetpu", "stride-one", op("STRIDED_SLICE", X, *SLICE), op("STRIDED_SLICE", X, *SLICE[:2], plain(2))),
    ("edgetpu", "softmax-size", op("SOFTMAX", X), op("SOFTMAX", t(shape=(1, 16001)))),
    ("edgetpu", "dense-format", dense(), dense(weights_format=1)),
]


@pytest.mark.parametrize(("target", "rule", "good", "bad"), RULES, ids=[f"{t}-{r}" for t, r, _, _ in RULES])
def test_a_rule_refuses_what_it_is_for(target: str, rule: str, good: Operation, bad: Operation) -> None:
    found = next(r for r in targets.load(target).rules if r.id == rule)
    assert found.concerns(good.operator)
    assert list(found.violations(good)) == []
    assert found.concerns(bad.operator)
    refused = list(found.violations(bad))
    assert refused
    assert set(refused) <= set(targets.load(target).violations(bad))


def test_a_scale_that_differs_by_a_bit() -> None:
    """The builtin kernels copy; XNNPACK compares exactly."""
    operation = op("PAD", X, INDEX, out=t(scale=0.50000006))
    assert targets.load("litert").violations(operation) == ()
    assert "refuses the whole model" in targets.load("xnnpack").violations(operation)[0].reason


#: Operations that test_targets.py tries by their reasons.
EXTRA = [dense(w=t("INT4", (4, 4), [0.1] * 4, constant=True)), dense(t("INT16"), t(shape=(4, 4), scale=[0.1] * 4))]


def test_every_rule_of_every_profile_is_tried() -> None:
    tables = (cases.REFUSED, cases.BUILTIN_ONLY, cases.BUILTIN, cases.XNNPACK, cases.NONSENSE)
    spoiled = [operation(Graph(bad.model(), 0), 0) for entries in tables for _, bad, _ in entries.values()]
    tried = {rule for _, rule, _, _ in RULES}
    for name in targets.NAMES:
        left = [r for r in targets.load(name).rules if r.id not in tried]
        fired = {r.id for r in left for o in spoiled + EXTRA if r.concerns(o.operator) and any(r.violations(o))}
        assert {r.id for r in left} - fired == set()

"""Convolutions. Filters: [O, H, W, I], depthwise [1, H, W, C * multiplier], 3-D [D, H, W, I, O]."""

from __future__ import annotations

from ..row import OWN, PRODUCTS, Integer, OperatorRow, Weight

_STATIC = ("INT8", "INT4", "UINT8")

# Hybrid kernels, by running them in LiteRT 2.3: CONV_2D int8 per channel or tensor and int4 per channel;
# DEPTHWISE_CONV_2D refuses a single scale and any int4; TRANSPOSE_CONV per channel; CONV_3D has none.
ROWS = (
    OperatorRow(
        "CONV_2D",
        "Conv2DOptions",
        (Weight(1, 0, ("INT8", "INT4"), rank=4, static=_STATIC),),
        bias=2,
        integer=Integer(OWN, least=PRODUCTS),
    ),
    OperatorRow(
        "DEPTHWISE_CONV_2D",
        "DepthwiseConv2DOptions",
        # The INT16 kernel reads packed INT4 as bytes, beyond their end (tflite/kernels/depthwise_conv.cc).
        (Weight(1, 3, ("INT8",), hybrid_channels=True, rank=4, static=_STATIC, wide=("INT8",)),),
        bias=2,
        integer=Integer(OWN, least=PRODUCTS),
    ),
    OperatorRow(
        "TRANSPOSE_CONV",
        "TransposeConvOptions",
        (Weight(1, 0, ("INT8",), hybrid_channels=True, rank=4, static=("INT8", "UINT8")),),
        bias=3,
        integer=Integer(OWN, data=(2,), least=PRODUCTS),
    ),
    OperatorRow("CONV_3D", "Conv3DOptions", (Weight(1, 4, rank=5),)),
    OperatorRow("CONV_3D_TRANSPOSE", "Conv3DOptions", (Weight(1, 3, rank=5),)),
)

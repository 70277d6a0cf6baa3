"""Operator versions: tflite/converter/tools/versioning/op_version.cc, for operators that hold a quantized tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from .reader import Graph, Operator, Tensor

# operator: version for INT8, for INT16; 1 for anything that isn't named
_PLAIN = """
ABS 2 3; EXP 2 2; LOG 2 2; SQRT 2 2; REDUCE_PROD 2 2; GELU 2 1; LEAKY_RELU 1 2; RELU 2 3; L2_NORMALIZATION 2 1
SQUARED_DIFFERENCE 2 1; SUM 2 1; LOG_SOFTMAX 2 1; SPACE_TO_DEPTH 2 1; DEPTH_TO_SPACE 2 1; GREATER 2 1
LESS_EQUAL 2 1; LESS 2 3; GREATER_EQUAL 2 3; EQUAL 2 5; NOT_EQUAL 2 4; MAX_POOL_2D 2 3; AVERAGE_POOL_2D 2 3
LOGISTIC 2 3; TANH 2 3; PACK 2 3; CONCATENATION 2 3; SOFTMAX 2 3; MEAN 2 3; MIRROR_PAD 2 3; REDUCE_MAX 2 3
REDUCE_MIN 2 3; RELU6 2 3; RSQRT 2 3; SPLIT 2 4; SPLIT_V 2 1; UNPACK 2 4; TILE 3 1; REVERSE_V2 3 1
BROADCAST_TO 3 3; FILL 3 3; TOPK_V2 2 3; ARG_MAX 2 1; ARG_MIN 2 1; DYNAMIC_UPDATE_SLICE 1 4; SPARSE_TO_DENSE 3 1
BATCH_MATMUL 2 3; SVDF 3 1; TRANSPOSE 2 5; GATHER 2 4; GATHER_ND 1 3; SLICE 2 4; STRIDED_SLICE 2 1; PAD 2 3
PADV2 2 3; SPACE_TO_BATCH_ND 2 4; BATCH_TO_SPACE_ND 2 4; RESIZE_BILINEAR 2 4; RESIZE_NEAREST_NEIGHBOR 2 4
MAXIMUM 2 4; MINIMUM 2 4; ADD 2 1; SUB 2 1; MUL 2 4
"""
_UINT8: Mapping[str, int] = MappingProxyType(
    {"ABS": 2, "RELU": 2, "GELU": 2, "UNPACK": 2, "BROADCAST_TO": 2, "SPARSE_TO_DENSE": 3}
)
_TABLE: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        name: (int(int8), int(int16))
        for name, int8, int16 in (line.split() for line in _PLAIN.replace("\n", ";").split(";") if line.strip())
    }
)
#: Input whose type decides, where that isn't the first one.
_DECIDING = MappingProxyType({"SPLIT": 1, "FILL": 1, "SPARSE_TO_DENSE": 2})


def expected(graph: Graph, operator: Operator) -> int:
    """Version that an operator's types ask for."""
    if operator.name in _SPECIAL:
        special = _SPECIAL[operator.name](graph, operator)
        if special is not None:
            return special
    first = graph.operand(operator, _DECIDING.get(operator.name, 0))
    if first is None or first.type not in ("INT8", "INT16", "UINT8"):
        return 1
    if first.type == "UINT8":
        return _UINT8.get(operator.name, 1)
    return _TABLE.get(operator.name, (1, 1))[first.type == "INT16"]


def _type(tensor: Tensor | None) -> str:
    return "" if tensor is None else tensor.type


def _types(graph: Graph, operator: Operator) -> tuple[str, str, str]:
    """Element types of the first two inputs and of the output."""
    return _type(graph.operand(operator, 0)), _type(graph.operand(operator, 1)), _type(graph.results(operator)[0])


def _per_channel(graph: Graph, operator: Operator, axis: int) -> bool:
    weights = graph.operand(operator, 1)
    return weights is not None and bool(weights.scale.size) and weights.scale.size == weights.shape[axis]


_HYBRID = ("FLOAT32", "INT8", "FLOAT32")


def _convolution(graph: Graph, operator: Operator) -> int:
    types = _types(graph, operator)
    x, w = graph.operand(operator, 0), graph.operand(operator, 1)
    if types == ("INT16", "INT8", "INT16") and operator.option("QuantizedBiasType"):
        return 8
    if x is not None and w is not None and len(x.shape) == 4 and len(w.shape) == 4 and x.shape[3] != w.shape[3]:
        return 6
    if types == _HYBRID:
        return 5 if _per_channel(graph, operator, 0) else 2
    return {("INT8", "INT8", "INT8"): 3, ("INT8", "INT4", "INT8"): 7}.get(types, 1)


def _depthwise(graph: Graph, operator: Operator) -> int:
    types = _types(graph, operator)
    if types == _HYBRID:
        return 6 if _per_channel(graph, operator, 3) else 4
    dilated = operator.option("DilationWFactor", 1) != 1 or operator.option("DilationHFactor", 1) != 1
    return {("INT8", "INT8", "INT8"): 3, ("INT8", "INT4", "INT8"): 7}.get(types, 2 if dilated else 1)


def _fully_connected(graph: Graph, operator: Operator) -> int:
    types, w = _types(graph, operator), graph.operand(operator, 1)
    chosen = (
        (types[1] == "INT2", 14),
        (types == ("INT16", "INT4", "INT16"), 13),
        (types == _HYBRID and _per_channel(graph, operator, 0), 12),
        (types == ("INT16", "INT8", "INT16") and bool(operator.option("QuantizedBiasType")), 11),
        (w is not None and w.sparse, 8),
        (types == ("INT16", "INT16", "INT16"), 7),
        (len(operator.inputs) == 2, 6),
        (bool(operator.option("KeepNumDims")), 5),
        (types == ("INT8", "INT8", "INT8"), 4),
        (types == ("INT8", "INT4", "INT8"), 10),
        (types == _HYBRID, 9 if operator.option("AsymmetricQuantizeInputs") else 3),
        (bool(operator.option("WeightsFormat")), 2),
    )
    return next((version for holds, version in chosen if holds), 1)


def _transpose_conv(graph: Graph, operator: Operator) -> int:
    if operator.option("FusedActivationFunction"):
        return 4
    if graph.operand(operator, 3) is not None:
        return 3
    return 2 if _type(graph.operand(operator, 1)) == "INT8" else 1


def _embedding(graph: Graph, operator: Operator) -> int:
    table = _type(graph.operand(operator, 1))
    if table == "INT4" or _per_channel(graph, operator, 0):
        return 4
    return 5 if table == "INT2" else 1


def _hybrid(weights: int, asymmetric: int, symmetric: int) -> Callable[[Graph, Operator], int | None]:
    """Version of an operator that takes integer weights with float activations; None where it doesn't."""

    def version(graph: Graph, operator: Operator) -> int | None:
        out = graph.results(operator)[0].type
        if _type(graph.operand(operator, weights)) != "INT8" or out != "FLOAT32":
            return None
        return asymmetric if operator.option("AsymmetricQuantizeInputs") else symmetric

    return version


def _lstm(graph: Graph, operator: Operator) -> int | None:
    if operator.name == "LSTM" and operator.option("KernelType"):
        return 2
    if operator.name != "LSTM" and operator.option("DiagonalRecurrentTensors"):
        return 4
    return _hybrid(2, *((4, 3) if operator.name == "LSTM" else (3, 2)))(graph, operator)


def _quantize(graph: Graph, operator: Operator) -> int:
    x, y = graph.operand(operator, 0), graph.results(operator)[0]
    for type, version in (("UINT4", 5), ("INT4", 4)):
        if type in (_type(x), y.type):
            return version
    return 3 if y.scale.size > 1 else 2 if y.type == "INT16" else 1


def _dequantize(graph: Graph, operator: Operator) -> int:
    x = graph.operand(operator, 0)
    if x is None:
        return 1
    per_channel = 5 if x.scale.size > 1 else 2
    by_type = {"UINT4": 8, "INT2": 7, "INT4": 6, "INT16": 3, "FLOAT16": 3, "INT8": per_channel}
    return by_type.get(x.type, 1)


def _sum_of_two(graph: Graph, operator: Operator) -> int | None:
    if _types(graph, operator)[::2] == ("INT16", "INT16"):
        if operator.option("PotScaleInt16", True):
            return 1
        return 3 if operator.name == "ADD" else 5
    return None if operator.name == "ADD" else _broadcast(3)(graph, operator)


def _mul(graph: Graph, operator: Operator) -> int | None:
    tensors = [graph.operand(operator, 0), graph.operand(operator, 1), graph.results(operator)[0]]
    scales = [t.scale[0] for t in tensors if t is not None and t.scale.size]
    if _type(tensors[0]) == "INT16" or len(scales) < 3 or not all(scales):
        return None
    return 3 if scales[0] * scales[1] / scales[2] >= 1 else None


def _broadcast(version: int) -> Callable[[Graph, Operator], int | None]:
    """Version where two inputs of different shapes have more than four axes."""

    def of(graph: Graph, operator: Operator) -> int | None:
        if operator.name in ("MAXIMUM", "MINIMUM") and _types(graph, operator)[::2] == ("INT16", "INT16"):
            return None
        shapes = [t.shape for t in (graph.operand(operator, 0), graph.operand(operator, 1)) if t is not None]
        return version if len(set(shapes)) > 1 and max(map(len, shapes)) > 4 else None

    return of


def _rank(graph: Graph, operator: Operator) -> int | None:
    """Versions that an operand's rank decides."""
    first = graph.operand(operator, 0)
    rank, type = (0, "") if first is None else (len(first.shape), first.type)
    if operator.name == "TRANSPOSE":
        return 8 if rank > 6 else 6 if rank > 5 else 4 if rank > 4 and type != "INT16" else None
    if operator.name in ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"):
        return 3 if rank != 4 and type != "INT16" else None
    if operator.name == "STRIDED_SLICE":
        if operator.option("Offset"):
            return 8
        masks = operator.option("EllipsisMask") or operator.option("NewAxisMask")
        return 6 if masks else 4 if rank > 4 else None
    if operator.name == "SELECT":
        ranks = [len(t.shape) for t in (graph.operand(operator, i) for i in range(3)) if t is not None]
        return 3 if 5 in ranks else 1
    return {"PAD": 4, "PADV2": 4, "SLICE": 5}[operator.name] if rank > 4 else None


def _resize(graph: Graph, operator: Operator) -> int | None:
    aligned = operator.name == "RESIZE_NEAREST_NEIGHBOR" and operator.option("AlignCorners")
    special = operator.option("HalfPixelCenters") or aligned
    return 3 if special and _type(graph.operand(operator, 0)) != "INT16" else None


def _gather(graph: Graph, operator: Operator) -> int | None:
    if _type(graph.operand(operator, 0)) == "INT4":
        return 7
    if _type(graph.operand(operator, 1)) == "INT16":
        return 6 if operator.name == "GATHER" else 4
    return 5 if operator.name == "GATHER" and operator.option("BatchDims") else None


_SPECIAL: Mapping[str, Callable[[Graph, Operator], int | None]] = MappingProxyType(
    {
        "CONV_2D": _convolution,
        "DEPTHWISE_CONV_2D": _depthwise,
        "FULLY_CONNECTED": _fully_connected,
        "TRANSPOSE_CONV": _transpose_conv,
        "EMBEDDING_LOOKUP": _embedding,
        "QUANTIZE": _quantize,
        "DEQUANTIZE": _dequantize,
        "ADD": _sum_of_two,
        "SUB": _sum_of_two,
        "MUL": _mul,
        "DIV": _broadcast(2),
        "MAXIMUM": _broadcast(3),
        "MINIMUM": _broadcast(3),
        "LSTM": _lstm,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
        "BIDIRECTIONAL_SEQUENCE_LSTM": _hybrid(1, 3, 2),
        "RNN": _hybrid(1, 3, 2),
        "UNIDIRECTIONAL_SEQUENCE_RNN": _hybrid(1, 3, 2),
        "BIDIRECTIONAL_SEQUENCE_RNN": _hybrid(1, 3, 2),
        "SVDF": _hybrid(1, 4, 2),
        "BATCH_MATMUL": _hybrid(1, 4, 1),
        "RESIZE_BILINEAR": _resize,
        "RESIZE_NEAREST_NEIGHBOR": _resize,
        "GATHER": _gather,
        "GATHER_ND": _gather,
        **dict.fromkeys(
            (
                "TRANSPOSE",
                "SPACE_TO_BATCH_ND",
                "BATCH_TO_SPACE_ND",
                "STRIDED_SLICE",
                "SELECT",
                "PAD",
                "PADV2",
                "SLICE",
            ),
            _rank,
        ),
    }
)

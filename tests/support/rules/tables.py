"""What integer kernels of LiteRT 2.3 take, one line an operator.

Sources: tflite/kernels/*.cc, tflite/converter/ir/tfl_ops.td, tflite/core/kernels/register.cc,
tflite/converter/tools/versioning/op_version.cc, and running one-operator files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

SMALL = ("INT8", "INT16", "UINT8", "INT4", "INT2", "UINT4")
BITS = MappingProxyType(
    {
        "FLOAT32": 32, "FLOAT16": 16, "FLOAT64": 64, "BFLOAT16": 16, "INT2": 2, "INT4": 4, "UINT4": 4, "INT8": 8,
        "UINT8": 8, "INT16": 16, "UINT16": 16, "INT32": 32, "UINT32": 32, "INT64": 64, "UINT64": 64, "BOOL": 8,
        "COMPLEX64": 64, "COMPLEX128": 128, "FLOAT8_E4M3FN": 8, "FLOAT8_E5M2": 8,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """What an operator's integer kernel asks.

    Attributes
    ----------
    inputs, outputs : tuple of int or None
        Operands that carry activations; None is all of them.
    rule : str
        ``own`` parameters for each, the ``same`` for all, ``fixed`` ones for the output, or ``input``: the output
        isn't quantized.
    types : tuple of str
    """

    inputs: tuple[int, ...] | None
    outputs: tuple[int, ...] | None
    rule: str
    types: tuple[str, ...]


# operator: activation inputs ("*" for all), rule, element types of activations
_ROWS = """
ABS 0 own 8 16; ADD 0,1 own 8 16 u8; SUB 0,1 own 8 16 u8; MUL 0,1 own 8 16 u8; DIV 0,1 own 8 16 u8
SQUARED_DIFFERENCE 0,1 own 8; MAXIMUM 0,1 same 8 16 u8; MINIMUM 0,1 same 8 16 u8
AVERAGE_POOL_2D 0 same 8 16 u8; MAX_POOL_2D 0 same 8 16 u8; CONCATENATION * same 8 16 u8
PACK * same 8 16 u8; UNPACK 0 same 8 16 u8; SPLIT 1 same 8 16 u8; SPLIT_V 0 same 8 16 u8; RESHAPE 0 same 8 16 u8
SQUEEZE 0 same 8 16 u8; EXPAND_DIMS 0 same 8 16 u8; TRANSPOSE 0 same 8 16 u8; PAD 0 same 8 16 u8
PADV2 0,2 same 8 16 u8; MIRROR_PAD 0 same 8 16 u8; SLICE 0 same 8 16 u8; STRIDED_SLICE 0 same 8 16 u8
GATHER 0 same 8 16 u8; GATHER_ND 0 same 8 16 u8; SCATTER_ND 1 same 8 u8; TILE 0 same 8 16 u8
BROADCAST_TO 0 same 8 16 u8; REVERSE_V2 0 same 8 16 u8; REVERSE_SEQUENCE 0 same 16 u8; SPACE_TO_DEPTH 0 same 8 u8
DEPTH_TO_SPACE 0 same 8 u8; SPACE_TO_BATCH_ND 0 same 8 16 u8; BATCH_TO_SPACE_ND 0 same 8 16 u8
RESIZE_BILINEAR 0 same 8 16 u8; RESIZE_NEAREST_NEIGHBOR 0 same 8 16 u8; MEAN 0 own 8 16 u8; SUM 0 own 8 16 u8
REDUCE_MAX 0 same 8 16 u8; REDUCE_MIN 0 same 8 16 u8; REDUCE_PROD 0 own 8 16; RELU 0 own 8 16 u8
RELU6 0 own 8 16 u8; RELU_N1_TO_1 0 own 8 u8; RELU_0_TO_1 0 own 8 u8; LEAKY_RELU 0 own 8 16 u8; PRELU 0,1 own 8 u8
ELU 0 own 8; HARD_SWISH 0 own 8 u8; GELU 0 own 8 16 u8; LOGISTIC 0 fixed 8 16 u8; TANH 0 fixed 8 16 u8
SOFTMAX 0 fixed 8 16 u8; LOG_SOFTMAX 0 fixed 8 u8; L2_NORMALIZATION 0 fixed 8 u8; EXP 0 own 8 16; LOG 0 own 8 16
SQRT 0 own 8 16; RSQRT 0 own 8 16; SELECT 1,2 same 8 16 u8; SELECT_V2 1,2 same 8 16 u8; TOPK_V2 0 same 8 16 u8
ARG_MAX 0 input 8 u8; ARG_MIN 0 input 8 u8; LESS 0,1 input 8 16 u8; LESS_EQUAL 0,1 input 8 16 u8
GREATER 0,1 input 8 16 u8; GREATER_EQUAL 0,1 input 8 16 u8; EQUAL 0,1 input 8 16 u8; NOT_EQUAL 0,1 input 8 16 u8
FILL 1 same 8 16; ONE_HOT 2,3 same 8 u8; SPARSE_TO_DENSE 2,3 same 8 u8; UNIQUE 0 same 8 16 u8
MATRIX_DIAG 0 same 8 16 u8; MATRIX_SET_DIAG 0,1 same 8 16 u8; DYNAMIC_UPDATE_SLICE 0,1 same 8 16 u8
SHAPE 0 input 8 16 u8; RANK 0 input 8 16 u8; DENSIFY 0 same 8
CONV_2D 0 own 8 16 u8; DEPTHWISE_CONV_2D 0 own 8 16 u8; FULLY_CONNECTED 0 own 8 16 u8; TRANSPOSE_CONV 2 own 8 16 u8
BATCH_MATMUL 0,1 own 8 16; SVDF 0 own 8; LSTM 0 own 8; UNIDIRECTIONAL_SEQUENCE_LSTM 0 own 8
EMBEDDING_LOOKUP 1 same 8 u8; TFLite_Detection_PostProcess * input u8
"""
_TYPES = {"8": "INT8", "16": "INT16", "u8": "UINT8"}


def _row(line: str) -> tuple[str, Row]:
    name, inputs, rule, *types = line.split()
    chosen = None if inputs == "*" else tuple(int(i) for i in inputs.split(","))
    outputs: tuple[int, ...] | None = () if rule == "input" else None
    if name in ("TOPK_V2", "UNIQUE"):
        outputs = (0,)  # the other one holds indices
    return name, Row(chosen, outputs, rule, tuple(_TYPES[t] for t in types))


ROWS: Mapping[str, Row] = MappingProxyType(dict(_row(r) for r in _ROWS.replace("\n", ";").split(";") if r.strip()))

#: Operators that pass tensors on to other subgraphs or keep them; the file's structure binds these.
PASSING = frozenset(
    {"WHILE", "IF", "CALL_ONCE", "STABLEHLO_COMPOSITE", "READ_VARIABLE", "ASSIGN_VARIABLE", "VAR_HANDLE"}
)

#: Type: scale and zero point that a kernel computes with, whatever the file says.
FIXED: Mapping[str, Mapping[str, tuple[float, int]]] = MappingProxyType(
    {
        "LOGISTIC": {"INT8": (2**-8, -128), "UINT8": (2**-8, 0), "INT16": (2**-15, 0)},
        "SOFTMAX": {"INT8": (2**-8, -128), "UINT8": (2**-8, 0), "INT16": (2**-15, 0)},
        "TANH": {"INT8": (2**-7, 0), "UINT8": (2**-7, 128), "INT16": (2**-15, 0)},
        "LOG_SOFTMAX": {"INT8": (2**-4, 127), "UINT8": (2**-4, 255)},
        "L2_NORMALIZATION": {"INT8": (2**-7, 0), "UINT8": (2**-7, 128)},
    }
)

#: QUANTIZE: tflite/kernels/quantize.cc (Prepare)
REQUANTIZE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "FLOAT32": ("INT8", "UINT8", "INT16", "INT4", "UINT4"),
        "INT16": ("INT8", "INT16", "INT32"),
        "INT32": ("INT8", "INT16"),
        "INT8": ("INT8", "UINT8", "INT16"),
        "UINT8": ("INT8", "UINT8", "INT16"),
    }
)
DEQUANTIZE = ("INT8", "UINT8", "INT16", "INT4", "INT2", "UINT4", "FLOAT16")


@dataclass(frozen=True, slots=True)
class Weighted:
    """Where an operator has its weights and bias, and along which axis channels lie."""

    activation: int
    weights: tuple[int, ...]
    axis: int
    bias: int | None
    per_channel: bool


WEIGHTED: Mapping[str, Weighted] = MappingProxyType(
    {
        "CONV_2D": Weighted(0, (1,), 0, 2, True),
        "DEPTHWISE_CONV_2D": Weighted(0, (1,), 3, 2, True),
        "FULLY_CONNECTED": Weighted(0, (1,), 0, 2, True),
        "TRANSPOSE_CONV": Weighted(2, (1,), 0, 3, True),
        "EMBEDDING_LOOKUP": Weighted(0, (1,), 0, None, True),
        "BATCH_MATMUL": Weighted(0, (1,), 0, None, False),
        "SVDF": Weighted(0, (1, 2), 0, None, False),
        "LSTM": Weighted(0, (*range(1, 12), 16, 20, 21, 22, 23), 0, None, False),
        "UNIDIRECTIONAL_SEQUENCE_LSTM": Weighted(0, (*range(1, 12), 16, 20, 21, 22, 23), 0, None, False),
        "BIDIRECTIONAL_SEQUENCE_LSTM": Weighted(0, (*range(1, 12), 16, *range(18, 29), 33), 0, None, False),
        "RNN": Weighted(0, (1, 2), 0, None, False),
        "UNIDIRECTIONAL_SEQUENCE_RNN": Weighted(0, (1, 2), 0, None, False),
        "BIDIRECTIONAL_SEQUENCE_RNN": Weighted(0, (1, 2, 4, 5), 0, None, False),
    }
)
LSTMS = ("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM")
#: Operators whose kernels take integer weights with float activations.
HYBRID = frozenset(WEIGHTED)
COMPARISONS = ("LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "EQUAL", "NOT_EQUAL")

#: Highest version that the resolver knows, where that isn't 1: tflite/core/kernels/register.cc
MAXIMUM: Mapping[str, int] = MappingProxyType(
    {
        name: int(version)
        for version, names in {
            "2": """EXP DIV DEPTH_TO_SPACE FAKE_QUANT FLOOR_MOD GREATER L2_NORMALIZATION LEAKY_RELU LESS_EQUAL LOG
                LOG_SOFTMAX RANGE REDUCE_PROD SELECT_V2 SIGN SIN COS SPACE_TO_DEPTH SQRT SQUARED_DIFFERENCE SQUEEZE
                SUM WHERE""",
            "3": """ARG_MAX ARG_MIN AVERAGE_POOL_2D BIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_RNN FLOOR_DIV
                GELU GREATER_EQUAL LESS LOGISTIC MAX_POOL_2D MEAN MIRROR_PAD REDUCE_MAX REDUCE_MIN RELU RELU6 RNN
                RSQRT SPARSE_TO_DENSE SPLIT_V TANH TILE TOPK_V2 UNIDIRECTIONAL_SEQUENCE_RNN""",
            "4": """BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_TO LSTM MAXIMUM MINIMUM NOT_EQUAL RESIZE_BILINEAR
                RESIZE_NEAREST_NEIGHBOR REVERSE_V2 SELECT SOFTMAX SPACE_TO_BATCH_ND SVDF
                UNIDIRECTIONAL_SEQUENCE_LSTM""",
            "5": "ABS EMBEDDING_LOOKUP EQUAL FILL PACK SPLIT SUB TRANSPOSE_CONV",
            "6": "ADD DYNAMIC_UPDATE_SLICE GATHER_ND PAD PADV2 QUANTIZE UNPACK",
            "7": "CONCATENATION DEPTHWISE_CONV_2D",
            "8": "CONV_2D GATHER MUL SLICE STRIDED_SLICE",
            "9": "CAST DEQUANTIZE TRANSPOSE",
            "14": "FULLY_CONNECTED",
        }.items()
        for name in names.split()
    }
)

#: Where the resolver of the reference kernels knows less: tflite/kernels/register_ref.cc
REFERENCE_MAXIMUM: Mapping[str, int] = MappingProxyType(
    {
        "ABS": 3, "ADD": 5, "ARG_MAX": 2, "ARG_MIN": 2, "COS": 1, "DEPTHWISE_CONV_2D": 6, "DEPTH_TO_SPACE": 1,
        "GELU": 2, "MUL": 7, "RANGE": 1, "SIN": 1, "SOFTMAX": 3, "SQUEEZE": 1, "STRIDED_SLICE": 4, "TILE": 2,
        "TRANSPOSE": 8, "UNIDIRECTIONAL_SEQUENCE_LSTM": 3, "CEIL": 0, "ELU": 0, "ROUND": 0, "SEGMENT_SUM": 0,
    }
)  # fmt: skip

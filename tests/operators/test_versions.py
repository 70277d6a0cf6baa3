"""Accepted versions and minimum runtimes, also against LiteRT itself; versions by activation type."""

from __future__ import annotations

from itertools import pairwise

import flatbuffers
import pytest
import tflite

from quantlib.errors import InvalidValue
from quantlib.operators._version_rules import RULES
from quantlib.operators._version_table import FIRST_VERSION, RUNTIMES
from quantlib.operators.versions import (
    Signature,
    accepted_versions,
    maximum_version,
    minimum_runtime,
    operator_version,
)

CODES = {name: code for name, code in vars(tflite.BuiltinOperator).items() if name.isupper()}


def numbers(runtime: str) -> tuple[int, ...]:
    return tuple(map(int, runtime.split(".")))


# ---- the tables


def test_rules_stay_within_the_accepted_versions() -> None:
    outside = {
        (operator, version)
        for operator, rules in RULES.items()
        for version, _ in rules
        if version not in (accepted_versions(operator) or ())
    }
    assert outside == {("LSTM", 5), ("UNIDIRECTIONAL_SEQUENCE_LSTM", 5)}


def test_every_operator_gets_an_accepted_version_without_any_condition_met() -> None:
    plain = {name: operator_version(Signature(name, ("bool", "bool", "bool"), ("bool",))) for name in RUNTIMES}
    assert [name for name, version in plain.items() if version not in (accepted_versions(name) or ())] == []


def test_size_of_the_table() -> None:
    # register.cc registers 172 operators; runtime_version.cc has 441 rows, one of them for none of these
    assert len(RUNTIMES) == 172
    assert sum(len(row.split()) for row in RUNTIMES.values()) == 440
    assert set(RUNTIMES) - set(CODES) == {"STABLEHLO_CASE"}
    assert set(FIRST_VERSION) < set(RUNTIMES)


def test_runtimes_never_decrease_with_the_version() -> None:
    for operator, row in RUNTIMES.items():
        runtimes = [numbers(runtime) for runtime in row.split()]
        assert all(earlier <= later for earlier, later in pairwise(runtimes)), operator


@pytest.mark.parametrize(
    ("operator", "first", "last", "runtimes"),
    [
        ("ADD", 1, 6, {1: "1.5.0", 3: "2.4.0", 6: "2.23.0"}),
        ("CONV_2D", 1, 8, {3: "1.14.0", 5: "2.4.0", 6: "2.9.0", 8: "2.15.0"}),
        ("DEPTHWISE_CONV_2D", 1, 7, {2: "1.12.0", 4: "2.2.0", 6: "2.3.0"}),
        ("DEQUANTIZE", 1, 9, {1: "1.13.1", 2: "1.14.0", 3: "1.15.0", 5: "2.7.0", 9: "2.23.0"}),
        (
            "FULLY_CONNECTED",
            1,
            14,
            {2: "1.10.0", 6: "2.1.0", 9: "2.3.0", 10: "2.11.0", 12: "2.17.0", 14: "2.21.0"},
        ),
        ("TRANSPOSE", 1, 9, {7: "2.14.4", 8: "2.22.0"}),
        ("TILE", 1, 3, {1: "1.10.1"}),
        ("QUANTIZE", 1, 6, {1: "1.14.0", 2: "1.15.0", 6: "2.21.0"}),
        ("BROADCAST_TO", 2, 4, {1: None, 2: "2.5.0", 4: "2.23.0", 5: None}),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", 1, 4, {0: None, 4: "2.12.0", 5: None}),
        ("CALL_ONCE", 1, 1, {1: "2.5.0"}),
        ("RELU_0_TO_1", 1, 1, {1: "2.10.0"}),
        ("STABLEHLO_CASE", 1, 1, {1: "2.17.0"}),
    ],
)
def test_rows(operator: str, first: int, last: int, runtimes: dict[int, str | None]) -> None:
    assert accepted_versions(operator) == range(first, last + 1)
    assert maximum_version(operator) == last
    assert {version: minimum_runtime([(operator, version)]) for version in runtimes} == runtimes


def test_operators_that_the_resolver_does_not_know() -> None:
    assert maximum_version("STABLEHLO_CBRT") is None
    assert minimum_runtime([("STABLEHLO_CBRT", 1)]) == "2.17.0"
    assert minimum_runtime([("STABLEHLO_CBRT", 2)]) is None
    for operator in ("CUSTOM", "DELEGATE", "STABLEHLO_ABS"):
        assert maximum_version(operator) is None
        assert accepted_versions(operator) is None


def test_minimum_runtime_compares_numbers() -> None:
    # 2.10.0, 2.9.0 and 1.15.0: as text "2.9.0" would be the greatest
    assert minimum_runtime([("RELU_0_TO_1", 1), ("GELU", 1), ("WHILE", 1)]) == "2.10.0"
    assert minimum_runtime([("GELU", 1), ("RELU_0_TO_1", 1)]) == "2.10.0"
    assert minimum_runtime([("ADD", 1), ("TILE", 1), ("EXPAND_DIMS", 1)]) == "1.10.1"


def test_minimum_runtime_skips_unknown_pairs() -> None:
    assert minimum_runtime([("CUSTOM", 1), ("ADD", 7), ("ADD", 0), ("ADD", -1), ("ADD", 2)]) == "1.14.0"
    assert minimum_runtime([("CUSTOM", 1), ("ADD", 7)]) is None
    assert minimum_runtime([]) is None


# ---- versions by activation type

# operator names: versions where everything is int8, is int16, is float32 (1 unless given)
BY_TYPE = {
    "SQUARED_DIFFERENCE SUM LOG_SOFTMAX SPACE_TO_DEPTH DEPTH_TO_SPACE GREATER LESS_EQUAL": (2, 1),
    "LESS GREATER_EQUAL TOPK_V2": (2, 3),
    "EQUAL": (2, 5),
    "NOT_EQUAL MAXIMUM MINIMUM SLICE GATHER SPLIT UNPACK MUL": (2, 4),
    "MAX_POOL_2D AVERAGE_POOL_2D LOGISTIC TANH PACK CONCATENATION SOFTMAX MEAN MIRROR_PAD": (2, 3),
    "REDUCE_MAX REDUCE_MIN RELU6 RSQRT RELU ABS PAD PADV2": (2, 3),
    "EXP LOG SQRT REDUCE_PROD": (2, 2),
    "GELU SPLIT_V STRIDED_SLICE ARG_MAX ARG_MIN L2_NORMALIZATION": (2, 1),
    "LEAKY_RELU": (1, 2),
    "RELU_N1_TO_1 RELU_0_TO_1 PRELU ELU HARD_SWISH RESHAPE EXPAND_DIMS MATRIX_DIAG SCATTER_ND": (1, 1),
    "REVERSE_SEQUENCE ONE_HOT NEG DIV SELECT_V2 SQUEEZE": (1, 1),
    "TRANSPOSE": (2, 5),
    "GATHER_ND": (1, 3),
    "TILE REVERSE_V2": (3, 1),
    "BROADCAST_TO": (3, 3, 2),
    "FLOOR_DIV": (3, 3, 2),
    "FLOOR_MOD": (2, 2),
    "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR": (2, 4),
    "ADD SUB": (2, 1),  # int16 with the schema's default, pot_scale_int16
    "CONV_3D CALL_ONCE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE IF WHILE SHAPE CUSTOM": (1, 1),
}


@pytest.mark.parametrize(
    ("operator", "versions"), [(name, row) for names, row in BY_TYPE.items() for name in names.split()]
)
def test_operator_version_by_activation_type(operator: str, versions: tuple[int, ...]) -> None:
    expected = (*versions, 1)[:3]
    indices = "int32" if operator in ("GATHER", "GATHER_ND") else None
    found = tuple(
        operator_version(Signature(operator, (element, indices or element), (element, element)))
        for element in ("int8", "int16", "float32")
    )
    assert found == expected


# ---- signatures


def test_element_types_are_taken_in_either_case() -> None:
    upper = Signature("CONV_2D", ("INT8", "INT4", None), ("INT8",))
    assert upper == Signature("CONV_2D", ("int8", "int4", None), ("int8",))
    assert operator_version(upper) == 7


@pytest.mark.parametrize(("inputs", "outputs"), [(("int7",), ("int8",)), (("int8",), ("i8",))])
def test_an_unknown_element_type_is_an_error(inputs: tuple[str], outputs: tuple[str]) -> None:
    with pytest.raises(InvalidValue, match=r"'(int7|i8)' is not an element type .* signature of ADD"):
        Signature("ADD", inputs, outputs)


@pytest.mark.parametrize("operator", sorted(RULES))
def test_operators_with_too_few_operands_have_a_version_too(operator: str) -> None:
    assert operator_version(Signature(operator, (), ())) >= 1


# ---- LiteRT


def only_an_operator_code(code: int, version: int) -> bytes:
    """Build a model whose subgraph is empty; the interpreter looks up every operator code nevertheless."""
    builder = flatbuffers.Builder(256)

    def vector(*offsets: int) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    tflite.OperatorCodeStart(builder)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(code, 127))
    tflite.OperatorCodeAddBuiltinCode(builder, code)
    tflite.OperatorCodeAddVersion(builder, version)
    codes = vector(tflite.OperatorCodeEnd(builder))
    tensors, inputs, outputs, operators = (vector() for _ in range(4))
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, tensors)
    tflite.SubGraphAddInputs(builder, inputs)
    tflite.SubGraphAddOutputs(builder, outputs)
    tflite.SubGraphAddOperators(builder, operators)
    subgraphs = vector(tflite.SubGraphEnd(builder))
    tflite.BufferStart(builder)
    buffers = vector(tflite.BufferEnd(builder))
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddOperatorCodes(builder, codes)
    tflite.ModelAddSubgraphs(builder, subgraphs)
    tflite.ModelAddBuffers(builder, buffers)
    builder.Finish(tflite.ModelEnd(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_litert_accepts_exactly_these_versions() -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert as the judge")

    def accepts(code: int, version: int) -> bool:
        try:
            interpreter.Interpreter(model_content=only_an_operator_code(code, version))
        except ValueError as error:
            if "Didn't find op for builtin opcode" not in str(error):
                raise
            return False
        return True

    # these are found by name, or not looked up at all
    others = {"CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"}
    accepted = {
        name: [version for version in range(1, 17) if accepts(code, version)]
        for name, code in CODES.items()
        if name not in others
    }
    assert accepted == {name: list(accepted_versions(name) or ()) for name in accepted}

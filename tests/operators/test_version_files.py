"""Versions computed for real files against those that the TensorFlow converter wrote into them."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import tflite
from flatbuffers.number_types import Int32Flags

from quantlib.operators.versions import Signature, minimum_runtime, operator_version

NAMES = {code: name for name, code in vars(tflite.BuiltinOperator).items() if name.isupper()}
TYPES = {code: name for name, code in vars(tflite.TensorType).items() if name.isupper()}
OPTIONS = {code: name for name, code in vars(tflite.BuiltinOptions).items() if not name.startswith("_")}

CONVERTERS = (b"MLIR Converted.", b"TOCO Converted.")
# quantized afterwards by a tool that leaves every version as the float model had it
LEFT_LOW = (
    "mnist_conv_fc_a8w8_int8",
    "mnist_quantized",
    "partly_quantized_mnist",
    "single_fc_bias_sub_channel_weight_only_sym_weight",
    "two_signatures_a8w8",
)
# an old weight quantizer raised FULLY_CONNECTED although its weights were too small, and stayed float
LEFT_HIGH = {"mlperf_kws_dscnn_dynamic": {"FULLY_CONNECTED": 3}}
# converters of TensorFlow up to 2.3 quantized after they had written the metadata
STALE_METADATA = (
    "mlperf_ad_toycar_dynamic",
    "mlperf_ad_toycar_int8",
    "mlperf_ic_resnet8_int8",
    "mlperf_kws_dscnn_dynamic",
    "mlperf_kws_dscnn_int8",
    "mlperf_vww_mobilenet_96_int8",
)
FOLDER = Path(os.environ.get("QUANTLIB_SHARED") or Path(__file__).parents[3] / "shared" / "models")
FILES = sorted(FOLDER.rglob("*.tflite")) if FOLDER.is_dir() else []


def model_codes(model: Any) -> list[tuple[str, int]]:
    """Name and version of each operator code."""
    codes = []
    for index in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(index)
        # not code.BuiltinCode(): below 127 that gives the deprecated field, which newer writers leave out
        slot = code._tab.Offset(10)
        builtin = code._tab.Get(Int32Flags, slot + code._tab.Pos) if slot else 0
        codes.append((NAMES[max(builtin, code.DeprecatedBuiltinCode())], code.Version()))
    return codes


def operator_options(operator: Any) -> dict[str, Any]:
    """Read the scalar fields of an operator's options."""
    name, union = OPTIONS[operator.BuiltinOptionsType()], operator.BuiltinOptions()
    if union is None:
        return {}
    options = getattr(tflite, name)()
    options.Init(union.Bytes, union.Pos)
    fields = [field for field in dir(options) if re.fullmatch(r"[A-Z]\w*", field) and field != "Init"]
    fields = [field for field in fields if not field.startswith(("GetRoot", name))]
    values = {}
    for field in fields:
        if not field.endswith(("Length", "AsNumpy", "IsNone")) and f"{field}Length" not in fields:
            values[re.sub(r"(?<!^)(?=[A-Z])", "_", field).lower()] = getattr(options, field)()
    return values


def model_signature(subgraph: Any, operator: Any, name: str) -> Signature:
    inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
    outputs = [operator.Outputs(i) for i in range(operator.OutputsLength())]
    tensors = [None if i < 0 else subgraph.Tensors(i) for i in inputs]
    results = [subgraph.Tensors(i) for i in outputs]

    def shape(tensor: Any) -> tuple[int, ...]:
        return tuple(tensor.Shape(i) for i in range(tensor.ShapeLength()))

    def scales(tensor: Any) -> list[float]:
        parameters = tensor and tensor.Quantization()
        return [parameters.Scale(i) for i in range(parameters.ScaleLength())] if parameters else []

    deciding = {"DEQUANTIZE": tensors[:1], "QUANTIZE": results[:1]}.get(name, tensors[1:2])
    count = len(scales(deciding[0])) if deciding else 0
    axis = {"CONV_2D": 0, "FULLY_CONNECTED": 0, "DEPTHWISE_CONV_2D": 3}.get(name)
    per_channel = count > 1 if axis is None else count == shape(deciding[0])[axis]
    first = [next(iter(scales(tensor)), None) for tensor in (*tensors[:2], *results[:1])]
    looked_at = tensors[:2] if name == "MUL" else tensors[:1]
    return Signature(
        name,
        tuple(tensor and TYPES[tensor.Type()] for tensor in tensors),
        tuple(TYPES[tensor.Type()] for tensor in results),
        operator_options(operator),
        tuple(tensor and shape(tensor) for tensor in tensors),
        tuple(first),
        per_channel,
        sparse=any(tensor and tensor.Sparsity() is not None for tensor in tensors[1:2]),
        quantized=any(tensor and tensor.Quantization() is not None for tensor in looked_at),
    )


def computed_versions(model: Any) -> dict[int, int]:
    """Highest computed version per operator code that is in use."""
    codes, versions = model_codes(model), defaultdict[int, int](int)
    for subgraph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for operator in map(subgraph.Operators, range(subgraph.OperatorsLength())):
            index = operator.OpcodeIndex()
            version = operator_version(model_signature(subgraph, operator, codes[index][0]))
            versions[index] = max(versions[index], version)
    return versions


def metadata_runtime(model: Any) -> str:
    for entry in map(model.Metadata, range(model.MetadataLength())):
        if entry.Name() == b"min_runtime_version":
            return bytes(model.Buffers(entry.Buffer()).DataAsNumpy()).rstrip(b"\0").decode()
    return ""


NO_FILES = pytest.param(FOLDER, marks=pytest.mark.skip(reason=f"no models in {FOLDER}; set QUANTLIB_SHARED"))


@pytest.mark.parametrize("path", FILES or [NO_FILES], ids=lambda path: path.stem)
def test_versions_that_the_converter_wrote(path: Path) -> None:
    model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
    if model.Description() not in CONVERTERS or path.stem in LEFT_LOW:
        pytest.skip("not written by the TensorFlow converter, or edited after it")
    codes, versions = model_codes(model), computed_versions(model)
    written = {codes[index] for index in versions if codes[index][0] != "CUSTOM"}
    computed = {(codes[index][0], version) for index, version in versions.items()}
    computed = {pair for pair in computed if pair[0] != "CUSTOM"}
    raised = LEFT_HIGH.get(path.stem, {})
    assert written == {(name, raised.get(name, version)) for name, version in computed}
    recorded = metadata_runtime(model)
    if recorded and path.stem not in STALE_METADATA:
        assert minimum_runtime(written) == recorded

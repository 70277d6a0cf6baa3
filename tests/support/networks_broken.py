"""Valid integer files, each with one thing made wrong; keyed by the rule that has to notice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.tflite import Draft, Inline, Model, Table, tensor_type_code
from tests.support.models import parameters
from tests.support.networks_integer import VALID

Change = Callable[["Edit"], object]


class Edit:
    """Changes to a file's tables, by the names of tensors and operators."""

    def __init__(self, model: Model) -> None:
        self.draft = Draft(Model(model.root))
        self.names = model.operator_names
        self.root: dict[str, Any] = {}

    def at(self, name: str, graph: int = 0) -> int:
        return [t.name for t in self.draft.graphs[graph].tensors].index(name)

    def tensor(self, name: str, graph: int = 0, **changes: Any) -> None:
        tensors, at = self.draft.graphs[graph].tensors, self.at(name, graph)
        if "type" in changes:
            changes["type"] = tensor_type_code(changes["type"])
        tensors[at] = tensors[at].replace(**changes)

    def scale(self, name: str, scale: Any, zero_point: Any = 0, axis: int = 0, graph: int = 0) -> None:
        self.tensor(name, graph, quantization=parameters(scale, zero_point, axis))

    def data(self, name: str, change: Callable[[Any], Any]) -> None:
        buffer = self.draft.graphs[0].tensors[self.at(name)].buffer
        raw = np.array(self.draft.buffers[buffer].data.numpy())
        self.draft.buffers[buffer] = Table("Buffer", data=Inline(change(raw)))

    def operator(self, name: str, graph: int = 0, **changes: Any) -> None:
        operators = self.draft.graphs[graph].operators
        at = next(i for i, o in enumerate(operators) if self.names[o.opcode_index] == name)
        operators[at] = operators[at].replace(**changes)

    def inputs(self, name: str, at: int, tensor: int | str, graph: int = 0) -> None:
        """Let an operator read another tensor."""
        operators = self.draft.graphs[graph].operators
        found = next(o for o in operators if self.names[o.opcode_index] == name)
        indices = found.inputs.tolist()
        indices[at] = tensor if isinstance(tensor, int) else self.at(tensor, graph)
        self.operator(name, graph, inputs=indices)

    def code(self, name: str, **changes: Any) -> None:
        at = self.names.index(name)
        self.draft.codes[at] = self.draft.codes[at].replace(**changes)

    def done(self) -> bytes:
        model = self.draft.done()
        changed = {key: change(getattr(model.root, key)) for key, change in self.root.items()}
        return Model(model.root.replace(**changed)).to_bytes() if changed else model.to_bytes()


def _swapped(edit: Edit) -> None:
    graph = edit.draft.graphs[0]
    graph.operators[0:2] = graph.operators[1::-1]


def _unused(edit: Edit) -> None:
    edit.root["buffers"] = lambda buffers: (*buffers, Table("Buffer", data=Inline(np.ones(7, np.uint8))))


def _unread(edit: Edit) -> None:
    def change(subgraphs: Any) -> Any:
        graph = subgraphs[0]
        spare = next(t for t in graph.tensors if t.name == "conv/w").replace(name="spare")
        return (graph.replace(tensors=(*graph.tensors, spare)), *subgraphs[1:])

    edit.root["subgraphs"] = change


def _operator_of(name: str, custom: str | None = None) -> Change:
    """Another operator in place of ABS in the body of the loop."""

    def change(edit: Edit) -> None:
        like = Table("OperatorCode", builtin_code=32, custom_code=custom)
        index = edit.draft.coded(like, 1) if custom else edit.draft.code(name)
        edit.operator("ABS", 2, opcode_index=index, builtin_options=None)

    return change


def _signature(**changes: Any) -> Change:
    def change(edit: Edit) -> None:
        edit.draft.signatures[0] = edit.draft.signatures[0].replace(**changes)

    return change


def _inputs_of_init(edit: Edit) -> None:
    init = edit.draft.graphs[1]
    init.inputs = [edit.at("start", 1)]


def _low(edit: Edit, name: str, value: int) -> None:
    def change(raw: Any) -> Any:
        raw[0] = value
        return raw

    edit.data(name, change)


def _float_weights(edit: Edit) -> None:
    edit.tensor("rnn/r", type="FLOAT32", quantization=None)
    edit.data("rnn/r", lambda raw: np.zeros(4 * raw.size, np.uint8))


def _other_zero(edit: Edit) -> None:
    edit.scale("swish", 0.1, 3)
    edit.scale("scattered", 0.1, 3)


def _blockwise_axis(edit: Edit) -> None:
    tensor = edit.draft.graphs[0].tensors[edit.at("w")]
    edit.tensor("w", quantization=tensor.quantization.replace(quantized_dimension=1))


def _unwritten(edit: Edit) -> None:
    graph = edit.draft.graphs[0]
    graph.outputs.append(graph.add_tensor("nobody's", "INT8", ()))


#: Rule, file, change.
_MUTATIONS: tuple[tuple[str, str, Change], ...] = (
    ("scale_values", "layers", lambda e: e.scale("sum", 0.0)),
    ("scale_values", "layers", lambda e: e.scale("sum", -0.1)),
    ("scale_values", "layers", lambda e: e.scale("sum", np.nan)),
    ("scale_values", "layers", lambda e: e.scale("sum", np.inf)),
    ("scale_values", "layers", lambda e: e.scale("sum", np.float32(1e-39))),
    ("scale_values", "layers", lambda e: e.scale("conv/w", [0.1, 0.1, 0.0, 0.1])),
    ("scale_count", "layers", lambda e: e.scale("conv/w", [0.1, 0.1])),
    ("scale_count", "layers", lambda e: e.scale("conv/w", [0.1] * 4, axis=4)),
    ("zero_point_count", "layers", lambda e: e.tensor("sum", quantization=_raw([0.4], []))),
    ("zero_point_count", "layers", lambda e: e.tensor("conv/w", quantization=_raw([0.1] * 4, [0]))),
    ("zero_point_range", "layers", lambda e: e.scale("sum", 0.4, 128)),
    ("zero_point_range", "legacy", lambda e: e.scale("joined", 0.4, -1)),
    ("zero_point_range", "singles", lambda e: e.scale("w4", 0.1, 8)),
    ("symmetric_type", "wide", lambda e: e.scale("x", 1e-4, 1)),
    ("symmetric_type", "layers", lambda e: e.scale("dense/b", 1e-4, 1)),
    ("per_channel_zero", "layers", lambda e: e.scale("conv/w", [0.1] * 4, [0, 0, 1, 0])),
    ("per_channel_use", "layers", lambda e: e.scale("sum", [0.1] * 4, axis=3)),
    ("per_channel_use", "layers", lambda e: e.scale("bound", [0.1] * 4, axis=3)),
    ("per_channel_use", "singles", lambda e: e.scale("alpha", [0.1] * 8, axis=1)),
    ("per_channel_use", "lstm", lambda e: e.scale("w1", [0.1] * 5)),
    ("typed_scale", "layers", lambda e: e.scale("y", 0.1)),
    ("buffer_length", "layers", lambda e: e.data("conv/w", lambda raw: raw[:-1])),
    ("buffer_length", "layers", lambda e: e.data("conv/b", lambda raw: np.append(raw, raw))),
    ("buffer_length", "singles", lambda e: e.data("w4", lambda raw: np.append(raw, raw))),
    ("variable_data", "lstm", lambda e: e.tensor("state", buffer=e.draft.add_buffer(np.zeros(5, np.int8)))),
    ("same_scale", "layers", lambda e: e.scale("flat", 0.31, 1)),
    ("same_scale", "layers", lambda e: e.scale("flat", 0.3, 2)),
    ("same_scale", "layers", lambda e: e.scale("half1", 0.3, 2)),
    ("same_scale", "layers", lambda e: e.scale("bound", 0.3, 2)),
    ("same_scale", "layers", lambda e: e.scale("depthwise", 0.30000004, 1)),
    ("same_scale", "singles", lambda e: e.scale("pad", 0.2, 3)),
    ("same_scale", "singles", lambda e: e.scale("scattered", 0.2, 0)),
    ("fixed_output", "layers", lambda e: e.scale("classes", 1 / 256, -127)),
    ("fixed_output", "layers", lambda e: e.scale("classes", 1 / 255, -128)),
    ("zero_background", "singles", _other_zero),
    ("compared_scales", "wide", lambda e: e.inputs("LESS", 1, "dense")),
    ("scale_ratio", "singles", lambda e: e.scale("swish", 7e-4)),
    ("scale_ratio", "singles", lambda e: e.scale("difference", 1e-6)),
    ("scale_ratio", "layers", lambda e: e.scale("sum", 5e-7)),
    ("scale_ratio", "wide", lambda e: e.scale("sum", 5e-8)),
    ("general_scales", "wide", lambda e: e.operator("ADD", builtin_options=Table("AddOptions"))),
    ("general_scales", "wide", lambda e: e.operator("ADD", builtin_options=None)),
    ("kernel_exists", "loop", _operator_of("NEG")),
    ("kernel_exists", "loop", _operator_of("SIN")),
    ("kernel_exists", "loop", _operator_of("CAST")),
    ("kernel_exists", "loop", _operator_of("", "Unheard-of")),
    ("one_type", "layers", lambda e: e.tensor("dense", type="FLOAT32", quantization=None)),
    ("one_type", "layers", lambda e: e.tensor("bound", type="UINT8")),
    ("one_type", "wide", lambda e: e.scale("sum", 2e-3) or e.tensor("sum", type="INT8")),
    ("every_scale", "layers", lambda e: e.tensor("sum", quantization=None)),
    ("every_scale", "singles", lambda e: e.tensor("alpha", quantization=None)),
    ("stray_parameters", "layers", lambda e: e.scale("shape", 0.1)),
    ("stray_parameters", "singles", lambda e: e.scale("paddings", 0.1)),
    ("quantize_pair", "layers", lambda e: e.tensor("x_int8", type="INT32")),
    ("quantize_pair", "layers", lambda e: e.tensor("x_int8", quantization=None)),
    ("quantize_pair", "layers", lambda e: e.tensor("requantized", type="INT4")),
    ("dequantize_type", "layers", lambda e: e.tensor("y", type="FLOAT16")),
    ("dequantize_type", "layers", lambda e: e.tensor("classes", type="INT32")),
    ("dequantize_type", "hybrid", lambda e: e.tensor("factor_int8", quantization=None)),
    ("hybrid_weights", "hybrid", lambda e: e.tensor("dense/w", type="UINT8")),
    ("hybrid_weights", "hybrid", lambda e: e.scale("depthwise/w", 0.1)),
    ("hybrid_weights", "hybrid", _float_weights),
    ("weight_symmetry", "layers", lambda e: e.scale("conv/w", 0.1, 1)),
    ("weight_symmetry", "hybrid", lambda e: e.scale("rnn/w", 0.1, 1)),
    ("weight_range", "layers", lambda e: _low(e, "conv/w", 0x80)),
    ("weight_range", "singles", lambda e: _low(e, "w4", 0x81)),
    ("weight_range", "singles", lambda e: _low(e, "w4", 0x18)),
    ("weight_range", "hybrid", lambda e: _low(e, "dense/w", 0x80)),
    ("weight_axis", "layers", lambda e: e.scale("conv/w", [0.1] * 3, axis=3)),
    ("weight_axis", "layers", lambda e: e.scale("depthwise/w", [0.1] * 3, axis=1)),
    ("weight_axis", "legacy", lambda e: e.scale("w", [0.02] * 4)),
    ("weight_type", "layers", lambda e: e.tensor("conv/w", type="UINT8")),
    ("weight_type", "layers", lambda e: e.tensor("conv/w", quantization=None)),
    ("weight_type", "wide", lambda e: e.tensor("dense/w", type="INT16")),
    ("weight_type", "legacy", lambda e: e.tensor("w", type="INT8")),
    ("bias_present", "layers", lambda e: e.inputs("CONV_2D", 2, -1)),
    ("bias_type", "layers", lambda e: e.tensor("dense/b", type="INT64")),
    ("bias_type", "wide", lambda e: e.tensor("conv/b", type="INT32")),
    ("bias_type", "wide", lambda e: e.operator("FULLY_CONNECTED", builtin_options=Table("FullyConnectedOptions"))),
    ("bias_type", "hybrid", lambda e: e.tensor("depthwise/b", type="INT32", quantization=parameters(0.1))),
    ("bias_scale", "layers", lambda e: e.scale("x_int8", 0.1000001, 3)),
    ("bias_scale", "layers", lambda e: e.scale("dense/b", 0.003)),
    ("bias_scale", "wide", lambda e: e.scale("conv/b", np.float32([1e-6, 2e-6, 3e-6, 4.1e-6]))),
    ("bias_scale", "legacy", lambda e: e.scale("b", np.nextafter(np.float32(0.1) * np.float32(0.02), 1, dtype="f4"))),
    ("svdf_layout", "svdf", lambda e: e.scale("bias", 1e-3)),
    ("svdf_layout", "svdf", lambda e: e.tensor("time", type="INT8")),
    ("svdf_layout", "svdf", lambda e: e.operator("SVDF", builtin_options=Table("SVDFOptions", rank=1))),
    ("lstm_layout", "lstm", lambda e: e.scale("state", 1 / 64)),
    ("lstm_layout", "lstm", lambda e: e.tensor("state", is_variable=False)),
    ("lstm_layout", "lstm", lambda e: e.scale("cell", 1e-4)),
    ("lstm_layout", "lstm", lambda e: e.tensor("cell", type="INT8")),
    ("lstm_layout", "lstm", lambda e: e.scale("b2", 1e-4)),
    ("lstm_layout", "lstm", lambda e: e.tensor("b0", type="INT64")),
    ("lstm_layout", "lstm", lambda e: e.scale("r1", [0.1] * 5)),
    ("lstm_layout", "lstm", lambda e: e.scale("hidden", 1 / 64)),
    ("lstm_layout", "lstm", lambda e: e.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", intermediates=None)),
    ("lstm_layout", "lstm", lambda e: e.tensor("hidden", type="FLOAT32", quantization=None)),
    ("lstm_layout", "lstm_normalized", lambda e: e.tensor("gate2", type="FLOAT32", quantization=None)),
    ("lstm_layout", "lstm_normalized", lambda e: e.scale("b1", 0.0002)),
    ("lstm_layout", "lstm_normalized", lambda e: e.scale("projection/b", 1e-4)),
    ("lstm_layout", "lstm_normalized", lambda e: e.tensor("norm1", type="INT8")),
    ("weight_axis", "blockwise", _blockwise_axis),
    ("exact_version", "rarer", lambda e: e.code("CONV_2D", version=3)),
    ("exact_version", "rarer", lambda e: e.code("TRANSPOSE_CONV", version=2)),
    ("exact_version", "rarer", lambda e: e.code("EMBEDDING_LOOKUP", version=1)),
    ("written_before_read", "layers", _swapped),
    ("written_before_read", "layers", _unwritten),
    ("written_before_read", "layers", lambda e: e.operator("ADD", outputs=[e.at("conv")])),
    ("written_before_read", "lstm", lambda e: e.tensor("state", is_variable=False)),
    ("control_flow", "loop", lambda e: e.scale("x", 0.1, 4)),
    ("control_flow", "loop", lambda e: e.scale("x", 0.1, 4, graph=1)),
    ("control_flow", "loop", lambda e: e.scale("looped", 0.11, 3)),
    ("control_flow", "loop", lambda e: e.scale("y", 0.11, 3, graph=2)),
    ("control_flow", "loop", lambda e: e.scale("chosen", 0.2, 2)),
    ("control_flow", "loop", lambda e: e.scale("y", 0.2, 2, graph=4)),
    ("control_flow", "loop", lambda e: e.tensor("y", 3, type="FLOAT32", quantization=None)),
    ("control_flow", "variable", _inputs_of_init),
    ("control_flow", "loop", lambda e: e.operator("IF", builtin_options=Table("IfOptions", then_subgraph_index=9))),
    ("variables", "variable", lambda e: e.scale("old", 0.2, 3)),
    ("variables", "variable", lambda e: e.scale("start", 0.1, 4, graph=1)),
    ("signatures", "layers", _signature(subgraph_index=3)),
    ("signatures", "layers", _signature(inputs=[Table("TensorMap", name="in", tensor_index=1)])),
    ("signatures", "layers", _signature(outputs=[Table("TensorMap", name="probabilities", tensor_index=0)])),
    ("signatures", "layers", _signature(signature_key="renamed")),
    ("unused_buffers", "layers", _unused),
    ("unread_constants", "layers", _unread),
    ("operator_codes", "layers", lambda e: e.code("QUANTIZE", deprecated_builtin_code=None)),
    ("known_version", "layers", lambda e: e.code("FULLY_CONNECTED", version=15)),
    ("known_version", "layers", lambda e: e.code("RESHAPE", version=2)),
    ("exact_version", "layers", lambda e: e.code("CONV_2D", version=1)),
    ("exact_version", "layers", lambda e: e.code("CONV_2D", version=5)),
    ("exact_version", "hybrid", lambda e: e.code("FULLY_CONNECTED", version=9)),
    ("exact_version", "wide", lambda e: e.code("ADD", version=2)),
)  # fmt: skip


def _raw(scale: list[float], zero_point: list[int]) -> Table:
    return Table("QuantizationParameters", scale=scale, zero_point=zero_point)


#: Name: rule and the broken file's maker.
MUTATIONS: Mapping[str, tuple[str, str, Change]] = MappingProxyType(
    {f"{rule}-{i}-{file}": (rule, file, change) for i, (rule, file, change) in enumerate(_MUTATIONS)}
)


def broken(name: str) -> bytes:
    """File of a mutation."""
    _, file, change = MUTATIONS[name]
    edit = Edit(VALID[file]())
    change(edit)
    return edit.done()

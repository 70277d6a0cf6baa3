"""Small models built in code, each with something that a rewriter can get wrong."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.numerics import pack
from quantlib.tflite import Draft, GraphDraft, Model, Table, plan_layout


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def weights(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return rng(seed).normal(0, 1, shape).astype(np.float32)


def constant(draft: Draft, graph: GraphDraft, name: str, type: str, array: Any, **fields: Any) -> int:
    """Add a constant tensor; INT4 and INT2 values are packed."""
    shape = np.shape(array)
    stored = pack(array, type) if type in ("INT4", "INT2", "UINT4") else np.asarray(array)
    return graph.add_tensor(name, type, shape, buffer=draft.add_buffer(stored), **fields)


def parameters(scale: Any, zero_point: Any = 0, axis: int = 0, **fields: Any) -> Table:
    scale = np.atleast_1d(np.asarray(scale, np.float32))
    points = np.broadcast_to(np.asarray(zero_point, np.int64), scale.shape)
    return Table("QuantizationParameters", scale=scale, zero_point=points, quantized_dimension=axis, **fields)


def fully_connected(draft: Draft, graph: GraphDraft, x: int, w: int, b: int, y: int, **fields: Any) -> None:
    options = Table("FullyConnectedOptions", **fields)
    graph.append(draft.operator("FULLY_CONNECTED", [x, w, b], [y], options))


def relu(draft: Draft, graph: GraphDraft, shape: tuple[int, ...] = (1, 4), **fields: Any) -> tuple[int, int]:
    """Make the graph one RELU; for models whose point is elsewhere."""
    x = graph.add_tensor("x", "FLOAT32", shape, **fields)
    y = graph.add_tensor("y", "FLOAT32", shape, **fields)
    graph.append(draft.operator("RELU", [x], [y]))
    graph.inputs, graph.outputs = [x], [y]
    return x, y


def signature(key: str, inputs: Mapping[str, int], outputs: Mapping[str, int], subgraph: int = 0) -> Table:
    def ends(of: Mapping[str, int]) -> list[Table]:
        return [Table("TensorMap", name=n, tensor_index=i) for n, i in of.items()]

    return Table(
        "SignatureDef",
        inputs=ends(inputs),
        outputs=ends(outputs),
        signature_key=key,
        subgraph_index=subgraph,
    )


# ---- the models ------------------------------------------------------------------------------------------


def dense() -> Model:
    """Two float layers, with a signature, a description and runtime metadata."""
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", "FLOAT32", (1, 32))
    h = graph.add_tensor("hidden", "FLOAT32", (1, 48))
    y = graph.add_tensor("y", "FLOAT32", (1, 8))
    w1 = constant(draft, graph, "w1", "FLOAT32", weights(48, 32, seed=1))
    b1 = constant(draft, graph, "b1", "FLOAT32", weights(48, seed=2))
    w2 = constant(draft, graph, "w2", "FLOAT32", weights(8, 48, seed=3))
    fully_connected(draft, graph, x, w1, b1, h, fused_activation_function=1)
    fully_connected(draft, graph, h, w2, -1, y)
    graph.inputs, graph.outputs = [x], [y]
    draft.signatures.append(signature("serving_default", {"input": x}, {"output": y}))
    draft.set_metadata("min_runtime_version", b"1.14.0".ljust(16, b"\0"))
    model = draft.done()
    return Model(model.root.replace(description="two layers"))


def convolution() -> Model:
    """Quantized per channel in int8, with a weight shared by two tensors of different scales."""
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", "INT8", (1, 6, 6, 3), quantization=parameters(0.05, 3))
    kernel = rng(4).integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    w = constant(draft, graph, "w", "INT8", kernel, quantization=parameters(0.01 * (1 + np.arange(4)), 0))
    bias = np.arange(4, dtype=np.int32)
    b = constant(
        draft, graph, "b", "INT32", bias, quantization=parameters(np.float32(0.05) * 0.01 * (1 + np.arange(4)))
    )
    y = graph.add_tensor("y", "INT8", (1, 4, 4, 4), quantization=parameters(0.5, -7))
    other = graph.tensors[w].replace(name="w_again", quantization=parameters(0.02 * (1 + np.arange(4)), 0))
    graph.tensors.append(other)
    z = graph.add_tensor("z", "INT8", (1, 4, 4, 4), quantization=parameters(0.5, -7))
    options = Table("Conv2DOptions", padding=1, stride_w=1, stride_h=1)
    graph.append(draft.operator("CONV_2D", [x, w, b], [y], options, version=3))
    graph.append(draft.operator("CONV_2D", [x, len(graph.tensors) - 2, b], [z], options, version=3))
    graph.inputs, graph.outputs = [x], [y, z]
    # the bias of the second kernel has its own scale, so give it its own tensor on the same buffer
    graph.tensors.append(
        graph.tensors[b].replace(
            name="b_again", quantization=parameters(np.float32(0.05) * 0.02 * (1 + np.arange(4)))
        )
    )
    graph.operators[1] = graph.operators[1].replace(inputs=[x, len(graph.tensors) - 3, len(graph.tensors) - 1])
    return draft.done()


def branches() -> Model:
    """Three subgraphs under IF, and three signatures on two of them."""
    draft = Draft()
    draft.graphs += [GraphDraft.of(Table("SubGraph", name=name)) for name in ("then", "else")]
    main, then, other = draft.graphs
    main.table = main.table.replace(name="main")
    c = main.add_tensor("condition", "BOOL", ())
    x = main.add_tensor("x", "FLOAT32", (1, 4))
    y = main.add_tensor("y", "FLOAT32", (1, 4))
    options = Table("IfOptions", then_subgraph_index=1, else_subgraph_index=2)
    main.append(draft.operator("IF", [c, x], [y], options))
    main.inputs, main.outputs = [c, x], [y]
    shared = draft.add_buffer(weights(1, 4, seed=5))
    for graph, name, kind in ((then, "ADD", "AddOptions"), (other, "MUL", "MulOptions")):
        a = graph.add_tensor("x", "FLOAT32", (1, 4))
        k = graph.add_tensor("k", "FLOAT32", (1, 4), buffer=shared)
        b = graph.add_tensor("y", "FLOAT32", (1, 4))
        graph.append(draft.operator(name, [a, k], [b], Table(kind)))
        graph.inputs, graph.outputs = [a], [b]
    draft.signatures += [
        signature("main", {"c": c, "x": x}, {"y": y}),
        signature("then", {"x": 0}, {"y": 2}, 1),
        signature("then_again", {"x": 0}, {"y": 2}, 1),
    ]
    return draft.done()


def dynamic_shape() -> Model:
    """A batch dimension that the caller chooses."""
    draft = Draft()
    relu(draft, draft.graphs[0], shape_signature=[-1, 4], has_rank=True)
    return draft.done()


def custom_operator() -> Model:
    """Operators that no runtime knows, with options."""
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", "FLOAT32", (1, 4))
    y = graph.add_tensor("y", "FLOAT32", (1, 4))
    like = Table("OperatorCode", builtin_code=32, custom_code="Unheard-of")
    for options in (b"\1\2\3", b"", None):
        graph.append(
            Table(
                "Operator",
                opcode_index=draft.coded(like, 2),
                inputs=[x, -1],
                outputs=[y],
                custom_options=None if options is None else np.frombuffer(options, np.uint8),
                mutating_variable_inputs=[True, False],
            )
        )
    graph.inputs, graph.outputs = [x], [y]
    return draft.done()


def variables() -> Model:
    """A recurrent state that lives in the model."""
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", "FLOAT32", (1, 6))
    w = constant(draft, graph, "w", "FLOAT32", weights(5, 6, seed=6))
    r = constant(draft, graph, "r", "FLOAT32", 0.1 * weights(5, 5, seed=7))
    b = constant(draft, graph, "b", "FLOAT32", weights(5, seed=8))
    state = graph.add_tensor("state", "FLOAT32", (1, 5), is_variable=True)
    y = graph.add_tensor("y", "FLOAT32", (1, 5))
    options = Table("RNNOptions", fused_activation_function=4)
    graph.append(draft.operator("RNN", [x, w, r, b, state], [y], options, mutating_variable_inputs=[False] * 5))
    graph.inputs, graph.outputs = [x], [y]
    return draft.done()


def csr(dense: Any, index_kind: str = "Int32Vector") -> tuple[Any, Table]:
    """Store a matrix as rows of (column, value): its stored values, and the ``SparsityParameters``."""
    rows = [np.flatnonzero(row) for row in dense]
    segments = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    indices = np.concatenate(rows) if rows else np.zeros(0, int)
    table = Table(
        "SparsityParameters",
        traversal_order=[0, 1],
        dim_metadata=[
            Table("DimensionMetadata", format=0, dense_size=len(dense)),
            Table(
                "DimensionMetadata",
                format=1,
                array_segments=Table("Int32Vector", values=segments),
                array_indices=Table(index_kind, values=indices),
            ),
        ],
    )
    return dense[np.asarray(dense) != 0], table


def sparse() -> Model:
    """Pruned weights, stored without their zeros, behind DENSIFY."""
    draft = Draft()
    graph = draft.graphs[0]
    w = weights(8, 16, seed=9) * (rng(10).random((8, 16)) < 0.2)
    stored, sparsity = csr(w.astype(np.float32), "Uint8Vector")
    x = graph.add_tensor("x", "FLOAT32", (1, 16))
    buffer = draft.add_buffer(stored)
    packed = graph.add_tensor("w_sparse", "FLOAT32", (8, 16), buffer=buffer, sparsity=sparsity)
    full = graph.add_tensor("w", "FLOAT32", (8, 16))
    y = graph.add_tensor("y", "FLOAT32", (1, 8))
    graph.append(draft.operator("DENSIFY", [packed], [full], Table("DensifyOptions")))
    fully_connected(draft, graph, x, full, -1, y)
    graph.inputs, graph.outputs = [x], [y]
    return draft.done()


def blockwise() -> Model:
    """INT4 weights with a scale for every 32 of them, held by a tensor of its own that nobody else names."""
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", "FLOAT32", (1, 64))
    scales = constant(draft, graph, "scales", "FLOAT16", np.full((8, 2), 0.125, np.float16))
    details = Table("BlockwiseQuantization", scales=scales, zero_points=-1, block_size=32)
    values = rng(11).integers(-8, 8, (8, 64)).astype(np.int8)
    quantization = Table("QuantizationParameters", details=details)
    w = constant(draft, graph, "w", "INT4", values, quantization=quantization)
    y = graph.add_tensor("y", "FLOAT32", (1, 8))
    fully_connected(draft, graph, x, w, -1, y)
    graph.inputs, graph.outputs = [x], [y]
    return draft.done()


def custom_quantization() -> Model:
    """Quantization that only its author can read."""
    draft = Draft()
    x, _ = relu(draft, draft.graphs[0])
    details = Table("CustomQuantization", custom=np.arange(37, dtype=np.uint8))
    quantization = parameters(0.25, 1, details=details, min=[-1.0], max=[2.0])
    draft.graphs[0].tensors[x] = draft.graphs[0].tensors[x].replace(quantization=quantization)
    return draft.done()


CONTROL_DEPENDENCIES = bytes([1, 1, 1, 0, 2])  # version 1, one subgraph, one pair: operator 0 before operator 1


def annotated() -> Model:
    """Metadata of several kinds, one entry sharing a buffer, control dependencies, debug indices."""
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", "FLOAT32", (1, 4))
    h = graph.add_tensor("h", "FLOAT32", (1, 4))
    y = graph.add_tensor("y", "FLOAT32", (1, 4))
    graph.append(draft.operator("RELU", [x], [h], debug_metadata_index=3))
    graph.append(draft.operator("TANH", [h], [y], debug_metadata_index=0))
    graph.inputs, graph.outputs = [x], [y]
    graph.table = graph.table.replace(debug_metadata_index=7)
    draft = Draft(draft.done())  # dependencies name operators that stand already
    draft.set_metadata("model_control_dependencies", CONTROL_DEPENDENCIES)
    draft.set_metadata("opaque", bytes(range(200)))
    draft.metadata.append(Table("Metadata", name="opaque_too", buffer=draft.metadata[-1].buffer))
    model = draft.done()
    return Model(model.root.replace(metadata_buffer=[1]))


def nameless() -> Model:
    """Tensors, subgraphs and signatures without names."""
    draft = Draft()
    graph = draft.graphs[0]
    relu(draft, graph)
    graph.tensors = [t.replace(name=None) for t in graph.tensors]
    return draft.done()


def old_codes() -> Model:
    """As files were before operator codes outgrew a byte: only the deprecated field."""
    model = dense()
    codes = [c.replace(builtin_code=None, version=None) for c in model.root.operator_codes]
    return Model(model.root.replace(operator_codes=codes, signature_defs=None, metadata=None))


def new_codes() -> Model:
    """An operator whose code doesn't fit a byte."""
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", "FLOAT32", (1, 4))
    y = graph.add_tensor("y", "FLOAT32", (1, 4))
    graph.append(draft.operator("GELU", [x], [y], Table("GeluOptions", approximate=True)))
    graph.inputs, graph.outputs = [x], [y]
    return draft.done()


def empty_vectors() -> Model:
    """Vectors that are present without an element, beside ones that are absent; an empty buffer each."""
    draft = Draft()
    graph = draft.graphs[0]
    x, y = relu(draft, graph)
    draft.add_buffer(np.zeros(0, np.uint8))
    draft.set_metadata("empty", b"")
    graph.tensors[y] = graph.tensors[y].replace(
        quantization=Table("QuantizationParameters", scale=[], zero_point=[], min=[], max=[]),
        shape_signature=[],
        buffer=len(draft.buffers),
    )
    draft.buffers.append(Table("Buffer"))
    graph.tensors[x] = graph.tensors[x].replace(quantization=Table("QuantizationParameters"))
    graph.operators[0] = graph.operators[0].replace(intermediates=[])
    model = draft.done()
    return Model(model.root.replace(description="", signature_defs=()))


def no_buffers() -> Model:
    """Not even buffer 0."""
    draft = Draft()
    relu(draft, draft.graphs[0])
    model = draft.done()
    return Model(model.root.replace(buffers=None))


def archive() -> bytes:
    """Make a ZIP as TFLite metadata appends it: labels, stored without compression, and a comment."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr(zipfile.ZipInfo("labels.txt"), "cat\ndog\n")
        made.writestr(zipfile.ZipInfo("größe/vocab.txt"), "a\nb\n" * 50)
        made.comment = b"associated files"
    return file.getvalue()


def with_archive() -> bytes:
    """Return the bytes of a model with a ZIP appended the way `zipfile` does it in append mode."""
    file = io.BytesIO(dense().to_bytes())
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a") as made:
        made.writestr(zipfile.ZipInfo("labels.txt"), "cat\ndog\n")
        made.writestr(zipfile.ZipInfo("größe/vocab.txt"), "a\nb\n" * 50)
        made.comment = b"associated files"
    return file.getvalue()


def outside() -> bytes:
    """Return the bytes of a model whose weights stand behind the FlatBuffer, by offset and size."""
    layout = plan_layout(dense(), limit=64)
    assert layout.external
    return assemble(layout)


def assemble(layout: Any) -> bytes:
    """Put a layout together in memory."""
    out = bytearray(layout.size)
    for placement in layout.placements:
        raw = placement.data.numpy().tobytes()
        out[placement.start : placement.start + len(raw)] = raw
    return bytes(out)


LARGE_OPTIONS = bytes(range(256)) * 3


def large_options() -> bytes:
    """Return the bytes of a model whose custom options stand behind the FlatBuffer, by offset and size."""
    model = custom_operator()
    for offset in (1 << 40, None):
        at = offset or -(-len(raw) // 16) * 16  # noqa: F821  (made in the first turn)
        first = (
            model.subgraphs[0]
            .operators[0]
            .replace(
                custom_options=None, large_custom_options_offset=at, large_custom_options_size=len(LARGE_OPTIONS)
            )
        )
        operators = (first, *model.subgraphs[0].operators[1:])
        root = model.root.replace(subgraphs=[model.subgraphs[0].replace(operators=operators)])
        raw = Model(root).to_bytes()
    return raw + bytes(at - len(raw)) + LARGE_OPTIONS


def shared_vector() -> bytes:
    """Return the bytes of a model in which two buffers lead to one vector."""
    draft = Draft()
    graph = draft.graphs[0]
    x = graph.add_tensor("x", "FLOAT32", (1, 64))
    y = graph.add_tensor("y", "FLOAT32", (1, 64))
    a = constant(draft, graph, "a", "FLOAT32", weights(1, 64, seed=12))
    b = constant(draft, graph, "b", "FLOAT32", weights(1, 64, seed=13))
    graph.append(draft.operator("ADD", [x, a], [y], Table("AddOptions")))
    graph.append(draft.operator("MUL", [y, b], [x], Table("MulOptions")))
    graph.inputs, graph.outputs = [x], [y]
    model = draft.done()
    raw = bytearray(model.to_bytes())
    places = [raw.index(model.buffers[i].data.numpy().tobytes()) - 4 for i in (1, 2)]
    for field in range(0, len(raw) - 4, 4):  # the offset that leads to the second vector
        if field + struct.unpack_from("<I", raw, field)[0] == places[1]:
            struct.pack_into("<I", raw, field, places[0] - field)
    return bytes(raw)


def two_axes() -> Model:
    """Details that no runtime reads yet; external buffers; a variant tensor."""
    draft = Draft()
    graph = draft.graphs[0]
    x, _ = relu(draft, graph)
    details = Table("MultiAxisQuantization", scales=0, zero_points=-1, block_size=2, quantized_dimensions=[0, 1])
    graph.tensors[x] = graph.tensors[x].replace(quantization=Table("QuantizationParameters", details=details))
    variant = Table("VariantSubType", shape=[2, 3], type=1, has_rank=True)
    graph.tensors.append(Table("Tensor", type=14, variant_tensors=[variant, variant]))
    graph.tensors.append(Table("Tensor", name="elsewhere", type=0, shape=[4], external_buffer=5))
    graph.outputs += [len(graph.tensors) - 2, len(graph.tensors) - 1]
    model = draft.done()
    root = model.root.replace(
        external_buffer_groups=[Table("ExternalBufferGroup", name="weights.bin")],
        external_buffers=[Table("ExternalBuffer", id=5, offset=1 << 33, length=16, packing="none")],
    )
    return Model(root)


BUILT: Mapping[str, Callable[[], Model | bytes]] = MappingProxyType(
    {
        f.__name__: f
        for f in (
            dense,
            convolution,
            branches,
            dynamic_shape,
            custom_operator,
            variables,
            sparse,
            blockwise,
            custom_quantization,
            annotated,
            nameless,
            old_codes,
            new_codes,
            empty_vectors,
            no_buffers,
            with_archive,
            outside,
            large_options,
            shared_vector,
            two_axes,
        )
    }
)


@cache
def built(name: str) -> bytes:
    """File of a model of `BUILT`."""
    made = BUILT[name]()
    return made if isinstance(made, bytes) else made.to_bytes()

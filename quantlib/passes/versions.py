"""Operator versions and the runtime that a model asks for, after a change of types."""

from __future__ import annotations

from quantlib.operators import Signature, minimum_runtime, operator_version
from quantlib.tflite import Draft, GraphDraft, Table, builtin_operators, tensor_types

#: Version of FULLY_CONNECTED with sparse weights.
SPARSE_VERSION = 8
_RUNTIME = "min_runtime_version"
_RUNTIME_BYTES = 16  # flatbuffer_export.cc pads the entry with NULs to this length


def name_of(code: Table) -> str:
    """Operator name of an operator code; CUSTOM for all custom ones."""
    number: int = max(code.builtin_code, code.deprecated_builtin_code)
    return builtin_operators()[number]


def signature_of(draft: Draft, graph: GraphDraft, operator: Table) -> Signature:
    """What of an operator decides its version."""
    inputs = [] if operator.inputs is None else operator.inputs.tolist()
    outputs = [] if operator.outputs is None else operator.outputs.tolist()
    tables = [graph.tensors[t] if t >= 0 else None for t in inputs]
    options = operator.builtin_options
    weights = tables[1] if len(tables) > 1 else None
    scales = [_scale(t) for t in (*tables, *(graph.tensors[t] for t in outputs[:1]))]
    return Signature(
        name_of(draft.codes[operator.opcode_index]),
        tuple(None if t is None else tensor_types()[t.type] for t in tables),
        tuple(tensor_types()[graph.tensors[t].type] for t in outputs),
        options={} if options is None else dict(options.stored()),
        input_shapes=tuple(None if t is None or t.shape is None else tuple(t.shape.tolist()) for t in tables),
        scales=tuple(scales),
        per_channel=_per_channel(weights) or (bool(tables) and _channels(tables[0]) > 1),
        sparse=weights is not None and weights.sparsity is not None,
    )


def _per_channel(weights: Table | None) -> bool:
    """As many scales as channels; a single channel with its scale counts too (op_signature.cc)."""
    if weights is None or not _channels(weights) or weights.shape is None or not weights.shape.size:
        return False
    axis = weights.quantization.quantized_dimension
    return bool(0 <= axis < weights.shape.size and _channels(weights) == weights.shape[axis])


def _channels(table: Table | None) -> int:
    quantization = table.quantization if table is not None else None
    return 0 if quantization is None or quantization.scale is None else int(quantization.scale.size)


def _scale(table: Table | None) -> float | None:
    return float(table.quantization.scale[0]) if table is not None and _channels(table) == 1 else None


def raise_version(draft: Draft, graph: GraphDraft, operator: Table) -> Table:
    """Return an operator in the version that its types ask for; a version is never lowered.

    But for that of FULLY_CONNECTED with sparse weights, which says nothing else: XNNPACK takes an operator of just
    that version for one whose weights are sparse, and of no other (tflite/delegates/xnnpack/xnnpack_delegate.cc).
    """
    code = draft.codes[operator.opcode_index]
    needed = operator_version(signature_of(draft, graph, operator))
    if name_of(code) != "FULLY_CONNECTED" or SPARSE_VERSION not in (needed, code.version):
        needed = max(needed, code.version)
    return operator if needed == code.version else operator.replace(opcode_index=draft.coded(code, needed))


def update_runtime(draft: Draft) -> None:
    """Let the entry ``min_runtime_version``, where the model has one, follow its operators."""
    entry = next((e for e in draft.metadata if e.name == _RUNTIME), None)
    if entry is None:
        return
    used = {o.opcode_index for g in draft.graphs for o in g.operators}
    needed = minimum_runtime((name_of(draft.codes[i]), draft.codes[i].version) for i in used)
    data = draft.buffers[entry.buffer].data
    present = b"" if data is None else data.numpy().tobytes().rstrip(b"\0")
    if needed is None or _numbers(needed.encode()) <= _numbers(present):
        return
    draft.set_metadata(_RUNTIME, needed.encode().ljust(_RUNTIME_BYTES, b"\0")[:_RUNTIME_BYTES])


def _numbers(version: bytes) -> tuple[int, ...]:
    parts = version.split(b".")
    return tuple(int(p) for p in parts) if all(p.isdigit() for p in parts) else ()

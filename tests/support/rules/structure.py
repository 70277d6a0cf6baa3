"""Rules of the file: order, control flow, variables, signatures, buffers, operator codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from .finding import Finding, parameters
from .operands import holds_quantized
from .reader import File, Graph, Operator, Tensor, each
from .tables import MAXIMUM
from .versions import expected

#: Where a finding stands, and what it is.
Placed = Iterator[tuple[Graph | None, Operator | None, Finding]]
_PLACEHOLDER = 127  # tflite/converter/schema/schema_conversion_utils.cc


def written_before_read(file: File, _: File | None) -> Placed:
    """Operators stand in order of execution; a tensor has one writer."""
    for graph in file.graphs:
        known = {t.index for t in graph.tensors if t.constant or t.variable} | set(graph.inputs)
        for operator in graph.operators:
            for index in operator.inputs:
                if index >= 0 and index not in known:
                    found = Finding("read before it is written", "a writer before it", graph.tensors[index])
                    yield graph, operator, found
            for index in operator.outputs:
                if index in known:
                    yield graph, operator, Finding("written again", "one writer", graph.tensors[index])
                known.add(index)
        for index in graph.outputs:
            if index not in known:
                yield graph, None, Finding("an output that nobody writes", "a writer", graph.tensors[index])


def control_flow(file: File, _: File | None) -> Placed:
    """Tensors that go to another subgraph, and come back, keep type, scale and zero point."""
    for graph, operator in each(file):
        for index, sides in _called(operator):
            if not 0 <= index < len(file.graphs):
                yield graph, operator, Finding(f"subgraph {index}", f"below {len(file.graphs)}")
                continue
            other = file.graphs[index]
            for mine, theirs in sides(other):
                if len(mine) != len(theirs):
                    yield graph, operator, Finding(f"{len(mine)} tensors", f"{len(theirs)} of subgraph {index}")
                for a, b in zip(mine, theirs, strict=False):
                    if a >= 0 and graph.tensors[a].parameters != other.tensors[b].parameters:
                        required = f"{parameters(other.tensors[b])} of subgraph {index}"
                        yield graph, operator, Finding(parameters(graph.tensors[a]), required, graph.tensors[a])


Sides = Callable[[Graph], list[tuple[Sequence[int], Sequence[int]]]]


def _called(operator: Operator) -> Iterator[tuple[int, Sides]]:
    """Subgraphs that an operator calls, and which of its tensors are which of theirs."""
    ins, outs = operator.inputs, operator.outputs
    if operator.name == "WHILE":
        yield operator.option("CondSubgraphIndex"), lambda other: [(ins, other.inputs)]
        yield operator.option("BodySubgraphIndex"), lambda other: [(ins, other.inputs), (outs, other.outputs)]
        # what comes back goes in again
        yield operator.option("BodySubgraphIndex"), lambda other: [(outs, other.inputs)]
    elif operator.name == "IF":
        for option in ("ThenSubgraphIndex", "ElseSubgraphIndex"):
            yield operator.option(option), lambda other: [(ins[1:], other.inputs), (outs, other.outputs)]
    elif operator.name == "CALL_ONCE":
        yield operator.option("InitSubgraphIndex"), lambda other: [((), other.inputs), ((), other.outputs)]
    elif operator.name == "STABLEHLO_COMPOSITE":
        yield (
            operator.option("DecompositionSubgraphIndex"),
            lambda other: [(ins, other.inputs), (outs, other.outputs)],
        )


def variables(file: File, _: File | None) -> Placed:
    """A resource variable has one type, scale and zero point, wherever it is read or assigned."""
    first: dict[tuple[bytes, bytes], Tensor] = {}
    for graph in file.graphs:
        handles = {
            o.outputs[0]: (o.option("Container", b"") or b"", o.option("SharedName", b"") or b"")
            for o in graph.operators
            if o.name == "VAR_HANDLE"
        }
        for operator in graph.operators:
            if operator.name not in ("READ_VARIABLE", "ASSIGN_VARIABLE"):
                continue
            key = handles.get(operator.inputs[0])
            tensor = graph.tensors[operator.inputs[1] if operator.name[0] == "A" else operator.outputs[0]]
            if key is not None and first.setdefault(key, tensor).parameters != tensor.parameters:
                yield graph, operator, Finding(parameters(tensor), f"{parameters(first[key])} as elsewhere", tensor)


def signatures(file: File, original: File | None) -> Placed:
    """Signatures name inputs and outputs of their subgraph; keys and names stay what they were."""
    for ends in file.signatures:
        if not 0 <= ends.subgraph < len(file.graphs):
            yield None, None, Finding(f"signature {ends.key!r} of subgraph {ends.subgraph}", "an existing one")
            continue
        graph = file.graphs[ends.subgraph]
        for what, named, listed in (
            ("input", ends.inputs, graph.inputs),
            ("output", ends.outputs, graph.outputs),
        ):
            for name, index in named:
                if index not in listed:
                    found = f"{what} {name!r} of signature {ends.key!r} is tensor {index}"
                    yield graph, None, Finding(found, f"one of {list(listed)}")
    if original is not None:
        now, before = ([_named(ends) for ends in f.signatures] for f in (file, original))
        if now != before:
            yield None, None, Finding(f"signatures {now}", f"{before}, as in the original")


def _named(ends: object) -> tuple[object, ...]:
    key, inputs, outputs = (getattr(ends, field) for field in ("key", "inputs", "outputs"))
    return key, tuple(n for n, _ in inputs), tuple(n for n, _ in outputs)


def unused_buffers(file: File, original: File | None) -> Placed:
    """Data belongs to a tensor or to a metadata entry; buffers of the original that nobody refers to may stay."""
    if original is not None and any(_unused(original)):
        return
    for index in _unused(file):
        found = f"buffer {index} of {file.buffer_sizes[index]} bytes that nobody refers to"
        yield None, None, Finding(found, "none such")


def _unused(file: File) -> Iterator[int]:
    # buffer 0 is nobody's, and the converter leaves empty ones behind
    used = {t.buffer for graph in file.graphs for t in graph.tensors if t.buffer} | file.metadata_buffers
    for index, size in enumerate(file.buffer_sizes):
        if size and index not in used:
            yield index


def unread_constants(file: File, original: File | None) -> Placed:
    """A constant that nobody reads any more only makes the file larger."""
    for graph in file.graphs:
        if original is not None and graph.index < len(original.graphs) and any(_unread(original.graphs[graph.index])):
            continue  # as it came
        for tensor in _unread(graph):
            yield graph, None, Finding(f"{tensor.size} bytes that nobody reads", "a reader", tensor)


def _unread(graph: Graph) -> Iterator[Tensor]:
    scales = {t.scales_tensor for t in graph.tensors}
    for tensor in graph.tensors:
        if tensor.size and not graph.readers.get(tensor.index) and tensor.index not in (*graph.outputs, *scales):
            yield tensor


def operator_codes(file: File, original: File | None) -> Placed:
    """Readers that know only the old field find the code there, or 127: schema_conversion_utils.cc.

    Writers from before the new field leave that one out; a rewriter may leave such a code as it is.
    """
    as_they_came = set() if original is None else set(original.codes)
    for index, code in enumerate(file.codes):
        number = max(code.stored, code.deprecated)
        required = min(number, _PLACEHOLDER)
        if code.deprecated != required and code not in as_they_came:
            found = f"operator code {index} {code.name} with deprecated_builtin_code {code.deprecated}"
            yield None, None, Finding(found, required)


def known_version(file: File, _: File | None) -> Placed:
    """The resolver has the version."""
    for index, code in enumerate(file.codes):
        most = MAXIMUM.get(code.name, 1)
        if code.builtin and code.version > most:
            yield None, None, Finding(f"operator code {index} {code.name} version {code.version}", f"at most {most}")


def exact_version(file: File, original: File | None) -> Placed:
    """The version that a code's users ask for; a higher one only as in the original, or for a float user.

    An operator that stands in the original with the same types and another version may stay so.
    """
    before = set() if original is None else {(code.name, code.version) for code in original.codes}
    as_it_came = set() if original is None else {key for key, *_ in _off(original)}
    for key, graph, operator in _off(file):
        name, found, required = key
        if key in as_it_came or (found > required and (name, found) in before):
            continue
        yield graph, operator, Finding(f"version {found}", required)
    for graph, operator in each(file):
        code = file.codes[operator.code]
        if original is not None and code.builtin and not holds_quantized(graph, operator):
            versions = sorted(version for name, version in before if name == code.name)
            if versions and code.version not in versions:
                found_ = f"version {code.version} of a float operator"
                yield graph, operator, Finding(found_, f"{versions}, as in the original")


def _off(file: File) -> Iterator[tuple[tuple[str, int, int], Graph, Operator]]:
    """Codes whose version isn't the highest that a user asks for: name, version, what is asked for; and the user."""
    needed: dict[int, tuple[int, Graph, Operator]] = {}
    floats = {operator.code for graph, operator in each(file) if not holds_quantized(graph, operator)}
    for graph, operator in each(file):
        if file.codes[operator.code].builtin and holds_quantized(graph, operator):
            version = expected(graph, operator)
            if version > needed.get(operator.code, (0,))[0]:
                needed[operator.code] = version, graph, operator
    for index, (version, graph, operator) in needed.items():
        code = file.codes[index]
        if code.version < version or (code.version > version and index not in floats):
            yield (code.name, code.version, version), graph, operator


RULES: Mapping[str, Callable[[File, File | None], Placed]] = MappingProxyType(
    {
        f.__name__: f
        for f in (
            written_before_read, control_flow, variables, signatures, unused_buffers, unread_constants,
            operator_codes, known_version, exact_version,
        )
    }
)  # fmt: skip

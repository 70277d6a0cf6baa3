"""After an edit: drop what lost its last user, and let every index follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from . import dependencies
from .data import Inline
from .table import Table

_DEPENDENCIES = "model_control_dependencies"


def compact(root: Table, before: Table, origins: list[list[int | None]]) -> Table:
    """Drop tensors, buffers and operator codes that an edit left without a user.

    What had no user before the edit either is left alone: it isn't the edit's business.

    Parameters
    ----------
    root, before : Table
        The ``Model`` after and before the edit.
    origins : list of list of (int or None)
        For each subgraph and operator, its index before the edit.
    """
    root = _drop_tensors(root, before)
    root = _drop_buffers(root, before)
    root = _drop_codes(root, before)
    return _remap_dependencies(root, before, origins)


def _kept(count: int, used: set[int], used_before: set[int], count_before: int) -> tuple[list[int], dict[int, int]]:
    """Indices to keep, and where each goes: all but those that lost their users, and new ones without any."""
    keep = [i for i in range(count) if i in used or (i < count_before and i not in used_before)]
    return keep, {old: new for new, old in enumerate(keep)}


def tensors_in_use(root: Table, g: int) -> set[int]:
    """Tensors of a subgraph that an operator, the subgraph's ends or a signature refers to."""
    graph = root.subgraphs[g]
    used: set[int] = set()
    vectors = [graph.inputs, graph.outputs]
    for operator in graph.operators or ():
        vectors += [operator.inputs, operator.outputs, operator.intermediates]
    for vector in vectors:
        if vector is not None:
            used.update(vector.tolist())
    for signature in root.signature_defs or ():
        if signature.subgraph_index == g:
            used.update(e.tensor_index for e in (*(signature.inputs or ()), *(signature.outputs or ())))
    for i in list(used):
        details = graph.tensors[i].quantization.details if i >= 0 and graph.tensors[i].quantization else None
        if details is not None and details.kind != "CustomQuantization":
            used.update(t for t in (details.scales, details.zero_points) if t >= 0)
    used.discard(-1)
    return used


def _drop_tensors(root: Table, before: Table) -> Table:
    subgraphs = list(root.subgraphs)
    signatures = list(root.signature_defs or ())
    for g, graph in enumerate(subgraphs):
        was = before.subgraphs[g] if g < len(before.subgraphs) else Table("SubGraph")
        used_before = tensors_in_use(before, g) if g < len(before.subgraphs) else set()
        keep, place = _kept(len(graph.tensors or ()), tensors_in_use(root, g), used_before, len(was.tensors or ()))
        if len(keep) == len(graph.tensors or ()):
            continue
        place[-1] = -1
        subgraphs[g] = graph.replace(
            tensors=[_moved_details(graph.tensors[i], place) for i in keep],
            inputs=_moved(graph.inputs, place),
            outputs=_moved(graph.outputs, place),
            operators=[
                o.replace(**{k: _moved(getattr(o, k), place) for k in ("inputs", "outputs", "intermediates")})
                for o in graph.operators or ()
            ],
        )
        for s, signature in enumerate(signatures):
            if signature.subgraph_index == g:
                ends = {k: _moved_ends(getattr(signature, k), place) for k in ("inputs", "outputs")}
                signatures[s] = signature.replace(**ends)
    return root.replace(subgraphs=subgraphs, signature_defs=signatures or root.signature_defs)


def _moved(vector: Any, place: dict[int, int]) -> Any:
    return None if vector is None else np.array([place[i] for i in vector.tolist()], np.int32)


def _moved_ends(entries: tuple[Table, ...] | None, place: dict[int, int]) -> list[Table] | None:
    return None if entries is None else [e.replace(tensor_index=place[e.tensor_index]) for e in entries]


def _moved_details(tensor: Table, place: dict[int, int]) -> Table:
    """Follow the tensors that hold blockwise scales."""
    details = tensor.quantization.details if tensor.quantization is not None else None
    if details is None or details.kind == "CustomQuantization":
        return tensor
    moved = details.replace(
        scales=place.get(details.scales, details.scales),
        zero_points=place.get(details.zero_points, details.zero_points),
    )
    return tensor.replace(quantization=tensor.quantization.replace(details=moved))


def _users(root: Table) -> Counter[int]:
    """How many tensors and metadata entries refer to each buffer."""
    users: Counter[int] = Counter()
    for graph in root.subgraphs or ():
        users.update(t.buffer for t in graph.tensors or ())
    users.update(entry.buffer for entry in root.metadata or ())
    return users


def buffers_in_use(root: Table) -> set[int]:
    """Buffers that a tensor or a metadata entry refers to, and buffer 0."""
    used = {0, *_users(root)}
    if root.metadata_buffer is not None:
        used.update(root.metadata_buffer.tolist())
    return used


def _drop_buffers(root: Table, before: Table) -> Table:
    count = len(root.buffers or ())
    keep, place = _kept(count, buffers_in_use(root), buffers_in_use(before), len(before.buffers or ()))
    if len(keep) == count:
        return root
    subgraphs = [
        graph.replace(tensors=[t.replace(buffer=place.get(t.buffer, t.buffer)) for t in graph.tensors or ()])
        for graph in root.subgraphs
    ]
    metadata = [entry.replace(buffer=place[entry.buffer]) for entry in root.metadata or ()]
    return root.replace(
        buffers=[root.buffers[i] for i in keep],
        subgraphs=subgraphs,
        metadata=metadata or root.metadata,
        metadata_buffer=_moved(root.metadata_buffer, place),
    )


def _drop_codes(root: Table, before: Table) -> Table:
    """Drop codes without users; where codes changed, the most used one goes first: index 0 needn't be stored."""
    uses = Counter(o.opcode_index for g in root.subgraphs or () for o in g.operators or ())
    used_before = {o.opcode_index for g in before.subgraphs or () for o in g.operators or ()}
    if root.operator_codes == before.operator_codes and used_before <= set(uses):
        return root
    count = len(root.operator_codes or ())
    keep, _ = _kept(count, set(uses), used_before, len(before.operator_codes or ()))
    first = max(keep, key=lambda i: uses[i], default=0)
    keep = [first, *(i for i in keep if i != first)] if keep else keep
    place = {old: new for new, old in enumerate(keep)}
    subgraphs = [
        graph.replace(operators=[o.replace(opcode_index=place[o.opcode_index]) for o in graph.operators or ()])
        for graph in root.subgraphs
    ]
    return root.replace(operator_codes=[root.operator_codes[i] for i in keep], subgraphs=subgraphs)


def _remap_dependencies(root: Table, before: Table, origins: list[list[int | None]]) -> Table:
    """Ordering hints name operators by index; those follow too."""
    identity = [list(range(len(g.operators or ()))) for g in before.subgraphs]
    if origins == identity:
        return root
    places = [{old: new for new, old in enumerate(graph) if old is not None} for graph in origins]
    return with_dependencies(root, lambda raw: dependencies.remapped(raw, places))


def with_dependencies(root: Table, change: Callable[[bytes], bytes]) -> Table:
    """Return the model with other control dependencies, where it has any; who shares their buffer keeps it.

    Parameters
    ----------
    root : Table
        The ``Model``.
    change : callable
        From the entry's bytes to others.
    """
    entry = next((e for e in root.metadata or () if e.name == _DEPENDENCIES), None)
    data = None if entry is None else root.buffers[entry.buffer].data
    if data is None or entry is None:
        return root
    moved = Inline(change(data.numpy().tobytes()))
    alone = _users(root)[entry.buffer] == 1
    buffers = list(root.buffers)
    if alone:
        buffers[entry.buffer] = buffers[entry.buffer].replace(data=moved)
        return root.replace(buffers=buffers)
    metadata = [e.replace(buffer=len(buffers)) if e is entry else e for e in root.metadata]
    return root.replace(buffers=[*buffers, Table("Buffer", data=moved)], metadata=metadata)

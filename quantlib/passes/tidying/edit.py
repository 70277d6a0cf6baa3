"""`tidy`: a finished model without what does nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator
from dataclasses import replace

import numpy as np

from quantlib.tflite import Data, Draft, Model, plan_layout, require_models, tensor_types, without_unused

from ..edited import Edited, Line
from ..forms import ends_of
from .operators import Operators

#: Bytes that are hashed at a time.
_PIECE = 1 << 22
#: Types whose buffers hold no plain values.
_OPAQUE = ("STRING", "RESOURCE", "VARIANT")


def tidy(
    model: Model,
    *,
    merge_constants: bool = True,
    drop_unreachable: bool = True,
    remove_pairs: bool = True,
    remove_reshapes: bool = True,
    pack_tables: bool = True,
) -> Edited:
    """Take out of a model what does nothing; what it answers stays the same to the bit.

    Parameters
    ----------
    model : Model
    merge_constants : bool
        Let equal constants be one: buffers of equal bytes, and tensors that differ in their names alone.
    drop_unreachable : bool
        Drop operators whose results nobody reads, tensors, buffers, operator codes and subgraphs without a user.
        Operators with effects of their own stay: variables, CALL_ONCE, control flow, custom operators.
    remove_pairs : bool
        Remove conversions that give back what was there: DEQUANTIZE and QUANTIZE to the same scale, zero point and
        type, and QUANTIZE to INT8 or UINT8 and back.
    remove_reshapes : bool
        Remove RESHAPE to the shape that is there already; of consecutive ones the last alone is left.
    pack_tables : bool
        Write a file's tables anew where that makes it smaller: what converters write for each tensor, such as zero
        points, names, options and the layouts of tables, stands once where it is equal, and gaps between are closed.

    Returns
    -------
    Edited
        The very same model where there is nothing to do.

    Examples
    --------
    >>> import quantlib as ql
    >>> from quantlib.passes import tidy
    >>> model = ql.read(ql.demo.MODEL)
    >>> tidy(tidy(model).model).model == tidy(model).model
    True
    """
    require_models(model=model)
    done: list[Line] = []
    kept: list[Line] = []
    draft = Draft(model)
    for g in range(len(draft.graphs)):
        operators = Operators(draft, g, done, kept)
        if remove_pairs:
            operators.remove_pairs()
        if remove_reshapes:
            operators.remove_reshapes()
        if drop_unreachable:
            operators.drop_unread()
        operators.settle()
    removed = len(done)
    if merge_constants:
        _merge_buffers(draft, done)
        for g in range(len(draft.graphs)):
            _merge_tensors(draft, g, done)
    merged = len(done) - removed
    after = draft.done() if done else model
    totals = {"operators removed": removed, "constants merged": merged}
    if drop_unreachable:
        after = _dropped(after, done, totals)
    if pack_tables:
        saved = _packed_bytes(model)
        totals["bytes of tables saved"] = saved
        if saved:
            done.append(
                Line("tables", f"equal vectors, names and options stand once, gaps closed; {saved:,} bytes saved")
            )
            after = replace(model, source_root=None) if after is model else after
    return Edited(after, "tidy", tuple(done), tuple(kept), totals)


def _packed_bytes(model: Model) -> int:
    """Bytes that a file loses when its tables are written anew; 0 where it wasn't read from one, or would grow."""
    return max(model.source.size - plan_layout(model, rebuild=True).size, 0) if model.unchanged else 0


def _merge_buffers(draft: Draft, done: list[Line]) -> None:
    """Let tensors whose buffers hold equal bytes share the first of them."""
    names: dict[int, str] = {}
    fixed = {0}
    for graph in draft.graphs:
        for tensor in graph.tensors:
            names.setdefault(tensor.buffer, tensor.name or "")
            if tensor.is_variable or tensor_types()[tensor.type] in _OPAQUE:
                fixed.add(tensor.buffer)
    same: dict[int, int] = {}
    for group in _equal(draft, sorted(set(names) - fixed)):
        for other in group[1:]:
            same[other] = group[0]
            size = draft.buffers[other].data.nbytes
            done.append(Line(names[other], f"constant equal to {names[group[0]]!r}; {size:,} bytes saved"))
    if same:
        for graph in draft.graphs:
            graph.tensors = [t.replace(buffer=same[t.buffer]) if t.buffer in same else t for t in graph.tensors]


def _equal(draft: Draft, buffers: list[int]) -> Iterator[list[int]]:
    """Groups of buffers with equal bytes; only those that another one is as long as are read."""
    sizes: dict[int, list[int]] = {}
    for index in buffers:
        data = draft.buffers[index].data if index < len(draft.buffers) else None
        if data is not None and data.nbytes:
            sizes.setdefault(data.nbytes, []).append(index)
    for alike in sizes.values():
        groups: dict[bytes, list[list[int]]] = {}
        for index in alike if len(alike) > 1 else ():
            data = draft.buffers[index].data
            known = groups.setdefault(_digest(data), [])
            # equal digests are no proof
            home = next((g for g in known if _same_bytes(draft.buffers[g[0]].data, data)), None)
            known.append([index]) if home is None else home.append(index)
        yield from (group for known in groups.values() for group in known if len(group) > 1)


def _pieces(data: Data) -> Iterator[tuple[int, int]]:
    step = max(_PIECE // data.granule, 1) * data.granule
    return ((start, min(start + step, data.nbytes)) for start in range(0, data.nbytes, step))


def _digest(data: Data) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for start, stop in _pieces(data):
        digest.update(data.read(start, stop).data)
    return digest.digest()


def _same_bytes(a: Data, b: Data) -> bool:
    return all(np.array_equal(a.read(*piece), b.read(*piece)) for piece in _pieces(a))


def _merge_tensors(draft: Draft, g: int, done: list[Line]) -> None:
    """Let operators read one of the constants that differ in their names alone."""
    graph = draft.graphs[g]
    ends = ends_of(draft, g)
    made = {t for o in graph.operators for t in ([] if o.outputs is None else o.outputs.tolist())}
    first: dict[Hashable, list[int]] = {}
    same: dict[int, int] = {}
    for t, table in enumerate(graph.tensors):
        data = draft.buffers[table.buffer].data if table.buffer < len(draft.buffers) else None
        if data is None or not data.nbytes or table.is_variable or t in ends or t in made:
            continue
        alike = first.setdefault((table.buffer, table.type), [])
        home = next((i for i in alike if graph.tensors[i].replace(name=table.name) == table), None)
        if home is None:
            alike.append(t)
        else:
            same[t] = home
            done.append(Line(table.name or "", f"the same constant as {graph.tensors[home].name!r}; one is left"))
    if not same:
        return
    for at, operator in enumerate(graph.operators):
        inputs = [] if operator.inputs is None else operator.inputs.tolist()
        if not same.keys().isdisjoint(inputs):
            graph.operators[at] = operator.replace(inputs=[same.get(t, t) for t in inputs])


def _dropped(model: Model, done: list[Line], totals: dict[str, int]) -> Model:
    """The model without what nobody reaches."""
    smaller, unused = without_unused(model)
    done += [Line(f"subgraph {model.subgraphs[g].name or g}", "nobody runs it; dropped") for g in unused.subgraphs]
    done += [Line(model.tensor(t).name or str(t), "nobody refers to this tensor; dropped") for t in unused.tensors]
    done += [Line(f"operator code {model.operator_names[i]}", "no operator has it; dropped") for i in unused.codes]
    if unused.buffers:
        done.append(Line("buffers", f"{unused.buffers:,} without a user; dropped"))
    totals["tensors dropped"] = len(unused.tensors)
    totals["buffers dropped"] = unused.buffers
    totals["operator codes dropped"] = len(unused.codes)
    totals["subgraphs dropped"] = len(unused.subgraphs)
    return smaller

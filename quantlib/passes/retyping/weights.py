"""Weights of a finished model in another form: one scale for a tensor, or INT8 where an old file has UINT8."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.frozen import Frozen
from quantlib.numerics import Affine, affine_from_range, dequantize, element_type, pack, quantize, sqnr_db
from quantlib.operators import Weight, row
from quantlib.recipes import Graph
from quantlib.tflite import Deferred, Draft, Table, Tensor

from ..edited import Line
from ..forms import form_of, with_form
from ..stored import as_bytes
from ..versions import raise_version
from .rewriter import SHIFT, less

_WHOLE = ("INT32", "INT64")


def per_tensor(draft: Draft, done: list[Line], kept: list[Line]) -> None:
    """Give each weight with a scale per channel one scale, and its bias one that fits.

    Parameters
    ----------
    draft : Draft
    done, kept : list of Line
        The account, which is added to.
    """
    for g in range(len(draft.graphs)):
        graph = Graph(draft.model, g)
        made: dict[int, Affine] = {}
        for o, weight, tensor in _weights(graph):
            where = tensor.name or str(tensor)
            if tensor.type not in ("INT8", "INT4") or (found := tensor.quantization) is None or found.scale.size < 2:
                continue
            if found.block_size:
                kept.append(Line(where, "has a scale per block, not per channel"))
            elif _is_float(graph, o) and weight.hybrid_channels and not _is_behind(graph, o, weight):
                kept.append(Line(where, f"{graph.names[o]} on floats takes a scale per channel alone"))
            else:
                if tensor.index not in made:
                    made[tensor.index] = _one_scale(draft, tensor, done)
                _rescale_bias(draft, graph, o, made[tensor.index], done, kept)
        _raise_versions(draft, g)


def signed(draft: Draft, done: list[Line], kept: list[Line]) -> None:
    """Turn UINT8 weights of operators on floats into INT8.

    Kernels read the bytes of such weights as INT8 whatever the type says (tflite/kernels/fully_connected.cc,
    ``EvalHybridDense``). With zero point 0 they are INT8 under another name, as the first converters wrote them; with
    128 they are what the file says, and less 128 they are INT8.

    Parameters
    ----------
    draft : Draft
    done, kept : list of Line
        The account, which is added to.
    """
    for g in range(len(draft.graphs)):
        graph = Graph(draft.model, g)
        seen: set[int] = set()
        for o, weight, tensor in _weights(graph):
            if tensor.type != "UINT8" or tensor.index in seen or not _is_float(graph, o) or tensor.data is None:
                continue
            seen.add(tensor.index)
            where, behind = tensor.name or str(tensor), _is_behind(graph, o, weight)
            found = tensor.quantization
            form = form_of(tensor.table, tensor) if found is not None and found.scale.size == 1 else None
            if form is None:
                kept.append(Line(where, "UINT8 without a scale, or with several"))
                continue
            if "INT8" not in weight.hybrid and not behind:
                kept.append(Line(where, f"{graph.names[o]} on floats takes no weights of INT8"))
                continue
            point = int(form.zero_point[0])
            if not behind and point not in (0, SHIFT):
                kept.append(Line(where, f"UINT8 with zero point {point}, which kernels on floats don't look at"))
                continue
            if point == 0 and not behind:
                table, what = tensor.table, "UINT8 -> INT8: the same bytes, which kernels read as INT8 before too"
                table = with_form(table, Affine(element_type("INT8"), form.scale))
            else:
                table = with_form(tensor.table, Affine(element_type("INT8"), form.scale, np.array([point - SHIFT])))
                table = table.replace(buffer=draft.add_buffer(less(tensor.data, SHIFT)))
                what = "UINT8 -> INT8: each integer less 128"
            draft.graphs[g].tensors[tensor.index] = table
            done.append(Line(where, what))
        _raise_versions(draft, g)


#: What weights can become.
WEIGHTS: MappingProxyType[str, Callable[[Draft, list[Line], list[Line]], None]] = MappingProxyType(
    {"per-tensor": per_tensor, "int8": signed}
)


def _weights(graph: Graph) -> Iterator[tuple[int, Weight, Tensor]]:
    """Operators with weights, and the constants that hold these."""
    for o, name in enumerate(graph.names):
        inputs = graph.operators[o].inputs
        for weight in row(name).weights:
            if inputs is None or weight.operand >= inputs.size or inputs[weight.operand] < 0:
                continue
            tensor = graph.tensor(int(inputs[weight.operand]))
            maker = graph.producers.get(tensor.index)
            if maker is not None and graph.names[maker] == "DEQUANTIZE":
                tensor = graph.tensor(int(graph.operators[maker].inputs[0]))
            if tensor.is_constant and tensor.table.sparsity is None:
                yield o, weight, tensor


def _is_behind(graph: Graph, o: int, weight: Weight) -> bool:
    """Whether DEQUANTIZE stands before the operator."""
    return int(graph.operators[o].inputs[weight.operand]) in graph.producers


def _is_float(graph: Graph, o: int) -> bool:
    return graph.tensor(int(graph.operators[o].outputs[0])).type == "FLOAT32"


def _one_scale(draft: Draft, tensor: Tensor, done: list[Line]) -> Affine:
    """Store a weight with one scale."""
    real = tensor.real()
    most = float(np.abs(real).max(initial=0.0))
    affine = affine_from_range([-most], [most], tensor.type, symmetric=True, narrow_range=True)
    loss = sqnr_db(real, dequantize(quantize(real, affine), affine))

    def produce(start: int, stop: int) -> npt.NDArray[np.uint8]:
        stored = quantize(tensor.real(), affine)
        return (pack(stored, affine.type) if affine.type.bits < 8 else as_bytes(stored))[start:stop]

    nbytes = affine.type.nbytes(real.size)
    buffer = draft.add_buffer(Deferred(nbytes, produce, granule=nbytes))
    draft.graphs[tensor.subgraph].tensors[tensor.index] = with_form(tensor.table, affine).replace(buffer=buffer)
    count = 0 if tensor.quantization is None else tensor.quantization.scale.size
    what = f"{count} scales -> 1: {loss:.1f} dB to what it was"
    done.append(Line(tensor.name or str(tensor), what, Frozen({"sqnr_db": loss})))
    return affine


def _rescale_bias(draft: Draft, graph: Graph, o: int, weights: Affine, done: list[Line], kept: list[Line]) -> None:
    """Let the bias of an operator have the scale of its input times that of its weights."""
    name, operator = graph.names[o], graph.operators[o]
    known, inputs = row(name), operator.inputs.tolist()
    place = known.bias
    if place is None or place >= len(inputs) or inputs[place] < 0 or known.integer is None:
        return
    bias, x = graph.tensor(inputs[place]), graph.tensor(inputs[(known.integer.data or (0,))[0]])
    if bias.type not in _WHOLE or not bias.is_constant or x.quantization is None:
        return
    old = bias.quantization
    if old is None:
        kept.append(Line(bias.name, "a bias without scales; it can't be rescaled"))
        return
    scale = np.float32(x.quantization.scale[0]) * weights.scale[0]
    if not (np.isfinite([scale, *old.scale]).all() and scale > 0):
        raise InvalidValue(f"{bias}: a bias whose scales {old.scale.tolist()[:4]} can't become {float(scale)!r}")
    real = bias.numpy() * old.scale.astype(np.float64)
    info = np.iinfo(np.int32 if bias.type == "INT32" else np.int64)
    stored = np.clip(np.rint(real / float(scale)), info.min, info.max).astype(info.dtype)
    tensors = draft.graphs[graph.index].tensors
    table: Table = with_form(bias.table, Affine(element_type(bias.type), np.array([scale]))).replace(
        buffer=draft.add_buffer(stored)
    )
    tensors.append(table)
    changed = list(draft.graphs[graph.index].operators[o].inputs.tolist())
    changed[place] = len(tensors) - 1
    draft.graphs[graph.index].operators[o] = draft.graphs[graph.index].operators[o].replace(inputs=changed)
    worst = float(np.abs(stored * float(scale) - real).max(initial=0.0))
    figures = Frozen({"worst": worst})
    done.append(Line(bias.name, f"bias rescaled: at most {worst:.3g} from what it was", figures))


def _raise_versions(draft: Draft, g: int) -> None:
    graph = draft.graphs[g]
    graph.operators = [raise_version(draft, graph, operator) for operator in graph.operators]

"""`quantlib inspect`: what a model is made of."""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from quantlib.errors import InvalidValue
from quantlib.tflite import Model, Tensor, read

from .common import add_json, print_json

if TYPE_CHECKING:
    from quantlib.evaluation import Costs


#: Multipliers by subgraph and tensor, see `multipliers`.
_Scaled = Mapping[tuple[int, int], list[dict[str, Any]]]

#: Columns of the CSV table. A row is a scale, or a multiplier of the operator that writes the tensor, of one channel.
_CSV = (
    *("subgraph", "index", "name", "type", "shape", "quantized_dimension", "role", "channel"),
    *("scale", "zero_point", "rounding", "real", "mantissa", "shift"),
)

#: What the tables on a screen leave out.
_LONG = ("multipliers",)


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("inspect", help="show a model: operators, tensors, scales, metadata")
    parser.add_argument("model", metavar="MODEL", help="a .tflite file")
    parser.add_argument("--tensors", action="store_true", help="list all tensors")
    parser.add_argument("--operators", action="store_true", help="list all operators")
    parser.add_argument(
        "--csv", action="store_true", help="with --tensors: print scales, zero points and multipliers as CSV"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what was asked for."""
    if options.csv and (options.json or options.operators or not options.tensors):
        raise InvalidValue("--csv prints the table of tensors alone; give it with --tensors and nothing else")
    model = read(options.model)
    from quantlib.evaluation import costs  # here, since it comes with the runners

    scaled = multipliers(model) if options.operators or options.tensors else {}
    if options.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(_CSV)
        for tensor in model.tensors():
            writer.writerows(_parameter_rows(tensor, scaled))
        return 0
    found = costs(model)
    report = summary(model, found)
    if options.operators:
        report["operators"] = operators(model, found, scaled)
    if options.tensors:
        report["tensors"] = [tensor_row(t, scaled) for t in model.tensors()]
    if options.json:
        print_json(report)
        return 0
    for key, value in report.items():
        if key in ("operators", "tensors"):
            print(f"\n{key}:")
            for line in _columns([{k: v for k, v in row.items() if k not in _LONG} for row in value]):
                print(line)
        elif isinstance(value, list):
            print(f"{key:<23}" + f"\n{'':<23}".join(map(str, value or ["none"])))
        else:
            print(f"{key:<23}{f'{value:,}' if isinstance(value, int) else value}")
    return 0


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    """Rows under a header, each column as wide as its widest cell."""
    cells = [[_cell(v) for v in row.values()] for row in rows]
    table = [list(rows[0]) if rows else [], *cells]
    widths = [max(len(line[k]) for line in table) for k in range(len(table[0]))]
    return ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in table]


def _cell(value: Any) -> str:
    """One value; of many scales, the least and the greatest."""
    if value is None:
        return ""
    if isinstance(value, list) and value and isinstance(value[0], float):
        return f"{value[0]:.9g}" if len(value) == 1 else f"{len(value)}: {min(value):.4g}..{max(value):.4g}"
    if isinstance(value, list) and len(value) > 6:
        return f"{len(value)}: {min(value)}..{max(value)}"
    return str(value)


def summary(model: Model, found: Costs) -> dict[str, Any]:
    """Facts of a model on one screen."""
    kinds = Counter(model.operator_name(o) for g in model.subgraphs for o in g.operators or ())
    sizes: Counter[str] = Counter()
    seen: set[int] = set()
    for tensor in model.tensors():
        if tensor.data is not None and tensor.table.buffer not in seen:
            seen.add(tensor.table.buffer)
            sizes[tensor.type] += tensor.data.nbytes
    return {
        "file_bytes": model.source.size,
        "description": model.root.description or "",
        "subgraphs": [
            f"{g.name or i}: {len(g.operators or ())} operators, {len(g.tensors or ())} tensors"
            for i, g in enumerate(model.subgraphs)
        ],
        "signatures": [s.signature_key or "" for s in model.root.signature_defs or ()],
        "inputs": [_end(t) for t in model.inputs],
        "outputs": [_end(t) for t in model.outputs],
        "operator_types": ", ".join(f"{name} x{count}" for name, count in kinds.most_common()),
        "constants": ", ".join(f"{name} {size:,} bytes" for name, size in sizes.most_common()),
        "parameters": found.parameters,
        "multiply_accumulates": found.multiply_accumulates,
        "peak_activation_bytes": found.peak_activation_bytes,
        "metadata": [_metadata(model, e) for e in model.root.metadata or ()],
        "trailing_bytes": model.trailing.nbytes,
    }


def _end(tensor: Tensor) -> str:
    signature = tensor.table.shape_signature
    shape = list(tensor.shape) if signature is None or not signature.size else signature.tolist()
    return f"{tensor.name} {tensor.type} {shape}{_scale(tensor)}"


def _scale(tensor: Tensor) -> str:
    q = tensor.quantization
    if q is None:
        return ""
    if q.scale.size == 1:
        return f" scale {q.scale[0]:.9g} zero_point {q.zero_point[0]}"
    return f" {q.scale.size} scales {q.scale.min():.4g}..{q.scale.max():.4g} axis {q.quantized_dimension}"


def _metadata(model: Model, entry: Any) -> str:
    data = model.data(entry.buffer)
    raw = b"" if data is None else data.numpy().tobytes()
    text = raw.rstrip(b"\0").decode("ascii", "replace")
    short = len(raw) <= 32 and text.isprintable() and "\ufffd" not in text
    return f"{entry.name}: {text}" if short else f"{entry.name}: {len(raw):,} bytes"


def multipliers(model: Model) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Effective multipliers of the operators that write tensors, by subgraph and tensor."""
    from quantlib.evaluation import arithmetics, multiplier_rows  # here, since it comes with the runners

    return {
        (g, model.subgraphs[g].operators[o].outputs.tolist()[0]): multiplier_rows(found)
        for (g, o), found in arithmetics(model).items()
        if found.multipliers
    }


def _parameter_rows(tensor: Tensor, scaled: _Scaled) -> Iterator[list[Any]]:
    """Lines of the CSV table: each channel's scale and zero point, then each multiplier of what writes the tensor."""
    place = [tensor.subgraph, tensor.index, tensor.name, tensor.type, "x".join(map(str, tensor.shape))]
    q = tensor.quantization
    axis = None if q is None or q.scale.size < 2 else q.quantized_dimension
    if q is None:
        yield [*place, *[None] * 9]
    else:
        # a file may have one zero point for many scales
        for k, (scale, point) in enumerate(zip_longest(q.scale.tolist(), q.zero_point.tolist(), fillvalue=0)):
            yield [*place, axis, "scale", k, f"{scale:.9g}", point, *[None] * 4]
    for m in scaled.get((tensor.subgraph, tensor.index), ()):
        for k, values in enumerate(zip(m["real"], m["mantissa"], m["shift"], strict=True)):
            yield [*place, axis, m["role"], k, None, None, m["rounding"], *values]


def tensor_row(tensor: Tensor, scaled: _Scaled) -> dict[str, Any]:
    """One tensor, with scales and zero points in full, and the multipliers of the operator that writes it."""
    q = tensor.quantization
    return {
        "subgraph": tensor.subgraph,
        "index": tensor.index,
        "type": tensor.type,
        "shape": list(tensor.shape),
        "bytes": tensor.data.nbytes if tensor.data is not None else None,
        "scale": None if q is None else [float(v) for v in q.scale],
        "zero_point": None if q is None else q.zero_point.tolist(),
        "quantized_dimension": None if q is None or q.scale.size < 2 else q.quantized_dimension,
        "multipliers": scaled.get((tensor.subgraph, tensor.index), []),
        "name": tensor.name,
    }


def operators(model: Model, found: Costs, scaled: _Scaled) -> list[dict[str, Any]]:
    """All operators with their versions, inputs and outputs, and what they cost."""
    rows = []
    cost = {(c.subgraph, c.index): c for c in found.operators}
    for g, graph in enumerate(model.subgraphs):
        for i, operator in enumerate(graph.operators or ()):
            code = model.root.operator_codes[operator.opcode_index]
            rows.append(
                {
                    "subgraph": g,
                    "index": i,
                    "type": model.operator_name(operator),
                    "version": f"v{code.version}",
                    "macs": cost[g, i].multiply_accumulates,
                    "bytes": cost[g, i].bytes,
                    "inputs": [] if operator.inputs is None else operator.inputs.tolist(),
                    "outputs": [] if operator.outputs is None else operator.outputs.tolist(),
                    "multipliers": scaled.get((g, _first(operator.outputs)), []),
                    "name": _names(model, g, operator.outputs)[0] if operator.outputs is not None else "",
                }
            )
    return rows


def _first(indices: Any) -> int:
    return -1 if indices is None or not indices.size else int(indices[0])


def _names(model: Model, g: int, indices: Any) -> list[str]:
    return [Tensor(model, g, t).name if t >= 0 else "" for t in indices.tolist()] or [""]

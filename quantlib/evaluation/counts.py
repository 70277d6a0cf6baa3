"""What a model costs, by its shapes alone: multiply-accumulates, parameters, bytes, memory of activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from quantlib.numerics import element_type
from quantlib.operators import family, row
from quantlib.runners import folded, indices_of
from quantlib.tflite import Model, Table, Tensor, plan_layout

from .values import ModelFacts, OperatorTotal

Shape = tuple[int, ...]
#: Shapes of the operands (empty where one is left out), of the first output, and the operator's options.
Macs = Callable[[list[Shape], Shape, "Table | None"], int]


@dataclass(frozen=True, slots=True)
class OperatorCost:
    """What one operator costs.

    Attributes
    ----------
    subgraph, index : int
    type, name : str
        Its type, and the tensor that it writes.
    multiply_accumulates : int
    parameters : int
        Elements of its weights, biases and tables.
    bytes : int
        Bytes of its constants of any kind; a constant that several operators read counts with the first.
    """

    subgraph: int
    index: int
    type: str
    name: str
    multiply_accumulates: int
    parameters: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Costs:
    """What a model costs.

    Attributes
    ----------
    operators : tuple of OperatorCost
        Of all subgraphs; what a loop runs often counts once.
    peak_activation_bytes : int
        The most bytes of activations that are needed at one moment, operators run in the file's order: from where a
        tensor is written to its last reader. Variables last throughout. What an allocator wastes isn't in it, nor
        what kernels need for themselves. Of several subgraphs, that of the greediest.
    dynamic : bool
        Whether some dimension depends on the input; it counts as the file has it, mostly 1.
    """

    operators: tuple[OperatorCost, ...]
    peak_activation_bytes: int
    dynamic: bool

    @property
    def multiply_accumulates(self) -> int:
        """Of all operators."""
        return sum(o.multiply_accumulates for o in self.operators)

    @property
    def parameters(self) -> int:
        """Of all operators."""
        return sum(o.parameters for o in self.operators)


def costs(model: Model) -> Costs:
    """Count what a model costs.

    Parameters
    ----------
    model : Model

    Returns
    -------
    Costs

    Examples
    --------
    >>> from quantlib.demo import MODEL
    >>> from quantlib.tflite import read
    >>> found = costs(read(MODEL))
    >>> found.operators[0].type, found.operators[0].multiply_accumulates  # 8 * 8 * 16 outputs of 3 * 3 products
    ('CONV_2D', 9216)
    """
    seen: set[int] = set()
    operators = tuple(c for g in range(len(model.subgraphs)) for c in _operators(model, g, seen))
    peak = max((_peak(model, g) for g in range(len(model.subgraphs))), default=0)
    shapes = (t.shape_signature for g in model.subgraphs for t in g.tensors or ())
    dynamic = any(s is not None and -1 in s.tolist() for s in shapes)
    return Costs(operators, peak, dynamic)


def totals(a: Costs, b: Costs) -> tuple[OperatorTotal, ...]:
    """Bytes and work of both models by operator type."""
    found = []
    for kind in dict.fromkeys(o.type for o in (*a.operators, *b.operators)):
        one, other = ([o for o in c.operators if o.type == kind] for c in (a, b))
        stored = [sum(o.bytes for o in part) for part in (one, other)]
        macs = sum(o.multiply_accumulates for o in one or other)
        found.append(OperatorTotal(kind, len(one), len(other), stored[0], stored[1], macs))
    return tuple(sorted(found, key=lambda t: (-max(t.bytes_a, t.bytes_b), -t.multiply_accumulates, t.operator)))


def facts(model: Model, found: Costs) -> ModelFacts:
    """Sum up what a model is and costs."""
    return ModelFacts(
        str(model.source.path or "") if model.unchanged else "",
        model.source.size if model.unchanged else plan_layout(model).size,
        len(found.operators),
        found.parameters,
        found.multiply_accumulates,
        found.peak_activation_bytes,
    )


def _operators(model: Model, g: int, seen: set[int]) -> Iterator[OperatorCost]:
    graph = model.subgraphs[g]
    behind: dict[int, list[int]] = {}  # constants behind a DEQUANTIZE or DENSIFY, which count with who reads that
    constant = folded(model, g)
    for o, operator in enumerate(graph.operators or ()):
        inputs, outputs = indices_of(operator.inputs), indices_of(operator.outputs)
        own = [t for i in inputs if i >= 0 for t in behind.get(i, [i])]
        if outputs and constant.issuperset(outputs):
            behind[outputs[0]] = own
            own = []
        parameters = stored = 0
        for tensor in (Tensor(model, g, t) for t in own):
            data = tensor.data
            if data is not None and tensor.table.buffer not in seen:
                seen.add(tensor.table.buffer)
                stored += data.nbytes
                parameters += math.prod(tensor.shape) if _is_parameter(tensor) else 0
        name = Tensor(model, g, outputs[0]).name if outputs and outputs[0] >= 0 else ""
        kind = model.operator_name(operator)
        yield OperatorCost(g, o, kind, name, multiply_accumulates(model, g, operator), parameters, stored)


def _is_parameter(tensor: Tensor) -> bool:
    """Weights and biases, float or with a scale; shapes and indices are none."""
    q = tensor.table.quantization
    return element_type(tensor.type).kind == "float" or (
        q is not None and (q.scale is not None or q.details is not None)
    )


def multiply_accumulates(model: Model, g: int, operator: Table) -> int:
    """Multiply-accumulates of one operator: products that are summed, not what is added or scaled one by one.

    Parameters
    ----------
    model : Model
    g : int
        Subgraph of the operator.
    operator : Table

    Returns
    -------
    int
        0 for operators without such products, and those whose shapes are not as the operator needs them.
    """
    name = model.operator_name(operator)
    count = MACS.get(name) or (_recurrent(name) if family(name) == "recurrent" else None)
    outputs = indices_of(operator.outputs)
    if count is None or not outputs or outputs[0] < 0:
        return 0
    shapes = [Tensor(model, g, i).shape if i >= 0 else () for i in indices_of(operator.inputs)]
    try:
        return count(shapes, Tensor(model, g, outputs[0]).shape, operator.builtin_options)
    except (IndexError, TypeError):
        return 0


def _recurrent(name: str) -> Macs:
    """Every weight matrix once a step: inputs are (..., features)."""
    weights = [w.operand for w in row(name).weights]

    def count(shapes: list[Shape], output: Shape, options: Table | None) -> int:
        used = [shapes[w] for w in weights if w < len(shapes)]
        return math.prod(shapes[0][:-1]) * sum(math.prod(s) for s in used if len(s) == 2)

    return count


def _batch_matmul(shapes: list[Shape], output: Shape, options: Table | None) -> int:
    adjoint = options is not None and bool(options.adj_x)
    return math.prod(output) * shapes[0][-2 if adjoint else -1]


#: Filters: [O, H, W, I], depthwise [1, H, W, C], 3-D [D, H, W, I, O], 3-D transposed [D, H, W, O, I]; a transposed
#: convolution spreads each input value over H * W * O outputs.
MACS: Mapping[str, Macs] = MappingProxyType(
    {
        "CONV_2D": lambda x, y, _: math.prod(y) * math.prod(x[1][1:]),
        "DEPTHWISE_CONV_2D": lambda x, y, _: math.prod(y) * math.prod(x[1][1:3]),
        "TRANSPOSE_CONV": lambda x, y, _: math.prod(x[2]) * math.prod(x[1][:3]),
        "Convolution2DTransposeBias": lambda x, y, _: math.prod(x[0]) * math.prod(x[1][:3]),
        "CONV_3D": lambda x, y, _: math.prod(y) * math.prod(x[1][:4]),
        "CONV_3D_TRANSPOSE": lambda x, y, _: math.prod(x[2]) * math.prod(x[1][:4]),
        "FULLY_CONNECTED": lambda x, y, _: math.prod(y) * x[1][-1],
        "BATCH_MATMUL": _batch_matmul,
    }
)


def _peak(model: Model, g: int) -> int:
    """Bytes of activations alive at the greediest operator."""
    graph = model.subgraphs[g]
    operators = list(graph.operators or ())
    last, first = len(operators), dict.fromkeys(indices_of(graph.inputs), 0)
    ends = dict(first)
    constant = folded(model, g)
    for o, operator in enumerate(operators):
        for t in indices_of(operator.outputs):
            first.setdefault(t, o)
            ends[t] = max(ends.get(t, o), o)
        for t in indices_of(operator.inputs):
            ends[t] = o
    ends.update(dict.fromkeys(indices_of(graph.outputs), last))
    change = [0] * (last + 2)
    for t in ends:
        tensor = Tensor(model, g, t) if t >= 0 else None
        if tensor is None or tensor.is_constant or t in constant:
            continue
        through = bool(tensor.table.is_variable)
        nbytes = _nbytes(tensor)
        change[0 if through else first.get(t, 0)] += nbytes
        change[last + 1 if through else ends[t] + 1] -= nbytes
    peak = alive = 0
    for step in change:
        alive += step
        peak = max(peak, alive)
    return peak


def _nbytes(tensor: Tensor) -> int:
    kind = element_type(tensor.type)
    return kind.nbytes(math.prod(tensor.shape)) if kind.storage is not None else 0

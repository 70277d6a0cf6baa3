"""`Reading`: one operator that multiplies what it reads with one weight, so that samples can say what it is worth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import Gram, Refitted
from quantlib.operators import row
from quantlib.recipes import Graph
from quantlib.tflite import Draft, Model

from .versions import raise_version
from .weight_sites import WeightSite, weight_sites

#: Operators whose products are sums over windows of one input.
_PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
#: Most inputs of an output: their products, a matrix of so many rows and columns in float64, take 128 MiB.
MOST_INPUTS = 4096

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reading:
    """One operator that multiplies what it reads with one weight.

    Attributes
    ----------
    subgraph, operator : int
    name : str
        The operator's type.
    input : int
        Tensor that it reads.
    shape : tuple of int
        The weight's.
    bias : int
        Place of the bias among the operator's operands.
    depthwise : bool
        Each output channel has one input channel: the weight is (1, H, W, outputs).
    """

    subgraph: int
    operator: int
    name: str
    input: int
    shape: tuple[int, ...]
    bias: int
    depthwise: bool

    @property
    def outputs(self) -> int:
        """Its number of output channels."""
        return self.shape[3] if self.depthwise else self.shape[0]

    @property
    def inputs(self) -> int:
        """How many products an output is the sum of."""
        return math.prod(self.shape) // max(self.outputs, 1)

    def rows(self, weights: npt.NDArray[np.float32]) -> _Floats:
        """Weights as a matrix (output channels, inputs)."""
        matrix = weights.reshape(-1, self.outputs).T if self.depthwise else weights.reshape(self.outputs, -1)
        return np.ascontiguousarray(matrix, np.float64)

    def weights(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """A matrix (output channels, inputs) as weights in their own shape."""
        matrix = rows.T if self.depthwise else rows
        return np.ascontiguousarray(matrix, np.float32).reshape(self.shape)

    def values(self, model: Model) -> tuple[_Floats, npt.NDArray[np.float32] | None]:
        """The weights of a model as a matrix (output channels, inputs), and the bias; None where it can't change."""
        graph = Graph(model, self.subgraph)
        origin = graph.origin(int(graph.operators[self.operator].inputs[1]))
        if origin is None:
            raise InvalidValue(f"{graph.operator_label(self.operator)}: its weight is no constant; one is required")
        bias = bias_of(graph, self)
        return self.rows(origin.real().reshape(self.shape)), None if isinstance(bias, str) else bias


def readings(model: Model) -> dict[str, Reading | str]:
    """Find what each weight of a model is multiplied with.

    Parameters
    ----------
    model : Model

    Returns
    -------
    dict of str to (Reading or str)
        By the weight's name, as `prune` has it; in words why there is none.
    """
    sites = weight_sites(model)
    counts = Counter(site.identity for site in sites)
    return {site.name: reading_of(site, alone=counts[site.identity] == 1) for site in sites}


def reading_of(site: WeightSite, *, alone: bool = True, grids: bool = False) -> Reading | str:
    """What one weight is multiplied with.

    Parameters
    ----------
    site : WeightSite
    alone : bool
        Whether no other tensor has its values.
    grids : bool
        Integers with scales will do.
    """
    if site.reason:
        return site.reason
    if len(site.readers) != 1 or not alone:
        return "several operators read it"
    graph, use = site.graph, site.readers[0]
    name, operator = graph.names[use.operator], graph.operators[use.operator]
    place, shape = row(name).bias, site.tensor.shape
    if name not in _PRODUCTS or use.operand != 1 or place is None:
        return f"{name} isn't one of {', '.join(_PRODUCTS)}"
    between = next((graph.names[s] for s in site.steps if graph.names[s] not in ("DENSIFY", "DEQUANTIZE")), "")
    if between:
        return f"{between} stands between it and {name}"
    if not grids and site.tensor.type not in ("FLOAT32", "FLOAT16"):
        return f"{site.tensor.type} weights stay on their grid"
    if operator.inputs[0] < 0 or operator.outputs is None or not operator.outputs.size:
        return f"{name} lacks an input or an output"
    ends = (graph.tensor(int(operator.inputs[0])), graph.tensor(int(operator.outputs[0])))
    other = next((t.type for t in ends if t.type != "FLOAT32"), "")
    if other:
        return f"it computes with {other} activations"
    rank = 2 if name == "FULLY_CONNECTED" else 4
    if len(shape) != rank or not all(shape):
        return f"its shape is {list(shape)}"
    found = Reading(graph.index, use.operator, name, ends[0].index, shape, place, name == "DEPTHWISE_CONV_2D")
    channels = ends[0].shape[-1] if ends[0].shape else 0
    if rank == 4 and (found.outputs % max(channels, 1) if found.depthwise else channels != shape[3]):
        return "a grouped convolution"
    if found.inputs > MOST_INPUTS:
        return f"each output is a sum of {found.inputs:,} products, more than {MOST_INPUTS:,}"
    return found


def bias_of(graph: Graph, reading: Reading) -> npt.NDArray[np.float32] | str:
    """The bias of an operator, zeros where it has none; why it can't change where it can't."""
    inputs = graph.operators[reading.operator].inputs.tolist()
    t = inputs[reading.bias] if reading.bias < len(inputs) else -1
    if t < 0:
        return np.zeros(reading.outputs, np.float32)
    origin = graph.origin(t)
    if origin is None:
        return "its bias is no constant"
    values = origin.real().reshape(-1).astype(np.float32)
    return values if values.size == reading.outputs else f"its bias has {values.size} elements"


def require_refit(refit: object) -> None:
    """Refuse what is neither None nor says something of weights, by name."""
    if refit is not None and (
        not isinstance(refit, Mapping) or not all(isinstance(v, (Gram, Refitted)) for v in refit.values())
    ):
        raise InvalidValue(
            "refit isn't a mapping of weights' names to Gram or Refitted; quantlib.evaluation.refit makes one"
        )


def require_products(site: WeightSite, reading: Reading, gram: Gram) -> None:
    """Refuse products of what another weight is multiplied with."""
    groups, size = gram.values.shape[0], gram.values.shape[1] - 1
    if size != reading.inputs or (groups > 1 and not reading.depthwise) or reading.outputs % groups:
        raise InvalidValue(
            f"{site.name}: products of {groups} groups of {size}, and it has {reading.inputs} inputs for each "
            "output; measure them with this model"
        )


def require_values(site: WeightSite, reading: Reading, fit: Refitted) -> None:
    """Refuse values that this weight and its bias can't be stored with."""
    weights, bias = fit.weights, fit.bias
    fits = weights.shape == reading.shape and (bias is None or bias.shape == (reading.outputs,))
    if not fits or not all(a.dtype == np.float32 and np.isfinite(a).all() for a in (weights, bias) if a is not None):
        raise InvalidValue(
            f"{site.name}: refitted values of shape {weights.shape}; finite float32 {reading.shape}, and a bias for "
            f"each of {reading.outputs} outputs or none, are required; refit this model"
        )


def put_bias(draft: Draft, site: WeightSite, reading: Reading, values: npt.NDArray[np.float32]) -> None:
    """Give the operator that reads a weight a float bias of its own, before operators are rearranged.

    One that nobody else reads keeps its tensor; else, and where there is none, it gets another.
    """
    graph, source = draft.graphs[reading.subgraph], site.graph
    operator = graph.operators[reading.operator]
    inputs = operator.inputs.tolist()
    inputs += [-1] * (reading.bias + 1 - len(inputs))
    old, buffer = inputs[reading.bias], draft.add_buffer(values)
    own = old >= 0 and len(source.uses[old]) == 1 and old not in source.ends and source.tensor(old).is_constant
    if own and source.tensor(old).type == "FLOAT32":
        graph.tensors[old] = graph.tensors[old].replace(buffer=buffer, sparsity=None)
        return
    made = source.tensor(int(operator.outputs[0])).name
    name = f"{made}/bias" if old < 0 else source.tensor(old).name
    inputs[reading.bias] = graph.add_tensor(name, "FLOAT32", values.shape, buffer=buffer)
    graph.operators[reading.operator] = raise_version(draft, graph, operator.replace(inputs=inputs))

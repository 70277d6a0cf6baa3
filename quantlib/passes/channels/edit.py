"""`prune_channels`: whole output channels taken out of layers, and out of everything that follows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from quantlib.calibration import Statistics, require_own
from quantlib.errors import InvalidValue
from quantlib.recipes import Graph
from quantlib.tflite import Draft, Model, plan_layout, require_models

from ..edited import Edited, Line
from ..selected import Selected, Texts
from ..versions import update_runtime
from ..weight_sites import outer_layers, weight_sites
from .choice import NORMS, RANKINGS, chosen, families
from .cut import Cutter, keeper
from .means import correct_biases
from .rules import RULES, WEIGHTY
from .walk import Layer, Walk, walked


def prune_channels(
    model: Model,
    fraction: float = 0.25,
    *,
    only: Texts = (),
    skip: Texts = (),
    only_types: Texts = (),
    skip_types: Texts = (),
    first_last: bool = False,
    ranking: str = "tensor",
    norm: str = "l1",
    multiple: int = 1,
    statistics: Statistics | None = None,
) -> Edited:
    """Take whole output channels out of convolutions and fully connected layers, and out of all that reads them.

    Shapes, constants, biases, scales, depthwise filters, and the columns of later weights follow, so that the model
    is smaller and faster with any kernels. Layers whose outputs are added, multiplied or split equally lose the same
    channels. Where an operator isn't known to carry channels through, or they reach an output, they stay, and `kept`
    says which operator and why. Inputs and outputs of the model never change.

    Parameters
    ----------
    model : Model
        Float, or quantized in any way but blockwise.
    fraction : float
        Of the channels, 0 or more and below 1; rounded down to whole channels. At least one of each layer stays.
    only, skip : str or several
        Regular expressions, searched in the names of a layer and of its weights; `skip` wins. A layer that shares
        its channels with one that isn't to lose any keeps them.
    only_types, skip_types : str or several
        The same by operator type.
    first_last : bool
        Whether the first layer and the last of each subgraph lose channels too.
    ranking : str
        ``tensor``: each layer, or set of layers that share channels, loses the fraction. ``global``: channels of all
        layers are compared.
    norm : str
        ``l1`` or ``l2``: how filters are compared, each over its layer's mean.
    multiple : int
        What stays of each layer is a multiple of this; kernels work on 4, 8 or 16 channels at once.
    statistics : Statistics, optional
        Of this model: what removed channels were on average goes into the biases of the layers that read them, where
        these compute in float.

    Returns
    -------
    Edited
        A line for each layer; `totals` count channels and bytes, and with statistics the biases that they changed.

    Raises
    ------
    InvalidValue
        If an option isn't as said above, a selector matches no layer, a filter isn't finite, a
        constant is shorter than its shape, or the statistics are of another model.

    Notes
    -----
    Norms of filters as the measure: Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> edited = prune_channels(model, 0.25)
    >>> edited.model.tensor("dense/kernel").shape, model.tensor("dense/kernel").shape
    ((72, 36), (96, 48))
    """
    require_models(model=model)
    _check(fraction, ranking, norm, multiple)
    require_own(statistics, model)
    walks = [walked(Graph(model, g), RULES, WEIGHTY) for g in range(len(model.subgraphs))]
    outer = {} if first_last else outer_layers(weight_sites(model))
    _select(walks, Selected.of(only, skip, only_types, skip_types), outer)
    found = [families(walk, norm) for walk in walks]
    masks = iter(chosen([f for part in found for f in part], fraction, ranking, multiple))
    draft = Draft(model)
    cutter = Cutter(draft, None if statistics is None else partial(correct_biases, statistics=statistics))
    account = _Account()
    for walk, part in zip(walks, found, strict=True):
        removed = np.concatenate([np.zeros(0, np.int64), *(f.roots[next(masks)] for f in part)])
        if removed.size:
            cutter.cut(walk, removed)
        account.add(walk, removed)
    account.finish()
    update_runtime(draft)
    result = draft.done() if account.done else model
    sizes = {"bytes_before": file_size(model), "bytes_after": file_size(result)}
    totals = {"channels": account.channels, "channels_left": account.left, **sizes}
    if statistics is not None:
        totals["biases_corrected"] = cutter.corrected
    return Edited(result, "prune channels", tuple(account.done), tuple(account.kept), totals)


def _check(fraction: float, ranking: str, norm: str, multiple: int) -> None:
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float, np.number)) or not 0 <= fraction < 1:
        raise InvalidValue(f"a fraction of {fraction!r} of the channels; 0 or more and less than 1 is required")
    if ranking not in RANKINGS:
        raise InvalidValue(f"ranking {ranking!r} is unknown; use {' or '.join(RANKINGS)}")
    if norm not in NORMS:
        raise InvalidValue(f"norm {norm!r} is unknown; use {' or '.join(NORMS)}")
    if isinstance(multiple, bool) or not isinstance(multiple, (int, np.integer)) or multiple < 1:
        raise InvalidValue(f"channels that are a multiple of {multiple!r}; a whole number of 1 or more is required")


def _select(walks: Sequence[Walk], selected: Selected, outer: Mapping[tuple[int, int], str]) -> None:
    """Keep the channels of layers that aren't to lose any."""
    for walk in walks:
        graph = walk.graph
        refused = [Layer(o, WEIGHTY[graph.names[o]], 0, np.zeros(0, np.int64)) for o in walk.refused]
        for layer in (*walk.layers, *refused):
            o, kind = layer.operator, graph.names[layer.operator]
            inputs = graph.operators[o].inputs
            named = inputs is not None and inputs.size > layer.operand and inputs[layer.operand] >= 0
            weights = (graph.tensor(int(inputs[layer.operand])).name,) if named else ()
            names = (graph.operator_label(o), *weights)
            reason = selected.refusal(kind, names)
            if not layer.makes:  # what names layers that are to lose channels means those that make them
                reason = reason if selected.selection.skips(kind, names) else ""
            elif not reason and (graph.index, o) in outer:
                reason = f"is the {outer[graph.index, o]}"
            if reason:
                walk.cells.pin(layer.cells, f"{walk.label(o)} {reason}")
    selected.check_all_used()


@dataclass
class _Account:
    """What is said of every layer: how many channels went, and why others stay."""

    done: list[Line] = field(default_factory=list)
    kept: list[Line] = field(default_factory=list)
    channels: int = 0
    left: int = 0

    def add(self, walk: Walk, removed: npt.NDArray[np.int64]) -> None:
        """Add the layers of a subgraph."""
        stays = keeper(walk, removed)
        for layer in walk.layers:
            if layer.makes:
                self._layer(walk, layer, int(stays(layer.cells).sum()))
        for o, reason in sorted(walk.refused.items()):
            self.kept.append(Line(walk.graph.operator_label(o), _own(walk, o, reason)))

    def finish(self) -> None:
        """Say so where there was no layer."""
        if not self.done and not self.kept:
            self.kept.append(Line("model", f"no {', '.join(WEIGHTY)} in it; it is given back as it is"))

    def _layer(self, walk: Walk, layer: Layer, left: int) -> None:
        name, count = walk.graph.operator_label(layer.operator), layer.cells.size
        self.channels, self.left = self.channels + count, self.left + left
        figures = {"channels": count, "left": left}
        reasons = [_own(walk, layer.operator, r) for c in layer.cells.tolist() if (r := walk.cells.reason(c))]
        if left < count:
            self.done.append(Line(name, f"{left} of {count} channels left", figures))
        if reasons:
            part = f"{len(reasons)} of {count} channels: " if len(reasons) < count else ""
            self.kept.append(Line(name, part + reasons[0], figures))
        elif left == count:
            self.kept.append(Line(name, f"the fraction of {count} channels is less than one, or multiple", figures))


def _own(walk: Walk, o: int, reason: str) -> str:
    """A reason without the name of the operator that it is said of."""
    return reason.removeprefix(f"{walk.label(o)} ")


def file_size(model: Model) -> int:
    """Bytes of a model's file."""
    return int(model.source.size if model.unchanged else plan_layout(model).size)

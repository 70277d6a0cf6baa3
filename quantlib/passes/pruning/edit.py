"""Prune: the weights of least magnitude become zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from quantlib.calibration import Statistics
from quantlib.numerics import Gram, Refitted, element_type
from quantlib.recipes import stored_bytes
from quantlib.tflite import Model, require_models

from ..edited import Edited, Line, deflated_totals
from ..reading import put_bias, reading_of
from ..selected import Selected, Texts
from ..weight_sites import WeightSite, alike, outer_layers, weight_sites
from .bias import corrected_bias
from .fit import FittedJob, fitted
from .job import PruneJob, Tally, ranked
from .options import PruneOptions
from .store import PrunedStore, SparseForm

#: Element types whose single values can be set to zero in place.
_TYPES = ("FLOAT32", "FLOAT16", "INT8", "UINT8")
#: Operators whose weights have the axis that products are summed along last; groups and blocks lie along it.
_SUMMED_LAST = ("CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def prune(
    model: Model,
    sparsity: float | None = None,
    *,
    pattern: str = "unstructured",
    ranking: str = "tensor",
    sensitivity: Mapping[str, float] | None = None,
    refit: Mapping[str, Gram | Refitted] | None = None,
    statistics: Statistics | None = None,
    encode: bool = False,
    deflated: bool | None = None,
    only: Texts = (),
    skip: Texts = (),
    only_types: Texts = (),
    skip_types: Texts = (),
    first_last: bool = False,
    min_elements: int = 1024,
) -> Edited:
    """Set the weights of least magnitude to zero.

    Of a float model, one with float16 weights, or one with int8 or uint8 weights, where the zero point is the zero.
    Zeros that are there already count. What quantizes the result keeps its zeros.

    Parameters
    ----------
    model : Model
    sparsity : float, optional
        Share of zeros, 0 or more and less than 1; 0.5 if not given. A pattern such as ``2:4`` has its own.
    pattern : str
        ``unstructured``; ``2:4`` (or any m:n), of every four weights along the axis that products are summed along
        the two greatest stay; ``1x4`` or ``1x16`` (or any 1xn), blocks along that axis, ranked by their L2 norm.
    ranking : str
        ``tensor``: each weight gets the sparsity. ``global``: all of them together, ranked by magnitude.
    sensitivity : mapping of str to float, optional
        What it costs to prune each weight alone to that sparsity, by its name: an error that adds up, such as the
        noise to signal ratio that `quantlib.evaluation.sensitivity` measures. The sparsity is shared out so that the
        whole meets it with the least summed error. A weight that isn't named is left alone.
    refit : mapping of str to (Gram or Refitted), optional
        What samples say of each weight, by its name. With `Gram`, from `quantlib.evaluation.gram`, those weights go
        whose loss the others can make up for, and these and the bias are refitted to the layer's own float outputs;
        such layers can be ranked together. `Refitted`, from `quantlib.evaluation.refit`, is stored as it is. A weight
        that isn't named gets the sparsity by magnitude. What is refitted is held in memory.
    statistics : Statistics, optional
        Of this model: what pruned weights gave on average goes into the biases of layers that compute in float.
    encode : bool
        Store what is pruned without its zeros, where that is smaller and LiteRT reads it: behind a DENSIFY, or
        directly where FULLY_CONNECTED has a sparse kernel.
    deflated : bool, optional
        Find out what the file takes after deflate; by default where it has less than 64 MiB.
    only, skip : str or several
        Regular expressions, searched in the names of operators and weights; `skip` wins.
    only_types, skip_types : str or several
        The same by operator type, such as CONV_2D.
    first_last : bool
        Prune the first and the last layers, too.
    min_elements : int
        Smaller weights are left alone.

    Returns
    -------
    Edited
        With `totals`: elements of all weights that were pruned, their zeros and sparsity, weights refitted, biases
        corrected, and the bytes of the file after deflate, before and after.

    Raises
    ------
    InvalidValue
        If an option is none of those above, options contradict one another, a selector matches no weight, a weight
        isn't finite, or what samples say is of another model.

    Notes
    -----
    With a sensitivity, pruning a weight to another sparsity is taken to cost its error times the energy (sum of
    squares) that goes, over the energy that went when it was measured. The sum is least where all layers' weights
    are ranked together by their square times error over energy.

    Weights that aren't refitted are computed when they are written. So are those that are stored sparse, but for the
    places of what is stored, which a file has in its tables: 1 byte for each where the axis that is compressed has up
    to 256 elements or blocks, 2 up to 65,536. Beside twice the largest weight and 64 MiB, writing needs three times
    as much as these take.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> edited = ql.prune(model, 0.75)
    >>> print(edited.done[0])
    conv2/kernel: 15,552 of 20,736 are zero (75.0 %)
    """
    require_models(model=model)
    options = PruneOptions.of(sparsity, pattern, ranking, sensitivity, min_elements).informed(
        model, refit, statistics
    )
    selected = Selected.of(only, skip, only_types, skip_types)
    sites = weight_sites(model)
    outer = {} if first_last else outer_layers(sites)
    whys = {site.name: _why_not(site, options, selected, outer) for site in sites}
    selected.check_all_used()
    groups = alike(site for site in sites if not whys[site.name])
    jobs = _jobs(groups, options)
    account = _Account([Line(name, why) for name, why in whys.items() if why])
    store = PrunedStore(model)
    for group, job in zip(groups, jobs, strict=True):
        account.add(store, group, job, options, encode)
    made = store.done() if account.done else model
    packed, notes = deflated_totals(model, made, deflated)
    totals = {**account.totals(jobs, options), **packed}
    return Edited(made, "prune", tuple(account.done), tuple(account.kept), totals, notes)


def _jobs(groups: list[list[WeightSite]], options: PruneOptions) -> list[PruneJob | FittedJob]:
    """What becomes of each weight: refitted where something is known of it, else by magnitude."""
    if options.refit is None:
        return list(ranked([group[0] for group in groups], options))
    fits = fitted(groups, options)
    others = [group[0] for group in groups if group[0].name not in fits]
    plain = iter(ranked(others, replace(options, together=False)))
    return [fits.get(group[0].name) or next(plain) for group in groups]


@dataclass
class _Account:
    """What is said of every weight."""

    kept: list[Line]
    done: list[Line] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    changed: int = 0

    def add(
        self,
        store: PrunedStore,
        group: list[WeightSite],
        job: PruneJob | FittedJob,
        options: PruneOptions,
        encode: bool,
    ) -> None:
        """Store a weight, and its bias."""
        site, tally, data = group[0], job.tally(), job.data()
        self.tallies.append(tally)
        sparse = site.tensor.table.sparsity is not None
        form = store.form(group, data) if encode and (tally.removed or not sparse) else ""
        if not tally.removed and isinstance(form, str):
            why = f"{_share(tally, site)} are zero already{f'; not encoded: {form}' if form else ''}"
            self.kept += [Line(site.name, why) for site in group]
            return
        store.put(group, data, form)
        said = self._bias(store, group, job, options) if tally.removed else ""
        self.done += [_line(site, tally, form, said) for site in group]

    def _bias(
        self, store: PrunedStore, group: list[WeightSite], job: PruneJob | FittedJob, options: PruneOptions
    ) -> str:
        """Store what samples say of a bias; in words what was done."""
        reading = reading_of(group[0], alone=len(group) == 1, grids=True)
        if isinstance(job, FittedJob):
            self.changed += 1
            if job.fit.bias is not None:
                put_bias(store.draft, group[0], job.reading, job.fit.bias)
            return "refitted"
        if options.refit is not None:
            return f"not refitted: {reading if isinstance(reading, str) else 'nothing is given of what it reads'}"
        if options.statistics is None:
            return ""
        bias = reading if isinstance(reading, str) else corrected_bias(job, reading, options.statistics)
        if isinstance(bias, str) or isinstance(reading, str):
            return f"bias not corrected: {bias}"
        self.changed += 1
        put_bias(store.draft, group[0], reading, bias)
        return "bias corrected"

    def totals(self, jobs: Sequence[PruneJob | FittedJob], options: PruneOptions) -> dict[str, float | int]:
        """Figures of the whole."""
        count, zeros = sum(job.site.count for job in jobs), sum(tally.zeros for tally in self.tallies)
        found = {"elements": count, "zeros": zeros, "sparsity": zeros / count if count else 0.0}
        if options.refit is not None:
            found["refitted"] = self.changed
        if options.statistics is not None:
            found["biases_corrected"] = self.changed
        return found


def _why_not(
    site: WeightSite, options: PruneOptions, selected: Selected, outer: Mapping[tuple[int, int], str]
) -> str:
    """Why a weight is left alone; empty where it is pruned."""
    refusal = selected.refusal_of(site)
    tensor, unit = site.tensor, options.unit
    if refusal or site.reason:
        return refusal or site.reason
    if tensor.type not in _TYPES:
        return f"{tensor.type} weights can't be pruned"
    if tensor.type in ("INT8", "UINT8") and (tensor.quantization is None or tensor.quantization.block_size):
        return f"{tensor.type} without a scale for the tensor or for each channel"
    if site.count < max(options.min_elements, 1):
        return f"{site.count:,} elements, fewer than {options.min_elements:,}"
    layer = next((outer[key] for u in site.readers if (key := (site.graph.index, u.operator)) in outer), "")
    if layer:
        return layer
    if options.sensitivity is not None and site.name not in options.sensitivity:
        return "no sensitivity is given for it"
    if unit > 1 and (other := next((t for t in site.types if t not in _SUMMED_LAST), "")):
        return f"the last axis isn't the one that {other} sums products along"
    if tensor.shape[-1:] and tensor.shape[-1] % unit:
        return f"its last axis, {tensor.shape[-1]}, is no multiple of {unit}"
    return ""


def _share(tally: Tally, site: WeightSite) -> str:
    return f"{tally.zeros:,} of {site.count:,}"


def _line(site: WeightSite, tally: Tally, form: SparseForm | str, said: str) -> Line:
    what = f"{_share(tally, site)} are zero ({100 * tally.zeros / site.count:.1f} %)"
    before = stored_bytes(site.tensor)
    dense = element_type(site.tensor.type).nbytes(site.count)
    figures: dict[str, float | int | str] = {
        "elements": site.count,
        "zeros": tally.zeros,
        "sparsity": tally.zeros / site.count,
        "bytes_before": before,
        "bytes_after": dense if isinstance(form, str) else form.nbytes,
    }
    if said:
        figures["samples"] = said
        what = f"{what}; {said}"
    if form:
        figures["form"] = f"kept dense: {form}" if isinstance(form, str) else str(form)
        what = f"{what}; {figures['form']}"
    return Line(site.name, what, figures)

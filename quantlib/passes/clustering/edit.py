"""Cluster: the values of each weight become few."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import Gram, Refitted
from quantlib.tflite import Draft, Model, require_models

from ..edited import Edited, Line, deflated_totals
from ..reading import Reading, put_bias, reading_of
from ..selected import Selected, Texts
from ..weight_sites import WeightSite, alike, weight_sites
from .codebook import Codebook, Tally, tally
from .fit import fitted, given
from .search import FLOATS, ClusterOptions, find_codebook

#: Operators that change a constant's values before its readers see them.
_ROUNDING = ("QUANTIZE", "FAKE_QUANT")


def cluster(
    model: Model,
    clusters: int = 16,
    *,
    per: str = "tensor",
    start: str | None = None,
    preserve_zeros: bool = True,
    grid: str | None = None,
    seed: int | None = None,
    only: Texts = (),
    skip: Texts = (),
    only_types: Texts = (),
    skip_types: Texts = (),
    min_elements: int = 0,
    refit: Mapping[str, Gram | Refitted] | None = None,
    deflated: bool | None = True,
) -> Edited:
    """Let each weight have only so many different values (weight sharing), which makes its file pack well.

    Of a float model, one with float16 weights, or one with integer weights of up to 8 bits, whose stored integers
    become few. Types and sizes stay; what is stored sparse stays so. A range or scale that the file notes beside a
    float weight, as training or `quantlib.dequantize` leave it, goes with the values that it was of.

    Parameters
    ----------
    model : Model
    clusters : int
        Different values, from 2 to 4,096.
    per : str
        ``tensor``: of the whole weight. ``channel``: of each output channel.
    start : str, optional
        Where k-means begins: ``density`` (default), ``linear`` or ``k-means++``; see
        `quantlib.numerics.cluster_values`. Says nothing to integers, whose best clusters are found directly; so it
        doesn't go with `grid`.
    preserve_zeros : bool
        Zeros stay zeros, as one of the values; so pruning is kept.
    grid : str, optional
        For float weights that are to be quantized next. ``int8``: values on the grid that each channel has then, so
        that quantizing by the recipes ``int8``, ``dynamic`` and ``weight-only`` changes nothing; so many different
        *integers* each weight (or channel) has, while as real numbers they differ from channel to channel with the
        scale. ``int8-tensor``: on the grid that the tensor has with the granularity ``tensor``.
    seed : int, optional
        For ``k-means++`` only; 0 by default.
    only, skip : str or several
        Regular expressions, searched in the names of operators and weights; `skip` wins.
    only_types, skip_types : str or several
        The same by operator type, such as CONV_2D.
    min_elements : int
        Smaller weights are left alone.
    refit : mapping of str to (Gram or Refitted), optional
        By the names of float weights. `Gram`, from `quantlib.evaluation.gram`, says what one is multiplied with:
        instead of the nearest value each element takes one with which the others can make up for its error, and the
        bias keeps the layer's mean outputs. `Refitted`, from `quantlib.evaluation.refit`, is stored as it is. A
        weight that isn't named is clustered by its values alone. What is refitted is held in memory.
    deflated : bool, optional
        Whether to say what the files take after deflate: some seconds for each 64 MiB. None for smaller ones only.

    Returns
    -------
    Edited
        With `totals`: elements of all weights that were clustered, the root of the mean square error over them,
        weights refitted, and the bytes of the file after deflate, before and after.

    Raises
    ------
    InvalidValue
        If an option is none of those above, or says nothing beside the others; if a selector matches no weight, or a
        weight isn't finite; if `refit` is of another model, or of more clusters.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> edited = ql.cluster(model, 16)
    >>> print(edited.done[0])
    conv1/kernel: 16 values for 144 elements, RMSE 0.0279
    >>> import numpy as np
    >>> np.unique(edited.model.tensor("conv2/kernel").numpy()).size
    16
    """
    require_models(model=model)
    options = ClusterOptions(clusters, per, start, preserve_zeros, grid, seed, min_elements, refit)
    selected = Selected.of(only, skip, only_types, skip_types)
    sites = weight_sites(model)
    whys = {site.name: _why_not(site, selected, min_elements) for site in sites}
    selected.check_all_used()
    unknown = next((name for name in refit or () if name not in whys), None)
    if unknown is not None:
        raise InvalidValue(f"refit names {unknown!r}, and the model has no such weight; refit this model")
    draft, done, tallies, refitted = Draft(model), [], [], 0
    for group in alike(site for site in sites if not whys[site.name]):
        book, bias, said = _codebook(group, options)
        found = book if isinstance(book, str) else tally(book)
        if isinstance(book, str) or isinstance(found, str) or not found.changed:
            why = book if isinstance(book, str) else _few(book, options)
            whys.update({site.name: why for site in group})
            continue
        refitted += book.written is not None
        if bias is not None:
            put_bias(draft, group[0], *bias)
        _store(draft, group, book)
        done += [_line(site, book, found, said) for site in group]
        tallies.append(found)
    made = draft.done() if done else model
    kept = [Line(name, why) for name, why in whys.items() if why]
    if not sites:
        kept.append(Line("model", "no operator in it has weights; it is given back as it is"))
    packed, notes = deflated_totals(model, made, deflated)
    totals = {**_totals(tallies), **({} if refit is None else {"refitted": refitted}), **packed}
    return Edited(made, "cluster", tuple(done), tuple(kept), totals, notes)


def _codebook(
    group: list[WeightSite], options: ClusterOptions
) -> tuple[Codebook | str, tuple[Reading, npt.NDArray[np.float32]] | None, str]:
    """The codebook of a weight, or why there is none; the bias to store, and whose it is; whether it was refitted."""
    if options.refit is None:
        return find_codebook(group[0], options), None, ""
    site, reading = _named(group, options.refit), reading_of(group[0], alone=len(group) == 1)
    if site is None:
        why = reading if isinstance(reading, str) else "nothing is given of what it reads"
        return find_codebook(group[0], options), None, f"not refitted: {why}"
    if isinstance(reading, str):
        raise InvalidValue(f"{site.name} can't be refitted: {reading}; leave it out of what is refitted")
    known = options.refit[site.name]
    if isinstance(known, Refitted):
        return given(site, reading, known, options), _bias(reading, known.bias), "refitted"
    book = find_codebook(site, options)
    if isinstance(book, str) or not tally(book).changed:
        return book, None, ""
    book, bias = fitted(site, reading, book, known, options)
    return book, _bias(reading, bias), "refitted"


def _named(group: list[WeightSite], refit: Mapping[str, Gram | Refitted]) -> WeightSite | None:
    return next((site for site in group if site.name in refit), None)


def _bias(reading: Reading, values: npt.NDArray[np.float32] | None) -> tuple[Reading, npt.NDArray[np.float32]] | None:
    return None if values is None else (reading, values)


def _why_not(site: WeightSite, selected: Selected, least: int) -> str:
    """Why a weight is left alone; empty where it is clustered."""
    refusal = selected.refusal_of(site)
    if refusal or site.reason:
        return refusal or site.reason
    rounding = next((name for o in site.steps if (name := site.graph.names[o]) in _ROUNDING), "")
    if rounding:
        return f"{rounding} changes its values before they are read"
    if not site.count:
        return "it has no elements"
    return f"{site.count:,} elements, fewer than {least:,}" if site.count < least else ""


def _few(book: Codebook, options: ClusterOptions) -> str:
    where = "a channel" if len(book.books) > 1 else "all"
    return f"{book.most:,} different values in {where}, no more than {options.clusters:,}"


def _store(draft: Draft, group: list[WeightSite], book: Codebook) -> None:
    """Let all weights of a group have new values; steps that are noted of floats aren't theirs any more."""
    buffer = draft.add_buffer(book.data())
    for site in group:
        tensors = draft.graphs[site.graph.index].tensors
        tensors[site.tensor.index] = tensors[site.tensor.index].replace(buffer=buffer)
        for t in (site.tensor.index, *(int(site.graph.operators[o].outputs[0]) for o in site.steps)):
            if site.graph.tensor(t).type in FLOATS:
                tensors[t] = tensors[t].replace(quantization=None)


def _line(site: WeightSite, book: Codebook, found: Tally, said: str) -> Line:
    rmse = math.sqrt(found.square / site.count)
    integers = book.integers
    what = f"{book.most:,} {'integers' if integers else 'values'}"
    if len(book.books) > 1:
        what = f"at most {what} a channel, {found.distinct:,} values in all,"
    elif book.affine is not None and book.affine.scale.size > 1:
        what = f"{what}, {found.distinct:,} values with their scales,"
    figures: dict[str, float | int | str] = {"elements": site.count, "values": found.distinct}
    if integers:
        figures["integers"] = integers
    figures |= {"most": book.most, "rmse": rmse}
    end = f", {said}" if said else ""
    return Line(site.name, f"{what} for {site.count:,} elements, RMSE {rmse:.3g}{end}", figures)


def _totals(tallies: list[Tally]) -> dict[str, float | int]:
    elements, square = sum(t.count for t in tallies), sum(t.square for t in tallies)
    return {"elements": elements, "rmse": math.sqrt(square / elements) if elements else 0.0}

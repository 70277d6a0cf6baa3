"""Weights whose elements take their values by what samples say of the layer, and the biases beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    Equations,
    Gram,
    Refitted,
    assign_rows,
    dequantize,
    element_type,
    quantize,
    refit_bias,
    to_float16,
)
from quantlib.runners import one_blas_thread

from ..reading import Reading, bias_of, require_products, require_values
from ..weight_sites import WeightSite, real_elements
from .codebook import Codebook
from .search import ClusterOptions, empty_codebook, keeps_zeros

_Floats = npt.NDArray[np.float64]
_Bias = npt.NDArray[np.float32]


@one_blas_thread()  # a last bit of a product may decide which of two values is nearest
def fitted(
    site: WeightSite, reading: Reading, book: Codebook, known: Gram, options: ClusterOptions
) -> tuple[Codebook, _Bias | None]:
    """Write a float weight with the values of its codebook, and change the bias beside it.

    Parameters
    ----------
    site : WeightSite
    reading : Reading
    book : Codebook
        Of the weight's own values.
    known : Gram
        What it is multiplied with.
    options : ClusterOptions

    Returns
    -------
    Codebook
        With `Codebook.written`.
    float32 array of shape (output channels,), or None
        None where the bias can't change.

    Raises
    ------
    InvalidValue
        If products are another weight's, or none that samples have.
    """
    require_products(site, reading, known)
    whole = reading.rows(real_elements(site.tensor)(0, site.count).reshape(site.tensor.shape))
    bias = bias_of(site.graph, reading)
    equations = Equations.of(known, bias=not isinstance(bias, str))
    zeros = keeps_zeros(site.tensor, options)
    try:
        written = _stored(site, _assigned(reading, book, whole, equations, zeros=zeros))
    except InvalidValue as error:
        raise InvalidValue(f"{site.name}: {error}") from None
    made = replace(book, written=written)
    if isinstance(bias, str):
        return made, None
    return made, refit_bias(bias, whole, reading.rows(written.astype(np.float32)), equations).astype(np.float32)


def given(site: WeightSite, reading: Reading, fit: Refitted, options: ClusterOptions) -> Codebook:
    """Write a float weight with values that were found before.

    Raises
    ------
    InvalidValue
        If the values are another weight's, or aren't what is asked for.
    """
    require_values(site, reading, fit)
    book = empty_codebook(site, options)
    weights, written = fit.weights, _stored(site, fit.weights)
    made = replace(book, written=written)
    if made.most > options.clusters:
        asked = f"{options.clusters:,} are asked for; refit for so many"
        raise InvalidValue(f"{site.name}: {made.most:,} different refitted values, and {asked}")
    on_grid = weights if book.affine is None else dequantize(quantize(weights, book.affine), book.affine)
    if not np.array_equal(_stored(site, on_grid), written):
        raise InvalidValue(f"{site.name}: refitted values that aren't on the grid; refit with the same grid")
    zeros = keeps_zeros(site.tensor, options)
    if zeros and weights.reshape(-1)[real_elements(site.tensor)(0, site.count) == 0].any():
        raise InvalidValue(f"{site.name}: refitted values where zeros have to stay; refit the same way")
    return made


def _assigned(
    reading: Reading, book: Codebook, whole: _Floats, equations: Equations, *, zeros: bool
) -> npt.NDArray[np.float32]:
    """The weights, in their own shape; `whole` is a row for each output channel."""
    scale, fixed = np.ones((1, 1)), np.full(whole.shape, np.nan)
    if book.affine is not None:
        scale = book.affine.scale.astype(np.float64).reshape(-1, 1)
    plain = _plain(reading, book, whole)
    if book.affine is not None:
        # of what is at an end of the grid the greatest of each row stays: by it the scale is found again
        ends = np.abs(plain) == book.affine.qmax
        top = np.arange(len(whole)), np.argmax(np.where(ends, np.abs(whole), -1), axis=1)
        fixed[top] = np.where(ends[top], plain[top], np.nan)
    if zeros:
        fixed[whole == 0] = 0.0
    if len(book.books) == 1:
        _use_all(fixed, whole / scale, plain)
    found = assign_rows(whole / scale, equations, _nearest(book, len(whole)), fixed=fixed)
    if book.affine is None:
        return reading.weights(found)
    integers = np.rint(reading.weights(found)).astype(np.int8)
    return np.asarray(dequantize(integers, book.affine), np.float32)


def _plain(reading: Reading, book: Codebook, whole: _Floats) -> _Floats:
    """What stands for each weight by itself, a row for each output channel: numbers, or integers on the grid."""
    weights = reading.weights(whole)
    levels = reading.rows(weights if book.affine is None else quantize(weights, book.affine).astype(np.float32))
    several = len(book.books) > 1
    rows = [np.asarray(b.assign(levels[r : r + 1] if several else levels)) for r, b in enumerate(book.books)]
    return np.concatenate(rows).astype(np.float64)


def _use_all(fixed: _Floats, wanted: _Floats, plain: _Floats) -> None:
    """Let each centroid keep the element that is nearest to it, so that as many as were asked for are there."""
    flat = plain.reshape(-1)
    order = np.lexsort((np.abs(wanted.reshape(-1) - flat), flat))
    first = order[np.append(True, np.diff(flat[order]) > 0)]
    fixed.reshape(-1)[first] = flat[first]


def _nearest(book: Codebook, rows: int) -> Callable[[_Floats], _Floats]:
    """What gives for numbers of shape (rows, 1) the nearest of their codebooks."""
    values = [np.sort(b.centroids).astype(np.float64) for b in book.books]
    if len(values) == 1:
        only, between = values[0], (values[0][1:] + values[0][:-1]) / 2
        return lambda x: np.asarray(only[np.searchsorted(between, x)])
    table = np.full((rows, max(v.size for v in values)), np.inf)
    for line, own in zip(table, values, strict=True):
        line[: own.size] = own
    at = np.arange(rows)
    return lambda x: np.asarray(table[at, np.argmin(np.abs(table - x), axis=1)])


def _stored(site: WeightSite, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.floating]:
    """Values in the weight's dtype."""
    return to_float16(weights)[0] if element_type(site.tensor.type).bits == 16 else weights

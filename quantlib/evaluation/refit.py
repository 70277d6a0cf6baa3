"""What samples say of weights that an edit changes: sums of products, and weights refitted to make up for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidModel, InvalidValue, MissingExtra
from quantlib.numerics import Equations, Gram, Refitted, refit_rows
from quantlib.operators import patches
from quantlib.passes import Edited, Reading, readings
from quantlib.runners import Array, Runner, feed, interface_of, make_runner, one_blas_thread, samples
from quantlib.tflite import Model, enum_names, require_models

#: Elements of windows that are multiplied at once.
_PIECE = 1 << 22

_Floats = npt.NDArray[np.float64]


@one_blas_thread()  # several would fight for the cores over many small products, and give other last bits
def gram(
    model: Model,
    data: Any,
    names: Collection[str] | None = None,
    *,
    signature: str | None = None,
    runner: str | None = None,
    sequence: bool = False,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Gram]:
    """Sum up the products of what each weight is multiplied with: all that `prune` or `cluster` needs of samples.

    Parameters
    ----------
    model : Model
    data : array, mapping, path, iterable or callable
        The samples, as `quantlib.calibrate` takes them; see there.
    names : collection of str, optional
        Of the weights, as edits report them; all otherwise.
    signature : str, optional
        Which signature to run, where there are several.
    runner : str, optional
        ``numpy`` or ``litert``; by default LiteRT where it is installed and runs the model.
    sequence : bool
        Keep variables and recurrent state from one sample to the next.
    progress : callable, optional
        Called with 1 after each sample.

    Returns
    -------
    dict of str to Gram
        For float weights of CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED that one operator reads, whose outputs are
        sums of 4,096 products or fewer: 8 bytes for each pair of these stay in memory.

    Raises
    ------
    InvalidValue, InvalidModel, NotFound, MissingExtra
        As `quantlib.calibrate`; and if an activation isn't finite.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> found = gram(model, ql.demo.CALIBRATION, ["dense/kernel"], runner="numpy")
    >>> found["dense/kernel"].values.shape, ql.prune(model, 0.75, refit=found).totals["refitted"]
    ((1, 49, 49), 1)
    """
    wanted = _wanted(model, names)
    made = _runner(model, signature, runner)
    sums: dict[str, _Floats] = {}
    for number, sample in enumerate(samples(data, made.interface)):
        for name, x in _seen(made, sample, number, wanted, sequence).items():
            for rows in _rows(model, wanted[name], x):
                sums[name] = sums.get(name, 0.0) + _product(rows, rows)
        if progress is not None:
            progress(1)
    return {name: _summed(name, sums[name]) for name in wanted if name in sums}


@one_blas_thread()
def refit(
    model: Model,
    data: Any,
    edit: Callable[..., Edited],
    *,
    signature: str | None = None,
    runner: str | None = None,
    sequence: bool = False,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Refitted]:
    """Choose by what samples say how an edit changes weights, and refit them and biases, layer after layer.

    Each layer is refitted to the float model's own outputs, on what it reads once all layers before it are edited.
    With `prune`, which weights go is decided first, for all layers; those that stay are refitted. With `cluster`,
    elements take their values so that they make up for each other.

    Parameters
    ----------
    model : Model
    data : array, mapping, path, iterable or callable
        The samples, as `quantlib.calibrate` takes them; a hundred or two are enough. They stay in memory, and are run
        twice for each weight.
    edit : callable
        ``edit(model, refit=...)`` edits by `Gram` or `Refitted`, as `quantlib.prune` and `quantlib.cluster` do;
        ``functools.partial(quantlib.prune, sparsity=0.5, ranking="global")`` says how.
    signature, runner, sequence
        As `gram` takes them.
    progress : callable, optional
        Called with 1 after each weight.

    Returns
    -------
    dict of str to Refitted
        For ``edit(model, refit=...)``.

    Raises
    ------
    InvalidValue, InvalidModel, NotFound, MissingExtra
        As `gram`; and if the edit changes no weight that can be refitted.

    Examples
    --------
    >>> import functools
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> edit = functools.partial(ql.prune, sparsity=0.75, ranking="global")
    >>> fits = refit(model, ql.demo.CALIBRATION, edit, runner="numpy")
    >>> made = edit(model, refit=fits).model, edit(model).model
    >>> found = [ql.compare(model, m, ql.demo.SAMPLES, labels=ql.demo.LABELS).accuracy for m in made]
    >>> found[0].top1_b > found[1].top1_b
    True
    """
    require_models(model=model)
    edit = partial(edit, deflated=False)
    known = readings(model)
    # without a word of samples each weight loses some: this names all that the edit is about
    tried = edit(model, refit={})
    names = [line.where for line in tried.done if isinstance(known.get(line.where), Reading)]
    if not names:
        whys = [f"{line.where}: {known.get(line.where, 'nothing reads it')}" for line in tried.done]
        whys += [str(line) for line in tried.kept]
        shown = f": {whys[0]}" + (f" (and {len(whys) - 1} more)" if whys[1:] else "") if whys else ""
        raise InvalidValue(f"the edit changes no weight that can be refitted{shown}")
    kept = list(samples(data, interface_of(model, signature)))
    run: dict[str, Any] = {"signature": signature, "runner": runner, "sequence": sequence}
    found = gram(model, kept, names, **run)
    if not found:
        raise InvalidValue("the samples show nothing of what the weights are multiplied with; leave refitting out")
    first = edit(model, refit=found)
    fits = {name: _fit(first.model, name) for name in found}
    changed, chosen = first.model, first.verb == "prune"
    order = [line.where for line in first.done if line.where in found]
    del found, first
    for name in order:
        between = _between(model, changed, name, kept, **run)
        said = _fit(changed, name, (model, between)) if chosen else between
        changed = edit(model, refit={**fits, name: said}).model
        fits[name] = _fit(changed, name)
        if progress is not None:
            progress(1)
    return fits


def _runner(model: Model, signature: str | None, runner: str | None) -> Runner:
    """What runs a model: LiteRT where it is installed, unless something else is asked for."""
    try:
        return make_runner(model, runner or "litert", signature)
    except (MissingExtra, InvalidModel):
        if runner is not None:
            raise
        return make_runner(model, "numpy", signature)


def _wanted(model: Model, names: Collection[str] | None) -> dict[str, Reading]:
    found = {name: known for name, known in readings(model).items() if isinstance(known, Reading)}
    return found if names is None else {name: found[name] for name in names if name in found}


def _reading(model: Model, name: str) -> Reading:
    try:
        return _wanted(model, [name])[name]
    except KeyError:
        raise InvalidValue(f"{name}: the edited model has no such weight; edit without encoding it") from None


def _fit(model: Model, name: str, to: tuple[Model, Gram] | None = None) -> Refitted:
    """A weight of a model as it is; or refitted to that of another one, with sums of products of what both read."""
    reading = _reading(model, name)
    rows, bias = reading.values(model)
    if to is None:
        return Refitted(reading.weights(rows), bias)
    whole, old = _reading(to[0], name).values(to[0])
    free = None if bias is None or old is None else old.astype(np.float64)
    fitted, made = refit_rows(whole, free, rows != 0, Equations.of(to[1], bias=free is not None))
    return Refitted(reading.weights(fitted), None if made is None else made.astype(np.float32))


def _between(
    model: Model,
    changed: Model,
    name: str,
    data: list[Any],
    *,
    signature: str | None,
    runner: str | None,
    sequence: bool,
) -> Gram:
    """Products of what a layer reads in the changed model: with itself, and with what it reads in the first."""
    runners = [_runner(m, signature, runner) for m in (model, changed)]
    wanted = [{name: _reading(m, name)} for m in (model, changed)]
    values: Any = 0.0
    across: Any = 0.0
    for number, sample in enumerate(data):
        z, x = (
            _seen(made, sample, number, known, sequence).get(name)
            for made, known in zip(runners, wanted, strict=True)
        )
        if z is None or x is None:  # a branch that isn't taken for this sample
            continue
        pairs = (_rows(m, known[name], a) for m, known, a in zip((model, changed), wanted, (z, x), strict=True))
        for old, new in zip(*pairs, strict=True):
            values, across = values + _product(new, new), across + _product(new, old)
    return _summed(name, values, across)


def _summed(name: str, values: _Floats, across: _Floats | None = None) -> Gram:
    """Sums of products, by whose name one is told that they aren't finite."""
    try:
        return Gram(values, across)
    except InvalidValue as error:
        raise InvalidValue(f"{name}: {error}") from None


def _seen(
    runner: Runner, sample: Any, number: int, wanted: Mapping[str, Reading], sequence: bool
) -> dict[str, Array]:
    """What operators read of a sample."""
    places: dict[tuple[int, int], list[str]] = {}
    for name, reading in wanted.items():
        places.setdefault((reading.subgraph, reading.input), []).append(name)
    found: dict[str, Array] = {}

    def tap(g: int, index: int, values: Array) -> None:
        if (g, index) in places:
            copied = np.array(values)
            if not np.isfinite(copied).all():
                raise InvalidValue(
                    f"sample {number}: what {places[g, index][0]} is multiplied with isn't finite; remove the sample"
                )
            found.update(dict.fromkeys(places[g, index], copied))

    runner.run(feed(runner.interface, sample), tap=tap, keep_state=sequence and number > 0)
    return found


def _rows(model: Model, reading: Reading, x: Array) -> Iterator[npt.NDArray[np.float32]]:
    """What each output is a sum of products with, and a 1: (groups, places, inputs + 1), in pieces."""
    for sample in _windows(model, reading, x):
        groups, places, inputs = sample.shape
        step = max(_PIECE // max(groups * inputs, 1), 1)
        for start in range(0, places, step):
            part = sample[:, start : start + step]
            rows = np.ones((groups, part.shape[1], inputs + 1), np.float32)
            rows[:, :, :inputs] = part
            yield rows


def _windows(model: Model, reading: Reading, x: Array) -> Iterator[npt.NDArray[np.float32]]:
    """Windows of each sample, (groups, places, inputs)."""
    if reading.name == "FULLY_CONNECTED":
        yield x.reshape(1, -1, reading.inputs)
        return
    options = model.subgraphs[reading.subgraph].operators[reading.operator].builtin_options
    strides = (options.stride_h, options.stride_w)
    dilations = (options.dilation_h_factor, options.dilation_w_factor)
    padding: Any = enum_names("Padding")[options.padding]
    for sample in x:
        view = patches(sample, reading.shape[1:3], strides, dilations, padding)
        if reading.depthwise:
            view = view.transpose(4, 0, 1, 2, 3)
            yield view.reshape(len(view), -1, reading.inputs)
        else:
            yield view.reshape(1, -1, reading.inputs)


def _product(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> _Floats:
    with np.errstate(over="ignore"):  # whoever sums them up says that they aren't finite
        product: _Floats = (a.swapaxes(1, 2) @ b).astype(np.float64)
    return product

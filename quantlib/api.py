"""The verbs, as compositions of the rooms below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quantlib.errors import InvalidValue
from quantlib.passes import apply_weights
from quantlib.recipes import Plan, Recipe, by_name, plan_weights
from quantlib.tflite import Model

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from concurrent.futures import Executor

    import numpy as np
    import numpy.typing as npt

    from quantlib.calibration import Statistics


def plan(model: Model, recipe: Recipe | str) -> Plan:
    """Say what a recipe would do to a model.

    Parameters
    ----------
    model : Model
    recipe : Recipe or str
        A recipe, or the name of a preset.

    Returns
    -------
    Plan
        Printable; nothing has been changed.

    Raises
    ------
    NotFound
        If there is no preset of that name.
    InvalidRecipe
        If a selector is no regular expression, or matches nothing in the model.
    InvalidValue
        If the model or the recipe is something else.

    Examples
    --------
    >>> import quantlib as ql
    >>> plan = ql.plan(ql.read(ql.demo.MODEL), "dynamic")
    >>> plan.totals()["quantized"] > 0
    True
    """
    _require(model, Model, "model", "read the file first")
    recipe = by_name(recipe) if isinstance(recipe, str) else recipe
    _require(recipe, Recipe, "recipe", "give a Recipe, or the name of one")
    return plan_weights(model, recipe)


def quantize(model: Model, recipe: Recipe | Plan | str) -> Model:
    """Quantize a model.

    Parameters
    ----------
    model : Model
    recipe : Recipe, Plan or str
        What is wanted; or a plan that `plan` made for this model; or the name of a preset.

    Returns
    -------
    Model
        A new model; weights are converted when it is written.

    Raises
    ------
    NotFound, InvalidRecipe
        As `plan`.
    InvalidValue
        If a weight that is to be quantized isn't finite, or a plan doesn't fit the model.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> len(ql.quantize(model, "dynamic").to_bytes()) < 0.4 * len(model.to_bytes())
    True
    """
    _require(model, Model, "model", "read the file first")
    return apply_weights(model, recipe if isinstance(recipe, Plan) else plan(model, recipe))


def calibrate(
    model: Model,
    data: Any,
    *,
    observer: str = "histogram",
    runner: str = "numpy",
    signature: str | None = None,
    sequence: bool = False,
    executor: Executor | None = None,
    map: Callable[..., Any] | None = None,
    shard: tuple[int, int] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Statistics:
    """Find the ranges of a model's activations over samples.

    The result is the same, bit for bit, for every executor, order and sharding of the samples (on one kind of CPU
    and BLAS).

    Parameters
    ----------
    model : Model
    data : array, mapping, path, iterable or callable
        The samples: an array whose first axis counts them; a mapping of input name to such arrays; the path of an
        ``.npz``, an ``.npy``, or a folder of them; any iterable of samples; or a callable that gives one of these,
        such as a ``representative_dataset``. A sample has the input's shape, or that shape without its leading 1.
    observer : str
        ``histogram``, ``minmax`` (cheaper) or ``moving-average`` (depends on the order, so it can't be shared out).
    runner : str
        ``numpy`` or ``litert``.
    signature : str, optional
        Which signature to run, where there are several.
    sequence : bool
        Samples follow one another: variables and recurrent state are kept, and nothing is shared out.
    executor : concurrent.futures.Executor, optional
        Runs the samples; threads of this process otherwise.
    map : callable, optional
        Used like the builtin, in place of an executor.
    shard : (int, int), optional
        (i, n): only the i-th of n parts, counted from 1. `quantlib.calibration.merge` makes one of the results.
    checkpoint : path, optional
        What is done is saved there from time to time and when an error breaks the work off, and a calibration that
        was broken off goes on from it. The file is removed at the end.
    progress : callable, optional
        Called with a number of samples whenever so many more are done.

    Returns
    -------
    Statistics
        Of all float tensors that a run writes, inputs included.

    Raises
    ------
    InvalidValue
        If there are no samples, one doesn't fit or isn't finite (the message says which, and which input), a
        checkpoint is of something else, or options exclude one another.
    NotFound
        If there is no such file, signature, observer or runner, or an operator has no kernel.
    WorkerFailed
        If a worker process died.
    MissingExtra
        If LiteRT is asked for and not installed.

    Warns
    -----
    CalibrationWarning
        For data that looks like a mistake: all samples alike, fewer than 10, a tensor that is never written ...

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> statistics = ql.calibrate(model, ql.demo.CALIBRATION)
    >>> statistics.samples, statistics["image"].range
    (100, (0.0, 1.0))
    """
    from quantlib import runners  # here, since most commands need none

    _require(model, Model, "model", "read the file first")
    return runners.calibrate(
        model,
        data,
        observer=observer,
        runner=runner,
        signature=signature,
        sequence=sequence,
        executor=executor,
        map=map,
        shard=shard,
        checkpoint=checkpoint,
        progress=progress,
    )


def run(
    model: Model,
    data: Any,
    *,
    runner: str = "numpy",
    signature: str | None = None,
    sequence: bool = False,
    all_tensors: bool = False,
    progress: Callable[[int], object] | None = None,
) -> dict[str, npt.NDArray[np.generic]]:
    """Run a model over samples.

    Parameters
    ----------
    model : Model
    data : array, mapping, path, iterable or callable
        The samples; see `calibrate`.
    runner : str
        ``numpy`` or ``litert``.
    signature : str, optional
        Which signature to run, where there are several.
    sequence : bool
        Keep variables and recurrent state from one sample to the next.
    all_tensors : bool
        Return every tensor of floats, integers or booleans that the runner shows, not only the outputs. One that a
        sample writes several times (in a loop) is what it was last.
    progress : callable, optional
        Called with 1 after each sample.

    Returns
    -------
    dict of str to ndarray of shape (samples, ...)
        By tensor name. The first axis counts samples; it takes the place of a leading 1. Outputs that share a name
        have ``#index`` behind it, other tensors ``#subgraph/index``.

    Raises
    ------
    InvalidValue
        If there are no samples, one doesn't fit (the message says which), or an output changes its shape.
    NotFound, MissingExtra
        As `calibrate`.

    Examples
    --------
    >>> import quantlib as ql
    >>> ql.run(ql.read(ql.demo.MODEL), ql.demo.SAMPLES)["probabilities"].shape
    (450, 10)
    """
    from quantlib import runners  # here, since most commands need none

    _require(model, Model, "model", "read the file first")
    return runners.run(
        model,
        data,
        runner=runner,
        signature=signature,
        sequence=sequence,
        all_tensors=all_tensors,
        progress=progress,
    )


def _require(value: object, kind: type, name: str, remedy: str) -> None:
    if not isinstance(value, kind):
        raise InvalidValue(f"{name} is a {type(value).__name__}, and a {kind.__name__} is required; {remedy}")

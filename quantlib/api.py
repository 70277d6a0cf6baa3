"""The verbs, as compositions of the rooms below."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any

from quantlib.calibration import Statistics, require_own
from quantlib.errors import InvalidValue
from quantlib.passes import apply_plan
from quantlib.recipes import Plan, Recipe, by_name, plan_integer, plan_weights
from quantlib.recipes import check as check  # a verb, too
from quantlib.targets import Target
from quantlib.targets import load as load_target
from quantlib.tflite import Model, require_models

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from concurrent.futures import Executor

    import numpy as np
    import numpy.typing as npt


def plan(
    model: Model,
    recipe: Recipe | str,
    statistics: Statistics | None = None,
    *,
    target: Target | str | None = None,
) -> Plan:
    """Say what a recipe would do to a model.

    Parameters
    ----------
    model : Model
    recipe : Recipe or str
        What is wanted, or the name of a preset.
    statistics : Statistics, optional
        What `calibrate` found of this model: for integer activations, unless training or `default_ranges` say all.
    target : Target or str, optional
        What is to run the result, such as ``"tflite-micro"`` (one of `quantlib.targets.NAMES`): types that it doesn't
        take are avoided.

    Returns
    -------
    Plan
        Printable; nothing has been changed.

    Raises
    ------
    NotFound
        If there is no preset or target of that name.
    InvalidRecipe
        If a selector is no regular expression, or matches nothing in the model; or the target doesn't take the mode.
    InvalidValue
        If an argument is something else, or statistics are missing, of another model, or lack histograms.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> statistics = ql.calibrate(model, ql.demo.CALIBRATION)
    >>> ql.plan(model, "int8", statistics).counts()
    '11 to INT8'
    """
    require_models(model=model)
    recipe = by_name(recipe) if isinstance(recipe, str) else recipe
    _require(recipe, Recipe, "recipe", "give a Recipe, or the name of one")
    profile = load_target(target) if isinstance(target, str) else target
    _require(profile, (Target, NoneType), "target", "give a Target, or the name of one")
    if not recipe.activations:
        require_own(statistics, model)
        return plan_weights(model, recipe, profile)
    result = plan_integer(model, recipe, statistics, profile)
    if statistics is None and recipe.default_ranges is None and result.leftovers and not result.counts():
        raise InvalidValue(
            f"mode {recipe.mode!r} needs the ranges of activations, and nothing is known of any; calibrate the model "
            "and give the statistics (--stats or --data), or set default_ranges for a trial of speed"
        )
    return result


def quantize(
    model: Model,
    recipe: Recipe | Plan | str,
    statistics: Statistics | None = None,
    *,
    target: Target | str | None = None,
) -> Model:
    """Quantize a model.

    Parameters
    ----------
    model : Model
    recipe : Recipe, Plan or str
        What is wanted; or a plan that `plan` made for this model; or the name of a preset.
    statistics : Statistics, optional
    target : Target or str, optional
        Both as `plan`; a plan has used its own.

    Returns
    -------
    Model
        A new model; weights are converted when it is written.

    Raises
    ------
    NotFound, InvalidRecipe
        As `plan`.
    InvalidValue
        As `plan`; or if a weight isn't finite, a plan doesn't fit the model, or is given with what `plan` takes.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> statistics = ql.calibrate(model, ql.demo.CALIBRATION)
    >>> ql.quantize(model, ql.recipes.int8(input_type="INT8"), statistics).tensor("image").type
    'INT8'
    """
    require_models(model=model)
    if not isinstance(recipe, Plan):
        return apply_plan(model, plan(model, recipe, statistics, target=target))
    if statistics is not None or target is not None:
        raise InvalidValue(
            "a plan was made with statistics and target of its own; give them to `plan`, or a recipe here"
        )
    return apply_plan(model, recipe)


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

    require_models(model=model)
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
    runtime: str | None = None,
    signature: str | None = None,
    sequence: bool = False,
    all_tensors: bool = False,
    real: bool = False,
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
    runtime : str, optional
        Whose arithmetic operators on integers have. NumPy has ``reference`` (unless told), ``builtin`` and
        ``xnnpack``: those of LiteRT's reference kernels, of its optimized ones and of its default interpreter.
        LiteRT has ``builtin``, ``reference``, ``xnnpack`` and ``default``, and takes XNNPACK where every tensor can
        be seen with it unless told.
    signature : str, optional
        Which signature to run, where there are several.
    sequence : bool
        Keep variables and recurrent state from one sample to the next.
    all_tensors : bool
        Return every tensor of floats, integers or booleans that the runner shows, not only the outputs. One that a
        sample writes several times (in a loop) is what it was last.
    real : bool
        Real numbers go in and come out, as of the float model: those of an input with a scale are quantized by that
        (half away from zero, as LiteRT's QUANTIZE), and what has a scale is dequantized.
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
        If there are no samples, one doesn't fit (the message says which), an output changes its shape, or with `real`
        a sample has a NaN for an input with a scale.
    NotFound, MissingExtra
        As `calibrate`; also if the runner has no such runtime.

    Examples
    --------
    >>> import quantlib as ql
    >>> ql.run(ql.read(ql.demo.MODEL), ql.demo.SAMPLES)["probabilities"].shape
    (450, 10)

    An int8 model on the float model's samples:

    >>> model = ql.read(ql.demo.MODEL)
    >>> recipe = ql.recipes.int8(input_type="INT8", output_type="INT8")
    >>> small = ql.quantize(model, recipe, ql.calibrate(model, ql.demo.CALIBRATION))
    >>> ql.run(small, ql.demo.SAMPLES, real=True)["probabilities"].dtype
    dtype('float32')
    """
    from quantlib import runners  # here, since most commands need none

    require_models(model=model)
    return runners.run(
        model,
        data,
        runner=runner,
        runtime=runtime,
        signature=signature,
        sequence=sequence,
        all_tensors=all_tensors,
        real=real,
        progress=progress,
    )


def _require(value: object, kind: type | tuple[type, ...], name: str, remedy: str) -> None:
    if not isinstance(value, kind):
        wanted = kind[0] if isinstance(kind, tuple) else kind
        raise InvalidValue(f"{name} is a {type(value).__name__}, and a {wanted.__name__} is required; {remedy}")

"""What it costs to edit each weight alone: data for an edit that is to cost least in all."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from quantlib.errors import InvalidValue
from quantlib.passes import Edited
from quantlib.runners import finite_samples, interface_of, samples
from quantlib.tflite import Model

from .compare import Reference
from .values import Comparison

#: The largest error that is told apart; outputs that aren't finite have it.
_LARGEST = 1e10


def sensitivity(
    model: Model,
    data: Any,
    edit: Callable[..., Edited],
    *,
    signature: str | None = None,
    runner: str | None = None,
    sequence: bool = False,
    progress: Callable[[int], object] | None = None,
) -> dict[str, float]:
    """Measure what the outputs lose when each weight is edited alone.

    Parameters
    ----------
    model : Model
    data : array, mapping, path, iterable or callable
        The samples, as `quantlib.calibrate` takes them; some dozens tell layers apart. They stay in memory.
    edit : callable
        ``edit(model)`` edits all weights, and ``edit(model, sensitivity={name: 1.0})`` one of them, as
        `quantlib.prune` does; ``functools.partial(quantlib.prune, sparsity=0.5)`` says how. It is called with
        ``deflated=False``, too.
    signature : str, optional
        Which signature to run, where there are several.
    runner : str, optional
        ``numpy`` or ``litert``; by default LiteRT where it is installed.
    sequence : bool
        Keep variables and recurrent state from one sample to the next.
    progress : callable, optional
        Called with 1 after each weight.

    Returns
    -------
    dict of str to float
        By the weight's name, noise power over signal power, as a mean over the outputs: errors that add up where
        they don't depend on each other.

    Raises
    ------
    InvalidValue, InvalidModel, NotFound, MissingExtra
        As `quantlib.compare`; and if the edit leaves all weights alone.

    Examples
    --------
    >>> import functools
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> found = sensitivity(model, ql.demo.CALIBRATION, functools.partial(ql.prune, sparsity=0.75))
    >>> sorted(found)
    ['conv2/kernel', 'conv3/kernel', 'dense/kernel']
    """
    edit = partial(edit, deflated=False)
    tried = edit(model)
    names = [line.where for line in tried.done]
    if not names:
        said = f": {tried.kept[0]}" + (f" (and {len(tried.kept) - 1} more)" if tried.kept[1:] else "")
        raise InvalidValue(
            f"the edit leaves all weights alone, so there is no error to measure{said if tried.kept else ''}"
        )
    interface = interface_of(model, signature)
    kept = list(finite_samples(samples(data, interface), interface))
    reference = Reference(model, kept, signature=signature, runner=runner, sequence=sequence)
    found = {}
    for name in names:
        made = edit(model, sensitivity={name: 1.0}).model
        result = reference.compare(made)
        found[name] = _error(result)
        if progress is not None:
            progress(1)
    return found


def _error(result: Comparison) -> float:
    """Noise over signal, as a mean over the outputs that are real numbers."""
    outputs = [o for o in result.outputs if o.type_a.startswith("FLOAT")] or result.outputs
    return sum(_ratio(o.sqnr_db) for o in outputs) / len(outputs)


def _ratio(decibels: float) -> float:
    return _LARGEST if math.isnan(decibels) else min(10 ** min(-decibels / 10, 300.0), _LARGEST)

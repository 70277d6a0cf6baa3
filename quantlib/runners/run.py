"""Run a model over a data set, and keep what comes out."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable

import numpy as np

from quantlib.errors import InvalidValue, QuantlibError
from quantlib.tflite import Model, Tensor

from .collect import at_sample, make_runner
from .data import Data, samples
from .ends import decode, model_ends, single_affine
from .protocol import Array, Interface

_Key = tuple[int, int]


def run(
    model: Model,
    data: Data,
    *,
    runner: str = "numpy",
    runtime: str | None = None,
    signature: str | None = None,
    sequence: bool = False,
    all_tensors: bool = False,
    real: bool = False,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Array]:
    """Run a model over samples; see `quantlib.run`, whose parameters are these."""
    made = make_runner(model, runner, signature, runtime)
    interface, known = made.interface, model_ends(model, made.interface, real=real)
    ends: dict[str, list[Array]] = {port.name: [] for port in interface.outputs}
    shown: dict[_Key, list[Array]] = {}
    count = 0
    for number, sample in enumerate(samples(data, known.interface)):
        seen: dict[_Key, Array] = {}

        def tap(g: int, index: int, values: Array, seen: dict[_Key, Array] = seen) -> None:
            if values.dtype.kind in "fiub":
                seen[g, index] = np.array(values)

        try:
            outputs = made.run(
                known.feed(sample), tap=tap if all_tensors else None, keep_state=sequence and number > 0
            )
        except QuantlibError as error:
            raise at_sample(number, error) from None
        for name, value in outputs.items():
            ends[name].append(value)
        for key, value in seen.items():
            shown.setdefault(key, []).append(value)
        count += 1
        if progress is not None:
            progress(1)
    result = known.decode({name: _stacked_output(name, values) for name, values in ends.items()})
    inner = _inner(model, interface, shown, count, real)
    return {**{name or "output": values for name, values in result.items()}, **inner}


def _stacked_output(name: str, values: list[Array]) -> Array:
    stacked = _stacked(values)
    if stacked is None:
        other = next(i for i, v in enumerate(values) if v.shape != values[0].shape)
        raise InvalidValue(
            f"output {name!r}: shape {list(values[0].shape)} in sample 0 and {list(values[other].shape)} in sample "
            f"{other}, which make no array; run the samples one at a time with quantlib.runners.NumpyRunner"
        )
    return stacked


def _stacked(values: list[Array]) -> Array | None:
    """Samples along the first axis, in place of a leading 1; None where shapes differ."""
    if len({v.shape for v in values}) > 1:
        return None
    stacked = np.stack(values)
    return stacked[:, 0] if stacked.ndim > 1 and stacked.shape[1] == 1 else stacked


def _inner(
    model: Model, interface: Interface, shown: dict[_Key, list[Array]], count: int, real: bool
) -> dict[str, Array]:
    """Tensors that aren't outputs; a name that several have gets subgraph and index behind it."""
    names = {(g, t): model.tensor((g, t)).name for g, t in shown}
    ends = {(interface.subgraph, port.index): port.name for port in interface.outputs}
    often = Counter([*(name for key, name in names.items() if key not in ends), *ends.values()])
    found: dict[str, Array] = {}
    odd = []
    for key, values in shown.items():
        if key in ends:
            continue
        name = names[key] if often[names[key]] == 1 and names[key] else f"{names[key]}#{key[0]}/{key[1]}"
        stacked = _stacked(values) if len(values) == count else None
        if stacked is None:
            odd.append(name)
        else:
            found[name] = decode(stacked, single_affine(Tensor(model, *key)) if real else None)
    if odd:
        warnings.warn(
            f"{len(odd)} tensors are left out, as they were not written in each sample, or not in one shape: "
            f"{', '.join(odd[:5])}{' ...' if len(odd) > 5 else ''}",
            stacklevel=4,
        )
    return found

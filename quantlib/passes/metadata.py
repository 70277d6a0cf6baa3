"""TFLite Metadata of a model whose ends have other types: the least and greatest values that it states follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from quantlib.errors import InvalidModel, InvalidValue
from quantlib.numerics import Affine, dequantize, quantize
from quantlib.runners import indices_of
from quantlib.tflite import METADATA, Draft, Model, metadata_with_statistics

from .forms import form_of

_Values = tuple[float, ...]


def follow_statistics(before: Model, after: Model, graphs: Iterable[int]) -> Model:
    """Let what the metadata says of ends' values follow their types.

    Normalization stays: it says how values of 0 to 255 become real ones, whatever the type
    (TensorFlow Lite Support, ``metadata_schema.fbs``).

    Parameters
    ----------
    before, after : Model
        Before and after the ends' types were changed; the ends are as many and in the same order.
    graphs : iterable of int
        Subgraphs whose ends were changed.

    Returns
    -------
    Model
    """
    entry = next((e for e in after.root.metadata or () if e.name == METADATA), None)
    data = None if entry is None else after.data(entry.buffer)
    if data is None:
        return after
    changes = {}
    for g in graphs:
        for side in ("input", "output"):
            pairs = zip(*(indices_of(getattr(m.subgraphs[g], f"{side}s")) for m in (before, after)), strict=True)
            for place, (was, now) in enumerate(pairs):
                try:
                    forms = (form_of(before.tensor((g, was)).table, g), form_of(after.tensor((g, now)).table, g))
                except InvalidValue:  # no type that was changed
                    continue
                if forms[0] != forms[1]:
                    changes[g, side, place] = _change(*forms)
    raw = data.numpy().tobytes()
    try:
        changed = metadata_with_statistics(raw, changes)
    except InvalidModel:  # what isn't understood isn't touched
        return after
    if changed == raw:
        return after
    draft = Draft(after)
    draft.set_metadata(METADATA, changed)
    return draft.done()


def _change(old: Affine | None, new: Affine | None) -> Callable[[_Values, _Values], tuple[_Values, _Values] | None]:
    def change(greatest: _Values, least: _Values) -> tuple[_Values, _Values] | None:
        # the whole range of a type is meant as stored integers; anything else as real values already
        whole = old is not None and (set(greatest), set(least)) == ({float(old.qmax)}, {float(old.qmin)})
        if not whole and (old is not None or not np.isfinite((*greatest, *least)).all()):
            return None
        return _mapped(greatest, old, new), _mapped(least, old, new)

    return change


def _mapped(values: _Values, old: Affine | None, new: Affine | None) -> _Values:
    array = np.array(values, np.float32)
    real = array if old is None else dequantize(array.astype(old.type.storage), old)
    return tuple(float(v) for v in (real if new is None else quantize(real, new)))

"""What everybody does with a model, done to one that may be hostile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

import quantlib as ql
from quantlib.passes import Edited

#: Bytes of constants that are written to memory.
LARGEST = 1 << 24
#: Edits of finished models, each with what makes it do the most.
EDITS: Mapping[str, Callable[[ql.Model], Edited]] = MappingProxyType(
    {
        "tidy": ql.tidy,
        "dequantize": lambda model: ql.dequantize(model, keep_ranges=True, fold_fake_quant=True, expand_sparse=True),
        "retype input": lambda model: ql.retype(model, input_type="INT8", input_stats=(128, 64)),
        "retype output": lambda model: ql.retype(model, output_type="FLOAT32"),
        "retype per-tensor": lambda model: ql.retype(model, weights="per-tensor"),
        "retype hybrid": lambda model: ql.retype(model, weights="int8"),
        "retype int8": lambda model: ql.retype(model, activations="int8"),
        "retype int16": lambda model: ql.retype(model, activations="int16"),
        "retype batch": lambda model: ql.retype(model, batch=2),
        "prune": lambda model: ql.prune(model, min_elements=1, first_last=True, encode=True),
        "prune pattern": lambda model: ql.prune(model, pattern="2:4", min_elements=1, ranking="tensor"),
        "prune channels": lambda model: ql.prune_channels(model, 0.5, first_last=True),
        "cluster": lambda model: ql.cluster(model, 4, min_elements=1),
        "cluster channels": lambda model: ql.cluster(model, 4, per="channel", grid="int8", start="k-means++"),
    }
)


def outcome(act: Callable[[], Any]) -> Any:
    """Result of an act, or the error by name; any other exception is a defect and passes through."""
    try:
        return act()
    except ql.QuantlibError as error:
        text = str(error)
        assert "\n" not in text, f"an error of several lines: {text!r}"
        assert len(text) > 20, f"an error that says nothing: {text!r}"
        return error


def _nothing() -> object:
    return None


def exercise(raw: bytes, begin: Callable[[], object] = _nothing) -> str:
    """Read a file, and use all of what came out.

    Parameters
    ----------
    raw : bytes
    begin : callable
        Called before the file is read, and before each edit.

    Returns
    -------
    str
        ``valid``, or the name of the error.
    """
    begin()
    model = outcome(lambda: ql.read(raw))
    if isinstance(model, Exception):
        return type(model).__name__
    again = ql.read(model.to_bytes(rebuild=True))
    assert again.root == model.root, "what was rebuilt reads differently"
    assert model.to_bytes() == raw, "an unchanged model is not the file it was read from"
    repr(model), repr(model.root)
    for tensor in model.tensors():
        str(tensor)
        outcome(lambda t=tensor: t.quantization)
        if tensor.is_constant:
            values = outcome(tensor.numpy)
            if isinstance(values, np.ndarray):
                assert values.shape == tensor.shape
                assert not values.flags.writeable
                outcome(tensor.real)
    outcome(lambda: str(ql.plan(model, "dynamic")))
    for edit in EDITS.values():
        begin()
        edited = outcome(lambda edit=edit: edit(model))
        if isinstance(edited, Edited):
            assert len(str(edited)) > 20
            if sum(b.data.nbytes for b in edited.model.buffers if b.data is not None) > LARGEST:
                continue  # a sparse constant that was made dense, say: it isn't made before it is written
            made = outcome(edited.model.to_bytes)
            if isinstance(made, bytes):
                ql.read(made)
    return "valid"

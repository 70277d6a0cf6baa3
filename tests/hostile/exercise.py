"""What everybody does with a model, done to one that may be hostile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import quantlib as ql


def outcome(act: Callable[[], Any]) -> Any:
    """Result of an act, or the error by name; any other exception is a defect and passes through."""
    try:
        return act()
    except ql.QuantlibError as error:
        text = str(error)
        assert "\n" not in text, f"an error of several lines: {text!r}"
        assert len(text) > 20, f"an error that says nothing: {text!r}"
        return error


def exercise(raw: bytes) -> str:
    """Read a file, and use all of what came out.

    Returns
    -------
    str
        ``valid``, or the name of the error.
    """
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
    return "valid"

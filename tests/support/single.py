"""One-operator models: what LiteRT computes, and what our kernel does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.numerics import ELEMENT_TYPES
from quantlib.operators import Call, Signature, kernel, operator_version
from quantlib.tflite import Draft, Table
from tests.support.litert import interpreter

Array = npt.NDArray[Any]


def type_name(array: Array) -> str:
    """Element type of an array's dtype."""
    known = ("FLOAT32", "FLOAT16", "FLOAT64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "BOOL")
    return next(name for name in known if ELEMENT_TYPES[name].storage == array.dtype)


def litert(
    operator: str,
    inputs: Sequence[Array | None],
    options: Table | None = None,
    types: Sequence[str] = ("FLOAT32",),
    constants: Collection[int] = (),
    *,
    variables: Collection[int] = (),
    resolver: str = "reference",
    version: int | None = None,
) -> list[Array]:
    """Build a model of one operator, run it in LiteRT and return its outputs.

    Operands in `constants` become constants of the model, those in `variables` recurrent state that begins at zero;
    the others are its inputs. None is an operand left out.
    """
    draft = Draft()
    graph = draft.graphs[0]
    indices, fed = [], []
    for i, array in enumerate(inputs):
        if array is None:
            indices.append(-1)
            continue
        stored = {"buffer": draft.add_buffer(array)} if i in constants else {}
        state = {"is_variable": True} if i in variables else {}
        indices.append(graph.add_tensor(f"input{i}", type_name(array), array.shape, **stored, **state))
        if i not in constants and i not in variables:
            graph.inputs.append(indices[-1])
            fed.append(array)
    graph.outputs = [graph.add_tensor(f"output{i}", name, ()) for i, name in enumerate(types)]
    given = tuple(None if a is None else type_name(a) for a in inputs)
    shapes = tuple(None if a is None else a.shape for a in inputs)
    stored_options = {} if options is None else dict(options.stored())
    needed = operator_version(Signature(operator, given, tuple(types), stored_options, input_shapes=shapes))
    graph.append(draft.operator(operator, indices, graph.outputs, options, version or needed))
    made = interpreter(draft.done().to_bytes(), resolver)
    for detail, array in zip(made.get_input_details(), fed, strict=True):
        made.set_tensor(detail["index"], array)
    made.invoke()
    return [made.get_tensor(d["index"]) for d in made.get_output_details()]


def ours(
    operator: str, inputs: Sequence[Array | None], options: Table | None = None, types: Sequence[str] = ("FLOAT32",)
) -> list[Array]:
    """Outputs of our float kernel, which must exist."""
    found = kernel(operator)
    if found is None:
        raise LookupError(f"{operator} has no kernel")
    return list(found(Call(tuple(inputs), options if options is not None else Table("AddOptions"), tuple(types))))


def assert_close(reference: Array, other: Array, steps: float = 16.0, operands: Sequence[Array | None] = ()) -> None:
    """Equal shapes and types; floats within `steps` units in the last place of the largest one, others equal.

    A sum is rounded by its terms, not by what they leave of each other: `operands` are those that are summed, where
    the result alone may be far smaller.
    """
    assert reference.shape == other.shape
    assert reference.dtype == other.dtype
    if reference.dtype.kind != "f":
        np.testing.assert_array_equal(reference, other)
        return
    finite = np.isfinite(reference)
    np.testing.assert_array_equal(np.isfinite(other), finite)
    np.testing.assert_array_equal(reference[~finite], other[~finite])
    sizes = [
        np.abs(a).max(initial=0.0) for a in (reference[finite], *operands) if a is not None and a.dtype.kind == "f"
    ]
    largest = float(max(sizes))
    np.testing.assert_allclose(
        other[finite], reference[finite], rtol=0, atol=steps * np.finfo(np.float32).eps * largest
    )

"""What the stored values of a tensor mean, and a tensor's table in another form."""

from __future__ import annotations

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, retyped
from quantlib.tflite import Draft, Quantization, Table, quantization_table, tensor_type_code, tensor_types

#: Types that an input or output can have.
END_TYPES = ("FLOAT32", "INT8", "UINT8", "INT16")
#: Pairs of types between which QUANTIZE has no kernel (tflite/kernels/quantize.cc).
NO_REQUANT = frozenset({("INT16", "UINT8")})


def form_of(table: Table, where: object) -> Affine | None:
    """What the stored values of a tensor mean; None for FLOAT32.

    Raises
    ------
    InvalidValue
        If it has another type than those of `END_TYPES`, or not one scale.
    """
    kind = tensor_types()[table.type]
    if kind == "FLOAT32":
        return None
    if kind not in END_TYPES:
        raise InvalidValue(f"{where}: {kind} has no other type; only {', '.join(END_TYPES)} have")
    found = table.quantization
    count = 0 if found is None or found.scale is None else found.scale.size
    if count != 1:
        raise InvalidValue(f"{where}: {kind} with {count} scales; one is required to give it another type")
    point = 0 if found.zero_point is None or not found.zero_point.size else int(found.zero_point[0])
    return Affine(kind, found.scale, np.array([point]))


def with_form(table: Table, form: Affine | None) -> Table:
    """A tensor's table with another type and other scales; None is FLOAT32."""
    if form is None:
        return table.replace(type=tensor_type_code("FLOAT32"), quantization=None)
    return table.replace(
        type=tensor_type_code(form.type.name), quantization=quantization_table(Quantization.of(form))
    )


def same_values(a: Affine | None, b: Affine | None) -> bool:
    """Whether one form holds all that the other one does: the same, shifted by 128, or `b` within 16 bits."""
    if a is None or b is None:
        return a is b
    if a.type.bits < b.type.bits:
        return False
    return retyped(b, a.type) == a


def ends_of(draft: Draft, g: int) -> set[int]:
    """Tensors at a subgraph's ends: its inputs and outputs, and those of signatures."""
    ends = {*draft.graphs[g].inputs, *draft.graphs[g].outputs}
    for signature in draft.signatures:
        if signature.subgraph_index == g:
            ends.update(e.tensor_index for e in (*(signature.inputs or ()), *(signature.outputs or ())))
    return ends

"""What a kernel is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.frozen import Frozen
from quantlib.tflite import Table

Array = npt.NDArray[Any]

_NO_ATTRIBUTES: Mapping[str, Any] = Frozen()


@dataclass(frozen=True, slots=True)
class Call:
    """One execution of an operator.

    Attributes
    ----------
    inputs : tuple of (ndarray or None)
        Its operands; None where one is left out. Those that are variables (recurrent state) are writable, and a
        kernel updates them in place; all others are read-only to it.
    options : Table
        The operator's options, with the schema's defaults where it has none.
    types : tuple of str
        Element type of each output, such as ``FLOAT32``.
    attributes : mapping of str to Any
        Options of a custom operator, decoded (`quantlib.tflite.decode_flexbuffer`); empty for the others.
    """

    inputs: tuple[Array | None, ...]
    options: Table
    types: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=lambda: _NO_ATTRIBUTES)

    def operand(self, index: int) -> Array:
        """An operand that must be there.

        Raises
        ------
        InvalidValue
            If it is left out.
        """
        array = self.optional(index)
        if array is None:
            raise InvalidValue(f"operand {index} is left out; it is required")
        return array

    def optional(self, index: int) -> Array | None:
        """An operand, or None where it is left out or the operator has fewer."""
        return self.inputs[index] if index < len(self.inputs) else None


#: A kernel computes all outputs. An output may be a view of an input: nobody writes to either.
Kernel = Callable[[Call], Sequence[Array]]

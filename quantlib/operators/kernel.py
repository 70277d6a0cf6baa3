"""What a kernel is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from quantlib.tflite import Table

Array = npt.NDArray[Any]


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
    """

    inputs: tuple[Array | None, ...]
    options: Table
    types: tuple[str, ...] = ()


#: A kernel computes all outputs. An output may be a view of an input: nobody writes to either.
Kernel = Callable[[Call], Sequence[Array]]

"""`Operation`: what of an operator decides whether a target runs it. It need not stand in any file yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.frozen import Frozen
from quantlib.tflite import Quantization

#: Where an operand stands: ``"input"`` or ``"output"``, and its index.
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Operand:
    """One input or output of an operator.

    Attributes
    ----------
    type : str
        Element type by its schema name, such as ``INT8``.
    shape : tuple of int
        As stored: dynamic dimensions count 1.
    constant : bool
        Whether the file holds its values.
    quantization : Quantization or None
        Scale, zero point and ``quantized_dimension``; None where it isn't quantized.
    dynamic : bool
        Whether a dimension other than the first, the batch, is known at run time only (-1 in ``shape_signature``).
    sparse : bool
        Whether it is stored sparse.
    name : str
        Its name, for messages.
    values : callable or None
        Returns a constant's stored values; few rules look at them, and they are skipped where it is None.
    """

    type: str
    shape: tuple[int, ...] = ()
    constant: bool = False
    quantization: Quantization | None = None
    dynamic: bool = False
    sparse: bool = False
    name: str = ""
    values: Callable[[], npt.NDArray[Any]] | None = None

    @property
    def scale(self) -> npt.NDArray[np.float32]:
        """Scales, float32; empty where it isn't quantized."""
        return np.empty(0, np.float32) if self.quantization is None else self.quantization.scale

    @property
    def zero_point(self) -> npt.NDArray[np.int64]:
        """Zero points, int64; empty where it isn't quantized."""
        return np.empty(0, np.int64) if self.quantization is None else self.quantization.zero_point

    @property
    def blockwise(self) -> bool:
        """Whether it has a scale per block."""
        return self.quantization is not None and self.quantization.block_size > 0

    @property
    def per_channel(self) -> bool:
        """Whether it has several scales, one a channel."""
        return self.scale.size > 1 and not self.blockwise


@dataclass(frozen=True, slots=True)
class Operation:
    """One operator with its operands.

    Attributes
    ----------
    operator : str
        Name in the schema's BuiltinOperator, or the code of a custom operator.
    version : int
    inputs : tuple of (Operand or None)
        None for an absent one (index -1).
    outputs : tuple of Operand
    options : mapping of str to Any
        By schema field name, enum values as int. A missing field has the schema's default, 0 unless a rule says else.
    accepted : range or None
        Versions that LiteRT's resolver has (`quantlib.operators.accepted_versions`); None where it has none.

    Examples
    --------
    >>> x = Operand("INT8", (1, 4), quantization=Quantization([0.5], [0]))
    >>> Operation("RELU", 2, (x,), (x,)).at("in0")
    [(('input', 0), Operand(type='INT8', ...))]
    """

    operator: str
    version: int
    inputs: tuple[Operand | None, ...]
    outputs: tuple[Operand, ...]
    options: Mapping[str, Any] = field(default_factory=Frozen)
    accepted: range | None = None

    def operands(self) -> Iterator[tuple[Place, Operand]]:
        """All operands that are there, inputs first."""
        yield from (((("input"), i), x) for i, x in enumerate(self.inputs) if x is not None)
        yield from ((("output", i), y) for i, y in enumerate(self.outputs))

    def at(self, selector: str) -> list[tuple[Place, Operand]]:
        """Operands by selector: ``in0``, ``out1``, ``inputs``, ``outputs`` or ``all``; absent ones are left out."""
        found = list(self.operands())
        if selector == "all":
            return found
        if selector in ("inputs", "outputs"):
            return [(place, operand) for place, operand in found if place[0] == selector[:-1]]
        wanted = ("input", int(selector[2:])) if selector.startswith("in") else ("output", int(selector[3:]))
        return [(place, operand) for place, operand in found if place == wanted]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a target doesn't run an operation.

    Attributes
    ----------
    reason : str
        What was found, and what is required.
    remedy : str
        What to do about it.
    place : (str, int) or None
        The operand that it is about; None where it is about the operator.
    """

    reason: str
    remedy: str
    place: Place | None = None

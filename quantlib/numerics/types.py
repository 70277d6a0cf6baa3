"""The element types of a `.tflite` tensor: one table of bits, storage and range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue


@dataclass(frozen=True, slots=True)
class ElementType:
    """One element type of a tensor, under its name in the TFLite schema.

    Attributes
    ----------
    name : str
        Name in the schema's `TensorType`, such as ``"INT8"``.
    bits : int
        Bits of one element in a buffer: 4 for INT4, 0 where elements have no fixed size (STRING,
        RESOURCE, VARIANT).
    kind : str
        ``"float"``, ``"int"`` (signed), ``"uint"``, ``"bool"``, ``"complex"`` or ``"other"``.
    storage : numpy.dtype or None
        Dtype of an unpacked array: int8 for INT4 and INT2, uint8 for UINT4 and the 8-bit floats, uint16
        (the bits) for BFLOAT16, None where `bits` is 0.
    min, max : int, float or None
        Least and greatest finite value; None where values have no order.
    """

    name: str
    bits: int
    kind: str
    storage: np.dtype[Any] | None
    min: int | float | None
    max: int | float | None

    def nbytes(self, count: int) -> int:
        """Bytes of `count` packed elements: ``ceil(count * bits / 8)``.

        Examples
        --------
        >>> element_type("INT4").nbytes(3)
        2
        """
        return (count * self.bits + 7) // 8

    @property
    def is_integer(self) -> bool:
        """Whether values are integers that an `Affine` can map to (kinds ``"int"`` and ``"uint"``)."""
        return self.kind in ("int", "uint")

    def __repr__(self) -> str:
        return f"element_type({self.name!r})"


def _integer(name: str, bits: int) -> ElementType:
    signed = not name.startswith("U")
    storage = np.dtype(f"{'' if signed else 'u'}int{max(bits, 8)}")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return ElementType(name, bits, "int" if signed else "uint", storage, low, high)


def _float(name: str, bits: int, storage: str, greatest: float) -> ElementType:
    return ElementType(name, bits, "float", np.dtype(storage), -greatest, greatest)


# Greatest values: IEEE 754 binary16/32/64; bfloat16 is binary32 with 8 significant bits; the 8-bit floats
# are those of "FP8 Formats for Deep Learning" (arXiv 2209.05433), table 1.
_TYPES = (
    _float("FLOAT32", 32, "float32", (2 - 2**-23) * 2.0**127),
    _float("FLOAT16", 16, "float16", 65504.0),
    _integer("INT32", 32),
    _integer("UINT8", 8),
    _integer("INT64", 64),
    ElementType("STRING", 0, "other", None, None, None),
    ElementType("BOOL", 8, "bool", np.dtype("bool"), 0, 1),
    _integer("INT16", 16),
    ElementType("COMPLEX64", 64, "complex", np.dtype("complex64"), None, None),
    _integer("INT8", 8),
    _float("FLOAT64", 64, "float64", (2 - 2**-52) * 2.0**1023),
    ElementType("COMPLEX128", 128, "complex", np.dtype("complex128"), None, None),
    _integer("UINT64", 64),
    ElementType("RESOURCE", 0, "other", None, None, None),
    ElementType("VARIANT", 0, "other", None, None, None),
    _integer("UINT32", 32),
    _integer("UINT16", 16),
    _integer("INT4", 4),
    _float("BFLOAT16", 16, "uint16", (2 - 2**-7) * 2.0**127),
    _integer("INT2", 2),
    _integer("UINT4", 4),
    _float("FLOAT8_E4M3FN", 8, "uint8", 448.0),
    _float("FLOAT8_E5M2", 8, "uint8", 57344.0),
)

ELEMENT_TYPES: Mapping[str, ElementType] = MappingProxyType({t.name: t for t in _TYPES})
"""Every element type of the schema by name, in the order of the schema's numbers."""


def element_type(name: str | ElementType) -> ElementType:
    """Look up an element type by its schema name; an `ElementType` is returned as it is.

    Raises
    ------
    InvalidValue
        If there is no type of that name.

    Examples
    --------
    >>> element_type("INT4").max
    7
    """
    if isinstance(name, ElementType):
        return name
    try:
        return ELEMENT_TYPES[name]
    except (KeyError, TypeError):
        raise InvalidValue(f"element type {name!r} is unknown; use one of {', '.join(ELEMENT_TYPES)}") from None

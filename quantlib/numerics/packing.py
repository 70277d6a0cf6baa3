"""Packing of elements smaller than a byte."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantlib.errors import InvalidValue

from ._blocks import BLOCK, cuts
from .types import ElementType, element_type

# The elements of one packed byte are handled as the bytes of one little-endian word. For 4 bits 0x0B0A
# becomes 0xBA by one shift, for 2 bits 0x0D0C0B0A by two: (bits right, mask of what is kept) in turn.
_WORDS: Mapping[int, np.dtype[Any]] = MappingProxyType({4: np.dtype("<u2"), 2: np.dtype("<u4")})
_STEPS = MappingProxyType({4: ((4, 0x0F0F),), 2: ((6, 0x03030303), (12, 0x000F000F))})


def pack(values: ArrayLike, type: str | ElementType) -> NDArray[np.uint8]:
    """Pack small integers as a buffer holds them: the first in the lowest bits, rows not padded.

    Parameters
    ----------
    values : integer array of any shape
        In row-major order; within the type's range.
    type : str or ElementType
        INT4, UINT4 (two elements a byte) or INT2 (four), in two's complement.

    Returns
    -------
    uint8 array of shape (type.nbytes(values.size),)
        Bits behind the last element are 0.

    Raises
    ------
    InvalidValue
        If a value doesn't fit, `values` is not an integer array, or the type is not packed.

    Examples
    --------
    >>> pack([1, -1, 7], "INT4").tobytes().hex()
    'f107'
    """
    kind = _packed(type)
    values = np.asarray(values)
    if values.dtype.kind not in "iu":
        raise InvalidValue(f"dtype {values.dtype} can't be packed; pass integers")
    per_byte, word = 8 // kind.bits, _WORDS[kind.bits]
    flat = values.reshape(-1)
    packed = np.empty(kind.nbytes(flat.size), np.uint8)
    scratch = np.zeros(min(BLOCK, -(-flat.size // per_byte) * per_byte), np.uint8)
    shifted = np.empty(scratch.size // per_byte, word)
    for cut in cuts(flat.size):
        piece = flat[cut]
        if piece.min() < kind.min or piece.max() > kind.max:
            raise _does_not_fit(flat, kind)
        count = kind.nbytes(len(piece))
        scratch[len(piece) : count * per_byte] = 0
        np.copyto(scratch[: len(piece)], piece, casting="unsafe")
        words, other = scratch[: count * per_byte].view(word), shifted[:count]
        for right, mask in _STEPS[kind.bits]:
            np.bitwise_and(words, word.type(mask), out=words)
            np.right_shift(words, word.type(right), out=other)
            np.bitwise_or(words, other, out=words)
        start = cut.start // per_byte
        np.copyto(packed[start : start + count], words, casting="unsafe")
    return packed


def unpack(
    data: bytes | bytearray | memoryview | NDArray[np.uint8], type: str | ElementType, count: int
) -> NDArray[Any]:
    """Unpack `count` small integers; the inverse of `pack`.

    Parameters
    ----------
    data : uint8 array of any shape, or bytes
        Exactly ``type.nbytes(count)`` bytes. Bits behind the last element are ignored.
    type : str or ElementType
        INT4, UINT4 or INT2.
    count : int
        Elements wanted: the buffer alone can't say whether its last byte is full.

    Returns
    -------
    int8 (INT4, INT2) or uint8 (UINT4) array of shape (count,)

    Raises
    ------
    InvalidValue
        If there are more or fewer bytes, or the type is not packed.

    Examples
    --------
    >>> unpack(bytes([0xF1, 0x07]), "INT4", 3)
    array([ 1, -1,  7], dtype=int8)
    """
    kind = _packed(type)
    packed = data.reshape(-1) if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
    if packed.dtype != np.uint8:
        raise InvalidValue(f"dtype {packed.dtype} is not packed; pass bytes or a uint8 array")
    if count < 0 or packed.size != kind.nbytes(count):
        raise InvalidValue(
            f"{packed.size} bytes for {count} elements of {kind.name}; {kind.nbytes(max(count, 0))} are required"
        )
    per_byte, word = 8 // kind.bits, _WORDS[kind.bits]
    values = np.empty(packed.size * per_byte, np.uint8)
    shifted = np.empty(min(BLOCK // per_byte, packed.size), word)
    for cut in cuts(packed.size, BLOCK // per_byte):
        piece = values[cut.start * per_byte : cut.stop * per_byte]
        words, other = piece.view(word), shifted[: cut.stop - cut.start]
        np.copyto(words, packed[cut])
        for left, mask in reversed(_STEPS[kind.bits]):
            np.left_shift(words, word.type(left), out=other)
            np.bitwise_or(words, other, out=words)
            np.bitwise_and(words, word.type(mask), out=words)
        if kind.kind == "int":
            # Flipping the sign bit and taking its weight off again extends the sign; bytes wrap.
            sign = np.uint8(1 << (kind.bits - 1))
            np.bitwise_xor(piece, sign, out=piece)
            np.subtract(piece, sign, out=piece)
    return values.view("i1" if kind.kind == "int" else "u1")[:count]


def _packed(type: str | ElementType) -> ElementType:
    kind = element_type(type)
    if kind.bits not in _WORDS:
        raise InvalidValue(f"{kind.name} is not packed; use INT4, UINT4 or INT2")
    return kind


def _does_not_fit(flat: NDArray[Any], kind: ElementType) -> InvalidValue:
    index = int(np.argmax((flat < kind.min) | (flat > kind.max)))
    return InvalidValue(
        f"value {flat[index]} at flat index {index} is outside {kind.min}..{kind.max}, the range of {kind.name}"
    )
